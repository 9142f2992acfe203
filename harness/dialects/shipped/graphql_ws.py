"""GraphQL subscriptions over WebSocket (graphql-transport-ws); the documents are options of the target file.

https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from earwitness.harness.client.dialogue import BaseDialogue
from earwitness.harness.client.events import ACK, BEATS, JOINED, LEFT, NACK, WELCOME, Handshake, Heard
from earwitness.harness.client.flow import Flow
from earwitness.harness.dialects.protocol import Credentials, Room, StoredRow
from earwitness.harness.dialects.settings import Settings
from earwitness.harness.dialects.shipped import _graphql as graphql
from earwitness.harness.dialects.shipped import _messages as messages
from earwitness.harness.dialects.shipped._resuming import read_resume
from earwitness.harness.dialects.toml.requests import LOGGED_IN, read_headers, read_path

PROMISES: Final[Mapping[str, object]] = {
    "total_order": False, "sequence": "none", "durable": False, "history": False, "names_sender": False,
}  # fmt: skip


class GraphQL(messages.InRooms):
    """Dialect of GraphQL: a subscription for each room on one socket; mutations by request or on the socket."""

    def __init__(self, settings: Settings) -> None:
        """Read the options; mistakes are collected in `settings.own`."""
        super().__init__(settings)
        own = settings.own
        self.init = messages.read_or(own, "init", LOGGED_IN, {})
        self.headers = read_headers(own, "headers", LOGGED_IN, example='{ Authorization = "Bearer {token}" }')
        self.subscription = graphql.Operation(own, "subscription", messages.IN_ROOM, {"room": "{room}"})
        self.mutation = graphql.Operation(own, "mutation", messages.SENDING, {"room": "{room}", "text": "{text}"})
        self.paths = messages.read_paths(own, promised=settings.contract)
        self.resume = read_resume(own, settings.contract, "variables", {"room": "{room}", "after": "{seq}"})
        self.ack_number = read_path(own, "ack_number", "send.number")
        self.joins_by_pong = own.choice("joined", ("next", "pong"), "next") == "pong"
        self.beat_s = own.number("ping_s", 0.0, example="10.0") or 0.0
        self.stored = graphql.read_stored(own)
        by_http = own.choice("by", ("http", "socket"), "http") == "http"
        if (by_http or self.stored is not None) and self.has_address("http") and by_http:
            self.parts = replace(self.parts, sends_by_http=self)

    def talk(self, start: messages.Start) -> Operations:
        """Implement `InRooms.talk`: subscribe to each room after the acknowledgement of the connection."""
        handshake = Handshake(url=self.settings.socket, subprotocols=("graphql-transport-ws",), network=self.network)
        return Operations(handshake, self, start)

    def post(self, credentials: Credentials, label: str, message_id: str, text: str) -> Flow[Sequence[Heard]]:
        """Implement `SendsByHttp.post`: send the mutation as a request."""
        values = {**messages.values_of(credentials), "room": label, "id": message_id, "text": text}
        answer = yield from self.mutation.ask("mutation", self.settings.http, self.filled(self.headers, values), values)
        return (self.answer(message_id, answer),)

    def history(self, credentials: Credentials, room: Room) -> Flow[list[StoredRow]]:
        """Implement `Target.history`: send the query of [options.history]."""
        if self.stored is None:
            return (yield from super().history(credentials, room))
        values = {**messages.values_of(credentials), "room": room.label}
        headers = self.filled(self.headers, values)
        answer = yield from self.stored.query.ask("history", self.settings.http, headers, values)
        return self.stored.rows(answer)

    def answer(self, message_id: str, answer: dict[str, Any]) -> Heard:
        """Return the event for the message whose mutation has the result `answer`: ACK, or NACK if it has errors."""
        if answer.get("errors") or type(answer.get("data")) is not dict:
            return (NACK, None, None, -1, None, message_id, (messages.REFUSED, None))
        return (ACK, None, None, messages.number_at(self.ack_number, answer["data"]), None, message_id, None)


class Operations(BaseDialogue):
    """Dialogue of a socket. Subscriptions have the ids r0, r1, …; mutations, if they are frames, have m1, m2, …."""

    def __init__(self, handshake: Handshake, dialect: GraphQL, start: messages.Start) -> None:
        """Prepare to subscribe to the rooms of `start`; with [options.resume], after the numbers in its `seqs`."""
        first = f'{{"type":"connection_init","payload":{dialect.init.render(start.values)}}}'
        super().__init__(handshake, [first])
        self.beat_s, self._dialect, self._values = dialect.beat_s, dialect, start.values
        self._label_of = {f"r{place}": room.label for place, room in enumerate(start.rooms)}
        self._joining: set[str] = set()  # rooms whose subscription has not been seen to work
        self._sent = messages.Numbers[str]("m")  # ids of messages, by that of their mutation
        self._seqs = (start.seqs or {}) if dialect.resume else {}

    def received(self, data: str | bytes) -> Sequence[Heard]:
        """Implement `Dialogue.received`: return the events of a result, an error, or the end of an operation."""
        frame = messages.parsed(data)
        if type(frame) is not dict:
            return messages.not_understood(data)
        kind, payload = frame.get("type"), frame.get("payload")
        label = messages.at(self._label_of, frame.get("id"))
        if kind == "next" and label is not None and type(payload) is dict:
            return self._next(label, payload, data)
        if kind in ("next", "error") and (message_id := self._sent.answered(frame.get("id"))) is not None:
            return (self._dialect.answer(message_id, payload if type(payload) is dict else {}),)
        if kind in ("error", "complete") and label is not None:
            del self._label_of[frame["id"]]
            left: Heard = (LEFT, label, None, -1, None, None, None)
            return (left, *messages.not_understood(data)) if kind == "error" else (left,)
        if kind == "connection_ack":
            return self._subscribe()
        if kind == "pong" and self._dialect.joins_by_pong:
            return self._join(*sorted(self._joining))
        if kind == "ping":
            self.out.append('{"type":"pong"}')
        if kind in ("ping", "pong"):
            return BEATS
        return () if kind == "complete" else messages.not_understood(data)

    def _subscribe(self) -> Sequence[Heard]:
        self._joining = set(self._label_of.values())
        for number, label in self._label_of.items():
            values = {**self._values, "room": label, "seq": self._seqs.get(label)}
            after = self._dialect.resume.asks if self._dialect.resume and label in self._seqs else None
            self.out.append(_subscribe(number, self._dialect.subscription.render(values, after)))
        if self._dialect.joins_by_pong:
            self.out.append('{"type":"ping"}')
        return ((WELCOME, None, None, -1, None, None, None),)

    def _join(self, *labels: str) -> tuple[Heard, ...]:
        self._joining.difference_update(labels)
        return tuple((JOINED, label, None, -1, None, None, True if label in self._seqs else None) for label in labels)

    def _next(self, label: str, payload: dict[str, Any], data: str | bytes) -> Sequence[Heard]:
        """Return the event of a result: MESSAGE, OTHER if it is none; JOINED before that of the first result."""
        joined = self._join(label) if label in self._joining and not self._dialect.joins_by_pong else ()
        message = self._dialect.paths.message(label, payload.get("data"))
        if message is not None:
            return (*joined, message)
        return joined or messages.not_understood(data)

    def send(self, label: str, message_id: str, text: str) -> str:
        """Implement `Dialogue.send`: return the frame of the mutation."""
        values = {**self._values, "room": label, "id": message_id, "text": text}
        return _subscribe(self._sent.next(message_id), self._dialect.mutation.render(values))

    def tick(self) -> Sequence[Heard]:
        """Implement `Dialogue.tick`: send a ping."""
        self.out.append('{"type":"ping"}')
        return ()


def _subscribe(number: str, payload: str) -> str:
    return f'{{"id":"{number}","type":"subscribe","payload":{payload}}}'


open_dialect = GraphQL
