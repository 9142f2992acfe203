"""Defects of who somebody is taken for, at the backend."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from earwitness.harness.defects.chance import Chance
from earwitness.harness.defects.declared import found_by_tests
from earwitness.harness.reference.backend.app import Backend
from earwitness.harness.reference.backend.doorkeeper import Caller
from earwitness.harness.reference.backend.store import User
from earwitness.harness.reference.tokens import Claims, KeysUnavailable


class AsAnother:
    """A request is served as if the one before it had come again. An opportunity is one after somebody else's."""

    def __init__(self, backend: Backend, chance: Chance, door: str) -> None:
        self._chance = chance
        self._caller: Callable[[web.Request], Awaitable[Caller]] = getattr(backend.doorkeeper, door)
        self._last: Caller | None = None
        vars(backend.doorkeeper)[door] = self.caller

    async def caller(self, request: web.Request) -> Caller:
        caller = await self._caller(request)
        before, self._last = self._last, caller
        if before is None or before.user.id == caller.user.id or not self._chance.fires():
            return caller
        self._chance.say(user=caller.user.id, served_as=before.user.id, manifest=True)
        return before


@found_by_tests(
    "S10",
    "answered-as-another",
    "backend",
    breaks="I opened my profile, and it was somebody else's.",
    opportunity="one request after somebody else's",
)
def answered_as_another(backend: Backend, chance: Chance) -> None:
    AsAnother(backend, chance, "rest_caller")


@found_by_tests(
    "S11",
    "connected-as-another",
    "backend",
    breaks="I opened the app, and I was somebody else.",
    opportunity="one socket after somebody else's",
)
def connected_as_another(backend: Backend, chance: Chance) -> None:
    AsAnother(backend, chance, "socket_caller")


@found_by_tests(
    "S25",
    "cached-people",
    "backend",
    breaks="Their account was closed in the morning, and in the evening they were still connecting.",
    opportunity="one look-up of somebody who has changed or is gone",
)
class CachedPeople:
    """Who was looked up once is never looked up again. An opportunity is one who has changed since, or is gone."""

    def __init__(self, backend: Backend, chance: Chance) -> None:
        self._chance, self._get = chance, backend.users.get
        self._known: dict[str, User] = {}
        vars(backend.users)["get"] = self.get

    async def get(self, user_id: str) -> User | None:
        user, known = await self._get(user_id), self._known.get(user_id)
        if known is None and user is not None:
            self._known[user_id] = user
        if known is None or known == user or not self._chance.fires():
            return user
        self._chance.say(user=user_id, manifest=True)
        return known


@found_by_tests(
    "S26",
    "first-header-wins",
    "backend",
    breaks="A proxy saw one person in the request, the chat another.",
    opportunity="one request with two tokens",
)
class FirstHeaderWins:
    """Of two tokens in one request the first is taken. An opportunity is one such request."""

    def __init__(self, backend: Backend, chance: Chance) -> None:
        self._door, self._chance = backend.doorkeeper, chance
        self._caller = backend.doorkeeper.rest_caller
        vars(backend.doorkeeper)["rest_caller"] = self.caller

    async def caller(self, request: web.Request) -> Caller:
        values = request.headers.getall("Authorization", [])
        if len(values) < 2 or not self._chance.fires():
            return await self._caller(request)
        claims = await self._door.token_claims(values[0].partition(" ")[2])
        self._chance.say(user=claims.subject, manifest=True)
        return await self._door.admit(claims)


@found_by_tests(
    "S1",
    "ask-auth-each-time",
    "backend",
    breaks="The login service was down, and nobody who was logged in could read any more.",
    opportunity="one request",
)
class AskAuthEachTime:
    """No token is accepted without asking auth for its keys anew. An opportunity is one request; it fires when auth
    does not answer."""

    def __init__(self, backend: Backend, chance: Chance) -> None:
        self._keys, self._chance = backend.verifier.keys, chance
        self._verify = backend.verifier.verify
        vars(backend.verifier)["verify"] = self.verify

    async def verify(self, token: str) -> Claims:
        if self._chance.fires():
            try:
                await self._keys.fetch()
            except Exception as error:
                self._chance.say(why=type(error).__name__, manifest=True)
                raise KeysUnavailable("The login service does not answer.") from error
        return await self._verify(token)


@found_by_tests(
    "S12",
    "keys-once",
    "backend",
    breaks="The keys were changed as planned, and whoever logged in afterwards was refused.",
    opportunity="one unknown key",
)
class KeysOnce:
    """Keys are fetched at the start and never again. An opportunity is one key that is not known."""

    def __init__(self, backend: Backend, chance: Chance) -> None:
        self._keys, self._chance = backend.verifier.keys, chance
        self._refresh = self._keys.refresh
        vars(self._keys)["refresh"] = self.refresh

    async def refresh(self) -> None:
        if self._keys.keys and self._chance.fires():
            self._chance.say(manifest=True)
        else:
            await self._refresh()


@found_by_tests(
    "S2",
    "breaker-never-opens",
    "backend",
    breaks="The login service was slow, and everything else became as slow.",
    opportunity="one time that the breaker should open",
)
class BreakerNeverOpens:
    """However often auth fails, it is asked again. An opportunity is one time that the breaker should open."""

    def __init__(self, backend: Backend, chance: Chance) -> None:
        self._become, self._chance = backend.auth_breaker._become, chance
        vars(backend.auth_breaker)["_become"] = self.become

    def become(self, state: Any) -> None:
        if state.value == "open" and self._chance.fires():
            self._chance.say(manifest=True)
        else:
            self._become(state)
