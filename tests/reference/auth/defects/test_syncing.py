"""Accounts of which the rest of the platform hears nothing, or late."""

from __future__ import annotations

import json
import time
from typing import Any

import asyncpg


async def entries_of(client: Any, user_id: str) -> list[dict[str, str]]:
    found = []
    for _, fields in await client.xrange("users"):
        entry = {key.decode(): value.decode() for key, value in fields.items()}
        if entry.get("id") == user_id:  # other tests write entries that are none
            found.append(entry)
    return found


async def test_a_deactivation_that_nobody_hears_of(
    defective: Any, world: Any, email: str, valkey: Any, database: Any, truth_of: Any, eventually: Any
) -> None:
    """Z60: refused at auth; elsewhere the account is active and its tokens are not revoked. Healthy: both are known."""
    place = defective("Z60:1")
    for service, told in ((place, "true"), (world, "false")):
        user = await service.log_in(f"{told}-{email}")
        user_id = user["user"]["id"]
        assert (await service.me(user["access_token"], "DELETE")).json()["is_active"] is False
        assert (await service.me(user["access_token"])).status_code in (401, 403)
        payload = await database.fetchval(
            "SELECT payload FROM outbox WHERE user_id = $1::text::uuid AND version = 2", user_id
        )
        assert str(json.loads(payload)["is_active"]).lower() == told
        assert (await valkey.exists(f"revoked:sub:{user_id}")) == (1 if told == "false" else 0)
    truth = truth_of(place.auth)
    assert [line["version"] for line in truth.fired] == [2]
    assert len(truth.manifest) == 1


async def test_a_change_that_comes_late(
    defective: Any, own_database: str, email: str, valkey: Any, truth_of: Any, eventually: Any
) -> None:
    """Z62: the account is there at once; its change only after ten seconds, and those after it wait behind it."""
    place = defective("Z62:1", dsn=own_database)
    tokens = await place.log_in(email)
    user_id = tokens["user"]["id"]
    await eventually(lambda: entries_of(valkey, user_id))
    began = time.monotonic()
    for name in ("First", "Second"):
        assert (await place.me(tokens["access_token"], "PATCH", json={"name": name})).status_code == 200

    async def changed() -> Any:
        entries = await entries_of(valkey, user_id)
        return entries if len(entries) > 1 else None

    entries = await eventually(changed)
    assert 10 <= time.monotonic() - began < 20
    assert [entry["version"] for entry in entries][:2] == ["1", "2"]
    truth = truth_of(place.auth)
    assert truth.fired[0]["version"] == 2
    assert truth.manifest[0]["late_s"] >= 10
    database = await asyncpg.connect(own_database)
    assert await database.fetchval("SELECT name FROM auth_users WHERE id = $1::text::uuid", user_id) == "Second"
    await database.close()
