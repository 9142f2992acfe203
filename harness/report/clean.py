"""The verb `earwitness clean`: list and remove what runs left behind on this machine's disk."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from earwitness.harness.errors import EarwitnessError, Exit, RecordError
from earwitness.harness.platform import clean_up, control, stores
from earwitness.harness.progress import printable, show
from earwitness.harness.record import drafts, shard_folder
from earwitness.harness.record.journal import NAMES_SUFFIX
from earwitness.harness.record.rundir import LATEST, RUN_FILE, read_json
from earwitness.harness.report.follow import GOING_ON, is_going_on

DESCRIPTION = """List what runs left behind on this machine's disk, and remove it: directories of platforms whose owner
is dead (those that were kept on purpose too), half-written imports and exports, drafts of files, shards of checks that
were killed, state files of platforms that do not answer. Runs that were killed are listed, and so is what a worker on
another host kept because its master did not take it; but they are evidence: only --unfinished removes them. Files that
a running run, platform, check, import or export uses are never touched."""
EPILOG = """exit codes: 0 nothing is left (with --dry-run: it was listed), 2 something could not be removed
example: earwitness clean --dry-run"""
YOUNG_S = 60.0
_RUN_NAME = re.compile(r"\d{8}-\d{6}-.+")
_PART_NAME = re.compile(r"(?P<run>.+)\.(?P<journal>load-\d+)")
"""Name of the directory that a worker writes if it does not share the master's disk
(`harness.run.shipper.own_directory`)."""


@dataclass(frozen=True, slots=True)
class Left:
    """Leftover of a run on the disk: its path, its description, and the function that removes it.

    `remove` is None for a leftover that is only listed.
    """

    path: Path
    what: str
    remove: Callable[[Path], object] | None = drafts.remove


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `earwitness clean` to `parser`."""
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--dry-run", action="store_true", help="list what would be removed, and change nothing")
    parser.add_argument("--unfinished", action="store_true", help="remove directories of killed runs and workers too")
    parser.add_argument(
        "--runs", type=Path, default=Path("runs"), metavar="DIR", help="folder of the run directories (default runs)"
    )
    parser.add_argument(
        "--exports", type=Path, default=Path(), metavar="DIR",
        help="folder of imports and exports (default: this folder)",
    )  # fmt: skip
    parser.add_argument(
        "--shard-dir", type=Path, metavar="DIR",
        help="folder that was given to `earwitness check --shard-dir` (the temporary folder is searched anyway)",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Print each leftover and remove it unless --dry-run is set; return PASS, or CANNOT_RUN if one cannot be removed.

    Raises RecordError if --runs or --exports is no folder.
    """
    for folder, option in ((args.runs, "runs"), (args.exports, "exports"), (args.shard_dir, "shard-dir")):
        if folder is not None and folder.exists() and not folder.is_dir():
            raise RecordError(f"{folder} is no folder; name one with --{option}.")
    removed, failed, freed = 0, 0, 0
    for left in found(args.runs, args.exports, args.shard_dir, unfinished=args.unfinished):
        size = size_of(left.path)
        show(f"{left.path}: {left.what}, {size / 1e6:.1f} MB")
        if args.dry_run or left.remove is None:
            continue
        if trouble := _removed(left):
            failed += 1
            show(f"  could not be removed: {trouble}")
        else:
            removed, freed = removed + 1, freed + size
    if args.dry_run:
        show("nothing was removed (--dry-run)")
    else:
        show(f"removed: {removed}, {freed / 1e6:.1f} MB" if removed or failed else "nothing to remove")
    return Exit.CANNOT_RUN if failed else Exit.PASS


def found(runs: Path, exports: Path, shards: Path | None = None, *, unfinished: bool) -> Iterator[Left]:
    """Yield each leftover of earlier runs: platforms, templates, state files, shards, drafts, and unfinished runs.

    Nothing is removed here. `runs`, `exports`: folders to search; `shards`: a folder to search for shards, besides the
    temporary folder. Directories of killed runs and workers have `remove` None unless `unfinished` is true.
    """
    for path in clean_up.left_behind():
        kept = "kept on purpose" if (path / clean_up.KEPT).exists() else "its owner is dead"
        yield Left(path, f"directory of a platform, {kept}", clean_up.remove)
    for path in stores.unfinished_templates():
        yield Left(path, "half-built template of a database", stores.remove_template)
    if (state := control.stale_state(Path())) is not None:
        yield Left(state, "state file of a platform that does not answer")
    for place in (None, *([shards] if shards is not None else [])):
        for path in shard_folder.FOLDERS.abandoned(place):
            yield Left(path, "shards of a check that was killed", shard_folder.remove)
    for folder in dict.fromkeys(path.absolute() for path in (exports, runs, *_folders(exports), *_folders(runs))):
        for path in drafts.abandoned(folder, is_run=(folder / RUN_FILE).exists()):
            yield Left(_shown(path), "half-written, its process is dead", _remove_draft)
    for path in _folders(runs):
        yield from _dead_run(path, unfinished)
        yield from _left_part(path, unfinished)


def size_of(path: Path) -> int:
    """Return the bytes that a file, or a folder with all its files, occupies on disk."""
    sizes = []
    for each in (path, *path.rglob("*")) if path.is_dir() else (path,):
        try:
            sizes.append(each.lstat().st_blocks * 512)
        except OSError:
            continue
    return sum(sizes)


def _folders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.is_symlink())


def _dead_run(path: Path, unfinished: bool) -> Iterator[Left]:
    if _is_young(path):  # a worker may be closing its journal, or a process of another machine may write here
        return
    if not (path / RUN_FILE).exists():
        if _RUN_NAME.fullmatch(path.name) and not any(path.glob("journals/*")):
            yield Left(path, "run that has recorded nothing")
        return
    try:
        described = read_json(path / RUN_FILE)
    except EarwitnessError:
        return  # `earwitness verify` reports the damage
    if described.get("state") in GOING_ON and not is_going_on(described):
        how = "" if unfinished else f"; judge it with `earwitness check {path}`, or remove it with --unfinished"
        yield Left(path, f"run that was killed{how}", drafts.remove if unfinished else None)


def _left_part(path: Path, unfinished: bool) -> Iterator[Left]:
    """Yield the directory `path` if it holds records of a dead worker that its master did not collect.

    Such a directory belongs to a worker that did not share the master's disk. Its `remove` is None without
    `unfinished`.
    """
    part = _PART_NAME.fullmatch(path.name)
    if part is None or (path / RUN_FILE).exists() or _is_young(path) or not _is_dead(path, part["journal"]):
        return
    hint = f"; `earwitness collect {path.with_name(part['run'])} {path}` adds it to the run; --unfinished removes it"
    what = "records of a worker that its master did not take"
    yield Left(path, what + ("" if unfinished else hint), drafts.remove if unfinished else None)


def _is_dead(part: Path, journal: str) -> bool:
    """Return whether the process that wrote a worker's journal has ended; False if it cannot be known or ran elsewhere.

    `part`: directory of the worker; `journal`: name of its journal, such as "load-1".
    """
    side = part / "journals" / f"{journal}{NAMES_SUFFIX}"
    try:
        with side.open("rb") as file:
            meta = json.loads(file.readline())["meta"]
        if meta["host"] != socket.gethostname():
            return False
        # Another process may have its number by now: one that began when the last line had been written.
        return bool(psutil.Process(meta["pid"]).create_time() > side.stat().st_mtime)
    except psutil.NoSuchProcess:
        return True
    except (OSError, ValueError, KeyError, TypeError, psutil.Error):
        return False


def _is_young(run: Path) -> bool:
    """Return whether a file of the run directory was changed in the last YOUNG_S seconds.

    While a run is in progress, a sample of the resources is written each second.
    """
    written = (each.lstat().st_mtime for each in (run, *run.glob("*"), *run.glob("tables/*"), *run.glob("journals/*")))
    return time.time() - max(written) < YOUNG_S


def _removed(left: Left) -> str:
    """Remove a leftover; return the reason if the removal failed, "" if it succeeded.

    Also removes the link `latest` beside the leftover if its target does not exist any more.
    """
    assert left.remove is not None
    try:
        left.remove(left.path)
    except OSError as error:
        return printable(error.strerror or str(error))
    if left.path.parent.joinpath(LATEST).is_symlink() and not left.path.parent.joinpath(LATEST).exists():
        left.path.parent.joinpath(LATEST).unlink(missing_ok=True)
    return "it is still there" if os.path.lexists(left.path) else ""


def _remove_draft(path: Path) -> None:
    """Remove the draft `path`, a half-written file or directory.

    If an import wrote the draft, the directory that holds the draft is also removed when it is empty then.
    """
    imported = path.name.startswith(f".{drafts.IMPORT}.")
    drafts.remove(path)
    if imported and path.absolute().parent != Path.cwd():
        with contextlib.suppress(OSError):  # the folder is not empty
            path.parent.rmdir()


def _shown(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
