"""A hook of MkDocs: what a page of `docs/` links to elsewhere in the repository is part of the site, under `project/`.

So a link is written once, as it leads in the repository, and `mkdocs build --strict` finds the dead ones.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path, PurePosixPath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
_ELSEWHERE = "project/"  # the folder of the site
_LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)\s#]+)(#[^)\s]*)?(?=\))")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds each file that a page links to, and what those link to in their turn."""
    waiting = [("docs/" + file.src_uri, Path(str(file.abs_src_path))) for file in files.documentation_pages()]
    for source, path in waiting:  # grows while it is walked
        for target, _ in _LINK.findall(path.read_text(encoding="utf-8")):
            linked = _repository_path(source, target)
            page = ROOT / linked
            if linked.startswith(("docs/", "..")) or not page.is_file() or files.get_file_from_path(_uri(linked)):
                continue
            files.append(File.generated(config, _uri(linked), abs_src_path=str(page)))
            if page.suffix == ".md":
                waiting.append((linked, page))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """The page with its links as they lead in the site."""
    here = page.file.src_uri
    source = here.removeprefix(_ELSEWHERE) if here.startswith(_ELSEWHERE) else "docs/" + here

    def led(match: re.Match[str]) -> str:
        linked = _repository_path(source, match[1])
        if not (ROOT / linked).is_file():
            return match[0]  # a folder, which a site does not show, or a dead link, of which MkDocs complains
        return posixpath.relpath(_uri(linked), str(PurePosixPath(here).parent)) + (match[2] or "")

    return _LINK.sub(led, markdown)


def _repository_path(source: str, target: str) -> str:
    """Where `target`, as the file `source` writes it, lies from the repository's root on."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(source), target))


def _uri(linked: str) -> str:
    """Where a file of the repository lies in the site, as MkDocs names sources."""
    return linked.removeprefix("docs/") if linked.startswith("docs/") else _ELSEWHERE + linked
