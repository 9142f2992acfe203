"""Fork server of the services: `python -m earwitness.harness.platform.fork_server FD MODULE…`.

It imports once what the services import, then forks each of them. Nearly all of a Python service's start is importing,
and all services import the same. Each service is still a process of its own, with its own log, socket and signals; only
the work before `__main__` is shared.

Orders come from `harness.platform.forking` over the Unix socket FD: one byte each, and file descriptors. The first
descriptor is a file with the order as JSON (a socket's buffer is too small for some environments); the others are those
that the service inherits.
"""

from __future__ import annotations

import fcntl
import gc
import json
import os
import runpy
import select
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from earwitness.harness.platform.parent_death import dies_with_parent, name_process

MAX_FDS = 16


@dataclass(frozen=True, slots=True)
class Order:
    """Order to fork a service that runs `python -m MODULE ARGUMENTS…`.

    `fds`: pairs (descriptor number in this process, number that the service is to have).
    """

    name: str
    module: str
    arguments: tuple[str, ...]
    env: dict[str, str] = field(repr=False)
    cwd: str
    fds: tuple[tuple[int, int], ...]


def main() -> None:
    """Import the modules, then fork services until the owner closes the channel."""
    channel = socket.socket(fileno=int(sys.argv[1]))
    for module in sys.argv[2:]:
        runpy.run_module(module, run_name="preloaded")  # its `__main__` imports everything and runs nothing
    gc.collect()
    gc.freeze()  # a collection in a child must not touch, and so copy, every page that it shares with us
    order = serve(channel)
    if order is None:
        os._exit(0)  # no imported module needs an orderly end
    become(order)


def serve(channel: socket.socket) -> Order | None:
    """Fork the ordered services and report the ends of the children, until the owner closes the channel.

    Returns None then. In a forked child it returns the child's order at once.
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
    """Fork, and report the child's pid or the error; return the pid, 0 in the child, or None if it failed."""
    try:
        pid = os.fork()
    except OSError as error:  # no processes or memory left: no reason to end the running services
        _tell(channel, {"failed": error.errno or 0})
        return None
    if pid != 0:
        _tell(channel, {"forked": pid})
    return pid


def _leave(tie: Callable[[], None] | None, channel: socket.socket, *pipe: int) -> None:
    """Prepare a new child: tie it to the fork server's end, and close what belongs to the fork server."""
    if tie is not None:
        tie()
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    channel.close()
    for handle in pipe:
        os.close(handle)


def become(order: Order) -> None:
    """Run the ordered service in this process. Returns, or raises SystemExit, when the service ends."""
    os.setpgid(0, 0)
    name_process(order.name)
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


def _received(channel: socket.socket) -> Order | None:
    call, fds, _, _ = socket.recv_fds(channel, 1, MAX_FDS)
    if not call:
        return None
    with open(fds[0], "rb") as paper:
        order: dict[str, Any] = json.load(paper)
    return Order(
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


if __name__ == "__main__":
    main()
