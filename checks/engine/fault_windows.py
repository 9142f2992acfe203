"""Faults on record, as windows of time: what was wrong on purpose, and when."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from earwitness.checks.engine.tables import Array
from earwitness.checks.engine.world import View
from earwitness.checks.history.kinds import K_FAULT
from earwitness.checks.history.record import Flag

NEVER = int(np.iinfo(np.int64).max)
OWN = int(Flag.OWN)


class Window(NamedTuple):
    """A fault from `start` to `end` (ns, both inside; NEVER if it did not end). kind: FaultKind, place: Place; 0: not
    said."""

    start: int
    end: int
    kind: int
    place: int


class FaultLog:
    """Collects FAULT records, in any order of reading."""

    def __init__(self) -> None:
        self._told: list[tuple[int, int, int, bool, int, int]] = []

    def step(self, view: View) -> None:
        self.add(view.journal, view.rare)

    def add(self, journal: int, records: Array) -> None:
        """FAULT records among `records` (of `checks.history.record.RECORD`) of one journal."""
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
        """By their start. A fault that was only switched off counts for that moment."""
        found: list[Window] = []
        on: dict[tuple[int, int], Window] = {}
        for t, journal, name, switched_on, kind, place in sorted(self._told):
            if switched_on:
                on.setdefault((journal, name), Window(t, NEVER, kind, place))
            else:
                begun = on.pop((journal, name), Window(t, t, kind, place))
                found.append(begun._replace(end=t))
        return sorted(window for window in (*found, *on.values()) if which(window))


def overlaps(windows: list[Window], start: Array, end: Array, *, after: int = 0, before: int = 0) -> Array:
    """bool by interval [start, end] (ns): it touches a window that is longer by so many ns at its end, or beginning."""
    result: Array = np.zeros(len(start), bool)
    for window in windows:
        last = window.end if window.end > NEVER - after else window.end + after
        result |= (window.start - before <= end) & (last >= start)
    return result
