"""gateway init: asks a few questions and writes a configuration to start from, with its secrets, template and test."""

from __future__ import annotations

import base64
import re
import secrets
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, cast

import typer

from gateway.cli.init_files import ENV_FILE, Choices, Secrets, Sells, starter
from gateway.cli.main import BadUsage, app, options
from gateway.cli.output import fail

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")
_LISTEN = re.compile(r"[^\s:#'\"{}\[\],&*!|>%@`]+:\d{1,5}")
_DATABASE = re.compile(r"(sqlite|postgresql|mysql)://[^\s\"'\\$]+|\$\{[A-Za-z_][A-Za-z0-9_]*\}")
_SELLS = re.compile(r"orders|subscriptions|both")
_FROM = re.compile(r"([^\s@<>\"\\$]+@[^\s@<>\"\\$]+|[^@<>\"\\$\r\n]+ <[^\s@<>\"\\$]+@[^\s@<>\"\\$]+>)?")
_URL = re.compile(r"https?://[^\s/\"\\$]+(/[^\s\"\\$]*)?")
_OPTIONAL_URL = re.compile(f"({_URL.pattern})?")
_IGNORED = (ENV_FILE, "data/")


def _ask(flag: str | None, question: str, default: str, right: re.Pattern[str], hint: str, *, asks: bool) -> str:
    """The flag's value; else a person's answer; else, where nobody is to be asked, the default."""
    while True:
        asking = flag is None and asks
        value = typer.prompt(question, default=default, err=True) if asking else default if flag is None else flag
        if right.fullmatch(value):
            return str(value)
        if not asking:
            raise BadUsage(f"{value!r}: {hint}")
        print(hint, file=sys.stderr)


def _secret(question: str, default: Callable[[], str], *, asks: bool) -> str:
    """A person's answer, not shown while it is typed; else a stand-in."""
    answer = typer.prompt(question, default="", show_default=False, hide_input=True, err=True) if asks else ""
    return re.sub(r"[^\x21-\x7e]|['\"\\$`]", "", answer) or default()


def _random_secret() -> str:
    return "whsec_" + base64.b64encode(secrets.token_bytes(24)).decode()


@app.command()
def init(
    account: Annotated[str | None, typer.Option(help="The name of your Stripe account here.")] = None,
    sells: Annotated[str | None, typer.Option(help="orders, subscriptions or both.")] = None,
    database: Annotated[str | None, typer.Option(help="URL of your shop's database.")] = None,
    mail_from: Annotated[str | None, typer.Option("--mail-from", help="Send mail, from this address.")] = None,
    forward: Annotated[str | None, typer.Option(help="Forward events to this URL.")] = None,
    slack: Annotated[bool | None, typer.Option("--slack/--no-slack", help="Post to Slack.")] = None,
    listen: Annotated[str | None, typer.Option(help="host:port of the public listener.")] = None,
    url: Annotated[str | None, typer.Option(help="Where Stripe reaches this machine: https://hooks.example.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing: defaults for what no flag says.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite what is there.")] = False,
) -> None:
    """Write a commented gateway.yaml, gateway.env and a first test. Asks for what no flag says."""
    asks = sys.stdin.isatty() and not yes
    public = "" if url is None else _ask(url, "", "", _URL, "--url: expected https://host", asks=False)
    choices = _choices(account, sells, database, mail_from, forward, slack, listen, asks=asks)
    folder = options.config.parent
    there = [path for path in _paths(choices) if path.exists()]
    if there and not force:
        verb = "exists" if len(there) == 1 else "exist"
        raise fail(f"{' and '.join(map(str, there))} {verb} already; --force overwrites")
    files = starter(choices, _secrets(choices, asks=asks))
    for path, text in zip(_paths(choices), files.values(), strict=True):
        _write(path, text, is_secret=path.name == ENV_FILE)
    _keep_out_of_git(folder)
    if public:
        print(f"register {public.rstrip('/')}/webhooks/{choices.account} as an endpoint in Stripe's dashboard")
    env = folder / ENV_FILE
    print(f"next: put your secrets into {env}; load it: set -a; . {env.absolute()}; set +a")
    print("then: gateway check && gateway test && gateway serve")


def _choices(
    account: str | None,
    sells: str | None,
    database: str | None,
    mail_from: str | None,
    forward: str | None,
    slack: bool | None,
    listen: str | None,
    *,
    asks: bool,
) -> Choices:
    name_hint = "a name is letters, digits, _ . - with a letter first"
    database_hint = "expected sqlite:///relative.db, postgresql://..., mysql://... or ${VARIABLE}"
    standard = Choices()
    return Choices(
        account=_ask(account, "Name of the Stripe account here", standard.account, _NAME, name_hint, asks=asks),
        sells=cast(
            Sells,
            _ask(
                sells,
                "You sell: orders, subscriptions or both",
                standard.sells,
                _SELLS,
                "expected orders, subscriptions or both",
                asks=asks,
            ),
        ),
        database=_ask(database, "URL of the shop's database", standard.database, _DATABASE, database_hint, asks=asks),
        mail_from=_ask(
            mail_from,
            "Send mail from (an address; empty: no mail)",
            "",
            _FROM,
            "expected an address, such as orders@shop.example or Shop <orders@shop.example>",
            asks=asks,
        ),
        forward=_ask(
            forward, "Forward to (a URL; empty: nowhere)", "", _OPTIONAL_URL, "expected https://host/path", asks=asks
        ),
        slack=typer.confirm("Post to Slack?", default=False, err=True) if slack is None and asks else bool(slack),
        listen=_ask(
            listen,
            "Listen on",
            standard.listen,
            _LISTEN,
            "expected host:port, such as 127.0.0.1:8080",
            asks=asks,
        ),
    )


def _secrets(choices: Choices, *, asks: bool) -> Secrets:
    slack = "https://hooks.slack.com/services/REPLACE/THIS/URL"
    return Secrets(
        signing=_secret("Signing secret, whsec_... (empty: later)", _random_secret, asks=asks),
        forward=_random_secret(),
        slack_url=_secret("Slack webhook URL (empty: later)", lambda: slack, asks=asks and choices.slack),
    )


def _paths(choices: Choices) -> list[Path]:
    """Where the files of these choices go."""
    names = list(starter(choices, Secrets("", "", "")))
    return [options.config, *(options.config.parent / name for name in names[1:])]


def _write(path: Path, text: str, *, is_secret: bool) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if is_secret:
            path.touch(0o600)
            path.chmod(0o600)  # before the secret comes in, also where the file was there
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise fail(f"cannot write {path}: {error.strerror}") from None
    print(f"wrote {path}")


def _keep_out_of_git(folder: Path) -> None:
    """Lists the env file and the data folder in .gitignore, where this is a git repository."""
    if not any((parent / ".git").exists() for parent in (folder.absolute(), *folder.absolute().parents)):
        return
    path = folder / ".gitignore"
    try:
        there = path.read_text(encoding="utf-8") if path.exists() else ""
        lines = {line.strip().removeprefix("/") for line in there.splitlines()}
        missing = [name for name in _IGNORED if name not in lines]
        if missing:
            start = there if not there or there.endswith("\n") else there + "\n"
            path.write_text(start + "".join(f"{name}\n" for name in missing), encoding="utf-8")
            print(f"listed {' and '.join(missing)} in {path}")
    except (OSError, UnicodeDecodeError) as error:
        raise fail(f"cannot list {ENV_FILE} in {path}: {error}") from None
