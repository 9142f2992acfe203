"""Interface of a check: a fold over chunks of records.

fold = check.start(roster, contract)
fold.step(view)            # any number of times; chunks of different journals in any interleaving
fold.peek(world)           # the verdict so far: violations already certain, absences still pending
fold.finish(end)           # the verdict
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from earwitness.checks.contract import Contract
from earwitness.checks.engine.tables import Array
from earwitness.checks.engine.world import View, World, unpack
from earwitness.checks.history.record import Flag, Kind
from earwitness.checks.roster import Roster
from earwitness.checks.verdict import Doubt, Finding, Verdict, conclude

FINDINGS = 500
"""Largest number of findings that a verdict keeps. Reports count these findings by replica, kind and place."""
DESCRIBED = 8
"""Largest number of findings that are described with their records."""

WHAT, REC, REC2, CLIENT, MID, MID2, CONV, X, Y = range(9)
"""Columns of a row that a compiled loop writes for each violation.

WHAT: number of the kind of finding; REC, REC2: references of the record that shows it and of another record; CLIENT,
CONV: whom and where it concerns; MID, MID2: message numbers; X, Y: further numbers, which each check defines.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalInfo:
    """Facts about a journal besides its records.

    records   number of complete records
    footer    content of the journal's footer, None: it was never closed
    torn      True: the journal was not closed, because its writer has died or is still running
    meta      facts that the writer stated at the beginning, such as its clock
    gaps      number of records that are missing or damaged; `damage`: sentences about these records
    unsealed  records that no checksum covers
    """

    name: str
    records: int
    footer: Mapping[str, Any] | None
    torn: bool
    meta: Mapping[str, Any]
    gaps: int = 0
    damage: Sequence[str] = ()
    unsealed: int = 0

    @property
    def complete(self) -> bool:
        """Return whether the journal was closed and has no missing or damaged records."""
        return not self.torn and not self.gaps


@dataclass(frozen=True, slots=True)
class End:
    """Facts that a check may use when all records were read: tables, journals, and the run's `facts` by name."""

    world: World
    journals: Sequence[JournalInfo]
    facts: Mapping[str, Any] = field(default_factory=dict)

    def incomplete(self) -> set[int]:
        """Return the numbers of the journals that were not closed, or lack records."""
        return {number for number, journal in enumerate(self.journals) if not journal.complete}

    @property
    def missing(self) -> int:
        """Return how many expected journals do not exist (`facts["journals_expected"]`: a count or names)."""
        expected = self.facts.get("journals_expected", 0)
        number = expected if isinstance(expected, int) else len(expected)
        return max(0, number - len(self.journals))

    @property
    def partial(self) -> bool:
        """Return whether a part of the record is missing: a whole journal, the end of one, or records inside."""
        return bool(self.missing or self.incomplete())

    @property
    def lacks_faults(self) -> bool:
        """Return whether faults may have been on that were not recorded.

        Such a fault could excuse what looks like a violation. It is True if the record is partial, and has fewer
        faults than `facts["planned_faults"]` states (a count, or a list), or that fact is missing.
        """
        if not self.partial:
            return False
        planned = self.facts.get("planned_faults")
        if planned is None:
            return True
        faults, _ = self.world.kept.of(Kind.FAULT)
        on = int(((faults["flags"] & int(Flag.OWN)) > 0).sum())
        return on < (planned if isinstance(planned, int) else len(planned))

    def clock_bound_ns(self) -> int | None:
        """Return by how many ns times of different journals may differ: 0 on one clock, None if unknown.

        Each journal's times may differ from the clock that all were mapped to by its own bound. So two journals differ
        by at most the sum of the two largest bounds; journals of one clock do not differ.
        """
        clocks = {clock_of(journal) for journal in self.journals}
        if len(clocks - {None}) <= 1:
            return 0
        bounds: dict[str | None, int] = {}
        for journal in self.journals:
            bound = _bound_ns(journal.meta)
            if bound is None:
                return None
            bounds[clock_of(journal)] = max(bounds.get(clock_of(journal), 0), bound)
        return sum(sorted(bounds.values())[-2:])


