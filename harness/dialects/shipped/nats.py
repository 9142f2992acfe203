"""NATS with JetStream, over WebSocket or TCP: each room is a subject, stored by a stream that numbers its messages.

The stream acknowledges each message (PubAck). A connection has one consumer for each room, which delivers in the order
of the stream and, after a cut, continues behind the last number received.
Protocol: https://docs.nats.io/reference/reference-protocols/nats-protocol, …/reference/nats_api_reference
"""

from __future__ import annotations

from typing import Final

import orjson

from earwitness import dialects as d
from earwitness.harness.dialects.shipped import _bytes as b
from earwitness.harness.dialects.shipped._nats_chat import Chat, Reader, Server

PROMISES: Final = {
    "sequence": "contiguous", "at_most_once": "device", "idempotent": True, "names_sender": False, "resume": True,
    "resume_answers": False, "misses_nothing": True,
}  # fmt: skip
NANOSECONDS: Final = 1_000_000_000


class Nats(d.BaseDialect):
    """Dialect of a NATS server with JetStream."""

    def __init__(self, settings: d.Settings) -> None:
        """Read the options: names of subjects and streams, how streams are made, how users log in."""
        super().__init__(settings, d.Parts(reads_by_socket=self))
        own = settings.own
        subject = b.read_template(own, "subject", "earwitness.{room}")
        stream = own.text("stream", "EARWITNESS_{room}", example="EARWITNESS_{room}")
        if b.ROOM not in stream and settings.contract.sequence == "contiguous":
            own.fault(
                "stream", 'holds all rooms: state sequence = "increasing" in [contract]', 'stream = "CHAT_{room}"'
            )
        creates, keep_s = own.flag("create", True), own.whole("keep_s", 3600, example="3600") or 0
        storage = own.choice("storage", ("file", "memory"), "file")
        replicas = own.whole("replicas", 1, example="3", least=1)
        self.server = Server(
            handshake=b.socket_handshake(settings.socket, settings.network), subject=subject, stream=stream,
            creates=creates, ping_s=own.number("ping_s", 20.0, example="20.0", least=0.1) or 0.0,
            config={"storage": storage, "num_replicas": replicas, "max_age": keep_s * NANOSECONDS},
        )  # fmt: skip
        self.by = own.choice("auth", ("none", "person", "token"), "none")
        self.token = own.secret("token", example="env:NATS_TOKEN") if self.by == "token" else ""

    def converse(self, opening: d.Opening) -> Chat:
        """Implement `BaseDialect.converse`: resume each room after its number in `resume`; `previous` is unused."""
        return Chat(self.server, self.connect(opening.credentials), opening.labels, opening.resume or {})

    def reader(self, credentials: d.Credentials, room: d.Room) -> Reader:
        """Implement `ReadsBySocket.reader`: return a dialogue that reads the stream of the room."""
        return Reader(self.server, self.connect(credentials), room.label)

    def connect(self, credentials: d.Credentials) -> bytes:
        """Return the message CONNECT of a user, and a PING: its answer says that CONNECT was accepted."""
        said: dict[str, object] = {"verbose": False, "pedantic": False, "headers": True, "no_responders": True}
        said |= {"protocol": 1, "lang": "earwitness", "version": "1", "name": credentials.user_id}
        if self.by == "person":
            said |= {"user": credentials.person.name, "pass": credentials.token}
        elif self.by == "token":
            said["auth_token"] = self.token
        return b"CONNECT %b\r\nPING\r\n" % orjson.dumps(said)


open_dialect = Nats
