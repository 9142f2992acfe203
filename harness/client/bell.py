"""Bell: wakes users who wait for an answer, without a timer for each wait and without another turn of the event loop.

gevent's `Event.wait(timeout)` starts and stops a timer, and `set` wakes the waiter in the next turn of the loop. That
costs more than a message itself. Here one timer watches the deadlines of all who wait, so that a wait which ends
without an answer ends up to TICK_S later than asked. A bell that rings while a socket is read wakes its users as soon
as all that was read is recorded.
"""

from __future__ import annotations

from time import monotonic
from typing import Final
from weakref import WeakKeyDictionary

import gevent
from greenlet import getcurrent, greenlet

TICK_S: Final = 0.25

_rung: list[Bell] = []
"""Bells that rang while a socket was read: `end_reading` wakes their users."""
_reads: list[bool] = [False]


class _Watch:
    """Timer that ends the waits of one event loop when their time is over.

    waits  bell → when the last wait for it ends; that of a bell for which nobody waits any more stays until a tick
    runs   the timer runs: it stops at a tick without waits
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
    """Event that several greenlets can wait for, as `gevent.event.Event`; use it in one event loop only.

    rung  it has rung since the last `clear`
    """

    __slots__ = ("__weakref__", "_hub", "_sleepers", "_watch", "rung")

    def __init__(self) -> None:
        """Start silent."""
        self._hub = gevent.get_hub()
        self._watch = _watches.get(self._hub) or _watches.setdefault(self._hub, _Watch())
        self._sleepers: list[greenlet] = []
        self.rung = False

    def clear(self) -> None:
        """Make later calls of `wait` block again."""
        self.rung = False

    def set(self) -> None:
        """Ring: every call of `wait` returns True. May be called from a callback of the loop, or from a greenlet."""
        self.rung = True
        if self._sleepers:
            if _reads[0]:
                _rung.append(self)
            else:
                self._hub.loop.run_callback(self.wake)

    def wait(self, timeout_s: float) -> bool:
        """Block until it rings; return False if it does not within `timeout_s` seconds (or TICK_S more)."""
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
        """Switch to each greenlet in `wait`, which returns if the bell has rung or its time is over, else sleeps on.

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
    """Delay the wake-up of users whose bell rings from now on until `end_reading`.

    The same callback of the event loop must call `end_reading`.
    """
    _reads[0] = True


def end_reading() -> None:
    """Wake the users of the bells that rang since `begin_reading`."""
    _reads[0] = False
    while _rung:
        _rung.pop(0).wake()
