"""Comparison of the checks' folds with the oracle, on one history."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import oracle
from oracle_history import Opinion
from words import assert_told

from earwitness.checks.engine.fold import JournalInfo
from earwitness.checks.judge import Batch, judge
from earwitness.checks.verdict import Outcome, Verdict


def batches(journals: Sequence[np.ndarray], rng: random.Random | None) -> Iterator[Batch]:
    """Yield batches of the journals' records: each journal as a whole, or cut at random places in a random order.

    `rng` None: one batch for each journal, in order; else records of one journal stay in their order.
    """
    if rng is None:
        yield from (Batch(number, journal) for number, journal in enumerate(journals))
        return
    places = [0] * len(journals)
    while left := [n for n, journal in enumerate(journals) if places[n] < len(journal)]:
        number = rng.choice(left)
        end = min(len(journals[number]), places[number] + rng.choice((1, 2, 7, 50, 1000)))
        yield Batch(number, journals[number][places[number] : end])
        places[number] = end


def fold(run: Any, rng: random.Random | None = None, **options: Any) -> dict[str, Verdict]:
    """Return check id → verdict of the checks for a history. `rng`: see `batches`; `options`: those of `judge`."""
    infos = [
        JournalInfo(name=i.name, records=i.records, footer=i.footer, torn=i.torn, meta=i.meta, gaps=i.gaps)
        for i in run.infos
    ]
    verdicts = judge(run.roster, run.contract, batches(run.journals, rng), infos, **options)
    assert_told(verdicts, run.roster, lambda journal, index: run.journals[journal][index - 1])
    return {v.id: v for v in verdicts}


def opinions(run: Any) -> dict[str, Opinion]:
    return oracle.judge(run.roster, run.contract, run.journals, run.infos)


COUNTED = frozenset({"I4", "I5a", "I5b", "I6", "I7", "I8", "I10", "I12", "I15"})
"""Checks whose definition fixes the number of violations; the fold and the oracle must find the same number.

For the others they must only agree whether there is a violation: I1, a reordering involves two messages or many; I2, a
cycle can be cut at several places.
"""


def _retried(run: Any) -> bool:
    """Return whether any message of the history was sent again.

    A message's sending decides which of two contents is the changed one, and sizes can be compared for first attempts
    only. So with retries the fold's number of changed records is only a bound.
    """
    return any((journal["attempt"] > 1).any() for journal in run.journals)


def differences(run: Any, verdicts: dict[str, Verdict]) -> dict[str, str]:
    """Return check id → the verdicts of the fold and the oracle, for checks where they differ.

    With a torn journal the fold may be UNKNOWN where the oracle is not, and the reverse, as long as both find a
    violation or neither does. The numbers of opportunities examined are not compared.
    """
    found = {}
    for id, opinion in opinions(run).items():
        if id not in verdicts:  # `test_gate` sees to it that this is not for long
            continue
        verdict = verdicts[id]
        failed = verdict.outcome == Outcome.FAIL
        same = verdict.promised == opinion.promised and failed == (opinion.outcome == "FAIL")
        if not any(info.torn for info in run.infos):
            same &= bool(verdict.why) == bool(opinion.doubt) or not (verdict.examined and opinion.examined)
            counted = id in COUNTED and not (id == "I10" and _retried(run))
            same &= not counted or verdict.violations == opinion.violations
        if not same:
            found[id] = (
                f"fold {verdict.outcome.name} {verdict.violations}/{verdict.examined} promised={verdict.promised} "
                f"{verdict.why!r}, oracle {opinion.outcome} {opinion.violations}/{opinion.examined} "
                f"promised={opinion.promised} {opinion.doubt!r}"
            )
    return found
