"""Message bodies that state their author, conversation and number, so that any platform can be judged.

    ew1:<run tag>:<author>:<conversation>:<counter>:<proc>.<attempt>:<crc32 hex>:<payload>

author, conversation, counter are the numbers of `checks.history.record`; proc is that of the author's session
(`Speaker.proc`), modulo 256. The checksum covers run tag, author, conversation, counter and payload, not proc and
attempt: a retry has the same digest as its first attempt.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias
from zlib import crc32

PREFIX = "ew1:"


class Body(NamedTuple):
    """Parsed body of a message; the module describes the fields.

    digest  CRC-32 computed from the text that was received
    sound   `digest` equals the checksum that the body states; if False, any field may be wrong
    """

    tag: str
    author: int
    conv: int
    counter: int
    proc: int
    attempt: int
    digest: int
    sound: bool


Fields: TypeAlias = tuple[str, int, int, int, int, int, int, bool]
"""The fields of `Body`, in its order, as a plain tuple: making a `Body` takes a sixth of the time of a message."""

_sendings: dict[str, tuple[int, int]] = {}
"""Cache of `<proc>.<attempt>` → (proc, attempt). A run has few different ones, and each message has one."""


def encode(tag: str, author: int, conv: int, counter: int, proc: int, attempt: int, payload: str) -> tuple[str, int]:
    """Return (text of a body, its CRC-32).

    The module describes the parameters; `payload` is the text after the head.
    """
    head = f"{tag}:{author}:{conv}:{counter}:"
    digest = crc32(payload.encode(), crc32(head.encode()))
    return f"ew1:{head}{proc & 255}.{attempt}:{digest:08x}:{payload}", digest


def overhead(tag: str, author: int, conv: int, counter: int, proc: int, attempt: int) -> int:
    """Return how many bytes longer a body with these fields is than its payload."""
    return len(encode(tag, author, conv, counter, proc, attempt, "")[0])


def decode(text: str) -> Body | None:
    """Return the parsed body `text`, or None if the text has another form. Never raises."""
    fields = decode_fields(text)
    return None if fields is None else Body(*fields)


def decode_fields(text: str) -> Fields | None:
    """Return what `decode` returns, but as a plain tuple in the order of `Body`, for the hot path."""
    if not text.startswith(PREFIX):
        return None
    try:
        _, tag, author, conv, counter, sending, claimed, payload = text.split(":", 7)
        numbers = _sendings.get(sending) or _parse_sending(sending)
        head = f"{tag}:{author}:{conv}:{counter}:"
        if text.isascii():
            digest = crc32(payload.encode(), crc32(head.encode()))
        else:
            digest = crc32(payload.encode("utf-8", "surrogatepass"), crc32(head.encode("utf-8", "surrogatepass")))
        author_n, conv_n, counter_n = int(author), int(conv), int(counter)
    except ValueError:
        return None
    # Both at once: a bit above 31, or a negative number, leaves something after the shift.
    if (author_n | conv_n) >> 31 or not 0 < counter_n < 1 << 32:
        return None
    return tag, author_n, conv_n, counter_n, numbers[0], numbers[1], digest, f"{digest:08x}" == claimed


def _parse_sending(sending: str) -> tuple[int, int]:
    """Return (proc, attempt) of the text `<proc>.<attempt>`.

    Raises ValueError if `sending` is not of that form.
    """
    proc, _, attempt = sending.partition(".")
    numbers = int(proc), int(attempt)
    if not (0 <= numbers[0] < 256 and 0 < numbers[1] < 256):
        raise ValueError(sending)
    if len(sending) <= 7:  # texts padded with zeros could fill the cache without end
        _sendings[sending] = numbers
    return numbers
