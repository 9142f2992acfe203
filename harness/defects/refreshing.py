"""Defects of refreshing: tokens used twice, reuse without a consequence, and new tokens with another user's claims."""

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
    """Defect that leaves a gap between checking and marking a refresh token, in which a second refresh can use it too.

    Opportunity: one refresh. It fires when a second refresh has indeed used the token meanwhile, and is manifest when
    the refresh is answered with success.
    """

    def __init__(self, auth: Auth, chance: Chance) -> None:
        """Replace `Sessions.spend`, which checks and marks a refresh token under one lock."""
        self._chance, self._answered = chance, Answered(auth, chance)
        self._sessions = auth.accounts.sessions
        self._spend = self._sessions.spend
        vars(self._sessions)["spend"] = self.spend

    async def spend(self, connection: Connection, token: str) -> Opened:
        """Override `Sessions.spend`: wait RACE_S seconds between check and marking if chance picks the refresh."""
        hashed = hashlib.sha256(token.encode()).digest()
        row = await self._unused(connection, hashed)
        if row is None or not self._chance.fires():
            return await self._spend(connection, token)
        await asyncio.sleep(RACE_S)  # long enough for a race that would otherwise be a matter of microseconds
        if not await self._sessions.mark_used(connection, hashed):
            self._answered.say(user=row["user_id"], session=row["id"])
        return Opened(row["id"], row["user_id"], row["access_ttl_s"])

    async def _unused(self, connection: Connection, hashed: bytes) -> Row | None:
        """Return the session of an unused refresh token, without the lock that the healthy code takes."""
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
    """Defect that refuses a reused refresh token, but does not revoke its session.

    Opportunity: one refresh token that is presented a second time. A firing is manifest when this process accepts a
    token of that session afterwards.
    """

    def __init__(self, auth: Auth, chance: Chance) -> None:
        """Replace `Sessions.punish_reuse`; `spend` and `claims_of` show whether the session stays in use."""
        self._chance = chance
        sessions, guard = auth.accounts.sessions, auth.guard
        self._punish, self._spend, self._claims_of = sessions.punish_reuse, sessions.spend, guard.claims_of
        self._unpunished: dict[str, int] = {}
        vars(sessions)["punish_reuse"] = self.punish
        vars(sessions)["spend"] = self.spend
        vars(guard)["claims_of"] = self.claims_of

    async def punish(self, connection: Connection, session: str) -> list[Revocation]:
        """Override `Sessions.punish_reuse`: revoke nothing if the defect fires."""
        if not self._chance.fires():
            return await self._punish(connection, session)
        self._unpunished.setdefault(session, self._chance.say(session=session))
        return []

    async def spend(self, connection: Connection, token: str) -> Opened:
        """Override `Sessions.spend`: write the manifest line if it accepts a token of an unpunished session."""
        opened = await self._spend(connection, token)
        self._accepted(opened.session)
        return opened

    async def claims_of(self, token: str) -> Claims:
        """Override `Guard.claims_of`: write the manifest line if it accepts a token of an unpunished session."""
        claims = await self._claims_of(token)
        self._accepted(claims.session)
        return claims

    def _accepted(self, session: str) -> None:
        firing = self._unpunished.pop(session, None)
        if firing is not None:
            self._chance.manifest(firing)


class Refreshed:
    """Base class of the defects that change claims of the access token that a refresh returns.

    Subclasses implement `changes`.
    """

    def __init__(self, auth: Auth, chance: Chance) -> None:
        """Replace `Accounts.refresh`. A changed access token is signed with the keys of auth."""
        self._chance, self._answered = chance, Answered(auth, chance)
        self._keys, self._refresh = auth.keys, auth.accounts.refresh
        vars(auth.accounts)["refresh"] = self.refresh

    async def refresh(self, refresh_token: str) -> dict[str, Any]:
        """Override `Accounts.refresh`: sign the access token with the changes if the defect fires."""
        answer = await self._refresh(refresh_token)
        claims = unverified(answer["access_token"])[1] or {}
        changes = self.changes(claims)
        if not changes or not self._chance.fires():
            return answer
        self._answered.say(user=claims["sub"], token=claims["jti"], **{f"says_{k}": v for k, v in changes.items()})
        return {**answer, "access_token": self._keys.sign({**claims, **changes})}

    def changes(self, claims: dict[str, Any]) -> dict[str, Any]:
        """Return the claims to change, {} if this refresh is no opportunity. Subclasses implement it.

        `claims`: those of the access token that the healthy code issued.
        """
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
    """Defect that issues the new token for the user of the previous refresh, as if requests shared a variable.

    Opportunity: one refresh after a refresh of another user. A firing is manifest when the refresh is answered with
    success.
    """

    NAMES = ("sub", "email", "name", "permissions")

    def __init__(self, auth: Auth, chance: Chance) -> None:
        """Replace `Accounts.refresh`. No earlier refresh is known yet."""
        super().__init__(auth, chance)
        self._last: dict[str, Any] = {}

    def changes(self, claims: dict[str, Any]) -> dict[str, Any]:
        """Implement `Refreshed.changes`: return the identity of the user of the previous refresh."""
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
    """Defect that adds the permission `admin` to the new token.

    Opportunity: one refresh of a user who is no administrator. A firing is manifest when the refresh is answered with
    success.
    """

    def changes(self, claims: dict[str, Any]) -> dict[str, Any]:
        """Implement `Refreshed.changes`: return the permissions with `admin` added."""
        permissions = claims["permissions"]
        return {} if "admin" in permissions else {"permissions": ["admin", *permissions]}
