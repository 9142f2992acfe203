"""Sockets over their life: credentials, welcome, resume, invitations, expiry, revocation, shutdown."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest
import websockets
from websockets.asyncio.client import connect


async def test_every_way_to_present_a_token(platform: Any) -> None:
    """Header, subprotocol, query and single-use ticket each open a socket as the same person."""
    (user,) = await platform.log_in_many(1)
    async with httpx.AsyncClient() as client:
        ticket = (await client.post(f"{platform.auth.url}/auth/ticket", headers=user.bearer)).json()["ticket"]
    url = platform.ws_url()
    ways: list[tuple[str, dict[str, Any]]] = [
        (url, {"additional_headers": user.bearer}),
        (url, {"subprotocols": ["earwitness.v1", f"bearer.{user.token}"]}),
        (f"{url}?token={user.token}", {}),
        (f"{url}?ticket={ticket}", {}),
    ]
    for address, options in ways:
        async with connect(address, **options) as connection:
            welcome = json.loads(await connection.recv())
            assert (welcome["type"], welcome["user"]) == ("welcome", user.id)
            assert connection.subprotocol == ("earwitness.v1" if "subprotocols" in options else None)
    with pytest.raises(websockets.InvalidStatus) as refused:
        await connect(f"{url}?ticket={ticket}")
    assert refused.value.response.status_code == 401


async def test_bad_credentials_are_refused_before_the_upgrade(platform: Any) -> None:
    """None, garbage and a tampered token: 401, beside a control that is accepted."""
    (user,) = await platform.log_in_many(1)
    head, payload, signature = user.token.split(".")
    tampered = ".".join((head, payload[:-2] + ("AA" if payload[-2:] != "AA" else "BB"), signature))
    for token in (None, "garbage", tampered):
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        with pytest.raises(websockets.InvalidStatus) as refused:
            await connect(platform.ws_url(), additional_headers=headers)
        assert refused.value.response.status_code == 401
        async with httpx.AsyncClient() as client:
            assert (await client.get(f"{platform.backends[0].url}/api/me", headers=headers)).status_code == 401
    await platform.connect(user)
    assert (await platform.get(user, "/api/me")).json()["id"] == user.id


async def test_the_database_decides_who_is_active(platform: Any, database: Any) -> None:
    """A valid token of a person who is inactive in the database opens nothing."""
    (user,) = await platform.log_in_many(1)
    await platform.connect(user)
    await database.execute("UPDATE userbase SET is_active = false WHERE id = $1::text::uuid", user.id)
    with pytest.raises(websockets.InvalidStatus) as refused:
        await connect(platform.ws_url(1), additional_headers=user.bearer)
    assert refused.value.response.status_code == 403
    assert (await platform.get(user, "/api/me", 1)).status_code == 403


async def test_deactivation_closes_live_sockets(platform: Any) -> None:
    """DELETE /auth/me reaches the sockets on both replicas; nobody stays connected."""
    (user,) = await platform.log_in_many(1)
    sockets = [await platform.connect(user, i) for i in (0, 1)]
    async with httpx.AsyncClient() as client:
        assert (await client.delete(f"{platform.auth.url}/auth/me", headers=user.bearer)).status_code < 300
    for socket in sockets:
        assert await socket.closed() in (4401, 4403)


async def test_a_changed_name_is_told(platform: Any) -> None:
    """PATCH /auth/me is heard by every socket of the person, on both replicas."""
    (user,) = await platform.log_in_many(1)
    sockets = [await platform.connect(user, i) for i in (0, 1)]
    async with httpx.AsyncClient() as client:
        answer = await client.patch(f"{platform.auth.url}/auth/me", json={"name": "New Name"}, headers=user.bearer)
        assert answer.status_code == 200, answer.text
    for socket in sockets:
        (told,) = await socket.hear(1, kind="user")
        assert (told["user"]["id"], told["user"]["name"]) == (user.id, "New Name")


async def test_a_change_whose_news_was_lost_is_told(start_platform: Any, database: Any) -> None:
    """The next look at the table finds it, once for each change: name and permissions."""
    platform = start_platform(1, recheck_s=0.3)
    (user,) = await platform.log_in_many(1)
    socket = await platform.connect(user)
    for name in ("New Name", "Newest Name"):
        await database.execute(
            "UPDATE userbase SET name = $2, permissions = '{chat,admin}', version = version + 1 "
            "WHERE id = $1::text::uuid",
            user.id,
            name,
        )
        told = await socket.hear(1 if name == "New Name" else 2, kind="user")
        assert [told[-1]["user"][what] for what in ("id", "name", "permissions")] == [user.id, name, ["chat", "admin"]]
    await platform.end()


async def test_news_of_a_ban_that_is_over_ends_nothing(platform: Any, valkey: Any) -> None:
    """Replicas announce what they read, in any order: somebody who is back again stays, and is told what is newer."""
    (user,) = await platform.log_in_many(1)
    socket = await platform.connect(user)
    account = {"id": user.id, "email": user.email, "name": "Back", "is_active": True, "permissions": ["chat"]}
    for change in ({"is_active": False, "version": 0}, {"version": 99}):
        await valkey.publish("backend:users", json.dumps([account | change]))
    (told,) = await socket.hear(1, kind="user")
    assert (told["user"]["name"], socket.code) == ("Back", None)
    await socket.say(type="ping", id=1)
    await socket.hear(1, kind="pong")


async def test_logout_closes_the_socket_of_its_token(platform: Any) -> None:
    """A revoked token's sockets close with 4401 on every replica, and it opens nothing more."""
    user, other = await platform.log_in_many(2)
    sockets = [await platform.connect(user, i) for i in (0, 1)]
    control = await platform.connect(other)
    async with httpx.AsyncClient() as client:
        assert (await client.post(f"{platform.auth.url}/auth/logout", headers=user.bearer)).status_code == 200
    assert [await socket.closed() for socket in sockets] == [4401, 4401]
    with pytest.raises(websockets.InvalidStatus) as refused:
        await connect(platform.ws_url(), additional_headers=user.bearer)
    assert refused.value.response.status_code == 401
    await control.say(type="ping", id=1)
    await control.hear(1, kind="pong")


