"""The client of Redis that auth and backend have in common: bounded, quick to give up, at home on uvloop."""

from __future__ import annotations

from collections.abc import Iterable

import redis.asyncio
import redis.exceptions
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff


class Connection(redis.asyncio.Connection):
    """A connection that was reset says so when it is written to. uvloop throws RuntimeError there, where redis-py knows
    only OSError: nobody would take that for an outage, and it would not be tried again on a new connection."""

    async def send_packed_command(self, command: bytes | str | Iterable[bytes], check_health: bool = True) -> None:
        try:
            await super().send_packed_command(command, check_health)
        except RuntimeError as error:
            raise redis.exceptions.ConnectionError(f"written to after its end: {error}") from error


def make_redis(
    url: str,
    connections: int,
    *,
    answer_s: float,
    connect_s: float,
    retried: tuple[type[redis.exceptions.RedisError], ...] | None = None,
) -> redis.asyncio.Redis:
    """Many requests at once wait for one of a few connections instead of failing. `retried`: redis-py's own if None.

    Few retries: a request that cannot be served is answered with 503, not with silence. They replace a connection that
    died with the last Redis within the same command."""
    backoff = ExponentialBackoff(cap=0.1, base=0.01)
    pool = redis.asyncio.BlockingConnectionPool.from_url(
        url, connection_class=Connection, max_connections=connections, timeout=5, socket_timeout=answer_s,
        socket_connect_timeout=connect_s, retry=Retry(backoff, 2) if retried is None else Retry(backoff, 2, retried),
    )  # fmt: skip
    return redis.asyncio.Redis.from_pool(pool)
