"""Each fault on real processes and a real link: it shows its effect, it ends, and without an effect it is an error."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import psutil
import pytest

from earwitness.harness.errors import PlatformError
from earwitness.harness.platform.control import ControlClient, ControlServer
from earwitness.harness.platform.faults import (
    Cut,
    Disturb,
    Fault,
    Kill,
    NoEffect,
    Pause,
    Replace,
    Restart,
    Skew,
    Wipe,
)
from earwitness.harness.platform.links import Links
from earwitness.harness.platform.ports import HOST

pytestmark = pytest.mark.usefixtures("temporary")
LINK = "users/edge"


class Bench:
    """A service `edge` behind the link `users/edge`, and its platform's control."""

    def __init__(self, control: ControlClient, links: Links, url: str) -> None:
        self.control, self.links, self.url = control, links, url

    async def apply(self, fault: Fault) -> None:
        await asyncio.to_thread(fault.apply, self.control)

    async def lift(self, fault: Fault) -> None:
        await asyncio.to_thread(fault.lift, self.control)

    async def state(self) -> dict[str, Any]:
        return (await asyncio.to_thread(self.control.status))["edge"]

    async def tried(self) -> dict[str, Any]:
        return await self.links.try_out(LINK)


@pytest.fixture
def bench_of(standins: Any, supervised: Any) -> Callable[..., Any]:
    """`async with bench_of(**settings of the service) as bench`; `data`: a folder that it can lose."""

    @asynccontextmanager
    async def run(data: str | None = None, **settings: Any) -> AsyncIterator[Bench]:
        spec = dataclasses.replace(standins.spec("edge", **settings), data=data)
        port = standins.ports[-1]
        links = Links([LINK])
        async with supervised(links.spec({"edge": port}), spec) as supervisor:
            server = ControlServer(supervisor, {}, lambda: None, links)
            try:
                yield Bench(ControlClient(await server.open()), links, port.url)
            finally:
                server.close()
        links.close()

    return run


async def test_kill_and_pause(bench_of: Callable[..., Any], alive: Callable[[int], bool]) -> None:
    """The process is gone, or stopped, until the fault is lifted; of who does not run nothing can be killed."""
    async with bench_of() as bench:
        pid = (await bench.state())["pid"]
        kill = Kill("edge")
        await bench.apply(kill)
        assert not alive(pid)
        with pytest.raises(NoEffect, match="does not run"):
            await bench.apply(Kill("edge"))
        with pytest.raises(NoEffect, match="does not run"):
            await bench.apply(Restart("edge"))
        await bench.lift(kill)
        pid = (await bench.state())["pid"]
        assert alive(pid)
        pause = Pause("edge")
        await bench.apply(pause)
        assert psutil.Process(pid).status() == psutil.STATUS_STOPPED
        assert "error" in await bench.tried()
        await bench.lift(pause)
        assert "error" not in await bench.tried()


@pytest.mark.parametrize("fault", [Restart("edge"), Restart("edge", graceful=False), Replace("edge")])
async def test_another_process(bench_of: Callable[..., Any], fault: Fault) -> None:
    """It is over when another process serves."""
    async with bench_of() as bench:
        before = await bench.state()
        await bench.apply(fault)
        after = await bench.state()
        assert (after["state"], after["starts"]) == ("ready", before["starts"] + 1)
        assert after["pid"] != before["pid"]
        assert "error" not in await bench.tried()


async def test_a_store_without_its_data(bench_of: Callable[..., Any]) -> None:
    """Another process serves; what has no data to lose is left alone, and says so."""
    async with bench_of(data="file") as bench:
        before = await bench.state()
        await bench.apply(Wipe("edge"))
        after = await bench.state()
        assert (after["state"], after["starts"]) == ("ready", before["starts"] + 1)
        assert after["pid"] != before["pid"]
    async with bench_of() as bench:
        before = await bench.state()
        with pytest.raises(PlatformError, match="no data that it could lose"):
            await bench.apply(Wipe("edge"))
        assert await bench.state() == before


async def test_a_wrong_clock(bench_of: Callable[..., Any]) -> None:
    """The service itself must say so; a service that does not care has shown no effect."""
    async with bench_of() as bench:
        skew = Skew("edge", bench.url, -2.0)
        await bench.apply(skew)
        await bench.lift(skew)
    async with bench_of(ignores_clock=True) as bench:
        with pytest.raises(NoEffect, match=r"is [+-]0.\d s off, not -2 s"):
            await bench.apply(Skew("edge", bench.url, -2.0))


@pytest.mark.parametrize(
    ("conditions", "slow_s"),
    [({"delay_s": 0.1}, 0.2), ({"bytes_per_s": 500}, 0.2), ({"held": True}, None), ({"refusing": True}, None)],
)
async def test_a_disturbed_link(bench_of: Callable[..., Any], conditions: dict[str, Any], slow_s: float | None) -> None:
    """An exchange is slower, or does not come about; afterwards it is as before."""
    async with bench_of() as bench:
        fault = Disturb((LINK,), conditions)
        await bench.apply(fault)
        tried = await bench.tried()
        assert ("error" in tried) if slow_s is None else (tried["seconds"] >= slow_s)
        await bench.lift(fault)
        assert (await bench.tried())["seconds"] < 0.1 or slow_s is None


async def test_a_link_without_effect(bench_of: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that forgets what it was told, and a link without a connection to cut, are found out."""
    async with bench_of() as bench:
        with pytest.raises(NoEffect, match="no connection to cut"):
            await bench.apply(Cut((LINK,)))
        never = Disturb((LINK,), {"cut_after": 10**9})
        await bench.apply(never)
        with pytest.raises(NoEffect, match="no connection of users/edge came to that many bytes"):
            await bench.lift(never)
        monkeypatch.setattr(ControlClient, "disturb", lambda *_, **__: None)
        with pytest.raises(NoEffect, match="it answers within"):
            await bench.apply(Disturb((LINK,), {"delay_s": 5.0}))
        with pytest.raises(NoEffect, match="it still answers"):
            await bench.apply(Disturb((LINK,), {"held": True}))


async def test_connections_that_are_cut(bench_of: Callable[..., Any]) -> None:
    """Who is connected is reset; the next one is served."""
    async with bench_of() as bench:
        port = bench.links.port(LINK)
        assert port is not None
        reader, _ = await asyncio.open_connection(HOST, port.number)
        while (await bench.links.ask("status"))[LINK]["open"] == 0:
            await asyncio.sleep(0.01)
        await bench.apply(Cut((LINK,)))
        with pytest.raises(ConnectionResetError):
            await reader.read(1)
        assert "error" not in await bench.tried()
