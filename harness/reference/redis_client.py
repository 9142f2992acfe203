"""Redis client of auth and backend, with few connections, short time limits, and adapted to uvloop."""

from __future__ import annotations

from collections.abc import Iterable

import redis.asyncio
import redis.exceptions
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff


class Connection(redis.asyncio.Connection):
    """Connection that raises redis-py's ConnectionError when it is written to after a reset.

    uvloop raises RuntimeError there, while redis-py expects only OSError. A RuntimeError would not count as an outage,
    and would not be retried on a new connection.
    """

    async def send_packed_command(self, command: bytes | str | Iterable[bytes], check_health: bool = True) -> None:
        """Implement `redis.asyncio.Connection.send_packed_command`: raise ConnectionError instead of RuntimeError."""
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
    """Return a client with at most `connections` connections. Concurrent requests wait for one instead of failing.

    `answer_s`, `connect_s`: time limits in seconds; `retried`: errors to retry, None for those of redis-py. There are
    only two retries, so that a request that cannot be served soon gets a 503. They replace a connection that ended with
    an earlier Redis process.
    """
    backoff = ExponentialBackoff(cap=0.1, base=0.01)
    pool = redis.asyncio.BlockingConnectionPool.from_url(
        url, connection_class=Connection, max_connections=connections, timeout=5, socket_timeout=answer_s,
        socket_connect_timeout=connect_s, retry=Retry(backoff, 2) if retried is None else Retry(backoff, 2, retried),
    )  # fmt: skip
    return redis.asyncio.Redis.from_pool(pool)
