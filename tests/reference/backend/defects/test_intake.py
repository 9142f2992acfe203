"""What is taken in wrongly, or answered wrongly."""

from __future__ import annotations

import asyncio
from typing import Any


async def test_two_of_one_sender_change_places(defective: Any, truth: Any) -> None:
    """Z2: the order of the history is not the order of the sender; nothing is lost."""
    platform = defective("Z2:0.5")
    (user,) = await platform.log_in_many(1)
    key = await platform.room([user])
    socket = await platform.connect(user)
    ids = [await socket.send(key, str(n)) for n in range(20)]
    await socket.hear(20, key, "ack")
    stored = [m["id"] for m in await platform.history(user, key)]
    assert sorted(stored) == sorted(ids)
    fired = truth(platform).fired
    assert fired
    for line in fired:
        assert stored.index(line["overtaken_by"]) < stored.index(line["id"])
        assert ids.index(line["id"]) < ids.index(line["overtaken_by"])
    assert len(truth(platform).manifest) == len(fired)


async def test_a_retry_changes_no_order(defective: Any, truth: Any) -> None:
    """Z2 swaps two messages that were stored before, on whatever occasion: it has fired, and nobody can see it."""
    platform = defective("Z2:1")
    (user,) = await platform.log_in_many(1)
    key = await platform.room([user])
    socket = await platform.connect(user)
    ids = [await socket.send(key, str(n)) for n in range(2)]
    await socket.hear(2, key, "ack")
    stored = [m["id"] for m in await platform.history(user, key)]
    assert stored == ids[::-1]
    for one in ids:
        await socket.send(key, "again", client_id=one)
    await socket.hear(4, key, "ack")
    assert [m["id"] for m in await platform.history(user, key)] == stored
    assert [line["firing"] for line in truth(platform).fired] == [1, 2]
    assert [line["firing"] for line in truth(platform).manifest] == [1]


async def test_a_message_without_a_follower_is_not_lost(defective: Any, truth: Any) -> None:
    """Z2 has nothing to swap: stored a little later, and no ground truth."""
    platform = defective("Z2:1")
    (user,) = await platform.log_in_many(1)
    key = await platform.room([user])
    socket = await platform.connect(user)
    await socket.send(key, "alone")
    await socket.hear(1, key)
    assert truth(platform).fired == []


async def test_acknowledged_and_nowhere(defective: Any, truth: Any) -> None:
    """Z6: an answer, no row, no number used up; the next message is number 1."""
    platform = defective("Z6:0.5")
    (user,) = await platform.log_in_many(1)
    key = await platform.room([user])
    socket = await platform.connect(user)
    ids = [await socket.send(key, str(n)) for n in range(20)]
    assert {frame["id"] for frame in await socket.hear(20, key, "ack")} == set(ids)
    lost = {line["id"] for line in truth(platform).fired}
    assert lost
    stored = await platform.history(user, key)
    assert [m["id"] for m in stored] == [one for one in ids if one not in lost]
    assert [m["seq"] for m in stored] == list(range(1, len(stored) + 1))


async def test_under_another_name(defective: Any, truth: Any) -> None:
    """Z18: delivered under the name of who was served before, stored rightly. Z19: stored wrongly too."""
    for defect, stored_wrongly in (("Z18", False), ("Z19", True)):
        platform = defective(f"{defect}:1")
        ann, bob = await platform.log_in_many(2)
        key = await platform.room([ann, bob])
        hers, his = await platform.connect(ann), await platform.connect(bob)
        await hers.send(key, "from ann")
        await his.hear(1, key)
        await his.send(key, "from bob")
        second = (await hers.hear(2, key))[1]
        assert (second["text"], second["sender"]) == ("from bob", ann.id)
        stored = (await platform.history(ann, key))[1]
        assert (stored["sender"] == ann.id) is stored_wrongly
        assert truth(platform).fired[-1]["truth"] == bob.id
        assert len(truth(platform).manifest) == len(truth(platform).fired)


async def test_refused_and_accepted(defective: Any, truth: Any) -> None:
    """Z13: first a nack, then the ack of the same message."""
    platform = defective("Z13:1")
    (user,) = await platform.log_in_many(1)
    key = await platform.room([user])
    socket = await platform.connect(user)
    message = await socket.send(key, "both")
    await socket.hear(1, key, "ack")
    answers = [(f["type"], f["id"]) for f in socket.frames if f["type"] in ("ack", "nack")]
    assert answers == [("nack", message), ("ack", message)]
    assert len(truth(platform).manifest) == 1


async def test_a_message_without_an_answer(defective: Any, truth: Any) -> None:
    """Z70: stored and pushed, and never acknowledged; it shows if the socket is open when the answer is overdue."""
    platform = defective("Z70:1")
    (user,) = await platform.log_in_many(1)
    key = await platform.room([user])
    stays, goes = await platform.connect(user), await platform.connect(user)
    messages = {await stays.send(key, "one"), await goes.send(key, "two")}
    assert {f["id"] for f in await stays.hear(2, key)} == messages
    assert stays.all("ack") == goes.all("ack") == []
    await goes.connection.close()
    said = truth(platform)
    async with asyncio.timeout(20):
        while not said.manifest:
            await asyncio.sleep(0.2)  # nobody tells that nothing comes
            said = truth(platform)
    assert (len(said.fired), len(said.manifest)) == (2, 1)


async def test_refused_and_done(defective: Any, truth: Any) -> None:
    """Z11: a stranger's message is refused with 403 and heard by the members."""
    platform = defective("Z11:1")
    member, stranger = await platform.log_in_many(2)
    key = await platform.room([member])
    inside, outside = await platform.connect(member), await platform.connect(stranger)
    message = await outside.send(key, "let me in")
    assert [(f["id"], f["code"]) for f in await outside.hear(1, kind="nack")] == [(message, 403)]
    assert [f["id"] for f in await inside.hear(1, key)] == [message]
    assert outside.all("ack") == []


async def test_the_tick_on_the_other_device(defective: Any, truth: Any) -> None:
    """Z17: the acknowledgement goes to the user's other connection."""
    platform = defective("Z17:1")
    (user,) = await platform.log_in_many(1)
    key = await platform.room([user])
    phone, laptop = await platform.connect(user), await platform.connect(user)
    message = await phone.send(key, "hello")
    assert [f["id"] for f in await laptop.hear(1, key, "ack")] == [message]
    await phone.hear(1, key)
    assert phone.all("ack") == []
