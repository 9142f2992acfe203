"""Histories in memory, written into a run directory as load processes write them: bit by bit if wanted."""

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
    """A run directory whose journals grow by `write`. `run` has roster, contract, journals and infos, as `Soup`."""

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
        """Journals that are not yet written to their end."""
        return [n for n, rows in enumerate(self._rows) if self.written[n] < len(rows)]

    def journal(self, number: int) -> Journal:
        """A journal, which is created when it is first asked for."""
        journal = self._journals[number]
        if journal is None:
            journal = self._journals[number] = Journal.create(
                self.directory.journals, self._names[number], meta={"host": "here"}
            )
        return journal

    def write(self, number: int, count: int) -> None:
        """The next `count` records of a journal."""
        journal = self.journal(number)
        start = self.written[number]
        for row in self._rows[number][start : start + count]:
            journal.write(*row)
        self.written[number] = min(start + count, len(self._rows[number]))

    def close(self, torn: Sequence[int] = ()) -> None:
        """Close all journals, but leave those without a footer."""
        for number in range(len(self._journals)):
            self.write(number, 0)
            journal = self._journals[number]
            assert journal is not None
            journal.close(None if number in torn else dict(self._footers[number] or {}))
        conclude(self.directory, state="collected")
