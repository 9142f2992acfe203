"""Servers as processes of a test: free ports, start, waiting until they listen, and skipping of tests without them."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tied import tied

ROOT = Path(__file__).resolve().parents[2]
START_S = 60.0
STOP_S = 20.0
SAID_CHARS = 2000


def found(name: str, command: str) -> str:
    """Return the path of a program in Python's folder or on PATH; skip the test if there is none.

    `command`: installs the program; the reason of the skip states it.
    """
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", ""), "/usr/sbin"])
    program = shutil.which(name, path=path)
    if program is None:
        pytest.skip(f"{name} is not installed: {command}")
    return program


def free_ports(count: int) -> list[int]:
    """Return `count` ports of 127.0.0.1 that were free a moment ago."""
    reserved = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(one.getsockname()[1]) for one in reserved]
    for one in reserved:
        one.close()
    return ports


def free_port() -> int:
    """Return a port of 127.0.0.1 that was free a moment ago."""
    return free_ports(1)[0]


@dataclass(frozen=True)
class Program:
    """Configured server: its command, the ports on which it listens, and the environment variables that it needs."""

    command: Sequence[str]
    ports: Sequence[int]
    environ: Mapping[str, str] = field(default_factory=dict)


@contextmanager
def running(program: Program, folder: Path) -> Iterator[Program]:
    """Run a server in `folder` within this context, which begins when all the server's ports accept connections."""
    log = folder / "server.log"
    with log.open("w") as output:
        process = tied(
            program.command, cwd=folder, env={**os.environ, **program.environ}, stdout=output, stderr=output,
            start_new_session=True,
        )  # fmt: skip
    try:
        for port in program.ports:
            until_it_listens(port, process, log)
        yield program
    finally:
        end_group(process)


@contextmanager
def saying_its_port(*command: str) -> Iterator[int]:
    """Run a server of this project within this context; yield the port that it prints as {"port": N}."""
    process = tied(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout is not None
    try:
        ready, _, _ = select.select([process.stdout], [], [], START_S)
        assert ready, f"{command} did not say that it listens"
        yield int(json.loads(process.stdout.readline())["port"])
    finally:
        end_group(process)
        process.stdout.close()


def until_it_listens(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until a port of 127.0.0.1 accepts connections; fail if the process ends before, or after START_S seconds."""
    end = time.monotonic() + START_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            said = log.read_text("utf-8", "replace")[-SAID_CHARS:]
            assert process.poll() is None, f"the server ended with {process.returncode}: {said}"
            assert time.monotonic() < end, f"nothing listens on {port}: {said}"
            time.sleep(0.05)  # the server starts; nothing else tells when it listens


def end_group(process: subprocess.Popen[bytes] | subprocess.Popen[str]) -> None:
    """End a process and its children, which are in one session: by SIGTERM, after STOP_S seconds by SIGKILL."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_S)
            return
