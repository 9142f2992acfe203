"""Provider, auth and two backend replicas as processes, and people who log in and talk through real sockets."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import httpx
import pytest
import redis.asyncio
import websockets
from websockets.asyncio.client import ClientConnection, connect

AUDIENCE = "earwitness-tests"
DEADLINE_S = 10.0


@dataclass(frozen=True)
class User:
    """Somebody who has logged in."""

    id: str
    email: str
    token: str = field(repr=False)

    @property
    def bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}


class Socket:
    """An open WebSocket whose frames are all kept, in order."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self.frames: list[dict[str, Any]] = []
        self.code: int | None = None
        self._news = asyncio.Condition()
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        try:
            while True:
                data = await self.connection.recv()
                async with self._news:
                    self.frames.append(json.loads(data))
                    self._news.notify_all()
        except websockets.ConnectionClosed as closed:
            async with self._news:
                self.code = closed.rcvd.code if closed.rcvd is not None else 1006
                self._news.notify_all()

    async def until(self, condition: Callable[[], Any], what: str = "condition", timeout_s: float = DEADLINE_S) -> Any:
        """Waits for frames until the condition holds."""
        try:
            async with asyncio.timeout(timeout_s), self._news:
                while not condition():
                    await self._news.wait()
        except TimeoutError:
            pytest.fail(f"{what}: not within {timeout_s} s; closed: {self.code}; last: {self.frames[-3:]}")
        return condition()

    def all(self, kind: str, conversation: str | None = None) -> list[dict[str, Any]]:
        return [f for f in self.frames if f["type"] == kind and conversation in (None, f.get("conversation"))]

    def seqs(self, conversation: str) -> list[int]:
        return [f["seq"] for f in self.all("message", conversation)]

    async def hear(self, n: int, conversation: str | None = None, kind: str = "message") -> list[dict[str, Any]]:
        """The first n frames of a kind."""
        await self.until(lambda: len(self.all(kind, conversation)) >= n, f"{n} × {kind}")
        return self.all(kind, conversation)

    async def closed(self) -> int:
        await self.until(lambda: self.code is not None, "the end of the socket")
        assert self.code is not None
        return self.code

    async def send(self, conversation: str, text: str, client_id: str | None = None, **more: Any) -> str:
        client_id = client_id or uuid.uuid4().hex
        frame = {"type": "send", "conversation": conversation, "id": client_id, "text": text, **more}
        await self.connection.send(json.dumps(frame))
        return client_id

    async def say(self, **frame: Any) -> None:
        await self.connection.send(json.dumps(frame))

    async def end(self) -> None:
        await self.connection.close()
        await self._reader


@dataclass
class Platform:
    """Endpoints and the ways to use them. `backends[0]` and `[1]` are replicas of one another."""

    auth: Any
    provider: Any
    backends: list[Any]
    dsns: Any
    redis_url: str
    settings: dict[str, Any]
    sockets: list[Socket] = field(default_factory=list)

    async def log_in(self, name: str = "user", **query: str) -> User:
        """A new account through the provider; `ttl` asks for a short token."""
        email = f"{name}-{uuid.uuid4().hex[:10]}@example.test"
        async with httpx.AsyncClient(timeout=DEADLINE_S) as browser:
            answer = await browser.get(
                f"{self.auth.url}/auth/google", params={"login_hint": email, **query}, follow_redirects=True
            )
        assert answer.status_code == 200, answer.text
        said = answer.json()
        return User(said["user"]["id"], said["user"]["email"], said["access_token"])

    async def log_in_many(self, n: int) -> list[User]:
        return list(await asyncio.gather(*(self.log_in(f"user{i}") for i in range(n))))

    async def put(self, user: User, key: str, members: list[User], backend: int = 0) -> httpx.Response:
        async with httpx.AsyncClient(timeout=DEADLINE_S) as client:
            return await client.put(
                f"{self.backends[backend].url}/api/conversations/{key}",
                json={"members": [m.email for m in members], "title": key},
                headers=user.bearer,
            )

    async def room(self, members: list[User]) -> str:
        """A new conversation of these members."""
        key = f"room-{uuid.uuid4().hex[:10]}"
        answer = await self.put(members[0], key, members)
        assert answer.status_code == 201, answer.text
        return key

    async def get(self, user: User, path: str, backend: int = 0, **query: Any) -> httpx.Response:
        async with httpx.AsyncClient(timeout=DEADLINE_S) as client:
            return await client.get(self.backends[backend].url + path, params=query, headers=user.bearer)

    async def history(self, user: User, key: str, backend: int = 0) -> list[dict[str, Any]]:
        answer = await self.get(user, f"/api/conversations/{key}/messages", backend, limit=1000)
        assert answer.status_code == 200, answer.text
        messages: list[dict[str, Any]] = answer.json()["messages"]
        return messages

    def ws_url(self, backend: int = 0) -> str:
        return self.backends[backend].url.replace("http://", "ws://") + "/ws"

    async def connect(self, user: User, backend: int = 0, resume: bool = False) -> Socket:
        """An open socket that was welcomed."""
        url = self.ws_url(backend) + ("?resume=1" if resume else "")
        socket = Socket(await connect(url, additional_headers=user.bearer, compression=None, max_size=None))
        self.sockets.append(socket)
        await socket.until(lambda: socket.frames, "welcome")
        assert socket.frames[0]["type"] == "welcome"
        return socket

    async def end(self) -> None:
        for socket in self.sockets:
            await socket.end()
        self.sockets.clear()


