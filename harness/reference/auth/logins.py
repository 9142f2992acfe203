"""Pending logins: values with which the callback is compared, stored in Redis for ten minutes, usable once.

Key `login:STATE`. The browser that began a login gets a cookie of its own for each login, so several tabs can log in at
once; only the cookie's hash is stored. Key `exchange:CODE` (one minute) carries a finished login to the frontend
without a token in any URL.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import orjson
import redis.asyncio

from earwitness.harness.reference.answers import ApiError

LOGIN_TTL_S = 600
EXCHANGE_TTL_S = 60


@dataclass(frozen=True, slots=True)
class PendingLogin:
    """Stored values of a pending login.

    nonce         that the id token must have
    verifier      of PKCE, for the exchange of the provider's code
    browser       hash of the secret in the browser's cookie
    return_to     page of the frontend to go to at the end, or ""
    access_ttl_s  lifetime of the access tokens in seconds
    challenge     PKCE-like S256 challenge of the frontend for the final exchange, or ""
    """

    nonce: str
    verifier: str
    browser: str
    return_to: str
    access_ttl_s: float
    challenge: str


@dataclass(frozen=True, slots=True)
class Begun:
    """Values of a begun login: for the browser `state` and `nonce` in the address, `secret` in the cookie `cookie`.

    `verifier`: of PKCE; only its challenge is in the address.
    """

    state: str
    nonce: str
    verifier: str
    cookie: str
    secret: str


class Logins:
    """Store of pending logins in Redis."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        """Keep `client`, with which pending logins are stored in Redis, where they expire."""
        self._redis = client

    async def begin(self, return_to: str, access_ttl_s: float, challenge: str) -> Begun:
        """Store a new pending login and return the values for the browser.

        `return_to`: page to go to at the end; `access_ttl_s`: lifetime of the access tokens; `challenge`: see
        `PendingLogin`.
        """
        state, nonce, verifier, secret = (secrets.token_urlsafe(32) for _ in range(4))
        pending = PendingLogin(nonce, verifier, _hash(secret), return_to, access_ttl_s, challenge)
        await self._redis.set(f"login:{state}", orjson.dumps(asdict(pending)), ex=LOGIN_TTL_S)
        return Begun(state, nonce, verifier, cookie_name(state), secret)

    async def finish(self, state: str, secret: str | None) -> PendingLogin:
        """Return and delete the pending login of `state`, for the browser that presents its `secret`.

        Raises ApiError 400 if there is none (any more), 403 for another browser.
        """
        pending = await self.take(state)
        if pending is None:
            raise ApiError(400, "invalid_state", "This login is unknown, too old or already finished; begin again.")
        self.check_browser(pending, secret)
        return pending

    async def take(self, state: str) -> PendingLogin | None:
        """Return and delete the pending login of `state`; None if there is none.

        It uses GETDEL: of two callbacks at once only one gets the login.
        """
        value = await self._redis.getdel(f"login:{state}") if state else None
        return None if value is None else PendingLogin(**orjson.loads(value))

    def check_browser(self, pending: PendingLogin, secret: str | None) -> None:
        """Raise ApiError 403 unless `secret` is from the cookie of the browser that began the login."""
        if secret is None or not hmac.compare_digest(_hash(secret), pending.browser):
            raise ApiError(403, "other_browser", "This login was begun in another browser.")

    async def offer(self, value: Mapping[str, object]) -> str:
        """Store `value` for EXCHANGE_TTL_S seconds and return the one-time code under which `collect` returns it."""
        code = secrets.token_urlsafe(32)
        await self._redis.set(f"exchange:{code}", orjson.dumps(value), ex=EXCHANGE_TTL_S)
        return code

    async def collect(self, code: str) -> dict[str, Any] | None:
        """Return and delete the value that `offer` stored under a code; None if there is none."""
        value = await self._redis.getdel(f"exchange:{code}")
        return None if value is None else dict(orjson.loads(value))


def cookie_name(state: str) -> str:
    """Return the name of the cookie for the login with this state. It differs for each login."""
    return f"login_{_hash(state)[:16]}"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
