"""Which files and folders a configuration is made of, and what tells that one of them has changed."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from gateway.config.load import Config

Stamps = Mapping[str, object]
"""What is known of each file without reading it, by its path. Two that are equal: nothing has changed."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """All that a configuration was read from."""

    folder: Path
    files: frozenset[Path]
    patterns: tuple[str, ...]  # globs below `folder`: a new file that fits is read too
    is_refused: bool = False  # what is missing may turn up under any name

    def folders(self) -> frozenset[Path]:
        """The folders to watch. Folders, because editors and mounted secrets swap files by renaming."""
        folders = {file.parent for file in self.files}
        for pattern in self.patterns:
            parts = Path(pattern).parts[:-1]
            for i in range(len(parts) + 1):
                below = str(Path(*parts[:i])) if i else "."
                folders.update(self.folder / name for name in glob.glob(below, root_dir=self.folder, recursive=True))
        return frozenset(folder for folder in folders if folder.is_dir())

    def stamps(self) -> Stamps:
        """How all of it stands now."""
        stamps: dict[str, object] = {str(file): _stamp(file) for file in self.files}
        for pattern in self.patterns:
            for name in glob.glob(pattern, root_dir=self.folder, recursive=True):
                stamps[str(self.folder / name)] = _stamp(self.folder / name)
        if self.is_refused:
            for folder in self.folders():
                stamps[f"{folder}/"] = _stamp(folder)
        return stamps


def inputs_of(config: Config, refused: Iterable[Path] | None = None) -> Inputs:
    """The inputs of a configuration; and of one that was `refused` after it, given by the files that it read."""
    tls = config.settings.server.tls
    certificates = [config.folder / name for name in (tls.cert, tls.key)] if tls is not None else []
    return Inputs(
        config.folder,
        frozenset([config.path.absolute(), *config.files, *certificates, *(refused or ())]),
        (*config.settings.include, *(f"{folder}/*.py" for folder in config.settings.plugins)),
        refused is not None,
    )


def _stamp(path: Path) -> tuple[int, int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    if path.is_dir():
        return status.st_mtime_ns, status.st_ino, 0, 0
    return status.st_mtime_ns, status.st_ino, status.st_ctime_ns, status.st_size
