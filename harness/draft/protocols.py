"""Recognition of protocols that have a shipped dialect, and the application's content of their recorded frames."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import orjson

from earwitness.harness.draft.recording import Socket, query_of

SUBPROTOCOLS: Final = "sec-websocket-protocol"
OFFERED: Final = {
    "graphql-transport-ws": "graphql_ws",
    "actioncable-v1-json": "action_cable",
    "actioncable-v1-ext-json": "action_cable",
    "mqtt": "mqtt",
    "mqttv3.1": "mqtt",
    "v12.stomp": "stomp",
    "v11.stomp": "stomp",
    "v10.stomp": "stomp",
    "xmpp": "xmpp",
}
"""Subprotocol of a handshake -> dialect."""
SOCKET_IO: Final = re.compile(r"42(?:/[^,]*,)?(\d*)(?=\[)")
"""Beginning of a Socket.IO event: packet types (42), namespace, number of the acknowledgement."""
SIGNALR: Final = '{"protocol":"json"'
END: Final = "\x1e"
INVOCATION: Final = 1
"""Type of a message of SignalR that calls a method."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """Content that an application put into one frame.

    sent   by the client
    joins  it subscribes to a room
    event  name of the event or method, "" where the protocol has none
    value  payload, or list of arguments
    place  the protocol's own name of the room, "" where it has none
    asks   an answer is asked for, where the protocol can say so
    """

    sent: bool
    joins: bool = False
    event: str = ""
    value: object = None
    place: str = ""
    asks: bool = True


def dialect_of(socket: Socket) -> str:
    """Return the name of the shipped dialect for a socket's protocol, "" if the protocol is not recognised."""
    offered = [one.strip() for one in socket.headers.get(SUBPROTOCOLS, "").split(",")]
    if found := next((OFFERED[one] for one in offered if one in OFFERED), ""):
        return found
    query, path = query_of(socket.url), urlsplit(socket.url).path
    texts = [frame.data for frame in socket.frames if frame.data is not None]
    if "EIO" in query:
        return "socketio"
    if query.get("vsn") == "2.0.0":
        return "phoenix"
    if any(text.startswith(SIGNALR) and text.endswith(END) for text in texts[:2]):
        return "signalr"
    first = next((frame.data or "" for frame in socket.frames if not frame.sent), "")
    return "pusher" if path.startswith("/app/") and '"pusher:connection_established"' in first else ""


def said_in(socket: Socket, dialect: str) -> list[Said]:
    """Return the application's content of a socket's frames, in order; [] for a dialect without an entry in READERS."""
    read = READERS.get(dialect)
    return [] if read is None else list(read(socket))


def _values(socket: Socket) -> Iterator[tuple[bool, Any]]:
    """Yield (sent, JSON value) of each text frame that is JSON."""
    for frame in socket.frames:
        value = _parsed(frame.data)
        if value is not None:
            yield frame.sent, value


def _parsed(text: object) -> Any:
    try:
        return orjson.loads(text) if isinstance(text, str) else None
    except ValueError:
        return None


def _table(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _socketio(socket: Socket) -> Iterator[Said]:
    for frame in socket.frames:
        begin = SOCKET_IO.match(frame.data or "")
        event = _parsed((frame.data or "")[begin.end() :]) if begin else None
        if isinstance(event, list) and event and isinstance(event[0], str):
            yield Said(sent=frame.sent, event=event[0], value=event[1:], asks=bool(begin and begin[1]))


def _phoenix(socket: Socket) -> Iterator[Said]:
    for sent, frame in _values(socket):
        if isinstance(frame, list) and len(frame) == 5 and isinstance(frame[2], str) and isinstance(frame[3], str):
            joins = sent and frame[3] == "phx_join"
            if joins or not frame[3].startswith(("phx_", "heartbeat", "presence_")):
                yield Said(sent=sent, joins=joins, event=frame[3], value=frame[4], place=frame[2])


def _graphql(socket: Socket) -> Iterator[Said]:
    subscriptions = set()
    for sent, frame in _values(socket):
        payload, number = _table(_table(frame).get("payload")), _table(frame).get("id")
        query = payload.get("query")
        if sent and isinstance(query, str) and isinstance(number, str):
            joins = query.lstrip().startswith("subscription")
            subscriptions |= {number} if joins else set()
            yield Said(sent=True, joins=joins, event=query, value=payload.get("variables"))
        elif not sent and isinstance(number, str) and number in subscriptions and frame.get("type") == "next":
            yield Said(sent=False, value=payload.get("data"))


def _action_cable(socket: Socket) -> Iterator[Said]:
    for sent, frame in _values(socket):
        identifier, command = _table(frame).get("identifier"), _table(frame).get("command")
        if not isinstance(identifier, str):
            continue
        if sent and command == "subscribe":
            yield Said(sent=True, joins=True, value=_parsed(identifier), place=identifier)
        elif sent and command == "message":
            yield Said(sent=True, value=_parsed(frame.get("data")), place=identifier)
        elif not sent and "type" not in frame:
            yield Said(sent=False, value=frame.get("message"), place=identifier)


def _signalr(socket: Socket) -> Iterator[Said]:
    for frame in socket.frames:
        for text in (frame.data or "").split(END):
            call = _table(_parsed(text))
            if call.get("type") == INVOCATION and isinstance(call.get("target"), str):
                arguments = call.get("arguments")
                yield Said(
                    sent=frame.sent, event=call["target"], value=arguments if isinstance(arguments, list) else []
                )


def _pusher(socket: Socket) -> Iterator[Said]:
    for sent, frame in _values(socket):
        event, data = _table(frame).get("event"), _table(frame).get("data")
        channel = _table(data).get("channel") if event == "pusher:subscribe" else _table(frame).get("channel")
        if isinstance(event, str) and isinstance(channel, str):
            if event == "pusher:subscribe":
                yield Said(sent=True, joins=True, place=channel)
            elif not event.startswith(("pusher:", "pusher_internal:")):
                yield Said(sent=sent, event=event, value=_parsed(data) or data, place=channel)


READERS: Final[Mapping[str, Callable[[Socket], Iterator[Said]]]] = {
    "socketio": _socketio, "phoenix": _phoenix, "graphql_ws": _graphql, "action_cable": _action_cable,
    "signalr": _signalr, "pusher": _pusher,
}  # fmt: skip
