"""Opens the sockets that a listener is to take connections from."""

from __future__ import annotations

import asyncio
import os
import socket


async def listening_sockets(host: str, port: int) -> list[socket.socket]:
    """One on every address of the host. Raises OSError, and then leaves none open."""
    loop = asyncio.get_running_loop()
    addresses = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    listening: list[socket.socket] = []
    try:
        for family, _, _, _, address in dict.fromkeys(addresses):
            listening.append(socket.create_server(address, family=family, backlog=4096))
    except OSError as error:
        for opened in listening:
            opened.close()
        raise OSError(error.errno, os.strerror(error.errno or 0)) from None  # without the address a second time
    return listening
