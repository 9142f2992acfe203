"""The verb `earwitness export`: a run's history as Parquet or JSON lines (docs/history-schema.md), or as a trace."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson

from earwitness.harness.errors import RecordError
from earwitness.harness.progress import Progress, show
from earwitness.harness.record.clocks import KEY as CLOCKS
from earwitness.harness.record.columns import SCHEMA, Columns
from earwitness.harness.record.drafts import drafted
from earwitness.harness.record.history import BATCH_RECORDS, History, open_history
from earwitness.harness.record.parquet import Part, require_pyarrow, write_parquet, write_shards
from earwitness.harness.record.perfetto import write_perfetto
from earwitness.harness.record.reading import JournalView, first_clients

Writer = Callable[[History, Path], int]
"""Function that writes a history to a path and returns the number of records."""
SHARDS_MOST: Final = 1024
"""Largest number of shards of an export: the file of each stays open until the end."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `earwitness export` to its parser."""
    parser.add_argument("run", type=Path, help="run directory, e.g. runs/latest")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        help="FILE.parquet or FILE.jsonl; with --perfetto FILE.json, with --shards FOLDER.parquet",
    )
    parser.add_argument(
        "--shards",
        type=int,
        metavar="N",
        help="write a folder of Parquet: a file for each of N shards of conversations, and one of rare kinds",
    )
    parser.add_argument(
        "--perfetto",
        action="store_true",
        help="write a trace for the Perfetto UI instead: a track for each connection, an arrow from each send to its "
        "deliveries, and the faults",
    )


def run(args: argparse.Namespace) -> int:
    """Export a run, print the number of records, and return the exit code 0.

    Raises RecordError as `export` does.
    """
    count = export(args.run, args.output, perfetto=args.perfetto, shards=args.shards)
    show(f"{count:,} records of {args.run} → {args.output}")
    return 0


def export(run_dir: Path, output: Path, *, perfetto: bool = False, shards: int | None = None) -> int:
    """Write the history of `run_dir` to `output`; return the number of records.

    `perfetto`: write a trace; `shards`: write a folder with so many files, and one of rare kinds. Neither can be
    imported again. Raises RecordError for an unreadable or damaged run, an unknown ending or an unwritable output.
    """
    writer = _by_shards(output, shards, perfetto) if shards is not None else _by_ending(output, perfetto)
    history = open_history(run_dir)
    damage = [*history.damage, *(fault for view in history.journals for fault in view.faults)]
    if damage:  # an import of the export would seal the rest of it as if it were whole
        raise RecordError(
            f"{run_dir} is damaged, it cannot be exported; `earwitness check` reads what it can: {damage[0]}."
        )
    try:
        with drafted(output, folder=shards is not None) as draft:
            count = writer(history, draft)
            draft.replace(output)
    except OSError as error:
        raise RecordError(f"Cannot write {output}: {error.strerror or error}.") from error
    return count


def _by_ending(output: Path, perfetto: bool) -> Writer:
    """Return the function that writes a file with the ending of `output`. Raises RecordError for an unknown ending."""
    writers: dict[str, Writer] = {".parquet": _write_parquet, ".jsonl": _write_lines}
    if perfetto:
        writers = {".json": lambda history, path: write_perfetto(history, path, batches(history))}
    writer = writers.get(output.suffix)
    if writer is None:
        hint = ", or add --perfetto for a trace" if output.suffix == ".json" else ""
        raise RecordError(f"{output}: give the file the ending {' or '.join(writers)}{hint}.")
    return writer


def _by_shards(output: Path, shards: int, perfetto: bool) -> Writer:
    """Return the function that writes a folder of `shards` files. Raises RecordError for a bad `output` or `shards`."""
    require_pyarrow()
    if perfetto or not 1 <= shards <= SHARDS_MOST:
        raise RecordError(f"--shards writes Parquet, without --perfetto; give a number from 1 to {SHARDS_MOST}.")
    if output.suffix != ".parquet":
        raise RecordError(f"{output}: give the folder of an export by shards the ending .parquet.")
    if output.exists():
        raise RecordError(f"{output} exists; --shards writes a new folder, so name another one or remove it.")
    return lambda history, path: write_shards(path, headers(history), parts(history), history.roster, shards)


def headers(history: History) -> list[dict[str, Any]]:
    """Return the header objects of an export: schema, run, roster, and one for each journal."""
    journals = [
        {
            "name": view.name,
            "meta": view.info().meta,
            "footer": view.footer,
            "names": list(view.names.values()),
            "identities": view.sidecar.identities,
        }
        for view in history.journals
    ]
    return [
        {"earwitness": SCHEMA},
        {"run": {key: value for key, value in history.run.items() if key != CLOCKS}},  # times are mapped already
        {"roster": without_secrets(history.roster.to_dict())},
        *({"journal": journal} for journal in journals),
    ]


def without_secrets(roster: Mapping[str, Any]) -> dict[str, Any]:
    """Return a roster without the passwords of its users: exports are given to other people."""
    extra = dict(roster["extra"])
    people = extra.get("people")
    if isinstance(people, list):
        extra["people"] = [
            {key: value for key, value in person.items() if key != "secret"} if isinstance(person, dict) else {}
            for person in people
        ]
    return {**roster, "extra": extra}


def batches(history: History) -> Iterator[Columns]:
    """Yield the complete records as columns, journal after journal.

    Raises RecordError if a record is damaged.
    """
    return (part.columns() for part in parts(history))


def parts(history: History) -> Iterator[Part]:
    """Yield the complete records as parts of journals, in their order. Raises RecordError for a damaged record."""
    clients = first_clients(history.journals)
    users = np.array(history.roster.user_of, dtype=np.int64)
    done = 0
    with Progress(f"exporting {history.path}", sum(view.count for view in history.journals)) as progress:
        for number, view, records in _sound(history):
            yield Part(number, view.name, records, view.names, clients, users)
            done += len(records)
            progress.at(done)


def _sound(history: History) -> Iterator[tuple[int, JournalView, np.ndarray]]:
    for number, view in enumerate(history.journals):
        records = view.records
        for start in range(0, len(records), BATCH_RECORDS):
            batch = records[start : start + BATCH_RECORDS]
            if not np.array_equal(batch["index"], np.arange(start + 1, start + len(batch) + 1, dtype=np.uint64)):
                raise RecordError(
                    f"{view.path} is damaged, it cannot be exported; `earwitness check` reads what it can."
                )
            yield number, view, batch


def _write_parquet(history: History, path: Path) -> int:
    return write_parquet(path, headers(history), parts(history))


def _write_lines(history: History, path: Path) -> int:
    count = 0
    with path.open("wb") as file:
        for header in headers(history):
            file.write(json.dumps(header, separators=(",", ":"), default=str).encode() + b"\n")
        for columns in batches(history):
            file.writelines(orjson.dumps(row) + b"\n" for row in columns.rows())
            count += columns.count
    return count
