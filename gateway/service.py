"""The only wiring: what a running gateway is made of, and in which order it starts and stops."""
