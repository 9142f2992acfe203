"""The fixtures themselves and the scaffold that all services share."""

from __future__ import annotations

from typing import Any

import asyncpg
import redis.asyncio


async def test_databases_and_valkey_answer(postgres_dsns: Any, redis_url: str) -> None:
    """Both databases and Valkey are real and separate."""
    for dsn, name in ((postgres_dsns.auth, "auth"), (postgres_dsns.main, "main")):
        connection = await asyncpg.connect(dsn)
        assert await connection.fetchval("SELECT current_database()") == name
        await connection.close()
    client = redis.asyncio.from_url(redis_url)
    assert await client.ping()
    await client.aclose()
