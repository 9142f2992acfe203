"""STOMP 1.2 over WebSocket or TCP: each room is a destination that every member subscribes to.

A RECEIPT is the acknowledgement of a SEND, and says that a SUBSCRIBE took effect. Message id and sender are in headers
that the tester adds (options `id_header`, `sender_header`); brokers pass them on.
Protocol: https://stomp.github.io/stomp-specification-1.2.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from earwitness import dialects as d
from earwitness.harness.dialects.shipped import _bytes as b
from earwitness.harness.dialects.shipped import _stomp_frames as stomp

PROMISES: Final = {
    "ordered": False, "total_order": False, "sequence": "none", "names_sender": False, "history": False,
    "resume_answers": False,
}  # fmt: skip
REFUSED: Final = 400
"""Code in the event of a refusal, because an ERROR frame states no code."""


class Stomp(d.BaseDialect):
    """Dialect of a STOMP broker."""

    def __init__(self, settings: d.Settings) -> None:
        """Read the options: destinations, headers, heartbeats, how users log in."""
        super().__init__(settings)
        own = settings.own
        self.destination = b.read_template(own, "destination", "/topic/earwitness.{room}")
        self.host = own.text("host", "/", example="/")
        self.id_header = own.text("id_header", "earwitness-id", example="earwitness-id")
        self.sender_header = own.text("sender_header", "earwitness-sender", example="earwitness-sender")
        self.beat_s = own.number("heart_beat_s", 10.0, example="10.0") or 0.0
        self.login_as = b.read_login(own, "STOMP_PASSWORD")

    def converse(self, opening: d.Opening) -> Chat:
        """Implement `BaseDialect.converse`: start a new session each time; STOMP cannot resume one."""
        return Chat(self, opening.credentials, opening.labels)

    def connect(self, credentials: d.Credentials) -> str:
        """Return the frame CONNECT of a user."""
        beat_ms = str(round(self.beat_s * 1000))
        headers = {"accept-version": "1.2", "host": self.host, "heart-beat": f"{beat_ms},{beat_ms}"}
        user, password = self.login_as.of(credentials)
        headers |= {"login": user, "passcode": password} if user else {}
        return stomp.frame("CONNECT", headers)


class Chat(d.BaseDialogue):
    """Dialogue of one connection: it sends CONNECT, a SUBSCRIBE for each room, SEND for messages, and heartbeats."""

    def __init__(self, dialect: Stomp, credentials: d.Credentials, labels: list[str]) -> None:
        """Prepare to join the rooms `labels`."""
        handshake = b.socket_handshake(dialect.settings.socket, dialect.network, ("v12.stomp",))
        super().__init__(handshake, [dialect.connect(credentials)])
        self.beat_s = dialect.beat_s / 2  # twice as often as promised, because a server may measure exactly
        self._dialect, self._user_id, self._labels = dialect, credentials.user_id, labels
        self._asked: dict[str, tuple[str, str]] = {}  # receipt -> message id ("" of a subscription), room
        self._count, self._rest, self._beats = 0, b"", False

    def received(self, data: str | bytes) -> Sequence[d.Heard]:
        """Implement `Dialogue.received`: append `data` to the byte stream; return the events of complete frames.

        Ends of lines between frames are heartbeats.
        """
        if not self._rest and not b.raw(data).strip(b"\r\n"):
            return d.BEATS
        frames, self._rest = stomp.split(self._rest + b.raw(data), self._dialect.network.frame_bytes)
        return [event for frame in frames for event in self._frame(*frame)]

    def _frame(self, command: str, headers: dict[str, str], body: bytes) -> Sequence[d.Heard]:
        if command == "MESSAGE":
            label = self._dialect.destination.label(headers.get("destination", "")) or self._subscribed(headers)
            sender, said_id = headers.get(self._dialect.sender_header), headers.get(self._dialect.id_header)
            return [(d.MESSAGE, label, body.decode(errors="replace"), -1, sender, said_id, None)]
        if command == "RECEIPT" and (asked := self._asked.pop(headers.get("receipt-id", ""), None)) is not None:
            message_id, label = asked
            if message_id:
                return [(d.ACK, label, None, -1, None, message_id, None)]
            return [(d.JOINED, label, None, -1, None, None, None)]
        if command == "CONNECTED":
            return self._connected(headers)
        if (
            command == "ERROR"
            and (asked := self._asked.pop(headers.get("receipt-id", ""), None)) is not None
            and asked[0]
        ):
            return [(d.NACK, asked[1], None, -1, None, asked[0], (REFUSED, None))]
        return b.not_understood(f"{command} {headers} {body[:200]!r}")

    def _subscribed(self, headers: Mapping[str, str]) -> str | None:
        """Return the room of a delivery by the number of its subscription, None if the number is unknown.

        The destination does not name the room if the broker has renamed it.
        """
        number = b.number(headers.get("subscription", ""), len(self._labels) - 1)
        return None if number is None else self._labels[number]

    def _connected(self, headers: dict[str, str]) -> Sequence[d.Heard]:
        wanted = headers.get("heart-beat", "0,0").partition(",")[2].strip()
        self._beats = bool(b.number(wanted))
        for number, label in enumerate(self._labels):
            about = {"id": str(number), "destination": self._dialect.destination.of(label), "ack": "auto"}
            self.out.append(stomp.frame("SUBSCRIBE", {**about, "receipt": self._receipt("", label)}))
        return [(d.WELCOME, None, None, -1, None, None, {"session": headers.get("session")})]

    def _receipt(self, message_id: str, label: str) -> str:
        self._count += 1
        self._asked[str(self._count)] = (message_id, label)
        return str(self._count)

    def send(self, label: str, message_id: str, text: str) -> str:
        """Implement `Dialogue.send`: return the frame SEND, which asks for a receipt."""
        dialect = self._dialect
        headers = {"destination": dialect.destination.of(label), "receipt": self._receipt(message_id, label)}
        headers |= {dialect.id_header: message_id, dialect.sender_header: self._user_id, "content-type": "text/plain"}
        return stomp.frame("SEND", headers, text)

    def tick(self) -> Sequence[d.Heard]:
        """Implement `Dialogue.tick`: send a heartbeat (an end of line), if the server wants any."""
        if self._beats:
            self.out.append("\n")
        return ()

    def closing(self) -> None:
        """Implement `Dialogue.closing`: send DISCONNECT."""
        self.out.append(stomp.frame("DISCONNECT", {}))


open_dialect = Stomp
