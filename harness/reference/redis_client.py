"""Redis client of auth and backend: bounded, quick to give up, and adapted to uvloop."""

from __future__ import annotations

from collections.abc import Iterable

import redis.asyncio
import redis.exceptions
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff


class Connection(redis.asyncio.Connection):
    """Connection that raises redis-py's ConnectionError when it is written to after a reset.

    uvloop raises RuntimeError there, while redis-py expects only OSError. It would not count as an outage, and would
    not be retried on a new connection.
    """

    async def send_packed_command(self, command: bytes | str | Iterable[bytes], check_health: bool = True) -> None:
        """Implement `redis.asyncio.Connection.send_packed_command`: turn RuntimeError into ConnectionError."""
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
    """Return a client on which concurrent requests wait for one of a few connections instead of failing.

    `retried`: errors to retry, redis-py's own if None. Retries are few: a request that cannot be served gets a 503, not
    silence. They replace, within the same command, a connection that ended with the previous Redis process.
    """
    backoff = ExponentialBackoff(cap=0.1, base=0.01)
    pool = redis.asyncio.BlockingConnectionPool.from_url(
        url, connection_class=Connection, max_connections=connections, timeout=5, socket_timeout=answer_s,
        socket_connect_timeout=connect_s, retry=Retry(backoff, 2) if retried is None else Retry(backoff, 2, retried),
    )  # fmt: skip
    return redis.asyncio.Redis.from_pool(pool)
