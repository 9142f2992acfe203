"""The command `earwitness verify RUN`: report whether a run's files are complete and unchanged, without judging it."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from earwitness.harness.errors import Exit, RecordError
from earwitness.harness.progress import show
from earwitness.harness.record.evidence import KEY
from earwitness.harness.record.history import History, open_history
from earwitness.harness.record.rundir import RUN_FILE, read_json

DESCRIPTION = """Compare every block of every journal with its checksum, and every file that a verdict rests on with the
hash that the run stated when it ended. Judges nothing and changes nothing."""
EPILOG = """exit codes: 0 whole, 3 damaged or not known to be whole, 2 no run directory
example: earwitness verify runs/latest"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `earwitness verify` to its parser."""
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("run", metavar="RUN", type=Path, help="a run directory, e.g. runs/latest")


def run(args: argparse.Namespace) -> int:
    """Print every damaged part of the run; return PASS if no part is damaged or unsealed, else UNKNOWN.

    Raises RecordError if there is no run directory.
    """
    path = args.run.resolve()
    if not (path / RUN_FILE).is_file():
        read_json(path / RUN_FILE)  # says what is missing
    try:
        history = open_history(path)
        for _ in history.batches():
            pass  # unknown kinds come up here
    except RecordError as error:
        show(f"damaged: {error}")
        return Exit.UNKNOWN
    faults = list(_faults(history))
    for fault in faults:
        show(fault)
    blocks = sum(len(view.sidecar.blocks) for view in history.journals)
    records = sum(view.count for view in history.journals)
    files = len(history.run.get(KEY, {}).get("files", ()))
    told = f"{len(history.journals)} journals, {blocks:,} blocks, {records:,} sound records, {files} other files"
    show(f"{'not known to be whole' if faults else 'whole'}: {told}")
    return Exit.UNKNOWN if faults else Exit.PASS


def _faults(history: History) -> Iterator[str]:
    for view, info in zip(history.journals, history.infos(), strict=True):
        yield from (f"damaged: {fault}" for fault in view.faults)
        if info.unsealed:
            why = "its process died before it sealed them" if view.sidecar.sealed else "an earlier version wrote them"
            yield f"not sealed: {info.unsealed:,} records of {view.path.name}, {why}"
        elif view.torn and not view.faults:
            yield f"not closed: {view.path.name}, its process died"
    yield from (f"damaged: {fault}" for fault in history.damage)
    if not history.concluded:
        yield "not concluded: run.json has no last hashes, its process died or still runs"
