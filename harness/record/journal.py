"""Journal: one 64-byte record per frame or operation of one process, safe against SIGKILL.

Two files in the directory `journals/` of a run:

    NAME.ewj          an array of `checks.history.record.RECORD` without any header, so `numpy.memmap(path, RECORD)`
                      reads it. While it is being written its tail is reserved zeros; `close` cuts them off.
    NAME.names.jsonl  {"journal": NAME, "meta": {…}}, then {"name": [id, "text"]} and {"identity": [client, "user id"]}
                      when they occur, {"block": {…}} for each seal (see below), and last {"footer": {"records": n, …}}.
                      Each line ends with a hash of all before it (see `harness.record.sidecar`).

Blocks: each BLOCK_RECORDS records get a checksum, and each SEAL_BLOCKS blocks get a seal. The last records get both
when the journal is closed. A seal names the journal, its first block and first record, how many records it covers,
their checksums, and the hash of the seal before. The names that a block uses are written before its seal, so a block
can be trusted if the side file is sound up to its seal.

Record i is complete if its `index` holds i + 1, which is written last. The data file lives in shared memory pages, so
what `write` has returned survives the death of the process (not of the machine: nothing is synced).

One thread writes a journal. A forked child must not: methods that write raise `RecordError` there.
"""

from __future__ import annotations

import errno
import hashlib
import itertools
import mmap
import os
import re
import struct
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, Protocol, Self, TypeAlias

from earwitness.checks.history.record import FOREIGN, RECORD_BYTES, RECORD_STRUCT
from earwitness.harness.errors import Exceeded, RecordError
from earwitness.harness.native import HOT
from earwitness.harness.record.sidecar import Block, Chain, tag_of

DATA_SUFFIX: Final = ".ewj"
NAMES_SUFFIX: Final = ".names.jsonl"

STEP_BYTES: Final = 1 << 20
"""Number of bytes by which the file grows at a time: few, because they are reserved inside one `write`."""

STEPS_AHEAD: Final = 4
"""Number of steps reserved after the mapped one, so that a full disk is noticed early, and the run can end in order."""

STEP_RECORDS: Final = STEP_BYTES // RECORD_BYTES

BLOCK_RECORDS: Final = 2048
"""Number of records in a block: 128 KiB.

Small, because a damaged block is lost to the judge, and because its checksum is taken while it is in the processor's
cache. A step holds a whole number of blocks.
"""

SEAL_BLOCKS: Final = 8
"""Number of blocks in one seal. Writing its line to the side file costs as much as a checksum."""

NAMES_MAX: Final = 100_000
"""Largest number of names of one journal; each stays in memory to the end of the run, here and in the judge."""

NAME_CHARS: Final = 1024
"""Largest number of characters of a name; a longer one is stored as its beginning and its digest."""

_SOUND_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class Write(Protocol):
    """Protocol of the function that appends one record and returns its index in the journal, from 1.

    All arguments are integers in the ranges of `checks.history.record`.
    """

    def __call__(
        self,
        t: int,
        kind: int,
        flags: int,
        attempt: int,
        proc: int,
        client: int,
        conn: int,
        conv: int,
        author: int,
        counter: int,
        seq: int,
        aux: int,
        size: int,
        digest: int,
        /,
    ) -> int:
        """Append one record; all arguments are positional integers, in the order of the fields of `RECORD`."""


