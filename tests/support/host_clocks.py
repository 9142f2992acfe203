"""Histories as several hosts record them, whose clocks were measured to a bound."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

from earwitness.checks import Batch
from earwitness.checks.judge import judge
from earwitness.harness.record.clocks import ClockMap

MS = 1_000_000
LATER_NS = 10_000 * MS
"""Soups begin near 0; no clock shows less than the time since its host has started."""


def of_hosts(run: Any, rng: random.Random, bound_ns: int) -> tuple[Any, Any]:
    """The run as it was on one clock, and as hosts recorded it whose clocks were wrong by up to `bound_ns` each."""
    one = [journal.copy() for journal in run.journals]
    for journal in one:
        ClockMap(offset_ns=LATER_NS).apply(journal)
    wrong = [rng.randint(-bound_ns, bound_ns) for _ in one]
    shifted = [journal.copy() for journal in one]
    for journal, ns in zip(shifted, wrong, strict=True):
        ClockMap(offset_ns=ns).apply(journal)
    return replace(run, journals=one), bounded(replace(run, journals=shifted), [bound_ns] * len(one))


def bounded(run: Any, bounds_ns: list[int]) -> Any:
    """The run with journals of as many hosts as it has, each with the bound of its clock."""
    infos = [
        replace(info, meta={**info.meta, "clock": f"host {number}", "clock_bound_ns": ns})
        for number, (info, ns) in enumerate(zip(run.infos, bounds_ns, strict=True))
    ]
    return replace(run, infos=infos)


def judged(history: Any, id: str, *bounds_ms: float | None) -> Any:
    """The verdict of a check about journals of as many hosts as there are bounds; None: nobody measured the clock."""
    batches = [Batch(journal, records) for journal, records in history.arrays().items()]
    infos = [
        replace(info, meta={"clock": f"host {n}"} | ({} if ms is None else {"clock_bound_ns": round(ms * MS)}))
        for n, (info, ms) in enumerate(zip(history.infos(), bounds_ms, strict=True))
    ]
    return next(v for v in judge(history.roster, history.contract, batches, infos) if v.id == id)
