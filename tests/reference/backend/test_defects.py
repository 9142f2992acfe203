"""Each defect does what it says, and says when it did."""

from __future__ import annotations

import json
from typing import Any

import pytest

from harness.reference.defects.chance import Chance


def truth(platform: Any) -> list[dict[str, Any]]:
    """All ground-truth lines of the first replica."""
    lines = platform.backends[0].log.read_text().splitlines()
    return [json.loads(line) for line in lines if line.startswith('{"defect"')]


@pytest.fixture
def chance_of() -> Any:
    return lambda probability: Chance("test", "service", probability)


def test_chance_fires_as_often_as_it_should(chance_of: Any) -> None:
    """However the opportunities are cut into calls, about p of them fire; 0 never and 1 always."""
    chance = chance_of(0.1)
    fired = sum(len(list(chance.among(n % 7))) for n in range(30_000))
    assert 8_400 < fired < 9_600
    assert list(chance_of(1.0).among(4)) == [0, 1, 2, 3]
    assert list(chance_of(0.0).among(1000)) == []


async def test_a_dropped_push(start_platform: Any) -> None:
    """drop-push: stored and acknowledged, never heard."""
    platform = start_platform(1, ("drop-push:1",))
    (user,) = await platform.log_in_many(1)
    key = await platform.room([user])
    socket = await platform.connect(user)
    await socket.send(key, "gone")
    await socket.hear(1, key, "ack")
    await socket.say(type="ping", id=1)
    await socket.hear(1, kind="pong")
    assert socket.all("message") == []
    assert [m["text"] for m in await platform.history(user, key)] == ["gone"]
    (line,) = truth(platform)
    assert (line["defect"], line["conversation"], line["user"], line["seq"]) == ("drop-push", key, user.id, 1)
    await platform.end()


async def test_pushes_twice_and_in_the_wrong_order(start_platform: Any) -> None:
    """duplicate-push and swap-pushes: both seen by the listener as they are told."""
    platform = start_platform(1, ("swap-pushes:0.3", "duplicate-push:0.3"))
    (user,) = await platform.log_in_many(1)
    key = await platform.room([user])
    socket = await platform.connect(user)
    for n in range(60):
        await socket.send(key, str(n))
    await socket.until(lambda: set(socket.seqs(key)) == set(range(1, 61)), "all of them")
    heard, lines = socket.seqs(key), truth(platform)
    twice = [line["seq"] for line in lines if line["defect"] == "duplicate-push"]
    swapped = [line["seq"] for line in lines if line["defect"] == "swap-pushes"]
    assert twice
    assert len(heard) == 60 + len(twice)
    assert swapped
    assert heard != sorted(heard)
    await platform.end()


async def test_lost_and_leaked(start_platform: Any) -> None:
    """lose-after-ack: heard, but no row. leak: a connected stranger hears what is not for them."""
    platform = start_platform(1, ("leak:1", "lose-after-ack:1"))
    user, stranger = await platform.log_in_many(2)
    key = await platform.room([user])
    socket, other = await platform.connect(user), await platform.connect(stranger)
    await socket.send(key, "secret")
    await socket.hear(1, key)
    await socket.hear(1, key, "ack")
    assert (await other.hear(1, key))[0]["text"] == "secret"
    assert await platform.history(user, key) == []
    assert {line["defect"] for line in truth(platform)} == {"leak", "lose-after-ack"}
    await platform.end()


def test_an_unknown_defect_is_one_sentence(spawn_service: Any, postgres_dsns: Any, redis_url: str) -> None:
    """Exit status 2, and the names that there are."""
    settings = {
        "dsn": postgres_dsns.main, "redis_url": redis_url, "auth_url": "http://127.0.0.1:9", "audience": "a",
        "issuer": "http://127.0.0.1:9",
    }  # fmt: skip
    backend = spawn_service("backend", settings, ("eat-cookies:0.5",), wait=False)
    assert backend.process.wait(20) == 2
    said = backend.log.read_text()
    assert "'eat-cookies' is no defect of backend" in said
    assert "drop-push" in said
    assert "Traceback" not in said
