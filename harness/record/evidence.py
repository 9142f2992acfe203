"""Hashes of a whole run: `run.json` states them for its files, and a reader compares the files with them.

`run.json` carries a checksum of its own content (`harness.record.rundir`), and in `evidence`:

    journals  name → {"records", "blocks", "begin", "end"}: hashes of the side file's first and last line; None for a
              journal that was not closed
    files     path → SHA-256 of each other file that a verdict rests on: roster, tables, raw frames

The hashes show damage and exchanged files. They do not protect against somebody who rewrites all files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypedDict

from earwitness.harness.errors import RecordError
from earwitness.harness.record.frames import SUFFIX as FRAMES_SUFFIX
from earwitness.harness.record.journal import NAMES_SUFFIX
from earwitness.harness.record.reading import JournalView, compared, disown, verify
from earwitness.harness.record.rundir import ROSTER_FILE, RunDirectory
from earwitness.harness.record.sidecar import Sidecar

KEY: Final = "evidence"


class Claim(TypedDict):
    """Entry of `run.json` for one journal: its size, and the hashes in its side file's first and last line."""

    records: int
    blocks: int
    begin: str
    end: str


def conclude(run: RunDirectory, **values: object) -> None:
    """Merge `values` into `run.json`, and the hashes of all files.

    Call it when no process writes to the run any more. Raises RecordError if a file cannot be read or written.
    """
    journals = {
        path.name.removesuffix(NAMES_SUFFIX): _claim(path) for path in sorted(run.journals.glob(f"*{NAMES_SUFFIX}"))
    }
    files = {path.relative_to(run.path).as_posix(): _sha256(path) for path in _others(run.path)}
    run.update(**values, **{KEY: {"journals": journals, "files": files}})


def _others(path: Path) -> list[Path]:
    tables, frames = (path / "tables").glob("*.jsonl"), (path / "journals").glob(f"*{FRAMES_SUFFIX}")
    return [path / ROSTER_FILE, *sorted(tables), *sorted(frames)]


def _claim(path: Path) -> Claim | None:
    side = Sidecar(path)
    side.read()
    if side.footer is None:
        return None
    return {"records": side.footer["records"], "blocks": len(side.blocks), "begin": side.begin, "end": side.end}


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise RecordError(f"Cannot read {path}: {error.strerror}.") from error


def examine(views: Sequence[JournalView], run: Mapping[str, Any]) -> list[str]:
    """Compare the journals of a run with their seals and with the hashes in `run.json`.

    `views` are changed: each journal ends where it is damaged, and its `faults` state the reasons. Return a sentence
    for each journal that is missing. Without hashes in `run.json` it is not known which journals are missing: [].
    """
    disown(views)
    claims = run.get(KEY, {}).get("journals")
    for view in views:
        verify(view)
        if claims is not None and view.name not in claims:
            view.condemn(f"{view.path.name} is no journal of this run")
        elif view.sidecar.sealed or (claims or {}).get(view.name):
            _compare_end(view, (claims or {}).get(view.name))
    if claims is None:
        return []
    expected = run.get("journals")
    names = dict.fromkeys([*claims, *(expected if isinstance(expected, list) else ())])
    there = {view.name for view in views}
    return [f"journal {name} is missing" for name in names if name not in there]


def _compare_end(view: JournalView, claim: Claim | None) -> None:
    """End a journal after its last seal if records after it are damaged or missing.

    If its side file does not begin with the hash in `run.json` (`claim`), the journal ends before its first record.
    """
    side, names, left = view.sidecar, view.sidecar.path.name, min(view.sidecar.sealed_records, view.count)
    if claim is not None and side.begin != claim["begin"] and side.header:
        view.condemn(f"{names} is not this run's: it does not begin with the hash in run.json")
        view.beyond.clear()
    elif side.damage:
        if side.damage not in view.faults:
            view.condemn(side.damage, left)
        if claim is not None and view.path.exists() and side.path.exists():
            _find_beyond(view, claim["end"], left)
    elif claim is not None and side.end != claim["end"]:
        view.condemn(f"{names} is cut off: {len(side.blocks)} of {claim['blocks']} blocks have a seal", left)
    elif view.surplus > 0:
        view.condemn(f"{view.path.name} is longer than its footer says", left)


def _find_beyond(view: JournalView, end: str, left: int) -> None:
    """Find intact blocks after a damaged line of the side file.

    `end`: hash of the side file's last line, as `run.json` states it; it proves the seals after the damage. `left`:
    number of records before the damage.
    """
    view.unnamed = True
    seals = [block for block in view.sidecar.behind_damage(end) if block.first > left]
    for block, fault in compared(view, seals):
        if fault:
            view.faults.append(f"{view.path.name}, {fault}")
        else:
            view.beyond.append(block)


def damaged_files(path: Path, run: Mapping[str, Any]) -> list[str]:
    """Return the paths of the files other than journals that are missing or differ from the hashes in `run.json`."""
    stated = run.get(KEY, {}).get("files", {})
    return [name for name in stated if not as_stated(path / name, run, name)]


def as_stated(file: Path, run: Mapping[str, Any], name: str) -> bool:
    """Return whether `file` has the hash that `run.json` states for the path `name`; True if no hash is stated."""
    stated = run.get(KEY, {}).get("files", {}).get(name)
    return stated is None or (file.is_file() and _sha256(file) == stated)
