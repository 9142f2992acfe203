"""Watch of a worker over its master. If the master ends, the worker closes its journal and ends within five seconds.

Locust's own worker notices after 60 s without a heartbeat, and loads the platform until then. Two signs come earlier:

parent  a worker that Locust forked (`--processes`) has another parent as soon as the process that forked it is dead
connection  the kernel closes a dead process's sockets, so ZeroMQ reports the disconnection at once; a connection that
            comes back within `RETURN_S` was only broken. If the master's whole host vanishes, nothing is reported, and
            the worker ends after the 60 s
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Any, Final

import gevent
import zmq
from gevent.event import Event
from zmq.utils.monitor import parse_monitor_message

from earwitness.harness.errors import Exit
from earwitness.harness.progress import say

LOOK_S: Final = 0.25
RETURN_S: Final = 1.5
END_S: Final = 3.0
"""Seconds that the end of a worker may take; then the process is killed, and its journal is torn."""
WATCHED: Final = zmq.Event.HANDSHAKE_SUCCEEDED | zmq.Event.DISCONNECTED | zmq.Event.MONITOR_STOPPED
LOADED_BY: Final = os.getpid()
"""Id of the process that imported this module: in a worker that Locust forked, that of its parent."""
_early: list[gevent.Greenlet] = []


def tie_forks() -> None:
    """Make processes that are forked from now on end with this process, even before they make a `MasterWatch`.

    A worker that Locust has forked waits up to five minutes for the first message of its master.
    """
    os.register_at_fork(after_in_child=lambda: _early.append(gevent.spawn(_end_with_parent)))


def _end_with_parent() -> None:
    _await_parents_end()
    os._exit(Exit.CANNOT_RUN)  # nothing has begun that would have to be closed


def _await_parents_end() -> None:
    while os.getppid() == LOADED_BY:
        gevent.sleep(LOOK_S)


class MasterWatch:
    """Watch that calls `end` once, in its own greenlet, when the master is gone; `end` must end this process.

    runner  Locust's worker runner, which replaces its `client` when it resets the connection
    """

    def __init__(self, runner: Any, end: Callable[[], None]) -> None:
        """Start to watch the connection to the master, and also the parent process if this process was forked."""
        self._runner = runner
        self._end = end
        self._gone = Event()
        gevent.killall(_early, block=False)
        self._watchers = [gevent.spawn(self._await_end), gevent.spawn(self._watch_connection)]
        if os.getpid() != LOADED_BY:
            self._watchers.append(gevent.spawn(self._watch_parent))

    def close(self) -> None:
        """Stop watching. Call it when this process ends for another reason."""
        gevent.killall([watcher for watcher in self._watchers if watcher is not gevent.getcurrent()], block=False)

    def _await_end(self) -> None:
        self._gone.wait()
        say("the master has died, so this load process ends too; judge what it recorded: earwitness check RUN")
        signal.setitimer(signal.ITIMER_REAL, END_S)
        self._end()

    def _watch_parent(self) -> None:
        _await_parents_end()
        self._gone.set()

    def _watch_connection(self) -> None:
        while not self._gone.is_set():
            client = self._runner.client
            if _lost_for_good(client.socket.get_monitor_socket(WATCHED)):
                self._gone.set()
            while self._runner.client is client and not self._gone.is_set():
                gevent.sleep(LOOK_S)


def _lost_for_good(monitor: Any) -> bool:
    """Block until a lost connection stayed away for `RETURN_S` seconds (True), or Locust has closed it (False)."""
    deadline: float | None = None
    while monitor.poll(None if deadline is None else max(0, int((deadline - time.monotonic()) * 1e3))):
        event = zmq.Event(parse_monitor_message(monitor.recv_multipart())["event"])
        if event is zmq.Event.MONITOR_STOPPED:
            return False
        if event is zmq.Event.HANDSHAKE_SUCCEEDED:
            deadline = None
        elif deadline is None:
            deadline = time.monotonic() + RETURN_S
    return True
