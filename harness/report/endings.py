"""Endings of connections, and the moment when a platform stopped answering."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TypedDict

import numpy as np
import numpy.typing as npt

from earwitness.checks.history.record import NOBODY, Flag, Kind, Phase
from earwitness.harness.report.recorded import Recorded, Records, View


class Ending(TypedDict):
    """Ending of connections: who ended them (`by`: "platform" or "earwitness"), close code, reason, and their count."""

    by: str
    code: int
    reason: str
    count: int


class Stopped(TypedDict):
    """The moment when a platform stopped answering, and what followed; `stopped` explains the keys."""

    at_s: float
    silent_s: float
    unanswered: int
    ended: int


NO_CLOSE, NORMAL, TOO_BIG = 1006, 1000, 1009
LIMIT_KEY = "urls.frame_bytes_max"
ROWS = 50
"""Most rows of endings that are listed; some platforms put an id into every reason."""
SILENCE_S = 2.0
"""Seconds without any answer to waiting users, up to the end of the load, after which a platform counts as stopped."""
_SAID = [
    Kind.OK, Kind.FAIL, Kind.DELIVER, Kind.REPLAY, Kind.CONNECT, Kind.JOIN, Kind.LEAVE, Kind.IDENTITY, Kind.PRESENCE,
    Kind.RUN, Kind.READ,
]  # fmt: skip
_STATUS = {Kind.PROBE: "counter", Kind.LOGIN: "counter", Kind.REQUEST: "size", Kind.REVOKE: "size", Kind.WRITE: "size"}
"""Field that holds the HTTP status of a request, by kind of record; the status is 0 if there was no answer."""


def endings(recorded: Recorded) -> list[Ending]:
    """Return the number of connections by the side that ended them, close code and reason: at most ROWS rows.

    The most frequent come first.
    """
    counts: Counter[tuple[str, int, str]] = Counter()
    for ended, names in zip(recorded.of_kind(Kind.DISCONNECT), recorded.names, strict=True):
        own = (ended["flags"] & int(Flag.OWN)) > 0
        keys = np.stack([own.astype(np.int64), ended["counter"].astype(np.int64), ended["author"].astype(np.int64)])
        for (ours, code, reason), count in zip(*_unique(keys), strict=True):
            said = names.get(int(reason), "") if reason != NOBODY else ""
            counts["earwitness" if ours else "platform", int(code), said] += int(count)
    return [
        {"by": by, "code": code, "reason": reason, "count": count}
        for (by, code, reason), count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:ROWS]
    ]


def _unique(keys: npt.NDArray[np.int64]) -> tuple[list[list[int]], list[int]]:
    found, counts = np.unique(keys, axis=1, return_counts=True)
    return found.T.tolist(), counts.tolist()


def ending_line(rows: Sequence[Ending]) -> str:
    """Return one line about connections that the platform ended, and about frames that were too long; "" without any.

    Connections that users closed themselves are left out.
    """
    theirs = [row for row in rows if row["by"] == "platform"]
    too_big = [row for row in rows if row["by"] == "earwitness" and row["code"] == TOO_BIG]
    parts = [_words(row) for row in theirs[:5]]
    if len(theirs) > 5:
        parts.append(f"{sum(row['count'] for row in theirs[5:]):,} others")
    line = f"connections ended by the platform: {', '.join(parts)}" if parts else ""
    if too_big:
        count, reason = sum(row["count"] for row in too_big), too_big[0]["reason"]
        why = f" {reason!r}" if reason else ""
        limit = f"connections ended by earwitness: {count:,} with {TOO_BIG}{why} ({LIMIT_KEY})"
        line = f"{line}; {limit}" if line else limit
    return line


def _words(row: Ending) -> str:
    if row["code"] == NO_CLOSE:
        return f"{row['count']:,} without a close frame ({NO_CLOSE})"
    reason = f" {row['reason']!r}" if row["reason"] else ""
    return f"{row['count']:,} with {row['code']}{reason}"


def stopped(recorded: Recorded) -> Stopped | None:
    """Return when the platform stopped answering: its last data during the load, if users waited for answers later.

    None if the platform answered to the end, if nobody waited for an answer, or if the record has no beginning or end
    of the load. Keys:

    at_s, silent_s  seconds from the start of the load to the last data, and from the last data to the end of the load
    unanswered      messages and requests without an answer after the last data
    ended           connections that ended after the last data and were not closed by the tester
    """
    phases = recorded.of_kind(Kind.PHASE)
    begin, drain = _first(phases, Phase.LOAD), _first(phases, Phase.DRAIN)
    if begin is None or drain is None:
        return None
    last = max([begin, *(_last_word(view, drain) for view in recorded.views)])
    if drain - last < SILENCE_S * 1e9:
        return None
    waited = drain - int(SILENCE_S * 1e9)
    said = given_up = failed = ended = still_open = 0
    waiting = False
    for _, part in recorded.parts():
        kind, t = part["kind"], part["t"]
        since = (t > last) & (t <= drain)
        invoked, cut = since & (kind == Kind.INVOKE), since & (kind == Kind.DISCONNECT)
        cut &= (part["flags"] & int(Flag.OWN)) == 0
        said += int(invoked.sum())
        given_up += int((since & (kind == Kind.INFO)).sum())
        failed += sum(int((since & (kind == what) & (part[slot] == 0)).sum()) for what, slot in _STATUS.items())
        ended += int(cut.sum())
        still_open += int(((kind == Kind.CONNECT) & (t <= drain)).sum())
        still_open -= int(((kind == Kind.DISCONNECT) & (t <= drain)).sum())
        waiting = waiting or bool((t[invoked | cut] <= waited).any())
    if not (given_up or failed or (waiting and (said or not still_open))):
        return None  # No user waited long enough for an answer.
    return {
        "at_s": round((last - begin) / 1e9, 1),
        "silent_s": round((drain - last) / 1e9, 1),
        "unanswered": max(said, given_up) + failed,
        "ended": ended,
    }


def stopped_line(found: Stopped) -> str:
    """Return one line about a platform that stopped answering."""
    facts = [f"{found['ended']:,} connections ended"] * bool(found["ended"])
    facts += [f"{found['unanswered']:,} messages and requests had no answer"] * bool(found["unanswered"])
    return (
        f"the platform stopped answering {found['at_s']} s after the load began: nothing came for the "
        f"{found['silent_s']} s that were left ({', '.join(facts)})"
    )


def _first(phases: Sequence[Records], phase: Phase) -> int | None:
    return min((int(t) for rows in phases for t in rows["t"][rows["counter"] == phase]), default=None)


def _last_word(view: View, drain: int) -> int:
    """Return the time (ns) of the last record that came from the platform until `drain`; 0 if there is none."""
    for end in range(len(view), 0, -_BLOCK):
        part = view[max(end - _BLOCK, 0) : end]
        said = np.isin(part["kind"], _SAID)
        for what, slot in _STATUS.items():
            said |= (part["kind"] == what) & (part[slot] > 0)
        said &= part["t"] <= drain
        if said.any():
            return int(part["t"][np.flatnonzero(said)[-1]])
    return 0


_BLOCK = 65536
"""Number of records that are searched at a time, backwards from the end of a journal."""
