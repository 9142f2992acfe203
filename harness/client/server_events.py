"""Parser of server-sent events without I/O: splits the bytes of a stream into events, and an event into its fields.

The form is that of the HTML standard (section "Server-sent events"). The wire of event streams (`harness.client.wires`)
and streamed answers to requests (`harness.client.flow.StreamedRequest`) use it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


class EventSplitter:
    """Splitter of the bytes of a stream into events; it keeps the bytes of an event that has not ended.

    Lines may end in CR LF, LF or CR; an empty line ends an event.
    """

    def __init__(self) -> None:
        """Start without bytes."""
        self._held = bytearray()

    def feed(self, data: bytes) -> Iterator[str | bytes]:
        """Yield the lines of each event that `data` completes, as text; as bytes if they are not UTF-8."""
        self._held += data
        # A CR at the end is perhaps the first half of a line's end.
        kept = b"\r" if self._held.endswith(b"\r") else b""
        text = bytes(self._held).removesuffix(kept).replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *whole, rest = text.split(b"\n\n")
        self._held = bytearray(rest + kept)
        yield from (as_text(one) for one in whole if one.strip())

    def rest(self) -> str | bytes | None:
        """Return the bytes after the last complete event as text, and forget them; None if they are blank."""
        rest, self._held = bytes(self._held), bytearray()
        return as_text(rest) if rest.strip() else None

    @property
    def waiting(self) -> int:
        """Return the number of bytes that wait for the end of their event."""
        return len(self._held)


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """One server-sent event: its kind ("message" unless stated), its data, and its id or ""."""

    event: str
    data: str
    id: str


def parse_event(text: str | bytes) -> ServerEvent:
    """Return the event that the lines `text` describe; comments are left out."""
    fields: dict[str, list[str]] = {}
    for line in (text if isinstance(text, str) else text.decode(errors="replace")).split("\n"):
        name, _, value = line.partition(":")
        if name:
            fields.setdefault(name, []).append(value.removeprefix(" "))
    last = {name: values[-1] for name, values in fields.items()}
    return ServerEvent(last.get("event", "message"), "\n".join(fields.get("data", ())), last.get("id", ""))


def as_text(data: bytes) -> str | bytes:
    """Return `data` as text if it is UTF-8, else unchanged."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data


__all__ = ["EventSplitter", "ServerEvent", "as_text", "parse_event"]
