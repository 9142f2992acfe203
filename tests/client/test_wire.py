"""The fast path says what the library says, whatever the bytes and wherever they are cut."""

from __future__ import annotations

import struct
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from websockets.datastructures import Headers
from websockets.exceptions import ProtocolError
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory, ServerPerMessageDeflateFactory
from websockets.frames import Frame, Opcode
from websockets.http11 import Request, Response
from websockets.protocol import CLIENT, Protocol, State
from websockets.server import ServerProtocol

from earwitness.harness.client import wire as wire_module
from earwitness.harness.client.events import Handshake
from earwitness.harness.client.frames import data_frame
from earwitness.harness.client.network import Network
from earwitness.harness.client.wire import NO_CLOSE, WAIT_BYTES, Wire
from earwitness.harness.errors import TargetError

MAX_BYTES = 300
HANDSHAKE = Handshake(url="ws://127.0.0.1:1/chat?x=1", headers={"Authorization": "Bearer t"})


def accept(wire: Wire, server: ServerProtocol) -> bytes:
    """The server's answer to the wire's upgrade request."""
    server.receive_data(wire.take_output())
    (request,) = server.events_received()
    assert isinstance(request, Request)
    server.send_response(server.accept(request))
    return b"".join(server.data_to_send())


def open_wire() -> Wire:
    wire = Wire(replace(HANDSHAKE, network=Network(frame_bytes=MAX_BYTES)))
    assert wire.receive(accept(wire, ServerProtocol())) == []
    assert wire.opened
    assert not wire.over
    return wire


@dataclass
class Obvious:
    """The slow and obvious client: the library alone, fed byte by byte, messages put together at their end."""

    messages: list[str | bytes] = field(default_factory=list)
    output: list[tuple[int, bytes]] = field(default_factory=list)
    over: bool = False

    def run(self, stream: bytes, *, eof: bool) -> int:
        """Feed the stream; returns the close code."""
        library = Protocol(CLIENT, state=State.OPEN, max_size=MAX_BYTES)
        parts: list[Frame] = []
        failed = False
        for n in range(len(stream)):
            library.receive_data(stream[n : n + 1])
            for frame in library.events_received():
                assert isinstance(frame, Frame)
                if frame.opcode not in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
                    continue
                parts.append(frame)
                if frame.fin:
                    whole = b"".join(bytes(part.data) for part in parts)
                    text = parts[0].opcode is Opcode.TEXT
                    parts = []
                    try:
                        self.messages.append(whole.decode() if text else whole)
                    except UnicodeDecodeError as error:
                        library.fail(1007, f"{error.reason} at position {error.start}")
                        failed = True
            if failed or library.close_rcvd is not None or library.parser_exc is not None:
                self.over = True
                break
        if eof:
            library.receive_eof()
            self.over = True
        self.output = unmask(b"".join(library.data_to_send()))
        if library.close_rcvd is not None:
            return int(library.close_rcvd.code)
        return NO_CLOSE if library.close_sent is None else int(library.close_sent.code)


def unmask(stream: bytes) -> list[tuple[int, bytes]]:
    """Opcode and payload of each masked frame of a client's stream (mask keys are random)."""
    server = Protocol(side=ServerProtocol().side, state=State.OPEN, max_size=None)
    server.receive_data(stream)
    return [(int(f.opcode), bytes(f.data)) for f in server.events_received() if isinstance(f, Frame)]


def server_frame(first: int, payload: bytes, *, length_as: int = 0, masked: bool = False) -> bytes:
    """A frame as bytes, with no regard for the rules: `length_as` forces a longer form of the length."""
    size = len(payload)
    bit = 0x80 if masked else 0
    if size < 126 and length_as < 126:
        return bytes((first, bit | size)) + payload
    if size < 65536 and length_as < 127:
        return bytes((first, bit | 126)) + struct.pack("!H", size) + payload
    return bytes((first, bit | 127)) + struct.pack("!Q", size) + payload