async def test_a_logout_while_the_socket_opens(one_replica: Any, spawn_service: Any, database: Any) -> None:
    """Its news finds no socket yet, and the look at it came before: the socket is refused all the same."""
    backend = spawn_service("backend-waits", {**one_replica.settings, "sync_wait_s": 30}, module="backend")
    user = await one_replica.log_in("leaving")
    assert (await one_replica.get(user, "/api/me")).status_code == 200
    row = await database.fetchrow("DELETE FROM userbase WHERE id = $1::text::uuid RETURNING *", user.id)
    opening = asyncio.create_task(
        connect(backend.url.replace("http", "ws") + "/ws", additional_headers=user.bearer).__aenter__()
    )
    await asyncio.sleep(0.5)  # it now waits for the row, and nothing outside shows that
    assert not opening.done()
    async with httpx.AsyncClient() as client:
        assert (await client.post(f"{one_replica.auth.url}/auth/logout", headers=user.bearer)).status_code == 200
    names = list(row.keys())
    await database.execute(
        f"INSERT INTO userbase ({', '.join(names)}) VALUES ({', '.join(f'${n + 1}' for n in range(len(names)))})",
        *row.values(),
    )
    with pytest.raises(websockets.InvalidStatus) as refused:
        await opening
    assert refused.value.response.status_code == 401


async def test_a_socket_ends_with_its_token(platform: Any, clock: Any) -> None:
    """4401 at the expiry, not before and not much later."""
    user = await platform.log_in("short", ttl="2")
    began = clock()
    socket = await platform.connect(user)
    assert await socket.closed() == 4401
    assert 0.9 < clock() - began < 4


async def test_resume_without_gap_or_repeat(platform: Any) -> None:
    """While others go on talking, a reconnect on the other replica continues exactly where the client stopped."""
    user, talker = await platform.log_in_many(2)
    key = await platform.room([user, talker])
    first, other = await platform.connect(user), await platform.connect(talker, 1)
    for n in range(30):
        await other.send(key, f"before {n}")
    await first.hear(30, key)
    await first.end()
    for n in range(20):
        await other.send(key, f"away {n}")
    await other.hear(50, key, "ack")

    async def talk() -> None:
        for n in range(300):
            await other.send(key, f"during {n}")
            if n % 10 == 0:
                await asyncio.sleep(0)

    talking = asyncio.create_task(talk())
    again = await platform.connect(user, 1, resume=True)
    assert again.frames[0]["resume"] is True
    await again.say(type="resume", **{"from": {key: 30}})
    await talking
    await again.hear(320, key)
    assert again.seqs(key) == list(range(31, 351))
    kinds = [f["type"] for f in again.frames]
    assert kinds.index("joined") < kinds.index("message")
    assert again.all("joined")[0]["complete"] is True


