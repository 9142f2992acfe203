"""Logout and deactivation are in force everywhere when they are answered."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import jwt
import redis.asyncio

from earwitness.harness.reference.auth.relay import RELAY_LOCK
from earwitness.harness.reference.revocation import KNOWN, all_told


def claims_of(token: str) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return claims


async def next_message(pubsub: Any, **about: str) -> dict[str, Any]:
    """Return the next message about this token (`jti`) or person (`sub`).

    The channel belongs to all sessions. Each revocation is announced at least twice: before its request is answered,
    and by the relay when it finds the committed row, which may be as late as the next test."""
    async with asyncio.timeout(5):
        async for message in pubsub.listen():
            if message["type"] == "message":
                said: dict[str, Any] = json.loads(message["data"])
                if about.items() <= said.items():
                    return said
    raise AssertionError("the channel ended")


async def test_logout_ends_one_session(world: Any, valkey: Any, email: str) -> None:
    """Token and refresh token are refused at once, the key and the message are in Redis, the other device goes on."""
    here, there = await world.log_in(email), await world.log_in(email)
    jti = claims_of(here["access_token"])["jti"]
    async with valkey.pubsub() as pubsub:
        await pubsub.subscribe("revocations")
        assert (await world.call("POST", "/auth/logout", here["access_token"])).status_code == 200
        assert await valkey.get(f"revoked:jti:{jti}") == b"1"
        await next_message(pubsub, jti=jti)
    assert 600 <= await valkey.ttl(f"revoked:jti:{jti}") <= 700
    assert (await world.me(here["access_token"])).json()["error"] == "revoked"
    assert (await world.refresh(here["refresh_token"])).json()["error"] == "session_revoked"
    assert (await world.me(there["access_token"])).status_code == 200


async def test_the_relay_announces_again(world: Any, valkey: Any, database: Any, email: str) -> None:
    """A revocation's second announcement may come long after the logout was answered, between those of others."""
    first, second = await world.log_in(email), await world.log_in(email)
    early, late = (claims_of(device["access_token"])["jti"] for device in (first, second))
    async with database.transaction():  # the relay waits for the end of this transaction
        await database.execute("SELECT pg_advisory_xact_lock($1)", RELAY_LOCK)
        assert (await world.call("POST", "/auth/logout", first["access_token"])).status_code == 200
        pubsub = valkey.pubsub()
        await pubsub.subscribe("revocations")
    async with pubsub:
        await next_message(pubsub, jti=early)
        assert (await world.call("POST", "/auth/logout", second["access_token"])).status_code == 200
        await next_message(pubsub, jti=late)


async def test_logout_ends_all_tokens_of_the_session(world: Any, email: str) -> None:
    """An older access token of the same session, still unexpired, ends too."""
    first = await world.log_in(email)
    second = (await world.refresh(first["refresh_token"])).json()
    await world.call("POST", "/auth/logout", second["access_token"])
    assert (await world.me(first["access_token"])).status_code == 401


async def test_deactivation_ends_everything(world: Any, valkey: Any, browser: Any, email: str) -> None:
    """Every session, every token, every later login; the message names the person."""
    devices = [await world.log_in(email) for _ in range(3)]
    user_id = devices[0]["user"]["id"]
    async with valkey.pubsub() as pubsub:
        await pubsub.subscribe("revocations")
        gone = await world.me(devices[0]["access_token"], "DELETE")
        assert gone.status_code == 200
        assert gone.json()["is_active"] is False
        message = await next_message(pubsub, sub=user_id)
    assert float(await valkey.get(f"revoked:sub:{user_id}")) == message["at"]
    for device in devices:
        assert (await world.me(device["access_token"])).status_code == 401
        assert (await world.refresh(device["refresh_token"])).status_code == 403
    refused = await browser.get(world.start_url(login_hint=email), follow_redirects=True)
    assert (refused.status_code, refused.json()["error"]) == (403, "account_deactivated")


async def test_reactivation_does_not_revive_tokens(world: Any, browser: Any, email: str) -> None:
    """Tokens of before stay refused; a login right afterwards works, though it is the same second."""
    old = await world.log_in(email)
    url = f"{world.auth.url}/auth/admin/users/{old['user']['id']}"
    assert (await browser.patch(url, json={"is_active": False})).status_code == 200
    assert (await browser.patch(url, json={"is_active": True})).status_code == 200
    assert (await world.me(old["access_token"])).status_code == 401
    assert (await world.refresh(old["refresh_token"])).status_code == 401
    new = await world.log_in(email)
    assert (await world.me(new["access_token"])).status_code == 200


async def test_a_deactivation_in_the_database_counts(world: Any, database: Any, email: str) -> None:
    """Somebody changed the row by hand: the account is looked up at each request, so the token is refused."""
    tokens = await world.log_in(email)
    assert (await world.me(tokens["access_token"])).status_code == 200
    await database.execute("UPDATE auth_users SET is_active = false WHERE email = $1", email)
    assert (await world.me(tokens["access_token"])).status_code == 403
    assert (await world.call("POST", "/auth/ticket", tokens["access_token"])).status_code == 403
    assert (await world.refresh(tokens["refresh_token"])).status_code == 403


async def test_nobody_is_believed_until_revocations_are_known(
    world: Any, valkey: Any, database: Any, email: str, eventually: Any
) -> None:
    """A Redis that has lost its memory knows of no revocation: until auth has told it all, tokens are not judged."""
    token = (await world.log_in(email))["access_token"]
    async with database.transaction():  # the relay waits for the end of this transaction
        await database.execute("SELECT pg_advisory_xact_lock($1)", RELAY_LOCK)
        await valkey.delete(KNOWN)
        assert (await world.me(token)).status_code == 503

    async def believed() -> bool:
        return bool((await world.me(token)).status_code == 200)

    await eventually(believed)


async def test_what_was_told_to_another_redis_does_not_count(redis_url: str) -> None:
    """Redis may have been replaced by an empty one after the revocations were written to the first.

    In a database of its own: auth, which may run beside this test or not, marks the first one.
    """
    client = redis.asyncio.from_url(f"{redis_url.removesuffix('/0')}/1")
    try:
        await all_told(client, "another")
        assert await client.get(KNOWN) is None
        await all_told(client, str((await client.info("server"))["run_id"]))
        assert await client.get(KNOWN) == b"1"
    finally:
        await client.delete(KNOWN)
        await client.aclose()
