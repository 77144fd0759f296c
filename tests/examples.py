"""The shipped examples as mappings, to be run with a test's own addresses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "config/examples").glob("*/gateway.yaml"))


def name_of(path: Path) -> str:
    """What an example is called."""
    return path.parent.name


def on_loopback(example: Path, stripe_url: str, secret: str, key: str, *, port: int = 0, admin: int = 0) -> Any:
    """An example's gateway.yaml for a test: the first account, the only one left, is called acme and has this secret
    and this key; variables elsewhere are the test's to fill in.
    """
    config = yaml.safe_load(example.read_text())
    account = next(iter(config["accounts"].values()))
    config["accounts"] = {"acme": account | {"signing_secrets": [secret]}}
    if "api_key" in account:
        config["accounts"]["acme"] |= {"api_key": key, "api_rate": "100000/s"}
    config["server"] = {"listen": f"127.0.0.1:{port}"}
    config["admin"] = {"listen": f"127.0.0.1:{admin}"}
    config["store"] = {"url": "sqlite:///inbox.db"}
    config["stripe"] = {"api_base": stripe_url, "timeout": "5s"}
    return config
