"""Frame capture (`--keep-frames`): raw frames of a journal for counterexamples, in NAME.frames, keyed by record number.

The file consists of steps of 1 MiB, each with a row of entries. An entry is `HEAD` (number of the first record made of
the frame, bytes of the frame, number of records, flags), then the frame, padded to 8 bytes. An entry never crosses a
step; zeros fill the end of a step. The head is written last and the pages are shared memory, so frames that were stored
survive the death of the process, and an unfinished entry is zeros.

Entries ascend by record, so a reader finds a step by binary search. Only frames sent and received on an open socket are
stored, never a handshake or a request. Texts that the caller names as secret are replaced by BLOT.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, Self

from earwitness.harness.errors import RecordError
from earwitness.harness.record.journal import STEP_BYTES, Pages

SUFFIX: Final = ".frames"
HEAD: Final = struct.Struct("<QIHH")
FRAME_MAX: Final = 1 << 16
"""Largest number of bytes that are stored of a frame; a longer frame is cut and marked as cut."""

BINARY, CUT = 1, 2
BLOT: Final = b"[secret]"


class FrameStore:
    """Writer of one process's frame file.

    Frames that cannot be stored are counted, and `close` returns the count for the journal's footer. They do not affect
    the verdict.

    kept, lost  numbers of frames that were stored, and that could not be stored
    """

    def __init__(self, path: Path, pages: Pages) -> None:
        """Map the first pages of `pages`, the open file at `path`. If the disk is full, all frames count as lost."""
        self.path, self._pages = path, pages
        self._view = pages.map_next() or memoryview(b"")
        self._at = self._steps = 0
        self.kept = self.lost = 0
        self._why = ""
        self._hearing: tuple[int, str | bytes, tuple[bytes, ...]] | None = None

    @classmethod
    def create(cls, directory: Path, name: str) -> Self:
        """Create the file next to the journal `name`.

        Raises RecordError as `Journal.create` does.
        """
        path = Path(directory) / f"{name}{SUFFIX}"
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise RecordError(f"Cannot keep frames at {path}: {error.strerror}.") from error
        try:
            return cls(path, Pages(path, fd))
        except RecordError:
            os.close(fd)
            path.unlink(missing_ok=True)
            raise

    def hearing(self, first: int, frame: str | bytes, secrets: tuple[bytes, ...] = ()) -> None:
        """Hold a received frame until `heard` stores it. Call it before the frame's records are written.

        `first`: number that the first of these records will have; `secrets`: texts to replace by BLOT.
        """
        self._hearing = first, frame, secrets

    def heard(self, last: int) -> None:
        """Store the frame of the last call of `hearing`.

        `last`: number of the last record made of the frame. If no record was made of it, the frame is not stored.
        """
        hearing, self._hearing = self._hearing, None
        if hearing is not None:
            self._keep(hearing[0], last, *hearing[1:])

    def said(self, record: int, frame: str | bytes, secrets: tuple[bytes, ...] = ()) -> None:
        """Store a sent frame. `record`: number of the record about its sending; `secrets`: texts to replace by BLOT.

        If the frame is sent while the records of a received frame are being written, the received frame is stored
        first, because entries ascend by record.
        """
        if self._hearing is not None:
            first, heard, hidden = self._hearing
            self._keep(first, record - 1, heard, hidden)
            self._hearing = record + 1, heard, hidden
        self._keep(record, record, frame, secrets)

    def _keep(self, first: int, last: int, frame: str | bytes, secrets: tuple[bytes, ...] = ()) -> None:
        """Store the frame of which records `first` to `last` were made; no-op if `last` < `first`. Never raises."""
        if last < first:
            return
        flags = 0
        if isinstance(frame, str):
            data = frame.encode("utf-8", "surrogatepass")
        else:
            data, flags = frame, BINARY
        for secret in secrets:
            if secret in data:
                data = data.replace(secret, BLOT)
        if len(data) > FRAME_MAX:
            data, flags = data[:FRAME_MAX], flags | CUT
        end = self._at + HEAD.size + len(data)
        if end > len(self._view):
            if not self._turn_page():
                self.lost += 1
                return
            end = HEAD.size + len(data)
        self._view[self._at + HEAD.size : end] = data
        HEAD.pack_into(self._view, self._at, first, len(data), min(last - first + 1, 0xFFFF), flags)
        self._at = end + 7 & ~7
        self.kept += 1

    def _turn_page(self) -> bool:
        try:
            self._pages.reserve()
        except RecordError as error:
            self._why = str(error)
        page = self._pages.map_next()
        if page is None:
            self._view = memoryview(b"")
            return False
        self._view, self._at = page, 0
        self._steps += 1
        return True

    def close(self) -> dict[str, object]:
        """Cut the file to its entries and close it; return the entry `frames` of the journal's footer."""
        self._view = memoryview(b"")
        self._pages.close(self._steps * STEP_BYTES + self._at)
        return {"kept": self.kept, "lost": self.lost, **({"why": self._why} if self._why else {})}


@dataclass(frozen=True, slots=True)
class Frame:
    """One stored frame.

    data  bytes of the frame as received or sent, without secrets
    cut   True: the frame was longer than `data`
    """

    data: bytes
    binary: bool
    cut: bool

    def text(self) -> str:
        """Return the frame for display: text unchanged, binary data in hexadecimal; " …" at the end if it was cut."""
        said = self.data.hex(" ") if self.binary else self.data.decode("utf-8", "backslashreplace")
        return f"{said} …" if self.cut else said


class Frames:
    """Reader of a journal's frame file.

    The file is opened for each look-up, because a counterexample needs only a handful of frames.
    """

    def __init__(self, path: Path) -> None:
        """Refer to the file at `path`; it is opened for each look-up."""
        self.path = path

    def of(self, record: int) -> Frame | None:
        """Return the frame of which record `record` was made; None if it was not stored or cannot be read."""
        try:
            with self.path.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                step = self._step_of(file, size, record)
                file.seek(step * STEP_BYTES)
                return _find(file.read(STEP_BYTES), record)
        except OSError:
            return None

    def _step_of(self, file: BinaryIO, size: int, record: int) -> int:
        low, high = 0, -(-size // STEP_BYTES) - 1
        while low < high:
            middle = (low + high + 1) // 2
            file.seek(middle * STEP_BYTES)
            head = file.read(HEAD.size)
            first = HEAD.unpack(head)[0] if len(head) == HEAD.size else 0
            low, high = (middle, high) if 0 < first <= record else (low, middle - 1)
        return low


def _find(step: bytes, record: int) -> Frame | None:
    at = 0
    while at + HEAD.size <= len(step):
        first, length, count, flags = HEAD.unpack_from(step, at)
        end = at + HEAD.size + length
        if not first or first > record or end > len(step):
            return None
        if record < first + count:
            return Frame(step[at + HEAD.size : end], bool(flags & BINARY), bool(flags & CUT))
        at = end + 7 & ~7
    return None


def frames_of(journal: Path) -> Frames:
    """Return the reader of a journal's frames, given the path of its data file."""
    return Frames(journal.with_suffix(SUFFIX))
