"""Cells of the matrix of defects, and their results as JSON lines, so that an interrupted matrix can be continued."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from earwitness.harness.errors import Exit, RecordError
from earwitness.harness.evidence.defect import Defect, Power
from earwitness.harness.evidence.stages import ROUGH, stories_of

HEALTHY = "healthy"
"""Value of `Cell.defect` for a run without a defect; `HEALTHY STORY` for stories other than `rough`."""
JUDGED = (Exit.PASS, Exit.FAIL, Exit.UNKNOWN, Exit.THRESHOLD)


@dataclass(frozen=True, slots=True)
class Cell:
    """One run of the matrix.

    `defect`: id of the defect, or HEALTHY; `power`: how often the defect fires ("high" or "one", "" if healthy).
    """

    defect: str
    power: str
    seed: int

    @property
    def healthy(self) -> bool:
        """Return whether the cell is a run without a defect."""
        return self.defect.startswith(HEALTHY)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """Result of a cell's run.

    defect, power, seed  of the cell
    probability          with which the defect fired at each opportunity; 0 without a defect
    exit_code            of the run
    failed               ids of the promised checks that failed
    fired, manifest      number of firings, and of those whose effect was visible, from the ground truth of the run
    messages             number of messages sent
    seconds, at          duration of the run with its verdict in s, and its start as Unix time in s
    commit               of the judged code
    run                  name of the run's directory, "" without a verdict
    silent               reasons why checks designed for the defect could not find it
    """

    defect: str
    power: str
    seed: int
    probability: float
    exit_code: int
    failed: tuple[str, ...]
    fired: int
    manifest: int
    messages: int
    seconds: float
    at: float
    commit: str
    run: str
    silent: tuple[str, ...] = ()

    @property
    def cell(self) -> Cell:
        """Return the cell of the result."""
        return Cell(self.defect, self.power, self.seed)

    @property
    def judged(self) -> bool:
        """Return whether the run has a verdict."""
        return self.exit_code in JUDGED

    @property
    def detected(self) -> bool:
        """Return whether the verdict was FAIL."""
        return self.exit_code == Exit.FAIL

    def attributed(self, defect: Defect) -> bool:
        """Return whether one of the failed checks is designed for the defect."""
        return self.detected and bool(set(self.failed) & set(defect.caught_by))


@contextmanager
def reserved(work: Path) -> Iterator[None]:
    """Hold the lock of the work directory `work` within this context; make the directory if needed.

    Raises RecordError if the directory cannot be used, or if another process holds the lock.
    """
    try:
        work.mkdir(parents=True, exist_ok=True)
        lock = os.open(work / "lock", os.O_CREAT | os.O_WRONLY, 0o644)
    except OSError as error:
        raise RecordError(f"{work} cannot be used: {error.strerror}.") from error
    try:
        if not _taken(lock):
            raise RecordError(f"Another matrix works in {work}: wait for its end, or name another --work.")
        yield
    finally:
        os.close(lock)


def _taken(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class Results:
    """Results in a work directory. If a cell was run twice, the later result counts."""

    def __init__(self, work: Path) -> None:
        """Make the directory `work` if needed, and read its results. Raises RecordError if it cannot be used."""
        self.path = work / "results.jsonl"
        self.by_cell: dict[Cell, Result] = {}
        try:
            work.mkdir(parents=True, exist_ok=True)
            if self.path.exists():
                for number, line in enumerate(self.path.read_text().splitlines(), start=1):
                    self._remember(_parse(line, self.path, number))
        except OSError as error:
            raise RecordError(f"{self.path} cannot be used: {error.strerror}.") from error

    def add(self, result: Result) -> None:
        """Append a result to the file and to this object."""
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(result)) + "\n")
        self._remember(result)

    def _remember(self, result: Result) -> None:
        self.by_cell[result.cell] = result

    def missing(self, cells: Sequence[Cell]) -> list[Cell]:
        """Return the cells that have no result, or a result without a verdict."""
        return [cell for cell in cells if cell not in self.by_cell or not self.by_cell[cell].judged]

    def of(self, defect: str, power: str) -> list[Result]:
        """Return all results of the defect with the id `defect` at a power."""
        return [r for cell, r in self.by_cell.items() if (cell.defect, cell.power) == (defect, power)]


def _parse(line: str, path: Path, number: int) -> Result:
    try:
        data: Mapping[str, Any] = json.loads(line)
        lists = {name: tuple(data.get(name, ())) for name in ("failed", "silent")}
        return Result(**{**data, **lists})
    except (ValueError, TypeError, KeyError) as error:
        raise RecordError(f"{path}, line {number} is no result: {error}. Remove the line to continue.") from error


def cells_of(defects: Sequence[Defect], powers: Sequence[Power], seeds: int, healthy: int) -> list[Cell]:
    """Return the cells of a matrix in the order in which they are run.

    First come `healthy` healthy runs of the story `rough` and, unless `healthy` is 0, `seeds` healthy runs of each
    other story. Then come the defects; all seeds of a defect follow each other, because they share a platform.
    """

    def each() -> Iterator[Cell]:
        yield from (Cell(HEALTHY, "", seed) for seed in range(1, healthy + 1))
        for story in stories_of(defects):
            if story != ROUGH and healthy:
                yield from (Cell(f"{HEALTHY} {story}", "", seed) for seed in range(1, seeds + 1))
        for power in powers:
            for defect in defects:
                yield from (Cell(defect.id, power, seed) for seed in range(1, seeds + 1))

    return list(each())
