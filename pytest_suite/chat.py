"""WebSocket of a test user, by the `websockets` library: all frames are kept in order, all waits have a time limit."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

import pytest
import websockets
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Subprotocol

Way = Literal["header", "subprotocol", "query", "ticket"]
WAYS: tuple[Way, ...] = get_args(Way)
SUBPROTOCOL = "earwitness.v1"
DEADLINE_S = 20.0
HTTP_REFUSALS = 4000
"""Number that is added to the HTTP status of a refusal before the upgrade.

So a refusal with 401 counts as close code 4401: only some clients can see the status, others only the code.
"""


class Refused(Exception):
    """Refusal of a socket by the platform: `code` is the close code, or HTTP_REFUSALS + the HTTP status."""

    def __init__(self, code: int, why: str) -> None:
        self.code = code
        super().__init__(f"{code}: {why}")


class Socket:
    """Open WebSocket. `code`: its close code, None while it is open, 1006 if it ended without a close frame."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self.frames: list[dict[str, Any]] = []
        self.code: int | None = None
        self.closed_at: float | None = None
        self._news = asyncio.Event()
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        try:
            while True:
                self.frames.append(json.loads(await self.connection.recv()))
                self._news.set()
        except websockets.ConnectionClosed as closed:
            self.code = closed.rcvd.code if closed.rcvd is not None else 1006
            self.closed_at = asyncio.get_running_loop().time()
            self._news.set()

    async def until(self, done: Callable[[], Any], what: str, timeout_s: float = DEADLINE_S) -> Any:
        """Wait until `done()` is true and return its value; `done` is called after every frame.

        The test fails with the words `what` after `timeout_s` seconds.
        """
        try:
            async with asyncio.timeout(timeout_s):
                while not done():
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            pytest.fail(f"{what}: not within {timeout_s:g} s; closed: {self.code}; last heard: {self.frames[-3:]}")
        return done()

    def all(self, kind: str, conversation: str | None = None) -> list[dict[str, Any]]:
        """Return all received frames of the type `kind`, only those of `conversation` if it is given."""
        return [f for f in self.frames if f["type"] == kind and conversation in (None, f.get("conversation"))]

    def texts(self, conversation: str | None = None) -> list[str]:
        """Return the texts of the received messages, in order."""
        return [f["text"] for f in self.all("message", conversation)]

    def seqs(self, conversation: str) -> list[int]:
        """Return the sequence numbers of a conversation's received messages, in order."""
        return [f["seq"] for f in self.all("message", conversation)]

    async def hear(self, n: int, kind: str = "message", conversation: str | None = None) -> list[dict[str, Any]]:
        """Wait for `n` frames of the type `kind`; return all received ones.

        The test fails if the socket ends before.
        """
        await self.until(lambda: len(self.all(kind, conversation)) >= n or self.code, f"{n} × {kind}")
        found = self.all(kind, conversation)
        assert len(found) >= n, f"expected {n} × {kind}, heard {len(found)} and then the end ({self.code})"
        return found

    async def closed(self, timeout_s: float = DEADLINE_S) -> int:
        """Wait until the socket has ended; return its close code."""
        await self.until(lambda: self.code is not None, "the end of the socket", timeout_s)
        assert self.code is not None
        return self.code

    async def send(self, conversation: str, text: str, message_id: str | None = None, **more: Any) -> str:
        """Send a message; return its id."""
        message_id = message_id or uuid.uuid4().hex
        await self.say(type="send", conversation=conversation, id=message_id, text=text, **more)
        return message_id

    async def say(self, **frame: Any) -> None:
        """Send a frame with these fields."""
        await self.connection.send(json.dumps(frame))

    async def answer(self, message_id: str) -> dict[str, Any]:
        """Wait for the ack or nack of a message and return it."""

        def answered() -> list[dict[str, Any]]:
            return [f for f in self.frames if f["type"] in ("ack", "nack") and f.get("id") == message_id]

        found: list[dict[str, Any]] = await self.until(answered, f"an answer to {message_id}")
        return found[0]

    async def tell(self, conversation: str, text: str, **more: Any) -> int:
        """Send a message, wait until it is acknowledged, and return its sequence number."""
        answer = await self.answer(await self.send(conversation, text, **more))
        assert answer["type"] == "ack", f"expected an ack, got {answer}"
        return int(answer["seq"])

    async def fence(self) -> None:
        """Wait until every frame that the server sent to this socket before this call has been received.

        Sends a ping and waits for the pong, because the frames of one socket keep their order.
        """
        token = uuid.uuid4().hex
        await self.say(type="ping", id=token)
        await self.until(lambda: any(f.get("id") == token for f in self.all("pong")), "a pong")

    def abort(self) -> None:
        """Drop the connection without a close frame, as a lost network does."""
        self.connection.transport.abort()

    async def end(self) -> None:
        """Close the socket and wait until it has ended."""
        await self.connection.close()
        await self._reader


async def open_socket(
    url: str, token: str = "", *, way: Way = "header", resume: Mapping[str, int] | None = None, headers: Any = None
) -> Socket:
    """Open a socket, wait for the welcome frame, and return the socket. Raises Refused if the platform refuses it.

    `token`: the access token, a ticket if `way` is "ticket"; `resume`: last sequence number received, by conversation.
    """
    query, sent = {}, dict(headers or {})
    protocols: list[Subprotocol] | None = None
    if way == "header" and token:
        sent["Authorization"] = f"Bearer {token}"
    elif way == "subprotocol":
        protocols = [Subprotocol(SUBPROTOCOL), Subprotocol(f"bearer.{token}")]
    elif way in ("query", "ticket"):
        query["token" if way == "query" else "ticket"] = token
    if resume is not None:
        query["resume"] = "1"
    address = url.replace("http", "ws", 1) + "/ws"
    if query:
        address += "?" + "&".join(f"{key}={value}" for key, value in query.items())
    try:
        connection = await connect(
            address, additional_headers=sent, subprotocols=protocols, compression=None, max_size=None, proxy=None,
            open_timeout=DEADLINE_S, close_timeout=5, ping_interval=None, max_queue=None,
        )  # fmt: skip
    except InvalidStatus as refused:
        body = bytes(refused.response.body or b"")[:200].decode(errors="replace")
        raise Refused(HTTP_REFUSALS + refused.response.status_code, body) from None
    socket = Socket(connection)
    await socket.until(lambda: socket.frames or socket.code is not None, "a greeting")
    if not socket.frames:
        assert socket.code is not None
        await socket.end()
        raise Refused(socket.code, connection.close_reason or "")
    assert socket.frames[0]["type"] == "welcome", socket.frames[0]
    if resume is not None:
        await socket.say(type="resume", **{"from": dict(resume)})
    return socket


async def verdict_on(url: str, token: str, way: Way = "header", headers: Any = None) -> int:
    """Return 0 if a socket can be opened with this token (it is closed again), else the code of the refusal."""
    try:
        socket = await open_socket(url, token, way=way, headers=headers)
    except Refused as refused:
        return refused.code
    await socket.end()
    return 0