texts = st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass"))
payloads = st.one_of(
    texts,
    st.binary(max_size=130),
    st.sampled_from([0, 1, 125, 126, 127, MAX_BYTES, MAX_BYTES + 1]).map(lambda n: b"x" * n),
)
closes = st.one_of(
    st.just(b""),
    st.binary(max_size=4),
    st.sampled_from([1000, 1001, 1005, 1008, 1012, 4401, 999]).map(lambda code: struct.pack("!H", code) + b"why"),
)
usual = st.builds(server_frame, st.sampled_from([0x81, 0x82]), payloads)
fragments = st.lists(st.one_of(texts, payloads), min_size=2, max_size=4).map(
    lambda parts: b"".join(
        server_frame((0x01 if n == 0 else 0x00) | (0x80 if n == len(parts) - 1 else 0), part)
        for n, part in enumerate(parts)
    )
)
frames = st.one_of(
    usual,
    usual,
    usual,
    fragments,
    st.builds(server_frame, st.sampled_from([0x00, 0x01, 0x02, 0x80]), texts),
    st.builds(server_frame, st.sampled_from([0x89, 0x8A]), st.binary(max_size=125)),
    st.builds(server_frame, st.just(0x88), closes),
    st.builds(
        server_frame,
        st.integers(0, 255),
        st.binary(max_size=140),
        length_as=st.sampled_from([0, 126, 127]),
        masked=st.booleans(),
    ),
)
streams = st.lists(frames, max_size=6).map(b"".join)


@pytest.mark.parametrize("wait_bytes", [0, 60, WAIT_BYTES])
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(stream=streams, cuts=st.lists(st.integers(0, 90), max_size=12), keep=st.integers(0, 100), eof=st.booleans())
@example(stream=b"\x81\x02\xc3\x28\x89\x00\x88\x00", cuts=[], keep=100, eof=True)
@example(stream=b"\x83\x7e", cuts=[1], keep=100, eof=False)
@example(stream=b"\x81\xfe", cuts=[1], keep=100, eof=False)
@example(stream=b"\x01\x01a\x81\x01b", cuts=[3], keep=100, eof=False)
@example(stream=b"\x01\x01a\x81\x01b", cuts=[], keep=100, eof=False)
@example(stream=server_frame(0x82, b"x" * 200) + b"\x81\x01a\x88\x00", cuts=[5, 90, 90], keep=100, eof=True)
@example(stream=server_frame(0x81, b"x" * (MAX_BYTES + 1)), cuts=[], keep=100, eof=False)
def test_the_fast_path_equals_the_library_on_any_stream_cut_anywhere(
    monkeypatch: pytest.MonkeyPatch, wait_bytes: int, stream: bytes, cuts: list[int], keep: int, eof: bool
) -> None:
    """Same messages, same pongs and closes, same close code: usual and unusual frames, whole, cut or broken off.

    The smaller `wait_bytes`, the more frames are begun in one read and ended in another by the library.
    """
    monkeypatch.setattr(wire_module, "WAIT_BYTES", wait_bytes)
    if keep < 100:
        stream = stream[: len(stream) * keep // 100]
    obvious = Obvious()
    code = obvious.run(stream, eof=eof)
    wire = open_wire()
    heard: list[str | bytes] = []
    at = 0
    for cut in cuts:
        heard += wire.receive(stream[at : at + cut])
        at += cut
    heard += wire.receive(stream[at:])
    if eof:
        wire.receive_eof()
    assert heard == obvious.messages
    assert unmask(wire.take_output()) == obvious.output
    if eof or wire.over:
        assert wire.over == obvious.over
        assert wire.close_code == code


@settings(max_examples=60, deadline=None)
@given(data=st.one_of(st.text(max_size=300), st.binary(max_size=300), st.integers(0, 70_000).map(lambda n: "ä" * n)))
def test_a_sent_frame_is_what_the_library_on_the_other_side_reads(data: str | bytes) -> None:
    """Masked, whole, with the right kind and length."""
    expected = (1, data.encode()) if isinstance(data, str) else (2, data)
    assert unmask(data_frame(data)) == [expected]


def test_every_frame_has_its_own_mask_key() -> None:
    """The same text twice gives different bytes on the wire, also across the refill of the keys."""
    # Random keys of 32 bits: two of 3,000 are equal in one run of a thousand.
    assert len({data_frame("same") for _ in range(3000)}) > 2990


def test_the_upgrade_may_arrive_byte_by_byte_with_frames_behind_it() -> None:
    """Frames in the same packet as the response are heard, wherever the packet is cut."""
    for step in (1, 7, 10_000):
        wire = Wire(HANDSHAKE)
        stream = accept(wire, ServerProtocol()) + server_frame(0x81, b"first") + server_frame(0x01, b"se")
        stream += server_frame(0x80, b"cond")
        heard: list[str | bytes] = []
        for at in range(0, len(stream), step):
            heard += wire.receive(stream[at : at + step])
        assert wire.opened
        assert heard == ["first", "second"]


def test_the_request_carries_our_headers_once_and_the_query() -> None:
    """A header of the user's replaces the library's own."""
    wire = Wire(Handshake(url="ws://127.0.0.1:9/ws?token=1", headers={"Host": "chat.example", "Cookie": "a=b"}))
    request = wire.take_output().decode()
    assert request.startswith("GET /ws?token=1 HTTP/1.1\r\n")
    assert request.count("Host: ") == 1
    assert "Host: chat.example\r\n" in request
    assert "Cookie: a=b\r\n" in request
    assert "permessage-deflate" not in request


@pytest.mark.parametrize("step", [1, 10_000])
def test_a_refused_upgrade_says_its_status_and_words(step: int) -> None:
    """HTTP 403 with a body: status and body reach the user; nothing is sent after it."""
    wire = Wire(HANDSHAKE)
    wire.take_output()
    answer = Response(403, "Forbidden", Headers({"Content-Length": "11"}), b"not a guest").serialize()
    for at in range(0, len(answer), step):
        wire.receive(answer[at : at + step])
    assert wire.refusal is not None
    assert (wire.refusal.status, wire.refusal.reason) == (403, "not a guest")
    assert wire.over
    assert not wire.opened


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 101 Switching", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 200 OK\n\n"])
def test_no_answer_or_no_http_at_all_is_a_refusal(answer: bytes) -> None:
    """The stream ends before a whole, valid response came."""
    wire = Wire(HANDSHAKE)
    wire.receive(answer)
    wire.receive_eof()
    assert wire.refusal is not None
    assert wire.refusal.code == NO_CLOSE
    assert wire.refusal.reason


