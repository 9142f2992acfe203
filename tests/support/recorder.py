"""Recordings (HAR files) as a browser makes them: built by hand, or recorded by a client of real sockets."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
from websockets.asyncio.client import ClientConnection, connect

WAIT_S = 10.0


def stamp(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")


def pairs(values: Mapping[str, str] | None) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in (values or {}).items()]


def exchange(
    method: str,
    url: str,
    *,
    at: float = 0.0,
    took_ms: float = 5.0,
    headers: Mapping[str, str] | None = None,
    cookies: Mapping[str, str] | None = None,
    body: Any = None,
    form: Mapping[str, str] | None = None,
    status: int = 200,
    answer: Any = None,
    set_cookies: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return the HAR entry of an HTTP request, as Chromium writes it. `at`: start in s; `took_ms`: duration in ms."""
    request: dict[str, Any] = {"method": method, "url": url, "headers": pairs(headers), "cookies": pairs(cookies)}
    if form is not None:
        mime = "application/x-www-form-urlencoded"
        request["postData"] = {"mimeType": mime, "text": urlencode(form), "params": pairs(form)}
    elif body is not None:
        request["postData"] = {"mimeType": "application/json", "text": json.dumps(body)}
    content = {"mimeType": "application/json", "text": "" if answer is None else json.dumps(answer)}
    response = {"status": status, "headers": [], "cookies": pairs(set_cookies), "content": content}
    return {"startedDateTime": stamp(at), "time": took_ms, "request": request, "response": response}


def socket(
    url: str,
    frames: list[tuple[str, Any]],
    *,
    at: float = 10.0,
    headers: Mapping[str, str] | None = None,
    cookies: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return the HAR entry of a socket.

    `frames`: (">" sent or "<" received, text, bytes, or a value that becomes JSON), 0.1 s apart; `at`: start in s.
    """
    messages = []
    for number, (way, data) in enumerate(frames):
        text = data if isinstance(data, str) else base64.b64encode(data).decode() if isinstance(data, bytes) else ""
        messages.append(
            {
                "type": "send" if way == ">" else "receive",
                "time": at + 0.1 * (number + 1),
                "opcode": 2 if isinstance(data, bytes) else 1,
                "data": text or json.dumps(data),
            }
        )
    return {
        "startedDateTime": stamp(at),
        "time": 1000.0,
        "_resourceType": "websocket",
        "request": {"method": "GET", "url": url, "headers": pairs(headers), "cookies": pairs(cookies)},
        "response": {"status": 101, "headers": [], "cookies": [], "content": {}},
        "_webSocketMessages": messages,
    }


def har(*entries: Any) -> dict[str, Any]:
    return {
        "log": {"version": "1.2", "creator": {"name": "WebInspector", "version": "537.36"}, "entries": list(entries)}
    }


def write(file: Path, document: Any) -> Path:
    file.write_text(json.dumps(document))
    return file


class RecordedSocket:
    """Real socket that adds each sent and received frame to its HAR entry."""

    def __init__(self, connection: ClientConnection, entry: dict[str, Any]) -> None:
        self.connection, self.entry = connection, entry

    async def send(self, data: Any) -> None:
        text = data if isinstance(data, str) else json.dumps(data)
        self._note("send", text)
        await self.connection.send(text)

    async def until(self, count: int) -> None:
        """Receive until this socket has received `count` frames in total."""
        while sum(one["type"] == "receive" for one in self.entry["_webSocketMessages"]) < count:
            self._note("receive", await asyncio.wait_for(self.connection.recv(), WAIT_S))

    async def until_text(self, text: str) -> None:
        """Receive until a frame contains `text`."""
        while not any(one["type"] == "receive" and text in one["data"] for one in self.entry["_webSocketMessages"]):
            self._note("receive", await asyncio.wait_for(self.connection.recv(), WAIT_S))

    def _note(self, way: str, data: str | bytes) -> None:
        text = data if isinstance(data, str) else base64.b64encode(data).decode()
        self.entry["_webSocketMessages"].append(
            {"type": way, "time": time.time(), "opcode": 1 if isinstance(data, str) else 2, "data": text}
        )


class Recorder:
    """Client that records its requests and sockets as HAR entries. `cookies` are sent as a browser sends them."""

    def __init__(self) -> None:
        self.entries: list[dict[str, Any]] = []
        self.cookies: dict[str, str] = {}

    async def request(self, method: str, url: str, **what: Any) -> Any:
        """Send a request with `headers`, `body` or `form`; return the answer's JSON, None if it is empty."""
        begun = time.time()
        cookies = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        headers = dict(what.get("headers") or {}) | ({"cookie": cookies} if cookies else {})
        async with httpx.AsyncClient() as client:
            done = await client.request(method, url, headers=headers, json=what.get("body"), data=what.get("form"))
        given = dict(done.cookies)
        answer = done.json() if done.content else None
        sent = {"body": what.get("body"), "form": what.get("form"), "headers": headers, "cookies": dict(self.cookies)}
        got = {"status": done.status_code, "set_cookies": given, "answer": answer}
        self.entries.append(exchange(method, url, at=begun, took_ms=1000 * (time.time() - begun), **sent, **got))
        self.cookies |= given
        return answer

    @asynccontextmanager
    async def socket(self, url: str) -> AsyncIterator[RecordedSocket]:
        entry = socket(url, [], at=time.time(), cookies=self.cookies)
        self.entries.append(entry)
        cookies = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        async with connect(url, additional_headers={"cookie": cookies} if cookies else None) as connection:
            yield RecordedSocket(connection, entry)

    def write(self, file: Path) -> Path:
        return write(file, har(*self.entries))
