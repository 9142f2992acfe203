"""MQTT 3.1.1 over WebSocket or TCP: each room is a topic, messages are published and delivered at QoS 1.

PUBACK is the acknowledgement, SUBACK says that a room is joined. Unless the option `session` is "clean", the session
outlives its connection: after a cut the server delivers the messages it kept. MQTT states no sender, so a payload is a
JSON object with text, sender and message id.
Protocol: https://docs.oasis-open.org/mqtt/mqtt/v3.1.1/os/mqtt-v3.1.1-os.html
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Final

import orjson

from earwitness import dialects as d
from earwitness.harness.dialects.shipped import _bytes as b
from earwitness.harness.dialects.shipped import _mqtt_packets as mqtt

PROMISES: Final = {
    "total_order": False, "sequence": "none", "at_most_once": "no", "names_sender": False, "history": False,
    "resume": True, "resume_answers": False, "misses_nothing": True,
}  # fmt: skip
MOST_PENDING: Final = 65_535


class Mqtt(d.BaseDialect):
    """Dialect of an MQTT broker."""

    def __init__(self, settings: d.Settings) -> None:
        """Read the options: topics, names of the payload's fields, seconds of keep-alive, kind of session, login."""
        super().__init__(settings)
        own = settings.own
        self.topic = b.read_template(own, "topic", "earwitness/{room}")
        self.text, self.sender, self.id = (own.text(key, key, example=key) for key in ("text", "sender", "id"))
        self.keepalive_s = min(own.whole("keepalive_s", 30, example="30", least=2) or 30, MOST_PENDING)
        self.keeps = own.choice("session", ("persistent", "clean"), "persistent") == "persistent"
        self.login_as = b.read_login(own, "MQTT_PASSWORD")

    def converse(self, opening: d.Opening) -> Chat:
        """Implement `BaseDialect.converse`: continue the session of `previous` by its client id, if it persists."""
        before = opening.previous if isinstance(opening.previous, Chat) and self.keeps else None
        return Chat(self, opening.credentials, opening.labels, before)

    def connect(self, client_id: str, credentials: d.Credentials) -> bytes:
        """Return the packet CONNECT of a user."""
        user, password = self.login_as.of(credentials)
        return mqtt.connect(client_id, self.keepalive_s, clean=not self.keeps, user=user, password=password)


