"""The docs as a site: every page is in it, and no link is dead."""

from __future__ import annotations

import os
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.xdist_group("site")  # one worker, so built once

ROOT = Path(__file__).parents[2]


def build(into: Path, config: Path = ROOT / "mkdocs.yml") -> tuple[int, str]:
    """How MkDocs ends for a site that it builds, and what it warns of. It may ask nobody."""
    nobody = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
    command = [sys.executable, "-m", "mkdocs", "build", "--config-file", str(config), "--site-dir", str(into)]
    environ = {**os.environ, **nobody, "NO_MKDOCS_2_WARNING": "1"}
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environ)
    return said.returncode, "\n".join(line for line in said.stderr.splitlines() if line and not line.startswith("INFO"))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built without a word."""
    folder = tmp_path_factory.mktemp("site")
    assert build(folder) == (0, "")
    return folder


class Fetched(HTMLParser):
    """What a page would fetch from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("script", "link", "img", "iframe"):
            address = dict(attrs).get("src") or dict(attrs).get("href") or ""
            if "//" in address:
                self.addresses.append(address)


def test_a_page_asks_nobody_else(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 25
    for page in pages:
        parser = Fetched()
        parser.feed(page.read_text())
        assert parser.addresses == [], page.name


def test_what_lies_outside_docs_is_a_page_too_and_its_links_lead_there(site: Path) -> None:
    page = (site / "project/CONTRIBUTING.html").read_text()
    assert 'href="../adr/0008-sixteen-rooms.html"' in page
    assert 'href="gateway/core/model/deliveries.py"' in page
    assert (site / "project/gateway/core/model/deliveries.py").is_file()


def test_a_dead_link_and_a_page_that_is_in_no_list_fail(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/index.md").write_text("# Start\n\n[gone](gone.md) and [no heading](index.md#none)\n")
    (tmp_path / "docs/lost.md").write_text("# Lost\n")
    settings = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
    hooks = [str(ROOT / hook) for hook in settings["hooks"]]
    (tmp_path / "mkdocs.yml").write_text(yaml.safe_dump({**settings, "hooks": hooks, "nav": [{"Start": "index.md"}]}))
    code, said = build(tmp_path / "out", tmp_path / "mkdocs.yml")
    assert "lost.md" in said
    assert "'gone.md'" in said
    assert "'index.md#none'" in said
    assert code == 1
