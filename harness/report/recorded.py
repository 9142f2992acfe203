"""Records of a run for the computation of figures: read in chunks and in two passes, whatever their number.

The first pass stores all rare records and remembers when each message was first sent. The second pass joins every
delivery and answer with that sending, and passes the results chunk by chunk to the sinks. So memory grows with the
messages sent (8 bytes each) and with the rare records, not with the deliveries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Protocol, Self

import numpy as np
import numpy.typing as npt

from earwitness.checks.engine.compiled import kernel
from earwitness.checks.engine.tables import place, rehash
from earwitness.checks.history.record import RECORD, Kind
from earwitness.harness.record.clocks import ClockMap
from earwitness.harness.record.history import History

Records = npt.NDArray[np.void]
Array = npt.NDArray[Any]
PART: Final = 1 << 15
"""Records that are read at a time: 2 MB, which fit into the processor's cache."""
COMMON: Final = (
    Kind.INVOKE, Kind.OK, Kind.DELIVER, Kind.JOIN, Kind.STORED, Kind.READ_END, Kind.REPLAY, Kind.RUN, Kind.READ,
)  # fmt: skip
"""Kinds of which there may be several records for each message. Records of all other kinds are rare, and are stored."""
_RARE = np.ones(256, bool)
_RARE[[int(kind) for kind in COMMON]] = False
PAGE_BITS: Final = 6
PAGE: Final = 1 << PAGE_BITS
"""Number of consecutive counters of one author whose times are stored together in one row."""
NOT_SENT: Final = np.iinfo(np.int64).max


@kernel
def sent_step(records: Array, start: Any, keys: Array, numbers: Array, times: Array, used: Array) -> Any:
    """Store the time (ns) of the first sending of each message from index `start` on.

    Return the number of records done.

    `keys`, `numbers`, `times` and `used` are changed. `keys` (-1: free) and `numbers` are a hash table from author <<
    26 | counter >> 6 to a page, a row of `times` for 64 counters of that author (NOT_SENT: not sent). `used[0]`: pages
    in use. Authors count up from 1, so pages fill, and neighbours share cache lines. The result is below `len(records)`
    if there is no page left; the caller then enlarges the table and calls again with the result as `start`.
    """
    for i in range(start, len(records)):
        r = records[i]
        if r["kind"] != 1 or r["attempt"] > 1:
            continue
        counter = np.int64(r["counter"])
        key = (np.int64(r["author"]) << 26) | (counter >> 6)
        at = place(keys, key)
        if keys[at] == -1:
            if used[0] == len(times):
                return i
            keys[at] = key
            numbers[at] = used[0]
            used[0] += 1
        page = np.int64(numbers[at])
        times[page, counter & 63] = min(times[page, counter & 63], r["t"])
    return len(records)


@kernel
def since_step(records: Array, kind: Any, keys: Array, numbers: Array, times: Array, at: Array, sent: Array) -> Any:
    """Find the sending of each record's message, for records of one kind; return n, the number found.

    `keys`, `numbers`, `times`: as `sent_step` filled them. Outputs: `at[:n]`, the positions in `records` of those whose
    message was sent, and `sent[:n]`, the times of sending in ns. `at` and `sent` must be as long as `records`.
    """
    found = 0
    for i in range(len(records)):
        r = records[i]
        if r["kind"] != kind:
            continue
        counter = np.int64(r["counter"])
        key = place(keys, (np.int64(r["author"]) << 26) | (counter >> 6))
        if keys[key] == -1:
            continue
        t = times[np.int64(numbers[key]), counter & 63]
        if t != 9223372036854775807:
            at[found] = i
            sent[found] = t
            found += 1
    return found


class Sendings:
    """Time of the first sending of every message, by author and counter: 8 bytes a message."""

    def __init__(self) -> None:
        """Start without messages."""
        self._keys, self._numbers = np.full(1 << 10, -1, np.int64), np.zeros(1 << 10, np.int32)
        self._times = np.zeros((0, PAGE), np.int64)
        self._used = np.zeros(1, np.int64)

    def add(self, records: Records) -> None:
        """Store the times of the first sendings among these records."""
        done = 0
        while True:
            done = int(sent_step(records, done, self._keys, self._numbers, self._times, self._used))
            if done == len(records):
                return
            self._grow()

    def since(self, records: Records, kind: Kind) -> tuple[Array, Array]:
        """Return (positions, times of sending in ns) of the records of a kind whose message was sent."""
        at, sent = np.empty(len(records), np.int64), np.empty(len(records), np.int64)
        found = int(since_step(records, int(kind), self._keys, self._numbers, self._times, at, sent))
        return at[:found], sent[:found]

    def _grow(self) -> None:
        """Double the number of pages; enlarge the hash table so that it is at most half full."""
        more = np.full((max(len(self._times), 64), PAGE), NOT_SENT, np.int64)
        self._times = np.concatenate([self._times, more])
        if 2 * len(self._times) <= len(self._keys):
            return
        keys, numbers = self._keys, self._numbers
        self._keys, self._numbers = np.full(4 * len(keys), -1, np.int64), np.zeros(4 * len(keys), np.int32)
        rehash(keys, numbers, self._keys, self._numbers)


@dataclass(frozen=True, slots=True)
class Since:
    """Records of one kind in one chunk of a journal, with the times at which their messages were first sent.

    records  all records of the chunk
    at       positions in `records` of those that have the kind and whose message was sent
    sent_ns  for each of these, the time of the first sending in ns
    """

    records: Records
    at: Array
    sent_ns: Array

    @property
    def took_ns(self) -> Array:
        """Return how long after the sending each record at `at` was written, in ns of one host's clock."""
        result: Array = self.records["t"][self.at] - self.sent_ns
        return result

    def slot(self, name: str) -> Array:
        """Return the column `name` of the records at `at`."""
        result: Array = self.records[name][self.at]
        return result


