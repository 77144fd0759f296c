#!/usr/bin/env bash
# A URL as PostgreSQL's own programs take it, with sslmode, application_name or options, cannot be used with SQLAlchemy's
# dialect for asyncpg, though asyncpg itself takes all three in a URL. `async_creator` that hands asyncpg the URL is the way.
. "$(dirname "$0")/common.sh"
packages "SQLAlchemy[asyncio]==2.1.9" asyncpg==0.32.0
seen "SQLAlchemy, sslmode=disable: TypeError: connect() got an unexpected keyword argument 'sslmode'
SQLAlchemy, application_name=shop: TypeError: connect() got an unexpected keyword argument 'application_name'
SQLAlchemy, options=-csearch_path%3Dshop: TypeError: connect() got an unexpected keyword argument 'options'
asyncpg, all three: reads the URL and connects (nobody listens: ConnectionRefusedError)" <<'PY'
import asyncio
import socket

import asyncpg
from sqlalchemy.ext.asyncio import create_async_engine

PARAMETERS = ("sslmode=disable", "application_name=shop", "options=-csearch_path%3Dshop")
with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    address = f"app:secret@127.0.0.1:{probe.getsockname()[1]}/shop"  # where nobody listens


async def main():
    for parameter in PARAMETERS:
        engine = create_async_engine(f"postgresql+asyncpg://{address}?{parameter}")
        try:
            async with engine.connect():
                print("connected")
        except Exception as error:
            print(f"SQLAlchemy, {parameter}: {type(error).__name__}: {error}")
    try:
        await asyncpg.connect(f"postgresql://{address}?{'&'.join(PARAMETERS)}")
    except OSError as error:
        print(f"asyncpg, all three: reads the URL and connects (nobody listens: {type(error).__name__})")


asyncio.run(main())
PY
