"""Rate limit: one budget per authenticated subject, shared by all services, as a token bucket in Redis.

The bucket holds up to `burst` tokens and gains `rate_per_s` per second by the clock of Redis, so replicas with skewed
clocks agree. One atomic script serves each request. A request for n tokens may be granted in part (the first k of n).
So the message path needs one request for a whole batch and stays exact.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    from redis.asyncio import Redis

_TAKE = """
local rate, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local time = redis.call('TIME')
local now_us = time[1] * 1000000 + time[2]
local answers = {}
for i, key in ipairs(KEYS) do
  local tokens, at_us = burst, now_us
  local bucket = redis.call('HMGET', key, 'tokens', 'at_us')
  if bucket[1] then
    tokens, at_us = tonumber(bucket[1]), tonumber(bucket[2])
    if now_us > at_us then
      tokens = math.min(burst, tokens + (now_us - at_us) * rate / 1000000)
      at_us = now_us
    end
  end
  local granted = math.min(tonumber(ARGV[2 + i]), math.floor(tokens))
  tokens = tokens - granted
  -- Rounded down: rounding must never mint a token.
  local kept = string.format('%.6f', math.floor(tokens * 1000000) / 1000000)
  redis.call('HSET', key, 'tokens', kept, 'at_us', string.format('%.0f', at_us))
  redis.call('PEXPIRE', key, math.ceil((burst - tokens) * 1000 / rate) + 1000)
  answers[2 * i - 1] = granted
  answers[2 * i] = kept
end
return answers
"""


@dataclass(frozen=True, slots=True)
class Decision:
    """Result of a request for tokens of a budget.

    `allowed` of the n tokens were granted (0: refused); `remaining` whole tokens are left; `limit`: tokens of a full
    bucket.

    retry_after_s  seconds until one more token is available; 0.0 if one is available now.
    reset_s        seconds until the bucket is full again.
    """

    allowed: int
    remaining: int
    limit: int
    retry_after_s: float
    reset_s: float

    def headers(self, *, refused: bool = False) -> dict[str, str]:
        """Return the X-RateLimit-* headers; seconds are rounded up, so that waiting that long is enough.

        Retry-After is added when nothing was granted. `refused`: add it too if some were granted, because this request
        was not among those.
        """
        headers = {
            "X-RateLimit-Limit": str(self.limit),
            "X-RateLimit-Remaining": str(self.remaining),
            "X-RateLimit-Reset": str(math.ceil(self.reset_s)),
        }
        if refused or not self.allowed:
            headers["Retry-After"] = str(max(1, math.ceil(self.retry_after_s)))
        return headers


class Limiter:
    """Token buckets of subjects on an asyncio Redis client.

    A bucket holds `burst` tokens at most, and `rate_per_s` are added each second. `prefix` precedes the subject in the
    Redis key. Errors of Redis are raised to the caller.
    """

    def __init__(self, redis: Redis, rate_per_s: float, burst: float, prefix: str = "rate:") -> None:
        """Register the script of the buckets in Redis. `burst` below one token counts as one."""
        self.rate_per_s, self.burst = rate_per_s, max(1, int(burst))
        self._prefix = prefix
        self._script = redis.register_script(_TAKE)

    async def take(self, subject: str, n: int = 1) -> Decision:
        """Request `n` tokens of one subject's budget; return the decision."""
        return (await self.take_many({subject: n}))[subject]

    async def take_many(self, wanted: Mapping[str, int]) -> dict[str, Decision]:
        """Request tokens of several subjects in one call (subject -> number); return subject -> decision."""
        answers = await self._script(
            keys=[self._prefix + subject for subject in wanted],
            args=[self.rate_per_s, self.burst, *wanted.values()],
        )
        return {
            subject: self._decision(int(answers[2 * i]), float(answers[2 * i + 1])) for i, subject in enumerate(wanted)
        }

    def _decision(self, granted: int, tokens: float) -> Decision:
        return Decision(
            allowed=granted,
            remaining=int(tokens),
            limit=self.burst,
            retry_after_s=max(0.0, (1.0 - tokens) / self.rate_per_s),
            reset_s=(self.burst - tokens) / self.rate_per_s,
        )


def payer(request: web.Request, subject: str) -> str:
    """Return the subject whose budget a request is charged to: always the authenticated one, `subject`.

    Defects replace this function.
    """
    return subject


class Unlimited(Limiter):
    """Limiter for a platform without budgets: everything is granted, and Redis is not used."""

    def __init__(self) -> None:
        """Set rate and burst higher than any request. No Redis is used."""
        self.rate_per_s, self.burst = math.inf, 1 << 31

    async def take_many(self, wanted: Mapping[str, int]) -> dict[str, Decision]:
        """Implement `Limiter.take_many`: grant everything."""
        return {subject: Decision(n, self.burst, self.burst, 0.0, 0.0) for subject, n in wanted.items()}
