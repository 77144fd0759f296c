"""The log: structlog, JSON or console, one line per event and per attempt; never payloads or secrets."""
