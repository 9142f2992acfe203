"""Reading and rewriting the frames that the backend has built."""

from __future__ import annotations

from typing import Any

from earwitness.harness.reference.backend.wire import content, frame


def seq_of(data: bytes) -> int:
    return int(content(data)["seq"])


def changed(data: bytes, **fields: Any) -> bytes:
    """The same frame with other fields."""
    return frame({**content(data), **fields})
