"""Accounts reach the stream `users`: every change, in order, whatever was down at the time."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx

from earwitness.harness.reference.auth.relay import RELAY_LOCK


async def entries_of(client: Any, user_id: str) -> list[dict[str, Any]]:
    """This user's entries, oldest first."""
    found = []
    for _, fields in await client.xrange("users"):
        entry = {key.decode(): value.decode() for key, value in fields.items()}
        if entry.get("id") == user_id:
            found.append(entry)
    return found


async def test_a_first_login_is_announced(world: Any, valkey: Any, email: str, eventually: Any) -> None:
    """One entry with all fields of the account."""
    user = (await world.log_in(email))["user"]
    entries = await eventually(lambda: entries_of(valkey, user["id"]))
    assert len(entries) == 1
    entry = entries[0]
    assert json.loads(entry.pop("permissions")) == ["chat"]
    assert len(entry.pop("subject")) == 32
    assert entry == {
        "id": user["id"],
        "provider": "google",
        "email": email,
        "name": email.partition("@")[0],
        "is_active": "true",
        "version": "1",
    }
    await world.log_in(email)
    assert len(await entries_of(valkey, user["id"])) == 1


async def test_changes_arrive_in_order(world: Any, valkey: Any, email: str, eventually: Any) -> None:
    """Concurrent changes of one user: versions in the stream grow by one, the last entry is the row."""
    tokens = await world.log_in(email)
    names = [f"Name {n}" for n in range(20)]
    answers = await asyncio.gather(*(world.me(tokens["access_token"], "PATCH", json={"name": name}) for name in names))
    assert {answer.status_code for answer in answers} == {200}
    assert sorted(answer.json()["version"] for answer in answers) == list(range(2, 22))

    async def all_there() -> Any:
        entries = await entries_of(valkey, tokens["user"]["id"])
        return entries if len(entries) >= 21 else None

    entries = await eventually(all_there)
    assert [int(entry["version"]) for entry in entries] == list(range(1, 22))
    by_version = {answer.json()["version"]: answer.json()["name"] for answer in answers}
    assert [entry["name"] for entry in entries[1:]] == [by_version[n] for n in range(2, 22)]
    me = (await world.me(tokens["access_token"])).json()
    assert (me["name"], me["version"]) == (entries[-1]["name"], 21)


async def test_a_deactivation_is_announced(world: Any, valkey: Any, email: str, eventually: Any) -> None:
    """The entry says is_active=false."""
    tokens = await world.log_in(email)
    await world.me(tokens["access_token"], "DELETE")

    async def gone() -> Any:
        entries = await entries_of(valkey, tokens["user"]["id"])
        return len(entries) == 2 and entries[-1]["is_active"] == "false"

    await eventually(gone)


async def test_two_auth_replicas_keep_the_order(
    own_world: Any, spawn_service: Any, valkey: Any, email: str, eventually: Any
) -> None:
    """Changes through two processes at once: one order in the stream, no entry twice."""
    world = own_world()
    twin = spawn_service("auth-2", {**world.auth.settings, "name": "auth-2"}, module="auth", listener=None)
    tokens = await world.log_in(email)
    async with httpx.AsyncClient(
        verify=False, timeout=30, headers={"Authorization": f"Bearer {tokens['access_token']}"}
    ) as client:
        answers = await asyncio.gather(
            *(
                client.patch(f"{url}/auth/me", json={"name": f"Name {n}"})
                for n in range(10)
                for url in (world.auth.url, twin.url)
            )
        )
    assert {answer.status_code for answer in answers} == {200}

    async def all_there() -> Any:
        entries = await entries_of(valkey, tokens["user"]["id"])
        return entries if len(entries) >= 21 else None

    assert [int(entry["version"]) for entry in await eventually(all_there)] == list(range(1, 22))


async def test_replicas_take_turns(world: Any, database: Any, valkey: Any, email: str, eventually: Any) -> None:
    """While somebody else holds the relay's lock nothing is sent; afterwards it is."""
    async with database.transaction():
        await database.execute("SELECT pg_advisory_xact_lock($1)", RELAY_LOCK)
        user_id = (await world.log_in(email))["user"]["id"]
        await asyncio.sleep(0.5)  # there is no event for "nothing was sent"
        assert not await entries_of(valkey, user_id)
    assert len(await eventually(lambda: entries_of(valkey, user_id))) == 1
