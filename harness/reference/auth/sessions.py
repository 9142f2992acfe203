"""Sessions and refresh tokens.

A refresh token is used once; its second use ends the session. Every operation on a session locks the session's row. So
of two refreshes at once the second sees that the token is used, and no token can be issued during a revocation.
"""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime

from earwitness.harness.reference import clock
from earwitness.harness.reference.auth.database import Connection, Row
from earwitness.harness.reference.revocation import Revocation


class RefreshRefused(Exception):
    """Error for a refresh token that is not accepted.

    `revocations` is not empty if the token was used before: its session was revoked in this transaction.
    """

    def __init__(self, code: str, message: str, revocations: list[Revocation] | None = None) -> None:
        """Refuse with `code` and `message`. The caller has to commit and publish `revocations`."""
        self.code, self.message, self.revocations = code, message, revocations or []
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Opened:
    """Session whose row the open transaction has locked. `access_ttl_s`: lifetime of its access tokens in seconds."""

    session: str
    user_id: str
    access_ttl_s: float


class Sessions:
    """SQL on `sessions`, `refresh_tokens` and `revoked`, inside the caller's transaction.

    `access_ttl_max_s`: longest lifetime of an access token (s); a revocation is stored that long.
    """

    def __init__(self, access_ttl_max_s: float) -> None:
        """Set how long, in seconds, a revocation of all tokens is stored."""
        self._access_ttl_max_s = access_ttl_max_s

    async def open(self, connection: Connection, user_id: str, access_ttl_s: float) -> Opened:
        """Insert a new session of a user and return it. `access_ttl_s`: lifetime of its access tokens in seconds."""
        session = uuid.uuid4()
        await connection.execute(
            "INSERT INTO sessions (id, user_id, access_ttl_s) VALUES ($1, $2::text::uuid, $3)",
            session,
            user_id,
            access_ttl_s,
        )
        return Opened(str(session), user_id, access_ttl_s)

    async def add_refresh_token(
        self, connection: Connection, session: str, token: str, expires_at: float, jti: str, access_expires_at: float
    ) -> None:
        """Store the hash of a session's new refresh token, and the id of the access token issued with it.

        `expires_at`: of the refresh token; `jti`, `access_expires_at`: of the access token; times in epoch seconds.
        """
        await connection.execute(
            "INSERT INTO refresh_tokens (hash, family, access_jti, access_expires_at, expires_at) "
            "VALUES ($1, $2::text::uuid, $3, $4, $5)",
            _hash(token),
            session,
            jti,
            datetime.fromtimestamp(access_expires_at, UTC),
            datetime.fromtimestamp(expires_at, UTC),
        )

    async def owner(self, connection: Connection, token: str) -> str:
        """Return the id of the user to whom this refresh token belongs, used or not.

        Raises RefreshRefused if it is unknown.
        """
        user_id: str | None = await connection.fetchval(
            "SELECT s.user_id::text FROM refresh_tokens r JOIN sessions s ON s.id = r.family WHERE r.hash = $1",
            _hash(token),
        )
        if user_id is None:
            raise RefreshRefused("invalid_refresh_token", "The refresh token is unknown.")
        return user_id

    async def spend(self, connection: Connection, token: str) -> Opened:
        """Mark a refresh token as used; return its session, locked.

        Raises RefreshRefused if the token is unknown, expired or used, or its session is revoked. If the error has
        revocations, the caller must commit before it refuses.
        """
        hashed = _hash(token)
        row = await connection.fetchrow(
            "SELECT s.id::text, s.user_id::text, s.access_ttl_s, s.revoked_at FROM sessions s "
            "WHERE s.id = (SELECT family FROM refresh_tokens WHERE hash = $1) FOR UPDATE",
            hashed,
        )
        if row is None:
            raise RefreshRefused("invalid_refresh_token", "The refresh token is unknown.")
        if row["revoked_at"] is not None:
            raise RefreshRefused("session_revoked", "The session of this refresh token has been revoked.")
        if not await self.mark_used(connection, hashed):
            await self._refuse_unusable(connection, hashed, row)
        return Opened(row["id"], row["user_id"], row["access_ttl_s"])

    async def mark_used(self, connection: Connection, hashed: bytes) -> bool:
        """Mark a refresh token as used, atomically; return whether this call did it. `hashed`: the hash of the token.

        False if the token is unknown, used or expired: of several calls at once only one gets True.
        """
        return (
            await connection.fetchval(
                "UPDATE refresh_tokens SET used_at = now() "
                "WHERE hash = $1 AND used_at IS NULL AND expires_at > now() RETURNING true",
                hashed,
            )
            is True
        )

    async def _refuse_unusable(self, connection: Connection, hashed: bytes, session: Row) -> None:
        used_at = await connection.fetchval("SELECT used_at FROM refresh_tokens WHERE hash = $1", hashed)
        if used_at is None:
            raise RefreshRefused("refresh_token_expired", "The refresh token has expired.")
        revocations = await self.punish_reuse(connection, session["id"])
        raise RefreshRefused(
            "refresh_token_reused", "The refresh token was used before; its session is revoked.", revocations
        )

    async def punish_reuse(self, connection: Connection, session: str) -> list[Revocation]:
        """Revoke the session of a token that was used twice; return the revocations, which the caller publishes.

        A second use shows that another party may have a copy of the token.
        """
        return await self.revoke(connection, session)

    async def revoke(self, connection: Connection, session: str) -> list[Revocation]:
        """End one session with its refresh tokens and the access tokens that are still valid; return the revocations.

        The caller must publish the revocations after the commit.
        """
        await connection.execute(
            "UPDATE sessions SET revoked_at = now() WHERE id = $1::text::uuid AND revoked_at IS NULL", session
        )
        rows = await connection.fetch(
            "INSERT INTO revoked (jti, at, until) SELECT access_jti, now(), access_expires_at FROM refresh_tokens "
            "WHERE family = $1::text::uuid AND access_expires_at > now() - interval '1 minute' "
            "RETURNING jti, at, until",
            session,
        )
        return [revocation_of(row) for row in rows]

    async def revoke_all(self, connection: Connection, user_id: str) -> list[Revocation]:
        """End all sessions of a user, and every access token issued up to now; return the revocations.

        The caller must publish the revocations after the commit of its transaction.
        """
        await connection.execute(
            "UPDATE sessions SET revoked_at = now() WHERE user_id = $1::text::uuid AND revoked_at IS NULL", user_id
        )
        at = clock.now()
        row = await connection.fetchrow(
            "INSERT INTO revoked (subject, at, until) VALUES ($1::text::uuid, $2, $3) RETURNING subject, at, until",
            user_id,
            datetime.fromtimestamp(at, UTC),
            datetime.fromtimestamp(at + self._access_ttl_max_s, UTC),
        )
        return [revocation_of(row)]


def revocation_of(row: Row) -> Revocation:
    """Return a row of `revoked` in the form that is published in Redis."""
    who = dict(row)
    subject = who.get("subject")
    return Revocation(
        at=who["at"].timestamp(),
        until=who["until"].timestamp(),
        token_id=who.get("jti"),
        subject=None if subject is None else str(subject),
    )


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
