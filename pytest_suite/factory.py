"""People, their logins and conversations: the same for the same seed; names differ for each run and test."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

import asyncpg
import httpx
import jwt
import pytest

from earwitness.harness.client.flow import Browser, HttpResponse, run_flow_async
from earwitness.harness.dialects.reference.forgery import Forger, read_key
from pytest_suite.chat import Socket, Way, open_socket
from pytest_suite.under_test import UnderTest

DOMAIN = "people.example"
AT_ONCE = 16
"""Most logins in progress at once."""


@dataclass(frozen=True)
class User:
    """Person who has logged in. `claims`: those of the access token, which is not verified here."""

    id: str
    email: str
    name: str
    token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    claims: Mapping[str, Any] = field(repr=False)

    @property
    def bearer(self) -> dict[str, str]:
        """Return the Authorization header with this user's token."""
        return bearer(self.token)

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> User:
        """Return the user that an answer of auth describes: to a login, a code exchange or a refresh."""
        token = answer["access_token"]
        claims = jwt.decode(token, options={"verify_signature": False})
        user = answer.get("user") or {"id": claims["sub"], "email": claims["email"], "name": claims["name"]}
        return cls(user["id"], user["email"], user["name"], token, answer["refresh_token"], claims)


def bearer(token: str) -> dict[str, str]:
    """Return the Authorization header with a token."""
    return {"Authorization": f"Bearer {token}"}


class Factory:
    """Maker of the people, conversations and sockets of one test.

    Names contain the run's tag and a word of the test, so that no two tests share a user or conversation.
    """

    def __init__(self, platform: UnderTest, http: httpx.AsyncClient, seed: int, test: str) -> None:
        self.platform, self.http = platform, http
        self.word = re.sub(r"[^a-z0-9]+", "-", test.lower()).strip("-")[-40:].strip("-")
        self.random = random.Random(f"{seed}:{test}")
        self.sockets: list[Socket] = []
        self._made = 0
        self._turn = asyncio.Semaphore(AT_ONCE)

    def fresh(self, what: str = "thing") -> str:
        """Return a name that no other test uses."""
        self._made += 1
        return f"{what}-{self._made}-{self.random.getrandbits(24):06x}-{self.word}-{self.platform.tag}"

    def email(self, name: str = "ann") -> str:
        """Return an address that the provider knows and the platform has never seen."""
        self._made += 1
        return f"{name}{self._made}-{self.random.getrandbits(32):08x}.{self.platform.tag}@{DOMAIN}"

    async def visit(self, browser: Browser, url: str) -> HttpResponse:
        """Send one request as a browser does, with its cookies, and return the answer; redirects are not followed."""
        return await run_flow_async(browser.request("GET", url), self.http)

    async def log_in(self, email: str | None = None, *, ttl_s: float | None = None) -> User:
        """Log in through the provider, as a browser does, and return the user; a new address gets a new account.

        `ttl_s`: lifetime of the access token in seconds.
        """
        hint = email or self.email()
        query = {"login_hint": hint} | ({"ttl": str(ttl_s)} if ttl_s is not None else {})
        async with self._turn:
            url = f"{self.platform.auth}/auth/google?{urlencode(query)}"
            answer = await run_flow_async(Browser().follow(url), self.http)
        if answer.status != 200:
            pytest.fail(f"A login of {hint} was expected to give 200 at auth, got {answer.status} {answer.body!r}.")
        user = User.of(answer.json())
        assert user.email == hint, f"logged in as {hint}, but auth says {user.email}"
        return user

    async def log_in_many(self, n: int, name: str = "user") -> list[User]:
        """Log in `n` new people, at most `AT_ONCE` at the same time; return the users."""
        return list(await asyncio.gather(*(self.log_in(self.email(name)) for _ in range(n))))

    async def get(self, url: str, token: str, **more: Any) -> httpx.Response:
        """Send a GET request with a token; return the answer."""
        return await self.http.get(url, headers=bearer(token), **more)

    async def conversation(self, *members: User, key: str | None = None) -> str:
        """Make a conversation of these people by its first member; return its key."""
        key = key or self.fresh("talk")
        answer = await self.put(members[0], key, members)
        assert answer.status_code == 201, f"making a conversation: expected 201 of the backend, got {answer.text}"
        return key

    async def put(self, user: User, key: str, members: Sequence[User]) -> httpx.Response:
        """Send the request that makes a conversation or changes its members; return the answer."""
        body = {"members": [m.email for m in members], "title": key}
        url = f"{self.platform.edge}/api/conversations/{quote(key)}"
        return await self.http.put(url, json=body, headers=user.bearer)

    async def post(self, user: User, key: str, text: str, message_id: str | None = None) -> httpx.Response:
        """Send a message over REST; return the answer."""
        url = f"{self.platform.edge}/api/conversations/{quote(key)}/messages"
        return await self.http.post(url, json={"id": message_id or self.fresh("m"), "text": text}, headers=user.bearer)

    async def history(self, user: User, key: str, base: str | None = None) -> list[dict[str, Any]]:
        """Return all messages of a conversation, in as many pages as necessary. `base`: one replica, not the edge."""
        found: list[dict[str, Any]] = []
        while True:
            after = found[-1]["seq"] if found else 0
            url = f"{base or self.platform.edge}/api/conversations/{quote(key)}/messages?after={after}&limit=1000"
            answer = await self.get(url, user.token)
            assert answer.status_code == 200, f"reading {key}: expected 200 of the backend, got {answer.text}"
            page = answer.json()["messages"]
            if not page:
                return found
            found += page

    async def ticket(self, user: User) -> str:
        """Return a new ticket, with which the user can open one socket."""
        answer = await self.http.post(f"{self.platform.auth}/auth/ticket", headers=user.bearer)
        assert answer.status_code == 200, f"a ticket: expected 200 of auth, got {answer.text}"
        return str(answer.json()["ticket"])

    async def credential(self, user: User, way: Way) -> str:
        """Return the credential for the way of presenting it: a new ticket for "ticket", else the access token."""
        return await self.ticket(user) if way == "ticket" else user.token

    async def connect(
        self, user: User, *, way: Way = "header", resume: Mapping[str, int] | None = None, base: str | None = None
    ) -> Socket:
        """Open a socket of a user and return it; `close` closes it after the test.

        `base`: one replica instead of the edge.
        """
        credential = await self.credential(user, way)
        socket = await open_socket(base or self.platform.edge, credential, way=way, resume=resume)
        self.sockets.append(socket)
        return socket

    async def close(self) -> None:
        """Close all sockets that the test has opened."""
        await asyncio.gather(*(socket.end() for socket in self.sockets))
        self.sockets.clear()


