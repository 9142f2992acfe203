"""How to speak to server.py, as a dialect in Python. It says the same as chat.toml, which is enough for this server.

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
    """The platform: how a user logs in, and what each socket says."""

    def login(self, person: Person) -> Flow[Credentials]:
        """Sign a token, as the server's auth service would. Nothing is sent."""
        yield from ()
        return Credentials(person=person, user_id=person.name, token=jwt.encode({"sub": person.name}, KEY))

    def converse(self, opening: Opening) -> Dialogue:
        """Say hello with the token, and join the rooms after the greeting."""
        handshake = Handshake(url=self.settings.socket, network=self.network)
        return Talk(handshake, opening.credentials.token, opening.labels)


class Talk(BaseDialogue):
    """One socket."""

    def __init__(self, handshake: Handshake, token: str, rooms: Sequence[str]) -> None:
        """Begin with hello; `rooms` are joined later."""
        super().__init__(handshake, [json.dumps({"type": "hello", "token": token})])
        self._rooms = rooms

    def received(self, data: str | bytes) -> Sequence[Heard]:
        """Decode a frame."""
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
        """Encode a message."""
        return json.dumps({"type": "say", "room": label, "id": message_id, "text": text})


def open_dialect(settings: Settings) -> TinyChat:
    """Return the dialect with the settings of the target file, here of SETTINGS."""
    return TinyChat(settings)
