"""SIGINT and SIGTERM: the first signal ends the run in order, with a verdict about what was recorded."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from types import FrameType

import gevent

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """Handler of both signals instead of Locust's, which does not end a run in order when a second signal arrives.

    first  the signal that arrived first, or None
    """

    def __init__(self, end: Callable[[], None]) -> None:
        """Prepare the handler.

        `end` is called once, in a greenlet of its own: a signal handler must not wait.
        """
        self.first: signal.Signals | None = None
        self._end = end
        self._ignored = [number for number in SIGNALS if signal.getsignal(number) is signal.SIG_IGN]  # e.g. nohup

    def install(self) -> None:
        """Install the handlers.

        Locust installs its own after `init`: call this again when a run begins.
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
