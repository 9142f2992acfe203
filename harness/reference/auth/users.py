"""Accounts in the auth database.

Every change writes the row and its outbox entry in the caller's transaction.
"""

from __future__ import annotations

from earwitness.harness.reference.auth.database import Connection, Row
from earwitness.harness.reference.auth.identity import Identity

COLUMNS = "id, provider, subject, email, name, is_active, permissions, version, created_at, updated_at"


class Users:
    """SQL on `auth_users`.

    A user's row is locked from its change to the commit, so the outbox has the order of the changes.
    """

    async def get(self, connection: Connection, user_id: str) -> Row | None:
        """Return the row of the account with this id, None if there is none."""
        return await connection.fetchrow(f"SELECT {COLUMNS} FROM auth_users WHERE id = $1::text::uuid", user_id)

    async def hold(self, connection: Connection, user_id: str) -> Row | None:
        """Return the row of an account, locked against changes until the caller's transaction ends; None without one.

        With the lock no token can be issued during a deactivation.
        """
        return await connection.fetchrow(
            f"SELECT {COLUMNS} FROM auth_users WHERE id = $1::text::uuid FOR SHARE", user_id
        )

    async def find_or_create(self, connection: Connection, identity: Identity) -> Row:
        """Return the row of an identity's one account; create it if there is none.

        Several devices may log in for the first time at once. An e-mail address that has changed at the provider is
        updated; the name is set only at creation.
        """
        found = await connection.fetchrow(
            f"SELECT {COLUMNS} FROM auth_users WHERE provider = $1 AND subject = $2",
            identity.provider,
            identity.subject,
        )
        if found is not None and found["email"] == identity.email:
            return found
        row = await self.insert(connection, identity)
        if row is None:  # another device was faster, or changed the e-mail first
            return await connection.fetchrow(
                f"SELECT {COLUMNS} FROM auth_users WHERE provider = $1 AND subject = $2",
                identity.provider,
                identity.subject,
            )
        await self.announce(connection, row)
        return row

    async def insert(self, connection: Connection, identity: Identity) -> Row | None:
        """Insert or update the row of an identity and return it; None if it existed unchanged.

        A unique constraint decides between simultaneous calls.
        """
        return await connection.fetchrow(
            f"""
            INSERT INTO auth_users AS u (provider, subject, email, name) VALUES ($1, $2, $3, $4)
            ON CONFLICT (provider, subject) DO UPDATE
                SET email = excluded.email, version = u.version + 1, updated_at = now()
                WHERE u.email <> excluded.email
            RETURNING {COLUMNS}
            """,
            identity.provider,
            identity.subject,
            identity.email,
            identity.name,
        )

    async def update(self, connection: Connection, user_id: str, changes: dict[str, object]) -> Row | None:
        """Set those of name, is_active and permissions that `changes` has; return the changed row.

        None for an unknown user.
        """
        row = await connection.fetchrow(
            f"""
            UPDATE auth_users
            SET name = coalesce($2, name), is_active = coalesce($3, is_active),
                permissions = coalesce($4, permissions), version = version + 1, updated_at = now()
            WHERE id = $1::text::uuid
            RETURNING {COLUMNS}
            """,
            user_id,
            changes.get("name"),
            changes.get("is_active"),
            changes.get("permissions"),
        )
        if row is not None:
            await self.announce(connection, row)
        return row

    async def announce(self, connection: Connection, row: Row) -> None:
        """Write the outbox entry for the changed account `row`, which the relay then publishes."""
        payload = {name: row[name] for name in ("provider", "subject", "email", "name", "is_active", "permissions")}
        await connection.execute(
            "INSERT INTO outbox (user_id, version, payload) VALUES ($1, $2, $3)", row["id"], row["version"], payload
        )


def public(row: Row) -> dict[str, object]:
    """Return the account in `row` as the API shows it: all columns but provider and subject, `id` as text."""
    names = ("email", "name", "is_active", "permissions", "version", "created_at", "updated_at")
    return {"id": str(row["id"]), **{name: row[name] for name in names}}
