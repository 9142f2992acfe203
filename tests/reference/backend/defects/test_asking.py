"""Answers of the agent that reach a stranger, or reach one listener without their end."""

from __future__ import annotations

from typing import Any

QUESTION = "a question with more than four words, so that its answer has several pieces"


async def test_a_stranger_is_told_an_answer(defective: Any, truth: Any) -> None:
    """Z65: every event of the run, also on a socket without any conversation; a member is told it once."""
    platform = defective("Z65:1")
    user, stranger = await platform.log_in_many(2)
    key = await platform.room([user])
    socket, other = await platform.connect(user), await platform.connect(stranger)
    await socket.send(key, QUESTION, ask=True)
    await other.until(lambda: any(f["event"] == "completed" for f in other.all("agent", key)), "the end")
    await socket.until(lambda: any(f["event"] == "completed" for f in socket.all("agent", key)), "the end")
    assert other.all("agent") == socket.all("agent", key)
    assert other.all("message") == []
    (line,) = truth(platform).fired
    assert (line["conversation"], line["user"], line["run"]) == (key, stranger.id, f"{key}#1")
    assert len(truth(platform).manifest) == 1


async def test_without_a_stranger_an_answer_reaches_nobody_else(defective: Any, truth: Any) -> None:
    """Z65: nothing fires while only members are connected."""
    platform = defective("Z65:1")
    user, other = await platform.log_in_many(2)
    key = await platform.room([user, other])
    sockets = [await platform.connect(one) for one in (user, other)]
    await sockets[0].send(key, QUESTION, ask=True)
    for socket in sockets:
        await socket.until(lambda s=socket: any(f["event"] == "completed" for f in s.all("agent")), "the end")
    assert truth(platform).fired == []


async def test_an_answer_is_cut_off(defective: Any, truth: Any) -> None:
    """Z68: one of two is told the first piece and the end; the other, and a listener on the healthy replica, all."""
    platform = defective("Z68:1")
    user, other, third = await platform.log_in_many(3)
    key = await platform.room([user, other, third])
    sockets = [await platform.connect(user, 0), await platform.connect(other, 0), await platform.connect(third, 1)]
    await sockets[0].send(key, QUESTION, ask=True)
    for socket in sockets:
        await socket.until(lambda s=socket: any(f["event"] == "completed" for f in s.all("agent")), "the end")
    chunks = [[f["n"] for f in socket.all("agent") if f["event"] == "chunk"] for socket in sockets]
    whole = chunks[2]
    assert len(whole) > 2
    assert sorted(chunks[:2]) == [[0], whole]
    (line,) = truth(platform).fired
    assert line["user"] == (user.id, other.id)[chunks.index([0])]
    assert (line["conversation"], line["run"]) == (key, f"{key}#1")
    assert [shown["firing"] for shown in truth(platform).manifest] == [line["firing"]]


async def test_one_listener_alone_misses_nothing(defective: Any, truth: Any) -> None:
    """Z68: with nobody to compare with an answer stays whole."""
    platform = defective("Z68:1")
    (user,) = await platform.log_in_many(1)
    key = await platform.room([user])
    socket = await platform.connect(user)
    await socket.send(key, QUESTION, ask=True)
    await socket.until(lambda: any(f["event"] == "completed" for f in socket.all("agent")), "the end")
    end = socket.all("agent")[-1]
    assert [f["n"] for f in socket.all("agent") if f["event"] == "chunk"] == list(range(end["n"]))
    assert truth(platform).fired == []
