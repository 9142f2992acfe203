"""Supervisor's side of the fork server (`harness.platform.fork_server`).

Services are forks of a process that has already imported what they need.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import tempfile
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from earwitness.harness.errors import PlatformError
from earwitness.harness.platform.children import LAST_LINES, popen, tail
from earwitness.harness.platform.clean_up import DIRECTORY_VARIABLE
from earwitness.harness.platform.parent_death import module_environment

LOG = "nursery.log"
ANSWER_S = 60.0
"""Seconds within which the fork server answers, its imports included, on any machine that can run a platform."""
Started: TypeAlias = tuple["Forked", "asyncio.Future[int]"]
"""A process, and the future of its return code."""


@dataclass(frozen=True, slots=True)
class Forked:
    """Child of the fork server, with the methods of `subprocess.Popen` that a service needs.

    `Started` holds it together with the future of its return code.
    """

    pid: int

    def send_signal(self, number: int) -> None:
        """Send the process a signal; no-op if it has ended."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Send the process SIGKILL; no-op if it has ended."""
        self.send_signal(signal.SIGKILL)


class Nursery:
    """Client of a fork server process for Python services.

    It belongs to the event loop of the main thread. The fork server ends when this process ends.
    """

    def __init__(self, modules: Sequence[str], directory: Path, log_dir: Path) -> None:
        """Start the fork server.

        `modules`: modules that services run, imported in advance; `directory`: the platform's, by which its processes
        are recognised.
        """
        self._log_path = log_dir / LOG
        self._loop = asyncio.get_running_loop()
        self._turn = asyncio.Lock()
        self._asked: deque[asyncio.Future[Started | None]] = deque()
        self._ends: dict[int, asyncio.Future[int]] = {}
        self._held = b""
        self._channel, theirs = socket.socketpair()
        command = [
            sys.executable,
            "-m",
            "earwitness.harness.platform.fork_server",
            str(theirs.fileno()),
            *dict.fromkeys(modules),
        ]
        env = {**module_environment(), DIRECTORY_VARIABLE: str(directory)}
        try:
            with theirs, open(self._log_path, "ab") as log:
                self._process = popen(command, env=env, cwd=directory, output=log.fileno(), pass_fds=[theirs.fileno()])
        except BaseException:
            self._channel.close()
            raise
        self._channel.setblocking(False)
        self._loop.add_reader(self._channel, self._hear)

    async def fork(
        self, name: str, argv: Sequence[str], *, env: Mapping[str, str], cwd: Path, output: int, pass_fds: Sequence[int]
    ) -> Started:
        """Fork a new process that runs `argv` (`python -m MODULE …`), and return it with the future of its return code.

        It inherits `pass_fds` under the same numbers. Raises PlatformError if the fork server has ended or does not
        answer, OSError if it cannot fork now. A cancelled call leaves no process behind.
        """
        _, _, module, *arguments = argv
        order = {"name": name, "module": module, "arguments": arguments, "env": dict(env), "cwd": str(cwd)}
        async with self._turn:
            with tempfile.TemporaryFile() as paper:
                paper.write(json.dumps({**order, "fds": [1, 2, *pass_fds]}).encode())
                paper.seek(0)
                try:
                    socket.send_fds(self._channel, [b"\n"], [paper.fileno(), output, output, *pass_fds])
                except OSError:
                    raise self._gone(name) from None
            # The answer comes even if this call was cancelled, and must not be taken for the next call's.
            answer: asyncio.Future[Started | None] = self._loop.create_future()
            self._asked.append(answer)
            try:
                async with asyncio.timeout(ANSWER_S):
                    started = await asyncio.shield(answer)
            except (asyncio.CancelledError, TimeoutError) as end:
                answer.add_done_callback(_unwanted)
                if isinstance(end, TimeoutError):
                    raise self._gone(name, f"does not answer within {ANSWER_S:g} s") from None
                raise
            if started is None:
                raise self._gone(name)
            return started

    def _hear(self) -> None:
        try:
            data = self._channel.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._on_end()
            return
        *lines, self._held = (self._held + data).split(b"\n")
        for line in lines:
            event: dict[str, Any] = json.loads(line)
            if "forked" in event:
                pid = event["forked"]
                self._ends[pid] = self._loop.create_future()
                self._asked.popleft().set_result((Forked(pid), self._ends[pid]))
            elif "failed" in event:
                self._asked.popleft().set_exception(OSError(event["failed"], os.strerror(event["failed"])))
            else:
                self._ends.pop(event["ended"]).set_result(event["status"])

    def _on_end(self) -> None:
        """Handle the end of the fork server: the kernel has killed all its children with it."""
        self._loop.remove_reader(self._channel)
        for answer in self._asked:
            answer.set_result(None)
        self._asked.clear()
        for ended in self._ends.values():
            ended.set_result(-signal.SIGKILL)
        self._ends.clear()

    def _gone(self, name: str, what: str = "has ended") -> PlatformError:
        words = tail(self._log_path, LAST_LINES).strip() or "(no output)"
        return PlatformError(f"{name} could not be started: the process that forks services {what}. {words}")

    def close(self) -> None:
        """Kill the fork server, and with it the remaining children."""
        self._loop.remove_reader(self._channel)
        self._channel.close()
        self._process.kill()
        self._process.wait()


def _unwanted(answer: asyncio.Future[Started | None]) -> None:
    """Kill the process of a call that was given up: it would serve unnoticed on a socket that the next start shares."""
    if answer.exception() is None and (started := answer.result()) is not None:
        started[0].kill()
