"""The engine: verified intake of Stripe events, routing by gateway.yaml, durable delivery."""

__version__ = "0.1.0"
