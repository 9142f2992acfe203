"""Users with a history, written directly into both databases: an empty database hides the defects of a full one.

The same seed and number of rows give the same rows; rows that exist already are kept. A seeded person can log in,
because the provider derives the subject from the address, and the same subject is written here.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from pytest_suite.under_test import UnderTest

DOMAIN = "seeded.example"
PROVIDER = "google"
MESSAGES_EACH = 8
"""Messages of each person. A person has ten rows: one in each of the two databases, and eight messages."""
ROWS_EACH = MESSAGES_EACH + 2
CONVERSATION_OF = 2
NAMESPACE = uuid.UUID("6f1c5a1e-6a1d-4d6c-9a53-0f9b1f1f2a10")
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def seeded_email(number: int, seed: int) -> str:
    """Return the address of a seeded person."""
    return f"person-{number:06d}.s{seed}@{DOMAIN}"


def seeded_id(number: int, seed: int) -> str:
    """Return the user id of a seeded person, a UUID that is derived from the address."""
    return str(uuid.uuid5(NAMESPACE, seeded_email(number, seed)))


def seeded_key(number: int, seed: int) -> str:
    """Return the key of the conversation between a seeded person and the neighbour of that person."""
    return f"seeded-{seed}-{number // CONVERSATION_OF:06d}"


def seeded_people(rows: int) -> int:
    """Return the number of people that make about `rows` rows; a multiple of the members of a conversation."""
    return max(CONVERSATION_OF, rows // ROWS_EACH // CONVERSATION_OF * CONVERSATION_OF)


async def seed_rows(platform: UnderTest, rows: int, seed: int) -> int:
    """Write the missing ones of about `rows` rows; return the exact number of rows that exist then.

    Raises UsageError if the platform does not name its databases.
    """
    for key in ("auth_dsn", "main_dsn"):
        if not platform.endpoints.get(key):
            raise pytest.UsageError(f"--volume {rows} needs {key}, which {platform.where} does not name.")
    people = seeded_people(rows)
    async with asyncio.timeout(120):
        auth, main = await asyncio.gather(
            asyncpg.connect(platform.endpoints["auth_dsn"]), asyncpg.connect(platform.endpoints["main_dsn"])
        )
        try:
            await asyncio.gather(_seed_auth(auth, people, seed), _seed_main(main, people, seed))
        finally:
            await auth.close()
            await main.close()
    return people * ROWS_EACH


async def _seed_auth(auth: asyncpg.Connection, people: int, seed: int) -> None:
    missing = range(await _there(auth, "auth_users", seed), people)
    rows = [
        (seeded_id(n, seed), PROVIDER, _subject(email), email, f"Person {n}", BEGIN, BEGIN)
        for n in missing
        for email in (seeded_email(n, seed),)
    ]
    columns = ["id", "provider", "subject", "email", "name", "created_at", "updated_at"]
    await auth.copy_records_to_table("auth_users", records=rows, columns=columns)
    await auth.execute("ANALYZE auth_users")


async def _seed_main(main: asyncpg.Connection, people: int, seed: int) -> None:
    missing = range(await _there(main, "userbase", seed), people)
    users = [
        (seeded_id(n, seed), email, f"Person {n}", True, ["chat"], PROVIDER, _subject(email), 1)
        for n in missing
        for email in (seeded_email(n, seed),)
    ]
    columns = ["id", "email", "name", "is_active", "permissions", "provider", "subject", "version"]
    async with main.transaction():
        await main.copy_records_to_table("userbase", records=users, columns=columns)
        ids = await main.fetch(
            "SELECT nextval(pg_get_serial_sequence('conversations', 'id')) AS id FROM generate_series(1, $1)",
            len(missing) // CONVERSATION_OF,
        )
        await _seed_history(main, missing.start, [row["id"] for row in ids], seed)
    for table in ("userbase", "conversations", "members", "messages"):
        await main.execute(f"ANALYZE {table}")


async def _there(database: asyncpg.Connection, table: str, seed: int) -> int:
    """Return the number of seeded people in a table, from earlier sessions with this seed.

    Seeded people are numbered without a gap, so this is also the number of the next one.
    """
    return int(await database.fetchval(f"SELECT count(*) FROM {table} WHERE email LIKE $1", f"%.s{seed}@{DOMAIN}"))


async def _seed_history(main: asyncpg.Connection, start: int, ids: list[int], seed: int) -> None:
    """Write one conversation for each pair of neighbours, who send messages in turn.

    `start`: number of the first person; `ids`: ids for the conversations.
    """
    rng = random.Random(f"history:{seed}")
    words = "the quick brown fox jumps over the lazy dog".split()
    count = MESSAGES_EACH * CONVERSATION_OF
    conversations: list[Any] = []
    members: list[Any] = []
    messages: list[Any] = []
    for pair, conversation in enumerate(ids):
        first = start + pair * CONVERSATION_OF
        key = seeded_key(first, seed)
        conversations.append((conversation, key, key, count))
        pair_of = range(first, first + CONVERSATION_OF)
        members += [(conversation, seeded_email(n, seed), seeded_id(n, seed)) for n in pair_of]
        for seq in range(1, count + 1):
            sender = seeded_id(first + seq % CONVERSATION_OF, seed)
            text = " ".join(rng.choice(words) for _ in range(rng.randint(3, 30)))
            messages.append((conversation, seq, f"seeded-{seq}", sender, text, BEGIN + timedelta(minutes=seq)))
    for table, rows, columns in (
        ("conversations", conversations, ["id", "key", "title", "head"]),
        ("members", members, ["conversation_id", "email", "user_id"]),
        ("messages", messages, ["conversation_id", "seq", "client_id", "sender", "body", "created_at"]),
    ):
        await main.copy_records_to_table(table, records=rows, columns=columns)


def _subject(email: str) -> str:
    """Return the subject that the provider gives to the person with this address."""
    return hashlib.sha256(email.encode()).hexdigest()[:32]
