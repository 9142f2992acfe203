"""Side file of a journal: how its lines are chained when written, and their content when read.

Each line is a JSON object whose last key is `chain`: the SHA-256 of the `chain` of the line before and of the line's
text. So a line that was changed, left out, repeated or exchanged breaks the chain there, and the last `chain`
identifies the whole file. `block` lines are the seals of the data file (see `harness.record.journal`).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from xxhash import xxh3_128_hexdigest

from earwitness.checks.history.record import FOREIGN
from earwitness.harness.errors import RecordError

_CHAIN: Final = b',"chain":"'
_CHAIN_BYTES: Final = len(_CHAIN) + 64 + len(b'"}')
_START: Final = ""
_ENCODE: Final = json.JSONEncoder(ensure_ascii=True, separators=(",", ":")).encode


def link(before: str, text: bytes) -> str:
    """Return the chain hash of a line: SHA-256 of `before` and `text`, as 64 hexadecimal digits.

    `before`: the chain hash of the line before, "" for the first line. `text`: the line's JSON object without the key
    `chain` and without the newline.
    """
    return hashlib.sha256(before.encode() + text).hexdigest()


def tag_of(records: bytes | bytearray | memoryview) -> str:
    """Return the checksum of the bytes of a block: XXH3 of 128 bits, 32 hexadecimal digits.

    It is computed on the hot path, in a fifteenth of the time of zlib's CRC-32. It does not protect against forgery;
    the chain hashes of the lines, which are SHA-256, do.
    """
    return xxh3_128_hexdigest(records)


@dataclass(frozen=True, slots=True)
class Block:
    """Seal of one block, which covers `count` records of the data file, from `first` (from 1) to `last`.

    `number`: number of the block in its journal, from 1; `tag`: the checksum of the records' bytes (`tag_of`).
    """

    number: int
    first: int
    count: int
    tag: str

    @property
    def last(self) -> int:
        """Return the number of the block's last record."""
        return self.first + self.count - 1


class Chain:
    """Writer of chained lines.

    `last` is the chain hash of the last committed line. A line that did not reach the disk must not be committed.
    """

    def __init__(self) -> None:
        """Start the chain of an empty file."""
        self.last = _START
        self._next = _START

    def line(self, value: Mapping[str, object]) -> bytes:
        """Return the line that encodes `value`, which must not be empty. Call `commit` when the line was written."""
        return self.chained(_ENCODE(value).encode())

    def seal(self, journal: str, blocks: Sequence[Block], before: str) -> bytes:
        """Return the line that seals consecutive blocks of `journal`, all of the same size except for the last.

        `before`: chain hash of the seal before this one. The JSON is written by hand: a JSON encoder would take as long
        as the checksums, because it is rarely called and so is not in the processor's cache.
        """
        one, count = blocks[0], blocks[-1].last - blocks[0].first + 1
        tags = '","'.join(block.tag for block in blocks)
        head = f'"journal":"{journal}","number":{one.number},"first":{one.first},"count":{count},"size":{one.count}'
        head += f',"tags":["{tags}"]'
        return self.chained(f'{{"block":{{{head},"before":"{before}"}}}}'.encode())

    def chained(self, text: bytes) -> bytes:
        """Return the line for the text of a JSON object, which must not be empty, with its chain hash added."""
        self._next = link(self.last, text)
        return text[:-1] + _CHAIN + self._next.encode() + b'"}\n'

    def commit(self) -> None:
        """Accept the line that was returned last as written, so that the next line is chained to this one."""
        self.last = self._next


def _blocks(seal: Mapping[str, Any]) -> list[Block]:
    """Return the blocks of a seal, a `block` object of the side file.

    Raises ValueError if the number of records does not fit the number of blocks, KeyError or TypeError for a wrong
    form.
    """
    number, first, count, size = (int(seal[key]) for key in ("number", "first", "count", "size"))
    tags = [str(tag) for tag in seal["tags"]]
    if size < 1 or not (len(tags) - 1) * size < count <= len(tags) * size:
        raise ValueError(number)
    return [Block(number + n, first + n * size, min(size, count - n * size), tag) for n, tag in enumerate(tags)]


