"""Windows of time in which recorded faults were on."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from earwitness.checks.history.kinds import K_FAULT
from earwitness.checks.history.record import Flag

if TYPE_CHECKING:  # load processes read thresholds, and must not load the compiler behind the tables
    from earwitness.checks.engine.tables import Array
    from earwitness.checks.engine.world import View

NEVER = int(np.iinfo(np.int64).max)
OWN = int(Flag.OWN)


class Window(NamedTuple):
    """Window of one fault, from `start` to `end` in ns, both included.

    `end` is NEVER if the fault did not end. `kind` is a FaultKind, `place` a Place; 0: not stated.
    """

    start: int
    end: int
    kind: int
    place: int


class FaultLog:
    """Collector of FAULT records. The order in which journals are read does not matter."""

    def __init__(self) -> None:
        """Start without faults."""
        self._told: list[tuple[int, int, int, bool, int, int]] = []

    def step(self, view: View) -> None:
        """Add the FAULT records of a chunk."""
        self.add(view.journal, view.rare)

    def add(self, journal: int, records: Array) -> None:
        """Add the FAULT records among `records` (`checks.history.record.RECORD`) of one journal."""
        for fault in records[records["kind"] == K_FAULT]:
            self._told.append(
                (
                    int(fault["t"]),
                    journal,
                    int(fault["author"]),
                    bool(fault["flags"] & OWN),
                    int(fault["counter"]),
                    int(fault["attempt"]),
                )
            )

    def windows(self, which: Callable[[Window], bool] = lambda window: True) -> list[Window]:
        """Return the windows for which `which` is true, sorted by start.

        A fault whose beginning was not recorded has a window of one moment: when it was switched off.
        """
        found: list[Window] = []
        on: dict[tuple[int, int], Window] = {}
        for t, journal, name, switched_on, kind, place in sorted(self._told):
            if switched_on:
                on.setdefault((journal, name), Window(t, NEVER, kind, place))
            else:
                begun = on.pop((journal, name), Window(t, t, kind, place))
                found.append(begun._replace(end=t))
        return sorted(window for window in (*found, *on.values()) if which(window))


def widened(windows: list[Window], ns: int) -> list[Window]:
    """Return the windows in which a fault may have been on, if their times may be wrong by `ns`.

    Negative `ns`: the windows in which a fault was certainly on. A window that is shorter than the doubt is left out.
    """
    moved = [
        window._replace(start=window.start - ns, end=window.end if window.end == NEVER else window.end + ns)
        for window in windows
    ]
    return [window for window in moved if window.start <= window.end]


def overlaps(windows: list[Window], start: Array, end: Array, *, after: int = 0, before: int = 0) -> Array:
    """Return for each interval [start, end] (ns) whether it overlaps a window; the ends count as inside.

    Each window is extended by `after` ns at its end and by `before` ns at its beginning.
    """
    result: Array = np.zeros(len(start), bool)
    for window in windows:
        last = window.end if window.end > NEVER - after else window.end + after
        result |= (window.start - before <= end) & (last >= start)
    return result
