"""Histories with a missing part: a journal, its end, the records after a damaged one, or a user's platform name.

Every check must satisfy this: if it fails without the part, it fails with it. So no FAIL depends on what is missing.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from compare import batches

from earwitness.checks.catalogue import ALL
from earwitness.checks.engine.fold import Check, JournalInfo
from earwitness.checks.history.record import Kind
from earwitness.checks.judge import judge
from earwitness.checks.verdict import Outcome, Verdict

STRANGER = -2
NAMING = (Kind.DELIVER, Kind.REPLAY, Kind.STORED, Kind.IDENTITY)


@dataclass(frozen=True)
class Parts:
    """The remaining part of a run.

    `expected`: number of journals of the run; `lost`: description of the missing part.
    """

    roster: Any
    contract: Any
    journals: Sequence[np.ndarray]
    infos: Sequence[JournalInfo]
    expected: int
    lost: str

    def judge(self, checks: Sequence[Check] = ALL) -> dict[str, Verdict]:
        facts = {"journals_expected": self.expected}
        verdicts = judge(self.roster, self.contract, batches(self.journals, None), self.infos, facts, checks)
        return {verdict.id: verdict for verdict in verdicts}

    def failed(self, checks: Sequence[Check] = ALL) -> set[str]:
        return {id for id, verdict in self.judge(checks).items() if verdict.outcome is Outcome.FAIL}


def whole(run: Any) -> Parts:
    infos = [
        JournalInfo(name=i.name, records=i.records, footer=i.footer, torn=i.torn, meta=i.meta, gaps=i.gaps)
        for i in run.infos
    ]
    return Parts(run.roster, run.contract, run.journals, infos, len(infos), "nothing")


def without(run: Any, number: int) -> Parts:
    """Return the run without journal number `number`, which `run.json` still names."""
    full = whole(run)
    journals = [j for n, j in enumerate(full.journals) if n != number]
    infos = [i for n, i in enumerate(full.infos) if n != number]
    return Parts(run.roster, run.contract, journals, infos, len(run.infos), f"journal {number}")


def cut(run: Any, number: int, left: int, *, torn: bool) -> Parts:
    """Return the run with only the first `left` records of journal number `number`.

    `torn`: as if its process died; else as if the record after them is damaged.
    """
    full = whole(run)
    journals, infos = list(full.journals), list(full.infos)
    gone = len(journals[number]) - left
    journals[number] = journals[number][:left]
    info = infos[number]
    infos[number] = JournalInfo(
        name=info.name, records=left, footer=None if torn else info.footer, torn=torn, meta=info.meta,
        gaps=0 if torn else gone,
    )  # fmt: skip
    how = "torn" if torn else "damaged"
    return Parts(run.roster, run.contract, journals, infos, len(infos), f"journal {number} {how} at {left}")


def nameless(run: Any, number: int, client: int) -> Parts:
    """Return the run without the end of a side file: its journal is torn, and a user's name on the platform is unknown.

    `number`: the journal; `client`: any device of the user.
    """
    user = run.roster.user_of[client]
    own = [n for n, other in enumerate(run.roster.user_of) if other == user]
    journals = [journal.copy() for journal in run.journals]
    for journal in journals:
        named = np.isin(journal["kind"], NAMING) & np.isin(journal["aux"], own)
        journal["aux"][named] = STRANGER
    infos = [
        JournalInfo(name=i.name, records=i.records, footer=i.footer, torn=i.torn, meta=i.meta, gaps=i.gaps)
        for i in run.infos
    ]
    infos[number] = JournalInfo(name=infos[number].name, records=infos[number].records, footer=None, torn=True, meta={})
    return Parts(run.roster, run.contract, journals, infos, len(infos), f"the names of client {client}")


def all_parts(run: Any, seed: int) -> Iterator[Parts]:
    """Yield the run with each journal missing, torn, and damaged at a random place, and with a user's name missing."""
    rng = random.Random(seed)
    for number, journal in enumerate(run.journals):
        if len(run.journals) > 1:
            yield without(run, number)
        yield cut(run, number, rng.randrange(len(journal) + 1), torn=True)
        yield cut(run, number, rng.randrange(len(journal) + 1), torn=False)
    yield nameless(run, rng.randrange(len(run.journals)), rng.randrange(len(run.roster.user_of)))
