"""Defects of deployments and outages: draining, circuit breakers, and work that is done without auth."""

from __future__ import annotations

import time
from typing import Any

import jwt
from aiohttp import web

from earwitness.harness.defects.chance import Chance
from earwitness.harness.defects.declared import defect
from earwitness.harness.reference.answers import ApiError
from earwitness.harness.reference.backend.app import Backend
from earwitness.harness.reference.backend.session import Session
from earwitness.harness.reference.breaker import CircuitBreaker, CircuitOpen, State
from earwitness.harness.reference.frontend.app import Frontend
from earwitness.harness.reference.tokens import Claims, KeysUnavailable


@defect(
    "Z37",
    "no-drain",
    breaks="Each time they deploy, my connection dies without a word.",
    opportunity="one socket of a backend that goes down gracefully",
    caught_by=("I28",),
    high=1.0,
    one=0.1,
    needs="a graceful restart or a replacement of a backend",
    story="rolling_restart",
)
class NoDrain:
    """Defect that aborts sockets at shutdown instead of draining and closing them.

    Opportunity: one socket that is open when the shutdown begins. A firing is manifest at once.
    """

    def __init__(self, backend: Backend, chance: Chance) -> None:
        """Replace `Backend.drain`, which closes sockets before the end."""
        self._backend, self._chance, self._drain = backend, chance, backend.drain
        vars(backend)["drain"] = self.drain

    async def drain(self) -> None:
        """Override `Backend.drain`: abort the sockets for which the defect fires, then drain the rest."""
        self._backend.gateway.draining = True
        for session in list(self._backend.registry.sessions):
            if self._chance.fires():
                self._chance.say(user=session.user_id, manifest=True)
                _drop(session)
        await self._drain()


def _drop(session: Session) -> None:
    transport = session._transport
    if transport is not None:
        transport.abort()


@defect(
    "Z38",
    "reconnects-limited",
    breaks="After a deployment I could not connect again for a while: too many requests, it said.",
    opportunity="one connection of a user who was connected before",
    caught_by=("I28", "I37"),
    high=0.3,
    one=0.05,
    needs="a graceful restart or a replacement of a backend",
    story="rolling_restart",
)
class ReconnectsAreLimited:
    """Defect that locks a user out for LOCKED_S seconds after a reconnect, as if a reconnect storm were an attack.

    Opportunity: one connection of a user who was connected before and has not been locked out yet. A firing is manifest
    at once.
    """

    LOCKED_S = 8.0

    def __init__(self, backend: Backend, chance: Chance) -> None:
        """Replace `Doorkeeper.socket_caller`. No user is known or locked out yet."""
        self._chance, self._caller = chance, backend.doorkeeper.socket_caller
        self._before: set[str] = set()
        self._locked: dict[str, float] = {}
        vars(backend.doorkeeper)["socket_caller"] = self.socket_caller

    async def socket_caller(self, request: web.Request) -> Any:
        """Override `Doorkeeper.socket_caller`: raise ApiError 429 while the user is locked out.

        A user who connects again is locked out once, if the defect fires.
        """
        caller = await self._caller(request)
        user, now = caller.user.id, time.monotonic()
        again = user in self._before or "resume" in request.query
        self._before.add(user)
        if again and user not in self._locked and self._chance.fires():
            self._locked[user] = now + self.LOCKED_S
            self._chance.say(user=user, manifest=True)
        if self._locked.get(user, 0.0) > now:
            raise ApiError(429, "rate_limited", "Too many connections; slow down.", retry_after_s=1)
        return caller


@defect(
    "Z52",
    "fail-open",
    breaks="While the login service was down, anybody could get in with a token that they had made up.",
    opportunity="one token of an unknown key while auth cannot be asked",
    caught_by=("I35", "I31"),
    high=1.0,
    one=0.2,
    needs="an outage of auth, and forged tokens in it",
    story="auth_outage",
)
class FailOpen:
    """Defect that accepts a token with an unknown key, unverified, while auth cannot be asked for its keys.

    Opportunity: one such token. A firing is manifest at once.
    """

    def __init__(self, backend: Backend, chance: Chance) -> None:
        """Replace `Verifier.verify`, which raises KeysUnavailable when it cannot get the keys of auth."""
        self._backend, self._chance, self._verify = backend, chance, backend.verifier.verify
        vars(backend.verifier)["verify"] = self.verify

    async def verify(self, token: str) -> Claims:
        """Override `Verifier.verify`: return unverified claims if the keys are not available and the defect fires."""
        try:
            return await self._verify(token)
        except KeysUnavailable:
            if not self._chance.fires():
                raise
            claims = Claims.of(jwt.decode(token, options={"verify_signature": False}))
            self._chance.say(user=claims.subject, manifest=True)
            return claims


@defect(
    "Z53",
    "breaker-stuck-open",
    service="frontend",
    kinds=("backend", "frontend"),
    breaks="The login service had long been back, and the page still said that nobody can log in.",
    opportunity="one call of auth when an open breaker should try again",
    caught_by=("I40", "I35"),
    high=1.0,
    one=0.04,
    needs="an outage of auth, and logins during it and after",
    story="auth_outage",
)
class StuckOpen:
    """Defect that keeps an open circuit breaker open when it should try again.

    Opportunity: one call that should be the probe. A firing is manifest at once.
    """

    def __init__(self, service: Backend | Frontend, chance: Chance) -> None:
        """Replace `CircuitBreaker.admit`, which admits a probe when `open_s` seconds have passed."""
        self._breaker, self._chance, self._admit = service.auth_breaker, chance, service.auth_breaker.admit
        vars(self._breaker)["admit"] = self.admit

    def admit(self) -> bool:
        """Override `CircuitBreaker.admit`: raise CircuitOpen for a probe if the defect fires."""
        breaker = self._breaker
        due = breaker.state is State.OPEN and breaker.clock() >= breaker.opened_at + breaker.open_s
        if due and self._chance.fires():
            self._chance.say(manifest=True)
            raise CircuitOpen(breaker.name, breaker.open_s)
        return self._admit()


@defect(
    "Z53b",
    "half-open-for-all",
    service="frontend",
    kinds=("backend", "frontend"),
    breaks="The login service came back, was overrun at once, and went down again.",
    opportunity="one call of auth beside the one that tries whether it is back",
    caught_by=("I40",),
    high=1.0,
    one=0.5,
    needs="an outage of auth, and logins during it",
    story="auth_outage",
)
class HalfOpenForAll:
    """Defect that admits further calls while the probe of a half-open circuit breaker is still running.

    Opportunity: one such call. A firing is manifest at once.
    """

    def __init__(self, service: Backend | Frontend, chance: Chance) -> None:
        """Replace `CircuitBreaker.admit`, which refuses other calls while a probe is in progress."""
        self._breaker: CircuitBreaker = service.auth_breaker
        self._chance, self._admit = chance, service.auth_breaker.admit
        vars(self._breaker)["admit"] = self.admit

    def admit(self) -> bool:
        """Override `CircuitBreaker.admit`: admit the call as if no probe were in progress, if the defect fires."""
        if self._breaker.state is State.HALF_OPEN and self._breaker.probing and self._chance.fires():
            self._chance.say(manifest=True)
            self._breaker.probing = False
        return self._admit()
