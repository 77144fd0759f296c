"""Cases: tests of routes, written in YAML. An event, what is assumed, and what must be delivered."""