@dataclass(slots=True)
class Sidecar:
    """Content of one `NAME.names.jsonl` so far. `read` may be called again while the file grows.

    header      True: the first line was read, which states `name` and `meta`
    name        name of the journal that the file's first line states
    meta        `meta` of the journal, as `Journal.create` was given it
    names       id → text; ids run from `FOREIGN` without gaps
    identities  (client, platform's user id) in the order in which they were stated
    blocks      seals of the data file, from its first record on without gaps
    footer      content of the footer; None: the journal is not closed
    lines       how many lines were read
    sealed      True: its lines are chained; False: an earlier version wrote the file
    begin, end  chain hashes of the first line of the file, and of the last line that was read
    damage      sentence about the damage, "" if there is none. Lines after the damage are not read, so there is no
                footer
    """

    path: Path
    header: bool = False
    name: str = ""
    meta: dict[str, Any] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)
    identities: list[tuple[int, str]] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)
    footer: dict[str, Any] | None = None
    lines: int = 0
    sealed: bool = False
    begin: str = _START
    end: str = _START
    damage: str = ""
    _offset: int = 0
    _block_chain: str = _START

    def read(self) -> None:
        """Read the complete lines that were added since the last call; store damage in `damage`.

        A last line without a line end is incomplete; the next call reads it again. Raises RecordError if the file
        cannot be read.
        """
        if self.damage:
            return
        try:
            with self.path.open("rb") as file:
                file.seek(self._offset)
                data = file.read()
        except FileNotFoundError:
            self.damage = f"{self.path.name} is missing"
            return
        except OSError as error:
            raise RecordError(f"Cannot read {self.path}: {error.strerror}.") from error
        end = data.rfind(b"\n") + 1
        self._offset += end
        for line in data[:end].split(b"\n")[:-1]:
            self.lines += 1
            try:
                self._take(self._checked(line))
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
                said = line[:60].decode(errors="replace")
                self.damage = f"{self.path.name}, line {self.lines}: {said!r} is not what was written"
                self.footer = None
                return

    def behind_damage(self, end: str) -> list[Block]:
        """Return the seals after the damage if the file ends with the chain hash `end`, else [].

        The file is read from its last line backwards: each chain hash confirms the line before. Raises RecordError if
        the file cannot be read.
        """
        try:
            lines = self.path.read_bytes().split(b"\n")[:-1]
        except OSError as error:
            raise RecordError(f"Cannot read {self.path}: {error.strerror}.") from error
        blocks: list[Block] = []
        expected = end
        for line in reversed(lines):
            head, mark, chain = line[:-_CHAIN_BYTES], line[-_CHAIN_BYTES:].startswith(_CHAIN), line[-66:-2]
            if not mark or chain != expected.encode():
                break
            number = len(lines)
            lines.pop()
            before = lines[-1][-66:-2].decode(errors="replace") if lines else _START
            if number <= self.lines or link(before, head + b"}") != expected:
                break
            with contextlib.suppress(ValueError, KeyError, TypeError):
                seal = json.loads(head + b"}").get("block")
                blocks[:0] = [] if seal is None else _blocks(seal)
            expected = before
        return blocks

    @property
    def sealed_records(self) -> int:
        """Return the number of records of the journal that have a seal."""
        return self.blocks[-1].last if self.blocks else 0

    def _checked(self, line: bytes) -> dict[str, Any]:
        """Return the content of a line whose chain hash is right.

        Raises ValueError if the chain is broken.
        """
        chained = line[-_CHAIN_BYTES:].startswith(_CHAIN)
        if self.lines == 1:
            self.sealed = chained
        if not chained:
            value = json.loads(line)
            # An earlier version chained no line at all; an unchained line among chained ones was put there.
            if self.sealed or "chain" in value or (self.lines == 1 and value.keys() != {"journal", "meta"}):
                raise ValueError("no chain")
            return dict(value)
        text, chain = line[:-_CHAIN_BYTES] + b"}", line[-66:-2].decode()
        if not self.sealed or line[-2:] != b'"}' or chain != link(self.end, text) or self.footer is not None:
            raise ValueError("the chain is broken")
        value = json.loads(text)
        if "block" in value and value["block"]["before"] != (self._block_chain or self.begin):
            raise ValueError("another block stood before")
        self.end = chain
        self.begin = self.begin or chain
        return dict(value)

    def _take(self, value: dict[str, Any]) -> None:
        if not self.header:
            self.name = str(value["journal"])
            self.header, self.meta = bool(self.name), dict(value["meta"])
        elif "name" in value:
            number, text = value["name"]
            if number != FOREIGN + len(self.names) or not isinstance(text, str):
                raise ValueError(number)
            self.names[number] = text
        elif "identity" in value:
            client, user_id = value["identity"]
            self.identities.append((int(client), str(user_id)))
        elif "block" in value:
            self._take_block(value["block"])
        else:
            footer = dict(value["footer"])
            footer["records"] = int(footer["records"])
            self.footer = footer

    def _take_block(self, seal: dict[str, Any]) -> None:
        blocks = _blocks(seal)
        expected = self.name, len(self.blocks) + 1, self.sealed_records + 1
        if (seal["journal"], blocks[0].number, blocks[0].first) != expected:
            raise ValueError(blocks[0].number)
        self.blocks += blocks
        self._block_chain = self.end