async def test_resume_from_beyond_or_too_far(start_platform: Any) -> None:
    """A number that does not exist, and more than may be replayed, are answered with complete: false."""
    platform = start_platform(1, resume_limit=5)
    (user,) = await platform.log_in_many(1)
    near, far = await platform.room([user]), await platform.room([user])
    socket = await platform.connect(user)
    for _ in range(10):
        await socket.send(near, "x")
        await socket.send(far, "x")
    await socket.hear(20)
    again = await platform.connect(user, resume=True)
    await again.say(type="resume", **{"from": {near: 99, far: 2, "not-mine": 1}})
    await again.hear(2, kind="joined")
    assert {j["conversation"]: (j["head"], j["complete"]) for j in again.all("joined")} == {
        near: (10, False), far: (10, False),
    }  # fmt: skip
    assert [left["conversation"] for left in again.all("left")] == ["not-mine"]
    await again.send(near, "live")
    await again.hear(1)
    assert again.seqs(near) == [11]
    await platform.end()


async def test_invited_while_connected(platform: Any) -> None:
    """A new member's open socket is told and hears the conversation from then on."""
    user, guest = await platform.log_in_many(2)
    key = await platform.room([user])
    socket, later = await platform.connect(user), await platform.connect(guest, 1)
    await socket.send(key, "alone")
    await socket.hear(1, key)
    assert (await platform.put(guest, key, [user, guest])).status_code == 403
    assert (await platform.put(user, key, [user, guest])).status_code == 200
    (joined,) = await later.hear(1, key, "joined")
    assert joined["head"] == 1
    await socket.send(key, "together")
    assert [m["text"] for m in await later.hear(1, key)] == ["together"]
    assert [m["text"] for m in await platform.history(guest, key, 1)] == ["alone", "together"]


async def test_a_room_opened_by_all_its_members_at_once(platform: Any, database: Any) -> None:
    """Concurrent PUTs on both replicas make one conversation; one was told 201, all may write."""
    users = await platform.log_in_many(12)
    key = "room-of-" + users[0].email
    answers = await asyncio.gather(*(platform.put(user, key, users, i % 2) for i, user in enumerate(users)))
    assert sorted(a.status_code for a in answers) == [200] * 11 + [201]
    sockets = [await platform.connect(user, i % 2) for i, user in enumerate(users[:4])]
    assert all(s.frames[0]["conversations"] == {key: 0} for s in sockets)
    assert await database.fetchval("SELECT count(*) FROM conversations WHERE key = $1", key) == 1


async def test_the_agent_streams_and_its_answer_is_stored(platform: Any) -> None:
    """Both members hear one run: started … chunks 0..k … completed; the answer is a message of the agent."""
    users = await platform.log_in_many(2)
    key = await platform.room(users)
    sockets = [await platform.connect(user, i) for i, user in enumerate(users)]
    await sockets[0].send(key, "What is the colour of the sky on a cloudy day?", ask=True)
    for socket in sockets:
        await socket.until(lambda s=socket: s.frames and s.frames[-1].get("event") == "completed", "completed")
        events = socket.all("agent", key)
        chunks = [e for e in events if e["event"] == "chunk"]
        names = [e["event"] for e in events if e["event"] != "chunk"]
        assert names == ["started", "thinking", "tool_started", "tool_completed", "completed"]
        assert [c["n"] for c in chunks] == list(range(len(chunks)))
        assert len({e["run"] for e in events}) == 1
        answer = socket.all("message", key)[-1]
        assert (answer["sender"], answer["text"]) == ("agent", "".join(c["text"] for c in chunks))
    assert [m["sender"] for m in await platform.history(users[0], key)] == [users[0].id, "agent"]
