"""The main database: users, conversations, members and messages. This module contains all of their SQL."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any, NamedTuple, TypeAlias

import asyncpg

_SCHEMA_LOCK = 0x6561_7277
_USER_COLUMNS = ("id", "email", "name", "is_active", "permissions", "provider", "subject", "version")


@dataclass(frozen=True, slots=True)
class User:
    """Row of the table `userbase`. `version` grows by one with each change of the account."""

    id: str
    email: str
    name: str
    is_active: bool
    permissions: tuple[str, ...]
    version: int

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> User:
        """Return the user in a row of `userbase`, or in published news of an account."""
        return cls(row["id"], row["email"], row["name"], row["is_active"], tuple(row["permissions"]), row["version"])

    def public(self) -> dict[str, object]:
        """Return the user as the API shows it: `id`, `email`, `name`, `permissions`."""
        return {"id": self.id, "email": self.email, "name": self.name, "permissions": list(self.permissions)}


@dataclass(frozen=True, slots=True)
class Conversation:
    """Row of the table `conversations`.

    `id`: its number in the database; `key`: its name in the API; `head`: its last sequence number; `removals`: count of
    removals of members; `edits`: count of edits of its messages; `read`: read mark of the user for whom it was looked
    up.
    """

    id: int
    key: str
    title: str
    head: int
    removals: int
    edits: int
    read: int = 0


class Membership(NamedTuple):
    """Membership of a conversation. `user_id` None: the invitation is not claimed.

    `since`: count of removals from the conversation when the membership began.
    """

    email: str
    user_id: str | None
    since: int


Found: TypeAlias = tuple[Conversation, dict[str, str | None]]
"""A conversation and its members as e-mail → user id (None: the invitation is not claimed yet)."""


@dataclass(frozen=True, slots=True)
class Stored:
    """Result of storing one message of a batch: its sequence number.

    `fresh` is False for a retry of a message that was stored before.
    """

    seq: int
    fresh: bool


@dataclass(frozen=True, slots=True)
class Message:
    """Row of the table `messages`. `client_id`: the sender's id of the message; `sender`: user id."""

    seq: int
    client_id: str
    sender: str
    text: str
    at: datetime


