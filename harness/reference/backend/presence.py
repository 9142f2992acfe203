"""Presence: a user is online with at least one open socket, on whatever replica.

Each socket holds a lease in Redis, which its replica renews. When a replica dies, its sockets' leases expire, by the
clock of Redis alone. A user is online while one lease is left, so the end of one of several tabs changes nothing. News
only triggers a check: the shown status always comes from Redis. It is also checked at intervals, because news may be
lost, and leases expire without news.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, TypeAlias

import orjson
import redis.asyncio
import redis.exceptions

from earwitness.harness.reference.backend.bus import PRESENCE, Bus
from earwitness.harness.reference.backend.session import Session
from earwitness.harness.reference.backend.wire import frame
from earwitness.harness.reference.service import DEPENDENCY_DOWN

# KEYS: one user each. The score of a lease is its end, in ms of the clock of Redis.
_NOW = "local t = redis.call('TIME') local now = t[1] * 1000 + math.floor(t[2] / 1000) "
_HOLD = _NOW + (
    "for i, key in ipairs(KEYS) do redis.call('ZADD', key, now + ARGV[1], ARGV[1 + i]) "
    "redis.call('ZREMRANGEBYSCORE', key, '-inf', now) redis.call('PEXPIRE', key, ARGV[1]) end"
)
_COUNT = _NOW + (
    "local found = {} for i, key in ipairs(KEYS) do found[i] = redis.call('ZCOUNT', key, now, '+inf') end return found"
)
AT_ONCE = 500
DOWN: tuple[type[BaseException], ...] = (*DEPENDENCY_DOWN, redis.exceptions.RedisError)
MembersOf: TypeAlias = Callable[[Iterable[int]], Awaitable[dict[int, set[str]]]]
log = logging.getLogger(__name__)


def key_of(user_id: str) -> str:
    """Return the Redis key of a user's leases."""
    return f"presence:{user_id}"


class Leases:
    """Leases of sockets in Redis. Every method may raise errors of Redis.

    `ttl_s`: seconds after which a lease expires unless it is renewed.
    """

    def __init__(self, client: redis.asyncio.Redis, ttl_s: float) -> None:
        """Register the scripts that renew leases and count those that are valid."""
        self._client, self._ttl_ms = client, int(ttl_s * 1000)
        self._hold, self._count = client.register_script(_HOLD), client.register_script(_COUNT)

    async def hold(self, sessions: Sequence[Session]) -> None:
        """Start or renew the leases of these sessions."""
        for start in range(0, len(sessions), AT_ONCE):
            some = sessions[start : start + AT_ONCE]
            await self._hold(keys=[key_of(s.user_id) for s in some], args=[self._ttl_ms, *(s.id for s in some)])

    async def give_back(self, sessions: Sequence[Session]) -> None:
        """End the leases of these sessions."""
        async with self._client.pipeline(transaction=False) as pipe:
            for session in sessions:
                pipe.zrem(key_of(session.user_id), session.id)
            await pipe.execute()

    async def online(self, user_ids: Sequence[str]) -> set[str]:
        """Return those of the users who have at least one lease."""
        found: set[str] = set()
        for start in range(0, len(user_ids), AT_ONCE):
            some = user_ids[start : start + AT_ONCE]
            counts: list[int] = await self._count(keys=[key_of(user) for user in some])
            found |= {user for user, count in zip(some, counts, strict=True) if count}
        return found


class Watched:
    """Conversation whose presence is shown to sessions here.

    `watchers`: these sessions; `new`: those among them that were shown nothing yet; `shown`: user ids that were shown
    as online.
    """

    def __init__(self, key: str) -> None:
        """Start without watchers, for the conversation `key`."""
        self.key = key
        self.watchers: dict[Session, None] = {}
        self.new: dict[Session, None] = {}
        self.shown: set[str] = set()


