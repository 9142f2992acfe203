"""Judge: runs all checks over all journals in one pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import Any, Protocol, TypeVar

from earwitness.checks.catalogue import ALL
from earwitness.checks.contract import Contract
from earwitness.checks.engine.fold import Check, End, Fold, JournalInfo
from earwitness.checks.engine.tables import Array
from earwitness.checks.engine.world import CHUNK, Context, View, World
from earwitness.checks.roster import Roster
from earwitness.checks.verdict import Outcome, Verdict

T = TypeVar("T")
NO_FACTS: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive records of one journal (`journal`: its number), any number of them, as an array of RECORD."""

    journal: int
    records: Array


BY_ROSTER = frozenset(("I8", "I12", "I13", "I15", "I22", "I27", "I34", "I36", "I37", "I38", "I39", "I41", "I42"))
"""Ids of checks whose violations follow from the roster: which device belongs to which user and conversation."""


def certain_alone(contract: Contract) -> frozenset[str]:
    """Return the ids of checks whose findings are proven by their own records, whatever other records are missing.

    Such checks may also read the records that follow a damaged block. If the contract allows a second delivery
    (`at_most_once` is "no"), a record in the wrong order may be a repetition whose first delivery was not recorded, so
    I1 and I2 are left out. Without `idempotent` a second sending may create a second message, so I6 and I7 are left
    out.
    """
    known = {"I4", "I5a", "I10", "I12", "I15"}
    known |= {"I1", "I2"} if contract.at_most_once != "no" else set()
    known |= {"I6", "I7"} if contract.idempotent else set()
    return frozenset(known)


def own_roster(roster: Roster, journals: Sequence[JournalInfo]) -> bool:
    """Return whether every journal whose `meta` states the digest of a roster was recorded with `roster`.

    True also if no journal states one. H6 names the journals that were recorded with another roster.
    """
    stated = {str(journal.meta["roster"]) for journal in journals if "roster" in journal.meta}
    return not stated or stated == {roster.digest()}


def _unproven(verdict: Verdict, why: str) -> Verdict:
    """Return the verdict as UNKNOWN and without its violations if it is a FAIL, else unchanged.

    With a wrong roster a violation proves nothing: a member who is missing in the roster looks like a user who is not a
    member. `why`: words that follow "N violations" in the reason for UNKNOWN.
    """
    if verdict.outcome is not Outcome.FAIL:
        return verdict
    why = f"{verdict.violations} violations {why}"
    return replace(verdict, outcome=Outcome.UNKNOWN, violations=0, findings=(), why=why)


def proven(
    verdicts: Sequence[Verdict], roster: Roster, journals: Sequence[JournalInfo], facts: Mapping[str, Any] = NO_FACTS
) -> list[Verdict]:
    """Return the verdicts; each FAIL that a wrong roster may have caused is replaced by UNKNOWN.

    With a damaged roster (`facts["roster_damaged"]`) every FAIL is replaced. If a journal was recorded with another
    roster, the FAILs of the checks `BY_ROSTER` and of users' own checks are replaced.
    """
    if facts.get("roster_damaged"):
        return [_unproven(verdict, "by a damaged roster (H8)") for verdict in verdicts]
    if own_roster(roster, journals):
        return list(verdicts)
    other = "by a roster that is not the one of the recording (H6)"
    return [_unproven(v, other) if v.id in BY_ROSTER or v.own else v for v in verdicts]


class Watcher(Protocol):
    """Protocol of an observer of all chunks that judges nothing, such as a counter or a histogram."""

    def step(self, view: View) -> None:
        """Process one chunk. The judge calls it after all checks have processed the chunk."""


