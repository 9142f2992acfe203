"""What auth needs goes away and comes back: nothing is lost, nothing is let through, answers are quick."""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from typing import Any

import asyncpg
import httpx
import jwt
import redis.asyncio


async def test_redis_goes_away_and_forgets(
    own_world: Any, own_valkey: Any, own_database: str, postgres_dsns: Any, email: str, eventually: Any
) -> None:
    """While it is away nobody is let in; changes and revocations of before and meanwhile are told to an empty one."""
    world = own_world(redis_url=own_valkey.url, dsns=dataclasses.replace(postgres_dsns, auth=own_database))
    gone, stays = await world.log_in(email), await world.log_in(email)
    user_id = gone["user"]["id"]
    assert (await world.call("POST", "/auth/logout", gone["access_token"])).status_code == 200
    own_valkey.stop()
    begun = time.monotonic()
    away = await world.me(stays["access_token"])
    assert (away.status_code, away.headers["retry-after"]) == (503, "1")
    assert time.monotonic() - begun < 10
    assert (await world.call("GET", "/ready", "any")).status_code == 503
    database = await asyncpg.connect(world.dsns.auth)
    await database.execute("UPDATE auth_users SET version = 7, name = 'Meanwhile' WHERE id = $1::text::uuid", user_id)
    await database.close()
    own_valkey.forget()
    own_valkey.start()

    async def refused() -> bool:
        return (await world.me(gone["access_token"])).status_code == 401

    await eventually(refused)
    assert (await world.me(stays["access_token"])).status_code == 200
    connection = redis.asyncio.from_url(own_valkey.url)

    async def announced() -> Any:
        fields = [fields for _, fields in await connection.xrange("users")]
        return [f for f in fields if f[b"id"].decode() == user_id]

    entries = await eventually(announced)
    assert [(entry[b"version"], entry[b"name"]) for entry in entries] == [(b"7", b"Meanwhile")]
    seen = Counter(fields[b"id"] for _, fields in await connection.xrange("users"))
    database = await asyncpg.connect(world.dsns.auth)
    assert len(seen) == await database.fetchval("SELECT count(*) FROM auth_users")
    assert set(seen.values()) == {1}
    await database.close()
    await connection.aclose()


async def test_a_lost_database_connection_is_replaced(world: Any, database: Any, email: str, eventually: Any) -> None:
    """Postgres ends all of auth's connections (as its restart does): auth finds back by itself."""
    token = (await world.log_in(email))["access_token"]
    ended = await database.fetchval(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
        "WHERE datname = 'auth' AND pid <> pg_backend_pid()"
    )
    assert ended >= 2

    async def works() -> bool:
        answer = await world.me(token)
        assert answer.status_code in (200, 503), answer.text
        return bool(answer.status_code == 200)

    await eventually(works)
    assert (await world.log_in(f"new-{email}"))["user"]


async def test_provider_and_auth_restart(own_world: Any, spawn_service: Any, email: str, eventually: Any) -> None:
    """Provider down: logins answer 503 at once, tokens go on. Auth killed: keys and refresh tokens are still there."""
    world = own_world()
    tokens = await world.log_in(email)
    world.provider.kill()

    async def unavailable() -> Any:
        async with httpx.AsyncClient(verify=False, timeout=30) as client:
            answer = await client.get(world.start_url(login_hint=email))
        return answer if answer.status_code == 503 else None

    # The provider's address still accepts connections that nobody answers: the slow kind of being down.
    begun = time.monotonic()
    answer = await eventually(unavailable)
    assert time.monotonic() - begun < 20
    assert answer.json()["error"] == "provider_unavailable"
    assert int(answer.headers["retry-after"]) >= 1
    assert (await world.me(tokens["access_token"])).status_code == 200
    assert (await world.call("GET", "/ready", "any")).json()["waiting_for"].startswith("the identity provider")

    world.auth.kill()
    world.provider = spawn_service("provider", world.provider.settings, listener=world.provider.listener)
    world.auth = spawn_service("auth", world.auth.settings, listener=world.auth.listener)
    assert (await world.me(tokens["access_token"])).status_code == 200
    after = (await world.refresh(tokens["refresh_token"])).json()
    kids = [jwt.get_unverified_header(t["access_token"])["kid"] for t in (tokens, after)]
    assert kids[0] == kids[1]
    assert (await world.log_in(email))["user"]["id"] == tokens["user"]["id"]


async def test_it_waits_for_a_database_and_can_be_ended_meanwhile(
    world: Any, spawn_service: Any, new_listener: Any, eventually: Any
) -> None:
    """A database that is not up yet: /ready says so, logins answer 503, SIGTERM ends it with 0."""
    nowhere = world.dsns.auth.rsplit(":", 1)[0] + ":1/auth"
    waiting = spawn_service("auth", {**world.auth.settings, "dsn": nowhere}, listener=new_listener(), wait=False)

    async def said() -> Any:
        async with httpx.AsyncClient(verify=False, timeout=30) as client:
            answers = [await client.get(f"{waiting.url}{path}") for path in ("/ready", "/auth/google")]
        assert [answer.status_code for answer in answers] == [503, 503]
        assert answers[1].json()["error"] == "starting"
        return "Connect" in answers[0].json()["waiting_for"]

    await eventually(said)
    assert waiting.stop() == 0
    assert "Traceback" not in waiting.log.read_text()