class Chat(d.BaseDialogue):
    """Dialogue of one connection: it sends CONNECT, one SUBSCRIBE for all rooms, messages, and PINGREQ as heartbeat."""

    def __init__(self, dialect: Mqtt, credentials: d.Credentials, labels: list[str], before: Chat | None) -> None:
        """Prepare to join the rooms `labels`. `before`: dialogue whose session continues; None: the session is new."""
        self.client_id: str = before.client_id if before else f"{credentials.user_id}-{secrets.token_hex(4)}"
        first = dialect.connect(self.client_id, credentials)
        super().__init__(b.socket_handshake(dialect.settings.socket, dialect.network, ("mqtt",)), [first])
        self.beat_s = dialect.keepalive_s / 2
        self.subscribed: set[str] = before.subscribed if before else set()
        self._dialect, self._user_id = dialect, credentials.user_id
        self._labels, self._resumes = labels, before is not None
        self._sent: dict[int, tuple[str, str]] = {}  # packet id -> message id, room
        self._asked: dict[int, list[tuple[str, bool | None]]] = {}  # packet id -> rooms, and whether they continue
        self._count, self._rest = 0, b""

    def received(self, data: str | bytes) -> Sequence[d.Heard]:
        """Implement `Dialogue.received`: append `data` to the byte stream; return the events of complete packets."""
        packets, self._rest = mqtt.split(self._rest + b.raw(data), self._dialect.network.frame_bytes)
        return [event for packet in packets for event in self._packet(*packet)]

    def _packet(self, kind: int, flags: int, body: bytes) -> Sequence[d.Heard]:
        number = int.from_bytes(body[:2], "big")
        if kind == mqtt.PUBLISH and (message := mqtt.published(flags, body)) is not None:
            return self._message(*message)
        if kind == mqtt.PUBACK and number in self._sent:
            message_id, label = self._sent.pop(number)
            return [(d.ACK, label, None, -1, None, message_id, None)]
        if kind == mqtt.CONNACK and len(body) == 2:
            return self._connected(bool(body[0] & 1), body[1])
        if kind == mqtt.SUBACK and number in self._asked:
            return self._joined(self._asked.pop(number), body[2:])
        if kind == mqtt.PINGRESP:
            return d.BEATS
        return b.not_understood(f"packet of kind {kind}, flags {flags}: {body[:200]!r}")

    def _connected(self, present: bool, code: int) -> Sequence[d.Heard]:
        """Return the events of a CONNACK with the return `code`; subscribe to all rooms if no session is `present`."""
        if code:
            why = dict(enumerate(mqtt.REFUSALS)).get(code, "?")
            return b.not_understood(f"CONNACK {code}: refused because of {why}")
        if not present:
            self.subscribed.clear()
        events: list[d.Heard] = [(d.WELCOME, None, None, -1, None, None, {"session": self.client_id})]
        events += [(d.JOINED, label, None, -1, None, None, True) for label in self._labels if label in self.subscribed]
        missing = [label for label in self._labels if label not in self.subscribed]
        if missing:
            number = self._number()
            self._asked[number] = [(label, False if self._resumes else None) for label in missing]
            self.out.append(mqtt.subscribe(number, [self._dialect.topic.of(label) for label in missing]))
        return events

    def _joined(self, rooms: list[tuple[str, bool | None]], codes: bytes) -> Sequence[d.Heard]:
        events: list[d.Heard] = []
        for (label, continued), code in zip(rooms, codes, strict=False):
            if code > 2:
                events += b.not_understood(f"SUBACK refuses {self._dialect.topic.of(label)}")
                continue
            self.subscribed.add(label)
            events.append((d.JOINED, label, None, -1, None, None, continued))
        return events

    def _message(self, topic: str, number: int | None, payload: bytes) -> Sequence[d.Heard]:
        if number is not None:
            self.out.append(mqtt.packet(mqtt.PUBACK, 0, number.to_bytes(2, "big")))
        said = b.table(payload)
        text = b.text_of(said.get(self._dialect.text))
        if text is None:
            return b.not_understood(f"PUBLISH {topic}: {payload[:200]!r}")
        sender, message_id = b.text_of(said.get(self._dialect.sender)), b.text_of(said.get(self._dialect.id))
        return [(d.MESSAGE, self._dialect.topic.label(topic), text, -1, sender, message_id, None)]

    def send(self, label: str, message_id: str, text: str) -> bytes:
        """Implement `Dialogue.send`: return a PUBLISH packet with the message as a JSON object."""
        dialect, number = self._dialect, self._number()
        self._sent[number] = (message_id, label)
        payload = {dialect.id: message_id, dialect.sender: self._user_id, dialect.text: text}
        return mqtt.publish(number, dialect.topic.of(label), orjson.dumps(payload))

    def _number(self) -> int:
        """Return a packet id (1 to 65,535) for which no answer is awaited; the newest id again if all are in use."""
        for _ in range(MOST_PENDING):
            self._count = self._count % MOST_PENDING + 1
            if self._count not in self._sent and self._count not in self._asked:
                break
        return self._count

    def tick(self) -> Sequence[d.Heard]:
        """Implement `Dialogue.tick`: send a PINGREQ, so that the server does not end the connection."""
        self.out.append(mqtt.packet(mqtt.PINGREQ, 0))
        return ()

    def closing(self) -> None:
        """Implement `Dialogue.closing`: send DISCONNECT."""
        self.out.append(mqtt.packet(mqtt.DISCONNECT, 0))


open_dialect = Mqtt
