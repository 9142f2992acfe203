"""Frames as the tests' little dialect writes them (see conftest), and what a stage has recorded."""

from __future__ import annotations

import json
from typing import Any

from earwitness.checks.history.record import Kind
from earwitness.harness.client.body import encode


def frame(**fields: Any) -> str:
    return json.dumps(fields)


def message(author: int, counter: int, *, label: str = "a", conv: int = 0, seq: int = -1, **more: Any) -> str:
    text, _ = encode("run1", author, conv, counter, 1, 1, more.pop("payload", "hello"))
    return frame(k="message", c=label, t=text, q=seq, **more)


def kinds(stage: Any) -> list[Kind]:
    return [Kind(int(kind)) for kind in stage.journal.rows()["kind"]]


def last(stage: Any) -> Any:
    return stage.journal.rows()[-1]


def start(stage: Any) -> None:
    stage.session.connected(100, 5_000_000)
