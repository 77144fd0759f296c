"""The gateway's own events: what raises them, and what commits them to the inbox."""
