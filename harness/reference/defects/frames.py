"""Reading and rewriting the frames that the backend has built."""

from __future__ import annotations

from typing import Any

import orjson

from harness.reference.backend.wire import frame

_LENGTH_BYTES = {126: 2, 127: 8}


def content(data: bytes) -> dict[str, Any]:
    """The JSON object of one whole text frame."""
    said: dict[str, Any] = orjson.loads(data[2 + _LENGTH_BYTES.get(data[1], 0) :])
    return said


def seq_of(data: bytes) -> int:
    return int(content(data)["seq"])


def changed(data: bytes, **fields: Any) -> bytes:
    """The same frame with other fields."""
    return frame({**content(data), **fields})
