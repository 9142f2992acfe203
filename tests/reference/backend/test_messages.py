"""The path of a message: order, acknowledgement, idempotency, refusal, across two replicas."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx


async def test_order_across_replicas(platform: Any) -> None:
    """Senders on both replicas: everybody hears 1, 2, 3 … in one order, which is the order in the database."""
    users = await platform.log_in_many(4)
    key = await platform.room(users)
    sockets = [await platform.connect(user, i % 2) for i, user in enumerate(users)]

    async def talk(i: int) -> None:
        for n in range(50):
            await sockets[i].send(key, f"{i}:{n}")

    await asyncio.gather(*(talk(i) for i in range(4)))
    heard = [await socket.hear(200, key) for socket in sockets]
    stored = await platform.history(users[0], key)
    expected = [(m["seq"], m["text"], m["sender"]) for m in stored]
    assert [seq for seq, _, _ in expected] == list(range(1, 201))
    for i, frames in enumerate(heard):
        assert [(f["seq"], f["text"], f["sender"]) for f in frames] == expected
        own = [f["text"] for f in frames if f["sender"] == users[i].id]
        assert own == [f"{i}:{n}" for n in range(50)]
        await sockets[i].hear(50, key, "ack")


async def test_ack_tells_the_number_of_the_message(platform: Any) -> None:
    """Each message is acknowledged exactly once, with the number under which it is stored and pushed."""
    (user,) = await platform.log_in_many(1)
    key = await platform.room([user])
    socket = await platform.connect(user)
    ids = [await socket.send(key, f"text {n}") for n in range(20)]
    acks = await socket.hear(20, key, "ack")
    pushed = await socket.hear(20, key)
    assert [(a["id"], a["seq"]) for a in acks] == [(i, n + 1) for n, i in enumerate(ids)]
    assert [(m["id"], m["seq"]) for m in pushed] == [(a["id"], a["seq"]) for a in acks]


async def test_retry_keeps_its_number(platform: Any) -> None:
    """A retry on any replica is acknowledged with the first number, stored once and pushed once."""
    user, friend = await platform.log_in_many(2)
    key = await platform.room([user, friend])
    first, second = await platform.connect(user, 0), await platform.connect(user, 1)
    other = await platform.connect(friend, 1)
    client_id = await first.send(key, "once")
    await first.hear(1, key, "ack")
    await first.send(key, "once", client_id)
    await second.send(key, "once", client_id)
    await second.send(key, "last")
    acks = await first.hear(2, key, "ack")
    assert [a["seq"] for a in acks] == [1, 1]
    await second.hear(2, key, "ack")
    assert [a["seq"] for a in second.all("ack")] == [1, 2]
    await other.hear(2, key)
    assert [m["text"] for m in other.all("message", key)] == ["once", "last"]
    assert [m["text"] for m in await platform.history(user, key)] == ["once", "last"]


async def test_retry_within_one_batch(platform: Any) -> None:
    """The same message twice in one write is one message with two acknowledgements."""
    (user,) = await platform.log_in_many(1)
    key = await platform.room([user])
    socket = await platform.connect(user)
    for _ in range(5):
        await socket.send(key, "same", "the-same-id")
    await socket.send(key, "end")
    acks = await socket.hear(6, key, "ack")
    assert [a["seq"] for a in acks if a["id"] == "the-same-id"] == [1] * 5
    await socket.hear(2, key)
    assert socket.seqs(key) == [1, 2]


async def test_ids_are_the_senders_own(platform: Any) -> None:
    """Two people may use the same client id; both messages are stored."""
    users = await platform.log_in_many(2)
    key = await platform.room(users)
    sockets = [await platform.connect(user, i) for i, user in enumerate(users)]
    for socket in sockets:
        await socket.send(key, "hello", "1")
    for socket in sockets:
        await socket.hear(2, key)
        assert socket.seqs(key) == [1, 2]


async def test_strangers_are_refused_and_hear_nothing(platform: Any) -> None:
    """A non-member gets 403 on socket and REST, with no effect, and no message reaches them."""
    member, stranger = await platform.log_in_many(2)
    key = await platform.room([member])
    inside, outside = await platform.connect(member), await platform.connect(stranger)
    await outside.send(key, "let me in", "x")
    nacks = await outside.hear(1, kind="nack")
    assert (nacks[0]["id"], nacks[0]["code"]) == ("x", 403)
    await inside.send(key, "private")
    await inside.hear(1, key)
    await outside.say(type="ping", id=1)
    await outside.hear(1, kind="pong")
    assert outside.all("message") == []
    for path in (f"/api/conversations/{key}/messages", "/api/conversations/no-such-room/messages"):
        assert (await platform.get(stranger, path)).status_code == 403
        async with httpx.AsyncClient() as client:
            url = platform.backends[0].url + path
            answer = await client.post(url, json={"id": "y", "text": "hello"}, headers=stranger.bearer)
        assert answer.status_code == 403
    assert [m["text"] for m in await platform.history(member, key)] == ["private"]


async def test_malformed_frames_are_refused(platform: Any) -> None:
    """Too long is 413, nonsense is 400, and the connection goes on."""
    (user,) = await platform.log_in_many(1)
    key = await platform.room([user])
    socket = await platform.connect(user)
    await socket.send(key, "x" * (64 * 1024 + 1), "long")
    await socket.send(key, "ä" * (32 * 1024 + 1), "long too")
    await socket.send(key, "nul \0", "nul")
    await socket.send(key, "", "empty")
    await socket.connection.send("{")
    await socket.say(type="send", conversation=7, id="k", text="t")
    nacks = await socket.hear(6, kind="nack")
    assert [(n["id"], n["code"]) for n in nacks] == [
        ("long", 413), ("long too", 413), ("nul", 400), ("empty", 400), (None, 400), ("k", 400),
    ]  # fmt: skip
    await socket.send(key, "x" * (64 * 1024))
    assert (await socket.hear(1, key))[0]["text"] == "x" * (64 * 1024)


async def test_posted_messages_take_the_same_path(platform: Any) -> None:
    """POST stores, numbers, pushes and repeats like a frame does; the history's digest covers the page."""
    (user,) = await platform.log_in_many(1)
    key = await platform.room([user])
    socket = await platform.connect(user, 1)
    path = f"/api/conversations/{key}/messages"
    async with httpx.AsyncClient(headers=user.bearer, base_url=platform.backends[0].url) as client:
        answers = [await client.post(path, json={"id": i, "text": f"text {i}"}) for i in ("a", "b", "a")]
        assert [a.status_code for a in answers] == [201] * 3
        assert [a.json()["seq"] for a in answers] == [1, 2, 1]
        assert "X-RateLimit-Remaining" in answers[0].headers
        pages = [(await client.get(path, params={"after": n, "limit": 1})).json() for n in (0, 1, 2)]
    assert [m["text"] for m in await socket.hear(2, key)] == ["text a", "text b"]
    assert [[m["seq"] for m in p["messages"]] for p in pages] == [[1], [2], []]
    assert len({p["digest"] for p in pages}) == 3


