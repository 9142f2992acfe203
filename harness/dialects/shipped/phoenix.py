"""Phoenix channels, version 2 of their protocol: JSON lists `[join_ref, ref, topic, event, payload]`.

Supabase Realtime speaks it too; docs/dialects/phoenix.md has the options of both.
https://hexdocs.pm/phoenix/writing_a_channels_client.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import orjson

from earwitness.harness.client.events import ACK, BEATS, NACK, Handshake, Heard
from earwitness.harness.dialects.settings import Settings
from earwitness.harness.dialects.shipped import _messages as messages
from earwitness.harness.dialects.shipped._resuming import read_resume
from earwitness.harness.dialects.toml.requests import LOGGED_IN, read_path, read_texts

PROMISES: Final[Mapping[str, object]] = {
    "total_order": False, "sequence": "none", "durable": False, "history": False, "names_sender": False,
}  # fmt: skip
HEARTBEAT_S: Final = 30.0
IGNORED: Final = frozenset({"presence_state", "presence_diff", "system"})
"""Events that no check uses: who is online, and the state of Supabase's subscription to a database."""


class Phoenix(messages.InRooms):
    """Dialect of Phoenix channels: one socket for each user, one topic for each room."""

    def __init__(self, settings: Settings) -> None:
        """Read the options; mistakes are collected in `settings.own`."""
        super().__init__(settings)
        own = settings.own
        self.query = read_texts(own, "query", LOGGED_IN, example='{ token = "{token}" }')
        self.topic = messages.read_or(own, "topic", messages.IN_ROOM, "room:{room}", needs="room")
        self.join = messages.read_or(own, "join", messages.IN_ROOM, {})
        self.event = own.text("event", "new_msg", example="new_msg")
        self.send = messages.read_or(own, "send", messages.SENDING, {"body": "{text}"}, needs="text")
        self.paths = messages.read_paths(own, "body", settings.contract)
        self.resume = read_resume(own, settings.contract, "join", {"last_seen_id": "{seq}"})
        self.read_requests()
        self.ack_number = read_path(own, "ack_number", "number")
        self.heartbeat_s = own.number("heartbeat_s", HEARTBEAT_S, example="30.0", least=0.1) or HEARTBEAT_S

    def talk(self, start: messages.Start) -> Channels:
        """Implement `InRooms.talk`: join a topic for each room."""
        return Channels(Handshake(url=self.address(start, vsn="2.0.0"), network=self.network), self, start)


class Channels(messages.Joining):
    """Dialogue of one socket. Its frames are numbered from 1 (`ref`); a reply repeats the number of its frame."""

    def __init__(self, handshake: Handshake, dialect: Phoenix, start: messages.Start) -> None:
        """Prepare to join the rooms of `start`. With [options.resume], rooms with a number in `seqs` are continued."""
        super().__init__(handshake, dialect.topic, start)
        self.beat_s, self._dialect = dialect.heartbeat_s, dialect
        self._seqs = dict(start.seqs or {}) if dialect.resume else {}  # of rooms whose first join is to come
        self._refs = messages.Numbers[str | tuple[str, bool]]()  # id of a message; or a room, and whether it continues
        self._join_ref: dict[str, str] = {}  # room: reference of its join

    def opened(self) -> Sequence[Heard]:
        """Implement `Dialogue.opened`: join all rooms."""
        for label in self.name_of:
            self._join(label)
        return () if self.name_of else self.decided()

    def _join(self, label: str) -> None:
        seq, resume = self._seqs.pop(label, None), self._dialect.resume
        continues = resume is not None and seq is not None
        ref = self._refs.next((label, continues))
        template = resume.asks if resume is not None and continues else self._dialect.join
        payload = self.filled(template, label, seq=seq)
        self.out.append(_frame(ref, ref, self.name_of[label], "phx_join", payload))

    def received(self, data: str | bytes) -> Sequence[Heard]:
        """Implement `Dialogue.received`: return the events of a message, a reply, or the end of a channel."""
        frame = messages.parsed(data)
        if type(frame) is not list or len(frame) != 5 or type(frame[3]) is not str:
            return messages.not_understood(data)
        join_ref, ref, topic, event, payload = frame
        label = messages.at(self.label_of, topic)
        if event == "phx_reply" and topic == "phoenix":
            return BEATS
        if event == "phx_reply" and type(ref) is str and type(payload) is dict:
            return self._reply(ref, payload, data)
        if event == self._dialect.event and (room := self.room_at(topic)) is not None:
            message = self._dialect.paths.message(room, payload)
            return messages.not_understood(data) if message is None else (message,)
        if event in ("phx_error", "phx_close") and label is not None:
            return self._ended(label, join_ref, event)
        return () if event in IGNORED else messages.not_understood(data)

    def _reply(self, ref: str, payload: dict[str, object], data: str | bytes) -> Sequence[Heard]:
        """Return the events of a reply: JOINED or OTHER for a join, ACK or NACK for a message, () for other frames."""
        accepted, asked = payload.get("status") == "ok", self._refs.answered(ref)
        if isinstance(asked, tuple):
            label, continues = asked
            self._join_ref[label] = ref
            if not accepted:
                return (*messages.not_understood(data), *self.decided(label))
            if (resume := self._dialect.resume) is None or not continues:
                return self.joins(label)
            return self.joins(label, *resume.missed(label, self._dialect.paths, payload.get("response")))
        if asked is None:
            return ()
        if not accepted:
            return ((NACK, None, None, -1, None, asked, (messages.REFUSED, None)),)
        number = messages.number_at(self._dialect.ack_number, payload.get("response"))
        return ((ACK, None, None, number, None, asked, None),)

    def _ended(self, label: str, join_ref: object, event: str) -> Sequence[Heard]:
        """Return LEFT for a room whose channel ended on the server; after a crash, also ask to join the room again."""
        if join_ref not in (self._join_ref.get(label), None):
            return ()  # a channel that was replaced since
        left = self.leaves(label)
        if left and event == "phx_error":
            self._join(label)
        return left

    def send(self, label: str, message_id: str, text: str) -> str:
        """Implement `Dialogue.send`: return the frame that pushes the message to the topic of its room."""
        ref = self._refs.next(message_id if self._dialect.contract.acknowledges else None)
        payload = self.filled(self._dialect.send, label, id=message_id, text=text)
        return _frame(self._join_ref.get(label), ref, self.name_of[label], self._dialect.event, payload)

    def tick(self) -> Sequence[Heard]:
        """Implement `Dialogue.tick`: send a heartbeat."""
        self.out.append(_frame(None, self._refs.next(), "phoenix", "heartbeat", "{}"))
        return ()


def _frame(join_ref: str | None, ref: str, topic: str, event: str, payload: str) -> str:
    """Return a frame; `payload` is JSON."""
    return f"{orjson.dumps([join_ref, ref, topic, event]).decode()[:-1]},{payload}]"


open_dialect = Phoenix
