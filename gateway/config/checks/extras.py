"""Which optional parts of the gateway are installed, found without importing them."""

from __future__ import annotations

import importlib.util


def has_otel() -> bool:
    """Whether the extra `otel` is."""
    try:
        return importlib.util.find_spec("opentelemetry.exporter.otlp.proto.http.trace_exporter") is not None
    except ModuleNotFoundError:  # not even the package around it
        return False


def has_encrypt() -> bool:
    """Whether the extra `encrypt` is."""
    return importlib.util.find_spec("cryptography") is not None
