"""Fork server of the services: its process, and its client `Nursery` in the supervisor.

`python -m earwitness.harness.platform.fork_server FD MODULE…` imports once what the services import, then forks each of
them. A Python service spends most of its start with imports, which are the same for all services. Each service is still
a process of its own, with its own log, socket and signals; only the work before `__main__` is shared.

Orders come from `Nursery` over the Unix socket FD: one byte each, and file descriptors. The first descriptor is a file
with the order as JSON (a socket's buffer is too small for some environments); the service inherits the other
descriptors. Answers are lines of JSON: `{"forked": pid}` or `{"failed": errno}` to each order, in the sequence of the
orders, and `{"ended": pid, "status"}` for each end of a child.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import fcntl
import gc
import json
import os
import runpy
import select
import signal
import socket
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from earwitness.harness.errors import PlatformError
from earwitness.harness.platform.children import (
    LAST_LINES,
    dies_with_parent,
    module_environment,
    popen,
    tail,
)
from earwitness.harness.platform.clean_up import DIRECTORY_VARIABLE

_LOG = "nursery.log"
ANSWER_S = 60.0
"""Seconds within which the fork server must answer; the first answer comes only after its imports."""
Started: TypeAlias = tuple["Forked", "asyncio.Future[int]"]
"""A process, and the future of its return code (as of `subprocess.Popen.returncode`)."""
_MAX_FDS = 16
_PR_SET_NAME = 15


@dataclass(frozen=True, slots=True)
class Forked:
    """Child of the fork server, with the methods of `subprocess.Popen` that a service needs.

    `Started` pairs such a child with the future of its return code.
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
    """Client of a fork server process, which forks Python services.

    A client belongs to the event loop of the main thread. The fork server ends when this process ends.
    """

    def __init__(self, modules: Sequence[str], directory: Path, log_dir: Path) -> None:
        """Start the fork server.

        `modules`: modules that services run, imported in advance; `directory`: the platform's directory, by which its
        processes are recognised; `log_dir`: folder of the fork server's log. Raises PlatformError if the fork server
        cannot be started.
        """
        self._log_path = log_dir / _LOG
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

        `name`: name of the service, for the process list and errors; `env`, `cwd`: whole environment and working
        directory of the process; `output`: descriptor for stdout and stderr; `pass_fds`: descriptors that the process
        inherits under the same numbers. Raises PlatformError if the fork server has ended or does not answer within
        ANSWER_S seconds, OSError if it cannot fork. A cancelled call leaves no process behind.
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
        """Handle the end of the fork server: report the end of all its children, which the kernel has killed too."""
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
        """Kill the fork server; the kernel then kills its remaining children."""
        self._loop.remove_reader(self._channel)
        self._channel.close()
        self._process.kill()
        self._process.wait()


def _unwanted(answer: asyncio.Future[Started | None]) -> None:
    """Kill the process that a call of `fork` started after it was given up.

    Otherwise the process would serve unnoticed on a socket that the next start shares.
    """
    if answer.exception() is None and (started := answer.result()) is not None:
        started[0].kill()


@dataclass(frozen=True, slots=True)
class _Order:
    """Order to fork a service that runs `python -m MODULE ARGUMENTS…`.

    `fds`: pairs (number of a descriptor in this process, its number in the service).
    """

    name: str
    module: str
    arguments: tuple[str, ...]
    env: dict[str, str] = field(repr=False)
    cwd: str
    fds: tuple[tuple[int, int], ...]


def main() -> None:
    """Import the modules, then fork services until the supervisor closes the channel. In a child, run its service."""
    channel = socket.socket(fileno=int(sys.argv[1]))
    for module in sys.argv[2:]:
        runpy.run_module(module, run_name="preloaded")  # its `__main__` imports everything and runs nothing
    gc.collect()
    gc.freeze()  # a collection in a child must not touch, and so copy, every page that it shares with us
    order = _serve(channel)
    if order is None:
        os._exit(0)  # no imported module needs an orderly end
    _become(order)


def _serve(channel: socket.socket) -> _Order | None:
    """Fork the ordered services and report the ends of children, until the supervisor closes the channel.

    Returns None after that. In a forked child the function returns the child's order at once.
    """
    woken, wake = os.pipe()
    os.set_blocking(woken, False)
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    tie = dies_with_parent()
    waiting = select.poll()  # select() takes no number above 1,023, and the owner chose the channel's
    waiting.register(channel, select.POLLIN)
    waiting.register(woken, select.POLLIN)
    while True:
        readable = [number for number, _ in waiting.poll()]
        if woken in readable:
            os.read(woken, 4096)
            _tell_ends(channel)
        if channel.fileno() in readable:
            order = _received(channel)
            if order is None:
                return None
            pid = _fork(channel)
            if pid == 0:
                _leave(tie, channel, woken, wake)
                return order
            for got, _ in order.fds:
                os.close(got)


def _fork(channel: socket.socket) -> int | None:
    """Fork, and report the child's pid or the error; return the pid, 0 in the child, None if forking failed."""
    try:
        pid = os.fork()
    except OSError as error:  # no processes or memory left: no reason to end the running services
        _tell(channel, {"failed": error.errno or 0})
        return None
    if pid != 0:
        _tell(channel, {"forked": pid})
    return pid


def _leave(tie: Callable[[], None] | None, channel: socket.socket, *pipe: int) -> None:
    """Prepare a new child: make it end with the fork server, and close the descriptors of the fork server."""
    if tie is not None:
        tie()
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    channel.close()
    for handle in pipe:
        os.close(handle)


def _become(order: _Order) -> None:
    """Run the ordered service in this process. Returns, or raises SystemExit, when the service ends."""
    os.setpgid(0, 0)
    _name_process(order.name)
    above = max(number for pair in order.fds for number in pair) + 1
    aside = [(fcntl.fcntl(got, fcntl.F_DUPFD, above), wanted) for got, wanted in order.fds]
    for got, _ in order.fds:
        os.close(got)
    for held, wanted in aside:
        os.dup2(held, wanted)
        os.close(held)
    os.chdir(order.cwd)
    os.environ.clear()
    os.environ.update(order.env)
    sys.argv = [order.module, *order.arguments]
    runpy.run_module(order.module, run_name="__main__", alter_sys=True)


def _received(channel: socket.socket) -> _Order | None:
    call, fds, _, _ = socket.recv_fds(channel, 1, _MAX_FDS)
    if not call:
        return None
    with open(fds[0], "rb") as paper:
        order: dict[str, Any] = json.load(paper)
    return _Order(
        name=order["name"],
        module=order["module"],
        arguments=tuple(order["arguments"]),
        env=order["env"],
        cwd=order["cwd"],
        fds=tuple(zip(fds[1:], order["fds"], strict=True)),
    )


def _tell_ends(channel: socket.socket) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        _tell(channel, {"ended": pid, "status": os.waitstatus_to_exitcode(status)})


def _tell(channel: socket.socket, event: dict[str, int]) -> None:
    try:
        channel.sendall(json.dumps(event).encode() + b"\n")
    except OSError:
        os._exit(1)  # our owner is gone: end, and the kernel ends the children with us


def _name_process(name: str) -> None:
    """Set the name that `ps -o comm` and `top` show for this process; no-op except on Linux."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_NAME, name.encode(), 0, 0, 0)


if __name__ == "__main__":
    main()
