"""The folds and the oracle on one history, and where they differ."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import oracle
from checks.judge import Batch, JournalInfo, judge
from oracle_history import Opinion

from checks.verdict import Verdict


def batches(journals: Sequence[np.ndarray], rng: random.Random | None) -> Iterator[Batch]:
    """The journals whole and one after another, or cut anywhere and dealt in any order that each journal allows."""
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
    """The folds' verdicts by id."""
    infos = [
        JournalInfo(name=i.name, records=i.records, footer=i.footer, torn=i.torn, meta=i.meta, gaps=i.gaps)
        for i in run.infos
    ]
    return {v.id: v for v in judge(run.roster, run.contract, batches(run.journals, rng), infos, **options)}


def opinions(run: Any) -> dict[str, Opinion]:
    return oracle.judge(run.roster, run.contract, run.journals, run.infos)


COUNTED = frozenset({"I4", "I5a", "I5b", "I6", "I8", "I10", "I12", "I15"})
"""Checks whose definition says what one violation is. The others (a reordering involves two messages or many, a
message may have three numbers) must agree that there is one."""


def differences(run: Any, verdicts: dict[str, Verdict], *, counted: Iterable[str] = COUNTED) -> dict[str, str]:
    """Check → what the fold and the oracle say, where that is not the same."""
    found = {}
    for id, opinion in opinions(run).items():
        verdict = verdicts[id]
        same = verdict.outcome.name == opinion.outcome and verdict.promised == opinion.promised
        if not same or (id in counted and verdict.violations != opinion.violations):
            found[id] = (
                f"fold {verdict.outcome.name} {verdict.violations}/{verdict.examined} promised={verdict.promised} "
                f"{verdict.why!r}, oracle {opinion.outcome} {opinion.violations}/{opinion.examined} "
                f"promised={opinion.promised} {opinion.doubt!r}"
            )
    return found