def _starter(spawn: Any, new_listener: Any, postgres_dsns: Any, redis_url: str) -> Callable[..., Platform]:
    def start(replicas: int = 2, defects: tuple[str, ...] = (), **changes: Any) -> Platform:
        provider_at, auth_at = new_listener(), new_listener()
        client = {"client_id": "earwitness", "client_secret": "a secret of the tests"}
        callback = f"{auth_at.url}/auth/google/callback"
        spawn("provider", {"issuer": provider_at.url, **client, "redirect_uris": [callback]}, listener=provider_at)
        auth = spawn(
            "auth",
            {
                "public_url": auth_at.url, "dsn": postgres_dsns.auth, "redis_url": redis_url,
                "provider_issuer": provider_at.url, **client, "frontend_url": "http://127.0.0.1:1",
                "audience": AUDIENCE, "test_mode": True,
            },
            listener=auth_at,
        )  # fmt: skip
        settings = {
            "dsn": postgres_dsns.main, "redis_url": redis_url, "auth_url": auth.url, "issuer": auth.url,
            "audience": AUDIENCE, "test_mode": True, **changes,
        }  # fmt: skip
        names = [f"backend-{i + 1}" for i in range(replicas)]
        backends = [spawn(n, settings, defects, module="backend", wait=False) for n in names]
        for backend in backends:
            backend.wait_ready()
        return Platform(auth, provider_at, backends, postgres_dsns, redis_url, settings)

    return start


@pytest.fixture(scope="module")
def start_platform(spawn_shared: Any, new_listener: Any, postgres_dsns: Any, redis_url: str) -> Callable[..., Platform]:
    """`start_platform(replicas=2, defects=(), **backend settings) -> Platform`, ended with the module."""
    return _starter(spawn_shared, new_listener, postgres_dsns, redis_url)


@pytest.fixture(scope="session")
def one_replica(spawn_session: Any, new_listener: Any, postgres_dsns: Any, redis_url: str) -> Platform:
    """A platform with one healthy backend, for the whole session."""
    return _starter(spawn_session, new_listener, postgres_dsns, redis_url)(1)


@pytest.fixture(scope="module")
def shared_platform(start_platform: Callable[..., Platform]) -> Platform:
    return start_platform()


@pytest.fixture
async def platform(shared_platform: Platform) -> AsyncIterator[Platform]:
    """Two healthy replicas; sockets are closed after each test."""
    yield shared_platform
    await shared_platform.end()


@pytest.fixture
async def database(postgres_dsns: Any) -> AsyncIterator[asyncpg.Connection]:
    """The main database, seen from outside."""
    connection = await asyncpg.connect(postgres_dsns.main)
    yield connection
    await connection.close()


@pytest.fixture
async def valkey(redis_url: str) -> AsyncIterator[redis.asyncio.Redis]:
    client = redis.asyncio.Redis.from_pool(redis.asyncio.BlockingConnectionPool.from_url(redis_url, max_connections=20))
    yield client
    await client.aclose()


@pytest.fixture
def clock() -> Callable[[], float]:
    return time.monotonic
