from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from earwitness.harness.errors import PlatformError, ServiceDied
from earwitness.harness.platform import clean_up
from earwitness.harness.platform.children import family_of
from earwitness.harness.platform.clean_up import FOLDERS, PlatformDirectory, left_behind, remove_stale
from earwitness.harness.platform.supervisor import Supervisor

pytestmark = pytest.mark.usefixtures("temporary")
LITTLE = Path(__file__).with_name("little.py")


async def test_services_start_after_those_they_need(standins: Any, supervised: Any) -> None:
    """One that needs another is forked only when that one is ready; one without needs does not wait."""
    base = standins.spec("base", unready=True, timeout_s=0.6)
    eager, late = standins.spec("eager"), standins.spec("late", after=("base",))
    async with supervised(base, eager, late, start=False) as supervisor:
        with pytest.raises(PlatformError, match="base was not ready"):
            await supervisor.start()
        assert supervisor.status()["eager"]["starts"] == 1
        assert supervisor.status()["late"]["starts"] == 0


async def test_a_service_beside_another_starts_at_once_and_its_time_runs_from_the_others_readiness(
    standins: Any, supervised: Any
) -> None:
    """The deadline that passes is the slow service's, not that of the one which can only be ready after it."""
    slow = standins.spec("slow", unready=True, timeout_s=0.8)
    quick = dataclasses.replace(standins.spec("quick", unready=True, timeout_s=0.2), beside=("slow",))
    async with supervised(slow, quick, start=False) as supervisor:
        with pytest.raises(PlatformError, match="slow was not ready"):
            await supervisor.start()
        assert supervisor.status()["quick"]["starts"] == 1


async def test_an_unknown_service_is_a_sentence_with_the_known_ones(standins: Any, supervised: Any) -> None:
    """A misspelt name costs no look at the source."""
    async with supervised(standins.spec("one"), standins.spec("two")) as supervisor:
        with pytest.raises(PlatformError, match="There is no service 'three'; there are one, two"):
            await supervisor.kill("three")


@pytest.mark.parametrize("logs", ["removed", "kept", "elsewhere"])
async def test_a_directory_is_kept_only_when_asked(standins: Any, temporary: Path, logs: str) -> None:
    """An ordinary end leaves nothing; neither does a service's death, unless the user wants it or its logs: then the
    error says where they are."""
    for spec in (standins.spec("fine"), standins.spec("broken", last_words="ouch")):
        directory = PlatformDirectory()
        if logs == "kept":
            directory.keep()
        supervisor = Supervisor((spec,), directory, log_dir=temporary / "logs" if logs == "elsewhere" else None)
        try:
            await supervisor.start()
        except ServiceDied as died:
            told = str(died)
        await supervisor.shut_down()
        assert directory.path.exists() == (logs == "kept")
    assert sorted(temporary.glob(f"{FOLDERS.prefix}*")) == left_behind(temporary)
    assert remove_stale(temporary) == []
    if logs == "removed":
        assert "To keep it: earwitness up --keep" in told
    else:
        assert "ouch" in Path(told.partition("Its full log: ")[2]).read_text()


