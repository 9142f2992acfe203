"""Counts of planned and started users and actions of one process, for H4 (`checks.tester.attained`)."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from earwitness.harness.load.users import ChatUser


class Attained:
    """Counts of one process in one run.

    Users are counted by their number: a shape may stop a user, and another object may continue as the same one.

    connected    numbers of the users that were connected at least once
    acted        numbers of the users that began a task
    others       highest number of users of other classes (HttpUser) that ran at a time
    beyond_plan  users that Locust started in addition to those that the run had planned
    """

    def __init__(self) -> None:
        """Start counting. The time from now to `leave` is how long the process took part."""
        self.connected: set[int] = set()
        self.acted: set[int] = set()
        self.others = 0
        self.beyond_plan = 0
        self._actions_planned = self._actions_started = 0
        self._begin = time.monotonic()
        self._left_s: float | None = None

    def see_others(self, count: int) -> None:
        """Update the highest number of users of other classes with `count`, the number that runs now."""
        self.others = max(self.others, count)

    def actions(self, users: Iterable[ChatUser], now_ns: int) -> tuple[int, int]:
        """Return (planned, started) actions up to `now_ns`: those of `users`, who still act, and those added before."""
        counts = [user.pace.actions(now_ns) for user in users]
        planned, started = (sum(count[n] for count in counts) for n in (0, 1))
        return self._actions_planned + planned, self._actions_started + started

    def add_actions(self, users: Iterable[ChatUser], now_ns: int) -> None:
        """Add the actions of `users` that were planned to begin until `now_ns` (monotonic ns), and those that began.

        Call it once for each user, when it no longer acts.
        """
        self._actions_planned, self._actions_started = self.actions(users, now_ns)

    def leave(self) -> None:
        """Note that this process ends before the run does, and after how many seconds. Later calls change nothing."""
        if self._left_s is None:
            self._left_s = time.monotonic() - self._begin

    def summary(self, users: int) -> Mapping[str, float]:
        """Return the counts for the journal's footer, and `left_s` (seconds) if this process left before the end.

        `users`: how many users of the plan were started here.
        """
        counts = {
            "users": users,
            "others": self.others,
            "connected": len(self.connected),
            "acted": len(self.acted),
            "beyond_plan": self.beyond_plan,
            "actions_planned": self._actions_planned,
            "actions_started": self._actions_started,
        }
        return counts if self._left_s is None else {**counts, "left_s": round(self._left_s, 3)}