def iso(at: datetime) -> str:
    """Return a time in the form of every frame and page: ISO 8601 in UTC, with milliseconds."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds")


def make_pool(dsn: str) -> asyncpg.Pool:
    """Return a small pool that connects when it is first used. `await` the pool before that."""
    return asyncpg.create_pool(
        dsn, min_size=0, max_size=8, timeout=5, command_timeout=10, max_inactive_connection_lifetime=0,
        server_settings={"jit": "off"},
    )  # fmt: skip


async def ensure_schema(pool: asyncpg.Pool) -> None:
    """Create the tables that do not exist.

    Replicas that start together take turns.
    """
    ddl = files(__package__).joinpath("schema.sql").read_text()
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _SCHEMA_LOCK)
        await connection.execute(ddl)


class Users:
    """Queries of the copy of the accounts that the auth service has sent.

    Nothing is cached.
    """

    def __init__(self, pool: asyncpg.Pool) -> None:
        """Keep `pool`, with which the database is queried."""
        self._pool = pool

    async def get(self, user_id: str) -> User | None:
        """Return the user with this id, None if there is none."""
        return (await self.among([user_id])).get(user_id)

    async def among(self, user_ids: Iterable[str]) -> dict[str, User]:
        """Return id -> user, for those of the ids that exist."""
        rows = await self._pool.fetch(
            "SELECT id::text, email, name, is_active, permissions, version FROM userbase "
            "WHERE id = ANY ($1::text[]::uuid[])",
            list(user_ids),
        )
        return {row["id"]: User.of(row) for row in rows}

    async def upsert(self, users: Sequence[dict[str, object]]) -> None:
        """Store the newest version of each user; a version that is not newer than the stored one changes nothing.

        `users`: dictionaries as `sync.parse` returns them.
        """
        await self._pool.executemany(
            """
            INSERT INTO userbase AS u (id, email, name, is_active, permissions, provider, subject, version)
            VALUES ($1::text::uuid, $2, $3, $4, $5, $6, $7, $8)
            ON CONFLICT (id) DO UPDATE SET email = excluded.email, name = excluded.name,
                is_active = excluded.is_active, permissions = excluded.permissions, provider = excluded.provider,
                subject = excluded.subject, version = excluded.version, synced_at = now()
            WHERE excluded.version > u.version
            """,
            [tuple(user[name] for name in _USER_COLUMNS) for user in users],
        )


class Rooms:
    """Queries of conversations and their members."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        """Keep `pool`, with which the database is queried."""
        self._pool = pool

    async def of_user(self, user: User) -> list[Conversation]:
        """Return all conversations of a user, after assigning unclaimed invitations with the user's e-mail address."""
        async with self._pool.acquire() as connection:
            await connection.execute(
                "UPDATE members SET user_id = $1 WHERE email = $2 AND user_id IS NULL", user.id, user.email.lower()
            )
            rows = await connection.fetch(
                "SELECT DISTINCT c.id, c.key, c.title, c.head, c.removals, c.edits, coalesce(r.seq, 0) FROM members m "
                "JOIN conversations c ON c.id = m.conversation_id "
                "LEFT JOIN read_marks r ON r.conversation_id = c.id AND r.user_id = $1 "
                "WHERE m.user_id = $1 ORDER BY c.id",
                user.id,
            )
        return [Conversation(*row) for row in rows]

    async def heads(self, ids: Iterable[int]) -> dict[int, int]:
        """Return conversation id -> its last sequence number. Unknown ids are left out."""
        rows = await self._pool.fetch("SELECT id, head FROM conversations WHERE id = ANY ($1::bigint[])", list(ids))
        return {row[0]: row[1] for row in rows}

    async def memberships(self, wanted: Iterable[tuple[str, str, str]]) -> dict[tuple[str, str], tuple[int, int]]:
        """Return (user id, key) -> (conversation id, removals), for those of `wanted` that are memberships.

        An element of `wanted` is (user id, e-mail, key).
        """
        triples = list(wanted)
        rows = await self._pool.fetch(
            "SELECT * FROM memberships($1::text[], $2::text[], $3::text[])",
            [t[0] for t in triples],
            [t[1].lower() for t in triples],
            [t[2] for t in triples],
        )
        return {(row[0], row[1]): (row[2], row[3]) for row in rows}

    async def find(self, key: str) -> Found | None:
        """Return the conversation `key` with its members (e-mail -> user id), None if it does not exist."""
        rows = await self._pool.fetch(
            "SELECT c.id, c.key, c.title, c.head, c.removals, c.edits, m.email, m.user_id FROM conversations c "
            "LEFT JOIN members m ON m.conversation_id = c.id WHERE c.key = $1",
            key,
        )
        if not rows:
            return None
        return Conversation(*rows[0][:6]), {row[6]: row[7] for row in rows if row[6] is not None}

    async def memberships_now(self, conversation_id: int) -> tuple[int, list[Membership]]:
        """Return (count of removals so far, memberships) of a conversation; (0, []) if it does not exist."""
        rows = await self._pool.fetch(
            "SELECT c.removals, m.email, m.user_id, m.since FROM conversations c "
            "LEFT JOIN members m ON m.conversation_id = c.id WHERE c.id = $1",
            conversation_id,
        )
        return (rows[0][0] if rows else 0), [Membership(*row[1:]) for row in rows if row[1] is not None]

    async def member_ids(self, ids: Iterable[int]) -> dict[int, set[str]]:
        """Return conversation id -> user ids of its members, without unclaimed invitations."""
        found: dict[int, set[str]] = {conversation_id: set() for conversation_id in ids}
        rows = await self._pool.fetch(
            "SELECT conversation_id, user_id FROM members WHERE conversation_id = ANY ($1::bigint[]) "
            "AND user_id IS NOT NULL",
            list(found),
        )
        for conversation_id, user_id in rows:
            found[conversation_id].add(user_id)
        return found

    async def removals(self, key: str) -> int | None:
        """Return the count of removals from a conversation; None if it does not exist."""
        number: int | None = await self._pool.fetchval("SELECT removals FROM conversations WHERE key = $1", key)
        return number

    async def people(self, conversation_id: int) -> list[tuple[str | None, str, str | None]]:
        """Return (user id, e-mail, name) of each member, ordered by e-mail.

        An unclaimed invitation is matched by its e-mail; id and name are None without such an account.
        """
        rows = await self._pool.fetch(
            "SELECT COALESCE(claimed.id, invited.id)::text, m.email, COALESCE(claimed.name, invited.name) "
            "FROM members m LEFT JOIN userbase claimed ON claimed.id = m.user_id::uuid "
            "LEFT JOIN userbase invited ON m.user_id IS NULL AND lower(invited.email) = m.email "
            "WHERE m.conversation_id = $1 ORDER BY m.email",
            conversation_id,
        )
        return [(row[0], row[1], row[2]) for row in rows]

    async def create(self, key: str, title: str, emails: Sequence[str]) -> bool:
        """Create a conversation with its members; return False if it exists already, without a change."""
        async with self._pool.acquire() as connection, connection.transaction():
            made = await connection.fetchval(
                "INSERT INTO conversations (key, title) VALUES ($1, $2) ON CONFLICT (key) DO NOTHING RETURNING id",
                key,
                title,
            )
            if made is not None:
                await self._insert_members(connection, made, emails)
            return made is not None

    async def add_members(self, conversation_id: int, emails: Sequence[str]) -> None:
        """Add members by e-mail; those who are members already stay so."""
        async with self._pool.acquire() as connection:
            await self._insert_members(connection, conversation_id, emails)

    async def remove_member(self, conversation_id: int, email: str) -> int | None:
        """Remove a member; return the count of removals with this one, None if there was no such member."""
        async with self._pool.acquire() as connection, connection.transaction():
            gone = await connection.fetchval(
                "DELETE FROM members WHERE conversation_id = $1 AND email = $2 RETURNING email", conversation_id, email
            )
            if gone is None:
                return None
            number: int = await connection.fetchval(
                "UPDATE conversations SET removals = removals + 1 WHERE id = $1 RETURNING removals", conversation_id
            )
            return number

    async def _insert_members(
        self, connection: asyncpg.Connection, conversation_id: int, emails: Sequence[str]
    ) -> None:
        # Sorted, so that two overlapping invitations cannot deadlock.
        await connection.execute(
            "INSERT INTO members (conversation_id, email, since) "
            "SELECT c.id, e, c.removals FROM conversations c, unnest($2::text[]) AS e WHERE c.id = $1 "
            "ON CONFLICT DO NOTHING",
            conversation_id,
            sorted(emails),
        )


