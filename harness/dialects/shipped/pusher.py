"""Pusher protocol 7, as Pusher Channels, Laravel Reverb and soketi speak it.

https://pusher.com/docs/channels/library_auth_reference/pusher-websockets-protocol, and the HTTP API beside it.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final
from urllib.parse import urlencode, urlsplit

import orjson

from earwitness.harness.client.events import BEATS, Handshake, Heard
from earwitness.harness.client.flow import Flow, HttpRequest
from earwitness.harness.dialects.base import posted
from earwitness.harness.dialects.protocol import Credentials
from earwitness.harness.dialects.settings import Settings
from earwitness.harness.dialects.shipped import _messages as messages
from earwitness.harness.dialects.shipped._resuming import refuse_resume
from earwitness.harness.dialects.toml.paths import text_or_none

PROMISES: Final[Mapping[str, object]] = {
    "ordered": False, "total_order": False, "sequence": "none", "durable": False, "history": False,
    "names_sender": False,
}  # fmt: skip
JSON: Final = {"content-type": "application/json"}
DATA: Final = {"text": "{text}", "id": "{id}", "sender": "{user_id}"}


class Pusher(messages.InRooms):
    """Dialect of the Pusher protocol. It signs subscriptions itself, with the secret of the application."""

    def __init__(self, settings: Settings) -> None:
        """Read the options; mistakes are collected in `settings.own`."""
        super().__init__(settings)
        own, promised = settings.own, settings.contract
        by_client = own.choice("by", ("http", "client"), "http") == "client"
        self.app_id = own.text("app_id", example="1", required=not by_client)
        self.key = own.text("key", example="app-key", required=True)
        self.secret = own.secret("secret", example="env:PUSHER_APP_SECRET")
        self.channel = messages.read_or(own, "channel", messages.IN_ROOM, "private-{room}", needs="room")
        self.event = own.text("event", "client-message" if by_client else "message", example="message")
        self.data = messages.read_or(own, "data", messages.SENDING, DATA, needs="text")
        self.paths = messages.read_paths(own, "text", None if by_client else promised)
        self.ping_s = own.number("ping_s", 30.0, example="30.0", least=0.1) or 30.0
        refuse_resume(own, promised, "the Pusher protocol")
        self.read_requests()
        if by_client and (promised.acknowledges or promised.echo):
            lacking = 'is "client", and client events are neither acknowledged nor sent to their sender'
            own.fault("by", lacking, "[contract] acknowledges = false, echo = false")
        if by_client and not self.event.startswith("client-"):
            own.fault("event", "does not begin with client-, as client events must", 'event = "client-message"')
        if not by_client and self.has_address("http"):
            self.parts = replace(self.parts, sends_by_http=self)

    def talk(self, start: messages.Start) -> Channels:
        """Implement `InRooms.talk`: subscribe to a channel for each room once the socket has its id."""
        asked = {"protocol": "7", "client": "earwitness", "version": "1.0"}
        url = messages.with_query(self.settings.socket, asked, f"/app/{self.key}")
        return Channels(Handshake(url=url, network=self.network), self, start)

    def post(self, credentials: Credentials, label: str, message_id: str, text: str) -> Flow[Sequence[Heard]]:
        """Implement `SendsByHttp.post`: trigger an event on the room's channel."""
        values = {**messages.values_of(credentials), "room": label, "id": message_id, "text": text}
        channels, data = [self.channel.render(values)], self.data.render(values)
        body = orjson.dumps({"name": self.event, "channels": channels, "data": data})
        url = messages.with_query(self.settings.http, {}, f"/apps/{self.app_id}/events")
        query = {
            "auth_key": self.key, "auth_timestamp": str(int(time.time())), "auth_version": "1.0",
            "body_md5": hashlib.md5(body, usedforsecurity=False).hexdigest(),
        }  # fmt: skip
        query["auth_signature"] = self.signed(f"POST\n{urlsplit(url).path}\n{urlencode(query)}")
        response = yield HttpRequest("POST", messages.with_query(url, query), JSON, body, "events")
        return posted("events", response, None, message_id)

    def signed(self, text: str) -> str:
        """Return the signature of a text with the application's secret: HMAC-SHA256 in hexadecimal."""
        return hmac.new(self.secret.encode(), text.encode(), hashlib.sha256).hexdigest()


class Channels(messages.Joining):
    """Dialogue of a socket: it subscribes when the server has stated the socket's id, and answers pings."""

    def __init__(self, handshake: Handshake, dialect: Pusher, start: messages.Start) -> None:
        """Prepare to subscribe to the rooms of `start`."""
        super().__init__(handshake, dialect.channel, start)
        self.beat_s, self._dialect = dialect.ping_s, dialect

    def received(self, data: str | bytes) -> Sequence[Heard]:
        """Implement `Dialogue.received`: return the events of a message or of a change of a subscription."""
        frame = messages.parsed(data)
        event = frame.get("event") if type(frame) is dict else None
        if type(frame) is not dict or type(event) is not str:
            return messages.not_understood(data)
        body, label = messages.parsed(frame.get("data")), messages.at(self.label_of, frame.get("channel"))
        if event == self._dialect.event and (room := self.room_at(frame.get("channel"))) is not None:
            message = self._dialect.paths.message(room, body, text_or_none(frame.get("user_id")))
            return messages.not_understood(data) if message is None else (message,)
        if event == "pusher:ping":
            self._put("pusher:pong", {})
            return BEATS
        elif event == "pusher:connection_established":
            return self._established(body, data)
        elif event == "pusher_internal:subscription_succeeded" and label is not None:
            return self.joins(label)
        elif event == "pusher:subscription_error" and label is not None:
            return (*messages.not_understood(data), *self.decided(label))
        elif event == "pusher:pong":
            return BEATS
        elif event != "pusher:cache_miss" and not event.startswith("pusher_internal:"):
            return messages.not_understood(data)
        return ()

    def _established(self, body: object, data: str | bytes) -> Sequence[Heard]:
        """Subscribe to all channels. Private and presence channels need a signature over the id of this socket."""
        socket_id = body.get("socket_id") if type(body) is dict else None
        if type(socket_id) is not str:
            return messages.not_understood(data)
        for channel in self.name_of.values():
            subscription, signed = {"channel": channel}, f"{socket_id}:{channel}"
            if channel.startswith("presence-"):
                subscription["channel_data"] = orjson.dumps({"user_id": self.values["user_id"]}).decode()
                signed += f":{subscription['channel_data']}"
            if channel.startswith(("private-", "presence-")):
                subscription["auth"] = f"{self._dialect.key}:{self._dialect.signed(signed)}"
            self._put("pusher:subscribe", subscription)
        return () if self.name_of else self.decided()

    def _put(self, event: str, data: Mapping[str, str]) -> None:
        self.out.append(orjson.dumps({"event": event, "data": data}).decode())

    def send(self, label: str, message_id: str, text: str) -> str:
        """Implement `Dialogue.send`: return the frame of a client event with the message."""
        data = self.filled(self._dialect.data, label, id=message_id, text=text)
        head = orjson.dumps({"event": self._dialect.event, "channel": self.name_of[label]}).decode()
        return f'{head[:-1]},"data":{data}}}'

    def tick(self) -> Sequence[Heard]:
        """Implement `Dialogue.tick`: send a ping, so that the server does not end the connection as inactive."""
        self._put("pusher:ping", {})
        return ()


open_dialect = Pusher
