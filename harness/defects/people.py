"""Defects of identity at the backend: requests that are served as another user, and identities that are out of date."""

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
    """Defect that serves a request as if the caller of the previous request had sent it.

    The replaced method of Doorkeeper is `rest_caller` or `socket_caller`. Opportunity: one request after a request of
    another user. A firing is manifest at once.
    """

    def __init__(self, backend: Backend, chance: Chance, door: str) -> None:
        """Replace the method of the doorkeeper whose name is in `door`: "rest_caller" or "socket_caller"."""
        self._chance = chance
        self._caller: Callable[[web.Request], Awaitable[Caller]] = getattr(backend.doorkeeper, door)
        self._last: Caller | None = None
        vars(backend.doorkeeper)[door] = self.caller

    async def caller(self, request: web.Request) -> Caller:
        """Override `rest_caller` or `socket_caller`: return the caller of the previous request if the defect fires."""
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
    """Install the defect `AsAnother` for REST requests."""
    AsAnother(backend, chance, "rest_caller")


@found_by_tests(
    "S11",
    "connected-as-another",
    "backend",
    breaks="I opened the app, and I was somebody else.",
    opportunity="one socket after somebody else's",
)
def connected_as_another(backend: Backend, chance: Chance) -> None:
    """Install the defect `AsAnother` for sockets."""
    AsAnother(backend, chance, "socket_caller")


@found_by_tests(
    "S25",
    "cached-people",
    "backend",
    breaks="Their account was closed in the morning, and in the evening they were still connecting.",
    opportunity="one look-up of somebody who has changed or is gone",
)
class CachedPeople:
    """Defect that looks each user up once and never again.

    Opportunity: one look-up of a user who has changed or was deleted since the first. A firing is manifest at once.
    """

    def __init__(self, backend: Backend, chance: Chance) -> None:
        """Replace `Users.get` by a look-up that stores each user at the first call."""
        self._chance, self._get = chance, backend.users.get
        self._known: dict[str, User] = {}
        vars(backend.users)["get"] = self.get

    async def get(self, user_id: str) -> User | None:
        """Override `Users.get`: return the row of the first look-up for a user who has changed, if the defect fires."""
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
    """Defect that uses the first of several access tokens in one request instead of refusing them.

    Opportunity: one request with two Authorization headers or more. A firing is manifest at once.
    """

    def __init__(self, backend: Backend, chance: Chance) -> None:
        """Replace `Doorkeeper.rest_caller`, which refuses requests with several tokens."""
        self._door, self._chance = backend.doorkeeper, chance
        self._caller = backend.doorkeeper.rest_caller
        vars(backend.doorkeeper)["rest_caller"] = self.caller

    async def caller(self, request: web.Request) -> Caller:
        """Override `Doorkeeper.rest_caller`: admit the claims of the first token if the defect fires."""
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
    """Defect that fetches the keys of auth anew for each token, and refuses the token if auth does not answer.

    Opportunity: one request. It fires, and the firing is manifest at once, when auth does not answer.
    """

    def __init__(self, backend: Backend, chance: Chance) -> None:
        """Replace `Verifier.verify`, which fetches keys only when a token needs an unknown one."""
        self._keys, self._chance = backend.verifier.keys, chance
        self._verify = backend.verifier.verify
        vars(backend.verifier)["verify"] = self.verify

    async def verify(self, token: str) -> Claims:
        """Override `Verifier.verify`: fetch the keys first if the defect fires.

        Raises KeysUnavailable if auth does not answer.
        """
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
    """Defect that fetches the keys of auth at the start and never again.

    Opportunity: one token with an unknown key. A firing is manifest at once.
    """

    def __init__(self, backend: Backend, chance: Chance) -> None:
        """Replace `KeySet.refresh`, which fetches keys again for an unknown `kid`."""
        self._keys, self._chance = backend.verifier.keys, chance
        self._refresh = self._keys.refresh
        vars(self._keys)["refresh"] = self.refresh

    async def refresh(self) -> None:
        """Override `KeySet.refresh`: do nothing if the defect fires and keys are known."""
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
    """Defect that keeps calling auth however often it fails.

    Opportunity: each time the circuit breaker should open. A firing is manifest at once.
    """

    def __init__(self, backend: Backend, chance: Chance) -> None:
        """Replace `CircuitBreaker._become`, which changes its state."""
        self._become, self._chance = backend.auth_breaker._become, chance
        vars(backend.auth_breaker)["_become"] = self.become

    def become(self, state: Any) -> None:
        """Override `CircuitBreaker._become`: ignore the state `open` if the defect fires."""
        if state.value == "open" and self._chance.fires():
            self._chance.say(manifest=True)
        else:
            self._become(state)
