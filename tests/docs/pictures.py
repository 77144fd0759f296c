"""The pictures of README and docs, made from the program itself: `make pictures`, with Debian's chromium.

docs/pictures/made-from.txt names what they show, by its digest: a test tells when a picture is older than that.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

ROOT = Path(__file__).parents[2]
PICTURES = ROOT / "docs/pictures"
MADE_FROM = PICTURES / "made-from.txt"
SHOWN = {
    "overview-light.png": ("gateway/admin/console",),
    "overview-dark.png": ("gateway/admin/console",),
    "first-event.svg": (
        "gateway/cli/commands/dev.py",
        "gateway/cli/commands/send.py",
        "gateway/cli/dev",
        "gateway.yaml",
    ),
}
"""Each picture, and what it shows."""


def digest(paths: Iterable[str]) -> str:
    """Of the files that are named, and of those in folders that are."""
    named = [ROOT / path for path in paths]
    files = [
        file for path in named for file in (sorted(path.rglob("*")) if path.is_dir() else [path]) if file.is_file()
    ]
    texts = (file.read_bytes() for file in files if file.suffix not in (".pyc",))
    return hashlib.sha256(b"\0".join(texts)).hexdigest()[:16]


def made_from() -> str:
    """What stands in `MADE_FROM` when every picture is new."""
    return "".join(f"{name} {digest(paths)}\n" for name, paths in SHOWN.items())


def take_overview(folder: Path) -> None:
    """The console's overview, with something done, something dead and somebody silent."""
    from tests.acceptance.console import DESKTOP, OPERATOR, Console, chromium, sign_in

    console = Console(folder)
    console.start()
    try:
        console.send(*["checkout.session.completed"] * 6, "customer.created", "invoice.paid")
        schemes: tuple[Literal["light", "dark"], ...] = ("light", "dark")
        with chromium() as browser:
            for scheme in schemes:
                page = browser.new_context(viewport=DESKTOP, color_scheme=scheme).new_page()
                sign_in(page, console.url, OPERATOR, "Jenny")
                page.wait_for_load_state("networkidle")
                page.screenshot(path=PICTURES / f"overview-{scheme}.png")
    finally:
        console.process.terminate()


def record_first_event(folder: Path) -> None:
    """What `make dev` and the line that it prints show, as a picture of a terminal."""
    from rich.console import Console
    from rich.text import Text

    from tests.waiting import wait_until

    shutil.copy(ROOT / "gateway.yaml", folder)
    shutil.copytree(ROOT / "config/templates", folder / "config/templates")
    program = str(Path(sys.executable).with_name("gateway"))
    log = folder / "shown.txt"
    with log.open("wb") as shown:
        gateway = subprocess.Popen([program, "dev"], cwd=folder, stdout=shown, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: "In another terminal" in log.read_text())
        command = [program, "--dev", "send", "checkout.session.completed"]
        sent = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout
        wait_until(lambda: log.read_text().count("╭") >= 4)  # a row, a mail, a forward, a message
    finally:
        gateway.terminate()
        gateway.wait()
    text = re.sub(r"(?<=sign-in#)\S+", "...", log.read_text()).strip()
    text = re.sub(r"\S*/gateway(?= --dev)", "gateway", text)
    terminal = Console(record=True, width=110, file=(folder / "nowhere").open("w"))
    terminal.print(Text(f"$ make dev\n{text}\n\n$ gateway --dev send checkout.session.completed\n{sent.rstrip()}"))
    terminal.save_svg(str(PICTURES / "first-event.svg"), title="the first event", unique_id="first-event")


def main() -> None:
    PICTURES.mkdir(exist_ok=True)
    for take in (take_overview, record_first_event):
        with tempfile.TemporaryDirectory() as folder:
            take(Path(folder))
    MADE_FROM.write_text(made_from())


if __name__ == "__main__":
    main()
