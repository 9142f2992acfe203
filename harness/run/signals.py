"""Handling of SIGINT and SIGTERM: the first signal ends the run regularly, with a verdict about what was recorded."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from types import FrameType

import gevent

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """Handler of both signals in place of Locust's, which does not end a run regularly when a second signal arrives.

    first  the signal that arrived first, or None
    """

    def __init__(self, end: Callable[[], None]) -> None:
        """Prepare the handler; `install` activates it.

        `end` is called once, in its own greenlet, because a signal handler must not wait.
        """
        self.first: signal.Signals | None = None
        self._end = end
        self._ignored = [number for number in SIGNALS if signal.getsignal(number) is signal.SIG_IGN]  # e.g. nohup

    def install(self) -> None:
        """Install the handler, except for signals that are ignored, e.g. under nohup.

        Call it again when a run begins, because Locust installs its own handlers after its event `init`.
        """
        for number in SIGNALS:
            if number not in self._ignored:
                signal.signal(number, self._came)

    def _came(self, number: int, frame: FrameType | None) -> None:
        if self.first is None:
            self.first = signal.Signals(number)
            gevent.spawn(self._end)
        else:  # print is not safe in a signal handler: it may have interrupted another print
            os.write(2, b"earwitness: the run is ending already; the verdict comes next.\n")