class Journal:
    """Journal of one process. Make it with `Journal.create`.

    write    appends a record (see `Write`). When the disk fills up it raises `RecordError` once *after* the record is
             safe, while STEPS_AHEAD steps (4 MB) are still reserved for ending the run; when these are used up too, it
             raises each time and counts the record as `lost` in the footer. `struct.error` for a number that is out of
             range: nothing is appended.
    """

    write: Write

    def __init__(self, path: Path, names_path: Path, data_fd: int, names_fd: int, *, native: bool) -> None:
        """Use the open files of records and names, and reserve the first pages. `Journal.create` opens the files."""
        self.path, self.names_path = path, names_path
        self.name = path.name.removesuffix(DATA_SUFFIX)
        self._pid = os.getpid()
        self._closed = False
        self.ids: dict[str, int] = {}
        self.names_max = NAMES_MAX
        self._connections = itertools.count(1)
        self._names_fd = names_fd
        self._data = Pages(path, data_fd)
        self._chain = Chain()
        self._blocks, self._block_chain = 0, ""
        """Number of sealed blocks, and the chain of the last seal; of the first line while there is none."""
        self._unsealed: list[tuple[int, int, str]] = []
        self.pen, self._halt, self._checksum = _bind(self, native)
        self.write = self.pen.write

    @classmethod
    def create(cls, directory: Path, name: str, *, meta: Mapping[str, object], native: bool = True) -> Self:
        """Start the journal `name` in `directory`, with room reserved for some 80,000 records.

        `directory` is a run's `journals/`, made if absent. `meta`: facts for the first line of the side file, such as
        the clock. `native`: write with the compiled pen (`earwitness.harness.native`) if it is built. Raises
        RecordError for a bad or used name, and if permission or space is missing.
        """
        if not _SOUND_NAME.fullmatch(name):
            raise RecordError(f"{name!r} is no name for a journal: use letters, digits, '.', '_' and '-'.")
        path, names_path = Path(directory) / f"{name}{DATA_SUFFIX}", Path(directory) / f"{name}{NAMES_SUFFIX}"
        descriptors: list[int] = []
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            for file in (path, names_path):
                descriptors.append(os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644))
            journal = cls(path, names_path, *descriptors, native=native)
            journal._line({"journal": name, "meta": dict(meta)})
        except (OSError, RecordError) as error:
            for file, fd in zip((path, names_path), descriptors, strict=False):
                os.close(fd)
                file.unlink(missing_ok=True)
            if isinstance(error, RecordError):
                raise
            if isinstance(error, FileExistsError) and path.parent.is_dir():
                raise RecordError(
                    f"{error.filename} exists already: each process needs its own journal name."
                ) from None
            raise RecordError(f"Cannot write a journal at {path}: {error.strerror}.") from error
        _open_journals.add(journal)
        return journal

    @property
    def records(self) -> int:
        """Return the number of complete records so far."""
        return self.pen.count

    def intern(self, text: str) -> int:
        """Return the number (≥ `FOREIGN`) that stands for `text` in this journal's records, the same for the same text.

        For names that are not in the plan; the caller knows which. A text of more than NAME_CHARS characters is stored
        as its beginning and digest. Its line is in the side file before this returns. Raises Exceeded if a new text
        would be more than `names_max` names.
        """
        known = self.ids.get(text)
        if known is None and len(text) > NAME_CHARS:
            text = _short(text)
            known = self.ids.get(text)
        if known is not None:
            return known
        self._check()
        if len(self.ids) >= self.names_max:
            raise Exceeded(f"more than {self.names_max:,} unplanned names")
        number = FOREIGN + len(self.ids)
        self._line({"name": [number, text]})
        self.ids[text] = number
        return number

    def identity(self, client: int, user_id: str) -> None:
        """Record that the platform's id of this client's user is `user_id`.

        The judge then replaces this id in records by the client's number. Raises RecordError if the disk is full.
        """
        self._check()
        self._line({"identity": [client, _short(user_id)]})

    def next_connection(self) -> int:
        """Return a connection epoch that this journal has not used yet, counted from 1."""
        return next(self._connections)

    def seal(self) -> None:
        """Seal all records written so far, so that they can be sent to another host; no-op if all are sealed.

        Costs a line of the side file. Raises RecordError if the disk is full; a later call then seals the same records.
        """
        self._check()
        self._checksum()
        self._seal()

    def close(self, footer: Mapping[str, object] | None) -> None:
        """Cut the file to its records and write the footer, to which `records` and, if any, `lost` are added.

        `footer` None: no footer is written, so the journal counts as torn. A second call is a no-op.
        """
        if self._closed:
            return
        self._check()
        self._closed = True
        if footer is not None:
            self._checksum()
        lost = self._halt()
        self._data.close(self.records * RECORD_BYTES)
        extra = {"lost": lost} if lost else {}
        try:
            if footer is not None:
                self._seal()
                last = {"blocks": self._blocks, "before": self._block_chain}
                self._line({"footer": {**footer, "records": self.records, **extra}, **last})
        finally:
            os.close(self._names_fd)

    def _seal(self) -> None:
        """Write one seal for all blocks that have a checksum and no seal yet.

        Raises RecordError if the disk is full; a later call then seals the same blocks.
        """
        if self._unsealed:
            blocks = [Block(self._blocks + n, *block) for n, block in enumerate(self._unsealed, 1)]
            self._append(self._chain.seal(self.name, blocks, self._block_chain))
            self._blocks, self._block_chain = self._blocks + len(blocks), self._chain.last
            self._unsealed.clear()

    def _line(self, value: Mapping[str, object]) -> None:
        self._append(self._chain.line(value))

    def _append(self, data: bytes) -> None:
        # One system call a line: after it the line survives SIGKILL, and a reader sees no interleaving.
        start = os.lseek(self._names_fd, 0, os.SEEK_CUR)
        try:
            written = os.write(self._names_fd, data)
            if written < len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            os.ftruncate(self._names_fd, start)
            os.lseek(self._names_fd, start, os.SEEK_SET)
            raise RecordError(
                f"{self.names_path} cannot grow: {error.strerror}. Free some space and run again."
            ) from error
        self._chain.commit()
        self._block_chain = self._block_chain or self._chain.last

    def _check(self) -> None:
        if os.getpid() != self._pid:
            raise RecordError(
                f"{self.path} belongs to process {self._pid}: a forked child must create its own journal."
            )
        if self._closed:
            raise RecordError(f"{self.path} is closed: nothing can be recorded any more.")