async def test_a_slow_start_is_told_and_a_quick_one_is_not(
    standins: Any, supervised: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Progress names who is still waited for."""
    monkeypatch.setattr("earwitness.harness.platform.supervisor.QUIET_S", 0.2)
    told: list[str] = []
    with pytest.raises(PlatformError):
        async with supervised(standins.spec("lazy", unready=True, timeout_s=0.5), say=told.append):
            pass
    assert told[0] == "starting: waiting for lazy ..."
    monkeypatch.setattr("earwitness.harness.platform.supervisor.QUIET_S", 20)
    told.clear()
    async with supervised(standins.spec("quick"), say=told.append):
        assert told == []


async def test_stats_count_the_children_too(standins: Any, supervised: Any) -> None:
    """Memory, processor time and descriptors of the whole family."""
    async with supervised(standins.spec("one"), standins.spec("two", child=True)) as supervisor:
        stats = supervisor.stats()
        assert (stats["one"]["processes"], stats["two"]["processes"]) == (1, 2)
        assert stats["two"]["rss_bytes"] > stats["one"]["rss_bytes"] > 1_000_000
        assert stats["one"]["fds"] >= 4
        family = family_of(stats["two"]["pid"])
        assert stats["two"]["rss_bytes"] < sum(process.memory_info().rss for process in family), "what is shared, once"


async def test_two_platforms_side_by_side_do_not_meet(standins: Any, supervised: Any, fetch: Any) -> None:
    """The end of one leaves the other's processes, ports and directory alone."""
    one, two = standins.spec("same-name"), standins.spec("same-name")
    async with supervised(one) as first:
        async with supervised(two):
            assert one.port != two.port
        assert (await asyncio.to_thread(fetch, one.port))["pid"] == first.service("same-name").pid
        assert first.log_dir.exists()


@contextlib.contextmanager
def little_platform(*options: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    supervisor = subprocess.Popen(
        [sys.executable, str(LITTLE), *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert supervisor.stdin is not None
    assert supervisor.stdout is not None
    try:
        yield supervisor, json.loads(supervisor.stdout.readline())
    finally:
        supervisor.kill()
        supervisor.wait()
        supervisor.stdin.close()
        supervisor.stdout.close()


@pytest.mark.parametrize("options", [("postgres",), ("postgres", "paused")])
def test_sigkill_of_the_supervisor_takes_everything_down(
    options: tuple[str, ...], until: Any, alive: Any, listening: Any, temporary: Path
) -> None:
    """Within 5 s no process, port, directory or shared memory is left, even of paused services and their children."""
    with little_platform(*options) as (supervisor, about):
        assert all(alive(pid) for pid in about["pids"])
        assert len(about["pids"]) > 5  # Postgres has children in sessions of their own
        supervisor.kill()
        supervisor.wait()
        until(lambda: not any(alive(pid) for pid in about["pids"]))
        until(lambda: not any(listening(port) for port in about["ports"]))
        until(lambda: not alive(about["reaper"]))
        assert list(temporary.iterdir()) == []


def test_without_the_reaper_the_kernel_ends_them_and_the_next_start_cleans_up(
    until: Any, alive: Any, temporary: Path
) -> None:
    """SIGKILL of the reaper and the supervisor: services die with it; the directory goes with `remove_stale`."""
    with little_platform() as (supervisor, about):
        assert remove_stale(temporary) == []  # its owner is alive
        os.kill(about["reaper"], signal.SIGKILL)
        supervisor.kill()
        supervisor.wait()
        until(lambda: not any(alive(pid) for pid in about["pids"][:1]))
        assert [str(path) for path in remove_stale(temporary)] == [about["directory"]]
        assert not any(alive(pid) for pid in about["pids"])
        assert list(temporary.iterdir()) == []


def test_a_shell_that_looks_around_in_the_directory_is_not_killed(until: Any, alive: Any) -> None:
    """Only what belongs to the platform is ended with it, not everything that works in its folder."""
    with little_platform() as (supervisor, about):
        shell = subprocess.Popen(["sleep", "100"], cwd=about["directory"])
        supervisor.kill()
        until(lambda: not alive(about["reaper"]))
        assert shell.poll() is None
        shell.kill()
        shell.wait()


def test_what_starts_while_one_looks_is_ended_too(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first look misses a process, as if another one had started it just then; a second look finds it."""
    directory = PlatformDirectory()
    env = {**os.environ, clean_up.DIRECTORY_VARIABLE: str(directory.path)}
    both = [subprocess.Popen(["sleep", "100"], cwd=directory.path, env=env) for _ in range(2)]
    real, looks = clean_up.processes_in, iter([both[0].pid])

    def look(path: Path) -> Any:
        hidden = next(looks, None)
        return [process for process in real(path) if process.pid != hidden]

    monkeypatch.setattr(clean_up, "processes_in", look)
    directory.close()
    assert [process.wait(10) for process in both] == [-signal.SIGKILL, -signal.SIGKILL]
    assert not directory.path.exists()
