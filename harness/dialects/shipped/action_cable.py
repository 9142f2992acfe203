"""Action Cable of Ruby on Rails: subprotocol actioncable-v1-json.

https://docs.anycable.io/misc/action_cable_protocol describes the frames, also those of AnyCable's extended protocol
(`_cable_history`), which resumes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import urlsplit

import orjson

from earwitness.harness.client.events import BEATS, Handshake, Heard
from earwitness.harness.dialects.settings import Settings
from earwitness.harness.dialects.shipped import _messages as messages
from earwitness.harness.dialects.shipped._cable_history import EXTENDED, Held, Positions
from earwitness.harness.dialects.shipped._resuming import refuse_resume
from earwitness.harness.dialects.toml.requests import LOGGED_IN, read_headers, read_texts

PROMISES: Final[Mapping[str, object]] = {
    "ordered": False, "total_order": False, "sequence": "none", "acknowledges": False, "durable": False,
    "history": False, "names_sender": False,
}  # fmt: skip
IDENTIFIER: Final = {"channel": "ChatChannel", "room": "{room}"}
DATA: Final = {"action": "speak", "text": "{text}", "id": "{id}"}


class ActionCable(messages.InRooms):
    """Dialect of Action Cable: one socket for each user, one subscription for each room."""

    def __init__(self, settings: Settings) -> None:
        """Read the options; mistakes are collected in `settings.own`."""
        super().__init__(settings)
        own = settings.own
        self.query = read_texts(own, "query", LOGGED_IN, example='{ token = "{token}" }')
        self.headers = read_headers(own, "headers", LOGGED_IN, example='{ Cookie = "user_id={token}" }')
        self.identifier = messages.read_or(own, "identifier", messages.IN_ROOM, IDENTIFIER, needs="room")
        self.data = messages.read_or(own, "data", messages.SENDING, DATA, needs="text")
        self.paths = messages.read_paths(own, "text", settings.contract)
        self.protocol = own.choice("protocol", ("actioncable-v1-json", EXTENDED), "actioncable-v1-json")
        self.pongs = own.flag("pongs")
        self.extended = self.protocol == EXTENDED
        if not self.extended:
            refuse_resume(own, settings.contract, self.protocol)
        self.read_requests()
        parts = urlsplit(settings.http or settings.socket)
        scheme = "https" if parts.scheme in ("https", "wss") else "http"
        self.origin = own.text("origin", f"{scheme}://{parts.netloc}", example="http://localhost:3000")

    def talk(self, start: messages.Start) -> Cable:
        """Implement `InRooms.talk`: subscribe after the greeting."""
        handshake = Handshake(
            url=self.address(start),
            headers={"Origin": self.origin, **self.filled(self.headers, start.values)},
            subprotocols=(self.protocol, "actioncable-unsupported"),
            network=self.network,
        )
        return Cable(handshake, self, start)


class Cable(messages.Joining):
    """Dialogue of a socket. Pings of the server are answered only with the option `pongs`."""

    def __init__(self, handshake: Handshake, dialect: ActionCable, start: messages.Start) -> None:
        """Prepare to subscribe to the rooms of `start`.

        With the extended protocol, the streams of its `previous` are continued.
        """
        super().__init__(handshake, dialect.identifier, start)
        before = start.previous if start.seqs is not None and isinstance(start.previous, Cable) else None
        self._dialect, self._held = dialect, Held()
        self._positions: Positions = Positions(before._positions if before is not None else None)

    def received(self, data: str | bytes) -> Sequence[Heard]:
        """Implement `Dialogue.received`: return the events of a message, a ping, or an answer about a subscription."""
        frame = messages.parsed(data)
        if type(frame) is not dict:
            return messages.not_understood(data)
        kind, label = frame.get("type"), messages.at(self.label_of, frame.get("identifier"))
        if kind is None and (room := self.room_at(frame.get("identifier"))) is not None:
            message = self._dialect.paths.message(room, frame.get("message"))
            if message is None:
                return messages.not_understood(data)
            message = self._positions.noted(frame, message)
            return () if self._held.add(room, message) else (message,)
        if kind == "ping":
            self.out += ['{"command":"pong"}'] * self._dialect.pongs
            return BEATS
        if kind == "welcome":
            return self._subscribe()
        if kind == "confirm_subscription" and label is not None:
            return () if self._held.holds(label) else self.joins(label)
        if kind in ("confirm_history", "reject_history") and label is not None and self._held.holds(label):
            return self.joins(label, kind == "confirm_history", self._held.end(label))
        if kind == "reject_subscription" and label is not None:
            held = self._held.end(label)
            return (*messages.not_understood(data), *held, *self.leaves(label), *self.decided(label))
        return messages.not_understood(data)

    def _subscribe(self) -> Sequence[Heard]:
        """Subscribe to all rooms, each with a request for its history if something was received there before."""
        for identifier, label in self.label_of.items():
            history = self._positions.request(identifier) if self._dialect.extended else None
            if history is not None:
                self._held.begin(label)
            self.out.append(_command("subscribe", identifier, **({} if history is None else {"history": history})))
        return () if self.name_of else self.decided()

    def send(self, label: str, message_id: str, text: str) -> str:
        """Implement `Dialogue.send`: return the command that performs an action of the room's channel."""
        data = self.filled(self._dialect.data, label, id=message_id, text=text)
        return _command("message", self.name_of[label], data=data)


def _command(command: str, identifier: str, **more: object) -> str:
    return orjson.dumps({"command": command, "identifier": identifier, **more}).decode()


open_dialect = ActionCable
