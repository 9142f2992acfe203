from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from earwitness.harness.errors import PlatformError
from earwitness.harness.platform.control import (
    STATE_FILE,
    VARIABLE,
    ControlClient,
    ControlServer,
    find_offer,
    remove_state,
    write_state,
)

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


@pytest.fixture
def address() -> Iterator[str]:
    """A control address at which somebody answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"earwitness://token@127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture(autouse=True)
def _no_offer_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)


def test_a_running_platform_is_found_until_it_takes_its_file_away(tmp_path: Path, address: str) -> None:
    """The file is private, leads to the platform, and goes with it."""
    path = tmp_path / STATE_FILE
    write_state(path, {"control": address})
    assert path.stat().st_mode & 0o777 == 0o600
    assert find_offer(tmp_path) == address
    remove_state(path, "earwitness://other@127.0.0.1:1")
    assert path.exists()
    remove_state(path, address)
    assert find_offer(tmp_path) is None


def test_the_environment_stands_over_the_folder(tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`none` hides a running platform, an address or a path names one, and one that is away is an error."""
    path = tmp_path / STATE_FILE
    write_state(path, {"control": address})
    monkeypatch.setenv(VARIABLE, "none")
    assert find_offer(tmp_path) is None
    for place in (address, str(path)):
        monkeypatch.setenv(VARIABLE, place)
        assert find_offer(tmp_path / "elsewhere") == address
    monkeypatch.setenv(VARIABLE, "earwitness://token@127.0.0.1:1")
    with pytest.raises(PlatformError, match="does not answer"):
        find_offer(tmp_path)


def test_an_address_that_is_not_of_this_machine_is_not_tried(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Control addresses are 127.0.0.1; the environment leads nowhere else, not even to see who answers."""
    monkeypatch.setenv("EARWITNESS_PLATFORM", address.replace("127.0.0.1", "localhost"))
    with pytest.raises(PlatformError, match="names a platform that does not answer"):
        find_offer()


def test_a_file_left_behind_is_no_offer_and_is_written_over(tmp_path: Path, address: str) -> None:
    """A stale file is replaced; a living platform's is not."""
    path = tmp_path / STATE_FILE
    write_state(path, {"control": "earwitness://token@127.0.0.1:1"})
    assert find_offer(tmp_path) is None
    write_state(path, {"control": address})
    with pytest.raises(PlatformError, match="A platform runs here already"):
        write_state(path, {"control": address})


def test_a_file_that_others_may_read_is_refused(tmp_path: Path, address: str) -> None:
    """Who can read it can kill the platform; who can write it can lead us elsewhere."""
    path = tmp_path / STATE_FILE
    write_state(path, {"control": address})
    path.chmod(0o644)
    with pytest.raises(PlatformError, match="chmod 600"):
        find_offer(tmp_path)


def test_a_file_that_is_something_else_is_a_sentence(tmp_path: Path) -> None:
    """Not JSON, or JSON without a control address."""
    path = tmp_path / STATE_FILE
    for text in ("hello", "[]", "{}"):
        path.touch(0o600)
        path.write_text(text)
        with pytest.raises(PlatformError, match="is not the state file of a platform"):
            find_offer(tmp_path)
