"""Rows that are lost or stored twice, and numbers that are given twice."""

from __future__ import annotations

from typing import Any


async def test_a_retry_over_another_replica(defective: Any, truth: Any) -> None:
    """Z9: recognised by the process that stored it, a second row from any other."""
    platform = defective("Z9:1")
    (user,) = await platform.log_in_many(1)
    key = await platform.room([user])
    forgetful, healthy = await platform.connect(user, 0), await platform.connect(user, 1)
    await forgetful.send(key, "first", "id-1")
    await forgetful.send(key, "first", "id-1")
    assert [f["seq"] for f in await forgetful.hear(2, key, "ack")] == [1, 1]
    assert truth(platform).fired == []
    await healthy.send(key, "second", "id-2")
    await healthy.hear(1, key, "ack")
    await forgetful.send(key, "second", "id-2")
    assert [f["seq"] for f in await forgetful.hear(3, key, "ack")] == [1, 1, 3]
    assert [m["text"] for m in await platform.history(user, key)] == ["first", "second", "second"]
    assert [line["id"] for line in truth(platform).fired] == ["id-2"]


async def test_a_clock_that_is_behind(defective: Any, truth: Any) -> None:
    """Z4: stored and acknowledged before two messages that were there first; all of them are there once."""
    platform = defective("Z4:1")
    (user,) = await platform.log_in_many(1)
    key = await platform.room([user])
    here, healthy = await platform.connect(user, 0), await platform.connect(user, 1)
    for n in range(4):
        await healthy.send(key, f"question {n}")
    await here.hear(4, key)
    await here.send(key, "answer")
    assert [f["seq"] for f in await here.hear(1, key, "ack")] == [3]
    stored = [(m["seq"], m["text"]) for m in await platform.history(user, key)]
    assert stored == [(1, "question 0"), (2, "question 1"), (3, "answer"), (4, "question 2"), (5, "question 3")]
    assert [(line["seq"], line["told_as"]) for line in truth(platform).fired] == [(5, 3)]


async def test_the_tail_after_a_restart(one_replica: Any, defective: Any, truth: Any) -> None:
    """Z7: two messages from before the process began are gone once it stores something there."""
    (user,) = await one_replica.log_in_many(1)
    key = await one_replica.room([user])
    before = await one_replica.connect(user)
    for n in range(5):
        await before.send(key, str(n))
    await before.hear(5, key, "ack")
    platform = defective("Z7:1")
    socket = await platform.connect(user)
    await socket.send(key, "5")
    await socket.hear(1, key, "ack")
    assert [m["text"] for m in await platform.history(user, key)] == ["0", "1", "2", "5"]
    assert [line["lost"] for line in truth(platform).fired] == [[4, 5]]
    new = await platform.room([user])
    await socket.hear(1, new, "joined")
    for n in range(5):
        await socket.send(new, str(n))
    await socket.hear(5, new, "ack")
    assert len(truth(platform).fired) == 1


async def test_numbers_again_after_a_restart(one_replica: Any, defective: Any, truth: Any, database: Any) -> None:
    """Z30: the next message gets a number that was given before; both are stored under it."""
    (user,) = await one_replica.log_in_many(1)
    key = await one_replica.room([user])
    before = await one_replica.connect(user)
    for n in range(5):
        await before.send(key, str(n))
    await before.hear(5, key, "ack")
    platform = defective("Z30:1")
    try:
        socket = await platform.connect(user)
        await socket.send(key, "again")
        assert [f["seq"] for f in await socket.hear(1, key, "ack")] == [3]
        stored = [(m["seq"], m["text"]) for m in await platform.history(user, key)]
        assert sorted(stored) == [(1, "0"), (2, "1"), (3, "2"), (3, "again"), (4, "3"), (5, "4")]
        (line,) = truth(platform).fired
        assert (line["head"], line["again_from"]) == (5, 3)
    finally:
        await database.execute("DELETE FROM messages")
        await database.execute("ALTER TABLE messages ADD PRIMARY KEY (conversation_id, seq)")
        await database.execute("DROP INDEX messages_numbers")
