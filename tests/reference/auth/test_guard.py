"""Administration outside test mode, and the budget of a subject."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import jwt
import pytest
import redis.asyncio
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from cryptography.hazmat.primitives.asymmetric import ec

from earwitness.harness.reference.answers import ApiError
from earwitness.harness.reference.auth.guard import Guard
from earwitness.harness.reference.auth.settings import Settings
from earwitness.harness.reference.tokens import KeySet, Verifier


def guard_with(**settings: Any) -> Guard:
    names = "name public_url dsn redis_url provider_issuer client_id client_secret frontend_url audience"
    common = dict.fromkeys(names.split(), "x")
    read = Settings(fd=0, **common, **settings)

    async def no_keys() -> dict[str, Any]:
        return {}

    return Guard(read, redis.asyncio.Redis(), Verifier(KeySet(no_keys), issuer="x", audience="x"))


def asking(secret: str) -> web.Request:
    return make_mocked_request("POST", "/", headers={"Authorization": f"Bearer {secret}"})


def test_administration_is_guarded() -> None:
    """Open in test mode; else the secret opens it; without a secret there is no such page."""
    guard_with(test_mode=True).check_admin(asking("anything"))
    guard_with(admin_secret="right").check_admin(asking("right"))
    for guard, status in ((guard_with(admin_secret="right"), 403), (guard_with(), 404)):
        with pytest.raises(ApiError) as caught:
            guard.check_admin(asking("wrong"))
        assert caught.value.status == status


def test_only_test_mode_signs_anything() -> None:
    """The administrators' secret does not open it."""
    guard_with(test_mode=True).check_test_mode()
    with pytest.raises(ApiError) as caught:
        guard_with(admin_secret="right").check_test_mode()
    assert caught.value.status == 404


async def test_without_keys_a_token_is_neither_good_nor_bad() -> None:
    """The keys are in the database: while that is away a token is answered 503, to be asked again, and no fault is
    logged."""

    async def lost() -> dict[str, Any]:
        raise ConnectionResetError

    guard = guard_with()
    guard.verifier.keys = KeySet(lost)
    token = jwt.encode({}, ec.generate_private_key(ec.SECP256R1()), "ES256", headers={"kid": "one"})
    with pytest.raises(ApiError) as caught:
        await guard.claims_of(token)
    answer = caught.value.response()
    assert (answer.status, answer.headers["Retry-After"]) == (503, "1")


async def test_one_budget_whatever_the_connection(own_world: Any, email: str) -> None:
    """Of 60 requests at once on new connections and with false addresses just the burst passes; others are untouched.

    Two tokens of one person share the budget, also for refreshes, and the headers say the truth about it.
    """
    world = own_world(rate_per_s=0.05, rate_burst=20, test_mode=False)
    first, second = await world.log_in(email), await world.log_in(email)
    bystander = await world.log_in(f"other-{email}")

    async def ask(n: int) -> httpx.Response:
        token = (first if n % 2 else second)["access_token"]
        async with httpx.AsyncClient(verify=False, timeout=30) as client:
            headers = {"Authorization": f"Bearer {token}", "X-Forwarded-For": f"10.0.0.{n}"}
            return await client.get(f"{world.auth.url}/auth/me", headers=headers)

    answers = await asyncio.gather(*(ask(n) for n in range(60)))
    passed = [answer for answer in answers if answer.status_code == 200]
    limited = [answer for answer in answers if answer.status_code == 429]
    assert len(passed) + len(limited) == 60
    assert 20 <= len(passed) <= 22
    assert sorted(int(answer.headers["x-ratelimit-remaining"]) for answer in passed)[0] == 0
    for answer in limited:
        assert answer.json()["error"] == "rate_limited"
        assert answer.headers["x-ratelimit-limit"] == "20"
        assert answer.headers["x-ratelimit-remaining"] == "0"
        assert 1 <= int(answer.headers["retry-after"]) <= 20
    assert (await world.refresh(first["refresh_token"])).status_code == 429
    assert (await world.me(bystander["access_token"])).status_code == 200
    async with httpx.AsyncClient(verify=False, timeout=30) as client:
        refused = await client.get(world.start_url(login_hint=email, ttl=2))
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_ttl")
