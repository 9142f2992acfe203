"""Operations of the auth service, without HTTP: log in, refresh, revoke, change. Each is one transaction."""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable
from typing import Any

import redis.asyncio

from earwitness.harness.reference import clock
from earwitness.harness.reference.answers import ApiError
from earwitness.harness.reference.auth.database import Connection, Pool, Row
from earwitness.harness.reference.auth.identity import Identity
from earwitness.harness.reference.auth.sessions import Opened, RefreshRefused, Sessions
from earwitness.harness.reference.auth.settings import Settings
from earwitness.harness.reference.auth.signing import SigningKeys
from earwitness.harness.reference.auth.users import Users
from earwitness.harness.reference.revocation import Revocation, publish
from earwitness.harness.reference.tokens import Claims


class Accounts:
    """Accounts and their tokens.

    `changed` is called after each commit whose changes the relay has to publish.
    """

    def __init__(
        self,
        settings: Settings,
        pool: Pool,
        client: redis.asyncio.Redis,
        keys: SigningKeys,
        changed: Callable[[], None],
    ) -> None:
        """Make the SQL parts. Tokens are signed with `keys` and live as long as `settings` permits.

        `pool`: of the auth database; `client`: of Redis, for revocations.
        """
        self._settings, self._pool, self._redis, self._keys, self._changed = settings, pool, client, keys, changed
        self.users = Users()
        self.sessions = Sessions(settings.access_ttl_s)

    async def person(self, identity: Identity) -> Row:
        """Return the account of an identity; create it if it is new.

        Raises ApiError 403 if it is deactivated.
        """
        async with self._pool.acquire() as connection, connection.transaction():
            user = await self.users.find_or_create(connection, identity)
        self._changed()
        return active(user)

    async def log_in(self, user_id: str, access_ttl_s: float) -> dict[str, Any]:
        """Open a session of a user and return its first tokens, in the form of the answer to a login.

        `access_ttl_s`: lifetime of its access tokens. Raises ApiError 401 or 403 if the account is gone or deactivated.
        """
        async with self._pool.acquire() as connection, connection.transaction():
            user = active(await self.users.hold(connection, user_id))
            opened = await self.sessions.open(connection, user_id, access_ttl_s)
            return await self._tokens(connection, user, opened)

    async def refresh(self, refresh_token: str) -> dict[str, Any]:
        """Mark a refresh token as used and return new tokens, in the form of the answer to a login.

        Raises ApiError 401 or 403 if it is refused.
        """
        refused: RefreshRefused | None = None
        answer: dict[str, Any] = {}
        async with self._pool.acquire() as connection, connection.transaction():
            try:
                owner = await self.sessions.owner(connection, refresh_token)
                # Lock the user before the session, as everywhere: two lock orders could deadlock.
                user = active(await self.users.hold(connection, owner))
                opened = await self.sessions.spend(connection, refresh_token)
                answer = await self._tokens(connection, user, opened)
            except RefreshRefused as error:
                refused = error  # raised after the transaction: its revocations must be committed
        if refused is not None:
            await self._revoked(refused.revocations)
            raise ApiError(401, refused.code, refused.message)
        return answer

    async def owner(self, refresh_token: str) -> str:
        """Return the user id of a refresh token.

        Raises ApiError 401 for an unknown one.
        """
        async with self._pool.acquire() as connection:
            try:
                return await self.sessions.owner(connection, refresh_token)
            except RefreshRefused as error:
                raise ApiError(401, error.code, error.message) from None

    async def log_out(self, claims: Claims) -> None:
        """End the session of a token. When this returns, every service refuses the session's tokens."""
        async with self._pool.acquire() as connection, connection.transaction():
            revocations = await self.sessions.revoke(connection, claims.session)
        await self._revoked(revocations)

    async def get(self, user_id: str) -> Row:
        """Return the account of an accepted token's user.

        Raises ApiError 401 if the account does not exist any more, 403 if it is deactivated.
        """
        async with self._pool.acquire() as connection:
            return active(await self.users.get(connection, user_id))

    async def change(self, user_id: str, changes: dict[str, object]) -> Row:
        """Change name, permissions or is_active of an account; return the changed account.

        A deactivation revokes all tokens of the user in the same commit. Raises ApiError 404 for an unknown user.
        """
        revocations: list[Revocation] = []
        async with self._pool.acquire() as connection, connection.transaction():
            user = await self.users.update(connection, user_id, changes)
            if user is None:
                raise ApiError(404, "no_such_user", "There is no such user.")
            if changes.get("is_active") is False:
                revocations = await self.sessions.revoke_all(connection, user_id)
        self._changed()
        await self._revoked(revocations)
        return user

    async def _tokens(self, connection: Connection, user: Row, opened: Opened) -> dict[str, Any]:
        claims = self.claims(user, opened)
        refresh = self._keys.sign(refreshing := self.refresh_claims(claims))
        await self.sessions.add_refresh_token(
            connection, opened.session, refresh, refreshing["exp"], claims["jti"], claims["exp"]
        )
        return {
            "access_token": self._keys.sign(claims),
            "refresh_token": refresh,
            "token_type": "Bearer",
            "expires_in": math.floor(claims["exp"] - claims["iat"]),
            "user": {"id": str(user["id"]), "email": user["email"], "name": user["name"]},
        }

    def claims(self, user: Row, opened: Opened) -> dict[str, Any]:
        """Return the claims of a new access token for a user and an open session.

        `iat` has fractions of a second: a login right after "log out everywhere" must be newer.
        """
        now = clock.now()
        return {
            "iss": self._settings.public_url,
            "aud": self._settings.audience,
            "sub": str(user["id"]),
            "iat": now,
            "exp": math.ceil(now + opened.access_ttl_s),
            "jti": uuid.uuid4().hex,
            "sid": opened.session,
            "typ": "access",
            "email": user["email"],
            "name": user["name"],
            "permissions": list(user["permissions"]),
        }

    def refresh_claims(self, access: dict[str, Any]) -> dict[str, Any]:
        """Return the claims of the refresh token that belongs to an access token with the claims `access`.

        Issuer, audience, user and session are the same in both: a verifier must distinguish the tokens by `typ`.
        """
        same = {name: access[name] for name in ("iss", "aud", "sub", "iat", "sid")}
        expires_at = math.ceil(access["iat"] + self._settings.refresh_ttl_s)
        return {**same, "exp": expires_at, "jti": uuid.uuid4().hex, "typ": "refresh"}

    async def _revoked(self, revocations: list[Revocation]) -> None:
        """Publish revocations before the caller is answered; if Redis is down, the relay does it later."""
        if revocations:
            self._changed()
            await publish(self._redis, revocations)


def active(user: Row | None) -> Row:
    """Return `user` if it exists and is active.

    Raises ApiError 401 if there is none, 403 if it is deactivated.
    """
    if user is None:
        raise ApiError(401, "no_such_user", "The account of this token does not exist.")
    if not user["is_active"]:
        raise ApiError(403, "account_deactivated", "This account has been deactivated.")
    return user
