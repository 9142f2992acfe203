"""Each defect of pushing does what it says, and says when it did."""

from __future__ import annotations

import time
from typing import Any

import pytest

from earwitness.harness.defects.chance import Chance
from earwitness.harness.defects.pushes import OVERDUE_S, SILENT_S, STARVED_S
from earwitness.harness.defects.pushing import changed, seq_of
from earwitness.harness.reference.backend.wire import content, message_frame


@pytest.fixture
def chance_of() -> Any:
    return lambda probability: Chance("test", "service", probability)


def test_chance_fires_as_often_as_it_should(chance_of: Any) -> None:
    """However the opportunities are cut into calls, about p of them fire; 0 never and 1 always."""
    chance = chance_of(0.1)
    fired = sum(len(list(chance.among(n % 7))) for n in range(30_000))
    assert 8_400 < fired < 9_600
    assert 900 < sum(chance.fires() for _ in range(10_000)) < 1_100
    assert list(chance_of(1.0).among(4)) == [0, 1, 2, 3]
    assert list(chance_of(0.0).among(1000)) == []


@pytest.mark.parametrize("size", [*range(1, 140), 65_500, 70_000])
def test_frames_of_every_length_are_read(size: int) -> None:
    """A length byte that looks like the beginning of the JSON does not mislead."""
    data = message_frame("room", 7, "id", "sender", "x" * size, "now")
    assert seq_of(data) == 7
    assert content(changed(data, seq=8, text="short")) == {**content(data), "seq": 8, "text": "short"}


async def test_a_dropped_push(defective: Any, truth: Any) -> None:
    """Z5 by its name: stored and acknowledged, never heard; it shows when the client leaves in peace without it."""
    platform = defective("drop-push:1")
    (user,) = await platform.log_in_many(1)
    key = await platform.room([user])
    socket = await platform.connect(user)
    await socket.send(key, "gone")
    await socket.hear(1, key, "ack")
    await socket.say(type="ping", id=1)
    await socket.hear(1, kind="pong")
    assert socket.all("message") == []
    assert [m["text"] for m in await platform.history(user, key)] == ["gone"]
    (line,) = truth(platform).fired
    assert (line["defect"], line["name"], line["conversation"]) == ("Z5", "drop-push", key)
    assert (line["user"], line["seq"], line["firing"]) == (user.id, 1, 1)
    assert truth(platform).manifest == []
    await platform.end()
    (shown,) = truth(platform).manifest
    assert (shown["manifest"], shown["firing"]) == ("Z5", 1)


async def test_a_drop_shows_when_something_follows(defective: Any, truth: Any) -> None:
    """Every hole before a message that was heard is manifest, while the socket is still open."""
    platform = defective("Z5:0.4")
    (user,) = await platform.log_in_many(1)
    key = await platform.room([user])
    socket = await platform.connect(user)
    for n in range(40):
        await socket.send(key, str(n))
    await socket.hear(40, key, "ack")
    heard = await socket.until(lambda: socket.seqs(key), "something")
    lost = {line["seq"] for line in truth(platform).fired}
    assert lost
    assert lost | set(heard) == set(range(1, 41))
    shown = {line["firing"] for line in truth(platform).manifest}
    assert shown == {line["firing"] for line in truth(platform).fired if line["seq"] < heard[-1]}
    await platform.end()


async def test_pushes_twice_and_in_the_wrong_order(defective: Any, truth: Any) -> None:
    """Z1 and Z8 together: both seen by the listener as they are told."""
    platform = defective("swap-pushes:0.3", "duplicate-push:0.3")
    (user,) = await platform.log_in_many(1)
    key = await platform.room([user])
    socket = await platform.connect(user)
    for n in range(60):
        await socket.send(key, str(n))
    await socket.until(lambda: set(socket.seqs(key)) == set(range(1, 61)), "all of them")
    heard, said = socket.seqs(key), truth(platform)
    assert said.of("Z1")
    assert said.of("Z8")
    assert len(heard) == 60 + len(said.of("Z8"))
    assert heard != sorted(heard)
    assert len(said.manifest) == len(said.fired)
    await platform.end()


async def test_damaged_and_made_up(defective: Any, truth: Any) -> None:
    """Z12 escapes twice or cuts off, Z10 says what nobody has sent; the history is sound."""
    platform = defective("Z12:1", "Z10:1")
    (user,) = await platform.log_in_many(1)
    key = await platform.room([user])
    socket = await platform.connect(user)
    await socket.send(key, "one & two")
    await socket.send(key, "0123456789")
    texts = [m["text"] for m in await socket.hear(4, key)]
    assert texts.count("Welcome! This conversation is quiet so far.") == 2
    assert {"one &amp;amp; two", "012345"} <= set(texts)
    assert [m["text"] for m in await platform.history(user, key)] == ["one & two", "0123456789"]
    assert {line["defect"] for line in truth(platform).fired} == {"Z10", "Z12"}
    await platform.end()


async def test_silent_from_some_message_on(defective: Any, truth: Any) -> None:
    """Z33: nothing more on this socket; a new one that resumes gets all of it, and then it was not manifest."""
    platform = defective("Z33:1")
    (user,) = await platform.log_in_many(1)
    key = await platform.room([user])
    socket = await platform.connect(user)
    for n in range(3):
        await socket.send(key, str(n))
    await socket.hear(3, key, "ack")
    assert socket.all("message") == []
    assert len(truth(platform).fired) == 1
    socket.connection.transport.abort()
    again = await platform.connect(user, resume=True)
    await again.say(type="resume", **{"from": {key: 0}})
    await again.hear(3, key)
    assert truth(platform).manifest == []
    await platform.end()


