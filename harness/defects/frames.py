"""Functions that read and change frames built by the backend."""

from __future__ import annotations

from typing import Any

from earwitness.harness.reference.backend.wire import content, frame


def seq_of(data: bytes) -> int:
    """Return the sequence number that a frame contains."""
    return int(content(data)["seq"])


def changed(data: bytes, **fields: Any) -> bytes:
    """Return the same frame with other values for `fields`."""
    return frame({**content(data), **fields})