class Messages:
    """Queries of messages. `append` is the only place where messages become durable."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        """Keep `pool`, with which the database is queried."""
        self._pool = pool

    async def append(
        self, ids: Sequence[int], senders: Sequence[str], client_ids: Sequence[str], texts: Sequence[str]
    ) -> tuple[datetime, list[Stored]]:
        """Store a batch of messages in one transaction.

        Return (time, results in the order of the batch) once it is durable. The arguments are parallel: conversation
        ids, user ids of the senders, the senders' ids of the messages, texts.
        """
        rows = await self._pool.fetch(
            "SELECT now(), a.place, a.number, a.fresh "
            "FROM append_messages($1::bigint[], $2::text[], $3::text[], $4::text[]) AS a ORDER BY a.place",
            ids,
            senders,
            client_ids,
            texts,
        )
        return rows[0][0], [Stored(row[2], row[3]) for row in rows]

    async def page(self, conversation_id: int, after: int, limit: int, up_to: int | None = None) -> list[Message]:
        """Return up to `limit` messages with after < seq ≤ up_to, in order. `up_to` None: to the end."""
        rows = await self._pool.fetch(
            "SELECT seq, client_id, sender, body, created_at FROM messages "
            "WHERE conversation_id = $1 AND seq > $2 AND seq <= $3 ORDER BY seq LIMIT $4",
            conversation_id,
            after,
            up_to if up_to is not None else (1 << 62),
            limit,
        )
        return [Message(*row) for row in rows]
