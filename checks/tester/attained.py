"""H4: the load that was planned was attained.

The plan is compared with what the load processes did: how many users were started, connected and acted; how many
planned actions were started, and messages sent; whether the run was interrupted, and whether a load process ended early
or stood still. A shortfall makes the verdict UNKNOWN, because a smaller load proves nothing about the planned one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from earwitness.checks.engine.fold import Described, End
from earwitness.checks.history.record import Kind
from earwitness.checks.tester.health import LAG_BOUND_MS, Health, behind_ms, lags_ms
from earwitness.checks.verdict import Verdict

STANDSTILL_MS = 2_000.0
"""Loop lag in ms above which a load process counts as standing still: it sent and received nothing meanwhile."""
LEAST = 0.95
"""Least share (0 to 1) of the planned load that counts as attained."""


class LoadAttained(Health):
    """State of H4: the load reached the plan.

    It reads these facts of the run; in brackets the defaults: `users_planned`; `messages_offered` (messages to send);
    `messages_sent` (the sum of the footers); `interrupted`, a mapping with `after_s`, `of_s` and `by`, if the run ended
    before its planned time; `load_attained_min` (0.95); `lag_bound_ms` (100); `standstill_ms` (2,000).

    It reads from the footers of load processes: `lag_ms`, `behind_ms`, and in `load` the counts of
    `harness.load.worker`: `users`, `others`, `connected`, `acted`, `beyond_plan`, `actions_planned`, `actions_started`,
    and `left_s` if the process ended before it was told to. Loop lag below `standstill_ms` is only reported.
    """

    def finish(self, end: End) -> Verdict:
        """Implement `Fold.finish`: compare plan and load; each shortfall makes the verdict UNKNOWN."""
        lags = lags_ms(end)
        offered = end.facts.get("messages_offered")
        faults = [*_interruption(end), *self._users(end), *_actions(end), *_standstills(end)]
        if not lags and not offered:
            faults.append("no journal states its loop lag, and no offered load was stated")
        facts = {
            "lag_p99_ms": max(lags) if lags else None,
            "offered": offered,
            "sent": _sent(end),
            **_counts(end),
            "users": self._came(end),
        }
        return self.healthy(len(lags) + (1 if offered else 0), faults, facts, _remark(end, lags))

    def _users(self, end: End) -> Iterator[str]:
        planned, least = end.facts.get("users_planned"), _least(end)
        counts = _counts(end)
        if planned and not counts:  # an imported history, or one of an older version
            if (came := self._came(end)) < least * planned:
                yield f"{came} of {planned} users connected, fewer than {least:.0%}"
            return
        chatting = counts.get("users", 0)
        started = chatting + counts.get("others", 0)
        if planned and started < least * planned:
            yield f"{started:,} of {planned:,} planned users were started"
        if counts.get("connected", 0) < least * chatting:
            yield f"{counts['connected']:,} of {chatting:,} users connected"
        elif counts.get("acted", 0) < least * chatting:
            yield f"{counts['acted']:,} of {chatting:,} users did anything after they had connected"
        if beyond := counts.get("beyond_plan", 0):
            yield f"{beyond:,} users were started beyond the plan of this run and did nothing: start a run with more"

    def _came(self, end: End) -> int:
        """Return how many clients tried to log in: those with a LOGIN record."""
        logins, _ = end.world.kept.of(Kind.LOGIN)
        return len(np.unique(logins["client"]))


def _interruption(end: End) -> Iterator[str]:
    interrupted = end.facts.get("interrupted")
    if isinstance(interrupted, Mapping):
        yield interruption(interrupted)
    for name, load in _loads(end):
        if load.get("left_s") is not None:
            yield f"load process {name} left the run after {float(load['left_s']):.0f} s, before its end"


def interruption(interrupted: Mapping[str, Any]) -> str:
    """Return a phrase such as "stopped after 20 of 60 s" about a run that ended before its planned time.

    `interrupted`: `after_s` and `of_s` in seconds, and optionally `by`, the cause. Raises KeyError if one of the times
    is missing.
    """
    by = f"interrupted by {interrupted['by']}" if interrupted.get("by") else "stopped"
    return f"{by} after {float(interrupted['after_s']):.0f} of {float(interrupted['of_s']):.0f} s"


def _actions(end: End) -> Iterator[str]:
    least, counts, offered = _least(end), _counts(end), end.facts.get("messages_offered")
    planned, started = counts.get("actions_planned", 0), counts.get("actions_started", 0)
    if started < least * planned:
        yield f"{started:,} of {planned:,} planned actions were started"
    if offered and _sent(end) < least * offered:
        yield f"{_sent(end)} of {offered} messages that were to be sent were sent, fewer than {least:.0%}"


def _standstills(end: End) -> Iterator[str]:
    bound = float(end.facts.get("standstill_ms", STANDSTILL_MS))
    for journal in end.journals:
        lag = (journal.footer or {}).get("lag_ms")
        longest = float(lag.get("max", 0.0)) if isinstance(lag, Mapping) else 0.0
        if longest > bound:
            yield f"load process {journal.name} stalled for {longest / 1e3:.1f} s"
        if behind_ms(journal) > bound:
            late = f"was up to {behind_ms(journal) / 1e3:.1f} s behind in reading what came"
            yield f"load process {journal.name} {late}: answers may have waited for it"


def _remark(end: End, lags: list[float]) -> str:
    """Return a sentence about users that did not connect and about loop lag, for a PASS; "" if there is nothing."""
    counts, bound = _counts(end), float(end.facts.get("lag_bound_ms", LAG_BOUND_MS))
    remarks = []
    if counts.get("connected", 0) < counts.get("users", 0):
        remarks.append(f"{counts['connected']:,} of {counts['users']:,} users connected")
    if lags and max(lags) > bound:
        remarks.append(f"loop lag p99 was {max(lags):.0f} ms (bound {bound:.0f} ms): times are not to be trusted")
    return "; ".join(remarks)


def _sent(end: End) -> int:
    footers = [journal.footer for journal in end.journals if journal.footer]
    return int(end.facts.get("messages_sent", sum(int(footer.get("messages_sent", 0)) for footer in footers)))


def _least(end: End) -> float:
    return float(end.facts.get("load_attained_min", LEAST))


def _loads(end: End) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for journal in end.journals:
        load = (journal.footer or {}).get("load")
        if isinstance(load, Mapping):
            yield journal.name, load


def _counts(end: End) -> dict[str, int]:
    """Return each whole number in the `load` of the footers, summed up over all load processes; {} if none has any."""
    total: dict[str, int] = {}
    for _, load in _loads(end):
        for name, value in load.items():
            if isinstance(value, int) and not isinstance(value, bool):
                total[name] = total.get(name, 0) + value
    return total


LOAD_ATTAINED = Described(
    id="H4",
    name="load-attained",
    title="Was the intended load reached?",
    unit="measures of the load",
    fold=LoadAttained,
)
