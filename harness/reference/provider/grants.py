"""Codes, access tokens and refresh tokens that the provider has issued, in memory until they expire."""

from __future__ import annotations

import hmac
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from earwitness.harness.reference.pkce import s256
from earwitness.harness.reference.provider.people import Person

CODE_TTL_S = 60.0
ACCESS_TTL_S = 3600.0
REFRESH_TTL_S = 14 * 86400.0

T = TypeVar("T")


class GrantRefused(Exception):
    """Error for a grant that is not accepted: `invalid_grant`, with the reason."""


@dataclass(slots=True)
class Grant:
    """Consent of a user to one authorization request.

    All tokens of a grant are invalid when the grant is revoked. `challenge`: of PKCE; `auth_time`: epoch seconds;
    `redeemed`: its code was used; `spent_refresh`: its refresh tokens that were used.
    """

    person: Person
    client_id: str
    redirect_uri: str
    challenge: str
    nonce: str | None
    scope: str
    auth_time: int
    redeemed: bool = False
    revoked: bool = False
    spent_refresh: set[str] = field(default_factory=set)


class Expiring(Generic[T]):
    """Store of values under random names, each for `ttl_s` seconds.

    All values have the same lifetime, so the oldest ones are always first in the store.
    """

    def __init__(self, ttl_s: float, now: Callable[[], float] = time.monotonic) -> None:
        """Start empty. `now` returns seconds that never decrease."""
        self.ttl_s, self._now = ttl_s, now
        self._items: dict[str, tuple[float, T]] = {}

    def put(self, value: T) -> str:
        """Store a value under a new random name, and return the name."""
        self._forget()
        name = secrets.token_urlsafe(24)
        self._items[name] = (self._now() + self.ttl_s, value)
        return name

    def get(self, name: str) -> T | None:
        """Return the value of a name, or None if it is unknown or expired."""
        item = self._items.get(name)
        return None if item is None or item[0] < self._now() else item[1]

    def _forget(self) -> None:
        now = self._now()
        while self._items:
            name = next(iter(self._items))
            if self._items[name][0] >= now:
                return
            del self._items[name]


class Grants:
    """Codes, access tokens and refresh tokens of the provider.

    Codes are single use and bound to client, redirect address and PKCE verifier; refresh tokens rotate.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        """Start without grants. `now` returns seconds that never decrease."""
        self._codes: Expiring[Grant] = Expiring(CODE_TTL_S, now)
        self._access: Expiring[Grant] = Expiring(ACCESS_TTL_S, now)
        self._refresh: Expiring[Grant] = Expiring(REFRESH_TTL_S, now)

    def code(self, person: Person, asked: Mapping[str, str]) -> str:
        """Return a new code for a person's consent to the authorization request `asked`, which is checked already."""
        return self._codes.put(
            Grant(
                person=person,
                client_id=asked["client_id"],
                redirect_uri=asked["redirect_uri"],
                challenge=asked["code_challenge"],
                nonce=asked.get("nonce"),
                scope=asked["scope"],
                auth_time=int(time.time()),
            )
        )

    def redeem(self, code: str, client_id: str, redirect_uri: str, verifier: str) -> Grant:
        """Use up a code and return its grant.

        A second use revokes the grant (RFC 6749 §4.1.2). Raises GrantRefused for a second use, for an unknown or
        expired code, and if client, redirect address or PKCE verifier do not fit the code.
        """
        grant = self._codes.get(code)
        if grant is None or grant.client_id != client_id:
            raise GrantRefused("The code is unknown or too old.")
        if grant.redeemed:
            grant.revoked = True
            raise GrantRefused("The code has been used before.")
        grant.redeemed = True
        if grant.redirect_uri != redirect_uri:
            raise GrantRefused("redirect_uri is not the one that the code was made for.")
        if not hmac.compare_digest(s256(verifier), grant.challenge):
            raise GrantRefused("code_verifier does not fit code_challenge.")
        return grant

    def rotate(self, refresh_token: str, client_id: str) -> Grant:
        """Use up a refresh token and return its grant.

        A second use revokes the grant. Raises GrantRefused for a second use, and for a token that is unknown, expired,
        revoked or another client's.
        """
        grant = self._refresh.get(refresh_token)
        if grant is None or grant.client_id != client_id or grant.revoked:
            raise GrantRefused("The refresh token is unknown, too old or revoked.")
        if refresh_token in grant.spent_refresh:
            grant.revoked = True
            raise GrantRefused("The refresh token has been used before.")
        grant.spent_refresh.add(refresh_token)
        return grant

    def tokens(self, grant: Grant) -> tuple[str, str]:
        """Return (access token, refresh token), newly issued for the grant."""
        return self._access.put(grant), self._refresh.put(grant)

    def bearer(self, access_token: str) -> Person | None:
        """Return the person of an access token, or None if it is not valid."""
        grant = self._access.get(access_token)
        return None if grant is None or grant.revoked else grant.person
