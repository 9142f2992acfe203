"""Histories as several hosts record them, whose clocks were compared up to an error bound."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

from earwitness.checks import Batch
from earwitness.checks.judge import judge
from earwitness.harness.record.clocks import ClockMap

MS = 1_000_000
LATER_NS = 10_000 * MS
"""Time in ns that is added to random histories, which begin near 0: no monotonic clock starts below 0."""


def of_hosts(run: Any, rng: random.Random, bound_ns: int) -> tuple[Any, Any]:
    """Return (the history on one clock, the history as recorded by hosts whose clocks differ).

    Each journal is of another host, whose clock is wrong by up to `bound_ns`, which is also stated as its error bound.
    """
    one = [journal.copy() for journal in run.journals]
    for journal in one:
        ClockMap(offset_ns=LATER_NS).apply(journal)
    wrong = [rng.randint(-bound_ns, bound_ns) for _ in one]
    shifted = [journal.copy() for journal in one]
    for journal, ns in zip(shifted, wrong, strict=True):
        ClockMap(offset_ns=ns).apply(journal)
    return replace(run, journals=one), bounded(replace(run, journals=shifted), [bound_ns] * len(one))


def bounded(run: Any, bounds_ns: list[int]) -> Any:
    """Return the history with each journal stated to be of another host, with the error bound (ns) of its clock."""
    infos = [
        replace(info, meta={**info.meta, "clock": f"host {number}", "clock_bound_ns": ns})
        for number, (info, ns) in enumerate(zip(run.infos, bounds_ns, strict=True))
    ]
    return replace(run, infos=infos)


def judged(history: Any, id: str, *bounds_ms: float | None) -> Any:
    """Return the verdict of the check `id`, with each journal stated to be of another host.

    `bounds_ms`: error bound of each host's clock in ms; None: the clock was not compared.
    """
    batches = [Batch(journal, records) for journal, records in history.arrays().items()]
    infos = [
        replace(info, meta={"clock": f"host {n}"} | ({} if ms is None else {"clock_bound_ns": round(ms * MS)}))
        for n, (info, ms) in enumerate(zip(history.infos(), bounds_ms, strict=True))
    ]
    return next(v for v in judge(history.roster, history.contract, batches, infos) if v.id == id)
