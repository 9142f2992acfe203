"""Guard of the auth service's endpoints: the checks that a request must pass before its handler runs."""

from __future__ import annotations

import functools
import hmac
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import redis.asyncio
from aiohttp import web

from earwitness.harness.reference.answers import ApiError
from earwitness.harness.reference.auth.settings import Settings
from earwitness.harness.reference.bearer import bearer_token, unauthorized, verified
from earwitness.harness.reference.limits import Decision, Limiter, payer
from earwitness.harness.reference.revocation import is_revoked
from earwitness.harness.reference.tokens import Claims, Verifier

Authenticated: TypeAlias = Callable[[web.Request, Claims], Awaitable[web.Response]]
Plain: TypeAlias = Callable[[web.Request], Awaitable[web.Response]]


class Guard:
    """Checks of a request: token, revocation, rate limit, administration."""

    def __init__(self, settings: Settings, client: redis.asyncio.Redis, verifier: Verifier) -> None:
        """Make the budgets for requests and for logins. A budget whose rate is None in `settings` does not exist."""
        self._settings, self.verifier = settings, verifier
        self.is_revoked: Callable[[Claims], Awaitable[bool]] = functools.partial(is_revoked, client)
        self.payer = payer
        self.budget = _limiter(client, settings.rate_per_s, settings.rate_burst, "rate:")
        self.login_budget = _limiter(client, settings.login_rate_per_s, settings.login_burst, "rate:login:")

    def authenticated(self, handler: Authenticated) -> Plain:
        """Return `handler` behind the checks: the access token is valid and not revoked, one request is charged.

        If a check fails, the result raises ApiError: 401, 429, or 503 without keys. An ApiError of `handler` becomes
        its response. Responses of `handler` have the rate headers if requests are limited.
        """

        async def guarded(request: web.Request) -> web.Response:
            claims = await self.claims_of(bearer_token(request))
            decision = await self.spend(request, claims.subject)
            try:
                response = await handler(request, claims)
            except ApiError as error:
                response = error.response()
            response.headers.update(decision.headers() if decision else {})
            return response

        return guarded

    async def claims_of(self, token: str) -> Claims:
        """Return the claims of a token that is valid and not revoked.

        Raises ApiError 401 if the token is invalid or revoked, 503 if the keys are not available.
        """
        claims = await verified(self.verifier, token)
        if await self.is_revoked(claims):
            raise unauthorized("revoked", "The token has been revoked.")
        return claims

    async def spend(self, request: web.Request, subject: str) -> Decision | None:
        """Charge one request to the budget of `subject`; return the decision, None if requests are not limited.

        Raises ApiError 429 when the budget is used up.
        """
        return await _take(self.budget, self.payer(request, subject))

    async def spend_login(self, request: web.Request) -> None:
        """Charge one unauthenticated login to the client's address. No-op if logins are not limited.

        Raises ApiError 429 when its budget is used up.
        """
        await _take(self.login_budget, request.remote or "unknown")

    def check_test_mode(self) -> None:
        """Raise ApiError 404 unless the service runs in test mode: elsewhere the accounts are real."""
        if not self._settings.test_mode:
            raise ApiError(404, "not_found", "There is no such page.")

    def check_admin(self, request: web.Request) -> None:
        """Raise ApiError unless the request may use the pages for administrators.

        In test mode every request may. Otherwise it must present the administrators' secret as its bearer token:
        404 if no secret is configured, 401 without exactly one bearer token, 403 for a wrong one.
        """
        secret = self._settings.admin_secret
        if self._settings.test_mode:
            return
        if secret is None:
            raise ApiError(404, "not_found", "There is no such page.")
        if not hmac.compare_digest(bearer_token(request).encode(), secret.encode()):
            raise ApiError(403, "forbidden", "This is for administrators.")


def _limiter(client: redis.asyncio.Redis, rate_per_s: float | None, burst: float | None, prefix: str) -> Limiter | None:
    if rate_per_s is None:
        return None
    return Limiter(client, rate_per_s, int(burst or max(1.0, rate_per_s)), prefix=prefix)


async def _take(limiter: Limiter | None, subject: str) -> Decision | None:
    if limiter is None:
        return None
    decision = await limiter.take(subject)
    if not decision.allowed:
        raise ApiError(429, "rate_limited", "Too many requests; slow down.", headers=decision.headers())
    return decision
