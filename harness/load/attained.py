"""Counts of planned and started users and actions of one process, for check H4 (`checks.tester.attained`)."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from earwitness.harness.load.users import ChatUser


class Attained:
    """Counts of the users and actions of one process in one run.

    Users are counted by their number: a shape may stop a user, and another user object may continue with its number.

    connected    numbers of the users that were connected at least once
    acted        numbers of the users that began a task
    others       highest number of users of other classes (HttpUser) that ran at a time
    beyond_plan  users that Locust started in addition to those that the run had planned
    """

    def __init__(self) -> None:
        """Start all counts at zero. `leave` later computes how many seconds this process took part, from now on."""
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
        """Return (planned, started): actions up to `now_ns` (monotonic ns) of `users`, plus those of `add_actions`.

        `users`: users that still act.
        """
        counts = [user.pace.actions(now_ns) for user in users]
        planned, started = (sum(count[n] for count in counts) for n in (0, 1))
        return self._actions_planned + planned, self._actions_started + started

    def add_actions(self, users: Iterable[ChatUser], now_ns: int) -> None:
        """Add the actions of `users` that were planned to begin until `now_ns` (monotonic ns), and those that began.

        Call it once for each user, when the user no longer acts.
        """
        self._actions_planned, self._actions_started = self.actions(users, now_ns)

    def leave(self) -> None:
        """Store how many seconds this process took part, because it leaves before the run ends. Idempotent."""
        if self._left_s is None:
            self._left_s = time.monotonic() - self._begin

    def summary(self, users: int) -> Mapping[str, float]:
        """Return the counts for the journal's footer, and `left_s` (seconds) if this process left before the end.

        `users`: number of users of the plan that this process started.
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
