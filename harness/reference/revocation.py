"""Revoked tokens, which every replica looks up in Redis.

 what | where |
---|---|
 one token | key `revoked:jti:JTI` = "1", lives as long as the token would |
 all tokens of a user up to a moment | key `revoked:sub:SUB` = epoch seconds; a token with `iat` <= it is refused |
 live connections | channel `revocations`: JSON `{"jti": …, "at": epoch}` or `{"sub": …, "at": epoch}` |
 mark: Redis has all valid revocations | key `revocations:known` |

The keys are set before the message is published. Auth keeps a durable copy in its database and writes all of it again
when Redis has lost its data. Until then it is unknown what is revoked, and no token is accepted.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import orjson
import redis.asyncio
import redis.exceptions

from earwitness.harness.reference import clock
from earwitness.harness.reference.tokens import LEEWAY_S, Claims

CHANNEL = "revocations"
KNOWN = "revocations:known"
MARGIN_S = 60


class RevocationsUnknown(redis.exceptions.ConnectionError):
    """Error for a Redis server that has lost its data and has no revocations from auth yet. It counts as an outage."""


@dataclass(frozen=True, slots=True)
class Revocation:
    """Revocation of one token (`token_id`) or of all tokens of a user (`subject`): exactly one of the two is set.

    `at`, `until`: epoch seconds; after `until` the revocation is no longer needed.
    """

    at: float
    until: float
    token_id: str | None = None
    subject: str | None = None

    @property
    def key(self) -> str:
        """Return the Redis key under which the revocation is stored."""
        return f"revoked:jti:{self.token_id}" if self.token_id else f"revoked:sub:{self.subject}"

    def message(self) -> bytes:
        """Return the message about the revocation for the channel `revocations`."""
        who = {"jti": self.token_id} if self.token_id else {"sub": self.subject}
        return orjson.dumps({**who, "at": self.at})


async def is_revoked(client: redis.asyncio.Redis, claims: Claims) -> bool:
    """Return whether a token is revoked. Redis is queried every time: a cached answer would become wrong.

    Raises errors of Redis and RevocationsUnknown, which become a 503.
    """
    return (await revoked_among(client, [claims]))[0]


async def revoked_among(client: redis.asyncio.Redis, tokens: Sequence[Claims]) -> list[bool]:
    """Return for each token whether it is revoked, by one query of Redis.

    Raises errors of Redis, and RevocationsUnknown if Redis has lost its data and has none from auth yet.
    """
    keys = [key for one in tokens for key in (f"revoked:jti:{one.token_id}", f"revoked:sub:{one.subject}")]
    known, *found = await client.mget([KNOWN, *keys])
    if known is None:
        raise RevocationsUnknown("Redis does not know yet what is revoked.")
    return [
        by_token is not None or (by_subject is not None and one.issued_at <= float(by_subject))
        for one, by_token, by_subject in zip(tokens, found[::2], found[1::2], strict=True)
    ]


async def publish(client: redis.asyncio.Redis, revocations: Iterable[Revocation]) -> None:
    """Store revocations in Redis and publish them, except those that are no longer needed.

    Idempotent. Raises errors of Redis. Of two revocations of all tokens of one user, the later one counts.
    """
    now = clock.now()
    async with client.pipeline(transaction=False) as pipe:
        for one in revocations:
            ttl_s = math.ceil(one.until - now + LEEWAY_S + MARGIN_S)
            if ttl_s <= 0:
                continue
            if one.token_id:
                pipe.set(one.key, "1", ex=ttl_s)
            else:
                pipe.eval(_LATER, 1, one.key, repr(one.at), ttl_s)
            pipe.publish(CHANNEL, one.message())
        await pipe.execute()


async def all_told(client: redis.asyncio.Redis, run_id: str) -> None:
    """Mark the revocations in Redis as complete, unless the run id of Redis is no longer `run_id`."""
    await client.eval(_ALL_TOLD, 1, KNOWN, run_id)


_ALL_TOLD = """
if string.find(redis.call('INFO', 'server'), 'run_id:' .. ARGV[1], 1, true) then redis.call('SET', KEYS[1], '1') end
"""
_LATER = """
local old = tonumber(redis.call('GET', KEYS[1]) or '0')
if tonumber(ARGV[1]) >= old then redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2]) end
"""
