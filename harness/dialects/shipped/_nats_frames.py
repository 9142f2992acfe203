"""Decoding of NATS protocol messages, their headers and reply subjects. Received bytes may be cut anywhere."""

from __future__ import annotations

from typing import Final

from earwitness.harness.dialects.shipped import _bytes as b

LINE_MAX: Final = 1 << 20
Item = tuple[str, list[str], bytes, bytes]
"""Protocol message: operation, arguments, headers, payload. The operation is "?" for a line that is not understood."""


def split(data: bytes, most: int) -> tuple[list[Item], bytes]:
    """Return the whole protocol messages of `data`, and the beginning of the next one.

    `most`: longest headers and payload together, in bytes. A line that cannot be read gets the operation "?".
    """
    items: list[Item] = []
    at = 0
    while (end := data.find(b"\r\n", at)) >= 0:
        line = data[at:end].decode(errors="replace")
        op, _, rest = line.partition(" ")
        op, start = op.upper(), end + 2
        if op not in ("MSG", "HMSG"):
            items.append((op, [rest], b"", b""))
            at = start
        elif (sized := _sized(op, rest.split(), most)) is None:
            items.append(("?", [line], b"", b""))
            at = start
        else:
            args, head, total = sized
            if len(data) < start + total + 2:
                return items, data[at:]
            items.append((op, args, data[start : start + head], data[start + head : start + total]))
            at = start + total + 2
    if len(data) - at > LINE_MAX:
        return [*items, ("?", ["a line without end"], b"", b"")], b""
    return items, data[at:]


def _sized(op: str, args: list[str], most: int) -> tuple[list[str], int, int] | None:
    """Return (arguments without sizes, bytes of headers, bytes of headers and payload).

    The arguments are subject, number of the subscription, and the reply subject if there is one. Return None if the
    arguments are invalid or the total is above `most`.
    """
    sizes = 2 if op == "HMSG" else 1
    if len(args) - sizes not in (2, 3):
        return None
    head, total = 0 if sizes == 1 else b.number(args[-2], most), b.number(args[-1], most)
    if head is None or total is None or head > total:
        return None
    return args[:-sizes], head, total


def place_of(args: list[str]) -> tuple[int, int] | None:
    """Return (number in its stream, messages still to come) of a delivery of JetStream; None for other messages.

    `args`: arguments of MSG or HMSG; the third one is the reply subject, which states both numbers.
    """
    tokens = args[2].split(".") if args[2:] else []
    if tokens[:2] != ["$JS", "ACK"] or len(tokens) not in (9, 11, 12):
        return None
    at = 5 if len(tokens) == 9 else 7  # servers with domains put domain and account in front
    seq, left = b.number(tokens[at]), b.number(tokens[at + 3])
    return None if seq is None or left is None else (seq, left)


def header(head: bytes, name: str) -> str | None:
    """Return the value of a header, None if it is missing. `head`: all headers; `name`: in lower case."""
    pairs = (line.partition(":") for line in head.decode(errors="replace").split("\r\n")[1:])
    return next((value.strip() for key, _, value in pairs if key.lower() == name), None)
