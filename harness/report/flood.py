"""Effect of a flood on other users: their waiting times before the flood and during it, from the records."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from earwitness.checks.history.record import Flag, Kind
from earwitness.harness.report.figures import percentiles, read_table
from earwitness.harness.report.histograms import Histograms
from earwitness.harness.report.recorded import Recorded, Since

ABUSE = 4429
"""WebSocket close code by which a platform ends a connection that sent too many requests."""


BEFORE, DURING = range(2)


class Flood:
    """Waiting times of users who neither flooded nor sent bursts (a `Sink`).

    `before`: of messages sent from the time when all users were connected until the first flood; `during`: of messages
    sent from the first flood on. Only messages from and to those users count. All times are of one host's clock.
    """

    def __init__(self, floods: Path, bursts: Path) -> None:
        """Read the side tables that users wrote. `floods`, `bursts`: their paths; a missing table counts as empty."""
        self._rows = list(read_table(floods))
        self._abusers = sorted({row["client"] for row in self._rows})
        self._loud = [*self._abusers, *(row["client"] for row in read_table(bursts))]
        self._calm_ns = min((row["calm_ns"] for row in self._rows), default=0)
        self._begin_ns = min((row["t_ns"] for row in self._rows), default=0)
        self._waits = {Kind.DELIVER: Histograms(2), Kind.OK: Histograms(2)}

    def __bool__(self) -> bool:
        """Return whether any user flooded."""
        return bool(self._rows)

    def __call__(self, kind: Kind, since: Since) -> None:
        """Count the waiting times of a chunk of records, except of messages from or to flooding or bursting users."""
        quiet = ~np.isin(since.slot("author"), self._loud) & ~np.isin(since.slot("client"), self._loud)
        quiet &= (since.sent_ns >= self._calm_ns) | (since.sent_ns >= self._begin_ns)
        during = since.sent_ns[quiet] >= self._begin_ns
        self._waits[kind].add(since.took_ns[quiet], np.where(during, DURING, BEFORE))

    def found(self, recorded: Recorded) -> dict[str, object] | None:
        """Return the entry of verdict.json about floods; None if no user flooded.

        Times are in ms; `p99_ratio` is the p99 of `during` divided by that of `before`, None if either is missing.
        `closed`: number of sockets that the platform closed for abuse, of flooding users and of others.
        """
        if not self._rows:
            return None
        closed = _closed(recorded, self._abusers)
        found: dict[str, object] = {"abusers": len(self._abusers), "floods": len(self._rows), "closed": closed}
        for name, kind in (("fan-out", Kind.DELIVER), ("ack", Kind.OK)):
            before, during = (percentiles(self._waits[kind], [part]) for part in (BEFORE, DURING))
            ratio = round(during["p99"] / before["p99"], 2) if before.get("p99") and "p99" in during else None
            found[name] = {"before": before, "during": during, "p99_ratio": ratio}
        return found


def _closed(recorded: Recorded, abusers: Sequence[int]) -> dict[str, int]:
    closed = {"abusers": 0, "others": 0}
    for records in recorded.of_kind(Kind.DISCONNECT):
        ended = records[((records["flags"] & Flag.OWN) == 0) & (records["counter"] == ABUSE)]
        theirs = int(np.isin(ended["client"], abusers).sum())
        closed["abusers"] += theirs
        closed["others"] += len(ended) - theirs
    return closed
