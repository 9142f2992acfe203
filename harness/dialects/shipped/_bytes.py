"""Common parts of the dialects for byte streams: names of rooms, logins, and reading of numbers, JSON and bytes.

Values that a server sends are read without an exception: a missing value, or one of a wrong type, becomes None or
empty.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from earwitness.harness.client.events import OTHER, Handshake, Heard
from earwitness.harness.client.network import Network
from earwitness.harness.client.wires import ByteStream
from earwitness.harness.described import Table
from earwitness.harness.dialects.values import Credentials

ROOM: Final = "{room}"
MOST: Final = (1 << 62) - 1
"""Largest number that an event may carry."""


@dataclass(frozen=True, slots=True)
class Template:
    """Template of the addresses of rooms at the platform: the text `before`, the room's label, the text `after`."""

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
    """Return the template that the option `name` states, or the one made of `default` after a mistake.

    A text that does not contain `{room}` exactly once is a mistake, which is collected in `own`.
    """
    text = own.text(name, default, example=default)
    if text.count(ROOM) != 1:
        own.fault(name, f"= {text!r} needs {ROOM} once: it stands for the room", f'{name} = "{default}"')
        text = default
    before, _, after = text.partition(ROOM)
    return Template(before, after)


@dataclass(frozen=True, slots=True)
class Login:
    """Way in which users log in at a broker: each with name and secret, all with one account, or not at all.

    each            each person logs in with their own name and secret
    user, password  the account of all; "" without one
    """

    each: bool
    user: str
    password: str = field(repr=False)

    def of(self, credentials: Credentials) -> tuple[str, str]:
        """Return the user and the password with which a person logs in; "" where there is none."""
        return (credentials.person.name, credentials.token) if self.each else (self.user, self.password)


def read_login(own: Table, example: str) -> Login:
    """Return the login that the options `auth`, `user` and `password` state. Mistakes are collected in `own`.

    `example`: name of an environment variable for the password, shown in the error.
    """
    by = own.choice("auth", ("none", "person", "shared"), "none")
    user = own.text("user", example="guest") if by == "shared" else ""
    return Login(by == "person", user, own.secret("password", example=f"env:{example}") if by == "shared" else "")


def socket_handshake(url: str, network: Network, subprotocols: tuple[str, ...] = ()) -> Handshake:
    """Return the handshake for an address: of a TCP stream for tcp:// and tls://, else of a WebSocket.

    `subprotocols`: those that a WebSocket offers.
    """
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
    """Return `value`, which was decoded from JSON, if it is a whole number from 0 to MOST; else `default`."""
    return value if type(value) is int and 0 <= value <= MOST else default


def text_of(value: object) -> str | None:
    """Return `value`, which was decoded from JSON, if it is a text; else None."""
    return value if isinstance(value, str) else None


def table(data: bytes | str) -> Mapping[str, Any]:
    """Return the JSON object in `data`, {} if `data` is no JSON object."""
    try:
        value = orjson.loads(data)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def raw(data: str | bytes) -> bytes:
    """Return a frame as bytes; a text is encoded in UTF-8."""
    return data if isinstance(data, bytes) else data.encode("utf-8", "surrogatepass")


def not_understood(what: str) -> list[Heard]:
    """Return a list with one event OTHER, for something that was not understood. `what`: its description."""
    return [(OTHER, None, None, -1, None, None, what)]
