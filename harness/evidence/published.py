"""Publication of pages of evidence: a page is replaced only by one that rests on as many runs or more."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

from earwitness.harness.record.rundir import write_whole

MEASURES = ("armed", "runs", "outcome")
"""Headers of columns that state on how many runs a row rests. The first of them that a table has is used."""
NOT_RUN = "not run"
BY_CHANCE = "with a defect that did not fire"
"""Name of a row that is left out, because its number of runs depends on chance."""
NAMED = 4

Shown: TypeAlias = dict[tuple[str, ...], int]
"""(Heading, cells that name the row) → number of runs on which the row rests, 0 if it was not run."""


def shown(page: str) -> Shown:
    """Return the number of runs of each row of a page, for tables that have a column of MEASURES."""
    rows: Shown = {}
    heading, columns = "", list[str]()
    for line in page.splitlines():
        if line.startswith("#"):
            heading, columns = line.lstrip("# "), []
        if not line.startswith("|"):
            columns = []
            continue
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not columns:
            columns = cells
            continue
        measure = next((columns.index(name) for name in MEASURES if name in columns), None)
        if measure is not None and len(cells) > measure and not line.startswith("|---") and cells[0] != BY_CHANCE:
            # A test has a row for each of its defects; elsewhere the first cell is the name.
            name = cells[:2] if columns[1] == "defect" else cells[:1]
            rows[heading, *name] = _runs(cells[measure])
    return rows


def _runs(cell: str) -> int:
    number = cell.replace(",", "")
    return int(number) if number.isdigit() else int(cell != NOT_RUN)


def lost(before: Mapping[tuple[str, ...], int], after: Mapping[tuple[str, ...], int]) -> list[str]:
    """Return the names of the rows that are based on fewer runs in `after` than in `before`."""
    return [" ".join(filter(None, key[1:])) for key, runs in before.items() if runs > after.get(key, 0)]


def publish(page: Path, text: str, aside: Path) -> str:
    """Write a page of evidence; return a sentence about what was done.

    The text is written to `aside` instead if the present page rests on more runs, or is not a page of evidence. Raises
    OSError, or RecordError if the file cannot be written.
    """
    before = page.read_text("utf-8") if page.exists() else ""
    fewer = lost(shown(before), shown(text))
    # Every page of evidence names in its first lines the command that writes it.
    foreign = bool(before.strip()) and "Written by `" not in before[:200]
    if not fewer and not foreign:
        page.parent.mkdir(parents=True, exist_ok=True)
        write_whole(page, text.encode())
        return f"written: {page}"
    aside.parent.mkdir(parents=True, exist_ok=True)
    write_whole(aside, text.encode())
    if foreign:
        return f"{page} was not changed: it is no page of evidence. The results are in {aside}"
    some = ", ".join(fewer[:NAMED]) + (f" and {len(fewer) - NAMED} more" if len(fewer) > NAMED else "")
    return f"{page} was not changed: it shows more runs of {some}. The results are in {aside}"
