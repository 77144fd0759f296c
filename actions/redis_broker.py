"""Redis Streams: a message counts as published when the server has answered with its entry's id.

Imports redis: publish imports this file when it first needs it.
"""

from __future__ import annotations

from typing import Any

from redis import exceptions
from redis.asyncio import Redis
from redis.asyncio.retry import Retry as RetryPolicy
from redis.backoff import NoBackoff

from actions.brokers import Acknowledged, Message, hidden
from gateway.plugin import Finding, ProbedUse, Reject, Retry, Unreached

_CONNECT_SECONDS = 5.0
_SWITCHED = ("READONLY", "LOADING", "MASTERDOWN")  # it is a replica, or not up yet: for everybody
_PASSING = ("OOM", "CLUSTERDOWN", "TRYAGAIN", "NOREPLICAS", "MISCONF", "BUSY")
# One step, so that nobody comes between: an entry that was added before is found by the delivery's id.
_ADD = """
local known = redis.call('GET', KEYS[2])
if known then return {known, 1} end
local command = {'XADD', KEYS[1]}
if ARGV[2] ~= '' then
  for _, word in ipairs({'MAXLEN', '~', ARGV[2]}) do table.insert(command, word) end
end
table.insert(command, '*')
for i = 3, #ARGV do table.insert(command, ARGV[i]) end
local added = redis.call(unpack(command))
redis.call('SET', KEYS[2], added, 'PX', ARGV[1])
return {added, 0}
"""


class RedisBroker:
    """A pool of connections; one that was lost is opened anew by the next message."""

    def __init__(self, url: str, ca_file: str | None, concurrency: int) -> None:
        self._url = url
        tls: dict[str, Any] = {"ssl_ca_certs": ca_file} if ca_file and url.startswith("rediss:") else {}
        self._redis = Redis.from_url(
            url,
            max_connections=concurrency + 1,
            socket_connect_timeout=_CONNECT_SECONDS,
            retry=RetryPolicy(NoBackoff(), 1),  # a pooled connection may have ended while it was idle
            **tls,
        )

    async def publish(self, message: Message, timeout_seconds: float) -> Acknowledged:
        """Adds an entry with the fields id, the headers, and body; once only within the duplicate window."""
        words = [str(max(1, round(message.duplicate_window_seconds * 1000))), str(message.max_length or "")]
        fields: list[str | bytes] = ["id", message.id]
        for name, value in message.headers.items():
            fields += [name, value]
        keys = (message.to, f"{_same_slot(message.to)}:published:{message.id}")
        try:
            position, known = await self._redis.eval(_ADD, 2, *keys, *words, *fields, "body", message.body)
        except (exceptions.RedisError, OSError) as error:
            raise self._meant(error) from None
        return Acknowledged(message.to, position.decode(), bool(known))

    def _meant(self, error: Exception) -> Retry | Reject:
        said = hidden(error, self._url)
        if isinstance(error, (exceptions.AuthenticationError, exceptions.AuthorizationError)):
            return Retry(f"the server refuses the login: {said}")
        if isinstance(error, (exceptions.ConnectionError, exceptions.TimeoutError, OSError)):
            return Unreached(f"the server is not reached: {said}")
        if isinstance(error, exceptions.ReadOnlyError) or said.startswith(_SWITCHED):
            return Unreached(f"Redis cannot take it now: {said}")
        if isinstance(error, (exceptions.OutOfMemoryError, exceptions.ClusterError)) or said.startswith(_PASSING):
            return Retry(f"Redis cannot take it now: {said}")
        return Reject(f"Redis refused it: {said}")

    async def look(self, timeout_seconds: float) -> Finding:
        """Whether it answers."""
        try:
            about = await self._redis.info()
        except exceptions.NoPermissionError:
            return Finding.good("answers: Redis; its version is not told to this user")
        except (exceptions.RedisError, OSError) as error:
            raise self._meant(error) from None
        name = f"Redis {about.get('redis_version', '')}".rstrip()
        if about.get("role") == "slave" and about.get("slave_read_only", 1):
            return Finding.bad(f"{name} answers as a replica, which takes no writes", "give the primary's address")
        return Finding.good(f"answers: {name}")

    async def look_at(self, to: str, use: ProbedUse) -> Finding:
        """Whether the key is a stream, or not there yet."""
        try:
            answer = await self._redis.type(to)
            kind = answer.decode() if isinstance(answer, bytes) else answer
        except (exceptions.RedisError, OSError) as error:
            return Finding.note(f"what {to} is, is not told: {hidden(error, self._url)}", use=use.place)
        if kind == "none":
            return Finding.good(f"there is no stream {to} yet; the first message makes it", use=use.place)
        if kind != "stream":
            return Finding.bad(f"{to} is a {kind}, not a stream", "give another key, or remove that one", use=use.place)
        return Finding.good(f"{to} is a stream", use=use.place)

    async def close(self) -> None:
        """Ends the connections."""
        await self._redis.aclose()


def _same_slot(key: str) -> str:
    """The begin of another key that a cluster keeps beside this one."""
    return key if "{" in key else f"{{{key}}}"
