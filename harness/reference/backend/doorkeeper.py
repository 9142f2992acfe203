"""Doorkeeper: for each request and socket, checks the token or ticket, its revocation, and the account's row."""

from __future__ import annotations

import asyncio
import functools
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from aiohttp import web
from redis.asyncio import Redis

from earwitness.harness.reference import clock, tickets
from earwitness.harness.reference.answers import ApiError
from earwitness.harness.reference.backend.store import User
from earwitness.harness.reference.bearer import Verifies, bearer_token, unauthorized, verified
from earwitness.harness.reference.revocation import is_revoked
from earwitness.harness.reference.tokens import Claims

SUBPROTOCOL = "earwitness.v1"
BEARER_PREFIX = "bearer."
POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Caller:
    """User whose token is valid and whose account is active."""

    claims: Claims
    user: User


class Arrivals:
    """Waiting list of requests by users whose accounts the sync has not stored yet."""

    def __init__(self) -> None:
        """Start without waiting requests."""
        self._waiting: defaultdict[str, set[asyncio.Event]] = defaultdict(set)

    def arrived(self, user_id: str) -> None:
        """Wake the requests that wait for this user. The sync calls it when the account is stored."""
        for event in self._waiting.get(user_id, ()):
            event.set()

    async def wait(self, user_id: str, timeout_s: float) -> None:
        """Wait until `arrived` is called for the user, at most `timeout_s` seconds."""
        event = asyncio.Event()
        self._waiting[user_id].add(event)
        try:
            async with asyncio.timeout(timeout_s):
                await event.wait()
        except TimeoutError:
            return
        finally:
            self._waiting[user_id].discard(event)
            if not self._waiting[user_id]:
                del self._waiting[user_id]


class FindsUsers(Protocol):
    """Protocol of a look-up of users (`store.Users`)."""

    async def get(self, user_id: str) -> User | None:
        """Return the user with this id, None if there is none."""


class Doorkeeper:
    """Checks of the caller of a request or a socket. Each raises ApiError to refuse.

    Errors of Redis and the database are passed on and become a 503: access is never granted because of an outage.
    `wait_s`: longest wait in seconds for a new user whose account the auth service has not sent yet.
    """

    def __init__(self, verifier: Verifies, redis: Redis, users: FindsUsers, arrivals: Arrivals, wait_s: float) -> None:
        """Keep the parts that the checks use. Defects may replace `is_revoked` and `redeem`, which query `redis`."""
        self.verifier, self.users = verifier, users
        self._arrivals, self._wait_s = arrivals, wait_s
        self.is_revoked: Callable[[Claims], Awaitable[bool]] = functools.partial(is_revoked, redis)
        self.redeem: Callable[[str], Awaitable[Claims | None]] = functools.partial(tickets.redeem, redis)

    async def rest_caller(self, request: web.Request) -> Caller:
        """Return the caller of a REST request, by its access token. Raises the errors of `token_claims` and `admit`."""
        return await self.admit(await self.token_claims(bearer_token(request)))

    async def socket_caller(self, request: web.Request) -> Caller:
        """Return the caller that opens a socket, by header, subprotocol, query or ticket.

        Unlike a request, a socket needs a token that has not expired, without leeway. Raises ApiError 401 if the token
        has expired, and the errors of `socket_claims` and `admit`.
        """
        claims = await self.socket_claims(request)
        if claims.expires_at <= clock.now():
            raise unauthorized("expired", "The token has expired.")
        return await self.admit(claims)

    async def socket_claims(self, request: web.Request) -> Claims:
        """Return the claims of the token or ticket with which a socket is opened.

        Raises ApiError 401 if there is none, or if it is not valid; 503 if auth's keys are not available.
        """
        token = socket_token(request)
        if token is not None:
            return await self.token_claims(token)
        if "ticket" in request.query:
            return await self.ticket_claims(request.query["ticket"])
        raise unauthorized("no_token", "An access token is needed: by header, subprotocol, ?token= or ?ticket=.")

    async def token_claims(self, token: str) -> Claims:
        """Return the claims of a valid access token. Raises ApiError 401, or 503 if auth's keys are not available."""
        return await verified(self.verifier, token)

    async def ticket_claims(self, ticket: str) -> Claims:
        """Use up a ticket and return the claims of the access token with which it was obtained. Raises ApiError 401."""
        claims = await self.redeem(ticket)
        if claims is None:
            raise unauthorized("bad_ticket", "The ticket is unknown, too old or already used.")
        return claims

    async def admit(self, claims: Claims) -> Caller:
        """Return the caller with these verified claims.

        Raises ApiError 401 if the token is revoked, 403 if the account is unknown or not active.
        """
        await self.check_revoked(claims)
        user = await self.user(claims.subject)
        if user is None:
            raise ApiError(403, "unknown_user", "This account has not reached this service.")
        if not user.is_active:
            raise ApiError(403, "inactive_user", "This account was deactivated.")
        return Caller(claims, user)

    async def check_revoked(self, claims: Claims) -> None:
        """Raise ApiError 401 if the token is revoked."""
        if await self.is_revoked(claims):
            raise unauthorized("revoked", "The token was revoked.")

    async def user(self, user_id: str) -> User | None:
        """Return the user with this id; None if the account does not exist.

        Waits at most `wait_s` seconds for a new user whose account the auth service has not sent yet.
        """
        deadline = time.monotonic() + self._wait_s
        while True:
            user = await self.users.get(user_id)
            left_s = deadline - time.monotonic()
            if user is not None or left_s <= 0:
                return user
            # News can be lost, so the table is read again at short intervals.
            await self._arrivals.wait(user_id, min(POLL_S, left_s))


def socket_token(request: web.Request) -> str | None:
    """Return the token in a request for a socket: of the header, else the subprotocol, else the query; else None."""
    if "Authorization" in request.headers:
        return bearer_token(request)
    for protocol in request.headers.get("Sec-WebSocket-Protocol", "").split(","):
        if protocol.strip().startswith(BEARER_PREFIX):
            return protocol.strip().removeprefix(BEARER_PREFIX)
    return request.query.get("token")
