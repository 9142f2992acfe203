"""Transfer of the part of a run that another host recorded: cut into pieces there, put together in the run's directory.

A load process without the master's disk records into a directory of its own, with `journals/` and `tables/` like a run.
All of these files only grow, so a piece consists of some bytes of each file with their offsets. A piece holds the lines
of a journal's side file up to a seal, and all records that these seals cover. So it can be verified alone, and the name
that a record uses comes in the same piece or an earlier one. Pieces must come in order; a repeated one is ignored.

    Cutter     reads a part's directory and returns the pieces that are not yet sent
    Gathering  writes pieces into the run's directory: records first, then the lines with their seals
    Piece      bytes for a message or an object of a store, see `Piece.packed`
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from earwitness.checks.history.record import RECORD_BYTES
from earwitness.harness.errors import RecordError
from earwitness.harness.record.frames import SUFFIX as FRAMES_SUFFIX
from earwitness.harness.record.journal import DATA_SUFFIX, NAMES_SUFFIX

PIECE_BYTES: Final = 1 << 20
"""Approximate number of bytes of a piece; the up to 16,384 records of one seal are never divided."""

_SEAL: Final = b'{"block":'
_FOOTER: Final = b'{"footer":'
_TABLE = re.compile(r"tables/[a-z][a-z0-9_-]*\.jsonl")
_TIMES: Final = ("t_ns", "calm_ns")
"""Columns of side tables that are times on the clock of the process that wrote them."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes of files of one part, in the order in which they must be written.

    journal  name of the part's journal
    slices   (path of a file in the part's directory, offset in bytes, the bytes)
    """

    journal: str
    slices: Sequence[tuple[str, int, bytes]]

    @property
    def size(self) -> int:
        """Return the number of bytes of all slices."""
        return sum(len(data) for _, _, data in self.slices)

    def packed(self) -> bytes:
        """Return the piece as bytes: a line of JSON that lists the slices, then their bytes one after another."""
        head = {"journal": self.journal, "slices": [[name, at, len(data)] for name, at, data in self.slices]}
        return json.dumps(head, separators=(",", ":")).encode() + b"\n" + b"".join(data for _, _, data in self.slices)

    @classmethod
    def unpacked(cls, data: bytes) -> Self:
        """Return the piece from the result of `packed`. Raises RecordError if `data` is no packed piece."""
        head, _, rest = data.partition(b"\n")
        try:
            described = json.loads(head)
            slices, start = [], 0
            for name, at, size in described["slices"]:
                slices.append((str(name), int(at), rest[start : start + size]))
                start += size
            if start != len(rest):
                raise ValueError(start)
            return cls(str(described["journal"]), slices)
        except (ValueError, KeyError, TypeError) as error:
            raise RecordError(f"These {len(data)} bytes are no piece of a journal: {error!r}.") from None


class Cutter:
    """Reader of a part's directory that returns the bytes that were not sent yet, piece by piece.

    `sent`: number of bytes of each file that were returned so far; set it back to send bytes again.
    """

    def __init__(self, directory: Path, journal: str, *, tables: bool = True) -> None:
        """Read the part in `directory`, whose process writes the journal `journal`.

        `tables`: return rows of side tables too; False if other processes write the same tables.
        """
        self._directory, self._journal, self._tables = directory, journal, tables
        self._side = f"journals/{journal}{NAMES_SUFFIX}"
        self._data = f"journals/{journal}{DATA_SUFFIX}"
        self._frames = f"journals/{journal}{FRAMES_SUFFIX}"
        self.sent: dict[str, int] = {}
        self._footer_end = 0

    @property
    def closed(self) -> bool:
        """Return whether the footer of the journal was returned, after which nothing is added to the journal."""
        return 0 < self._footer_end <= self.sent.get(self._side, 0)

    def next(self) -> Piece | None:
        """Return the next piece, None if there is nothing new. Raises RecordError if a file cannot be read."""
        slices = self._journal_slices() or self._frame_slices()
        slices += self._table_slices() if len(slices) < 2 else []
        for name, at, data in slices:
            self.sent[name] = at + len(data)
        return Piece(self._journal, slices) if slices else None

    def _journal_slices(self) -> list[tuple[str, int, bytes]]:
        """Return slices with the records that the next seals cover, and the lines of the side file up to these seals.

        [] if there is no new line. Raises RecordError if records are missing.
        """
        at = self.sent.get(self._side, 0)
        lines = self._read(self._side, at, 2 * PIECE_BYTES)
        end = size = 0
        first = self.sent.get(self._data, 0)
        last = first
        for line in lines[: lines.rfind(b"\n") + 1].splitlines(keepends=True):
            if line.startswith(_SEAL):
                seal = json.loads(line)["block"]
                size = (seal["first"] - 1 + seal["count"]) * RECORD_BYTES - first
                if size > 2 * PIECE_BYTES and last > first:
                    break
                last = first + size
            end += len(line)
            if line.startswith(_FOOTER):
                self._footer_end = at + end
            if end > PIECE_BYTES or last - first >= PIECE_BYTES:
                break
        if not end:
            return []
        records = [(self._data, first, self._read(self._data, first, last - first))] if last > first else []
        if records and len(records[0][2]) < last - first:
            raise RecordError(f"{self._directory / self._data} is shorter than its seals say.")
        return [*records, (self._side, at, lines[:end])]

    def _frame_slices(self) -> list[tuple[str, int, bytes]]:
        """Return a slice of the frame file, [] before the journal is closed: until then the file ends with zeros."""
        if not self.closed:
            return []
        at = self.sent.get(self._frames, 0)
        data = self._read(self._frames, at, PIECE_BYTES)
        return [(self._frames, at, data)] if data else []

    def _table_slices(self) -> list[tuple[str, int, bytes]]:
        found: list[tuple[str, int, bytes]] = []
        if not self._tables:
            return found
        for path in sorted((self._directory / "tables").glob("*.jsonl")):
            name = f"tables/{path.name}"
            at = self.sent.get(name, 0)
            rows = self._read(name, at, PIECE_BYTES)
            rows = rows[: rows.rfind(b"\n") + 1]
            if rows:
                found.append((name, at, rows))
        return found

    def _read(self, name: str, at: int, size: int) -> bytes:
        try:
            with (self._directory / name).open("rb") as file:
                file.seek(at)
                return file.read(size)
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise RecordError(f"Cannot read {self._directory / name}: {error.strerror}.") from error


class Gathering:
    """Writer of one part's pieces into the run's directory.

    kept       number of bytes of each of the part's files that were written so far
    offset_ns  ns that are added to times in its side tables, to map them to the run's clock
    """

    def __init__(
        self,
        run_dir: Path,
        journal: str,
        offset_ns: int = 0,
        *,
        kept: Mapping[str, int] | None = None,
        tables: bool = True,
    ) -> None:
        """Prepare to write the pieces of the part whose process writes `journal`.

        `kept`: number of bytes of each file that the run directory has already. `tables`: write rows of side tables
        too.
        """
        self._run_dir, self._journal, self.offset_ns, self._tables = run_dir, journal, offset_ns, tables
        self._own = {f"journals/{journal}{suffix}" for suffix in (DATA_SUFFIX, NAMES_SUFFIX, FRAMES_SUFFIX)}
        self.kept: dict[str, int] = dict(kept or {})

    def take(self, piece: Piece) -> bool:
        """Write a piece and return True; return False, and write nothing, if a piece before it is missing.

        Raises RecordError if the piece is not of this part, or cannot be written.
        """
        for name, at, _ in piece.slices:
            if piece.journal != self._journal or not (name in self._own or _TABLE.fullmatch(name)):
                raise RecordError(f"A piece of {piece.journal} holds {name!r}, which is no file of {self._journal}.")
            if at > self.kept.get(name, 0):
                return False
        for name, at, data in piece.slices:
            new = data[self.kept.get(name, 0) - at :]
            if new and (self._tables or name in self._own):
                self._write(name, at + len(data) - len(new), new)
            self.kept[name] = max(self.kept.get(name, 0), at + len(data))
        return True

    def _write(self, name: str, at: int, data: bytes) -> None:
        path = self._run_dir / name
        try:
            path.parent.mkdir(exist_ok=True)
            if name in self._own:
                with path.open("r+b" if path.exists() else "w+b") as file:
                    file.seek(at)
                    file.write(data)
            else:
                with path.open("ab", buffering=0) as file:
                    file.write(self._shifted(data))
        except OSError as error:
            raise RecordError(f"Cannot write {path}: {error.strerror}.") from error

    def _shifted(self, rows: bytes) -> bytes:
        """Return rows of a side table with their times on the clock of the run."""
        if not self.offset_ns:
            return rows
        found = bytearray()
        for line in rows.splitlines():
            try:
                row: dict[str, Any] = json.loads(line)
            except ValueError:  # whoever reads the table names the line
                found += line + b"\n"
                continue
            row.update({key: row[key] + self.offset_ns for key in _TIMES if isinstance(row.get(key), int)})
            found += json.dumps(row).encode() + b"\n"
        return bytes(found)
