"""Defects of a user's several sockets, and of sockets that should be left alone or should not."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import aiohttp

from earwitness.harness.defects.chance import Chance
from earwitness.harness.defects.declared import defect, found_by_tests
from earwitness.harness.reference.backend.app import Backend
from earwitness.harness.reference.backend.session import ABUSE, TRY_AGAIN_LATER, Session
from earwitness.harness.reference.backend.store import User
from earwitness.harness.reference.backend.wire import frame

LOOK_S = 0.25
GOING_AWAY = 1001
NEWS_S = 6.0
"""Within this a socket should have been told."""


@found_by_tests(
    "S13",
    "one-falls-all-fall",
    "backend",
    breaks="I closed one tab, and all the others lost their connection.",
    opportunity="one socket that ends beside others of its user",
)
class OneFallsAllFall:
    """A socket that ends takes its user's others along. An opportunity is one that has others."""

    def __init__(self, backend: Backend, chance: Chance) -> None:
        self._backend, self._chance, self._remove = backend, chance, backend.registry.remove
        vars(backend.registry)["remove"] = self.remove

    def remove(self, session: Session) -> None:
        self._remove(session)
        others = [one for one in self._backend.registry.by_user.get(session.user_id, ()) if one.open]
        if others and not self._backend.gateway.draining and self._chance.fires():
            self._chance.say(user=session.user_id, others=len(others), manifest=True)
            for one in others:
                one.close(GOING_AWAY, "your connection has ended")


@found_by_tests(
    "S14",
    "news-to-one-tab",
    "backend",
    breaks="I changed my name, and only one of my tabs shows it.",
    opportunity="one piece of news for a user's second socket",
)
class NewsToOneTab:
    """News about a user reach one socket of theirs. An opportunity is one that would have gone to another."""

    def __init__(self, backend: Backend, chance: Chance) -> None:
        self._registry, self._chance, self._tell = backend.registry, chance, backend.authority.tell
        backend.authority.tell = self.tell

    def tell(self, session: Session, user: User) -> None:
        first = next(iter(self._registry.by_user.get(session.user_id, ())), session)
        if session is first or not self._chance.fires():
            self._tell(session, user)
        else:
            session.user = replace(session.user, version=user.version)  # taken for told, also by the next look
            self._chance.say(user=session.user_id, manifest=True)


@defect(
    "Z63",
    "news-for-nobody",
    breaks="I changed my name on the laptop, and the phone showed the old one until I restarted the app.",
    opportunity="one socket that would be told of a changed account",
    caught_by=("I41",),
    high=0.3,
    one=0.03,
    needs="accounts that change while a socket of theirs is open",
    story="user_sync",
)
class NewsForNobody:
    """A changed account is not told on an open socket. An opportunity is one socket that would be told."""

    def __init__(self, backend: Backend, chance: Chance) -> None:
        self._chance, self._tell = chance, backend.authority.tell
        backend.authority.tell = self.tell

    def tell(self, session: Session, user: User) -> None:
        if not self._chance.fires():
            self._tell(session, user)
            return
        session.user = replace(session.user, version=user.version)  # taken for told, also by the next look
        firing = self._chance.say(user=session.user_id, version=user.version)
        asyncio.get_running_loop().call_later(NEWS_S, self._overdue, session, user, firing)

    def _overdue(self, session: Session, user: User, firing: int) -> None:
        """Whoever has gone by now, or was told of a later change, misses nothing."""
        if session.open and session.user.version == user.version:
            self._chance.manifest(firing)


@defect(
    "Z67",
    "news-to-another",
    breaks="Somebody else's name and address appeared as mine, until I restarted the app.",
    opportunity="one socket that is told of a changed account while somebody else's is open on the same replica",
    caught_by=("I14",),
    high=0.3,
    one=0.03,
    needs="accounts that change while sockets are open",
    story="user_sync",
)
class NewsToAnother:
    """What a changed account shows is pushed on a socket of somebody else, besides those it is meant for. An
    opportunity is one socket that is told while somebody else's is open on this replica."""

    def __init__(self, backend: Backend, chance: Chance) -> None:
        self._sessions, self._chance, self._tell = backend.registry.sessions, chance, backend.authority.tell
        backend.authority.tell = self.tell

    def tell(self, session: Session, user: User) -> None:
        self._tell(session, user)
        others = [one for one in self._sessions if one.user_id != user.id and one.welcomed.is_set() and one.open]
        if others and self._chance.fires():
            other = self._chance.random.choice(others)
            other.push(frame({"type": "user", "user": {**user.public(), "is_active": user.is_active}}))
            self._chance.say(user=user.id, told=other.user_id, version=user.version, manifest=True)


@found_by_tests(
    "S23",
    "endless-patience",
    "backend",
    breaks="A broken program hammered us all day, and nobody closed its connection.",
    opportunity="one socket that should be closed",
)
class EndlessPatience:
    """Refused frames never close a socket. An opportunity is one that should be closed."""

    def __init__(self, backend: Backend, chance: Chance) -> None:
        self._chance, self._add = chance, backend.registry.add
        vars(backend.registry)["add"] = self.add

    def add(self, session: Session) -> None:
        close = session.close

        def patient(code: int, reason: str) -> None:
            if code == ABUSE and self._chance.fires():
                self._chance.say(user=session.user_id, manifest=True)
            else:
                close(code, reason)

        vars(session)["close"] = patient
        self._add(session)


@found_by_tests(
    "S4",
    "panic",
    "backend",
    breaks="The login service restarted, and everybody was thrown out of the chat.",
    opportunity="one failed look at auth",
)
class Panic:
    """When auth does not answer, everybody is sent away. An opportunity is one look that fails."""

    def __init__(self, backend: Backend, chance: Chance) -> None:
        self._backend, self._chance, self._start = backend, chance, backend.start
        vars(backend)["start"] = self.start

    async def start(self) -> None:
        await self._start()
        self._backend.background(self._watch(), "the look at auth")

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                async with self._backend.http.get(f"{self._backend.settings.auth_url}/ready") as answer:
                    await answer.read()
            except (aiohttp.ClientError, TimeoutError):
                there = len(self._backend.registry.sessions)
                if self._chance.fires():
                    self._chance.say(sockets=there, manifest=there > 0)
                    await self._backend.gateway.close_all(TRY_AGAIN_LATER, "the login service is away")
