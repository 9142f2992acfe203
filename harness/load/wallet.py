"""Tokens and other artefacts that one client holds.

Each artefact is recorded once, with a number. Its secret never leaves this process.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace

from earwitness.checks.history.record import NONE, Artefact, Flag
from earwitness.harness.client.statements import Name, digest_of, write_token
from earwitness.harness.client.wall_clock import SECOND, deadline_of
from earwitness.harness.dialects.protocol import Credentials
from earwitness.harness.dialects.tokens import BegunLogin
from earwitness.harness.record.named import Writes


@dataclass(frozen=True, slots=True)
class Held:
    """Artefact that a client holds.

    name         (client, number), by which records name it
    deadline_ns  `time.monotonic_ns()` until which it is valid, NONE if unknown
    """

    name: Name
    secret: str = field(repr=False)
    deadline_ns: int = NONE

    def left_s(self) -> float:
        """Return the seconds for which the artefact is still valid: infinity if unknown, negative afterwards."""
        return float("inf") if self.deadline_ns == NONE else (self.deadline_ns - time.monotonic_ns()) / SECOND


@dataclass(frozen=True, slots=True)
class Login:
    """Access and refresh token of a login or a refresh, with the credentials that contain them.

    `refresh` is None where the platform issues no refresh token.
    """

    credentials: Credentials
    access: Held
    refresh: Held | None

    def over(self) -> Login:
        """Return this login with an access token that counts as expired, for a session that has ended.

        The next action that needs a token then begins a new session.
        """
        return replace(self, access=replace(self.access, deadline_ns=0))


@dataclass(frozen=True, slots=True)
class Begun:
    """Login up to its callback, with the recorded state and code that the callback will carry."""

    login: BegunLogin
    state: Held
    code: Held


class Wallet:
    """Artefacts of one client, numbered from 1."""

    def __init__(self, journal: Writes, client: int) -> None:
        """Start without artefacts; they are recorded in `journal` as those of `client`."""
        self._journal, self._client = journal, client
        self._count = 0

    def add(
        self, kind: Artefact, secret: str, *, deadline_ns: int = NONE, belongs_to: Held | None = None, digest: int = 0,
        forged: int = 0, flags: int = 0,
    ) -> Held:  # fmt: skip
        """Record a new artefact of type `kind` and return it.

        deadline_ns  monotonic ns until which it is valid
        belongs_to   the artefact from which it was derived
        digest       CRC-32 of whom it names and what it permits, see `digest_of`
        forged       number of its forgery, 0 for a genuine one
        flags        which clock its deadline depends on, see TOKEN in the record schema
        """
        self._count += 1
        write_token(
            self._journal, kind, self._client, self._count, deadline_ns=deadline_ns, digest=digest, forged=forged,
            belongs_to=NONE if belongs_to is None else belongs_to.name[1], flags=flags,
        )  # fmt: skip
        return Held((self._client, self._count), secret, deadline_ns)

    def add_login(self, credentials: Credentials, sent_ns: int, before: Login | None = None) -> Login:
        """Record the tokens of a login or a refresh, and return them as a `Login`.

        `sent_ns`: monotonic ns of the request; `before`: the login that was refreshed, None for a new login.
        """
        claims = credentials.extra.get("claims") or {}
        person = digest_of(credentials.user_id, claims.get("email"), sorted(claims.get("permissions") or ()))
        refresh = None
        if credentials.extra.get("refresh_token"):
            refresh = self.add(
                Artefact.REFRESH,
                str(credentials.extra["refresh_token"]),
                belongs_to=None if before is None else before.refresh,
            )
        deadline = deadline_of(credentials.expires_at, claims.get("iat"), sent_ns, time.monotonic_ns())
        access = self.add(
            Artefact.ACCESS, credentials.token, deadline_ns=deadline.ns, belongs_to=refresh, digest=person,
            flags=(Flag.OWN if deadline.by_own_clock else 0) | (Flag.ACCEPTED if deadline.clocks_agree else 0),
        )  # fmt: skip
        return Login(credentials, access, refresh)
