"""Edits, read marks and presence of which the devices of a person are shown something wrong."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx

from earwitness.harness.reference.userstream import STREAM, to_entry

TTL_S = 1.5


async def ask(platform: Any, user: Any, method: str, path: str, backend: int = 0, **body: Any) -> dict[str, Any]:
    url = f"{platform.backends[backend].url}/api/conversations{path}"
    async with httpx.AsyncClient(timeout=10) as client:
        answer = await client.request(method, url, json=body or None, headers=user.bearer)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def said(platform: Any, user: Any, n: int) -> str:
    """A new conversation of the user's, who has said so many messages."""
    key = await platform.room([user])
    socket = await platform.connect(user, 1)
    for number in range(n):
        await socket.send(key, str(number))
    await socket.hear(n, key)
    return str(key)


async def watch(platform: Any, user: Any, key: str) -> Any:
    """A socket on the healthy replica that has been told who is online."""
    socket = await platform.connect(user, 1)
    await socket.say(type="watch", conversation=key)
    await socket.hear(1, key, "presence")
    return socket


def told_of(socket: Any, user: Any) -> list[bool]:
    return [f["users"][user.id] for f in socket.all("presence") if user.id in f["users"]]


async def test_news_that_nobody_is_told(defective: Any, truth: Any, valkey: Any, database: Any) -> None:
    """Z63: the new name is there for whoever asks; the open socket is not told, not by the next look either. Healthy:
    it is."""
    platform = defective("Z63:1", recheck_s=0.2)
    (user,) = await platform.log_in_many(1)
    untold, told = await platform.connect(user, 0), await platform.connect(user, 1)
    row = await database.fetchrow("SELECT * FROM userbase WHERE id = $1::text::uuid", user.id)
    account = {**dict(row), "name": "Another", "version": row["version"] + 1}
    account["permissions"] = list(row["permissions"])
    await valkey.xadd(STREAM, to_entry(account))
    await told.until(lambda: told.all("user"), "the news")
    key = await platform.room([user])
    await untold.hear(1, key, "joined")
    assert (await platform.get(user, "/api/me")).json()["name"] == "Another"
    assert told.all("user")[0]["user"]["name"] == "Another"
    assert untold.all("user") == []
    said = truth(platform)
    assert [line["version"] for line in said.fired] == [account["version"]]
    assert said.manifest == [], "it may still be told in time"
    async with asyncio.timeout(10):
        while not truth(platform).manifest:
            await asyncio.sleep(0.1)  # nobody tells when nothing has come


async def test_news_on_the_socket_of_another(defective: Any, truth: Any, valkey: Any, database: Any) -> None:
    """Z67: somebody else is told the new profile too, and their own is as it was; on the healthy replica nobody is."""
    platform = defective("Z67:1")
    user, other = await platform.log_in_many(2)
    own, wrong, healthy = [await platform.connect(*of) for of in ((user, 0), (other, 0), (other, 1))]
    row = await database.fetchrow("SELECT * FROM userbase WHERE id = $1::text::uuid", user.id)
    account = {**dict(row), "name": "Another", "version": row["version"] + 1}
    account["permissions"] = list(row["permissions"])
    await valkey.xadd(STREAM, to_entry(account))
    await own.hear(1, kind="user")
    await wrong.hear(1, kind="user")
    assert own.all("user") == wrong.all("user")
    shown = wrong.all("user")[0]["user"]
    assert (shown["id"], shown["email"], shown["name"]) == (user.id, user.email, "Another")
    assert (await platform.get(other, "/api/me")).json()["id"] == other.id
    await healthy.say(type="ping", id="now")
    await healthy.hear(1, kind="pong")
    assert healthy.all("user") == []
    said = truth(platform)
    assert [(line["user"], line["told"]) for line in said.fired] == [(user.id, other.id)]
    assert len(said.manifest) == 1


