"""Validation of a message, before any other check."""

from __future__ import annotations

from typing import NamedTuple

TEXT_BYTES_MAX = 64 << 10
ID_CHARS_MAX = 200


class Fault(NamedTuple):
    """Mistake in a message. `code`: HTTP status with which the message is refused."""

    code: int
    reason: str


def message_fault(key: object, client_id: object, text: object) -> Fault | None:
    """Return the mistake in a message, None if there is none. `key`: of the conversation; `client_id`: of the message.

    NUL is refused because the database cannot store it.
    """
    for name, value in (("conversation", key), ("id", client_id)):
        if not isinstance(value, str) or not 0 < len(value) <= ID_CHARS_MAX or "\0" in value:
            return Fault(400, f"{name} must be text of 1 to {ID_CHARS_MAX} characters.")
    if not isinstance(text, str) or not text or "\0" in text:
        return Fault(400, "text must be text, not empty, without NUL.")
    if len(text) > TEXT_BYTES_MAX or len(text.encode()) > TEXT_BYTES_MAX:
        return Fault(413, f"text must not be longer than {TEXT_BYTES_MAX} bytes.")
    return None