def test_a_wrong_accept_key_is_a_refusal() -> None:
    """An answer that was meant for another handshake does not open the connection."""
    other = Wire(HANDSHAKE)
    wire = Wire(HANDSHAKE)
    wire.receive(accept(other, ServerProtocol()))
    assert wire.refusal is not None
    assert "Sec-WebSocket-Accept" in wire.refusal.reason


def test_subprotocols_are_offered_and_the_chosen_one_is_told() -> None:
    """Both names are in the request; the server's choice is in `subprotocol`."""
    wire = Wire(Handshake(url="ws://127.0.0.1:1/", subprotocols=("chat.v1", "bearer.abc")))
    wire.receive(accept(wire, ServerProtocol(subprotocols=["chat.v1"])))  # type: ignore[list-item]
    assert wire.subprotocol == "chat.v1"


def test_our_close_lets_messages_in_until_the_peers_close() -> None:
    """After our close frame, messages still in flight are heard; the peer's close ends it with its code."""
    wire = open_wire()
    wire.close(1000, "bye")
    assert unmask(wire.take_output()) == [(8, struct.pack("!H", 1000) + b"bye")]
    assert wire.receive(server_frame(0x81, b"late")) == ["late"]
    wire.close(1000)
    assert wire.take_output() == b""
    wire.receive(server_frame(0x88, struct.pack("!H", 1000)))
    assert wire.over
    assert wire.close_code == 1000
    assert wire.take_output() == b""


@pytest.mark.parametrize("value", ["two\nlines", "日本", "nul\x00"])
def test_a_header_that_no_request_can_have(value: str) -> None:
    """One sentence with its name and without its value."""
    with pytest.raises(TargetError, match="The header X-Key has a character") as caught:
        Wire(Handshake(url="ws://127.0.0.1:1/", headers={"X-Key": value}))
    assert value not in str(caught.value)


def test_our_close_without_an_answer_is_no_clean_end() -> None:
    """The peer ends the stream instead of answering the close: 1006, not our own 1000."""
    wire = open_wire()
    wire.close(1000)
    wire.receive_eof()
    assert wire.close_code == NO_CLOSE


def test_compressed_messages_go_by_the_library_if_negotiated() -> None:
    """With permessage-deflate on, compressed and plain frames mix in one stream."""
    wire = Wire(replace(HANDSHAKE, network=Network(frame_bytes=2000)), extensions=[ClientPerMessageDeflateFactory()])
    server = ServerProtocol(extensions=[ServerPerMessageDeflateFactory()])
    stream = accept(wire, server)
    expected: list[str | bytes] = []
    for n in range(5):
        text = f"{n}: " + "ä" * 500
        server.send_text(text.encode())
        stream += b"".join(server.data_to_send()) + server_frame(0x81, b"plain")
        expected += [text, "plain"]
    assert len(stream) < 2000
    heard: list[str | bytes] = []
    for at in range(0, len(stream), 37):
        heard += wire.receive(stream[at : at + 37])
    assert heard == expected