class Databases:
    """Connections to the databases of auth and of the backends, which bypass the services."""

    def __init__(self, auth: asyncpg.Connection, main: asyncpg.Connection) -> None:
        self.auth, self.main = auth, main

    async def account(self, email: str) -> list[dict[str, Any]]:
        """Return the rows of `auth_users`, auth's accounts, with this address."""
        return [dict(row) for row in await self.auth.fetch("SELECT * FROM auth_users WHERE email = $1", email)]

    async def copy(self, email: str) -> list[dict[str, Any]]:
        """Return the rows of `userbase`, the backends' copies of accounts, with this address."""
        return [dict(row) for row in await self.main.fetch("SELECT * FROM userbase WHERE email = $1", email)]

    async def close(self) -> None:
        """Close both connections."""
        await self.auth.close()
        await self.main.close()


async def make_forger(databases: Databases, people: Factory) -> Forger:
    """Return a maker of forged tokens about a new person, with the key by which the platform signs at present."""
    row = await databases.auth.fetchrow(
        "SELECT kid, private_pem FROM signing_keys WHERE retires_at IS NULL ORDER BY created_at DESC LIMIT 1"
    )
    assert row is not None, "auth has no signing key in its database"
    key = read_key(row["private_pem"])
    victim, other = await people.log_in_many(2, "forged")
    return Forger(row["kid"], key.public_key(), victim.token, victim.refresh_token, other.id, key)


async def eventually(what: str, ask: Any, timeout_s: float, pause_s: float = 0.05) -> Any:
    """Await `ask()` repeatedly until its result is true, and return the result.

    The test fails after `timeout_s` seconds.

    For changes that no service announces. `what`: words for the failure; `pause_s`: seconds between the calls.
    """
    deadline = asyncio.get_running_loop().time() + timeout_s
    while True:
        answer = await ask()
        if answer:
            return answer
        if asyncio.get_running_loop().time() > deadline:
            pytest.fail(f"{what}: not within {timeout_s:g} s")
        await asyncio.sleep(pause_s)
