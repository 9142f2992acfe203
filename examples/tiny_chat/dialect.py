"""Dialect in Python for the platform of server.py. It does the same as chat.toml, which is enough for this server.

earwitness probe examples/tiny_chat/dialect.py
earwitness run examples/tiny_chat/story.py --headless -u 20 -t 10s --target examples/tiny_chat/dialect.py
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import jwt

from earwitness.dialects import (
    ACK,
    JOINED,
    MESSAGE,
    OTHER,
    WELCOME,
    BaseDialect,
    BaseDialogue,
    Credentials,
    Dialogue,
    Flow,
    Handshake,
    Heard,
    Opening,
    Person,
    Settings,
)

KEY = (Path(__file__).parent / "key.txt").read_text().strip()
PROMISES = {"sequence": "contiguous", "durable": False, "history": False, "resume": False}
SETTINGS = {"name": "tiny chat", "urls": {"socket": "ws://127.0.0.1:8765/"}}


class TinyChat(BaseDialect):
    """Dialect of the example server: how a user logs in, and how a socket is opened."""

    def login(self, person: Person) -> Flow[Credentials]:
        """Return credentials with a signed token, as the server's auth service would. No request is sent."""
        yield from ()
        return Credentials(person=person, user_id=person.name, token=jwt.encode({"sub": person.name}, KEY))

    def converse(self, opening: Opening) -> Dialogue:
        """Return the dialogue of a new socket, which presents the token and joins the rooms after the greeting."""
        handshake = Handshake(url=self.settings.socket, network=self.network)
        return Talk(handshake, opening.credentials.token, opening.labels)


class Talk(BaseDialogue):
    """Dialogue of one socket: encodes and decodes its frames."""

    def __init__(self, handshake: Handshake, token: str, rooms: Sequence[str]) -> None:
        """Prepare to send the frame `hello` first; `rooms` are joined after the greeting."""
        super().__init__(handshake, [json.dumps({"type": "hello", "token": token})])
        self._rooms = rooms

    def received(self, data: str | bytes) -> Sequence[Heard]:
        """Return the event of a received frame, OTHER if the frame cannot be decoded."""
        try:
            said = json.loads(data)
            match said["type"]:
                case "message":
                    return [(MESSAGE, said["room"], said["text"], said["number"], said["from"], None, None)]
                case "accepted":
                    return [(ACK, None, None, said["number"], None, said["id"], None)]
                case "joined":
                    return [(JOINED, said["room"], None, -1, None, None, None)]
                case "welcome":
                    self.out += [json.dumps({"type": "join", "room": room}) for room in self._rooms]
                    return [(WELCOME, None, None, -1, said["name"], None, {"user": said["name"]})]
        except (ValueError, KeyError, TypeError):
            pass
        return [(OTHER, None, None, -1, None, None, data)]

    def send(self, label: str, message_id: str, text: str) -> str:
        """Return the frame that sends a message to the room `label`."""
        return json.dumps({"type": "say", "room": label, "id": message_id, "text": text})


def open_dialect(settings: Settings) -> TinyChat:
    """Return the dialect with the settings of a target file, or SETTINGS if this file itself is the target."""
    return TinyChat(settings)
