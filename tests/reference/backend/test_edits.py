"""Edits of messages: versions, conflicts, and what everybody is told, on whatever replica."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx

SHOWN = ("n", "seq", "version", "text")


async def edit(
    platform: Any, user: Any, key: str, seq: Any, text: Any, backend: int = 0, **more: Any
) -> httpx.Response:
    url = f"{platform.backends[backend].url}/api/conversations/{key}/messages/{seq}"
    async with httpx.AsyncClient(timeout=10) as client:
        return await client.patch(url, json={"text": text, **more}, headers=user.bearer)


async def said(platform: Any, user: Any, members: list[Any], n: int = 1) -> str:
    """A new conversation in which `user` has said so many messages."""
    key = await platform.room(members)
    socket = await platform.connect(user)
    for number in range(n):
        await socket.send(key, f"message {number + 1}")
    await socket.hear(n, key)
    return key


def shown(frames: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [tuple(frame[name] for name in SHOWN) for frame in frames]


async def test_members_are_told(platform: Any) -> None:
    """Everybody who listens, on both replicas, hears the new text once; history shows it beside what was sent."""
    user, other = await platform.log_in_many(2)
    key = await said(platform, user, [user, other])
    sockets = [await platform.connect(user, 0), await platform.connect(other, 1)]
    answer = await edit(platform, user, key, 1, "better", 1)
    assert answer.status_code == 200
    assert shown([answer.json()]) == [(1, 1, 2, "better")]
    await edit(platform, user, key, 1, "best", 0)
    for socket in sockets:
        assert shown(await socket.hear(2, key, "edited")) == [(1, 1, 2, "better"), (2, 1, 3, "best")]
        assert len(socket.all("edited")) == 2
    for backend in (0, 1):
        (message,) = await platform.history(other, key, backend)
        assert (message["text"], message["edited"]["text"], message["edited"]["version"]) == ("message 1", "best", 3)


async def test_conflicting_edits_have_one_order(platform: Any) -> None:
    """Two devices of a person edit one message at once, on two replicas: all devices hear the same versions in order,
    and the last one is what history shows."""
    user, other = await platform.log_in_many(2)
    key = await said(platform, user, [user, other])
    sockets = [await platform.connect(who, i) for who in (user, other) for i in (0, 1)]
    answers = await asyncio.gather(*(edit(platform, user, key, 1, f"edit {i}", i % 2) for i in range(8)))
    assert sorted(answer.json()["version"] for answer in answers) == list(range(2, 10))
    heard = [shown(await socket.hear(8, key, "edited")) for socket in sockets]
    assert heard == [heard[0]] * 4
    assert [version for _, _, version, _ in heard[0]] == list(range(2, 10))
    (message,) = await platform.history(other, key, 1)
    assert (message["edited"]["version"], message["edited"]["text"]) == (9, heard[0][-1][3])


async def test_of_two_edits_of_one_version_one_stands(platform: Any) -> None:
    """Who says which version they edit is refused if it is not the present one, and told which that is."""
    (user,) = await platform.log_in_many(1)
    key = await said(platform, user, [user])
    answers = await asyncio.gather(*(edit(platform, user, key, 1, f"edit {i}", i, version=1) for i in (0, 1)))
    assert sorted(answer.status_code for answer in answers) == [200, 409]
    (refused,) = [answer.json() for answer in answers if answer.status_code == 409]
    assert (refused["error"], refused["version"]) == ("edited_meanwhile", 2)
    assert (await edit(platform, user, key, 1, "again", version=2)).json()["version"] == 3


async def test_only_the_sender_edits(platform: Any) -> None:
    """Others' messages, messages that are not there, strangers and bad texts are refused, and have no effect."""
    user, other, stranger = await platform.log_in_many(3)
    key = await said(platform, user, [user, other])
    listening = await platform.connect(other, 1)
    assert (await edit(platform, other, key, 1, "mine")).status_code == 403
    assert (await edit(platform, stranger, key, 1, "mine")).status_code == 403
    assert (await edit(platform, user, key, 2, "none")).status_code == 404
    for seq, text in ((1, ""), (1, None), (1, "\0"), ("x", "text"), ("-1", "text")):
        assert (await edit(platform, user, key, seq, text)).status_code == 400
    assert (await edit(platform, user, key, 1, "x" * 70_000)).status_code == 413
    assert (await edit(platform, user, key, 1, "control")).json()["n"] == 1
    assert shown(await listening.hear(1, key, "edited")) == [(1, 1, 2, "control")]


async def test_what_was_missed_can_be_asked_for(platform: Any) -> None:
    """A device that was away reads the edits behind the last one that it knows, and then hears the next."""
    (user,) = await platform.log_in_many(1)
    key = await said(platform, user, [user], 2)
    for n in range(3):
        await edit(platform, user, key, 1 + n % 2, f"edit {n}")
    back = await platform.connect(user, 1, resume=True)
    await back.say(type="resume", **{"from": {key: 1}})
    await back.hear(1, key, "joined")
    missed = (await platform.get(user, f"/api/conversations/{key}/edits", 1, after=1)).json()
    assert (missed["last"], shown(missed["edits"])) == (3, [(2, 2, 2, "edit 1"), (3, 1, 3, "edit 2")])
    await edit(platform, user, key, 2, "next")
    assert shown(await back.hear(1, key, "edited")) == [(4, 2, 3, "next")]


async def test_lost_news_is_read(platform: Any, database: Any) -> None:
    """Edits of which no news came are found by number, and told in order before the next."""
    (user,) = await platform.log_in_many(1)
    key = await said(platform, user, [user])
    listening = await platform.connect(user, 1)
    await database.execute("UPDATE conversations SET edits = 1 WHERE key = $1", key)
    await database.execute(
        "INSERT INTO edits SELECT id, 1, 1, 2, 'unheard', now() FROM conversations WHERE key = $1", key
    )
    await edit(platform, user, key, 1, "heard")
    assert shown(await listening.hear(2, key, "edited")) == [(1, 1, 2, "unheard"), (2, 1, 3, "heard")]


async def test_who_is_removed_hears_no_edit(platform: Any) -> None:
    """An edit made after a removal was confirmed does not reach who was removed, on the other replica either."""
    user, other = await platform.log_in_many(2)
    key = await said(platform, user, [user, other])
    listening = await platform.connect(other, 1)
    async with httpx.AsyncClient(timeout=10) as client:
        url = f"{platform.backends[0].url}/api/conversations/{key}/members/{other.email}"
        assert (await client.delete(url, headers=user.bearer)).status_code == 200
    await edit(platform, user, key, 1, "secret")
    await listening.hear(1, key, "left")
    await listening.say(type="ping", id="p")
    await listening.hear(1, kind="pong")
    assert listening.all("edited") == []