async def test_the_earlier_edit_stands(defective: Any, truth: Any) -> None:
    """Z22: the second edit is confirmed and told, and whoever asks is shown the first one as the last."""
    platform = defective("Z22:1")
    (user,) = await platform.log_in_many(1)
    key = await said(platform, user, 1)
    socket = await platform.connect(user, 1)
    for text in ("first", "second"):
        answer = await ask(platform, user, "PATCH", f"/{key}/messages/1", text=text)
    assert (answer["text"], answer["version"]) == ("second", 3)
    assert [f["text"] for f in await socket.hear(2, key, "edited")] == ["first", "second"]
    edits = (await ask(platform, user, "GET", f"/{key}/edits?after=0", 1))["edits"]
    assert [(edit["version"], edit["text"]) for edit in edits] == [(2, "second"), (3, "first")]
    told = truth(platform)
    assert len(told.fired) == len(told.manifest) == 1


async def test_an_edit_of_an_old_version(defective: Any, truth: Any) -> None:
    """Z72: an edit of the first version is accepted after another one was. Healthy: refused with 409."""
    platform = defective("Z72:1")
    (user,) = await platform.log_in_many(1)
    key = await said(platform, user, 1)
    await ask(platform, user, "PATCH", f"/{key}/messages/1", text="first", version=1)
    answer = await ask(platform, user, "PATCH", f"/{key}/messages/1", text="second", version=1)
    assert (answer["text"], answer["version"]) == ("second", 3)
    assert len(truth(platform).manifest) == 1
    url = f"{platform.backends[1].url}/api/conversations/{key}/messages/1"
    async with httpx.AsyncClient(timeout=10) as client:
        refused = await client.patch(url, json={"text": "third", "version": 1}, headers=user.bearer)
    assert refused.status_code == 409


async def test_a_mark_goes_back(defective: Any, truth: Any) -> None:
    """Z22: a mark below the one that stands takes its place."""
    platform = defective("Z22:1")
    (user,) = await platform.log_in_many(1)
    key = await said(platform, user, 3)
    assert [(await ask(platform, user, "PUT", f"/{key}/read", seq=seq))["seq"] for seq in (3, 1)] == [3, 1]
    (shown,) = (await ask(platform, user, "GET", "", 1))["conversations"]
    assert shown["read"] == 1
    assert len(truth(platform).manifest) == 1


async def test_a_device_is_not_told_of_a_mark(defective: Any, truth: Any) -> None:
    """Z29: the device on this replica never hears of it, the one on the other replica does."""
    platform = defective("Z29:1")
    (user,) = await platform.log_in_many(1)
    key = await said(platform, user, 3)
    deaf, other = await platform.connect(user, 0), await platform.connect(user, 1)
    for seq in (1, 2):
        await ask(platform, user, "PUT", f"/{key}/read", seq=seq)
    await other.hear(2, key, "read")
    await deaf.say(type="ping", id="now")
    await deaf.hear(1, kind="pong")
    assert deaf.all("read") == []
    assert len(truth(platform).manifest) == 1


async def test_who_died_with_a_replica_is_online_for_ever(defective: Any, truth: Any) -> None:
    """Z35: the lease of a socket on a replica that is killed does not end."""
    platform = defective("Z35:1", presence_ttl_s=TTL_S)
    user, other = await platform.log_in_many(2)
    key = await platform.room([user, other])
    await platform.connect(other, 0)
    watching = await watch(platform, user, key)
    await watching.until(lambda: told_of(watching, other), "online")
    assert truth(platform).fired
    platform.backends[0].kill()
    await asyncio.sleep(2 * TTL_S)  # that nothing comes has no event
    assert told_of(watching, other) == [True]


async def test_one_tab_takes_all_along(defective: Any, truth: Any) -> None:
    """Z36: a tab is closed, and its person is shown as offline until the other tab's lease is renewed."""
    platform = defective("Z36:1", presence_ttl_s=TTL_S)
    user, other = await platform.log_in_many(2)
    key = await platform.room([user, other])
    tabs = [await platform.connect(other, 0) for _ in range(2)]
    watching = await watch(platform, user, key)
    await watching.until(lambda: told_of(watching, other), "online")
    await tabs[0].end()
    await watching.until(lambda: len(told_of(watching, other)) >= 3, "offline and online again")
    assert told_of(watching, other)[:3] == [True, False, True]
    assert truth(platform).manifest
