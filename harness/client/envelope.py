"""Envelope of a dialect: paths to the values of its usual frames, by which the native path reads and writes them.

A dialect declares its envelope beside the functions `received` and `send` of its dialogue, with the same results.
Frames that the native path (`harness.native`) does not know are passed to these functions. An envelope describes frames
that are one JSON object. Paths walk its keys and those of objects inside it (`payload.text`); a path that is declared
must find a value of its type, else the frame is not usual. Frames in other forms (lists, prefixes, acknowledgements by
number) have no envelope: Python decodes and encodes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Final, TypeAlias

from earwitness.harness.client.events import (
    ACK,
    AGENT,
    EDITED,
    JOINED,
    LEFT,
    MARKED,
    MESSAGE,
    NACK,
    PRESENCE,
    PROFILE,
    WELCOME,
)
from earwitness.harness.native import HOT

SLOTS: Final[Mapping[int, tuple[str, ...]]] = {
    NACK: ("id", "code", "retry", "unless"),
    WELCOME: ("user", "replica", "conversations", "read", "resume"),
    JOINED: ("room", "head", "complete"),
    LEFT: ("room",),
    AGENT: ("room", "text", "run", "event", "number"),
    MARKED: ("room", "seq"),
    EDITED: ("room", "seq", "text", "number", "version"),
    PRESENCE: ("room", "users"),
    PROFILE: ("user", "email", "name"),
}
"""Names of the values of frames that are neither messages nor acknowledgements, by event, in the native path's order.

`unless`: a value whose presence means that the frame refuses no message. `conversations`, `read` (room -> sequence
number) and `users` (user -> whether they are online) are objects.
"""
_MOST: Final = 6


class Put(IntEnum):
    """Value that is put into a frame that is sent: the room's label, the client's message id, or the message text."""

    LABEL = 0
    ID = 1
    TEXT = 2


class Quoted(IntEnum):
    """Form in which a `Put` value is written: unchanged, as a JSON string without its quotation marks, or with them."""

    RAW = 0
    INNER = 1
    JSON = 2


SentPiece: TypeAlias = str | tuple[Put, Quoted]
"""Piece of a frame that is sent: text, or a value and its form."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Values:
    """Paths to the values of one kind of frame, "" for a value that it does not have.

    kinds  texts at the envelope's path `kind` that identify this kind of frame; () where there is no such path
    """

    kinds: tuple[str, ...] = ()
    room: str = ""
    text: str = ""
    seq: str = ""
    sender: str = ""
    id: str = ""

    @property
    def paths(self) -> tuple[str, str, str, str, str]:
        """Return the paths in the order that the native path expects: room, text, seq, sender, id."""
        return self.room, self.text, self.seq, self.sender, self.id


@dataclass(frozen=True, slots=True)
class Rare:
    """Paths to the values of a kind of frame that is neither a message nor an acknowledgement.

    what   event that the frame stands for (`harness.client.events`), a key of SLOTS
    kind   text at the envelope's path `kind` that identifies such a frame
    paths  name of the value, as in SLOTS -> its path; a value that frames of this kind do not have is missing
    """

    what: int
    kind: str
    paths: Mapping[str, str]

    def __post_init__(self) -> None:
        """Raise ValueError if `paths` has a value that SLOTS does not list for the event."""
        unknown = sorted(set(self.paths) - set(SLOTS[self.what]))
        if unknown:
            raise ValueError(f"an event {self.what} has no {', '.join(unknown)}")


@dataclass(slots=True, kw_only=True)
class Envelope:
    """Declaration of the usual frames of a dialect. Make one for each target, because it is compiled only once.

    kind     path to the text that states the kind of a frame; "" if frames state no kind: then each frame that has all
             values of `message` is a message
    message  paths of a message: room, text and sender are texts, `seq` is a whole number
    ack      paths of the acknowledgement of an own message, which states the client's message id; None: there is none
    labels   the platform's name of a room -> its label in the plan; entries may be added later
    rare     other frames that the native path reads
    send     pieces of a frame that sends a message; (): Python encodes it
    ask      pieces of a frame that sends a question to the platform's agent
    before   text before the number in the id of an agent's answer; the id ends with the number of the question
    """

    kind: str = ""
    message: Values
    ack: Values | None = None
    rare: tuple[Rare, ...] = ()
    labels: dict[str, str] = field(default_factory=dict)
    send: tuple[SentPiece, ...] = ()
    ask: tuple[SentPiece, ...] = ()
    before: str = ""
    _compiled: list[Any] = field(default_factory=list, repr=False, compare=False)

    def compiled(self) -> Any:
        """Return the envelope in the native path's form; None if there is no native path, or a limit is exceeded."""
        if not self._compiled:
            self._compiled.append(None if HOT is None else self._compile(HOT))
        return self._compiled[0]

    def _compile(self, hot: Any) -> Any:
        values = [(MESSAGE, self.message)] + ([(ACK, self.ack)] if self.ack is not None else [])
        kinds: list[tuple[str, int, tuple[str, ...]]] = [
            (kind, what, one.paths) for what, one in values for kind in (one.kinds if self.kind else ("",))
        ]
        kinds += [
            (rare.kind, rare.what, tuple(rare.paths.get(name, "") for name in SLOTS[rare.what])) for rare in self.rare
        ]
        paths = sorted({path for _, _, found in kinds for path in (*found, self.kind) if path})
        place = {path: number for number, path in enumerate(paths)}
        meanings = tuple(
            (kind, what, *(place.get(path, -1) for path in found), *(-1,) * (_MOST - len(found)))
            for kind, what, found in kinds
        )
        steps = tuple(tuple(path.split(".")) for path in paths)
        send, ask = _pieces(self.send), _pieces(self.ask)
        try:
            return hot.Envelope(steps, place.get(self.kind, -1), meanings, send, ask, self.labels, self.before)
        except ValueError:  # more of something than the native path has room for
            return None


def _pieces(pieces: tuple[SentPiece, ...]) -> tuple[bytes | tuple[int, int], ...]:
    return tuple(piece.encode() if isinstance(piece, str) else (int(piece[0]), int(piece[1])) for piece in pieces)
