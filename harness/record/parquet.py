"""Run history as Parquet: one file, or a folder of one file for each shard of conversations.

FOLDER.parquet/records/shard=0/records.parquet   what was sent, answered, delivered, read in some conversations
FOLDER.parquet/rare/records.parquet              all other kinds: connections, logins, tokens, faults, phases …
FOLDER.parquet/headers.json                      schema, run, roster and journals, as in the metadata of one file

The shards are those by which `earwitness check --shards` judges (`checks.routing`). Each conversation is in one of
them, and an answer that names only its message is in the shard in which that message was sent. `shard` is a column for
readers that know this naming of folders (DuckDB, Polars, Spark).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from earwitness.checks.history.record import Kind
from earwitness.checks.roster import Roster
from earwitness.checks.routing import WAITING, Router
from earwitness.harness.errors import RecordError
from earwitness.harness.record.columns import COLUMNS, NUMBERS, Columns

OF_CONVERSATIONS: Final = np.zeros(256, bool)
"""By number of a kind: whether its records are written by shard. These are the kinds that occur with every message."""
OF_CONVERSATIONS[
    [
        *(Kind.INVOKE, Kind.OK, Kind.FAIL, Kind.INFO, Kind.DELIVER, Kind.JOIN, Kind.LEAVE, Kind.STORED),
        *(Kind.READ_END, Kind.REPLAY, Kind.RUN, Kind.READ),
    ]
] = True
FILE: Final = "records.parquet"
HEADERS: Final = "headers.json"


@dataclass(frozen=True, slots=True)
class Part:
    """Consecutive records of one journal, and the tables that make columns of them.

    `journal`, `name`: number and name of the journal; `records`: array of RECORD with interned ids as they were
    written; `names`, `clients`, `users`: as in `Columns`.
    """

    journal: int
    name: str
    records: np.ndarray
    names: Mapping[int, str]
    clients: Mapping[str, int]
    users: np.ndarray

    def columns(self, which: np.ndarray | None = None) -> Columns:
        """Return the columns of all records, or of those that `which` (boolean array or indexes) selects."""
        records = self.records if which is None else self.records[which]
        return Columns(records, self.name, self.names, self.clients, self.users)


def require_pyarrow() -> None:
    """Raise RecordError with advice if pyarrow is not installed."""
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError:
        raise RecordError(
            "Parquet needs pyarrow, which is not installed: run `pip install pyarrow`, or use a .jsonl file."
        ) from None


def write_parquet(path: Path, headers: Sequence[Mapping[str, Any]], parts: Iterable[Part]) -> int:
    """Write one file, with the headers as its metadata; return the number of records.

    Raises RecordError if pyarrow is not installed, OSError if the file cannot be written.
    """
    with _File(path, {"earwitness": json.dumps(headers, default=str)}) as file:
        for part in parts:
            file.write(part.columns())
        return file.count


def write_shards(
    folder: Path, headers: Sequence[Mapping[str, Any]], parts: Iterable[Part], roster: Roster, shards: int
) -> int:
    """Write a file for each of `shards` shards, and one of rare kinds, into an empty folder.

    Return the number of records. Raises OSError if a file cannot be written.
    """
    router, waiting = Router(roster, shards), list[Part]()
    (folder / HEADERS).write_text(json.dumps(headers, default=str) + "\n")
    with ExitStack() as stack:
        rare = stack.enter_context(_File(folder / "rare" / FILE))
        files = [stack.enter_context(_File(folder / "records" / f"shard={n}" / FILE)) for n in range(shards)]
        for part in parts:
            where = router.route(part.journal, part.records)
            common = OF_CONVERSATIONS[part.records["kind"]]
            rare.write(part.columns(~common))
            for shard, which in _each(np.where(common, where, -1)):
                files[shard].write(part.columns(which))
            later = common & (where == WAITING)
            if later.any():
                waiting.append(Part(part.journal, part.name, part.records[later], part.names, part.clients, part.users))
        for part in waiting:  # now it is known where their messages were sent
            for shard, which in _each(router.where(part.records)):
                files[shard].write(part.columns(which))
        return rare.count + sum(file.count for file in files)


def _each(where: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yield each shard in `where` with a boolean array that selects its rows."""
    for shard in np.unique(where[where >= 0]).tolist():
        yield shard, where == shard


class _File:
    """Writer of one Parquet file with the schema of exports. It makes the file's folder."""

    def __init__(self, path: Path, metadata: Mapping[str, str] | None = None) -> None:
        require_pyarrow()
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._types = {name: pa.int64() if name in NUMBERS else pa.string() for name in COLUMNS}
        self._types["flags"] = pa.list_(pa.string())
        self._schema = pa.schema(list(self._types.items()), metadata=metadata)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._writer = pq.ParquetWriter(path, self._schema, compression="zstd")
        self.count = 0

    def __enter__(self) -> _File:
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()

    def write(self, columns: Columns) -> None:
        """Append a batch of rows."""
        import pyarrow as pa

        if not columns.count:
            return
        present = {name: (values, ~there) for name, values, there in columns.present()}
        arrays = [
            pa.array(present[name][0], type=kind, mask=present[name][1], from_pandas=False)
            if name in present
            else pa.nulls(columns.count, kind)
            for name, kind in self._types.items()
        ]
        self._writer.write_batch(pa.record_batch(arrays, schema=self._schema))
        self.count += columns.count
