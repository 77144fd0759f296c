"""A coverage-guided fuzzer for one target: `python -m tests.attacks.fuzz TARGET SECONDS`. `make fuzz` runs them all."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path


def main(name: str, seconds: int) -> None:
    """Runs until the time is up; ends with an error, and the bytes that caused it, where a promise is broken."""
    import atheris

    with atheris.instrument_imports(include=["gateway"]):
        from tests.attacks.fuzz_targets import SEEDS, TARGETS
    folder = tempfile.mkdtemp(prefix=f"fuzz-{name}-")
    corpus = Path(folder) / "corpus"
    corpus.mkdir()
    for number, seed in enumerate(SEEDS[name]):
        (corpus / str(number)).write_bytes(seed)
    options = [f"-max_total_time={seconds}", "-max_len=4096", "-timeout=60", "-rss_limit_mb=2048"]
    atheris.Setup([sys.argv[0], *options, f"-artifact_prefix={folder}/", str(corpus)], TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
