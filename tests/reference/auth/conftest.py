"""A provider and an auth service for each module of tests, and browsers that log in through both."""

from __future__ import annotations

import asyncio
import itertools
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import asyncpg
import httpx
import pytest
import redis.asyncio

AUDIENCE = "earwitness-tests"
FRONTEND = "http://127.0.0.1:1"
DEADLINE_S = 30.0


@dataclass
class World:
    """The running services, and how a person without a browser gets through a login."""

    auth: Any
    provider: Any
    dsns: Any
    redis_url: str
    frontend: str = FRONTEND

    def start_url(self, **query: Any) -> str:
        return f"{self.auth.url}/auth/google?{urlencode(query)}"

    async def log_in(self, email: str, browser: httpx.AsyncClient | None = None, **query: Any) -> dict[str, Any]:
        """A whole login; the JSON of the callback."""
        if browser is not None:
            answer = await browser.get(self.start_url(login_hint=email, **query), follow_redirects=True)
        else:
            async with httpx.AsyncClient(verify=False, timeout=30) as own:
                answer = await own.get(self.start_url(login_hint=email, **query), follow_redirects=True)
        assert answer.status_code == 200, answer.text
        result: dict[str, Any] = answer.json()
        return result

    async def me(self, token: str, method: str = "GET", **more: Any) -> httpx.Response:
        """A request to /auth/me with a token."""
        return await self.call(method, "/auth/me", token, **more)

    async def call(self, method: str, path: str, token: str, **more: Any) -> httpx.Response:
        """Any request with a token."""
        async with httpx.AsyncClient(verify=False, timeout=30) as client:
            headers = {"Authorization": f"Bearer {token}"}
            return await client.request(method, f"{self.auth.url}{path}", headers=headers, **more)

    async def signed(self, **claims: Any) -> str:
        """A token with our signature that says whatever we like."""
        async with httpx.AsyncClient(verify=False, timeout=30) as client:
            answer = await client.post(f"{self.auth.url}/auth/admin/sign", json={"claims": claims})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["token"])

    async def refresh(self, refresh_token: str) -> httpx.Response:
        async with httpx.AsyncClient(verify=False, timeout=30) as client:
            return await client.post(f"{self.auth.url}/auth/refresh", json={"refresh_token": refresh_token})


_numbers = itertools.count()


@pytest.fixture
def email() -> str:
    """Somebody whom nobody has seen before."""
    return f"user{next(_numbers)}-{uuid.uuid4().hex[:8]}@example.test"


def auth_settings(world_url: str, provider: str, dsns: Any, redis_url: str, **more: Any) -> dict[str, Any]:
    return {
        "public_url": world_url,
        "dsn": dsns.auth,
        "redis_url": redis_url,
        "provider_issuer": provider,
        "client_id": "earwitness",
        "client_secret": "a secret of the tests",
        "frontend_url": FRONTEND,
        "audience": AUDIENCE,
        "access_ttl_s": 600,
        "refresh_ttl_s": 86400,
        "rate_per_s": 1000,
        "rate_burst": 1000,
        "test_mode": True,
        **more,
    }


def make_world(spawn: Any, new_listener: Any, dsns: Any, redis_url: str, **changes: Any) -> World:
    provider_at, auth_at = new_listener(), new_listener()
    provider = spawn(
        "provider",
        {
            "issuer": provider_at.url,
            "client_id": "earwitness",
            "client_secret": "a secret of the tests",
            "redirect_uris": [f"{auth_at.url}/auth/google/callback"],
        },
        listener=provider_at,
    )
    settings = auth_settings(auth_at.url, provider_at.url, dsns, redis_url, **changes)
    return World(spawn("auth", settings, listener=auth_at), provider, dsns, redis_url)


@pytest.fixture(scope="session")
def world(spawn_session: Any, new_listener: Any, postgres_dsns: Any, redis_url: str) -> World:
    """Shared by all tests; nobody may stop it."""
    return make_world(spawn_session, new_listener, postgres_dsns, redis_url)


@pytest.fixture
def own_world(spawn_service: Any, new_listener: Any, postgres_dsns: Any, redis_url: str) -> Callable[..., World]:
    """`own_world(redis_url=…, dsns=…, **settings)`: services for one test, which may do with them what it likes.

    Another Redis needs another database too: auth services on one database take turns in telling what is unsent, and
    each tells its own Redis."""

    def make(**changes: Any) -> World:
        where, dsns = changes.pop("redis_url", redis_url), changes.pop("dsns", postgres_dsns)
        return make_world(spawn_service, new_listener, dsns, where, **changes)

    return make


@pytest.fixture(scope="session")
def spare_addresses(spawn_session: Any, new_listener: Any) -> Iterator[tuple[Any, list[Any]]]:
    """A provider, and addresses of auth services that it lets people return to, each for one use."""
    at, spare = new_listener(), [new_listener() for _ in range(40)]
    settings = {"issuer": at.url, "client_id": "earwitness", "client_secret": "a secret of the tests"}
    settings["redirect_uris"] = [f"{one.url}/auth/google/callback" for one in spare]
    yield spawn_session("provider-2", settings, module="provider", listener=at), spare
    for one in spare:
        one.socket.close()


@pytest.fixture
def defective(
    spare_addresses: tuple[Any, list[Any]], spawn_service: Any, postgres_dsns: Any, redis_url: str
) -> Callable[..., World]:
    """`defective("Z46:1", …, **settings)`: an auth service with these defects."""

    def start(*orders: str, **changes: Any) -> World:
        provider, spare = spare_addresses
        at = spare.pop()
        settings = auth_settings(at.url, provider.url, postgres_dsns, redis_url, **changes)
        return World(spawn_service("auth", settings, orders, listener=at), provider, postgres_dsns, redis_url)

    return start


@pytest.fixture
async def browser() -> AsyncIterator[httpx.AsyncClient]:
    """Keeps cookies, does not follow redirects by itself."""
    async with httpx.AsyncClient(verify=False, timeout=30) as client:
        yield client


@pytest.fixture
async def database(postgres_dsns: Any) -> AsyncIterator[asyncpg.Connection]:
    """The auth database, seen from outside."""
    connection = await asyncpg.connect(postgres_dsns.auth)
    yield connection
    await connection.close()


@pytest.fixture
async def valkey(redis_url: str) -> AsyncIterator[redis.asyncio.Redis]:
    client = redis.asyncio.from_url(redis_url)
    yield client
    await client.aclose()


async def _eventually(condition: Callable[[], Awaitable[Any]]) -> Any:
    deadline = time.monotonic() + DEADLINE_S
    while True:
        found = await condition()
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {DEADLINE_S} s"
        await asyncio.sleep(0.05)


@pytest.fixture
def eventually() -> Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]:
    """Asks a condition again until it holds; its value."""
    return _eventually
