"""The built-in actions. Each is one file that uses `gateway.plugin` and nothing else of the gateway."""
