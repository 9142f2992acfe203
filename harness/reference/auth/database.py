"""The auth database: a connection pool, and the schema, created once however many services start together."""

from __future__ import annotations

from importlib.resources import files
from typing import TypeAlias

import asyncpg
import orjson

_SCHEMA_LOCK = 0x6175_7468
COMMAND_TIMEOUT_S = 10.0
CONNECT_TIMEOUT_S = 5.0

Row: TypeAlias = asyncpg.Record
Connection: TypeAlias = asyncpg.Connection
Pool: TypeAlias = asyncpg.Pool


def make_pool(dsn: str) -> Pool:
    """Return a pool that connects when it is first used. `await` the pool before that."""
    return asyncpg.create_pool(
        dsn,
        min_size=0,  # with more, a pool whose first connections fail would stay closed for good
        max_size=10,
        init=_prepare,
        timeout=CONNECT_TIMEOUT_S,
        command_timeout=COMMAND_TIMEOUT_S,
        server_settings={"jit": "off"},
    )


async def ensure_schema(pool: Pool) -> None:
    """Create the tables that do not exist. Processes that call this at the same time take turns."""
    async with pool.acquire() as connection, connection.transaction():
        # IF NOT EXISTS does not protect two sessions that create the same table at the same moment.
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _SCHEMA_LOCK)
        await connection.execute(files(__package__).joinpath("schema.sql").read_text())


async def _prepare(connection: Connection) -> None:
    await connection.set_type_codec(
        "jsonb",
        schema="pg_catalog",
        encoder=lambda value: b"\x01" + orjson.dumps(value),
        decoder=lambda raw: orjson.loads(raw[1:]),
        format="binary",
    )
