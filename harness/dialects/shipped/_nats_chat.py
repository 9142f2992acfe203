"""Dialogues with NATS: `Chat` of a device, and `Reader`, which reads the messages that a stream has stored."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from earwitness import dialects as d
from earwitness.harness.dialects.shipped import _bytes as b
from earwitness.harness.dialects.shipped import _nats_frames as frames

EXISTS: Final = 10058
"""JetStream's err_code for a stream that exists with another configuration."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """Server as the options of a target file describe it.

    subject, stream  templates of the names of a room's subject and of the stream that stores it
    creates, config  whether streams are made, and with which configuration
    ping_s           seconds between two PINGs of the client
    """

    handshake: d.Handshake
    subject: b.Template
    stream: str
    creates: bool
    config: Mapping[str, object]
    ping_s: float

    def request(self, what: str, label: str, inbox: str, after: int | None) -> tuple[str, dict[str, Any]]:
        """Return subject (without `$JS.API.`) and body of a request to JetStream about the room `label`.

        - `what`: "stream" makes the room's stream, or asks for its state if the option `create` is false; "state" asks
          for the state of the stream; "consumer" makes a consumer
        - `inbox`: beginning of the subjects that the client has subscribed to
        - `after`: a consumer delivers the messages above this number; None: only new ones
        """
        name, subject = self.stream.replace(b.ROOM, label), self.subject.of(label)
        if what == "consumer":
            where: dict[str, Any] = {"deliver_policy": "new"}
            if after is not None:
                where = {"deliver_policy": "by_start_sequence", "opt_start_seq": after + 1}
            config = {"deliver_subject": f"{inbox}.to", "filter_subject": subject, "ack_policy": "none"}
            made = {**config, "max_deliver": 1, "mem_storage": True, "num_replicas": 1, **where}
            return f"CONSUMER.CREATE.{name}", {"stream_name": name, "config": made}
        if what == "stream" and self.creates:
            subjects = [subject if b.ROOM in self.stream else self.subject.of("*")]
            return f"STREAM.CREATE.{name}", {"name": name, "subjects": subjects, **self.config}
        return f"STREAM.INFO.{name}", {}


class Chat(d.BaseDialogue):
    """Dialogue of one connection. In order: INFO, CONNECT, a stream for each room, a consumer for each, messages."""

    def __init__(self, server: Server, connect: bytes, labels: list[str], last: Mapping[str, int]) -> None:
        """Prepare to join the rooms `labels`.

        `connect`: bytes to send after the server's INFO; `last`: last number received, by label of rooms that continue.
        """
        super().__init__(server.handshake)
        self.beat_s = server.ping_s
        self._server, self._connect, self._labels, self._last = server, connect, labels, last
        self._inbox, self._count, self._rest, self._name = f"_INBOX.{secrets.token_hex(11)}", 0, b"", ""
        self._asked: dict[str, tuple[str, str, str]] = {}  # number of a request -> what, room, message id
        self._refused: list[tuple[str, str]] = []  # while joining; asked again with the next heartbeat
        self._whole: dict[str, bool] = {}  # room -> whether its stream has everything behind the number received
        self._joined: set[str] = set()
        self._step = 0  # 1: CONNECT was sent, 2: it was accepted, 3: all streams are there

    def received(self, data: str | bytes) -> Sequence[d.Heard]:
        """Implement `Dialogue.received`: append `data` to the byte stream; return the events of complete messages."""
        items, self._rest = frames.split(self._rest + b.raw(data), self._server.handshake.network.frame_bytes)
        return [event for item in items for event in self._item(*item)]

    def _item(self, op: str, args: list[str], head: bytes, payload: bytes) -> Sequence[d.Heard]:
        if op in ("MSG", "HMSG"):
            return self._message(args, head, payload)
        if op == "PING":
            self.out.append(b"PONG\r\n")
            return d.BEATS
        if op == "INFO" and self._step == 0:
            self._step, self._name = 1, b.text_of(b.table(args[0]).get("server_name")) or ""
            self.out.append(self._connect)
        elif op == "PONG" and self._step == 1:
            self._step = 2
            # Interest in a deliver subject counts only if it is subscribed by its whole name.
            self.out.append(b"SUB %b.answer.* 1\r\nSUB %b.to 2\r\n" % (self._inbox.encode(), self._inbox.encode()))
            for label in self._labels:
                self._ask("stream", label)
            return self._greeted()
        elif op == "PONG":
            return d.BEATS
        elif op not in ("INFO", "+OK"):
            return b.not_understood(f"{op} {' '.join(args)}")
        return ()

    def _greeted(self) -> Sequence[d.Heard]:
        """Once all streams exist, ask for the consumers and return WELCOME; before that, return ().

        A message that is sent before its stream exists would be refused.
        """
        if self._step != 2 or len(self._whole) < len(self._labels):
            return ()
        self._step = 3
        for label in self._labels:
            self._ask("consumer", label)
        return [(d.WELCOME, None, None, -1, None, None, {"replica": self._name or None})]

    def _ask(self, what: str, label: str) -> None:
        subject, body = self._server.request(what, label, self._inbox, self._after(label))
        self.out.append(b"PUB $JS.API.%b %b" % (subject.encode(), self._tail(what, label, "", orjson.dumps(body))))

    def _tail(self, what: str, label: str, message_id: str, body: bytes, head: bytes = b"") -> bytes:
        """Note that an answer is awaited; return the end of a PUB or HPUB: reply subject, sizes, headers and body.

        `what`, `label`, `message_id`: kind of the request, room and message, by which its answer is understood.
        """
        self._count += 1
        self._asked[str(self._count)] = (what, label, message_id)
        sizes = f"{len(head)} {len(head) + len(body)}" if head else f"{len(body)}"
        return b"%b.answer.%d %b\r\n%b%b\r\n" % (self._inbox.encode(), self._count, sizes.encode(), head, body)

    def send(self, label: str, message_id: str, text: str) -> bytes:
        """Implement `Dialogue.send`: return an HPUB with the message id, so that a stream stores no message twice."""
        head = b"NATS/1.0\r\nNats-Msg-Id: %b\r\n\r\n" % message_id.encode()
        tail = self._tail("sent", label, message_id, text.encode(), head)
        return b"HPUB %b %b" % (self._server.subject.of(label).encode(), tail)

    def _message(self, args: list[str], head: bytes, payload: bytes) -> Sequence[d.Heard]:
        if (place := frames.place_of(args)) is not None:
            label, said_id = self._server.subject.label(args[0]), frames.header(head, "nats-msg-id")
            return self._delivered(label, payload.decode(errors="replace"), place, said_id)
        what, label, message_id = self._asked.pop(args[0].rpartition(".")[2], ("", "", ""))
        said = b.table(payload)
        error = said.get("error") or ({} if payload else {"code": b.number(head[9:12].decode(errors="replace"))})
        error = error if isinstance(error, dict) else {"description": error}
        if what == "sent" and (error or "seq" not in said):
            return [(d.NACK, label, None, -1, None, message_id, (b.whole(error.get("code"), 0), None))]
        if what == "sent":
            return [(d.ACK, label, None, b.whole(said["seq"]), None, message_id, None)]
        if what == "stream" and error.get("err_code") == EXISTS:
            self._ask("state", label)
            return ()
        if not what or error:
            self._refused += [(what, label)] if what else []
            return b.not_understood(f"{what} {label} {payload.decode(errors='replace') or head!r}")
        return self._there(label, said) if what in ("stream", "state") else self._listens(label, said)

    def _there(self, label: str, said: Mapping[str, Any]) -> Sequence[d.Heard]:
        """Process the state of a room's stream: note whether it has all messages after the last number received."""
        state = said.get("state")
        numbers: Mapping[str, Any] = state if isinstance(state, dict) else {}
        first, last = b.whole(numbers.get("first_seq"), 0), b.whole(numbers.get("last_seq"), 0)
        after = self._last.get(label)
        self._whole[label] = after is None or first <= after + 1 <= last + 1
        return self._greeted()

    def _after(self, label: str) -> int | None:
        """Return the number behind which deliveries of a room start, None for new messages only."""
        return self._last.get(label) if self._whole.get(label) else None

    def _listens(self, label: str, said: Mapping[str, Any]) -> Sequence[d.Heard]:
        """Process a new consumer: it states the last number before its first delivery."""
        delivered = said.get("delivered")
        return self._joins(label, b.whole(delivered.get("stream_seq")) if isinstance(delivered, dict) else -1)

    def _joins(self, label: str, head: int) -> list[d.Heard]:
        if label in self._joined or label not in self._labels:
            return []
        self._joined.add(label)
        continued = self._whole.get(label) if label in self._last else None
        return [(d.JOINED, label, None, head, None, None, continued)]

    def _delivered(self, label: str | None, text: str, place: tuple[int, int], said_id: str | None) -> list[d.Heard]:
        """Return MESSAGE for a delivery, after JOINED if the room is not joined yet.

        The first delivery may arrive before the answer that says that its consumer was made. `place`: number in the
        stream, and number of messages still to come.
        """
        message: d.Heard = (d.MESSAGE, label, text, place[0], None, said_id, None)
        return [*self._joins(label or "", max(place[0] - 1, -1)), message]

    def tick(self) -> Sequence[d.Heard]:
        """Implement `Dialogue.tick`: send a PING, and repeat the requests that were refused while joining."""
        again, self._refused = self._refused, []
        self.out += [b"PING\r\n"] if self._step else []
        for what, label in again:
            self._ask(what, label)
        return ()


class Reader(Chat):
    """Dialogue that reads all messages of one room: a consumer delivers the messages from the first to the last.

    rows  the messages, oldest first; None until all have come
    """

    def __init__(self, server: Server, connect: bytes, label: str) -> None:
        """Prepare to read the room `label`."""
        super().__init__(server, connect, [label], {})
        self._read: list[d.StoredRow] = []
        self.rows: list[d.StoredRow] | None = None

    def _after(self, label: str) -> int:
        return 0

    def _listens(self, label: str, said: Mapping[str, Any]) -> Sequence[d.Heard]:
        if said.get("num_pending") == 0 and not self._read:
            self.rows = []
        return ()

    def _delivered(self, label: str | None, text: str, place: tuple[int, int], said_id: str | None) -> list[d.Heard]:
        self._read.append(d.StoredRow(text=text, seq=place[0], message_id=said_id, conversation=label))
        self.rows = self._read if place[1] == 0 else None
        return []
