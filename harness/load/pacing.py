"""Pace of a user: closed (a pause after each action), or open (actions at planned times, however long they take)."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from random import Random

import gevent
from greenlet import getcurrent

from earwitness.harness.planning.arrivals import Arrivals


def pause(seconds: float) -> None:
    """Block for `seconds`, like `gevent.sleep`, but without its CPU time, which is as long as that of a message."""
    if seconds <= 0:
        gevent.sleep(0)
        return
    hub = gevent.get_hub()
    loop = hub.loop
    loop.update_now()  # the loop's time is that of its last iteration
    timer = loop.timer(seconds)
    try:
        timer.start(getcurrent().switch)
        while timer.active:
            hub.switch()
    finally:
        timer.stop()
        timer.close()


class Pace:
    """Pace of one user: the times at which it acts.

    planned_ns  planned start of the current action in monotonic ns, None if it was not planned
    open        the user acts at planned times and does not wait for answers
    """

    def __init__(self) -> None:
        """Start with a closed pace: the user acts as soon as its task is called."""
        self._starts: Iterator[int] | None = None
        self.open = False
        self._ahead: deque[int] = deque()  # starts that `actions` has read before their time
        self._taken_starts = 0
        self.planned_ns: int | None = None

    def wait_s(self) -> float:
        """Set `planned_ns` to the next planned start of an open pace, and return the seconds until then.

        A user who is late gets 0.0: the schedule never shifts.
        """
        assert self._starts is not None
        self.planned_ns = self._ahead.popleft() if self._ahead else next(self._starts)
        self._taken_starts += 1
        return max(0.0, (self.planned_ns - time.monotonic_ns()) / 1e9)

    def begin_arrivals(self, arrivals: Arrivals, number: int, users: int, begin_ns: int, rng: Random) -> None:
        """Make the pace open, and block until the first planned start after now.

        `arrivals`: plan for all users together; `number`: the user's number among `users` users; `begin_ns`: start of
        the plan in monotonic ns; `rng`: the user's own generator.
        """
        late_ns = time.monotonic_ns()
        planned = (begin_ns + int(at * 1e9) for at in arrivals.times_s(number, users, rng))
        self._starts = (at_ns for at_ns in planned if at_ns >= late_ns)
        self.open = True
        self._ahead.clear()
        self._taken_starts = 0
        pause(self.wait_s())

    def actions(self, now_ns: int) -> tuple[int, int]:
        """Return (planned, started): how many actions should have begun by `now_ns` (monotonic ns), and how many began.

        (0, 0) for a closed pace. Starts that this method has read ahead are still returned by `wait_s`.
        """
        if self._starts is None or self.planned_ns is None:
            return 0, 0
        started = self._taken_starts - (1 if self.planned_ns > now_ns else 0)
        if self.planned_ns > now_ns:
            return started, started
        while not self._ahead or self._ahead[-1] <= now_ns:
            self._ahead.append(next(self._starts))
        overdue = sum(1 for at_ns in self._ahead if at_ns <= now_ns)
        return started + overdue, started
