"""Real services to start: stand-ins, and a cache folder and temporary folder of the test's own."""

from __future__ import annotations

import json
import shutil
import socket
import sys
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from earwitness.harness.platform.children import module_environment
from earwitness.harness.platform.clean_up import PlatformDirectory
from earwitness.harness.platform.ports import ReservedPort
from earwitness.harness.platform.spec import HttpAnswers, ServiceSpec
from earwitness.harness.platform.supervisor import Supervisor

STANDIN = str(Path(__file__).with_name("standin.py"))


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A temporary folder of our own, which every user may pass: what is left behind in it is ours."""
    tmp_path_factory.getbasetemp()  # first: pytest's own folder, made in ours, would go with it
    folder = Path(tempfile.mkdtemp(prefix="ew-"))
    folder.chmod(0o755)
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    shutil.rmtree(folder)


class StandIns:
    """Makes specs of stand-in services, each on a reserved port; `forked` ones come from the nursery."""

    def __init__(self, forked: bool = False) -> None:
        self.forked = forked
        self.ports: list[ReservedPort] = []

    def spec(self, name: str, *, after: tuple[str, ...] = (), timeout_s: float = 20.0, **settings: Any) -> ServiceSpec:
        port = ReservedPort(name)
        self.ports.append(port)
        return ServiceSpec(
            name=name,
            argv=(sys.executable, "-m", "tests.platform.standin") if self.forked else (sys.executable, "-S", STANDIN),
            env=module_environment(),
            preloaded=self.forked,
            settings={"name": name, **settings},
            port=port.number,
            inherits=True,
            takes_over=True,
            ready=(HttpAnswers(f"{port.url}/ready"),),
            ready_timeout_s=timeout_s,
            after=after,
            stop_timeout_s=0.5,
        )


@pytest.fixture
def standins(request: pytest.FixtureRequest) -> Iterator[StandIns]:
    """Each a program of its own; with the parameter `forked`, forks of one that has imported them."""
    made = StandIns(getattr(request, "param", "") == "forked")
    yield made
    for port in made.ports:
        port.close()


@pytest.fixture
def supervised(temporary: Path) -> Callable[..., Any]:
    """`async with supervised(spec, …) as supervisor`: started, and taken down at the end."""

    @asynccontextmanager
    async def run(*specs: ServiceSpec, start: bool = True, **options: Any) -> AsyncIterator[Supervisor]:
        supervisor = Supervisor(specs, PlatformDirectory(), **options)
        try:
            if start:
                await supervisor.start()
            yield supervisor
        finally:
            await supervisor.shut_down()

    return run


@pytest.fixture
def fetch() -> Callable[..., Any]:
    """`fetch(port, path="/", timeout_s=5)`: the JSON that an HTTP server on that port answers."""

    def get(port: int, path: str = "/", timeout_s: float = 5.0) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=timeout_s) as answer:
            return json.load(answer)

    return get


@pytest.fixture
def alive() -> Callable[[int], bool]:
    """Does a process live? A zombie that nobody has reaped does not."""

    def look(pid: int) -> bool:
        try:
            return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
        except psutil.NoSuchProcess:
            return False

    return look


@pytest.fixture
def listening() -> Callable[[int], bool]:
    """Does anything accept connections on a port of 127.0.0.1?"""

    def look(port: int) -> bool:
        with socket.socket() as client:
            client.settimeout(2)
            return client.connect_ex(("127.0.0.1", port)) == 0

    return look


@pytest.fixture
def until() -> Callable[..., None]:
    """`until(condition, seconds)`: wait for it; the test fails with what it still is at the deadline."""

    def wait(condition: Callable[[], object], timeout_s: float = 5.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, f"not so within {timeout_s} s"
            time.sleep(0.02)

    return wait
