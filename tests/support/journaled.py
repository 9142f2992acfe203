"""Histories in memory, written into a run directory as load processes write them, also a few records at a time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from earwitness.checks.history.record import RECORD
from earwitness.harness.record.evidence import conclude
from earwitness.harness.record.journal import Journal
from earwitness.harness.record.rundir import RunDirectory

SLOTS = [name for name in RECORD.names or () if name != "index"]


class Journaled:
    """Run directory whose journals grow with each call of `write`. `run`: has roster, contract, journals and infos."""

    def __init__(self, path: Path, run: Any, **described: Any) -> None:
        self.directory = RunDirectory.at(path)
        self.directory.write_roster(run.roster)
        names = [info.name for info in run.infos]
        self.directory.update(
            contract=run.contract.to_dict(), journals=names, story="test", state="running", **described
        )
        self._rows = [journal[SLOTS].tolist() for journal in run.journals]
        self._footers = [info.footer for info in run.infos]
        self._names = names
        self._journals: list[Journal | None] = [None] * len(names)
        self.written = [0] * len(names)

    @property
    def left(self) -> list[int]:
        """Return the numbers of the journals that are not completely written yet."""
        return [n for n, rows in enumerate(self._rows) if self.written[n] < len(rows)]

    def journal(self, number: int) -> Journal:
        """Return journal number `number`; it is created at the first call."""
        journal = self._journals[number]
        if journal is None:
            journal = self._journals[number] = Journal.create(
                self.directory.journals, self._names[number], meta={"host": "here"}
            )
        return journal

    def write(self, number: int, count: int) -> None:
        """Write the next `count` records of journal number `number`."""
        journal = self.journal(number)
        start = self.written[number]
        for row in self._rows[number][start : start + count]:
            journal.write(*row)
        self.written[number] = min(start + count, len(self._rows[number]))

    def close(self, torn: Sequence[int] = ()) -> None:
        """Close all journals and conclude the run; the journals in `torn` are left without a footer."""
        for number in range(len(self._journals)):
            self.write(number, 0)
            journal = self._journals[number]
            assert journal is not None
            journal.close(None if number in torn else dict(self._footers[number] or {}))
        conclude(self.directory, state="collected")
