"""Schedules of faults, and each fault on real processes and a real link: it shows its effect, and it ends."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from earwitness.checks.history.record import FaultKind
from earwitness.harness.errors import PlatformError, SettingsError
from earwitness.harness.platform.control import ControlClient, ControlServer
from earwitness.harness.platform.faults import (
    EXAMPLES,
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
    faults_of,
    links_needed,
    read_schedule,
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


ENDPOINTS = {"backends": {"backend-1": "http://127.0.0.1:1"}, "auth": "http://127.0.0.1:2", "links": ["users/edge"]}
SERVICES = ["postgres", "auth", "backend-1", "edge", "valkey", "links"]


def test_the_example_of_the_guide() -> None:
    """Entries are sorted by their start; times, durations and values are understood."""
    text = "kill:auth@20s,restart:backend-1@30s,delay:edge@500ms+10s=200ms~50ms,cut:backend-2@1m, skew:auth@2s=-1.5s"
    read = [(p.kind, p.where, p.start_s, p.duration_s, p.amount, p.jitter_s) for p in read_schedule(text)]
    assert read == [
        ("delay", "edge", 0.5, 10.0, 0.2, 0.05),
        ("skew", "auth", 2.0, None, -1.5, 0.0),
        ("kill", "auth", 20.0, None, 0.0, 0.0),
        ("restart", "backend-1", 30.0, None, 0.0, 0.0),
        ("cut", "backend-2", 60.0, None, 0.0, 0.0),
    ]


def test_a_file(tmp_path: Path) -> None:
    """One entry a line, with comments and empty lines; "database" and "redis" are names for what is there."""
    path = tmp_path / "evening.faults"
    path.write_text("# an evening\n\nkill:database@5s+2s   # away\npause:redis@9s\nbandwidth:edge@1s=64kB\n")
    found = [(p.name, p.amount) for p in read_schedule(str(path))]
    assert found == [("bandwidth edge", 64000.0), ("kill postgres", 0.0), ("pause valkey", 0.0)]


def test_every_kind_has_its_number_in_records() -> None:
    assert {kind.upper().replace("-", "_") for kind in EXAMPLES} == set(FaultKind.__members__)


def test_every_example_is_understood() -> None:
    """What a mistake is answered with is no mistake."""
    assert len(read_schedule(",".join(EXAMPLES.values()))) == len(EXAMPLES)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("kill:auth", "neither a fault like kill:auth@20s"),
        ("kill@5s", "does not say where: kill:auth@20s"),
        ("murder:auth@5s", "is of no known kind (known: "),
        ("kil:auth@5s", "is of no known kind (did you mean kill?); write it like kill:auth@20s+10s"),
        ("kill:auth@5", "has '5' where a time is needed"),
        ("kill:auth@5s=3", "has a value, but this kind takes none"),
        ("delay:edge@5s", "needs a value: delay:edge@20s+10s=200ms~50ms"),
        ("delay:edge@5s=fast", "has 'fast' where a time is needed"),
        ("bandwidth:edge@5s=0kB", "has '0kB' where a number of bytes is needed"),
        ("restart:auth@5s+2s", "has a duration, but is over when the service is back"),
        ("kill:auth@5s@6s", "is not KIND:WHERE@START"),
        ("nowhere.faults", "nor a readable file (No such file or directory)"),
    ],
)
def test_a_mistake_is_told_in_a_sentence(text: str, words: str) -> None:
    """What is wrong, where, and what would do."""
    with pytest.raises(SettingsError) as caught:
        read_schedule(text)
    assert words in str(caught.value)


def test_all_mistakes_are_told_at_once() -> None:
    """One sentence each."""
    with pytest.raises(SettingsError) as caught:
        read_schedule("kill:auth@x,pause@3s,cut:edge@1s")
    assert len(caught.value.faults) == 2


def test_faults_of_a_platform() -> None:
    """Each entry becomes its object; a cut that lasts refuses; links are named by where they lead."""
    plan = read_schedule(
        "kill:auth@1s,crash:backend-1@2s,replace:backend-1@3s,cut:edge@4s,cut:edge@5s+1s,skew:backend-1@6s=2s,"
        "restart:edge@7s,wipe:redis@8s"
    )
    assert links_needed(plan) == ("edge",)
    assert faults_of(plan, SERVICES, ENDPOINTS) == [
        Kill("auth"),
        Restart("backend-1", graceful=False),
        Replace("backend-1"),
        Cut(("users/edge",)),
        Disturb(("users/edge",), {"refusing": True}, cutting=True),
        Skew("backend-1", "http://127.0.0.1:1", 2.0),
        Restart("edge"),
        Wipe("valkey"),
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("kill:moon@1s", "there is no service moon; there are auth, backend-1, edge, postgres, valkey"),
        ("kill:links@1s", "there is no service links"),
        ("delay:auth@1s=1s", "this platform has no link auth; start it with `earwitness up --link auth`"),
        ("wipe:postgres@1s", "only redis can lose its file"),
        ("skew:edge@1s=1s", "only auth and backends have a clock of their own"),
    ],
)
def test_what_this_platform_does_not_have(text: str, words: str) -> None:
    """It is said before anything is begun."""
    with pytest.raises(SettingsError) as caught:
        faults_of(read_schedule(text), SERVICES, ENDPOINTS)
    assert words in str(caught.value)