class Pages:
    """File that grows in steps of STEP_BYTES, reserved ahead and mapped one at a time: data or frames of a journal.

    Only reserved bytes are ever mapped: touching a page that the disk has no room for is SIGBUS, not an error.
    """

    def __init__(self, path: Path, fd: int) -> None:
        """Reserve disk space for the first steps. Raises RecordError if there is none."""
        self._path, self._fd = path, fd
        self._mapped = 0
        self._reserved = 0
        for _ in range(1 + STEPS_AHEAD):
            self.reserve()

    def reserve(self) -> None:
        """Reserve one more step on the disk.

        Raises RecordError if the disk has no room.
        """
        try:
            _allocate(self._fd, self._reserved, STEP_BYTES)
        except OSError as error:
            megabytes = self._reserved / 1e6
            raise RecordError(
                f"{self._path} cannot grow beyond {megabytes:.0f} MB: {os.strerror(error.errno or errno.ENOSPC)}. "
                "Free some space and run again; what was recorded until now can be judged."
            ) from error
        self._reserved += STEP_BYTES

    def map_next(self) -> memoryview | None:
        """Return the next step as writable memory; None if no more steps are reserved."""
        if self._mapped == self._reserved:
            return None
        view = memoryview(mmap.mmap(self._fd, STEP_BYTES, offset=self._mapped))
        self._mapped += STEP_BYTES
        return view

    def close(self, size: int) -> None:
        """Cut the file to its first `size` bytes and close it.

        The caller must have released its mapping of pages beyond `size` before.
        """
        os.ftruncate(self._fd, size)
        os.close(self._fd)


class Pen(Protocol):
    """Protocol of the object that appends records to the mapped page: `PlainPen`, or the compiled pen.

    count  number of records so far
    limit  number of the last record that fits in the current block: the next one is passed to `new_block`
    write  function that appends one record, see `Write`
    """

    limit: int

    @property
    def count(self) -> int:
        """Return the number of complete records."""

    @property
    def write(self) -> Write:
        """Return the function that appends one record."""

    def turn(self, view: memoryview, base: int, /) -> None:
        """Continue in the page `view`, whose first byte is byte `base` of the file."""

    def halt(self) -> None:
        """Release the page. The next record is passed to `new_block`, which raises RecordError."""


class PlainPen:
    """Pen in plain Python. `write` is a closure, because the variables of a closure are the fastest state in Python."""

    __slots__ = ("_bounds", "_count", "halt", "turn", "write")

    def __init__(self, new_block: Callable[..., int]) -> None:
        """Start without a page. `new_block` is called with each record that does not fit in the current block."""
        self.write, self.turn, self.halt, self._count, self._bounds = _closures(new_block)

    @property
    def count(self) -> int:
        """Return the number of complete records."""
        return self._count()

    @property
    def limit(self) -> int:
        """Return the number of the last record that fits in the current block."""
        return self._bounds(None)

    @limit.setter
    def limit(self, limit: int) -> None:
        self._bounds(limit)


_Closures: TypeAlias = tuple[
    Write, Callable[[memoryview, int], None], Callable[[], None], Callable[[], int], Callable[[int | None], int]
]


