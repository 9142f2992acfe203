"""Reader of one journal: how far it is complete, and its records in batches with remapped ids."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np

from earwitness.checks.history.record import CONN_MAX, FOREIGN, NOBODY, NONE, RECORD, RECORD_BYTES, Kind
from earwitness.harness.errors import RecordError
from earwitness.harness.record.clocks import HERE, ClockMap, mapped_meta, mapping_of
from earwitness.harness.record.sidecar import Block, Sidecar, tag_of

if TYPE_CHECKING:
    from earwitness.checks.engine.fold import JournalInfo
    from earwitness.checks.judge import Batch

STRANGER: Final = -2
"""Value of `aux` for a platform user id that no login of the run states."""

assert RECORD.fields is not None
_INDEX, _INDEX_AT = RECORD.fields["index"][:2]
_KNOWN = np.zeros(256, dtype=bool)
_KNOWN[[int(kind) for kind in Kind]] = True
"""By number of a kind: whether this version knows the kind. A record of an unknown kind is damaged."""
_NAMES_A_USER = np.zeros(256, dtype=bool)
_NAMES_A_USER[[Kind.DELIVER, Kind.REPLAY, Kind.STORED, Kind.IDENTITY]] = True


@dataclass(slots=True)
class JournalView:
    """One journal as far as it is complete and sound.

    count    number of records that can be judged: those before the first one whose `index` does not hold its position +
             1, and before the first damaged block. For a closed journal this is known once it was read; until then
             `count` is the number of records in the file
    missing  number of records that the footer counts but the file does not have
    surplus  number of records in the file beyond those that the footer counts
    damaged  number of records from the first wrong one on. Their content is unknown, so the journal counts as ended
             before it, as if its process had died: else the lost records would count against the platform
    dropped  1 if a record was begun and not finished
    faults   sentences about the damage, with file and block
    beyond   intact blocks after the damage, which are judged apart from the journal (see `stretches`)
    unnamed  True: the side file is damaged, so a name that blocks of `beyond` use may be missing
    clock    mapping of the journal's times to the clock of the run; `run`: content of run.json, which states the
             mapping (see `harness.record.clocks`)
    """

    name: str
    path: Path
    sidecar: Sidecar
    count: int = 0
    missing: int = 0
    surplus: int = 0
    damaged: int = 0
    dropped: int = 0
    faults: list[str] = field(default_factory=list)
    beyond: list[Block] = field(default_factory=list)
    unnamed: bool = False
    clock: ClockMap = HERE
    run: Mapping[str, Any] = field(default_factory=dict)
    _mapped: np.ndarray | None = None

    @property
    def names(self) -> dict[int, str]:
        """Return the texts of the journal by interned id."""
        return self.sidecar.names

    @property
    def footer(self) -> dict[str, Any] | None:
        """Return the footer, None if the journal was not closed."""
        return self.sidecar.footer

    @property
    def torn(self) -> bool:
        """Return whether the journal was not closed: its writer has died, or still lives."""
        return self.sidecar.footer is None

    @property
    def records(self) -> np.ndarray:
        """Return the complete records, with ids as they were written and times on the clock of the run.

        An array of `checks.history.record.RECORD`, mapped from the file: read-only, or a private copy if times are
        mapped.
        """
        if not self.count:
            return np.zeros(0, dtype=RECORD)
        if not self.clock.moves:
            return self.raw
        if self._mapped is None or len(self._mapped) != self.count:
            self._mapped = np.memmap(self.path, dtype=RECORD, mode="c", shape=(self.count,))
            self.clock.apply(self._mapped)
        return self._mapped

    @property
    def raw(self) -> np.ndarray:
        """Return the complete records with ids and times as they were written, as a read-only memmap."""
        if not self.count:
            return np.zeros(0, dtype=RECORD)
        return np.memmap(self.path, dtype=RECORD, mode="r", shape=(self.count,))

    def set_clock(self, run: Mapping[str, Any]) -> bool:
        """Map times as `run` (content of run.json) states it; return whether this differs from the mapping before."""
        before, self.clock, self.run = self.clock, mapping_of(run, self.sidecar.meta), run
        changed = not before.same_times(self.clock)
        if changed:
            self._mapped = None
        return changed

    def record(self, index: int) -> np.void | None:
        """Return the complete and sound record with this index (from 1), ids as they were written; None without one.

        For look-ups of a few records: a memory map would cost ten times as much.
        """
        if not (0 < index <= self.count or any(block.first <= index <= block.last for block in self.beyond)):
            return None
        with DataFile(self.path) as data:
            found = data.read(index - 1, 1)
        self.clock.apply(found)
        return found[0] if len(found) else None

    def info(self) -> JournalInfo:
        """Return the facts about this journal that the judge uses besides its records."""
        from earwitness.checks.engine.fold import JournalInfo

        return JournalInfo(
            name=self.name,
            records=self.count,
            footer=self.footer,
            torn=self.torn,
            meta=mapped_meta(self.run, self.sidecar.meta, self._last_ns()),
            gaps=self.missing + self.damaged,
            damage=tuple(self.faults),
            unsealed=max(0, self.count - self.sidecar.sealed_records),
        )

    def _last_ns(self) -> int:
        """Return the time of the last record on the clock that stamped it, 0 without records."""
        if not self.count or not self.clock.until_ns:
            return 0
        with DataFile(self.path) as data:
            return int(data.read(self.count - 1, 1)["t"][0])

    def stretches(self) -> list[tuple[int, int]]:
        """Return (first index, last index) of each sequence of blocks in `beyond` that follow each other."""
        rows: list[tuple[int, int]] = []
        for block in self.beyond:
            if rows and rows[-1][1] + 1 == block.first:
                rows[-1] = rows[-1][0], block.last
            else:
                rows.append((block.first, block.last))
        return rows

    def condemn(self, fault: str, left: int = 0) -> None:
        """End the journal after `left` records because of `fault`, a sentence that is added to `faults`.

        `damaged` grows by the number of records after that, including those that are `missing`, and by at least 1.
        """
        self.faults.append(fault)
        self.damaged += max(1, self.count + self.missing - left)
        self.count, self.missing = left, 0


class DataFile:
    """Data file of a journal, opened for reading.

    It uses plain reads, not a memory map: the writer cuts the file when it closes, and touching a page beyond the cut
    would be SIGBUS.
    """

    def __init__(self, path: Path) -> None:
        """Open the file and store its present size in `bytes`. Raises RecordError if it cannot be read."""
        try:
            self._file = path.open("rb", buffering=0)
        except OSError as error:
            raise RecordError(f"Cannot read {path}: {error.strerror}.") from error
        self.bytes = self._file.seek(0, 2)

    def __enter__(self) -> Self:
        """Return the open file."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        """Close the file."""
        self._file.close()

    def read(self, start: int, count: int) -> np.ndarray:
        """Return the records from position `start` (from 0) on: `count` of them, fewer at the end of the file."""
        records = np.empty(count, dtype=RECORD)
        return records[: self.read_into(records.view(np.uint8).data, start) // RECORD_BYTES]

    def read_into(self, room: memoryview, start: int) -> int:
        """Fill `room` with the bytes of the records from `start` (from 0) on; return how many bytes were read."""
        self._file.seek(start * RECORD_BYTES)
        done = 0
        while done < len(room) and (got := self._file.readinto(room[done:])):
            done += got
        return done

    def complete(self, position: int) -> bool:
        """Return whether the record at `position` (from 0) exists and its `index` shows that it is complete.

        It takes one system call, because it is called some twenty times for each look at a live journal.
        """
        index = os.pread(self._file.fileno(), _INDEX.itemsize, position * RECORD_BYTES + _INDEX_AT)
        return len(index) == _INDEX.itemsize and int.from_bytes(index, "little") == position + 1


def measure(view: JournalView, start: int = 0) -> None:
    """Count the complete records of a journal and store the counts in `view`.

    The first `start` records are known to be complete. A missing data file is stored as a fault of the journal. No-op
    for a journal that is damaged already. Raises RecordError if the file cannot be read.
    """
    if view.damaged:
        return
    try:
        data = DataFile(view.path)
    except RecordError:
        if view.path.exists():
            raise
        view.condemn(f"{view.path.name} is missing")
        return
    with data:
        _measure(view, data, start)


def _measure(view: JournalView, data: DataFile, start: int) -> None:
    total = data.bytes // RECORD_BYTES
    if view.footer is not None:
        view.count = min(view.footer["records"], total)
        view.missing, view.dropped = view.footer["records"] - view.count, 0
        view.surplus = -(-data.bytes // RECORD_BYTES) - view.footer["records"]
        return
    # Complete records come first, and sealed ones are complete: binary search in the rest.
    low, high = min(max(start, view.sidecar.sealed_records), total), total
    while low < high:
        middle = (low + high) // 2
        if data.complete(middle):
            low = middle + 1
        else:
            high = middle
    view.count = low
    begun = low < total and data.read(low, 1).tobytes() != bytes(RECORD_BYTES)
    view.dropped = int(begun or (low == total and data.bytes % RECORD_BYTES != 0))


def verify(view: JournalView) -> None:
    """Compare each sealed block with its seal, and store damage in `view`.

    The journal ends before the first block that differs; intact blocks after it are added to `beyond`. Records after
    the last seal, which only a journal that was not closed has, are not compared.
    """
    if view.damaged or not view.sidecar.blocks:
        return
    ended = False
    for block, fault in compared(view, view.sidecar.blocks):
        if fault and ended:
            view.faults.append(f"{view.path.name}, {fault}")
        elif fault:
            view.condemn(f"{view.path.name}, {fault}", block.first - 1)
            ended = True
        elif ended:
            view.beyond.append(block)


def compared(view: JournalView, blocks: Sequence[Block]) -> Iterator[tuple[Block, str]]:
    """Yield (block, sentence about what is wrong with its records); "" for a block that matches its seal.

    The iteration ends with the first block that is cut off by the end of the file.
    """
    room = memoryview(bytearray(max((block.count for block in blocks), default=0) * RECORD_BYTES))
    with DataFile(view.path) as data:
        for block in blocks:
            part = room[: block.count * RECORD_BYTES]
            cut = data.read_into(part, block.first - 1) < len(part)
            sound = not cut and tag_of(part) == block.tag
            where = f"block {block.number} (records {block.first:,} to {block.last:,})"
            yield block, "" if sound else f"{where} is {'cut off' if cut else 'not what was written'}"
            if cut:
                return


def disown(views: Sequence[JournalView]) -> None:
    """Mark data files that do not belong to their side files as completely damaged.

    Files may have been exchanged by hand. Then the ids of one journal would be looked up in the names of another.

    - The header of a side file names its journal, and so do the seals of its data file.
    - Without seals, a closed journal must have as many records as its footer states. If one has more, the journals
      without seals that have fewer are marked too, because their data files may have been exchanged.
    """
    mixed = any(view.surplus > 0 and not view.sidecar.sealed for view in views)
    for view in views:
        side = view.sidecar
        if not side.header:
            view.condemn(side.damage or f"{side.path.name} has no first line")
        elif side.name != view.name:
            view.condemn(f"{side.path.name} belongs to journal {side.name}")
        elif side.sealed:
            continue
        elif side.damage:
            view.condemn(side.damage)
        elif view.surplus > 0 or (mixed and view.missing):
            view.condemn(f"{view.path.name} belongs to another journal: it has not as many records as its footer says")


def read_batches(
    number: int, view: JournalView, data: DataFile, start: int, size: int, remap: Remap
) -> Iterator[Batch]:
    """Yield the records of a journal from `start` on, at most `size` in a batch, with remapped ids.

    The journal ends before the first record with an unknown kind, a wrong index, or a connection number out of range.
    Raises RecordError if the file is cut meanwhile. `number`: number of the journal in the history; `start`: position
    from 0.
    """
    from earwitness.checks.judge import Batch

    while start < view.count:
        records = data.read(start, min(size, view.count - start))
        if not len(records):
            raise RecordError(f"{view.path} was cut while it was being read.")
        sound = records["index"] == np.arange(start + 1, start + len(records) + 1, dtype=np.uint64)
        sound &= _KNOWN[records["kind"]] & (records["conn"] < CONN_MAX)
        if not sound.all():
            records = records[: int(np.argmin(sound))]
            bad = start + len(records)
            view.condemn(f"{view.path.name}, record {bad + 1:,} cannot be: unknown kind, index or connection", bad)
        start += len(records)
        if not len(records):
            return
        view.clock.apply(records)
        remap.apply(number, records)
        yield Batch(number, records)


def read_beyond(
    number: int, owner: int, view: JournalView, stretch: tuple[int, int], size: int, remap: Remap
) -> Iterator[Batch]:
    """Yield the records of one stretch of intact blocks of journal `owner`, as journal `number`.

    `stretch`: (first index, last index). The number `number` is used for this stretch only; it has no `JournalInfo`.
    READ_END records are left out, because rows of the same read may be missing. If names may be missing
    (`view.unnamed`), interned ids in `aux` become NONE.
    """
    from earwitness.checks.judge import Batch

    first, last = stretch
    with DataFile(view.path) as data:
        for start in range(first - 1, last, size):
            records = data.read(start, min(size, last - start))
            sound = _KNOWN[records["kind"]] & (records["conn"] < CONN_MAX) & (records["kind"] != Kind.READ_END)
            records = records[sound]
            if view.unnamed:
                records["aux"][records["aux"] >= FOREIGN] = NONE
            view.clock.apply(records)
            remap.apply(owner, records)
            yield Batch(number, records)


def first_clients(views: Sequence[JournalView]) -> dict[str, int]:
    """Return platform user id -> the first client for which a journal states it."""
    clients: dict[str, int] = {}
    for view in views:
        for client, user_id in view.sidecar.identities:
            clients.setdefault(user_id, client)
    return clients


class Remap:
    """Mapping of interned platform user ids to client numbers.

    clients    platform user id → client, as far as the journals state it
    strangers  platform user ids in the mapped records that belong to no client
    """

    def __init__(self, views: Sequence[JournalView]) -> None:
        """Read the user ids that `views` state for clients. If several clients have one user id, the first counts."""
        self.clients = first_clients(views)
        self.strangers: set[str] = set()
        self._names = [list(view.names.values()) for view in views]
        self._tables = [
            # One more than there are names: an id that points beyond them (a damaged side file) is a stranger.
            np.array([self.clients.get(text, STRANGER) for text in names] + [STRANGER], dtype=np.int64)
            for names in self._names
        ]

    def apply(self, number: int, records: np.ndarray) -> None:
        """Replace the interned ids of users in a batch of journal `number` by client numbers, in place.

        Such ids are in `aux` of records that name a user, and in `author` of PRESENCE and SEEN records. An id without a
        client becomes STRANGER in `aux` and NOBODY in `author`.
        """
        aux = records["aux"]
        self._about(number, records)
        foreign = aux >= FOREIGN
        if foreign.any():
            where = np.flatnonzero(foreign & _NAMES_A_USER[records["kind"]])
            aux[where] = self._clients(number, aux[where])

    def _about(self, number: int, records: np.ndarray) -> None:
        where = np.flatnonzero((records["kind"] == Kind.PRESENCE) | (records["kind"] == Kind.SEEN))
        where = where[records["author"][where] >= FOREIGN]
        if len(where):
            clients = self._clients(number, records["author"][where].astype(np.int64))
            records["author"][where] = np.where(clients == STRANGER, NOBODY, clients)

    def _clients(self, number: int, ids: np.ndarray) -> np.ndarray:
        table, names = self._tables[number], self._names[number]
        places = np.minimum(ids - FOREIGN, len(table) - 1)
        clients: np.ndarray = table[places]
        for place in np.unique(places[clients == STRANGER]).tolist():
            self.strangers.update(names[place : place + 1])
        return clients
