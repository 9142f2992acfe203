"""Message bodies carry their own identity, so that any platform can be judged whatever its envelope.

    ew1:<run tag>:<author>:<conversation>:<counter>:<proc>.<attempt>:<crc32 hex>:<payload>

author, conversation, counter are the numbers of `checks.record`; proc is the author's connection epoch modulo
256. The checksum covers run tag, author, conversation, counter and payload, not proc and attempt: a retry has
the same digest as its first sending.
"""

from __future__ import annotations

from typing import NamedTuple
from zlib import crc32

PREFIX = "ew1:"


class Body(NamedTuple):
    """A parsed body. `sound` is False if the checksum does not fit: then no field can be trusted."""

    tag: str
    author: int
    conv: int
    counter: int
    proc: int
    attempt: int
    digest: int
    sound: bool


def encode(tag: str, author: int, conv: int, counter: int, proc: int, attempt: int, payload: str) -> tuple[str, int]:
    """The body's text and its digest."""
    head = f"{tag}:{author}:{conv}:{counter}:"
    digest = crc32(payload.encode(), crc32(head.encode()))
    return f"ew1:{head}{proc & 255}.{attempt}:{digest:08x}:{payload}", digest


def decode(text: str) -> Body | None:
    """The identity in `text`, or None if it is no body of ours. Never raises."""
    if not text.startswith(PREFIX):
        return None
    try:
        _, tag, author, conv, counter, sending, claimed, payload = text.split(":", 7)
        proc, _, attempt = sending.partition(".")
        digest = crc32(payload.encode("utf-8", "surrogatepass"), crc32(f"{tag}:{author}:{conv}:{counter}:".encode()))
        author_n, conv_n, counter_n, proc_n, attempt_n = int(author), int(conv), int(counter), int(proc), int(attempt)
    except ValueError:
        return None
    in_range = 0 <= author_n < 1 << 31 and 0 <= conv_n < 1 << 31 and 0 < counter_n < 1 << 32
    if not (in_range and 0 <= proc_n < 256 and 0 < attempt_n < 256):
        return None
    return Body(tag, author_n, conv_n, counter_n, proc_n, attempt_n, digest, f"{digest:08x}" == claimed)