def _closures(new_block: Callable[..., int]) -> _Closures:
    """Return the functions of a `PlainPen`: write, turn, halt, one that returns the count, and one for the limit.

    The last function sets the limit to its argument, if that is not None, and returns the limit.
    """
    pack_into = struct.Struct(RECORD_STRUCT).pack_into
    view, count, limit, base = memoryview(b""), 0, 0, 0

    def write(
        t: int,
        kind: int,
        flags: int,
        attempt: int,
        proc: int,
        client: int,
        conn: int,
        conv: int,
        author: int,
        counter: int,
        seq: int,
        aux: int,
        size: int,
        digest: int,
        /,
    ) -> int:
        nonlocal count
        n = count + 1
        if n > limit:
            return new_block(t, kind, flags, attempt, proc, client, conn, conv, author, counter, seq, aux, size, digest)
        pack_into(
            view, count * 64 - base, t, kind, flags, attempt, proc, client, conn, conv, author, counter, seq, aux, size,
            digest, n,
        )  # fmt: skip
        count = n
        return n

    def turn(page: memoryview, first: int, /) -> None:
        nonlocal view, base
        view, base = page, first

    def halt() -> None:
        nonlocal view, limit
        view, limit = memoryview(b""), count

    def bounds(to: int | None) -> int:
        nonlocal limit
        limit = limit if to is None else to
        return limit

    return write, turn, halt, lambda: count, bounds


def _bind(journal: Journal, native: bool) -> tuple[Pen, Callable[[], int], Callable[[], None]]:
    """Return the pen of a journal, and two functions that share its variables.

    The first stops the writing and returns how many records were lost; the second takes the checksum of the records
    that have none yet.
    """
    pages, check = journal._data, journal._check
    view = pages.map_next() or memoryview(b"")
    base, lost, warned, summed = 0, 0, False, 0

    def new_block(*record: int) -> int:
        nonlocal warned
        check()
        trouble: RecordError | None = None
        try:
            checksum()
            # All blocks of a seal are of one size, so what is left of a block that `seal` has cut is sealed alone.
            unsealed = journal._unsealed
            if len(unsealed) >= SEAL_BLOCKS or (unsealed and unsealed[0][1] < BLOCK_RECORDS):
                journal._seal()
        except RecordError as error:
            trouble = error
        if pen.count * RECORD_BYTES - base == STEP_BYTES:
            trouble = turn_page() or trouble
        pen.limit = pen.count + BLOCK_RECORDS
        n = pen.write(*record)
        if trouble and not warned:
            warned = True
            raise trouble
        return n

    def turn_page() -> RecordError | None:
        """Map the next step; return the error of reserving one more step, None if there was none.

        Raises RecordError if no reserved step is left.
        """
        nonlocal view, base, lost
        trouble: RecordError | None = None
        try:
            pages.reserve()
        except RecordError as error:
            trouble = error
        page = pages.map_next()
        if page is None:
            lost += 1
            raise trouble or RecordError(f"{journal.path} has no room left.")
        view, base = page, pen.count * RECORD_BYTES
        pen.turn(view, base)
        return trouble

    def checksum() -> None:
        """Take the checksum of the records that have none. They are in `view`, since blocks never cross a step."""
        nonlocal summed
        count = pen.count
        if summed < count:
            block = view[summed * RECORD_BYTES - base : count * RECORD_BYTES - base]
            journal._unsealed.append((summed + 1, count - summed, tag_of(block)))
            summed = count

    def halt() -> int:
        nonlocal view
        view = memoryview(b"")
        pen.halt()
        return lost

    pen: Pen = HOT.Pen(new_block) if native and HOT is not None else PlainPen(new_block)
    pen.turn(view, 0)
    pen.limit = BLOCK_RECORDS
    return pen, halt, checksum


_open_journals: weakref.WeakSet[Journal] = weakref.WeakSet()


def _halt_in_child() -> None:
    for journal in list(_open_journals):
        journal._halt()


if hasattr(os, "register_at_fork"):
    # The map is shared with the child, and reading the process id in each `write` costs as much as half a record: so
    # the child's copies are stopped right after the fork instead.
    os.register_at_fork(after_in_child=_halt_in_child)


def _allocate(fd: int, offset: int, size: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(fd, offset, size)
    else:  # macOS: written zeros are the only portable promise of space
        zeros = bytes(size)
        done = 0
        while done < size:
            done += os.pwrite(fd, zeros[done:], offset + done)


def _short(text: str) -> str:
    """Return a name as it is stored: cut if it is longer than NAME_CHARS.

    A platform may send names of megabytes, and each new one stays in memory to the end of the run.
    """
    if len(text) <= NAME_CHARS:
        return text
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{text[:200]}… ({len(text)} characters, SHA-256 {digest})"
