"""Real runs: Locust as a user starts it, against the real platform, judged from what it left behind."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from inherited import inherited
from tied import tied
from warm_starts import WarmStarts

from earwitness.checks.history.record import Kind
from earwitness.harness.record.history import open_history

ROOT = Path(__file__).resolve().parents[2]
OTHER = ROOT / "tests" / "support" / "other_chat"
RUN_S = 150


@dataclass(frozen=True)
class Run:
    """What a finished Locust process leaves: exit code, output, the verdict of its newest run directory, and the
    command lines of its descendants that still live."""

    code: int
    out: str
    runs: Path
    left_behind: list[str]

    @property
    def directory(self) -> Path:
        return (self.runs / "latest").resolve()

    @property
    def verdict(self) -> dict[str, Any]:
        return json.loads((self.directory / "verdict.json").read_text())

    @property
    def described(self) -> dict[str, Any]:
        """What run.json says."""
        return json.loads((self.directory / "run.json").read_text())

    @property
    def footers(self) -> list[dict[str, Any]]:
        """The footer of each journal that has one."""
        return [view.footer for view in open_history(self.directory).journals if view.footer]

    def values(self, kind: str, slot: str) -> list[int]:
        """One slot of all records of a kind."""
        views = open_history(self.directory).journals
        return [int(value) for view in views for value in view.records[view.records["kind"] == Kind[kind]][slot]]

    def recorded(self, kind: str) -> int:
        """Number of records of a kind."""
        journals = open_history(self.directory).journals
        return sum(int((view.records["kind"] == Kind[kind]).sum()) for view in journals)

    @property
    def broken(self) -> list[str]:
        """Ids of the checks whose promise was broken."""
        return [c["id"] for c in self.verdict["checks"] if c["outcome"] == "FAIL" and c["promised"]]

    def check(self, id: str) -> dict[str, Any]:
        return next(c for c in self.verdict["checks"] + self.verdict["harness"] if c["id"] == id)


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return tmp_path / "runs"


@pytest.fixture
def command(runs: Path) -> Callable[..., list[str]]:
    """The command line of a run of a story."""

    def build(*args: str, story: str = "locustfiles/ws_ordering.py") -> list[str]:
        return [sys.executable, "-m", "locust", "-f", str(ROOT / story), "--runs", str(runs), *args]

    return build


@pytest.fixture
def locust(command: Callable[..., list[str]], runs: Path) -> Callable[..., Run]:
    """Run Locust to its end. `platform`: use this running one instead of starting one."""

    def run(*args: str, platform: Any = None, **options: str) -> Run:
        with tied(
            command("--headless", *args, **options),
            cwd=ROOT,
            env=_environment(platform),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            family = Family(process.pid)
            try:
                out, _ = process.communicate(timeout=RUN_S)
            finally:
                process.kill()
                family.close()
        return Run(process.returncode, out, runs, family.alive())

    return run


@pytest.fixture(scope="session")
def warm() -> Iterator[WarmStarts]:
    """Process from which runs that end before anything starts are forked."""
    with WarmStarts() as starts:
        yield starts


@pytest.fixture
def refused(command: Callable[..., list[str]], runs: Path, warm: WarmStarts) -> Callable[..., Run]:
    """Run Locust to its end where it refuses to start: as `locust` does, but sooner. What it leaves is not watched."""

    def run(*args: str, **options: str) -> Run:
        _, _, module, *rest = command("--headless", *args, **options)
        code, out = warm.run(module, rest, _environment(), ROOT)
        return Run(code, out, runs, [])

    return run


def _environment(platform: Any = None) -> dict[str, str]:
    # Locust's default is one port for all masters of a machine: two tests at a time would take each other's workers.
    port = str(free_port())
    ports = {"LOCUST_MASTER_BIND_PORT": port, "LOCUST_MASTER_NODE_PORT": port}
    return {**inherited(), **ports, "EARWITNESS_PLATFORM": platform.endpoints["control"] if platform else "none"}


def free_port() -> int:
    """A port of 127.0.0.1 that nobody had a moment ago."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        return int(reserved.getsockname()[1])


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def free_ports() -> tuple[int, int]:
    """Two different ports of 127.0.0.1 that nobody had a moment ago."""
    first = free_port()
    second = free_port()
    while second == first:
        second = free_port()
    return first, second


@pytest.fixture
def family_of() -> Callable[[int], Family]:
    """Watch the descendants of a process from now on."""
    return Family


@pytest.fixture(scope="session")
def environment() -> Callable[..., dict[str, str]]:
    """Environment of a Locust process: nothing inherited that would configure it; `platform` to use, if any."""
    return _environment


@contextlib.contextmanager
def launched(**options: Any) -> Iterator[Any]:
    from earwitness.harness.platform.launch import launch

    platform = launch(**options)
    yield platform
    platform.stop()


@pytest.fixture(scope="session")
def platform() -> Iterator[Any]:
    """One healthy platform for all runs that need no other."""
    with launched() as running:
        yield running


@pytest.fixture
def platform_of_short_tokens() -> Iterator[Any]:
    """Its access tokens end after eight seconds, and with them the sockets that they opened."""
    with launched(settings={"auth": {"access_ttl_s": 8}}) as running:
        yield running


@pytest.fixture
def other_chat(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Start the other server; gives its target file."""
    started: list[subprocess.Popen[str]] = []

    def start(*args: str, file: str = "target.toml") -> Path:
        server = tied(
            [sys.executable, str(OTHER / "server.py"), "--port", "0", *args], stdout=subprocess.PIPE, text=True
        )
        started.append(server)
        assert server.stdout is not None
        port = json.loads(server.stdout.readline())["port"]
        chat = tmp_path / "chat.toml"
        chat.write_text((OTHER / file).read_text().replace("127.0.0.1:8765", f"127.0.0.1:{port}"))
        shutil.copy(OTHER / "people.json", tmp_path)
        return chat

    yield start
    for server in started:
        server.terminate()
        server.communicate(timeout=10)


class Family:
    """Every process that descended from one, seen while it lived; `alive` are those that still are there."""

    def __init__(self, pid: int) -> None:
        self._founder = psutil.Process(pid)
        self._seen: set[psutil.Process] = set()
        self._over = threading.Event()
        self._watcher = threading.Thread(target=self._watch)
        self._watcher.start()

    def _watch(self) -> None:
        while not self._over.wait(0.2):
            self.look()

    def look(self) -> None:
        with contextlib.suppress(psutil.NoSuchProcess):
            self._seen.update(self._founder.children(recursive=True))

    def close(self) -> None:
        self._over.set()
        self._watcher.join()

    def members(self) -> list[psutil.Process]:
        """Those who still live."""
        return [process for process in self._seen if process.is_running()]

    def alive(self) -> list[str]:
        # Where PID 1 does not reap, the dead stay in the table as zombies.
        found = []
        for process in self._seen:
            with contextlib.suppress(psutil.NoSuchProcess):
                if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(" ".join(process.cmdline()))
        return found
