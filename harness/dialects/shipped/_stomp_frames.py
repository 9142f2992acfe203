"""Encoding and decoding of STOMP 1.2 frames. Received data may be cut anywhere, also inside a frame.

https://stomp.github.io/stomp-specification-1.2.html
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from earwitness.harness.dialects.shipped import _bytes as b

BROKEN: Final = "?"
"""Command of data that is no frame: its head has no end within HEAD_MAX bytes, or its body is too long."""
HEAD_MAX: Final = 1 << 16
PLAIN: Final = ("CONNECT", "CONNECTED")
"""Frames whose headers are not escaped, as in STOMP 1.0."""
ESCAPES: Final = (("\\", "\\\\"), ("\r", "\\r"), ("\n", "\\n"), (":", "\\c"))
Frame = tuple[str, dict[str, str], bytes]
"""Frame: command, headers, body. Of a repeated header the first value counts."""


def frame(command: str, headers: Mapping[str, str], body: str = "") -> str:
    """Return a frame as text. Only a frame with a body states its length."""
    escape = command not in PLAIN
    lines = [command]
    lines += [f"{escaped(key)}:{escaped(value)}" if escape else f"{key}:{value}" for key, value in headers.items()]
    if body:
        lines.append(f"content-length:{len(body.encode())}")
    return "\n".join(lines) + f"\n\n{body}\0"


def escaped(text: str) -> str:
    """Return a header's name or value with backslashes, ends of lines and colons escaped."""
    for plain, written in ESCAPES:
        text = text.replace(plain, written)
    return text


def unescaped(text: str) -> str:
    """Return the text of a header. An escape that the protocol does not know stays as it is."""
    first, *rest = text.split("\\\\")
    parts = [first, *rest]
    for plain, written in ESCAPES[1:]:
        parts = [part.replace(written, plain) for part in parts]
    return "\\".join(parts)


def split(data: bytes, most: int) -> tuple[list[Frame], bytes]:
    """Return the complete frames of `data`, and the bytes behind them. `most`: longest body, in bytes.

    Ends of lines between frames are heartbeats, which are left out. A frame that cannot be read is the last one, with
    the command BROKEN and its first 200 bytes as body; the data behind it is dropped.
    """
    frames: list[Frame] = []
    at = 0
    while True:
        while data[at : at + 1] in (b"\n", b"\r"):
            at += 1
        end, skip = _head_end(data, at)
        if end < 0:
            return (frames, data[at:]) if len(data) - at <= HEAD_MAX else ([*frames, _broken(data[at:])], b"")
        command, headers = _head(data[at:end].decode(errors="replace"))
        start = end + skip
        length = b.number(headers.get("content-length", ""))
        if length is None:
            stop = data.find(b"\0", start)
            missing = stop < 0
        else:
            stop = start + length
            missing = len(data) <= stop
        if (length or 0) > most or (missing and len(data) - start > most):
            return [*frames, _broken(data[at:])], b""
        if missing:
            return frames, data[at:]
        frames.append((command, headers, data[start:stop]))
        at = stop + 1


def _head_end(data: bytes, at: int) -> tuple[int, int]:
    """Return the offset in `data` at which the head of a frame ends, and the bytes of the end mark; (-1, 0) if none."""
    ends = [(data.find(mark, at), len(mark)) for mark in (b"\n\n", b"\n\r\n")]
    return min((one for one in ends if one[0] >= 0), default=(-1, 0))


def _head(text: str) -> tuple[str, dict[str, str]]:
    command, *lines = (line.removesuffix("\r") for line in text.split("\n"))
    plain = command in PLAIN
    headers: dict[str, str] = {}
    for line in lines:
        key, _, value = line.partition(":")
        headers.setdefault(key if plain else unescaped(key), value if plain else unescaped(value))
    return command, headers


def _broken(data: bytes) -> Frame:
    return BROKEN, {}, data[:200]
