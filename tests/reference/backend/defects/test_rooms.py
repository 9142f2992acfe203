"""Messages that reach the wrong people, or come under the wrong number, on one replica."""

from __future__ import annotations

from typing import Any

import httpx


async def test_everybody_hears_it(defective: Any, truth: Any) -> None:
    """Z14: every connected stranger; leak: one of them. Members hear it once."""
    platform = defective("Z14:1")
    user, *strangers = await platform.log_in_many(3)
    key = await platform.room([user])
    socket = await platform.connect(user)
    others = [await platform.connect(stranger) for stranger in strangers]
    await socket.send(key, "secret")
    for other in others:
        assert (await other.hear(1, key))[0]["text"] == "secret"
    await socket.hear(1, key)
    assert socket.seqs(key) == [1]
    (line,) = truth(platform).fired
    assert set(line["users"]) == {stranger.id for stranger in strangers}


async def test_one_stranger_and_the_name_of_the_first_version(defective: Any, truth: Any) -> None:
    """leak and lose-after-ack, by their names and together: one stranger hears it, and then it has no row."""
    platform = defective("leak:1", "lose-after-ack:1")
    user, *strangers = await platform.log_in_many(3)
    key = await platform.room([user])
    socket = await platform.connect(user)
    others = [await platform.connect(stranger) for stranger in strangers]
    await socket.send(key, "secret")
    await socket.hear(1, key, "ack")
    await socket.hear(1, key)
    for other in others:
        await other.say(type="ping", id=1)
        await other.hear(1, kind="pong")
    assert sorted(len(other.seqs(key)) for other in others) == [0, 1]
    assert await platform.history(user, key) == []
    assert {line["defect"] for line in truth(platform).fired} == {"Z6b", "Z14b"}
    assert len(truth(platform).manifest) == 2


async def test_the_other_room(defective: Any, truth: Any) -> None:
    """Z15: the message appears under the other conversation's name, whose order stays whole."""
    platform = defective("Z15:1")
    user, other = await platform.log_in_many(2)
    key, elsewhere = await platform.room([user]), await platform.room([other])
    socket, neighbour = await platform.connect(user), await platform.connect(other)
    await socket.send(key, "ours")
    (frame,) = await neighbour.hear(1)
    assert (frame["conversation"], frame["text"], frame["seq"]) == (elsewhere, "ours", 0)
    assert truth(platform).fired[0]["appears_in"] == elsewhere


async def test_two_orders_of_one_conversation(defective: Any, truth: Any) -> None:
    """Z3: here it is 1, 2, 3 … with two messages exchanged; the other replica and the database say otherwise."""
    platform = defective("Z3:1")
    (user,) = await platform.log_in_many(1)
    key = await platform.room([user])
    here, there = await platform.connect(user, 0), await platform.connect(user, 1)
    for n in range(30):
        await there.send(key, str(n))
    heard, right = await here.hear(30, key), await there.hear(30, key)
    assert here.seqs(key) == there.seqs(key) == list(range(1, 31))
    wrong = {frame["seq"] for frame, true in zip(heard, right, strict=True) if frame["text"] != true["text"]}
    fired = truth(platform).fired
    assert fired
    assert wrong == {line["seq"] for line in fired} | {line["swapped_with"] for line in fired}
    assert [m["text"] for m in await platform.history(user, key)] == [str(n) for n in range(30)]


async def test_the_removed_one_still_hears(defective: Any, truth: Any) -> None:
    """Z16: no word of having left, and what is said after the removal; but the history is refused."""
    platform = defective("Z16:1")
    user, other = await platform.log_in_many(2)
    key = await platform.room([user, other])
    socket, removed = await platform.connect(user), await platform.connect(other)
    url = f"{platform.backends[0].url}/api/conversations/{key}/members/{other.email}"
    async with httpx.AsyncClient(timeout=10) as client:
        assert (await client.delete(url, headers=user.bearer)).status_code == 200
    await socket.send(key, "about you")
    assert [frame["text"] for frame in await removed.hear(1, key)] == ["about you"]
    assert (await platform.get(other, f"/api/conversations/{key}/messages")).status_code == 403
    assert [(line["conversation"], line["user"]) for line in truth(platform).fired] == [(key, other.id)]
    assert len(truth(platform).manifest) == 1