def clock_of(journal: JournalInfo) -> str | None:
    """Return a name of the monotonic clock that stamped a journal: its clock, boot id or host name, else None."""
    value = journal.meta.get("clock") or journal.meta.get("boot_id") or journal.meta.get("host")
    return None if value is None else str(value)


def _bound_ns(meta: Mapping[str, Any]) -> int | None:
    """Return by how many ns the times of a journal may differ from the common clock; None if `meta` does not state it.

    It is `clock_bound_ns`, else the absolute value of `clock_offset_ms`. Importers state the latter: a difference of
    clocks that is still contained in the times.
    """
    bound, offset = meta.get("clock_bound_ns"), meta.get("clock_offset_ms")
    if isinstance(bound, int):
        return bound
    return int(abs(offset) * 1e6) if isinstance(offset, int | float) else None


class Fold(Protocol):
    """Protocol of the state of one check in one judging."""

    def step(self, view: View) -> None:
        """Process one chunk of one journal. Chunks of different journals may be mixed in any order."""

    def peek(self, world: World) -> Verdict:
        """Return the preliminary verdict from the records read so far.

        It counts violations that no further record can undo. A check that is decided at the end of the history is
        UNKNOWN.
        """

    def finish(self, end: End) -> Verdict:
        """Return the final verdict. It is called once, after the last chunk."""


