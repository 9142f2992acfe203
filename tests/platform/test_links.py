"""The proxy of the links, between a caller and stand-ins of callees, as a supervised process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from earwitness.harness.errors import PlatformError
from earwitness.harness.platform.links import Links, matching, possible_links
from earwitness.harness.platform.ports import HOST, ReservedPort

pytestmark = pytest.mark.usefixtures("temporary")
LINK = "users/edge"


class Echo:
    """Answers every piece with itself; an end with an end."""

    def __init__(self) -> None:
        self.port = ReservedPort("edge")
        self.heard = 0
        self.broken = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                self.heard += len(data)
                writer.write(data)
                await writer.drain()
        except OSError:
            self.broken += 1
        writer.close()


class Bench:
    def __init__(self, links: Links, echo: Echo, supervisor: Any) -> None:
        self.links, self.echo, self.supervisor = links, echo, supervisor

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        port = self.links.port(LINK)
        assert port is not None
        return await asyncio.open_connection(HOST, port.number)

    async def say(self, data: bytes) -> bytes:
        """On a connection of its own."""
        reader, writer = await self.connect()
        try:
            writer.write(data)
            return await reader.readexactly(len(data))
        finally:
            writer.close()

    async def set(self, **conditions: Any) -> None:
        await self.links.ask("set", link=LINK, conditions=conditions)

    async def status(self) -> dict[str, Any]:
        return dict((await self.links.ask("status"))[LINK])


@pytest.fixture
async def bench(supervised: Any) -> AsyncIterator[Bench]:
    echo, links = Echo(), Links([LINK])
    server = await asyncio.start_server(echo.serve, HOST, echo.port.number)
    async with supervised(links.spec({"edge": echo.port})) as supervisor:
        yield Bench(links, echo, supervisor)
    server.close()
    links.close()
    echo.port.close()


async def test_everything_passes_unchanged_and_ends_with_the_end(bench: Bench) -> None:
    """Megabytes in both directions, in order; half-closing reaches the callee, its end reaches the caller."""
    reader, writer = await bench.connect()
    data = bytes(range(256)) * 20_000

    async def send() -> None:
        writer.write(data)
        await writer.drain()
        writer.write_eof()

    sending = asyncio.create_task(send())
    assert await reader.read(-1) == data
    await sending
    writer.close()
    status = await bench.status()
    assert (status["opened"], status["cut"], status["bytes"]) == (1, 0, 2 * len(data))


async def test_delay_keeps_the_order(bench: Bench) -> None:
    """Each way takes its delay; with a jitter larger than the pauses between pieces they still come in order."""
    reader, writer = await bench.connect()
    await bench.set(delay_s=0.1, jitter_s=0.1)
    begin = time.monotonic()
    for number in range(20):
        writer.write(b"%02d" % number)
        await asyncio.sleep(0.005)
    assert await reader.readexactly(40) == b"".join(b"%02d" % number for number in range(20))
    assert time.monotonic() - begin > 0.0
    await bench.set(delay_s=0.2)
    begin = time.monotonic()
    writer.write(b"x")
    await reader.readexactly(1)
    assert time.monotonic() - begin >= 0.4
    await bench.set()
    begin = time.monotonic()
    writer.write(b"x")
    await reader.readexactly(1)
    assert time.monotonic() - begin < 0.2
    writer.close()


async def test_a_blackhole_holds_and_loses_nothing(bench: Bench) -> None:
    """While it is on nothing comes, on old and on new connections; afterwards everything does."""
    old_reader, old = await bench.connect()
    await bench.set(held=True)
    new_reader, new = await bench.connect()
    for writer in (old, new):
        writer.write(b"hello")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(old_reader.read(1), 0.3)
    assert bench.echo.heard == 0
    await bench.set()
    assert await old_reader.readexactly(5) == await new_reader.readexactly(5) == b"hello"
    old.close()
    new.close()


async def test_a_cut_resets_both_ends(bench: Bench) -> None:
    """The caller hears a reset, the callee too; the next connection is free again, unless the link refuses."""
    reader, writer = await bench.connect()
    writer.write(b"hello")
    await reader.readexactly(5)
    assert await bench.links.ask("cut", link=LINK) == 1
    with pytest.raises(ConnectionResetError):
        await reader.read(1)
    await bench.set(refusing=True)
    with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
        await bench.say(b"hello")
    await bench.set()
    reader, writer = await bench.connect()
    writer.write(b"hello")
    assert await reader.readexactly(5) == b"hello"
    writer.close()
    assert (await bench.status())["cut"] == 2


async def test_a_cut_after_so_many_bytes(bench: Bench) -> None:
    """No byte more than that passes, both directions together."""
    await bench.set(cut_after=1000)
    reader, writer = await bench.connect()
    heard = b""

    async def talk() -> None:
        nonlocal heard
        for _ in range(100):
            writer.write(b"x" * 100)
            heard += await reader.readexactly(100)

    with pytest.raises(ConnectionResetError):
        await talk()
    assert 300 <= len(heard) <= 500
    assert bench.echo.heard <= 600


async def test_bandwidth(bench: Bench) -> None:
    """100 kB at 200 kB/s there and, at the same time, back: not faster than half a second."""
    await bench.set(bytes_per_s=200_000)
    reader, writer = await bench.connect()
    begin = time.monotonic()
    writer.write(b"x" * 100_000)
    await reader.readexactly(100_000)
    assert time.monotonic() - begin >= 0.5
    writer.close()


async def _first_word(port: int) -> bytes:
    """A reset comes at the first word, or before the caller knows that it is connected."""
    reader, _ = await asyncio.open_connection(HOST, port)
    return await reader.read(1)


async def test_a_callee_that_is_not_there(bench: Bench, supervised: Any) -> None:
    """The caller is reset: a link to nobody is no service."""
    nobody = ReservedPort("edge")
    links = Links([LINK])
    async with supervised(links.spec({"edge": nobody})):
        port = links.port(LINK)
        assert port is not None
        with pytest.raises(ConnectionResetError):
            await _first_word(port.number)
        assert "error" in await links.try_out(LINK)
    links.close()
    nobody.close()


async def test_who_does_not_know_the_token_is_refused(bench: Bench) -> None:
    """Other programs of this machine cannot disturb a platform."""
    bench.links._token = "guessed"
    with pytest.raises(PlatformError, match="wants its token"):
        await bench.links.ask("status")


def test_names() -> None:
    """One link, all links into a service, into all replicas, from all replicas, and all."""
    possible = possible_links(["backend-1", "backend-2"], ["postgres", "valkey"])
    assert matching("backend-2/auth", possible) == ["backend-2/auth"]
    assert matching("backend/auth", possible) == ["backend-1/auth", "backend-2/auth"]
    assert matching("auth", possible) == ["users/auth", "backend-1/auth", "backend-2/auth", "frontend/auth"]
    assert matching("backend", possible) == ["edge/backend-1", "edge/backend-2"]
    assert matching("edge", possible) == ["users/edge", "frontend/edge"]
    assert matching("all", possible) == possible
    assert matching("moon", possible) == []
