"""What `gateway init` writes: a commented gateway.yaml, its env file, its templates, and a first test. Pure."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Sells = Literal["orders", "subscriptions", "both"]
ENV_FILE = "gateway.env"
TEMPLATE_FILE = "config/templates/receipt.html.j2"
TEST_FILE = "config/tests/routes.yaml"

_FOLDER = Path(__file__).parent / "init_templates"


@dataclass(frozen=True, slots=True)
class Choices:
    """The answers to the questions."""

    account: str = "acme"
    sells: Sells = "orders"
    database: str = "sqlite:///data/shop.db"  # or ${VARIABLE}
    listen: str = "127.0.0.1:8080"
    mail_from: str = ""  # empty: no mail
    forward: str = ""  # a URL; empty: no forwards
    slack: bool = False

    @property
    def orders(self) -> bool:
        """Whether things are sold that are paid once."""
        return self.sells in ("orders", "both")

    @property
    def subscriptions(self) -> bool:
        """Whether things are sold that are paid again and again."""
        return self.sells in ("subscriptions", "both")

    @property
    def secret_variable(self) -> str:
        """The variable with the account's signing secret."""
        return re.sub(r"[^A-Z0-9]", "_", self.account.upper()) + "_SIGNING_SECRET"

    @property
    def hides_database(self) -> bool:
        """Whether the database's URL stands in the env file: a server's holds a password."""
        return not self.database.startswith(("sqlite:", "${"))


@dataclass(frozen=True, slots=True)
class Secrets:
    """What goes into the env file. Stand-ins are random, so that nobody can sign with them."""

    signing: str  # whsec_...
    forward: str  # whsec_...
    slack_url: str


def _rendered(template: str, context: dict[str, Any]) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    templates = Environment(  # with other brackets than those of the templates that a gateway.yaml holds
        loader=FileSystemLoader(_FOLDER),
        block_start_string="<%",
        block_end_string="%>",
        variable_start_string="<<",
        variable_end_string=">>",
        trim_blocks=True,
        keep_trailing_newline=True,
        undefined=StrictUndefined,
        autoescape=False,  # noqa: S701 - YAML and a shell's variables; `gateway init` checks each answer
    )
    return templates.get_template(template).render(context)


def starter(choices: Choices, secrets: Secrets) -> dict[str, str]:
    """Every file's text, by its path from the folder of gateway.yaml; the first is gateway.yaml itself."""
    context = {
        **dataclasses.asdict(choices),
        "orders": choices.orders,
        "subscriptions": choices.subscriptions,
        "secret_variable": choices.secret_variable,
        "hides_database": choices.hides_database,
        "shown_database": "${SHOP_DATABASE_URL}" if choices.hides_database else choices.database,
        "shop_variable": choices.database.strip("${}") if choices.database.startswith("${") else None,
        "secrets": secrets,
    }
    templates = {"gateway.yaml": "gateway.yaml.j2", ENV_FILE: "gateway.env.j2", TEST_FILE: "routes.yaml.j2"}
    texts = {file: _rendered(name, context) for file, name in templates.items()}
    if choices.orders and choices.mail_from:
        texts[TEMPLATE_FILE] = (_FOLDER / "receipt.html.j2").read_text(encoding="utf-8")
    return texts
