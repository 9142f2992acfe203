"""Permessage-deflate (RFC 7692): agreed with a server, compressed both ways, bounded, and with the same records."""

from __future__ import annotations

import tracemalloc
import zlib
from dataclasses import replace
from functools import cache
from random import Random
from typing import Any

import pytest
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.http11 import Request, Response
from websockets.server import ServerProtocol

from earwitness.harness.client.events import Handshake
from earwitness.harness.client.network import Network
from earwitness.harness.client.wire import INVALID_DATA, NO_CLOSE, TOO_BIG, CompressedWire, Wire
from earwitness.harness.client.wires import make_wire
from tests.client.both_ways import frame

HANDSHAKE = Handshake(url="ws://127.0.0.1:1/chat", network=Network(compress=True))
ANSWERS = {
    "context both ways": {},
    "no context of the server": {"server_no_context_takeover": True},
    "no context of ours": {"client_no_context_takeover": True},
    "no context": {"server_no_context_takeover": True, "client_no_context_takeover": True},
    "small windows": {"server_max_window_bits": 9, "client_max_window_bits": 9},
}


def opened(wire: Wire, **answer: Any) -> ServerProtocol:
    """The server of a wire's connection, which has agreed to compress."""
    server = ServerProtocol(extensions=[ServerPerMessageDeflateFactory(**answer)])
    server.receive_data(wire.take_output())
    (request,) = server.events_received()
    assert isinstance(request, Request)
    server.send_response(server.accept(request))
    assert wire.receive(b"".join(server.data_to_send())) == []
    return server


@pytest.mark.parametrize("name", ANSWERS)
def test_messages_are_compressed_both_ways(name: str) -> None:
    """Whatever contexts and windows the server asks for, in pieces, with control frames among them."""
    wire, rng = make_wire(HANDSHAKE), Random(name)
    assert isinstance(wire, CompressedWire)
    server = opened(wire, **ANSWERS[name])
    assert wire.compressed
    texts = [f"{n} " + "hello " * rng.randrange(500) + "ü" * rng.randrange(9) for n in range(40)]
    sent = b"".join(wire.frame(text) for text in texts) + wire.frame(b"\x00" * 500)
    server.receive_data(sent)
    assert [event.data for event in server.events_received()] == [*(text.encode() for text in texts), b"\x00" * 500]  # type: ignore[union-attr]
    for text in texts:
        server.send_text(text.encode())
        server.send_ping(b"?")
    stream, heard = b"".join(server.data_to_send()), []
    for at in range(0, len(stream), 31):
        heard += wire.receive(stream[at : at + 31])
    assert heard == texts
    assert max(len(sent), len(stream)) < sum(map(len, texts)) / 3


def test_a_server_that_declines_is_spoken_to_plainly() -> None:
    wire = CompressedWire(HANDSHAKE)
    server = ServerProtocol()
    server.receive_data(wire.take_output())
    (request,) = server.events_received()
    assert "permessage-deflate; client_max_window_bits" in str(request)
    server.send_response(server.accept(request))  # type: ignore[arg-type]
    wire.receive(b"".join(server.data_to_send()))
    assert (wire.opened, wire.compressed) == (True, False)
    assert wire.frame("x")[0] == 0x81


@pytest.mark.parametrize(
    "answer",
    ["permessage-deflate; unknown", "permessage-deflate; server_max_window_bits=16", "x-webkit-deflate-frame",
     "permessage-deflate, permessage-deflate", "permessage-deflate; client_max_window_bits=8"],
)  # fmt: skip
def test_an_answer_that_was_not_offered_is_no_connection(answer: str) -> None:
    """RFC 7692 §7: the client must fail the connection. Eight bits of window are allowed, and zlib cannot have them."""
    wire = CompressedWire(HANDSHAKE)
    server = ServerProtocol()
    server.receive_data(wire.take_output())
    (request,) = server.events_received()
    response = server.accept(request)  # type: ignore[arg-type]
    assert isinstance(response, Response)
    response.headers["Sec-WebSocket-Extensions"] = answer
    server.send_response(response)
    wire.receive(b"".join(server.data_to_send()))
    assert wire.over
    assert wire.refusal is not None


def test_without_the_option_nothing_is_offered() -> None:
    wire = make_wire(replace(HANDSHAKE, network=Network()))
    assert b"permessage-deflate" not in wire.take_output()
    assert type(wire) is Wire


def deflated(data: bytes) -> bytes:
    """The payload of one compressed message."""
    packer = zlib.compressobj(wbits=-15)
    return (packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]


MOST, PROTOCOL_ERROR = 100_000, 1002


@cache
def bombs() -> dict[str, bytes]:
    """Streams that inflate to 50 MB, of at most 100,000 bytes."""
    packed = deflated(b"x" * 50_000_000)
    packer = zlib.compressobj(wbits=-15)
    exact = packer.compress(b"x" * MOST) + packer.flush(zlib.Z_SYNC_FLUSH)
    rest = packer.compress(b"x" * 50_000_000) + packer.flush(zlib.Z_SYNC_FLUSH)
    half = len(packed) // 2
    return {
        "one frame": frame(packed, 0xC1),
        "fragments": frame(packed[:half], 0x41) + frame(packed[half:], 0x80),
        "many fragments": frame(packed[:99], 0x41)
        + b"".join(frame(packed[at : at + 99], 0x00) for at in range(99, len(packed), 99)),
        "a first fragment of just the longest size": frame(exact, 0x41) + frame(rest[:-4], 0x80),
        "that, then an empty one": frame(exact, 0x41) + frame(b"", 0x00) + frame(rest[:-4], 0x80),
    }


BOMBS = [
    *("one frame", "fragments", "many fragments"),
    *("a first fragment of just the longest size", "that, then an empty one"),
]


@pytest.mark.parametrize("name", BOMBS)
def test_what_inflates_without_end_is_bounded(name: str) -> None:
    """The connection ends with 1009, and no more than some times the longest message was held."""
    wire, stream = CompressedWire(replace(HANDSHAKE, network=Network(compress=True, frame_bytes=MOST))), bombs()[name]
    opened(wire)
    assert bombs().keys() == set(BOMBS)
    tracemalloc.start()
    try:
        heard = [text for at in range(0, len(stream), 4096) for text in wire.receive(stream[at : at + 4096])]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert heard == []
    assert (wire.over, wire.close_sent, wire.close_received) == (True, TOO_BIG, None)
    assert peak < 12 * MOST


@pytest.mark.parametrize(
    ("stream", "code"),
    [(frame(b"\xff\xff\xff", 0xC1), PROTOCOL_ERROR), (frame(b"x", 0xA1), PROTOCOL_ERROR),
     (frame(deflated(b"hi"), 0x41) + frame(b"", 0xC0), PROTOCOL_ERROR), (frame(deflated(b"hi"), 0xC9), PROTOCOL_ERROR),
     (frame(deflated(b"\xff"), 0xC1), INVALID_DATA)],
)  # fmt: skip
def test_what_cannot_be_inflated_ends_the_connection(stream: bytes, code: int) -> None:
    """No deflate stream, another reserved bit, the bit on a continuation or a ping, and no UTF-8 inside."""
    wire = CompressedWire(HANDSHAKE)
    opened(wire)
    assert wire.receive(stream) == []
    assert wire.over
    assert wire.close_code in (code, NO_CLOSE)
    assert wire.close_sent == code
