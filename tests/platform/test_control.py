from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from earwitness.harness.errors import PlatformError
from earwitness.harness.platform.control import ControlClient, ControlServer

pytestmark = pytest.mark.usefixtures("temporary")


@pytest.fixture
def controlled(standins: Any, supervised: Any) -> Callable[..., Any]:
    """`async with controlled() as (client, supervisor, ending)`: one stand-in `echo` behind a control socket."""

    @contextlib.asynccontextmanager
    async def run() -> AsyncIterator[Any]:
        ending = asyncio.Event()
        async with supervised(standins.spec("echo")) as supervisor:
            server = ControlServer(supervisor, {"edge": "http://127.0.0.1:1"}, ending.set)
            client = ControlClient(await server.open())
            try:
                yield client, supervisor, ending
            finally:
                server.close()

    return run


async def test_every_verb_does_what_it_says(controlled: Any) -> None:
    """From another thread: look, kill, start, pause, resume, restart, stop, logs, shut down."""
    async with controlled() as (client, _, ending):

        def state() -> str:
            return str(client.status()["echo"]["state"])

        def drive() -> None:
            assert client.endpoints() == {"edge": "http://127.0.0.1:1"}
            first = client.status()["echo"]["pid"]
            client.kill("echo")
            assert state() == "killed"
            client.start("echo")
            assert state() == "ready"
            assert client.status()["echo"]["pid"] != first
            client.pause("echo")
            assert state() == "paused"
            client.resume("echo")
            client.restart("echo", graceful=False)
            assert state() == "ready"
            assert client.stats()["echo"]["rss_bytes"] > 1_000_000
            client.stop("echo")
            assert state() == "stopped"
            assert client.logs("echo").splitlines() == ["hello from echo"] * 3
            assert client.logs("echo", lines=1) == "hello from echo"
            assert client.deaths() == []
            client.shutdown()

        await asyncio.to_thread(drive)
        assert ending.is_set()


async def test_a_mistake_comes_back_as_the_supervisors_sentence(controlled: Any) -> None:
    """Wrong service, wrong verb, starting what runs, stopping twice."""
    async with controlled() as (client, _, _):

        def drive() -> None:
            with pytest.raises(PlatformError, match="There is no service 'ghost'; there are echo"):
                client.kill("ghost")
            with pytest.raises(PlatformError, match="There is no request 'explode'"):
                client.ask("explode")
            with pytest.raises(PlatformError, match="echo runs already"):
                client.start("echo")

        await asyncio.to_thread(drive)


async def test_without_the_token_nothing_is_done(controlled: Any) -> None:
    """A wrong or missing token, or no JSON at all, changes nothing; the token shows in no repr."""
    async with controlled() as (client, supervisor, _):
        token, _, port = client.address.removeprefix("earwitness://").replace("@127.0.0.1:", " ").partition(" ")

        def raw(line: bytes) -> dict[str, Any]:
            with socket.create_connection(("127.0.0.1", int(port)), timeout=5) as connection:
                connection.sendall(line + b"\n")
                return dict(json.loads(connection.makefile().readline()))

        def drive() -> None:
            assert "token" in raw(json.dumps({"token": token + "x", "do": "kill", "service": "echo"}).encode())["error"]
            assert "token" in raw(b'{"do": "kill", "service": "echo"}')["error"]
            assert "understand" in raw(b"GET / HTTP/1.1")["error"]

        await asyncio.to_thread(drive)
        assert supervisor.status()["echo"]["state"] == "ready"
        assert token not in repr(client)


def test_what_is_no_address_and_who_does_not_answer_are_sentences() -> None:
    """Neither is a traceback of sockets."""
    for wrong in (
        "http://127.0.0.1:1",
        "earwitness://127.0.0.1:1",
        "earwitness://t@example.org:1",
        "earwitness://t@127.0.0.1:x",
    ):
        with pytest.raises(PlatformError, match="no platform's control address"):
            ControlClient(wrong)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        client = ControlClient(f"earwitness://t@127.0.0.1:{unused.getsockname()[1]}")
        with pytest.raises(PlatformError, match="does not answer"):
            client.status()
