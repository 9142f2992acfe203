"""Bytes of the WebSocket frames that the backend sends, built once per message and shared by all receivers."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import orjson

from earwitness.harness.reference.agent import AgentEvent

_TEXT = 0x81


def text_frame(payload: bytes) -> bytes:
    """Return `payload` as one whole unmasked text frame (RFC 6455 §5.2)."""
    size = len(payload)
    if size < 126:
        return bytes((_TEXT, size)) + payload
    if size < 1 << 16:
        return struct.pack("!BBH", _TEXT, 126, size) + payload
    return struct.pack("!BBQ", _TEXT, 127, size) + payload


_LENGTH_BYTES = {126: 2, 127: 8}


def content(data: bytes) -> dict[str, Any]:
    """Return the JSON object in one whole text frame of this module."""
    said: dict[str, Any] = orjson.loads(data[2 + _LENGTH_BYTES.get(data[1], 0) :])
    return said


def frame(data: Mapping[str, object]) -> bytes:
    """Return a JSON object as one text frame."""
    return text_frame(orjson.dumps(data))


def message_frame(key: str, seq: int, client_id: str, sender: str, text: str, at: str) -> bytes:
    """Return the frame that delivers a message. It has the same bytes for every member.

    `key`: of the conversation; `client_id`: the sender's id of the message; `at`: its time in ISO 8601.
    """
    return frame(
        {"type": "message", "conversation": key, "seq": seq, "id": client_id, "sender": sender, "text": text, "at": at}
    )


def ack_frame(client_id: str, key: str, seq: int) -> bytes:
    """Return the frame that acknowledges a stored message.

    `client_id`: the sender's id of the message; `key`: of the conversation.
    """
    return frame({"type": "ack", "id": client_id, "conversation": key, "seq": seq})


def nack_frame(
    client_id: object, code: int, reason: str, retry_after_s: float | None = None, of: str | None = None
) -> bytes:
    """Return the frame that refuses a message.

    `client_id`: the sender's id of the message, None if the frame has none; `code`: an HTTP status; `retry_after_s`:
    seconds, None if a resend is useless; `of`: type of the refused frame, None for type `send`.
    """
    data: dict[str, object] = {"type": "nack", "id": client_id, "code": code, "reason": reason}
    if of is not None:
        data["of"] = of
    if retry_after_s is not None:
        data["retry_after"] = round(retry_after_s, 3)
    return frame(data)


def agent_frame(key: str, run: str, event: AgentEvent) -> bytes:
    """Return the frame that delivers an event of the agent's answer `run`."""
    data = {"type": "agent", "conversation": key, "run": run, "event": event.name, "n": event.n, "text": event.text}
    return frame(data)


def left_frame(key: str) -> bytes:
    """Return the frame for a client that is not, or no longer, a member of the conversation `key`."""
    return frame({"type": "left", "conversation": key})


def joined_frame(key: str, head: int, complete: bool | None) -> bytes:
    """Return the frame that begins a subscription. `head`: last sequence number before it.

    `complete`: True: nothing is missing since the resume point; False: the client must read the history; None: there is
    no resume point.
    """
    return frame({"type": "joined", "conversation": key, "head": head, "complete": complete})
