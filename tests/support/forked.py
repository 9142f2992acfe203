"""Services as forks of a process that has imported their modules (`harness.platform.fork_server`), for blocking tests.

Importing is nearly all of a service's start. `Forker` is the client of a fork server, as the supervisor's fork-server
client is, but without an event loop.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import Any

from tied import tied

SERVICES = ("provider", "auth", "backend", "frontend")
ANSWER_S = 60.0


class Forked:
    """Forked service, with the methods of `subprocess.Popen` that tests use."""

    def __init__(self, forker: Forker, pid: int, args: Sequence[str]) -> None:
        self._forker, self.pid, self.args = forker, pid, args
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Return the exit status, None while the service runs."""
        self._forker.hear(0)
        return self.returncode

    def wait(self, timeout: float) -> int:
        """Wait for the end of the service and return its exit status.

        Raises subprocess.TimeoutExpired if the service does not end within `timeout` seconds.
        """
        end = time.monotonic() + timeout
        while self.poll() is None:
            left = end - time.monotonic()
            if left <= 0:
                raise subprocess.TimeoutExpired(list(self.args), timeout)
            self._forker.hear(left)
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal to the service; nothing happens if the service has ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class Forker:
    """Client of a fork server that this process starts.

    Its services end with the fork server, and the fork server ends with this process.
    """

    def __init__(self) -> None:
        self._channel, theirs = socket.socketpair()
        self._running: dict[int, Forked] = {}
        self._told: list[dict[str, int]] = []
        self._held = b""
        modules = [f"earwitness.harness.reference.{name}" for name in SERVICES]
        command = [sys.executable, "-m", "earwitness.harness.platform.fork_server", str(theirs.fileno()), *modules]
        with theirs:
            self._process = tied(command, pass_fds=[theirs.fileno()])

    def fork(
        self, module: str, arguments: Sequence[str], *, env: Mapping[str, str], output: int, pass_fds: Sequence[int]
    ) -> Forked:
        """Start `python -m MODULE ARGUMENTS…` and return the service.

        `output`: file descriptor for its stdout and stderr; the service inherits `pass_fds` under the same numbers.
        """
        order: dict[str, Any] = {"name": module.rpartition(".")[2], "module": module, "arguments": list(arguments)}
        order |= {"env": dict(env), "cwd": os.getcwd(), "fds": [1, 2, *pass_fds]}
        with tempfile.TemporaryFile() as paper:
            paper.write(json.dumps(order).encode())
            paper.seek(0)
            socket.send_fds(self._channel, [b"\n"], [paper.fileno(), output, output, *pass_fds])
        end = time.monotonic() + ANSWER_S
        while not self._told:
            assert time.monotonic() < end, "the fork server does not answer"
            self.hear(end - time.monotonic())
        service = Forked(self, self._told.pop()["forked"], [module, *arguments])
        self._running[service.pid] = service
        return service

    def hear(self, timeout: float) -> None:
        """Read messages of the fork server for up to `timeout` s: which services were forked, and which have ended."""
        if not select.select([self._channel], [], [], max(timeout, 0))[0]:
            return
        data = self._channel.recv(65536)
        assert data, "the fork server has ended"
        *lines, self._held = (self._held + data).split(b"\n")
        for line in lines:
            event: dict[str, int] = json.loads(line)
            if "ended" in event:
                self._running.pop(event["ended"]).returncode = event["status"]
            else:
                self._told.append(event)

    def close(self) -> None:
        self._channel.close()
        self._process.wait()
