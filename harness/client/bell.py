"""Event with a timeout that wakes waiting users in the current iteration of the event loop, with one timer for all.

gevent's `Event.wait(timeout)` starts and stops a timer, and `set` wakes the waiting greenlet in the next iteration of
the loop. Both cost more than sending a message. Here one timer watches the deadlines of all waits, so a wait without an
answer may end up to TICK_S late. If `Bell.set` is called while a socket is read, the waiting greenlets continue as soon
as all bytes of that read are recorded.
"""

from __future__ import annotations

from time import monotonic
from typing import Final
from weakref import WeakKeyDictionary

import gevent
from greenlet import getcurrent, greenlet

TICK_S: Final = 0.25

_rung: list[Bell] = []
"""Bells that were set while a socket was read; `end_reading` wakes the greenlets that wait for them."""
_reads: list[bool] = [False]


class _Watch:
    """Timer of one event loop that ends each `Bell.wait` when its time is over.

    waits  bell → time of `time.monotonic()`, in s, at which its last wait ends; a bell for which no greenlet waits any
           more is removed at the next tick
    runs   the timer is started; it stops at a tick without waits
    """

    def __init__(self) -> None:
        self.waits: dict[Bell, float] = {}
        self.runs = False
        self._timer = gevent.get_hub().loop.timer(TICK_S, TICK_S)

    def start(self) -> None:
        """Start the timer."""
        self.runs = True
        self._timer.start(self._tick)

    def _tick(self) -> None:
        now = monotonic()
        for bell, until in list(self.waits.items()):
            if not bell.awaited:
                self.waits.pop(bell, None)
            elif until <= now:
                bell.wake()
        if not self.waits:
            self.runs = False
            self._timer.stop()


_watches: WeakKeyDictionary[object, _Watch] = WeakKeyDictionary()


class Bell:
    """Event that several greenlets can wait for, like `gevent.event.Event`; use it in one event loop only.

    rung  `set` was called since the last `clear`
    """

    __slots__ = ("__weakref__", "_hub", "_sleepers", "_watch", "rung")

    def __init__(self) -> None:
        """Start with `rung` False."""
        self._hub = gevent.get_hub()
        self._watch = _watches.get(self._hub) or _watches.setdefault(self._hub, _Watch())
        self._sleepers: list[greenlet] = []
        self.rung = False

    def clear(self) -> None:
        """Make later calls of `wait` block again."""
        self.rung = False

    def set(self) -> None:
        """Set `rung`, so that every call of `wait` returns True.

        May be called from a callback of the event loop, or from a greenlet.
        """
        if self.rung:
            return  # who waits for it is being woken already: a burst's answers ring a thousand times in one read
        self.rung = True
        if self._sleepers:
            if _reads[0]:
                _rung.append(self)
            else:
                self._hub.loop.run_callback(self.wake)

    def wait(self, timeout_s: float) -> bool:
        """Block until `set` is called and return True; return False after `timeout_s` seconds or up to TICK_S later."""
        if self.rung:
            return True
        me, sleepers, watch = getcurrent(), self._sleepers, self._watch
        until = monotonic() + timeout_s
        watch.waits[self] = max(until, watch.waits[self]) if sleepers else until
        if not watch.runs:
            watch.start()
        sleepers.append(me)
        try:
            while True:
                self._hub.switch()
                if self.rung or monotonic() >= until:
                    return self.rung
        finally:
            sleepers.remove(me)

    @property
    def awaited(self) -> bool:
        """Return whether a greenlet is in `wait`."""
        return bool(self._sleepers)

    def wake(self) -> None:
        """Resume each greenlet in `wait`; it returns if `rung` is set or its time is over, else it continues to wait.

        Call it only from a callback of the event loop.
        """
        sleepers = self._sleepers
        if len(sleepers) == 1:
            sleepers[0].switch()
            return
        for sleeper in tuple(sleepers):
            if sleeper in sleepers:  # it has not left meanwhile
                sleeper.switch()


def begin_reading() -> None:
    """Delay the wake-up of greenlets whose bell is set from now on until `end_reading`.

    The same callback of the event loop must call `end_reading`.
    """
    _reads[0] = True


def end_reading() -> None:
    """Wake the greenlets that wait for the bells that were set since `begin_reading`."""
    _reads[0] = False
    while _rung:
        _rung.pop(0).wake()