async def test_silent_until_it_is_cut(defective: Any, truth: Any) -> None:
    """Z64: acknowledgements come, messages of no conversation do, until the platform closes the socket; a new one that
    resumes gets them, and another listener had them at once."""
    platform = defective("Z64:1")
    user, other = await platform.log_in_many(2)
    key, elsewhere = await platform.room([user, other]), await platform.room([user, other])
    socket, talker = await platform.connect(user), await platform.connect(other)
    await talker.send(key, "1")
    await talker.hear(1, key)
    (line,) = truth(platform).fired
    assert (line["user"], line["conversation"], line["seq"]) == (user.id, key, 1)
    await talker.send(elsewhere, "1")
    await talker.hear(1, elsewhere)
    await socket.send(key, "2")
    await socket.hear(1, key, "ack")
    assert await socket.closed() == 1011
    assert socket.all("message") == []
    (shown,) = [shown for shown in truth(platform).manifest if shown["firing"] == line["firing"]]
    slewed_s = 0.01  # `at` is of the wall clock, whose second may be a little longer than that of the timer
    assert OVERDUE_S - slewed_s <= shown["at"] - line["at"] < SILENT_S
    again = await platform.connect(user, 1, resume=True)
    await again.say(type="resume", **{"from": {key: 0, elsewhere: 0}})
    await again.hear(3)
    assert (again.seqs(key), again.seqs(elsewhere)) == ([1, 2], [1])


async def test_who_leaves_a_silent_socket_in_time_misses_nothing(defective: Any, truth: Any) -> None:
    """Z64: it does not show when the client is gone before the message is overdue; own messages make nobody silent."""
    platform = defective("Z64:1")
    user, other = await platform.log_in_many(2)
    key = await platform.room([user, other])
    leaver, stayer = await platform.connect(user), await platform.connect(other)
    await leaver.send(key, "1")
    await leaver.hear(1, key)
    await stayer.send(key, "2")
    await stayer.hear(1, key, "ack")
    assert {line["user"] for line in truth(platform).fired} == {user.id, other.id}
    firing = next(line["firing"] for line in truth(platform).fired if line["user"] == other.id)
    await leaver.end()
    assert await stayer.closed() == 1011
    assert [shown["firing"] for shown in truth(platform).manifest] == [firing]


async def test_what_comes_first_after_joining(defective: Any, truth: Any) -> None:
    """Z28: the first message after the welcome's head is missing, the later ones are there."""
    platform = defective("Z28:1")
    (user,) = await platform.log_in_many(1)
    key = await platform.room([user])
    socket = await platform.connect(user)
    await socket.send(key, "1")
    await socket.hear(1, key, "ack")
    await socket.send(key, "2")
    await socket.hear(1, key)
    assert socket.seqs(key) == [2]
    assert [line["seq"] for line in truth(platform).fired] == [1]
    assert len(truth(platform).manifest) == 1
    await platform.end()


async def test_an_old_message_after_the_bookmark(defective: Any, truth: Any) -> None:
    """Z27: welcomed with head 1, told about message 1 before message 2."""
    platform = defective("Z27:1")
    (user,) = await platform.log_in_many(1)
    key = await platform.room([user])
    first = await platform.connect(user)
    await first.send(key, "1")
    await first.hear(1, key)
    second = await platform.connect(user)
    assert second.frames[0]["conversations"][key] == 1
    await first.send(key, "2")
    await second.hear(2, key)
    assert second.seqs(key) == [1, 2]
    await first.hear(2, key)
    assert first.seqs(key) == [1, 2]
    (line,) = truth(platform).fired
    assert line["seq"] == 1


async def test_one_user_waits(defective: Any, truth: Any) -> None:
    """Z34: acknowledged at once, heard much later, in order."""
    platform = defective("Z34:1")
    (user,) = await platform.log_in_many(1)
    key = await platform.room([user])
    socket = await platform.connect(user)
    await socket.send(key, "1")
    await socket.hear(1, key, "ack")
    await socket.send(key, "2")
    await socket.hear(2, key, "ack")
    assert socket.seqs(key) == []
    await socket.hear(2, key)
    assert socket.seqs(key) == [1, 2]
    (line,) = truth(platform).fired
    assert (line["user"], [shown["firing"] for shown in truth(platform).manifest]) == (user.id, [line["firing"]])
    await platform.end()


async def test_who_is_gone_before_it_is_late_waits_in_vain(defective: Any, truth: Any) -> None:
    """Z34: what nobody hears late does not show."""
    platform = defective("Z34:1")
    (user,) = await platform.log_in_many(1)
    key = await platform.room([user])
    socket = await platform.connect(user)
    await socket.send(key, "1")
    await socket.hear(1, key, "ack")
    await socket.end()
    again, then = await platform.connect(user), time.time()
    await again.send(key, "2")
    await again.hear(1, key)
    assert again.seqs(key) == [2]
    (shown,) = truth(platform).manifest
    assert shown["at"] >= then + STARVED_S
    await platform.end()