def test_an_idle_connection_keeps_no_library_object() -> None:
    """After a ping between messages the parser of the library is let go."""
    wire = open_wire()
    wire.receive(server_frame(0x89, b"?"))
    assert unmask(wire.take_output()) == [(10, b"?")]
    assert wire._library is None
    assert wire._client is None
    wire.receive(server_frame(0x8A, b""))
    assert wire.pings == 2


@pytest.mark.parametrize("url", ["http://127.0.0.1/", "ws:///nowhere", "chat", "ws://127.0.0.1:99999/"])
def test_a_url_that_is_no_websocket_is_the_users_mistake(url: str) -> None:
    """One sentence that names the address."""
    with pytest.raises(TargetError, match="WebSocket address"):
        Wire(Handshake(url=url))


def test_a_close_code_that_is_not_allowed_is_refused() -> None:
    """1006 is never sent."""
    with pytest.raises(ProtocolError):
        open_wire().close(1006)


@pytest.mark.parametrize("size", [65535, 65536, 65537, 200_000])
@pytest.mark.parametrize("step", [1000, 65536, 1 << 20])
def test_long_messages_are_heard_whole_however_they_are_cut(size: int, step: int) -> None:
    """Around the length that is read again and the one that is gathered in pieces, and behind them a short message."""
    wire = Wire(HANDSHAKE)
    wire.receive(accept(wire, ServerProtocol()))
    stream = server_frame(0x82, bytes(range(256)) * (size // 256) + b"x" * (size % 256)) + server_frame(0x81, b"after")
    heard: list[str | bytes] = []
    for at in range(0, len(stream), step):
        heard += wire.receive(stream[at : at + step])
    assert [len(message) for message in heard] == [size, 5]
    assert heard[0] == stream[-size - 7 : -7]
    assert wire._library is None


@pytest.mark.parametrize("opcode", [0x81, 0x82], ids=["text", "binary"])
def test_a_long_message_is_not_copied_again_and_again(opcode: int) -> None:
    """At any time memory holds a message twice at most: its pieces and the whole, or the bytes and the text."""
    wire = Wire(HANDSHAKE)
    wire.receive(accept(wire, ServerProtocol()))
    size = 4 * 2**20
    stream = server_frame(opcode, b"x" * size)
    tracemalloc.start()
    try:
        for at in range(0, len(stream), 65536):
            heard = wire.receive(stream[at : at + 65536])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(heard[0]) == size
    assert peak < 2.2 * size


def test_a_long_message_that_is_no_text() -> None:
    """It fails the connection at its end, as a short one does."""
    wire = Wire(HANDSHAKE)
    wire.receive(accept(wire, ServerProtocol()))
    stream = server_frame(0x81, b"x" * 70_000 + b"\xff")
    assert [message for at in range(0, len(stream), 999) for message in wire.receive(stream[at : at + 999])] == []
    assert (wire.over, wire.close_code) == (True, 1007)


def test_the_stream_ends_in_a_long_message() -> None:
    """No close frame came: 1006, and nothing is heard of the message."""
    wire = Wire(HANDSHAKE)
    wire.receive(accept(wire, ServerProtocol()))
    assert wire.receive(server_frame(0x81, b"x" * 100_000)[:90_000]) == []
    wire.receive_eof()
    assert (wire.over, wire.close_code) == (True, NO_CLOSE)


@pytest.mark.parametrize("part", [b"", b"a"])
def test_fragments_without_an_end(bounded: Callable[..., None], part: bytes) -> None:
    """Their number is bounded, of empty ones too, which have no bytes that could be."""
    bounded(fragments=5)
    wire = open_wire()
    more = bytes((0x00, len(part))) + part
    assert wire.receive(b"\x01\x01x" + 4 * more) == []
    assert not wire.over
    assert wire.receive(3 * more) == []
    assert (wire.over, wire.close_code, wire.close_received) == (True, 1009, None)
    assert wire.close_reason == "a message of more than 5 fragments"
