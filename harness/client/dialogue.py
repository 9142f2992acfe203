"""Dialogue: decoder and encoder of the frames of one socket. A dialect makes one for each connection.

A dialogue decodes received frames, encodes what a user sends, and decides what else must be sent: an answer to the
server's ping, the next step of a handshake, a heartbeat. It stores the state of its socket: counters, half a packet,
which number stands for which room. It has no clock and does no I/O, so both shells can use it and tests need no server.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from earwitness.harness.client.envelope import Envelope
from earwitness.harness.client.events import JOINED, OTHER, WELCOME, Handshake, Heard
from earwitness.harness.client.wires import NoSocket


class Dialogue(Protocol):
    """Protocol of a dialogue. Frames are `str` for text and `bytes` for binary.

    handshake  how the socket is opened
    out        frames that wait to be sent; the shell sends and removes them after each call of a method
    beat_s     seconds between two calls of `tick`; 0.0: it is never called
    """

    handshake: Handshake
    out: list[str | bytes]
    beat_s: float

    def opened(self) -> Sequence[Heard]:
        """Put the first frames into `out`; the shell calls it when the socket is open, before any frame is received.

        Returns the events that opening the socket implies, such as JOINED on platforms where opening joins the room.
        """
        ...

    def received(self, data: str | bytes) -> Sequence[Heard]:
        """Decode a received frame into events (`harness.client.events`); () for a frame that no check needs.

        A frame that cannot be decoded becomes an event OTHER. If the handshake says `welcome`, the connection is usable
        only after the event WELCOME. Raises only Refused, if the platform refuses or ends the connection by a frame and
        expects the client to close the socket.
        """
        ...

    def send(self, label: str, message_id: str, text: str) -> str | bytes:
        """Return one frame that sends `text` to the room `label`. `message_id`: the client's id of the message."""
        ...

    def tick(self) -> Sequence[Heard]:
        """Put a heartbeat, if the platform needs one, into `out`; called every `beat_s` seconds.

        Returns events, mostly none.
        """
        ...

    def closing(self) -> None:
        """Put the farewell frames of the protocol, if it has any, into `out`, before the tester's closing handshake."""
        ...


class BaseDialogue:
    """Base class of dialogues: it sends the frames `first` on opening, and neither heartbeats nor farewell frames.

    A subclass adds `received` and `send`.

    awaited   name of what the platform must send before the connection is usable; shown in the error if it is late
    envelope  where the values of usual frames are; None: only the method `received` can read them
              (`harness.client.envelope`)
    """

    beat_s = 0.0
    awaited = "greeting"
    envelope: Envelope | None = None

    def __init__(self, handshake: Handshake, first: Sequence[str | bytes] = ()) -> None:
        """Store `handshake`, which states how to open the socket, and the frames `first`, which are sent then."""
        self.handshake = handshake
        self.out: list[str | bytes] = []
        self._first = tuple(first)

    def opened(self) -> Sequence[Heard]:
        """Implement `Dialogue.opened`: send the first frames."""
        self.out += self._first
        return ()

    def tick(self) -> Sequence[Heard]:
        """Implement `Dialogue.tick`: return no events; nothing is sent at intervals."""
        return ()

    def closing(self) -> None:
        """Implement `Dialogue.closing`: send nothing."""


class PlainDialogue(BaseDialogue):
    """Dialogue without state: every socket decodes and encodes with the same two functions.

    The session calls the functions directly, so this class costs no time on the hot path.
    """

    def __init__(
        self,
        handshake: Handshake,
        received: Callable[[str | bytes], Sequence[Heard]],
        send: Callable[[str, str, str], str | bytes],
        first: Sequence[str | bytes] = (),
        envelope: Envelope | None = None,
    ) -> None:
        """Make a dialogue with the functions `received` and `send` as its methods.

        `first`: frames that are sent on opening; `envelope`: see `BaseDialogue`.
        """
        super().__init__(handshake, first)
        self.envelope = envelope
        self.received = received
        self.send = send


class SilentDialogue(BaseDialogue):
    """Dialogue of a platform without sockets: it sends nothing, and reports every room as joined when it is opened."""

    def __init__(self, labels: Sequence[str]) -> None:
        """Store the labels of the user's rooms, which `opened` reports as joined."""
        super().__init__(NoSocket())
        self._labels = tuple(labels)

    def opened(self) -> Sequence[Heard]:
        """Implement `Dialogue.opened`: return JOINED for every room."""
        return [(JOINED, label, None, -1, None, None, None) for label in self._labels]

    def received(self, data: str | bytes) -> Sequence[Heard]:
        """Implement `Dialogue.received`: report `data` as OTHER; a platform without sockets sends none."""
        return ((OTHER, None, None, -1, None, None, data),)

    def send(self, label: str, message_id: str, text: str) -> str:
        """Implement `Dialogue.send`: return `text`.

        It is never written to a socket, because messages are sent as requests.
        """
        return text


class TextTo(str):
    """Text frame for one of several sockets. `label`: label of the room that the socket belongs to."""

    label: str


class BytesTo(bytes):
    """Binary frame for one of several sockets. `label`: label of the room that the socket belongs to."""

    label: str


class ManyDialogues:
    """Dialogues of a user who has one socket for each room. A dialect returns such an object from `Target.dialogue`.

    The client opens all sockets, one after the other, and treats them as one connection, which ends as soon as one of
    the sockets ends (`harness.client.many_links`).

    by_room  the dialogue of each socket, by the label of its room; at least one
    room     label of the socket whose frame is decoded; the client sets it before it calls `received`
    greeted  labels of the sockets on which the event WELCOME has come
    """

    beat_s = 0.0

    def __init__(self, by_room: Mapping[str, Dialogue]) -> None:
        """Store the dialogue of each socket, by the label of its room. There must be at least one."""
        self.by_room = dict(by_room)
        self.room = next(iter(self.by_room))
        self.handshake = self.by_room[self.room].handshake
        self.out: list[str | bytes] = []
        self.greeted: set[str] = set()

    def opened(self) -> Sequence[Heard]:
        """Implement `Dialogue.opened`: no-op, because each socket starts its own dialogue."""
        return ()

    def received(self, data: str | bytes) -> Sequence[Heard]:
        """Implement `Dialogue.received` for the socket of `room`."""
        events = self.by_room[self.room].received(data)
        if self.room not in self.greeted:
            self.note(events)
        return events

    def note(self, events: Sequence[Heard]) -> None:
        """Add `room` to `greeted` if one of `events`, which its socket received, is WELCOME."""
        if any(event[0] == WELCOME for event in events):
            self.greeted.add(self.room)

    def send(self, label: str, message_id: str, text: str) -> TextTo | BytesTo:
        """Implement `Dialogue.send`. The frame belongs to the socket of the room `label`."""
        return self.frame_to(label, self.by_room[label].send(label, message_id, text))

    def frame_to(self, label: str, frame: str | bytes) -> TextTo | BytesTo:
        """Return `frame` marked as one for the socket of the room `label`."""
        to: TextTo | BytesTo = TextTo(frame) if isinstance(frame, str) else BytesTo(frame)
        to.label = label
        return to

    def tick(self) -> Sequence[Heard]:
        """Implement `Dialogue.tick`: no-op, because each socket has its own heartbeat."""
        return ()

    def closing(self) -> None:
        """Implement `Dialogue.closing`: no-op, because each socket sends its own farewell frames."""


__all__ = ["BaseDialogue", "BytesTo", "Dialogue", "ManyDialogues", "PlainDialogue", "SilentDialogue", "TextTo"]
