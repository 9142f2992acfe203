"""Dialogues of a target file: the frames of one socket as [socket], [rooms], [send] and [frames] describe them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from earwitness.harness.client.dialogue import BaseDialogue
from earwitness.harness.client.envelope import Envelope
from earwitness.harness.client.events import ACK, BEATS, JOINED, NACK, OTHER, WELCOME, Handshake, Heard
from earwitness.harness.client.wire import Refused
from earwitness.harness.dialects.toml.exchange import COUNTED, GREETING, OPEN, Exchange, Reply, Step
from earwitness.harness.dialects.toml.frames import BY_ID, BY_NUMBER, BY_ORDER, FrameRules, Piece
from earwitness.harness.dialects.toml.paths import Getter
from earwitness.harness.dialects.toml.template import Template
from earwitness.harness.progress import one_line

Hear = Callable[[str | bytes], Sequence[Heard]]

NUMBERS_KEPT: Final = 10_000
"""Most messages of a connection whose counted numbers are remembered. Answers to older messages are not recognised."""
SHOWN: Final = 200
NOBODY: Final = ""
"""Message id in the event of an answer that belongs to no message. With None, the session would take the oldest one."""


class GreetedDialogue(BaseDialogue):
    """Dialogue that subscribes to its rooms as soon as the platform has greeted it."""

    def __init__(
        self,
        handshake: Handshake,
        hear: Hear,
        send: Callable[[str, str, str], str],
        first: Sequence[str],
        join: Sequence[str],
        envelope: Envelope | None = None,
    ) -> None:
        """Keep the functions that decode (`hear`) and encode (`send`), and frames to send on opening and after WELCOME.

        `first`: frames to send when the socket opens; `join`: frames to send after WELCOME. `envelope`: of frames that
        `hear` decodes, None if there is none.
        """
        super().__init__(handshake, first)
        self.envelope = envelope
        self._hear, self._join = hear, join
        self.send = send

    def received(self, data: str | bytes) -> Sequence[Heard]:
        """Implement `Dialogue.received`: return the events of a frame; after WELCOME, send the frames of `join`."""
        events = self._hear(data)
        if self._join and any(event[0] == WELCOME for event in events):
            self.out += self._join
            self._join = ()
        return events


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """Rules and functions that all sockets of a target share.

    hear      decodes a whole frame, perhaps from a cache; `read` decodes one text of it
    send      template of a message, None where messages are sent by HTTP
    exact     replies to an exact text, by that text
    by_kind   replies to kinds of frames
    envelope  of frames that `hear` decodes, None if there is none
    """

    rules: FrameRules
    exchange: Exchange
    hear: Hear
    read: Callable[[Piece], list[Heard]]
    send: Template | None
    exact: Mapping[str, Reply] = field(default_factory=dict)
    by_kind: tuple[Reply, ...] = ()
    envelope: Envelope | None = None

    @property
    def piecewise(self) -> bool:
        """Return whether each text of a frame must be read separately, because a text may need a reply."""
        return bool(self.by_kind or (self.exact and self.rules.separator))


class ScriptedDialogue(BaseDialogue):
    """Dialogue with state: it runs the steps of opening, sends replies and heartbeats, and counts numbers and answers.

    values   placeholders of the user, and of the room if the socket belongs to one
    first    frames that are sent when the socket opens: of each its template and further placeholders
    join     frames that are sent after the greeting, likewise
    rooms    (label, platform's name) of each room of this socket
    secrets  texts that no error message may show
    """

    def __init__(
        self,
        handshake: Handshake,
        script: Script,
        values: Mapping[str, object],
        first: Sequence[tuple[Template, Mapping[str, object]]],
        join: Sequence[tuple[Template, Mapping[str, object]]],
        rooms: Sequence[tuple[str, str]],
        secrets: Sequence[str] = (),
    ) -> None:
        """Prepare the first step; nothing is sent yet. The class describes the parameters."""
        super().__init__(handshake)
        self.beat_s = script.exchange.beat_s
        self._script, self._exchange = script, script.exchange
        self._opening, self._join, self._rooms, self._secrets = first, join, rooms, secrets
        self._room_of = dict(rooms)
        self._label = rooms[0][0] if script.exchange.by_room else None
        keeps = [one.keep for one in script.exchange.steps] + [one.keep for one in script.exchange.replies]
        self._values: dict[str, object] = {**values, **{name: "" for keep in keeps for name in keep}}
        self._steps: list[Step] = list(script.exchange.steps)
        self._greeted = not handshake.welcome
        self._greeting: dict[str, Any] = {}
        self._count = 0
        self._numbers: dict[str, str] = {}  # a counted number -> the message in whose frame it stands
        self._joining: dict[str, str] = {}  # a counted number -> the room that its frame subscribes
        self._order: deque[str] = deque()
        self._by = {ACK: script.rules.by("ack"), NACK: script.rules.by("nack")}
        self._in_order = BY_ORDER in self._by.values()
        self._translates = self._label is not None or set(self._by.values()) != {BY_ID}
        if not (self._steps or self._translates or script.piecewise or script.exact):
            self.envelope = script.envelope  # `hear` is all that a frame goes through

    # -- sending --------------------------------------------------------------------------------------------------

    def _frame(self, template: Template, more: Mapping[str, object] | None = None) -> str | bytes:
        """Return a template, filled in, as the frame that is sent; a template with {n} gets the next number.

        `more`: further placeholders -> values.
        """
        values = self._values if more is None else {**self._values, **more}
        if COUNTED in template.names:
            self._count += 1
            values = {**values, COUNTED: self._count}
        text = template.render(values) + self._exchange.end
        return text.encode() if self._exchange.binary else text

    def send(self, label: str, message_id: str, text: str) -> str | bytes:
        """Implement `Dialogue.send`. Raises ValueError if messages go by HTTP."""
        template = self._script.send
        if template is None:
            raise ValueError("this platform is spoken to by HTTP: use post")
        room = self._room_of.get(label, label)
        frame = self._frame(template, {"label": label, "room": room, "id": message_id, "text": text})
        if COUNTED in template.names:
            self._numbers[str(self._count)] = message_id
            if len(self._numbers) > NUMBERS_KEPT:
                del self._numbers[next(iter(self._numbers))]
        if self._in_order:
            self._order.append(message_id)
        return frame

    # -- opening --------------------------------------------------------------------------------------------------

    def opened(self) -> Sequence[Heard]:
        """Implement `Dialogue.opened`: send the first frames, and the steps up to the first that waits for an answer.

        Returns JOINED for each room if opening is joining (`rooms.joined = "open"`).
        """
        self.out += [self._frame(template, more) for template, more in self._opening]
        events: list[Heard] = []
        if self._exchange.joined == OPEN:
            events += self._joins()
        if self._steps:
            self._go_on()
        elif self._greeted:
            self._subscribe()
        return events

    def _joins(self) -> list[Heard]:
        return [(JOINED, label, None, -1, None, None, None) for label, _ in self._rooms]

    def _subscribe(self) -> None:
        for template, more in self._join:
            self.out.append(self._frame(template, more))
            if COUNTED in template.names:
                self._joining[str(self._count)] = str(more["label"])
        self._join = ()

    def _go_on(self) -> None:
        """Send the frames of the next steps, up to the one that waits for an answer."""
        while self._steps:
            step = self._steps[0]
            if step.frame is not None:
                self.out.append(self._frame(step.frame))
            if step.waits:
                self.awaited = step.awaited
                return
            del self._steps[0]

    def _opened_further(self, piece: Piece, events: list[Heard]) -> list[Heard]:
        """Compare a received text with the answer that the current step awaits; return its events.

        WELCOME is returned only after the last step. Raises Refused if the text refuses the connection, or lacks a
        value that the step keeps.
        """
        step, kind = self._steps[0], self._script.rules.kind(piece.value)
        refuses = _among(kind, step.refused) or (bool(step.refused_text) and piece.text.startswith(step.refused_text))
        if refuses or any(event[0] == NACK for event in events):
            raise Refused(f"{step.where} was answered with {self._shown(piece)}", by_frame=True)
        for event in events:
            if event[0] == WELCOME:
                self._greeting |= event[6] or {}
        events = [event for event in events if event[0] != WELCOME]
        if not (_among(kind, step.kinds) or (bool(step.text) and piece.text.startswith(step.text))):
            return events
        value = piece.value if piece.read else _value(piece.text[len(step.text) :])
        for name, path in step.keep.items():
            self._values[name] = found = path(value)
            if found is None:
                raise Refused(f"the answer to {step.where} has no value for {name}: {self._shown(piece)}")
        del self._steps[0]
        self._go_on()
        events = [event for event in events if event[0] != OTHER]
        return events if self._steps else [(WELCOME, None, None, -1, None, None, self._greeting), *events]

    def _shown(self, piece: Piece) -> str:
        text = piece.text
        for secret in self._secrets:
            text = text.replace(secret, "…")
        text = one_line(text)
        return repr(text if len(text) <= SHOWN else f"{text[:SHOWN]}…")

    # -- receiving ------------------------------------------------------------------------------------------------

    def received(self, data: str | bytes) -> Sequence[Heard]:
        """Implement `Dialogue.received`. Raises Refused for a refusal while the connection is opened."""
        script = self._script
        if self._steps or script.piecewise:
            events: Sequence[Heard] = [heard for piece in script.rules.pieces(data) for heard in self._piece(piece)]
        elif script.exact and (reply := script.exact.get(_text(data))) is not None:
            self.out.append(self._frame(reply.frame))
            return BEATS
        else:
            events = script.hear(data)
        if not self._greeted:
            events = self._welcomed(events)
        return [self._meant(event) for event in events] if self._translates else events

    def _piece(self, piece: Piece) -> Sequence[Heard]:
        """Return the events of one received text; if [socket] has a reply for it, put the reply into `out`."""
        events = self._script.read(piece)
        reply = self._script.exact.get(piece.text) or self._reply_to(piece)
        if reply is not None:
            self._keep(reply.keep, piece)
            self.out.append(self._frame(reply.frame))
            events = [event for event in events if event[0] != OTHER] or ([] if self._steps else list(BEATS))
        return self._opened_further(piece, events) if self._steps else events

    def _reply_to(self, piece: Piece) -> Reply | None:
        kind = self._script.rules.kind(piece.value) if self._script.by_kind and piece.read else None
        return next((reply for reply in self._script.by_kind if _among(kind, reply.kinds)), None)

    def _keep(self, paths: Mapping[str, Getter], piece: Piece) -> None:
        for name, path in paths.items():
            self._values[name] = path(piece.value)

    def _welcomed(self, events: Sequence[Heard]) -> Sequence[Heard]:
        """Subscribe to the rooms if WELCOME is among the events; return the events.

        With `rooms.joined = "greeting"`, JOINED for each room is added.
        """
        if not any(event[0] == WELCOME for event in events):
            return events
        self._greeted = True
        self._subscribe()
        return [*events, *self._joins()] if self._exchange.joined == GREETING else events

    def _meant(self, event: Heard) -> Heard:
        """Return the event with the id of the message that it answers, and the room if the socket belongs to one room.

        An answer to a frame of `rooms.join` becomes JOINED, or OTHER if it is a refusal.
        """
        what, label, text, seq, sender, message_id, extra = event
        by = self._by.get(what, BY_ID)
        if by == BY_ORDER and message_id is None:
            message_id = self._order.popleft() if self._order else NOBODY
        elif by == BY_NUMBER and (number := message_id or "") in self._joining:
            room = self._joining[number]
            return (JOINED if what == ACK else OTHER, room, None, seq, None, None, None)
        elif by == BY_NUMBER:
            message_id = self._numbers.get(message_id or "")
            if message_id is None:  # the answer to a step or a heartbeat
                return (OTHER, None, None, -1, None, None, extra)
        elif what == NACK and message_id is not None and message_id in self._order:
            self._order.remove(message_id)  # a refusal names its message, so it is not the oldest of the others
        return (what, label or self._label, text, seq, sender, message_id, extra)

    def tick(self) -> Sequence[Heard]:
        """Implement `Dialogue.tick`: send the heartbeat, but not while the connection is still opened."""
        if self._exchange.beat is not None and not self._steps:
            self.out.append(self._frame(self._exchange.beat))
        return ()


def _value(text: str) -> object:
    """Return the JSON value of a text, None if the text is no JSON."""
    try:
        return orjson.loads(text)
    except ValueError:
        return None


def _text(data: str | bytes) -> str:
    return data if isinstance(data, str) else data.decode("utf-8", "replace")


def _among(kind: object, kinds: tuple[object, ...]) -> bool:
    return kind.__hash__ is not None and kind in kinds


__all__ = ["GreetedDialogue", "Script", "ScriptedDialogue"]
