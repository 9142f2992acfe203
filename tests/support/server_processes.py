"""Servers as processes of a test: free ports, how a server is started and awaited, and what is skipped without it."""

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
    """Return the path of a program, beside Python or on PATH; else skip the test with the command that gets it."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", ""), "/usr/sbin"])
    program = shutil.which(name, path=path)
    if program is None:
        pytest.skip(f"{name} is not installed: {command}")
    return program


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody had a moment ago."""
    reserved = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(one.getsockname()[1]) for one in reserved]
    for one in reserved:
        one.close()
    return ports


def free_port() -> int:
    """A port of 127.0.0.1 that nobody had a moment ago."""
    return free_ports(1)[0]


@dataclass(frozen=True)
class Program:
    """Configured server: its command, the ports that it listens on, and the variables that it needs."""

    command: Sequence[str]
    ports: Sequence[int]
    environ: Mapping[str, str] = field(default_factory=dict)


@contextmanager
def running(program: Program, folder: Path) -> Iterator[Program]:
    """Run a server in `folder` until the block ends; the block begins when it accepts connections on all its ports."""
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
    """Run a server of ours until the block ends; it prints {"port": N} when it listens, and that is the value."""
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
    """Return when something accepts connections on a port of 127.0.0.1; assert that the process still runs."""
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
    """End a process and its children, which are a session of their own."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_S)
            return
