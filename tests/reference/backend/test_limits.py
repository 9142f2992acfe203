"""The budget: exact however many ask at once, truthful in what it says."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed

from earwitness.harness.reference.limits import Decision, Limiter


@pytest.fixture
def subject() -> str:
    return uuid.uuid4().hex


async def test_exact_with_many_at_once(valkey: Any, subject: str) -> None:
    """Of 300 concurrent questions for one token each, exactly the burst is granted (no refill to speak of)."""
    limiter = Limiter(valkey, rate_per_s=0.001, burst=100)
    decisions = await asyncio.gather(*(limiter.take(subject) for _ in range(300)))
    assert sum(d.allowed for d in decisions) == 100
    assert sorted((d.remaining for d in decisions if d.allowed), reverse=True) == list(range(99, -1, -1))


async def test_a_batch_is_granted_in_part(valkey: Any, subject: str) -> None:
    """Of 30 for a bucket of 20, 20; the neighbour in the same call is not touched."""
    limiter = Limiter(valkey, rate_per_s=0.001, burst=20)
    both = await limiter.take_many({subject: 30, subject + "b": 5})
    assert (both[subject].allowed, both[subject].remaining) == (20, 0)
    assert (both[subject + "b"].allowed, both[subject + "b"].remaining) == (5, 15)
    assert (await limiter.take(subject)).allowed == 0


async def test_retry_after_is_true(valkey: Any, subject: str) -> None:
    """Waiting as long as it says is enough; the full bucket is there after the reset."""
    limiter = Limiter(valkey, rate_per_s=20, burst=2)
    assert (await limiter.take(subject, 2)).allowed == 2
    refused = await limiter.take(subject)
    assert refused.allowed == 0
    assert 0 < refused.retry_after_s <= 0.05
    await asyncio.sleep(refused.retry_after_s)
    granted = await limiter.take(subject)
    assert granted.allowed == 1
    await asyncio.sleep(granted.reset_s)
    assert (await limiter.take(subject, 5)).allowed == 2


def test_headers() -> None:
    """Whole seconds, rounded up; Retry-After only for a refusal."""
    refused = Decision(allowed=0, remaining=0, limit=10, retry_after_s=0.2, reset_s=4.1).headers()
    assert refused == {
        "X-RateLimit-Limit": "10", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "5", "Retry-After": "1",
    }  # fmt: skip
    assert "Retry-After" not in Decision(1, 9, 10, 0.0, 1.0).headers()


async def test_one_budget_on_two_replicas(start_platform: Any) -> None:
    """Sockets on both replicas and REST share one budget: exactly the burst is stored, the rest has no effect."""
    platform = start_platform(2, rate_per_s=0.01, rate_burst=60, abuse_nacks=45)
    user, other = await platform.log_in_many(2)
    key = await platform.room([user, other])  # one token
    sockets = [await platform.connect(user, i) for i in (0, 1)]
    for n in range(50):
        for i, socket in enumerate(sockets):
            await socket.send(key, f"{i}:{n}")
    # 100 sent, 59 tokens left: 41 refused, too few to be shown out.
    await sockets[0].until(lambda: len(sockets[0].all("ack")) + len(sockets[0].all("nack")) == 50, "answers")
    await sockets[1].until(lambda: len(sockets[1].all("ack")) + len(sockets[1].all("nack")) == 50, "answers")
    assert sum(len(s.all("ack")) for s in sockets) == 59
    nacks = [f for s in sockets for f in s.all("nack")]
    assert {n["code"] for n in nacks} == {429}
    assert all(0 < n["retry_after"] <= 100 for n in nacks)
    answer = await platform.get(user, "/api/me", 1)
    assert answer.status_code == 429
    assert int(answer.headers["Retry-After"]) > 0
    assert answer.headers["X-RateLimit-Remaining"] == "0"
    async with httpx.AsyncClient() as client:
        url = f"{platform.backends[0].url}/api/conversations/{key}/messages"
        posted = await client.post(url, json={"id": "p", "text": "p"}, headers=user.bearer)
    assert posted.status_code == 429
    # Somebody else's budget is their own; whoever goes on flooding is shown out.
    assert len(await platform.history(other, key)) == 59
    with contextlib.suppress(ConnectionClosed):  # it may be shown out before the last one
        for n in range(60):
            await sockets[0].send(key, f"flood {n}")
    assert await sockets[0].closed() == 4429
    await platform.end()
