"""Envelope of a dialect: where the values of its usual frames are, so that the native path can read and write them.

A dialect declares it beside the functions `received` and `send` of its dialogue. These stay the definition of what is
right: frames that the native path (`harness.native`) does not know are passed to them. An envelope describes frames
that are one JSON object. Paths walk its keys and those of objects inside it (`payload.text`); a path that is declared
must find a value of its type, else the frame is not usual. Frames in other forms (lists, prefixes, answers by number)
have no envelope: Python decodes and encodes them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, TypeAlias

from earwitness.harness.client.events import ACK, MESSAGE
from earwitness.harness.native import HOT


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
        """Return the paths in the order in which the native path has them."""
        return self.room, self.text, self.seq, self.sender, self.id


@dataclass(slots=True, kw_only=True)
class Envelope:
    """Declaration of the usual frames of a dialect. Make one for a target: it is compiled once.

    kind     path to the kind of a frame; "" if frames state none: then each with the values of `message` is a message
    message  a message: its room, text and sender are texts, its number is a whole number
    ack      the acknowledgement of an own message, which it names by the client's id; None: there is none
    labels   the platform's name of a room -> its label in the plan; it may grow
    send     pieces of a frame that sends a message; (): Python encodes it
    """

    kind: str = ""
    message: Values
    ack: Values | None = None
    labels: dict[str, str] = field(default_factory=dict)
    send: tuple[SentPiece, ...] = ()
    _compiled: list[Any] = field(default_factory=list, repr=False, compare=False)

    def compiled(self) -> Any:
        """Return the envelope in the form of the native path; None if that is not used, or has too little room."""
        if not self._compiled:
            self._compiled.append(None if HOT is None else self._compile(HOT))
        return self._compiled[0]

    def _compile(self, hot: Any) -> Any:
        kinds = [(MESSAGE, self.message)] + ([(ACK, self.ack)] if self.ack is not None else [])
        paths = sorted({path for _, values in kinds for path in (*values.paths, self.kind) if path})
        place = {path: number for number, path in enumerate(paths)}
        meanings = tuple(
            (value, what, *(place.get(path, -1) for path in values.paths))
            for what, values in kinds
            for value in (values.kinds if self.kind else ("",))
        )
        pieces = tuple(
            piece.encode() if isinstance(piece, str) else (int(piece[0]), int(piece[1])) for piece in self.send
        )
        steps = tuple(tuple(path.split(".")) for path in paths)
        try:
            return hot.Envelope(steps, place.get(self.kind, -1), meanings, pieces, self.labels)
        except ValueError:  # more of something than the native path has room for
            return None
