"""Load processes without the master's disk: their records come over Locust's own connection, or by a store."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from tied import tied

from earwitness.harness.errors import Exit
from earwitness.harness.record.history import open_history
from earwitness.harness.record.store import open_store

TALK = "tests/load/stories/talking.py"


def until(done: Callable[[], Any], timeout_s: float) -> Any:
    end = time.monotonic() + timeout_s
    while not (found := done()):
        assert time.monotonic() < end, f"not within {timeout_s} s"
        time.sleep(0.05)
    return found


class Apart:
    """A master and two workers, each with a folder for runs of its own."""

    def __init__(
        self, command: Callable[..., list[str]], environment: dict[str, str], target: str, port: int, folder: Path
    ) -> None:
        self.folder, self._command, self._environment = folder, command, environment
        self._ports = ("--target", target, "--master-port", str(port))
        self._bind = ("--master-bind-port", str(port))
        self._stack = ExitStack()

    def start(self, name: str, *args: str) -> subprocess.Popen[bytes]:
        log = self._stack.enter_context((self.folder / f"{name}.log").open("wb"))
        full = [*self._command(*args, *self._ports, story=TALK), "--runs", str(self.folder / name)]
        process = tied(full, stdout=log, stderr=log, env=self._environment)
        self._stack.callback(process.wait)
        self._stack.callback(process.kill)
        return process

    def begin(self, seconds: int, *args: str) -> tuple[subprocess.Popen[bytes], list[subprocess.Popen[bytes]]]:
        load = ("--headless", "-u", "6", "-r", "6", "-t", f"{seconds}s", "--expect-workers", "2")
        master = self.start("master", "--master", *self._bind, *load, *args)
        return master, [self.start(f"worker-{n}", "--worker", "--own-disk") for n in (0, 1)]

    def said(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    @property
    def run(self) -> Path:
        return (self.folder / "master" / "latest").resolve()

    def close(self) -> None:
        self._stack.close()


@pytest.fixture
def apart(
    command: Callable[..., list[str]],
    environment: Callable[..., dict[str, str]],
    other_chat: Callable[..., Path],
    port: int,
    tmp_path: Path,
) -> Iterator[Apart]:
    made = Apart(command, environment(), str(other_chat()), port, tmp_path)
    yield made
    made.close()


def loads(run: Path) -> list[Any]:
    return [view for view in open_history(run).journals if view.name.startswith("load-")]


def test_records_come_to_the_master(apart: Apart) -> None:
    """All of them, closed and verified; nothing stays with the workers."""
    master, _ = apart.begin(3)
    assert master.wait(120) in (Exit.PASS, Exit.UNKNOWN), apart.said("master")  # 3 s may be too short for a probe
    views = loads(apart.run)
    assert [(view.torn, view.faults) for view in views] == [(False, [])] * 2
    assert all(view.count > 20 for view in views)
    verdict = json.loads((apart.run / "verdict.json").read_text())
    assert [row["id"] for row in verdict["checks"] if row["outcome"] == "FAIL"] == []
    assert next(row for row in verdict["harness"] if row["id"] == "H1")["outcome"] == "PASS"
    assert "2 of 2 load processes send their records" in apart.said("master")
    until(lambda: not [*apart.folder.glob("worker-*/*")], 10)


def test_a_killed_worker_leaves_what_it_had_sealed(apart: Apart) -> None:
    """Its records are judged, the verdict is UNKNOWN, and it names the journal."""
    master, (_, victim) = apart.begin(6)

    def shipped() -> bool:
        sides = [*apart.folder.glob("master/latest/journals/load-*.names.jsonl")]
        return len(sides) == 2 and all(side.read_bytes().count(b'{"block"') > 2 for side in sides)

    until(shipped, 90)
    victim.send_signal(signal.SIGKILL)
    assert master.wait(120) == Exit.UNKNOWN, apart.said("master")
    torn = [view for view in loads(apart.run) if view.torn]
    assert len(torn) == 1
    assert torn[0].count > 20
    verdict = json.loads((apart.run / "verdict.json").read_text())
    assert torn[0].name in json.dumps(next(row for row in verdict["harness"] if row["id"] == "H1"))


def test_collect_judges_a_run_without_its_master(store_url: str, apart: Apart, tmp_path: Path) -> None:
    """The master gets SIGKILL: what its workers had put into the store is judged; it is a run that was cut off."""
    store = open_store(store_url)
    master, workers = apart.begin(60, "--store", store_url)
    until(lambda: sum("/journal=load-" in name for name in store.names("")) > 6, 90)
    master.kill()
    for worker in workers:
        worker.wait(30)
    run = next(iter(store.names(""))).partition("/")[0]
    command = [sys.executable, "-m", "earwitness.harness.cli", "collect", f"{store_url}/{run}"]
    command += ["--into", str(tmp_path / "again")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == Exit.UNKNOWN, done.stdout + done.stderr
    views = loads(tmp_path / "again")
    assert [(view.torn, view.faults) for view in views] == [(False, [])] * 2
    assert all(view.count > 20 for view in views)
