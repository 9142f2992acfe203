"""Users' own checks for the judge: a fold that stores the records and calls the user's function at the end."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass, field

from earwitness.checks.contract import Contract
from earwitness.checks.engine.fold import DESCRIBED, PENDING, End
from earwitness.checks.engine.tables import Array
from earwitness.checks.engine.world import View, World
from earwitness.checks.own import Found, History, OwnCheck, history_of, places_of
from earwitness.checks.roster import Roster
from earwitness.checks.verdict import OWN, Finding, Verdict, conclude

SHARED = "records for own checks"
PART_MISSING = "a part of the record is missing (H1)"


@dataclass(frozen=True, slots=True)
class Own:
    """Own check with the id that it has in this run. It implements `Check`."""

    id: str
    definition: OwnCheck

    @property
    def name(self) -> str:
        """Return the name that the user gave to the check."""
        return self.definition.name

    @property
    def title(self) -> str:
        """Return the user's promise."""
        return self.definition.promise

    @property
    def file(self) -> str:
        """Return the absolute path of the file that defines the check."""
        return self.definition.file

    @property
    def sentences(self) -> Mapping[str, str]:
        """Return an empty mapping: the user's check words its findings itself, so it needs no templates."""
        return {}

    def promised(self, contract: Contract) -> bool:
        """Return True: the user states the promise with the check."""
        return True

    def start(self, roster: Roster, contract: Contract) -> OwnFold:
        """Implement `Check.start`: return a new `OwnFold`."""
        return OwnFold(self, roster, contract)


@dataclass(frozen=True, slots=True)
class NotRun:
    """Own check that is not run because no user named its file. Its verdict is always UNKNOWN.

    It implements `Check` and `Fold`.
    """

    id: str
    name: str
    title: str
    file: str

    @property
    def sentences(self) -> Mapping[str, str]:
        """Return an empty mapping: the check has no findings."""
        return {}

    def promised(self, contract: Contract) -> bool:
        """Return True: the user states the promise with the check."""
        return True

    def start(self, roster: Roster, contract: Contract) -> NotRun:
        """Implement `Check.start`: return this object, which has no state."""
        return self

    def step(self, view: View) -> None:
        """No-op: the check reads no records."""

    def peek(self, world: World) -> Verdict:
        """Return the verdict UNKNOWN."""
        return self._verdict()

    def finish(self, end: End) -> Verdict:
        """Return the verdict UNKNOWN."""
        return self._verdict()

    def _verdict(self) -> Verdict:
        why = f"not run: a run's directory does not execute code by itself; name the file: --check {self.file}"
        return conclude(self.id, self.name, examined=0, violations=0, unknown=why)


@dataclass(slots=True)
class Kept:
    """All records that were judged, and the history made of them. The own checks of one judging share one object.

    `chunks`: (journal number, array of RECORD); `last`: the chunk that was stored last; `made`: the history of all
    chunks, None while it is not needed.
    """

    chunks: list[tuple[int, Array]] = field(default_factory=list)
    last: View | None = None
    made: History | None = None

    def keep(self, view: View) -> None:
        """Store the records of a chunk. Repeated calls with the same chunk store it once.

        Batches are arrays that the receiver may keep (`harness.record.history`), so nothing is copied.
        """
        if view is not self.last:
            self.last, self.made = view, None
            self.chunks.append((view.journal, view.records))

    def history(self, end: End, contract: Contract) -> History:
        """Return the history of all stored records. Later calls return the same object."""
        if self.made is None:
            self.made = history_of(
                self.chunks,
                end.world.roster,
                contract,
                journals=tuple(journal.name for journal in end.journals),
                complete=not end.partial,
                clock_bound_ns=end.clock_bound_ns(),
            )
        return self.made


class OwnFold:
    """State of one own check.

    The user's function needs the whole history, so it is called once, at the end. A finding may exist only because
    other records are missing. So the verdict is UNKNOWN if a part of the history is missing, unless the check states
    `needs_all=False`.
    """

    def __init__(self, check: Own, roster: Roster, contract: Contract) -> None:
        """Start without records; the function of `check` sees all of them at the end."""
        self.check, self.contract = check, contract
        self.kept = Kept()

    def step(self, view: View) -> None:
        """Implement `Fold.step`: store the records of the chunk."""
        self.kept = kept_of(view.world)
        self.kept.keep(view)

    def peek(self, world: World) -> Verdict:
        """Implement `Fold.peek`: always UNKNOWN, because the user's function runs at the end."""
        return self._conclude(unknown=PENDING)

    def finish(self, end: End) -> Verdict:
        """Implement `Fold.finish`: call the user's function on the whole history, and conclude from what it finds.

        If it raises, the verdict is UNKNOWN with the error's first line.
        """
        try:
            with redirect_stdout(sys.stderr):  # the verdict may be printed there, for a program
                examined, violations, findings = self._examine(self.kept.history(end, self.contract))
        except (Exception, SystemExit) as error:
            return self._conclude(unknown=f"the check itself failed: {words_of(error, self.check.file)}")
        if end.partial and self.check.definition.needs_all:
            doubt = f"{PART_MISSING}, and with it perhaps what explains {violations:,} findings"
            return self._conclude(examined, unknown=doubt if violations else PART_MISSING)
        return self._conclude(examined, violations, findings)

    def _examine(self, history: History) -> tuple[int, int, list[Finding]]:
        """Return the number of examined opportunities, the number of violations, and the first DESCRIBED findings."""
        violations, findings = 0, list[Finding]()

        def take(found: Found) -> None:
            nonlocal violations
            sentence, places = places_of(found)
            violations += 1
            if violations <= DESCRIBED:
                findings.append(Finding(what="found", records=places, sentence=sentence))

        examined = self.check.definition.examine(history, take)
        return examined, violations, findings

    def _conclude(
        self, examined: int = 0, violations: int = 0, findings: list[Finding] | None = None, unknown: str = ""
    ) -> Verdict:
        return conclude(
            self.check.id,
            self.check.name,
            examined=examined,
            violations=violations,
            findings=findings or (),
            unknown=unknown,
        )


def kept_of(world: World) -> Kept:
    """Return the stored records that all own checks of one judging share; at first without records."""
    kept = world.shared.setdefault(SHARED, Kept())
    assert isinstance(kept, Kept)
    return kept


def words_of(error: BaseException, file: str) -> str:
    """Return an error in words: its class, the first line of its text, and the line of `file` from which it came."""
    text = str(error).strip().partition("\n")[0]
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    where = f" ({file.rpartition('/')[2]}:{lines[-1]})" if lines else ""
    return f"{type(error).__name__}{f': {text}' if text else ''}{where}"


def with_ids(stated: list[tuple[str, str, str]], given: list[OwnCheck]) -> list[Own | NotRun]:
    """Return the own checks of a run with their ids U1, U2, …, in the order of the run.

    stated  (name, promise, file) of the checks that the run was made with
    given   checks that may run. A check of `stated` that is not in `given` becomes a `NotRun`; those that are only in
            `given` come last
    """
    by_name = {one.name: one for one in given}
    known = {name for name, _, _ in stated}
    rows = [*stated, *((one.name, one.promise, one.file) for one in given if one.name not in known)]
    return [
        Own(f"{OWN}{n}", by_name[name]) if name in by_name else NotRun(f"{OWN}{n}", name, promise, file)
        for n, (name, promise, file) in enumerate(rows, start=1)
    ]
