"""Effect of a flood on other users: their waiting times before and during it, from the records themselves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from earwitness.checks.history.record import Flag, Kind
from earwitness.harness.report.figures import Records, percentiles, read_table, since_sending

ABUSE = 4429
"""Close code for too many requests."""


def flood(views: Sequence[Records], floods: Path, bursts: Path) -> dict[str, object] | None:
    """Return the waiting times of users who neither flooded nor burst; None if no user flooded.

    Times are milliseconds of messages from and to those users, by when they were sent: `before`, while all users were
    connected and calm, and `during`, from the first flood on; `p99_ratio` is the p99 of `during` divided by that of
    `before`. `closed`: sockets that the platform closed for abuse, of flooding users and of others. All times are of
    one host's clock. `floods`, `bursts`: the side tables that users wrote.
    """
    rows = list(read_table(floods))
    if not rows:
        return None
    calm_ns, begin_ns = min(row["calm_ns"] for row in rows), min(row["t_ns"] for row in rows)
    abusers = sorted({row["client"] for row in rows})
    loud = [*abusers, *(row["client"] for row in read_table(bursts))]
    found: dict[str, object] = {"abusers": len(abusers), "floods": len(rows), "closed": _closed(views, abusers)}
    for name, kind in (("fan-out", Kind.DELIVER), ("ack", Kind.OK)):
        waited_ms, heard, sent_ns = since_sending(list(views), kind)
        quiet = ~np.isin(heard["author"], loud) & ~np.isin(heard["client"], loud)
        before = percentiles([waited_ms[quiet & (sent_ns >= calm_ns) & (sent_ns < begin_ns)]])
        during = percentiles([waited_ms[quiet & (sent_ns >= begin_ns)]])
        ratio = round(during["p99"] / before["p99"], 2) if before.get("p99") and "p99" in during else None
        found[name] = {"before": before, "during": during, "p99_ratio": ratio}
    return found


def _closed(views: Sequence[Records], abusers: Sequence[int]) -> dict[str, int]:
    closed = {"abusers": 0, "others": 0}
    for records in views:
        own = (records["flags"] & Flag.OWN) > 0
        ended = records[(records["kind"] == Kind.DISCONNECT) & ~own & (records["counter"] == ABUSE)]
        theirs = int(np.isin(ended["client"], abusers).sum())
        closed["abusers"] += theirs
        closed["others"] += len(ended) - theirs
    return closed
