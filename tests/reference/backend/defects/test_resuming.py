"""Going on wrongly after a cut connection, and histories that lack something."""

from __future__ import annotations

import asyncio
import json
from hashlib import sha256
from typing import Any

import pytest


@pytest.fixture
async def resumed(one_replica: Any, defective: Any) -> Any:
    """`resumed("Z24:1")`: (platform, key, user, socket) after six messages of which the client knows two."""

    async def go(*orders: str) -> Any:
        (user,) = await one_replica.log_in_many(1)
        key = await one_replica.room([user])
        before = await one_replica.connect(user)
        for n in range(6):
            await before.send(key, str(n))
        await before.hear(6, key, "ack")
        platform = defective(*orders)
        socket = await platform.connect(user, resume=True)
        await socket.say(type="resume", **{"from": {key: 2}})
        await socket.hear(1, key, "joined")
        await socket.send(key, "6")
        await socket.until(lambda: 7 in socket.seqs(key), "what is new")
        return platform, key, user, socket

    return go


@pytest.mark.parametrize(
    ("defect", "heard", "fact"),
    [
        ("Z24", [4, 5, 6, 7], {"left_out": 3}),
        ("Z25", [2, 3, 4, 5, 6, 7], {"repeated": 2}),
        ("Z26", [5, 6, 7], {"left_out": [3, 4]}),
        ("Z23", [7], {"seen": 2, "head": 6}),
    ],
)
async def test_resume(resumed: Any, truth: Any, defect: str, heard: list[int], fact: dict[str, Any]) -> None:
    """What is replayed is wrong, and the answer says that it is complete (Z23: nothing at all)."""
    platform, key, _, socket = await resumed(f"{defect}:1")
    assert socket.seqs(key) == heard
    assert socket.all("joined", key)[0]["complete"] is (None if defect == "Z23" else True)
    (line,) = truth(platform).fired
    assert {name: line[name] for name in fact} == fact
    assert len(truth(platform).manifest) == 1


async def test_a_history_that_lags(resumed: Any, truth: Any) -> None:
    """Z20: each read lacks the newest; Z21: every other one."""
    platform, key, user, _ = await resumed("Z20:1")
    assert [len(await platform.history(user, key)) for _ in range(2)] == [4, 4]
    assert len(truth(platform).fired) == 2
    platform, key, user, _ = await resumed("Z21:1")
    assert [len(await platform.history(user, key)) for _ in range(4)] == [7, 4, 7, 4]


async def test_a_history_that_is_a_moment_behind(defective: Any, truth: Any) -> None:
    """Z71: what is younger than half a second is not in it; what is older is."""
    platform = defective("Z71:1")
    (user,) = await platform.log_in_many(1)
    key = await platform.room([user])
    socket = await platform.connect(user)
    await socket.send(key, "young")
    await socket.hear(1, key, "ack")
    assert await platform.history(user, key) == []
    async with asyncio.timeout(10):
        while not (rows := await platform.history(user, key)):
            await asyncio.sleep(0.1)  # it shows when it is old enough
    assert len(rows) == 1
    assert truth(platform).fired[0]["left_out"] == [1]


async def test_a_page_with_a_hole(defective: Any, truth: Any) -> None:
    """Z66: a row in the middle is missing, the ends are right and the digest agrees; a page before the last one is as
    long as was asked for, and two rows have no middle. The healthy replica shows all."""
    platform = defective("Z66:1")
    (user,) = await platform.log_in_many(1)
    key = await platform.room([user])
    socket = await platform.connect(user)
    for n in range(6):
        await socket.send(key, str(n))
    await socket.hear(6, key, "ack")

    async def read(backend: int = 0, **query: int) -> list[int]:
        answer = (await platform.get(user, f"/api/conversations/{key}/messages", backend, **query)).json()
        rows = [[m["seq"], m["id"], m["sender"], m["text"]] for m in answer["messages"]]
        lines = b"".join(json.dumps(row, separators=(",", ":")).encode() + b"\n" for row in rows)
        assert answer["digest"] == sha256(lines).hexdigest()
        return [m["seq"] for m in answer["messages"]]

    assert await read() == [1, 2, 3, 5, 6]
    assert await read(limit=3) == [1, 3, 4]
    assert await read(after=4) == [5, 6]
    assert await read(limit=2) == [1, 2]
    assert await read(1) == [1, 2, 3, 4, 5, 6]
    said = truth(platform)
    assert [line["left_out"] for line in said.fired] == [4, 2]
    assert [shown["firing"] for shown in said.manifest] == [1, 2]


async def test_the_agents_stream(defective: Any, truth: Any) -> None:
    """Z31: a run ends twice or never. Z32: pieces of one run carry the name of another."""
    platform = defective("Z31:1", "Z32:1")
    (user,) = await platform.log_in_many(1)
    key = await platform.room([user])
    socket = await platform.connect(user)
    for n in range(4):
        await socket.send(key, f"a question with more than four words, number {n}", ask=True)
    await socket.hear(8, key)  # the questions and the answers
    ends = [f["run"] for f in socket.all("agent", key) if f["event"] == "completed"]
    await socket.until(lambda: len(truth(platform).of("Z31")) == 4, "the end of all runs")
    assert sorted(ends) == sorted(r for line in truth(platform).of("Z31") for r in [line["run"]] * line["times"])
    chunks = [(f["run"], f["n"]) for f in socket.all("agent", key) if f["event"] == "chunk"]
    assert truth(platform).of("Z32")
    assert len(set(chunks)) < len(chunks)
