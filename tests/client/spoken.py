"""Frames as the tests' little dialect writes them (see conftest), and what a stage has recorded."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from earwitness.checks.history.record import Kind
from earwitness.harness.client import body
from earwitness.harness.client.dialogue import PlainDialogue
from earwitness.harness.client.events import (
    ACK,
    AGENT,
    BEAT,
    JOINED,
    LEFT,
    MESSAGE,
    NACK,
    OTHER,
    PROFILE,
    REPLAYED,
    WELCOME,
    Handshake,
    Heard,
)

KINDS = {
    "ack": ACK,
    "nack": NACK,
    "joined": JOINED,
    "left": LEFT,
    "agent": AGENT,
    "replayed": REPLAYED,
    "profile": PROFILE,
    "beat": BEAT,
}


def hear(data: str | bytes) -> Sequence[Heard]:
    """One JSON object a frame, or a list of them: {"k": kind, "c": room, "t": text, "q": seq, "s": sender, "i": id}."""
    frames = json.loads(data)
    heard: list[Heard] = []
    for frame in frames if isinstance(frames, list) else [frames]:
        label, text, seq = frame.get("c"), frame.get("t"), frame.get("q", -1)
        kind = frame.get("k", "send")
        extra = frame.get("x")
        if kind in ("send", "message"):
            heard.append((MESSAGE, label, text, seq, frame.get("s"), frame.get("i"), None))
        elif kind == "welcome":
            heard.append((WELCOME, None, None, -1, None, None, extra))
        elif kind in KINDS:
            heard.append((KINDS[kind], label, text, seq, frame.get("s"), frame.get("i"), extra))
        else:
            heard.append((OTHER, None, None, -1, None, None, frame))
    return heard


def encode(label: str, message_id: str, text: str) -> str:
    return json.dumps({"c": label, "i": message_id, "t": text})


def dialogue(
    url: str = "ws://127.0.0.1:1/", *, first: Sequence[str | bytes] = (), welcome: bool = False, **handshake: Any
) -> PlainDialogue:
    """The small dialect on one socket."""
    return PlainDialogue(Handshake(url=url, welcome=welcome, **handshake), hear, encode, first)


def frame(**fields: Any) -> str:
    return json.dumps(fields)


def message(author: int, counter: int, *, label: str = "a", conv: int = 0, seq: int = -1, **more: Any) -> str:
    text, _ = body.encode("run1", author, conv, counter, 1, 1, more.pop("payload", "hello"))
    return frame(k="message", c=label, t=text, q=seq, **more)


def kinds(stage: Any) -> list[Kind]:
    return [Kind(int(kind)) for kind in stage.journal.rows()["kind"]]


def last(stage: Any) -> Any:
    return stage.journal.rows()[-1]


def start(stage: Any) -> None:
    stage.session.connected(dialogue(), 100, 5_000_000)