class Check(Protocol):
    """Protocol of a check for the judge: its names, and how it starts a fold."""

    @property
    def id(self) -> str:
        """Return the short id, such as "I1"."""

    @property
    def name(self) -> str:
        """Return the name with hyphens, such as "per-sender-fifo"."""

    @property
    def title(self) -> str:
        """Return the question that the check answers, in plain words."""

    @property
    def sentences(self) -> Mapping[str, str]:
        """Return kind of finding (`Finding.what`) -> template of its sentence."""

    def promised(self, contract: Contract) -> bool:
        """Return whether `contract` promises what this check examines.

        If so, a violation is a FAIL, else an observation.
        """

    def start(self, roster: Roster, contract: Contract) -> Fold:
        """Return a new fold (state of this check), for one judging of a history."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """Implementation of `Check` from its parts.

    fold       class of the check's state; it is called with the check, roster and contract
    when       function that returns whether a contract promises what the check examines
    sentences  kind of finding (`Finding.what`) -> sentence about it, with facts in braces that
               `checks.findings.sentences` replaces by names
    tally      sentence about all violations together: `{violations}`, `{examined}`, `{are}` and facts of the verdict
               stand in braces; "" for a general sentence
    unit       what is counted as examined, in the plural: "resumed conversations"
    symptom    what users notice of a violation, as a plain sentence without its stop; "" for checks of the tester
    """

    id: str
    name: str
    title: str
    fold: Callable[[Described, Roster, Contract], Fold]
    when: Callable[[Contract], bool] = lambda contract: True
    sentences: Mapping[str, str] = field(default_factory=dict)
    tally: str = ""
    unit: str = ""
    symptom: str = ""

    @property
    def definition(self) -> str:
        """Return the definition of the check: the docstring of its fold, whose first paragraph states the promise.

        The beginning "State of ID: " is removed.
        """
        text = inspect.cleandoc(inspect.getdoc(self.fold) or "").removeprefix(f"State of {self.id}: ")
        return text[:1].upper() + text[1:]

    @property
    def statement(self) -> str:
        """Return the promise as a statement: the first paragraph of `definition`.

        It is the question (`title`) if docstrings were stripped (`python -OO`).
        """
        return " ".join(self.definition.partition("\n\n")[0].split()) or self.title

    def promised(self, contract: Contract) -> bool:
        """Implement `Check.promised`: return the result of `when`."""
        return self.when(contract)

    def start(self, roster: Roster, contract: Contract) -> Fold:
        """Implement `Check.start`: return a new object of `fold`."""
        return self.fold(self, roster, contract)


class Suspects:
    """Counter of violations that stores the rows of the first FINDINGS of them, in the order of record references."""

    def __init__(self) -> None:
        """Start without violations."""
        self.total = 0
        self.rows: list[tuple[int, ...]] = []

    def take(self, out: Array, n: int, count: int | None = None) -> None:
        """Add the first `n` rows of `out`, which represent `count` violations (None: `n`)."""
        self.total += n if count is None else count
        if n == 0:
            return
        if len(self.rows) == FINDINGS and out[:n, REC].min() >= self.rows[-1][REC]:
            return  # all of these come after those that are kept
        order = out[:n, REC].argsort(kind="stable")[:FINDINGS]
        self.rows += [tuple(int(value) for value in out[k]) for k in order]
        self.rows.sort(key=lambda row: row[REC])
        del self.rows[FINDINGS:]

    def merged(self, *others: Suspects) -> Suspects:
        """Return a new counter with the sum of all violations, and the first FINDINGS of all rows."""
        both = Suspects()
        for one in (self, *others):
            both.total += one.total
            both.rows += one.rows
        both.rows.sort(key=lambda row: row[REC])
        del both.rows[FINDINGS:]
        return both


class Folding:
    """Base class of the folds of shipped checks.

    Subclasses implement `step`, `peek` and `finish`, and return the verdict of `conclude`.
    """

    def __init__(self, check: Described, roster: Roster, contract: Contract) -> None:
        """Start with nothing examined. `check`: its names and texts; `contract`: whether the check is promised."""
        self.check, self.roster, self.contract = check, roster, contract
        self.suspects = Suspects()
        self.examined = 0

    def conclude(
        self,
        findings: Iterable[Finding] = (),
        *,
        unknown: str | Doubt | Sequence[Doubt] = "",
        examined: int | None = None,
        violations: int | None = None,
        facts: Mapping[str, Any] | None = None,
        devices: Iterable[int] = (),
    ) -> Verdict:
        """Return the verdict of this check.

        `examined` and `violations`: None for the counts made while stepping; `unknown`: reasons for UNKNOWN, "" for
        none. A check that is judged by conversation states counts in its reasons as `Doubt`.
        """
        return conclude(
            self.check.id,
            self.check.name,
            examined=self.examined if examined is None else examined,
            violations=self.suspects.total if violations is None else violations,
            findings=findings,
            promised=self.check.promised(self.contract),
            unknown=unknown,
            facts=facts,
            devices=devices,
        )


LACKS_FAULTS = "a part of the record is missing, and with it perhaps the faults that explain {}"
PENDING = "absences are decided at the end"


GROUP = 1 << 60
"""Step between groups of findings in `Finding.at`, so that all findings of one group sort before those of the next."""


def finding(world: World, what: str, row: Sequence[int], *records: int, at: int | None = None, **facts: int) -> Finding:
    """Return a finding of kind `what` from a row (columns of this module).

    `records`: references in the order of the sentence; 0 and repetitions are left out. `facts`: further numbers for the
    sentence. `at`: sort key among the findings of the check; None for the reference of the row's record, or without one
    that of the message's first sending.
    """
    at = int(row[REC] or invoked(world, row[MID])) if at is None else int(at)
    known: dict[str, int] = {}
    if row[CLIENT] >= 0:
        known["client"] = row[CLIENT]
    if row[CONV] >= 0:
        known["conv"] = row[CONV]
    for mid, prefix in ((row[MID], ""), (row[MID2], "other_")):
        if mid >= 0:
            known[f"{prefix}author"], known[f"{prefix}counter"] = world.name_of(mid)
    told = tuple(unpack(rec) for rec in dict.fromkeys(records) if rec)
    return Finding(what=what, records=told, facts={**known, **facts}, at=at)


def invoked(world: World, mid: int) -> int:
    """Return the record reference of a message's first sending, 0 if it was not recorded."""
    return int(world.tables.messages[mid]["invoke_rec"]) if mid >= 0 else 0