async def test_burst_of_a_thousand(platform: Any) -> None:
    """One user's 1,000 messages in one go: all acknowledged, pushed and stored in order."""
    users = await platform.log_in_many(3)
    key = await platform.room(users)
    sockets = [await platform.connect(user, i % 2) for i, user in enumerate(users)]
    for n in range(1000):
        await sockets[0].send(key, f"message {n}", str(n))
    for socket in sockets:
        await socket.hear(1000, key)
        assert [m["text"] for m in socket.all("message")] == [f"message {n}" for n in range(1000)]
    await sockets[0].hear(1000, key, "ack")
    assert [(a["id"], a["seq"]) for a in sockets[0].all("ack")] == [(str(n), n + 1) for n in range(1000)]
    assert len(await platform.history(users[0], key)) == 1000


async def test_members_by_name(platform: Any) -> None:
    """Members see who is in a conversation: id, e-mail and name, only the e-mail of who was never here; others 403."""
    user, friend, stranger = await platform.log_in_many(3)
    key = await platform.room([user, friend])
    invited = {"members": [user.email, "never@example.test"], "title": "with a title"}
    url = f"{platform.backends[0].url}/api/conversations/{key}"
    async with httpx.AsyncClient(timeout=10) as client:
        assert (await client.put(url, json=invited, headers=user.bearer)).status_code == 200
    path = f"/api/conversations/{key}"
    answer = (await platform.get(friend, path, 1)).json()
    assert answer["key"] == key
    people = {m["email"]: (m["id"], m["name"]) for m in answer["members"]}
    assert people.pop("never@example.test") == (None, None)
    assert people == {u.email: (u.id, u.email.partition("@")[0]) for u in (user, friend)}
    assert (await platform.get(stranger, path, 0)).status_code == 403
