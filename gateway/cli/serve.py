"""gateway serve: runs the gateway."""

from __future__ import annotations

import asyncio

from gateway.cli.app import app, load_config, options


@app.command()
def serve() -> None:
    """Run the gateway until SIGTERM or Ctrl-C."""
    if options.dev:
        from gateway.cli.dev import dev

        dev()
        return
    from gateway import logs
    from gateway.service import serve as run

    config = load_config()
    log = logs.configure(config.settings.log.level, config.settings.log.format)
    for warning in config.warnings:
        log.warning("config.warning", problem=str(warning))
    run_loop(run(config, log=log))


def run_loop(main: object) -> None:
    """Runs a coroutine on uvloop where it is to be had."""
    try:
        import uvloop
    except ImportError:
        asyncio.run(main)  # type: ignore[arg-type]
    else:
        uvloop.run(main)  # type: ignore[arg-type]
