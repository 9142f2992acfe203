"""Defects of a user's several sockets, and of sockets that are closed without a reason or kept open without one."""

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
"""Seconds within which a socket should have got a changed account."""


@found_by_tests(
    "S13",
    "one-falls-all-fall",
    "backend",
    breaks="I closed one tab, and all the others lost their connection.",
    opportunity="one socket that ends beside others of its user",
)
class OneFallsAllFall:
    """Defect that closes all other sockets of a user when one ends.

    Opportunity: one socket that ends while others of the user are open on this replica, except while draining. Manifest
    at once.
    """

    def __init__(self, backend: Backend, chance: Chance) -> None:
        """Replace `Registry.remove`, which is called when a socket has ended."""
        self._backend, self._chance, self._remove = backend, chance, backend.registry.remove
        vars(backend.registry)["remove"] = self.remove

    def remove(self, session: Session) -> None:
        """Override `Registry.remove`: also close the other sockets if the defect fires."""
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
    """Defect that sends a changed account to only one of the user's sockets.

    Opportunity: one changed account for a socket other than the user's first. A firing is manifest at once.
    """

    def __init__(self, backend: Backend, chance: Chance) -> None:
        """Replace `Authority.tell`, which sends a changed account to one session."""
        self._registry, self._chance, self._tell = backend.registry, chance, backend.authority.tell
        backend.authority.tell = self.tell

    def tell(self, session: Session, user: User) -> None:
        """Implement `Authority.tell`: send nothing to a socket other than the user's first one, if the defect fires."""
        first = next(iter(self._registry.by_user.get(session.user_id, ())), session)
        if session is first or not self._chance.fires():
            self._tell(session, user)
        else:
            session.user = replace(session.user, version=user.version)  # the next recheck must not send it either
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
    """Defect that does not send a changed account to an open socket.

    Opportunity: one socket that should get it. A firing is manifest if the socket is still open NEWS_S seconds later
    and has got no later change.
    """

    def __init__(self, backend: Backend, chance: Chance) -> None:
        """Replace `Authority.tell`, which sends a changed account to one session."""
        self._chance, self._tell = chance, backend.authority.tell
        backend.authority.tell = self.tell

    def tell(self, session: Session, user: User) -> None:
        """Implement `Authority.tell`: send nothing if the defect fires."""
        if not self._chance.fires():
            self._tell(session, user)
            return
        session.user = replace(session.user, version=user.version)  # the next recheck must not send it either
        firing = self._chance.say(user=session.user_id, version=user.version)
        asyncio.get_running_loop().call_later(NEWS_S, self._overdue, session, user, firing)

    def _overdue(self, session: Session, user: User, firing: int) -> None:
        """Write the manifest line, unless the socket has ended or has got a later change."""
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
    """Defect that also sends a changed account to a socket of another user.

    Opportunity: one socket that gets a change while a socket of another user is open on this replica. A firing is
    manifest at once.
    """

    def __init__(self, backend: Backend, chance: Chance) -> None:
        """Replace `Authority.tell`; sessions of other users are found in the registry."""
        self._sessions, self._chance, self._tell = backend.registry.sessions, chance, backend.authority.tell
        backend.authority.tell = self.tell

    def tell(self, session: Session, user: User) -> None:
        """Implement `Authority.tell`: also push the account to another user if the defect fires."""
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
    """Defect that does not close a socket after too many refused frames.

    Opportunity: one socket that should be closed. A firing is manifest at once.
    """

    def __init__(self, backend: Backend, chance: Chance) -> None:
        """Replace `Registry.add`, where each new session loses its limit of refusals."""
        self._chance, self._add = chance, backend.registry.add
        vars(backend.registry)["add"] = self.add

    def add(self, session: Session) -> None:
        """Override `Registry.add`: make the session ignore closes for ABUSE for which the defect fires."""
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
    """Defect that closes all sockets when auth does not answer.

    The backend sends a request to auth every LOOK_S seconds. Opportunity: one request that fails. A firing is manifest
    at once if any socket was open.
    """

    def __init__(self, backend: Backend, chance: Chance) -> None:
        """Replace `Backend.start`, so that a task sends requests to auth from then on."""
        self._backend, self._chance, self._start = backend, chance, backend.start
        vars(backend)["start"] = self.start

    async def start(self) -> None:
        """Override `Backend.start`: also start the task that sends requests to auth."""
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