class Judge:
    """Judge of one history: a single pass over all records, which passes them to every check.

    A check that raises an exception gets the verdict UNKNOWN, with the error as the reason; the others continue.
    Batches of different journals may come in any interleaving: outcome, `examined` and `violations` stay the same. Only
    the records that a finding shows may differ, where several records prove it equally well.
    """

    def __init__(
        self,
        roster: Roster,
        contract: Contract,
        checks: Sequence[Check] = ALL,
        watchers: Sequence[Watcher] = (),
        context: Context | None = None,
    ) -> None:
        """Start each check. A check that raises an exception gets the verdict UNKNOWN, with the error as the reason.

        `watchers`: objects that get each chunk after the checks. `context`: facts about the whole history, for a judge
        that gets the records of some conversations only; None: it gets all records.
        """
        self._world = World(roster, context)
        self._contract = contract
        self._checks = tuple(checks)
        self._watchers = tuple(watchers)
        self._broken: dict[int, str] = {}
        self._folds: list[Fold | None] = []
        for check in self._checks:
            self._folds.append(self._tried(len(self._folds), partial(check.start, roster, contract)))

    @property
    def checks(self) -> tuple[Check, ...]:
        """Return the checks, in the order of the verdicts."""
        return self._checks

    @property
    def world(self) -> World:
        """Return the tables that the checks of this judge share."""
        return self._world

    def fold(self, id: str) -> Fold | None:
        """Return the state of the check `id`; None if it is not among the checks, or could not be started."""
        return next((fold for check, fold in zip(self._checks, self._folds, strict=True) if check.id == id), None)

    def step(self, batch: Batch) -> None:
        """Pass more records of one journal to all checks, in chunks of at most `CHUNK` records."""
        for start in range(0, len(batch.records), CHUNK):
            view = self._world.resolved(batch.journal, batch.records[start : start + CHUNK])
            for number, fold in enumerate(self._folds):
                if fold is not None and number not in self._broken:
                    self._step(number, fold, view)
            for watcher in self._watchers:
                watcher.step(view)

    def peek(self) -> list[Verdict]:
        """Return preliminary verdicts from the records read so far, in the order of the checks.

        They count violations that no further record can undo. A check that is decided at the end of the history is
        UNKNOWN.
        """
        return [self._verdict(number, lambda fold: fold.peek(self._world)) for number in range(len(self._checks))]

    def finish(
        self, journals: Sequence[JournalInfo], facts: Mapping[str, Any] = NO_FACTS, *, forget: bool = False
    ) -> list[Verdict]:
        """Return the final verdicts, in the order of the checks. Call it once, after the last `step`.

        `journals[n]` describes the journal with the number n in batches. `facts`: as `harness.report.facts.facts_of`
        returns them; each H-check documents those it reads. `lag_bound_ms`, `load_attained_min` and `standstill_ms`
        replace the defaults of the checks. `forget`: delete the state of each check as soon as it has its verdict,
        which needs less memory. The judge cannot be used afterwards.
        """
        return proven(self.conclude(journals, facts, forget=forget), self._world.roster, journals, facts)

    def conclude(
        self, journals: Sequence[JournalInfo], facts: Mapping[str, Any] = NO_FACTS, *, forget: bool = False
    ) -> list[Verdict]:
        """Return the final verdicts as `finish` does, but keep FAILs that a wrong roster may have caused (`proven`)."""
        end, verdicts = End(self._world, tuple(journals), facts), []
        for number in range(len(self._checks)):
            verdicts.append(self._verdict(number, lambda fold: fold.finish(end)))
            if forget:
                self._folds[number] = None
        return verdicts

    def _step(self, number: int, fold: Fold, view: View) -> None:
        self._tried(number, lambda: fold.step(view))

    def _verdict(self, number: int, ask: Callable[[Fold], Verdict]) -> Verdict:
        fold, check = self._folds[number], self._checks[number]
        verdict = None
        if fold is not None and number not in self._broken:
            verdict = self._tried(number, lambda: ask(fold))
        if verdict is not None:
            return verdict
        why = f"the check itself failed: {self._broken[number]}"
        promised = check.promised(self._contract)
        return Verdict(id=check.id, name=check.name, outcome=Outcome.UNKNOWN, examined=0, promised=promised, why=why)

    def _tried(self, number: int, act: Callable[[], T]) -> T | None:
        """Return the result of `act`, None if it raised an exception.

        The exception is stored as the reason for UNKNOWN of the check with this number, so that the other checks
        continue.
        """
        try:
            return act()
        except Exception as error:
            self._broken[number] = f"{type(error).__name__}: {error}"
            return None


def judge(
    roster: Roster,
    contract: Contract,
    batches: Iterable[Batch],
    journals: Sequence[JournalInfo],
    facts: Mapping[str, Any] = NO_FACTS,
    checks: Sequence[Check] = ALL,
) -> list[Verdict]:
    """Return the verdicts about a complete history, in the order of `checks`.

    `journals`, `facts`: as in `Judge.finish`.
    """
    sitting = Judge(roster, contract, checks)
    for batch in batches:
        sitting.step(batch)
    return sitting.finish(journals, facts)
