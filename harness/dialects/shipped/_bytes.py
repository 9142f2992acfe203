"""What dialects of byte streams share: names of rooms inside addresses, numbers and JSON from outside, bytes of frames.

Whatever a server sends is read without an exception: what is not there, or of another kind, is None or empty.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from earwitness.harness.client.events import OTHER, Handshake, Heard
from earwitness.harness.client.network import Network
from earwitness.harness.client.wires import ByteStream
from earwitness.harness.described import Table

ROOM: Final = "{room}"
MOST: Final = (1 << 62) - 1
"""Largest number that an event may carry."""


@dataclass(frozen=True, slots=True)
class Template:
    """Address of a room at the platform: `{room}` stands for the room's label."""

    before: str
    after: str

    def of(self, label: str) -> str:
        """Return the address of the room `label`."""
        return f"{self.before}{label}{self.after}"

    def label(self, address: str) -> str | None:
        """Return the label of the room that `address` names, None if it names none."""
        if not address.startswith(self.before) or not address.endswith(self.after):
            return None
        return address[len(self.before) : len(address) - len(self.after)] or None


def read_template(own: Table, name: str, default: str) -> Template:
    """Return the template that the option `name` states. Without `{room}` it is a mistake, collected in `own`."""
    text = own.text(name, default, example=default)
    if text.count(ROOM) != 1:
        own.fault(name, f"= {text!r} needs {ROOM} once: it stands for the room", f'{name} = "{default}"')
        text = default
    before, _, after = text.partition(ROOM)
    return Template(before, after)


def socket_handshake(url: str, network: Network, subprotocols: tuple[str, ...] = ()) -> Handshake:
    """Return how a socket is opened: TCP for tcp:// and tls://, else a WebSocket with `subprotocols`."""
    if url.startswith(("tcp:", "tls:")):
        return ByteStream(url=url, network=network)
    return Handshake(url=url, network=network, subprotocols=subprotocols)


def number(text: str, most: int = MOST) -> int | None:
    """Return a whole number from 0 to `most` that `text` states in ASCII digits, None if it states none."""
    if not (text.isascii() and text.isdigit()) or len(text) > 20:
        return None
    value = int(text)
    return value if value <= most else None


def whole(value: object, default: int = -1) -> int:
    """Return a value of JSON if it is a whole number that an event may carry, else `default`."""
    return value if type(value) is int and 0 <= value <= MOST else default


def text_of(value: object) -> str | None:
    """Return a value of JSON if it is a text, else None."""
    return value if isinstance(value, str) else None


def table(data: bytes | str) -> Mapping[str, Any]:
    """Return the JSON object that `data` states, {} if it states none."""
    try:
        value = orjson.loads(data)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def raw(data: str | bytes) -> bytes:
    """Return a frame as bytes."""
    return data if isinstance(data, bytes) else data.encode("utf-8", "surrogatepass")


def not_understood(what: str) -> list[Heard]:
    """Return the event for something that was received and not understood."""
    return [(OTHER, None, None, -1, None, None, what)]
