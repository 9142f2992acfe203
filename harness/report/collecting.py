"""The command `earwitness collect`: gather the parts of a run from a store, or from other hosts, and judge the run.

For a run whose master died, or whose records lie on several disks.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from earwitness.harness.errors import RecordError, SettingsError
from earwitness.harness.progress import say, show_verdict
from earwitness.harness.record.clocks import KEY as CLOCKS
from earwitness.harness.record.evidence import KEY as EVIDENCE
from earwitness.harness.record.journal import NAMES_SUFFIX
from earwitness.harness.record.rundir import ROSTER_FILE, RUN_FILE, SPARE, RunDirectory, read_run, write_whole
from earwitness.harness.record.shipping import Cutter, Gathering, Piece
from earwitness.harness.record.sidecar import Sidecar
from earwitness.harness.record.store import Store, file_name, open_store, pieces_of
from earwitness.harness.report.judging import judge_run, write_verdict
from earwitness.harness.report.terminal import verdict_text
from earwitness.harness.report.warm import compiling_is_said

HELP = "bring the parts of a run together from a store or from other hosts, and judge it"
DESCRIPTION = """Bring the records of a run together and judge it: from the store that it was recorded into (--store),
or from the directories that its workers kept on other hosts when they could not send them to the master."""
EPILOG = """examples:
  earwitness collect s3://BUCKET/loads/run=20260101-120000-ws_ordering-7      into runs/20260101-120000-ws_ordering-7
  earwitness collect file:///mnt/loads/run=NAME --into runs/again
  earwitness collect runs/NAME NAME.load-1 NAME.load-2                        what two workers kept, into the run"""
_FILE: Final = re.compile(
    r"(run|roster)\.json|tables/[a-z][a-z0-9_-]*\.jsonl|journals/[A-Za-z0-9][A-Za-z0-9._-]{0,120}"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `earwitness collect` to its parser."""
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("run", metavar="STORE/RUN", help="a run in a store, or a run directory")
    parser.add_argument("parts", metavar="PART", nargs="*", type=Path, help="directories that workers kept")
    parser.add_argument("--into", type=Path, metavar="DIR", help="where to make the run directory (default runs/NAME)")


def run(args: argparse.Namespace) -> int:
    """Collect the parts of a run, judge the run, write and print the verdict, and return its exit code.

    Raises EarwitnessError.
    """
    if "://" in args.run:
        if args.parts:
            raise SettingsError("collect", ["a run in a store has all its parts there; leave the directories out"])
        path = from_store(args.run, args.into)
    else:
        if args.into is not None or not args.parts:
            raise SettingsError("collect", ["name a run directory and the directories that workers kept of it"])
        path = Path(args.run).resolve()
        add_parts(path, args.parts)
    with compiling_is_said(say):
        verdict = judge_run(path)
    text = verdict_text(verdict)
    write_verdict(path, verdict, text)
    show_verdict(text)
    return int(verdict["exit_code"])


def from_store(url: str, into: Path | None) -> Path:
    """Copy a run from a store into a new run directory and return the path of the directory.

    `url`: of the store, a slash, and the run's name, with or without `run=`; `into`: the directory to make, None:
    runs/NAME. Raises RecordError if there is no such run, or if the directory is not empty.
    """
    address, _, name = url.rstrip("/").rpartition("/")
    name = name.removeprefix("run=")
    store = open_store(address)
    names = list(store.names(f"run={name}/"))
    if file_name(name, RUN_FILE) not in names:
        raise RecordError(f"{address} has no run {name}: there is no {file_name(name, RUN_FILE)}.")
    path = (into or Path("runs") / name).resolve()
    directory = RunDirectory.at(path)
    files = [one.removeprefix(file_name(name, "")) for one in names if one.startswith(file_name(name, ""))]
    for file in files:
        _write_file(store, name, file, path)
    described, _ = read_run(path)
    total = 0
    for journal, pieces in pieces_of(iter(names)).items():
        total += _gather(store, directory.path, described, journal, pieces)
    say(f"{total / 1e6:,.1f} MB of records collected into {path}")
    return path


def _write_file(store: Store, run: str, file: str, path: Path) -> None:
    """Copy one file of a run from the store into the directory `path`.

    Skip a missing file or a name that is not expected.

    `run`: name of the run; `file`: name of the file within the run. `run.json` and the roster are also copied into
    SPARE.
    """
    data = store.get(file_name(run, file))
    if data is None or not _FILE.fullmatch(file):
        return
    if file in (RUN_FILE, ROSTER_FILE):
        write_whole(path / SPARE / file, data)
    write_whole(path / file, data)


def _gather(store: Store, path: Path, run: Mapping[str, Any], journal: str, pieces: Sequence[str]) -> int:
    """Copy the pieces of one journal from the store into the run directory; return the number of bytes.

    `pieces`: their names in order. At a missing piece the copy ends, and a message names the piece.
    """
    gathering = Gathering(path, journal, tables=EVIDENCE not in run)
    size = 0
    for name in pieces:
        data = store.get(name)
        piece = Piece.unpacked(data or b"")
        if not size:
            gathering.offset_ns = _offset_of(run, piece)
        if not gathering.take(piece):
            say(f"a piece of {journal} before {name} is missing; its record ends there")
            break
        size += piece.size
    return size


def _offset_of(run: Mapping[str, Any], first: Piece) -> int:
    """Return the ns to add to the times in a worker's side tables, 0 if `run.json` states no offset for its clock.

    `first`: the first piece of the worker's journal, which names the clock.
    """
    clock = next((line for name, _, line in first.slices if name.endswith(NAMES_SUFFIX)), b"")
    found = re.search(rb'"clock":"([^"]*)"', clock.partition(b"\n")[0])
    stated = run.get(CLOCKS, {}).get("others", {}).get(found[1].decode()) if found else None
    return int(stated["offset_ns"]) if stated else 0


def add_parts(path: Path, parts: Sequence[Path]) -> None:
    """Add the journals that workers kept in `parts` to the run directory `path`. Records that it already has are kept.

    Raises RecordError if a directory is no run directory or no part of one, or if a part is not of this run.
    """
    read_run(path)
    for part in parts:
        sides = sorted((part / "journals").glob(f"*{NAMES_SUFFIX}"))
        if len(sides) != 1:
            raise RecordError(f"{part} is no part of a run: it has {len(sides)} journals, and a part has one.")
        journal = sides[0].name.removesuffix(NAMES_SUFFIX)
        there = path / "journals" / sides[0].name
        _require_same(sides[0], there)
        kept = {f"journals/{file.name}": file.stat().st_size for file in (path / "journals").glob(f"{journal}.*")}
        cutter, gathering = Cutter(part, journal, tables=False), Gathering(path, journal, kept=kept, tables=False)
        before = sum(kept.values())
        while (piece := cutter.next()) is not None:
            gathering.take(piece)
        say(f"{(sum(gathering.kept.values()) - before) / 1e6:,.1f} MB of {journal} added from {part}")


def _require_same(part: Path, there: Path) -> None:
    """Raise RecordError if the side files `part` and `there` begin differently: then they belong to different runs.

    `part`: side file of a worker's journal; `there`: side file of the same name in the run directory, which may be
    missing.
    """
    own, found = Sidecar(part), Sidecar(there)
    own.read()
    if there.exists():
        found.read()
        if found.begin != own.begin:
            raise RecordError(f"{part.parent.parent} is no part of this run: its {part.name} begins otherwise.")
