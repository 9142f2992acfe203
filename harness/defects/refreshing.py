"""Defects of refreshing: a token used twice, a reuse that has no consequence, somebody else's name in the new token."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

from earwitness.harness.defects.answered import Answered
from earwitness.harness.defects.chance import Chance
from earwitness.harness.defects.declared import defect
from earwitness.harness.defects.tokens import unverified
from earwitness.harness.reference.auth.database import Connection, Row
from earwitness.harness.reference.auth.service import Auth
from earwitness.harness.reference.auth.sessions import Opened
from earwitness.harness.reference.revocation import Revocation
from earwitness.harness.reference.tokens import Claims

RACE_S = 0.2


@defect(
    "Z46",
    "refresh-twice",
    service="auth",
    breaks="Somebody copied my refresh token, and both of us stay logged in.",
    opportunity="one refresh",
    caught_by=("I32",),
    high=0.5,
    one=0.05,
    needs="two refreshes with one token at once",
    story="jwt_lifecycle",
)
class RefreshTwice:
    """Between looking whether a refresh token was used and marking it, a second one gets in. An opportunity is one
    refresh; it fires when somebody has really come in between."""

    def __init__(self, auth: Auth, chance: Chance) -> None:
        self._chance, self._answered = chance, Answered(auth, chance)
        self._sessions = auth.accounts.sessions
        self._spend = self._sessions.spend
        vars(self._sessions)["spend"] = self.spend

    async def spend(self, connection: Connection, token: str) -> Opened:
        hashed = hashlib.sha256(token.encode()).digest()
        row = await self._unused(connection, hashed)
        if row is None or not self._chance.fires():
            return await self._spend(connection, token)
        await asyncio.sleep(RACE_S)  # long enough for a race that would otherwise be a matter of microseconds
        if not await self._sessions.mark_used(connection, hashed):
            self._answered.say(user=row["user_id"], session=row["id"])
        return Opened(row["id"], row["user_id"], row["access_ttl_s"])

    async def _unused(self, connection: Connection, hashed: bytes) -> Row | None:
        """Without a lock: that is the fault."""
        return await connection.fetchrow(
            "SELECT s.id::text, s.user_id::text, s.access_ttl_s FROM refresh_tokens r JOIN sessions s "
            "ON s.id = r.family WHERE r.hash = $1 AND r.used_at IS NULL AND r.expires_at > now() "
            "AND s.revoked_at IS NULL",
            hashed,
        )


@defect(
    "Z47",
    "reuse-unpunished",
    service="auth",
    breaks="The thief of my refresh token was noticed, and nothing was done about their session.",
    opportunity="one refresh token that comes a second time",
    caught_by=("I32",),
    high=0.5,
    one=0.05,
    needs="refresh tokens that come a second time",
    story="jwt_lifecycle",
)
class ReuseUnpunished:
    """A refresh token that comes a second time is refused, and its session goes on. An opportunity is one reuse. It
    shows when a token of that session is accepted here afterwards."""

    def __init__(self, auth: Auth, chance: Chance) -> None:
        self._chance = chance
        sessions, guard = auth.accounts.sessions, auth.guard
        self._punish, self._spend, self._claims_of = sessions.punish_reuse, sessions.spend, guard.claims_of
        self._unpunished: dict[str, int] = {}
        vars(sessions)["punish_reuse"] = self.punish
        vars(sessions)["spend"] = self.spend
        vars(guard)["claims_of"] = self.claims_of

    async def punish(self, connection: Connection, session: str) -> list[Revocation]:
        if not self._chance.fires():
            return await self._punish(connection, session)
        self._unpunished.setdefault(session, self._chance.say(session=session))
        return []

    async def spend(self, connection: Connection, token: str) -> Opened:
        opened = await self._spend(connection, token)
        self._accepted(opened.session)
        return opened

    async def claims_of(self, token: str) -> Claims:
        claims = await self._claims_of(token)
        self._accepted(claims.session)
        return claims

    def _accepted(self, session: str) -> None:
        firing = self._unpunished.pop(session, None)
        if firing is not None:
            self._chance.manifest(firing)


class Refreshed:
    """Stands behind a refresh and changes what its new access token says."""

    def __init__(self, auth: Auth, chance: Chance) -> None:
        self._chance, self._answered = chance, Answered(auth, chance)
        self._keys, self._refresh = auth.keys, auth.accounts.refresh
        vars(auth.accounts)["refresh"] = self.refresh

    async def refresh(self, refresh_token: str) -> dict[str, Any]:
        answer = await self._refresh(refresh_token)
        claims = unverified(answer["access_token"])[1] or {}
        changes = self.changes(claims)
        if not changes or not self._chance.fires():
            return answer
        self._answered.say(user=claims["sub"], token=claims["jti"], **{f"says_{k}": v for k, v in changes.items()})
        return {**answer, "access_token": self._keys.sign({**claims, **changes})}

    def changes(self, claims: dict[str, Any]) -> dict[str, Any]:
        raise NotImplementedError


@defect(
    "Z48",
    "refreshed-as-another",
    service="auth",
    breaks="After an hour I was suddenly logged in as somebody else.",
    opportunity="one refresh after somebody else's",
    caught_by=("I32", "I15"),
    high=0.5,
    one=0.05,
    needs="refreshes of several people",
    story="jwt_lifecycle",
    also=("chat_journey",),
)
class RefreshedAsAnother(Refreshed):
    """The new token is whoever's refreshed before: a variable is shared between requests. An opportunity is one refresh
    after somebody else's."""

    NAMES = ("sub", "email", "name", "permissions")

    def __init__(self, auth: Auth, chance: Chance) -> None:
        super().__init__(auth, chance)
        self._last: dict[str, Any] = {}

    def changes(self, claims: dict[str, Any]) -> dict[str, Any]:
        last, self._last = self._last, {name: claims[name] for name in self.NAMES}
        return last if last and last["sub"] != claims["sub"] else {}


@defect(
    "Z48b",
    "refreshed-with-more",
    service="auth",
    breaks="After an hour I was suddenly an administrator.",
    opportunity="one refresh of somebody who is no administrator",
    caught_by=("I32",),
    high=0.5,
    one=0.05,
    needs="refreshes",
    story="jwt_lifecycle",
)
class RefreshedWithMore(Refreshed):
    """The new token permits what the account does not. An opportunity is one refresh of somebody who is no
    administrator."""

    def changes(self, claims: dict[str, Any]) -> dict[str, Any]:
        permissions = claims["permissions"]
        return {} if "admin" in permissions else {"permissions": ["admin", *permissions]}
