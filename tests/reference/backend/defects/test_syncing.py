"""Accounts that the main database does not get."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import redis.asyncio

from earwitness.harness.reference.revocation import KNOWN
from earwitness.harness.reference.userstream import STREAM, to_entry


def account(version: int = 1) -> dict[str, Any]:
    return {
        "id": uuid.uuid4(), "provider": "google", "subject": "s", "email": "a@example.test", "name": "A",
        "is_active": True, "permissions": ["chat"], "version": version,
    }  # fmt: skip


async def unfinished(client: Any) -> bool:
    (group,) = await client.xinfo_groups(STREAM)
    return bool(group["lag"] or group["pending"])


async def test_an_error_that_is_swallowed(
    one_replica: Any, spawn_service: Any, own_valkey: Any, database: Any, truth_of: Any
) -> None:
    """Z59: the change counts as done, and the row is not there; the others of the same batch are."""
    settings = {**one_replica.settings, "redis_url": own_valkey.url}
    client = redis.asyncio.from_url(own_valkey.url)
    await client.set(KNOWN, "1")  # this Redis has no auth that would say so
    service = spawn_service("backend-swallows", settings, ("Z59:0.5",), module="backend")
    accounts = [account() for _ in range(40)]
    for one in accounts:
        await client.xadd(STREAM, to_entry(one))
    async with asyncio.timeout(30):
        while await unfinished(client):
            await asyncio.sleep(0.05)  # nobody tells when a group has read everything
    await client.aclose()
    rows = await database.fetch("SELECT id::text FROM userbase WHERE id = ANY ($1)", [one["id"] for one in accounts])
    there = {row[0] for row in rows}
    lost = {line["user"] for line in truth_of(service).fired}
    assert 5 < len(lost) < 35
    assert there == {str(one["id"]) for one in accounts} - lost
    assert len(truth_of(service).manifest) == len(lost)
