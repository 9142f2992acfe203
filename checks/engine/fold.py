"""Interface of a check: a fold over chunks of records.

fold = check.start(roster, contract)
fold.step(view)            # any number of times; chunks of different journals in any interleaving
fold.peek(world)           # the verdict so far: violations already certain, absences still pending
fold.finish(end)           # the verdict
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from earwitness.checks.contract import Contract
from earwitness.checks.engine.tables import Array
from earwitness.checks.engine.world import View, World, unpack
from earwitness.checks.history.record import Flag, Kind
from earwitness.checks.roster import Roster
from earwitness.checks.verdict import Finding, Verdict, conclude

FINDINGS = 8
"""Number of findings that a verdict keeps."""

WHAT, REC, REC2, CLIENT, MID, MID2, CONV, X, Y = range(9)
"""Columns of a row that a compiled loop writes for each violation; `REC` is the record that shows it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalInfo:
    """Facts about a journal besides its records.

    footer    None: it was never closed
    gaps      records that are missing or damaged; `damage` says in words where
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
    """Everything that a check may know when no more records come."""

    world: World
    journals: Sequence[JournalInfo]
    facts: Mapping[str, Any] = field(default_factory=dict)

    def incomplete(self) -> set[int]:
        """Return the numbers of the journals whose end is missing."""
        return {number for number, journal in enumerate(self.journals) if not journal.complete}

    @property
    def missing(self) -> int:
        """Return how many expected journals never came (`facts["journals_expected"]`: a number or names)."""
        expected = self.facts.get("journals_expected", 0)
        number = expected if isinstance(expected, int) else len(expected)
        return max(0, number - len(self.journals))

    @property
    def partial(self) -> bool:
        """Return whether a part of the record is missing: a whole journal, or the end of one."""
        return bool(self.missing or self.incomplete())

    @property
    def lacks_faults(self) -> bool:
        """Return whether faults may have been on that are not on record.

        Such a fault would excuse what looks wrong without it.
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
        """Return by how many ns times of different journals may differ: 0 on one host, None if it is not known."""
        hosts = {host_of(journal) for journal in self.journals}
        if len(hosts - {None}) <= 1:
            return 0
        offsets = [journal.meta.get("clock_offset_ms") for journal in self.journals]
        if not offsets or any(not isinstance(offset, int | float) for offset in offsets):
            return None
        return int(2e6 * max(abs(float(offset)) for offset in offsets if offset is not None))


def host_of(journal: JournalInfo) -> str | None:
    """Return the host whose monotonic clock stamped a journal: its boot id where stated, else its name."""
    value = journal.meta.get("boot_id") or journal.meta.get("host")
    return None if value is None else str(value)


class Fold(Protocol):
    """State of one check."""

    def step(self, view: View) -> None:
        """Read one chunk of one journal; chunks of different journals come in any interleaving."""

    def peek(self, world: World) -> Verdict:
        """Return the verdict so far: violations already certain, absences still pending."""

    def finish(self, end: End) -> Verdict:
        """Return the final verdict; no more records come."""


class Check(Protocol):
    """Check as the judge sees it: it names itself and starts a fold."""

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
        """Return the templates of sentences by kind of finding."""

    def promised(self, contract: Contract) -> bool:
        """Return whether the contract promises it, so that a violation is a FAIL and not an observation."""

    def start(self, roster: Roster, contract: Contract) -> Fold:
        """Return a fresh fold for one judging."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """Check made of its parts.

    fold       class of its state
    when       whether a contract promises it
    sentences  by kind of finding (`Finding.what`) the sentence about one, with facts in braces that
               `checks.findings.sentences` replaces by names
    """

    id: str
    name: str
    title: str
    fold: Callable[[Described, Roster, Contract], Fold]
    when: Callable[[Contract], bool] = lambda contract: True
    sentences: Mapping[str, str] = field(default_factory=dict)

    def promised(self, contract: Contract) -> bool:
        """Implement `Check.promised` by `when`."""
        return self.when(contract)

    def start(self, roster: Roster, contract: Contract) -> Fold:
        """Implement `Check.start` by calling `fold`."""
        return self.fold(self, roster, contract)


class Suspects:
    """Counter of violations that keeps the rows of the first few, ordered by record reference."""

    def __init__(self) -> None:
        """Start without violations."""
        self.total = 0
        self.rows: list[tuple[int, ...]] = []

    def take(self, out: Array, n: int, count: int | None = None) -> None:
        """Add the first `n` rows of `out`, which stand for `count` violations (`n` if None)."""
        self.total += n if count is None else count
        if n == 0:
            return
        order = out[:n, REC].argsort(kind="stable")[:FINDINGS]
        self.rows += [tuple(int(value) for value in out[k]) for k in order]
        self.rows.sort(key=lambda row: row[REC])
        del self.rows[FINDINGS:]

    def merged(self, *others: Suspects) -> Suspects:
        """Return the union with others; both counts are added and the first few rows kept."""
        both = Suspects()
        for one in (self, *others):
            both.total += one.total
            both.rows += one.rows
        both.rows.sort(key=lambda row: row[REC])
        del both.rows[FINDINGS:]
        return both


class Folding:
    """Base class of the folds here: concludes with the check's name and the contract's promise."""

    def __init__(self, check: Described, roster: Roster, contract: Contract) -> None:
        """Start with nothing examined; `check` names the findings, `contract` holds the promise."""
        self.check, self.roster, self.contract = check, roster, contract
        self.suspects = Suspects()
        self.examined = 0

    def conclude(
        self,
        findings: Iterable[Finding] = (),
        *,
        unknown: str = "",
        examined: int | None = None,
        violations: int | None = None,
        facts: Mapping[str, Any] | None = None,
    ) -> Verdict:
        """Return the verdict; `examined` and `violations` default to what was counted while stepping."""
        return conclude(
            self.check.id,
            self.check.name,
            examined=self.examined if examined is None else examined,
            violations=self.suspects.total if violations is None else violations,
            findings=findings,
            promised=self.check.promised(self.contract),
            unknown=unknown,
            facts=facts,
        )


LACKS_FAULTS = "a part of the record is missing, and with it perhaps the faults that explain {}"
PENDING = "absences are decided at the end"


def finding(world: World, what: str, row: Sequence[int], *records: int, **facts: int) -> Finding:
    """Return a finding made of a row.

    `records` are references in the order of the text; 0 and repetitions are left out.
    """
    known: dict[str, int] = {}
    if row[CLIENT] >= 0:
        known["client"] = row[CLIENT]
    if row[CONV] >= 0:
        known["conv"] = row[CONV]
    for mid, prefix in ((row[MID], ""), (row[MID2], "other_")):
        if mid >= 0:
            known[f"{prefix}author"], known[f"{prefix}counter"] = world.name_of(mid)
    told = tuple(unpack(rec) for rec in dict.fromkeys(records) if rec)
    return Finding(what=what, records=told, facts={**known, **facts})


def invoked(world: World, mid: int) -> int:
    """Return the record of a message's first sending, 0 if there is none."""
    return int(world.tables.messages[mid]["invoke_rec"]) if mid >= 0 else 0
