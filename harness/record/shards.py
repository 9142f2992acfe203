"""Records of a history by shard: one file for each set of conversations, and one for the records that all sets need.

DIR/common.records      connections, phases and faults, which every judge reads
DIR/shard-007.records   the other records of the conversations of shard 7

A file is an array of `checks.history.record.RECORD` without a header, in the order in which the history was read. Ids
of users are replaced by client numbers already, so a judge needs no other file of the run. `Layout.runs` states which
records belong to which journal.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO, Final, Self

import numpy as np

from earwitness.checks.history.record import RECORD, RECORD_BYTES
from earwitness.harness.errors import RecordError

if TYPE_CHECKING:
    from earwitness.checks.judge import Batch

COMMON: Final = -1
"""Number of the file with the records that the judges of all shards read."""
WINDOW: Final = 1 << 16
"""Approximate number of records in a batch."""


def file_of(folder: Path, shard: int) -> Path:
    """Return the path of the file with a shard's records. `shard` COMMON: the file that all judges read."""
    return folder / ("common.records" if shard == COMMON else f"shard-{shard:03d}.records")


@dataclass(slots=True)
class Layout:
    """Contents of the files of a folder, in the order in which the history was read.

    runs  shard -> (number of the chunk, journal, number of records) of each group of consecutive records in its file
    late  shard -> (number of the chunk, journal, array of records), for records whose shard was not known when they
          were read
    """

    runs: dict[int, list[tuple[int, int, int]]] = field(default_factory=dict)
    late: dict[int, list[tuple[int, int, np.ndarray]]] = field(default_factory=dict)

    def records(self, shard: int) -> int:
        """Return the number of records in a shard's file."""
        return sum(count for _, _, count in self.runs.get(shard, ()))


class ShardWriter:
    """Writer of the files of a folder, in one pass over a history. Use it as a context, which closes the files."""

    def __init__(self, folder: Path, shards: int) -> None:
        """Create the files. Raises RecordError if one cannot be created."""
        self.layout = Layout()
        self.chunks = 0
        """Number of chunks that were written."""
        self._folder, self._files = folder, dict[int, BinaryIO]()
        try:
            for shard in (COMMON, *range(shards)):
                self._files[shard] = file_of(folder, shard).open("wb")
        except OSError as error:
            raise RecordError(f"Cannot write {folder}: {error.strerror}.") from error

    def __enter__(self) -> Self:
        """Return the writer."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        """Close the files."""
        for file in self._files.values():
            file.close()

    def write(self, journal: int, records: np.ndarray, where: np.ndarray) -> None:
        """Append a chunk of consecutive records of a journal to the files of their shards.

        `where`: shard of each record; COMMON: for the file that all judges read; another negative number: for no file.
        Raises RecordError if the disk is full.
        """
        self.chunks += 1
        order = np.argsort(where, kind="stable")
        sorted_records, of = records[order], where[order]
        edges = np.flatnonzero(np.diff(of, prepend=of[:1] - 1))
        for begin, end in zip(edges.tolist(), [*edges[1:].tolist(), len(of)], strict=True):
            shard = int(of[begin])
            if shard not in self._files:
                continue
            self.layout.runs.setdefault(shard, []).append((self.chunks, journal, end - begin))
            try:
                self._files[shard].write(sorted_records[begin:end].view(np.uint8).data)
            except OSError as error:
                raise RecordError(
                    f"Cannot write {file_of(self._folder, shard)}: {error.strerror}. Shards need as much room as the "
                    "journals; name another disk with --shard-dir."
                ) from error

    def late(self, shard: int, chunk: int, journal: int, records: np.ndarray) -> None:
        """Add records of an earlier chunk, whose shard is known now, to `layout.late`; `read_shards` yields them too.

        `chunk`: number of that chunk, as `chunks` was after it was written.
        """
        self.layout.late.setdefault(shard, []).append((chunk, journal, records))


def read_shards(folder: Path, layout: Layout, shards: Sequence[int], window: int = WINDOW) -> Iterator[Batch]:
    """Yield the records of some shards, and the common records, in the order in which the history was read.

    Each batch has records of one journal, about `window` of them.
    """
    from earwitness.checks.judge import Batch

    waiting: list[np.ndarray] = []
    journal, held = -1, 0
    for number, parts in _chunks(folder, layout, shards):
        if waiting and (number != journal or held >= window):
            yield Batch(journal, np.concatenate(waiting))
            waiting, held = [], 0
        journal = number
        records = np.concatenate(parts)
        waiting.append(records[np.argsort(records["index"], kind="stable")] if len(parts) > 1 else records)
        held += len(records)
    if waiting:
        yield Batch(journal, np.concatenate(waiting))


def _chunks(folder: Path, layout: Layout, shards: Sequence[int]) -> Iterator[tuple[int, list[np.ndarray]]]:
    """Yield (journal, arrays of its records from each file) for each chunk of the history."""
    found: dict[int, list[tuple[int, int, int]]] = {}
    files = {shard: _mapped(file_of(folder, shard)) for shard in (COMMON, *shards)}
    late = [row for shard in shards for row in layout.late.get(shard, ())]
    for shard in files:
        begin = 0
        for chunk, _, count in layout.runs.get(shard, ()):
            found.setdefault(chunk, []).append((shard, begin, count))
            begin += count
    journal_of = {chunk: journal for shard in files for chunk, journal, _ in layout.runs.get(shard, ())}
    of_late: dict[int, list[np.ndarray]] = {}
    for chunk, journal, records in late:
        journal_of[chunk] = journal
        of_late.setdefault(chunk, []).append(records)
    for chunk in sorted(journal_of):
        parts = [files[shard][begin : begin + count] for shard, begin, count in found.get(chunk, ())]
        yield journal_of[chunk], [*parts, *of_late.get(chunk, ())]


def _mapped(path: Path) -> np.ndarray:
    if not path.stat().st_size:
        return np.zeros(0, RECORD)
    return np.memmap(path, RECORD, "r", shape=(path.stat().st_size // RECORD_BYTES,))
