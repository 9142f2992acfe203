"""Presence: online while one socket is open anywhere, offline soon after the last, also when its replica died."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from earwitness.harness.reference.backend.presence import Presence

TTL_S = 1.5


class Socket:
    """Session of a backend, as far as presence knows it."""

    def __init__(self, user_id: str) -> None:
        self.user_id, self.closing, self.at_end = user_id, None, list[Any]()
        self.feeds = {"r": SimpleNamespace(id=1, key="r")}


async def watch(socket: Any, key: str) -> set[str]:
    """Those who are online to begin with."""
    await socket.say(type="watch", conversation=key)
    (first, *_) = await socket.hear(1, key, "presence")
    assert first["whole"] is True
    return {user for user, online in first["users"].items() if online}


def changes(socket: Any, user: Any) -> list[bool]:
    """What was told of a user since the beginning."""
    return [f["users"][user.id] for f in socket.all("presence") if not f["whole"] and user.id in f["users"]]


async def told(socket: Any, user: Any, expected: list[bool]) -> None:
    await socket.until(lambda: len(changes(socket, user)) >= len(expected), f"presence {expected}")
    assert changes(socket, user) == expected


async def all_there(socket: Any, key: str, *users: Any) -> None:
    """Wait, on a socket for nothing else, until all are shown: a lease is written after the welcome."""
    there = await watch(socket, key)
    await socket.until(lambda: all(u.id in there or changes(socket, u)[-1:] == [True] for u in users), "all online")


async def test_coming_and_going(platform: Any) -> None:
    """Members on the other replica are seen to come and to go; who does not watch is told nothing."""
    user, other = await platform.log_in_many(2)
    key = await platform.room([user, other])
    watching, indifferent = await platform.connect(user), await platform.connect(user)
    assert await watch(watching, key) == {user.id}
    tab = await platform.connect(other, 1)
    await told(watching, other, [True])
    later = await platform.connect(user, 1)
    assert await watch(later, key) == {user.id, other.id}
    await tab.end()
    for socket in (watching, later):
        await socket.until(lambda socket=socket: changes(socket, other)[-1:] == [False], "offline")
    assert indifferent.all("presence") == []


@pytest.mark.parametrize("backends", [(0, 0), (0, 1)])
async def test_the_end_of_one_tab_changes_nothing(platform: Any, backends: tuple[int, int]) -> None:
    """Somebody with two tabs, on one replica or on two, is online until the second one ends."""
    user, other = await platform.log_in_many(2)
    key = await platform.room([user, other])
    tabs = [await platform.connect(other, backend) for backend in backends]
    watching = await platform.connect(user)
    assert await watch(watching, key) == {user.id, other.id}
    await tabs[0].end()
    await asyncio.sleep(2 * platform.settings.get("presence_look_s", 1.0))  # that nothing comes has no event
    assert changes(watching, other) == []
    await tabs[1].end()
    await told(watching, other, [False])


async def test_only_members_watch(platform: Any) -> None:
    """A stranger's wish is refused, and so is a senseless one; both are told nothing."""
    user, stranger = await platform.log_in_many(2)
    key = await platform.room([user])
    socket = await platform.connect(stranger)
    for conversation in (key, None, ["x"]):
        await socket.say(type="watch", conversation=conversation)
    assert [nack["code"] for nack in await socket.hear(3, kind="nack")] == [403] * 3
    assert socket.all("presence") == []


async def test_who_is_not_there_is_not_shown(start_platform: Any) -> None:
    """A replica is killed: its people are seen to go within the lease, and those who stay are not."""
    platform = start_platform(presence_ttl_s=TTL_S, presence_look_s=0.2)
    user, other, third = await platform.log_in_many(3)
    key = await platform.room([user, other, third])
    watching, _ = await platform.connect(user), await platform.connect(third)
    await platform.connect(other, 1)
    await all_there(await platform.connect(user), key, user, other, third)
    assert await watch(watching, key) == {user.id, other.id, third.id}
    platform.backends[1].kill()
    await told(watching, other, [False])
    await asyncio.sleep(TTL_S)  # renewed leases outlive it, and nothing says so
    assert changes(watching, third) == changes(watching, user) == []
    await platform.end()


async def test_who_is_no_member_may_not_watch(platform: Any) -> None:
    """The refusal names the refused frame, so that nobody takes it for the answer to a message."""
    (user,) = await platform.log_in_many(1)
    socket = await platform.connect(user)
    await socket.say(type="watch", conversation="nobody-knows")
    await socket.until(lambda: socket.all("nack"), "nack")
    (refused,) = socket.all("nack")
    assert (refused["id"], refused["code"], refused["of"]) == (None, 403, "watch")


async def test_leases_outlive_a_slow_database() -> None:
    """While the members are not read, leases are renewed all the same: those of open sockets, and of no others."""
    renewals: asyncio.Queue[list[Any]] = asyncio.Queue()

    class Redis:
        """Leases that note what they hold."""

        async def hold(self, sessions: Any) -> None:
            renewals.put_nowait(list(sessions))

        async def give_back(self, sessions: Any) -> None:
            """End nothing."""

    asked = asyncio.Event()

    async def members_of(conversations: Any) -> Any:
        asked.set()
        await asyncio.Event().wait()  # the database does not answer

    there, gone = Socket("ann"), Socket("bob")
    presence = Presence(Redis(), members_of, SimpleNamespace(publish=lambda *_: None), 0.06, 0.01)  # type: ignore[arg-type]
    presence.came(there)  # type: ignore[arg-type]
    presence.came(gone)  # type: ignore[arg-type]
    presence.on_watch(there, {"conversation": "r"})  # type: ignore[arg-type]
    running = asyncio.create_task(presence.run())
    async with asyncio.timeout(10):
        await asked.wait()
        gone.at_end[0]()
        while not renewals.empty():
            renewals.get_nowait()
        assert [await renewals.get() for _ in range(3)] == [[there]] * 3
    running.cancel()
