"""What dialects of byte streams share reads anything without an exception."""

from __future__ import annotations

from typing import Any

import pytest

from earwitness.harness.client.network import ANY
from earwitness.harness.client.wires import ByteStream
from earwitness.harness.dialects.guarded import event_fault
from earwitness.harness.dialects.shipped import _bytes as b


def test_names_of_rooms() -> None:
    """A label becomes an address and comes back; other addresses name no room."""
    template = b.Template("a/", "/b")
    assert template.of("r1") == "a/r1/b"
    assert template.label("a/r1/b") == "r1"
    assert [template.label(other) for other in ("a//b", "a/r1", "x/r1/b", "", "a/b")] == [None] * 5


@pytest.mark.parametrize(
    ("text", "value"),
    [("0", 0), ("12", 12), ("100", 100), ("101", None), ("", None), ("-1", None), ("1.0", None), ("٣", None),
     ("9" * 5000, None), ("²", None)],
)  # fmt: skip
def test_numbers_in_texts(text: str, value: int | None) -> None:
    """ASCII digits only, and never more than asked for."""
    assert b.number(text, 100) == value


@pytest.mark.parametrize(
    ("value", "number"), [(5, 5), (True, -1), (-2, -1), (1 << 62, -1), ("5", -1), (None, -1), (5.0, -1)]
)
def test_numbers_in_json(value: Any, number: int) -> None:
    """Whole ones that an event may carry."""
    assert b.whole(value) == number
    assert event_fault((1, "r", "t", b.whole(value), None, None, None)) is None


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"{", b"nul", b"\xff", b"[" * 5000, b'{"a": 1e999999}', '{"a": "\udc80"}']
)
def test_tables_that_are_none(data: bytes | str) -> None:
    """They are empty."""
    assert b.table(data) == {}
    assert (b.table(b'{"a": "b"}'), b.text_of("b"), b.text_of(5)) == ({"a": "b"}, "b", None)


def test_how_a_socket_is_opened() -> None:
    """TCP for its addresses; frames are bytes, whatever a text has in it."""
    assert isinstance(b.socket_handshake("tcp://h:1", ANY), ByteStream)
    assert b.socket_handshake("ws://h/", ANY, ("mqtt",)).subprotocols == ("mqtt",)
    assert (b.raw("ä"), b.raw(b"\xff"), b.raw("\udc80")) == (b"\xc3\xa4", b"\xff", b"\xed\xb2\x80")
