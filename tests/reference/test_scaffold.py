"""What all services share: settings, socket, readiness, errors, a graceful end."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from earwitness.harness.errors import SettingsError
from earwitness.harness.reference.answers import ApiError, json_response
from earwitness.harness.reference.service import DefectOrder, Service, defect_orders
from earwitness.harness.reference.settings import read_settings


@dataclass(frozen=True, slots=True)
class Example:
    name: str
    fd: int
    public_url: str
    client_secret: str
    redirect_uris: tuple[str, ...]
    rate_per_s: float | None = None
    ttl_s: float = 5.0
    test_mode: bool = False


GOOD = {"name": "n", "fd": 3, "public_url": "http://h:1", "client_secret": "hush", "redirect_uris": ["http://a"]}


def test_settings_are_read() -> None:
    """Defaults, whole numbers for floats, null where it is allowed."""
    read = read_settings(Example, json.dumps({**GOOD, "ttl_s": 7, "rate_per_s": None}))
    assert read == Example("n", 3, "http://h:1", "hush", ("http://a",), None, 7.0, False)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"fd": "3"}, "fd must be a whole number, not '3'"),
        ({"fd": True}, "fd must be a whole number, not True"),
        ({"ttl_s": 0}, "ttl_s must be more than 0, not 0.0"),
        ({"public_url": "h:1"}, "public_url must be an address like http://127.0.0.1:8000, not 'h:1'"),
        ({"client_secret": 7}, "client_secret must be a non-empty string"),
        ({"redirect_uris": "http://a"}, "redirect_uris must be a list of strings, not 'http://a'"),
        ({"tets_mode": True}, "tets_mode is no setting of this service"),
        ({"test_mode": None}, "test_mode must be true or false, not None"),
    ],
)
def test_a_wrong_setting_is_named(changes: dict[str, Any], sentence: str) -> None:
    """One clear sentence, secrets not repeated."""
    with pytest.raises(SettingsError) as caught:
        read_settings(Example, json.dumps({**GOOD, **changes}))
    assert caught.value.faults == [sentence]


def test_all_faults_are_named_at_once() -> None:
    """Nobody has to mend one after the other."""
    with pytest.raises(SettingsError) as caught:
        read_settings(Example, "{}")
    assert len(caught.value.faults) == 5
    for text in ("", "[]", "{"):
        with pytest.raises(SettingsError, match="one JSON object"):
            read_settings(Example, text)


def test_defects_on_the_command_line() -> None:
    """NAME means always; a probability must be one."""
    assert defect_orders(["--defect", "Z1", "--defect", "Z2:0.5"]) == [DefectOrder("Z1", 1.0), DefectOrder("Z2", 0.5)]
    for wrong in ("Z1:2", "Z1:-1", "Z1:x", ":1", "Z1:nan"):
        with pytest.raises(SettingsError, match="probability"):
            defect_orders(["--defect", wrong])


@pytest.mark.parametrize(("settings", "words"), [("{}", b"fd is missing"), (None, b"one JSON object")])
def test_a_process_with_wrong_settings_says_so(settings: str | None, words: bytes) -> None:
    """Exit code 2, one sentence, no traceback."""
    env = {**os.environ, **({"EARWITNESS_SERVICE": settings} if settings else {})}
    ended = subprocess.run(
        [sys.executable, "-m", "earwitness.harness.reference.provider"], env=env, capture_output=True
    )
    assert ended.returncode == 2
    assert words in ended.stderr
    assert b"Traceback" not in ended.stderr


class Slow(Service):
    """Needs something that is away at first; has a slow request and a WebSocket."""

    def __init__(self) -> None:
        super().__init__("slow")
        self.dependency, self.entered, self.go_on = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.held = asyncio.Event()
        self.attempts = 0
        self.app.add_routes(
            [web.get("/slow", self.slow), web.get("/ws", self.ws), web.get("/no", self.no), web.get("/bug", self.bug)]
        )

    async def start(self) -> None:
        self.attempts += 1
        if not self.dependency.is_set():
            raise ConnectionRefusedError("the dependency is away")

    async def _until_started(self) -> None:
        self.held.set()
        await super()._until_started()

    async def slow(self, _: web.Request) -> web.Response:
        self.entered.set()
        await self.go_on.wait()
        return json_response({"finished": True})

    async def no(self, _: web.Request) -> web.Response:
        raise ApiError(409, "conflict", "No.", retry_after_s=1.2)

    async def bug(self, _: web.Request) -> web.Response:
        raise ZeroDivisionError("a fault")

    async def ws(self, request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        self.websockets.add(ws)
        async for _ in ws:
            pass
        return ws


async def test_a_service_starts_answers_and_ends_gracefully() -> None:
    """503 until the dependency is there; JSON errors; at the end 1012 for sockets while a request still finishes."""
    service, stopped = Slow(), asyncio.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        running = asyncio.create_task(service.run_until_stopped(listener.dup(), stopped))
        async with aiohttp.ClientSession(url) as http:
            async with http.get("/ready") as answer:
                assert answer.status == 503
                assert "waiting_for" in await answer.json()
            async with http.get("/no") as answer:
                assert (answer.status, (await answer.json())["error"]) == (503, "starting")
            service.held.clear()
            early = asyncio.create_task(http.get("/no"))
            await service.held.wait()
            service.dependency.set()
            assert (await early).status == 409, "a request that came early is not refused"
            assert service.attempts >= 2
            async with http.get("/ready") as answer:
                assert (await answer.json())["ready"] is True
            for path, status, error in (
                ("/no", 409, "conflict"),
                ("/bug", 500, "internal_error"),
                ("/?", 404, "not_found"),
            ):
                async with http.get(path) as answer:
                    assert (answer.status, (await answer.json())["error"]) == (status, error)
                    assert answer.headers.get("Retry-After") == ("2" if path == "/no" else None)
            async with http.ws_connect("/ws") as ws:
                slow = asyncio.create_task(http.get("/slow"))
                await service.entered.wait()
                stopped.set()
                message = await ws.receive(timeout=5)
                assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1012)
            assert not running.done()
            service.go_on.set()
            assert await (await slow).json() == {"finished": True}
        await asyncio.wait_for(running, 5)


async def test_a_broken_background_task_is_not_ready() -> None:
    """A task that ends by an exception shows in /ready instead of dying in silence."""
    service, stopped = Slow(), asyncio.Event()
    service.dependency.set()

    async def breaks() -> None:
        raise ZeroDivisionError("a fault")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        running = asyncio.create_task(service.run_until_stopped(listener.dup(), stopped))
        await service.background(breaks(), "the example")
        while not service.started:
            await asyncio.sleep(0.01)
        async with aiohttp.ClientSession(url) as http, http.get("/ready") as answer:
            assert (await answer.json())["waiting_for"] == "the example, which has ended"
        stopped.set()
        await asyncio.wait_for(running, 5)


def test_sigterm_ends_a_process_with_zero(spawn_service: Any, new_listener: Any) -> None:
    """And its log ends with `stopped`; no secret is in it."""
    at = new_listener()
    settings = {"issuer": at.url, "client_id": "c", "client_secret": "do not log me", "redirect_uris": []}
    service = spawn_service("provider", settings, listener=at)
    assert service.stop() == 0
    log = service.log.read_text()
    assert log.rstrip().endswith("stopped")
    assert "do not log me" not in log
    assert service.process.returncode != -signal.SIGKILL