class Presence:
    """Leases of this replica's sockets, and presence for the sessions that watch a conversation.

    `members_of(ids)` reads the user ids of each conversation's members from the database. Only one loop reads Redis, so
    that no read can overtake another; watched presence is compared with Redis every `look_s` seconds. A loop of its own
    renews leases three times in `ttl_s` seconds, because a lease must outlive a slow answer of the database.
    """

    def __init__(self, leases: Leases, members_of: MembersOf, bus: Bus, ttl_s: float, look_s: float) -> None:
        """Start without sockets.

        ttl_s   seconds after which a lease expires unless it is renewed
        look_s  seconds between two checks of the shown presence
        """
        self.leases = leases
        self._members_of, self._bus = members_of, bus
        self._open: dict[Session, None] = {}
        self._renew_s, self._look_s = ttl_s / 3, look_s
        self._watched: dict[int, Watched] = {}
        self._came: list[Session] = []
        self._went: list[Session] = []
        self._wake, self._told = asyncio.Event(), asyncio.Event()
        self._writing = asyncio.Lock()  # else a renewal could bring back a lease that has just been ended

    def came(self, session: Session) -> None:
        """Start a lease for a new socket. The lease is ended when the session ends."""
        self._open[session] = None
        self._came.append(session)
        session.at_end.append(lambda: self._gone(session))
        self._wake.set()

    def _gone(self, session: Session) -> None:
        self._open.pop(session, None)
        self._went.append(session)
        self._told.clear()
        for conversation_id, watched in list(self._watched.items()):
            watched.watchers.pop(session, None)
            watched.new.pop(session, None)
            if not watched.watchers and not watched.new:
                del self._watched[conversation_id]
        self._wake.set()

    def on_watch(self, session: Session, said: dict[str, Any]) -> None:
        """Subscribe a session to the presence of the conversation in its frame `said`.

        The answer lists all members who are online; changes follow. A user who is no member gets a nack, 403.
        """
        feed = session.feeds.get(str(said.get("conversation")))
        if feed is None:
            session.refuse(None, 403, "You are not a member of this conversation.", of="watch")
            return
        self._watched.setdefault(feed.id, Watched(feed.key)).new[session] = None
        self._wake.set()

    def on_news(self, payload: bytes) -> None:
        """Check the shown presence soon, because a user came or went on some replica."""
        if self._watched:
            self._wake.set()

    async def told(self) -> None:
        """Wait until the leases of all ended sockets have been ended in Redis."""
        if self._went:
            await self._told.wait()

    async def run(self) -> None:
        """Renew leases and send changes of presence until cancelled."""
        async with asyncio.TaskGroup() as both:
            both.create_task(self._renew())
            both.create_task(self._follow())

    async def _renew(self) -> None:
        while True:
            try:
                async with self._writing:
                    await self.leases.hold([session for session in self._open if session.closing is None])
            except DOWN as error:
                log.warning("leases of presence, until Redis is back: %r", error)
            await asyncio.sleep(self._renew_s)

    async def _follow(self) -> None:
        while True:
            with suppress(TimeoutError):  # no news: check all the same
                async with asyncio.timeout(self._look_s):
                    await self._wake.wait()
            self._wake.clear()
            try:
                async with self._writing:
                    await self._tell_redis()
                await self.look()
            except DOWN as error:
                log.warning("presence, until Redis or the database is back: %r", error)
                await asyncio.sleep(self._look_s)

    async def _tell_redis(self) -> None:
        came, went = list(self._came), list(self._went)
        ended = set(went)
        await self.leases.hold([session for session in came if session not in ended])
        if went:
            await self.leases.give_back(went)
        if came or went:
            del self._came[: len(came)], self._went[: len(went)]
            if not self._went:
                self._told.set()
            self._bus.publish(PRESENCE, orjson.dumps(sorted({session.user_id for session in (*came, *went)})))

    async def look(self) -> None:
        """Compare the shown presence with Redis, and send the differences to the watchers."""
        if not self._watched:
            return
        members = await self._members_of(list(self._watched))
        online = await self.leases.online(sorted(set().union(*members.values())))
        for conversation_id, watched in list(self._watched.items()):
            if conversation_id in members:
                self._show(watched, members[conversation_id] & online)

    def _show(self, watched: Watched, now: set[str]) -> None:
        changes = dict.fromkeys(sorted(now - watched.shown), True) | dict.fromkeys(watched.shown - now, False)
        watched.shown = now
        told: dict[str, object] = {"type": "presence", "conversation": watched.key}
        if changes:
            _push(watched.watchers, watched.key, frame({**told, "users": changes, "whole": False}))
        if watched.new:
            _push(watched.new, watched.key, frame({**told, "users": dict.fromkeys(sorted(now), True), "whole": True}))
        watched.watchers |= watched.new
        watched.new = {}


def _push(sessions: Iterable[Session], key: str, data: bytes) -> None:
    for session in sessions:
        if key in session.feeds:  # else no longer a member
            session.push(data)
