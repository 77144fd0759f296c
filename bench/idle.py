"""What gateways ask of PostgreSQL while there is nothing to do: statements, by the server's log, and processor use.

.venv/bin/python -m bench.idle [--gateways 10] [--seconds 60]
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import re
import tempfile
import time
from pathlib import Path

from bench.cpu import CpuUse
from bench.figures import table
from bench.intake import silent_sink
from bench.intake_postgres import POSTGRES_CONFIG, postgres_server
from bench.programs import free_port, gateway_command, program
from bench.traffic import SECRET

LOGGED = re.compile(r"LOG:  (?:statement|execute [^:]*): (.*(?:\n\t.*)*)")
SETTLE_SECONDS = 12.0  # what a start leaves to do is done by then


def main() -> None:
    """Runs everything and prints Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gateways", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=60)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as base, contextlib.ExitStack() as stack:
        folder = Path(base)
        server = stack.enter_context(postgres_server(folder / "pg"))
        sink = stack.enter_context(silent_sink())
        programs = {}
        for number in range(options.gateways):
            port = free_port()
            config = folder / f"gateway{number}.yaml"
            config.write_text(
                POSTGRES_CONFIG.format(
                    port=port, admin=free_port(), store=server.get_uri(), secret=SECRET, sink=sink, concurrency=8
                )
            )
            process = stack.enter_context(program(gateway_command(config), folder, port, "/readyz"))
            programs[f"gateway {number}"] = process.pid
        programs["PostgreSQL"] = server.get_pid()
        server.psql("ALTER SYSTEM SET log_statement = 'all';")
        server.psql("SELECT pg_reload_conf();")
        time.sleep(SETTLE_SECONDS)
        log = folder / "pg" / "log"
        begun_at, cpu = log.stat().st_size, CpuUse(programs)
        time.sleep(options.seconds)
        cores = cpu.cores()
        with log.open("rb") as file:
            file.seek(begun_at)
            said = file.read().decode(errors="replace")
        counted = collections.Counter(" ".join(statement.split())[:90] for statement in LOGGED.findall(said))
    total = sum(counted.values())
    told = f"{total / options.seconds:.2f} statements a second together"
    print(f"{options.gateways} idle gateways, {options.seconds:g} s: {told}\n")
    rows = [[f"`{text}`", f"{count / options.seconds:.2f}"] for text, count in counted.most_common()]
    print(table(["statement", "a second"], rows))
    ours = [used for name, used in cores.items() if name.startswith("gateway")]
    print(
        f"\nProcessor: {sum(ours) / len(ours):.2%} of a core for each gateway, {cores['PostgreSQL']:.2%} for PostgreSQL"
    )


if __name__ == "__main__":
    main()