class View(Protocol):
    """Protocol of the records of one journal, which are read in chunks."""

    def __len__(self) -> int:
        """Return the number of records."""

    def __getitem__(self, where: Any, /) -> Records:
        """Return the records in a slice, or at an array of positions."""


class Mapped:
    """Records of a journal whose times need mapping to the run's clock.

    Indexing returns a copy with mapped times; the file is not changed.
    """

    def __init__(self, records: Records, clock: ClockMap) -> None:
        """Store the records and the mapping of their clock; nothing is read yet."""
        self._records, self._clock = records, clock

    def __len__(self) -> int:
        """Implement `View.__len__`."""
        return len(self._records)

    def __getitem__(self, where: Any, /) -> Records:
        """Implement `View.__getitem__`."""
        part = np.array(self._records[where])
        self._clock.apply(part)
        return part


class Recorded:
    """Records of all journals of a run. Interned ids are those of each journal; times are on the clock of the run."""

    def __init__(self, views: Sequence[View], names: Sequence[Mapping[int, str]] = ()) -> None:
        """Store the records (or memory maps of files) of each journal; nothing is read yet.

        `names`: for each journal, interned id → text.
        """
        self.views, self.names = list(views), names

    @classmethod
    def of(cls, history: History) -> Self:
        """Return the records of a history."""
        views = [Mapped(view.raw, view.clock) if view.clock.moves else view.raw for view in history.journals]
        return cls(views, [view.names for view in history.journals])

    def parts(self) -> Iterator[tuple[int, Records]]:
        """Yield (number of the journal, at most PART consecutive records of it); each part is a copy in memory."""
        for number, view in enumerate(self.views):
            for start in range(0, len(view), PART):
                yield number, np.array(view[start : start + PART])

    @property
    def rare(self) -> list[Records]:
        """Return, for each journal, the records whose kinds are not COMMON, in their order."""
        return self._gathered.rare

    @property
    def counts(self) -> Array:
        """Return the number of records of each kind; shape (256,), index: number of the kind."""
        return self._gathered.counts

    @property
    def bounds_ns(self) -> tuple[int, int] | None:
        """Return the earliest and the latest time of all records, in ns; None without records."""
        return self._gathered.bounds

    @property
    def said_ns(self) -> list[tuple[int, int, int] | None]:
        """Return (first recorded, earliest, latest) time of a sending in ns, for each journal; None: no sending."""
        return self._gathered.said

    def last_ns(self, journal: int) -> int:
        """Return the latest time (ns) of a journal, by its number; 0 without records."""
        return self._gathered.last[journal]

    def of_kind(self, kind: Kind) -> list[Records]:
        """Return the records of `kind`, which is not in COMMON, for each journal."""
        assert _RARE[kind], kind
        return [records[records["kind"] == kind] for records in self.rare]

    def since_sending(self, *kinds: Kind) -> Iterator[tuple[Kind, Since]]:
        """Yield (kind, records of that kind whose message was sent), chunk by chunk."""
        for _, part in self.parts():
            for kind in kinds:
                at, sent = self._gathered.sendings.since(part, kind)
                if len(at):
                    yield kind, Since(part, at, sent)

    def deliver(self, sinks: Sequence[Sink]) -> None:
        """Call each sink with all deliveries and acknowledgements of known messages, chunk by chunk, in one pass."""
        if sinks:
            for kind, since in self.since_sending(Kind.DELIVER, Kind.OK):
                for sink in sinks:
                    sink(kind, since)

    @cached_property
    def _gathered(self) -> _Gathered:
        found = _Gathered(len(self.views))
        for number, part in self.parts():
            found.add(number, part)
        return found


Sink = Callable[[Kind, Since], None]
"""Function that counts the deliveries (kind DELIVER) or acknowledgements (kind OK) of a chunk of records."""


class _Gathered:
    """Results of the first pass: rare records, counts, first sendings, and the bounds of times."""

    def __init__(self, journals: int) -> None:
        self._rare: list[list[Records]] = [[] for _ in range(journals)]
        self.counts = np.zeros(256, np.int64)
        self.bounds: tuple[int, int] | None = None
        self.said: list[tuple[int, int, int] | None] = [None] * journals
        self.last = [0] * journals
        self.sendings = Sendings()

    def add(self, number: int, part: Records) -> None:
        kinds, t = np.ascontiguousarray(part["kind"]), part["t"]
        self.counts += np.bincount(kinds, minlength=256)
        self.sendings.add(part)
        rare = _RARE[kinds]
        if rare.any():
            self._rare[number].append(part[rare])
        low, high = int(t.min()), int(t.max())
        self.last[number] = max(self.last[number], high)
        self.bounds = (low, high) if self.bounds is None else (min(low, self.bounds[0]), max(high, self.bounds[1]))
        said = t[kinds == Kind.INVOKE]
        if len(said):
            first, begin, end = self.said[number] or (int(said[0]), NOT_SENT, -NOT_SENT)
            self.said[number] = first, min(begin, int(said.min())), max(end, int(said.max()))

    @cached_property
    def rare(self) -> list[Records]:
        """Return the rare records of each journal. Cached: read it only after the first pass."""
        return [np.concatenate(parts) if parts else np.empty(0, RECORD) for parts in self._rare]
