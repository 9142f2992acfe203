"""Wires besides WebSocket, byte by byte and over real sockets of both shells."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from earwitness.checks.history.record import Kind
from earwitness.harness.client.dialogue import BaseDialogue
from earwitness.harness.client.events import JOINED, MESSAGE, OTHER, WELCOME, Handshake, Heard
from earwitness.harness.client.network import Network
from earwitness.harness.client.wire import NO_CLOSE, Refused
from earwitness.harness.client.wires import ByteStream, EventStream, LongPoll, NoSocket, make_wire, parse_event
from earwitness.harness.errors import TargetError

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


@pytest.mark.parametrize("step", [1, 7, 10_000])
def test_an_event_stream_however_it_is_cut(step: int) -> None:
    """Events end at a blank line, whatever ends the lines and wherever the network cuts."""
    wire = make_wire(EventStream(url="http://127.0.0.1:1/live?a=1", headers={"Authorization": "Bearer T"}))
    request = wire.take_output()
    assert request.startswith(b"GET /live?a=1 HTTP/1.1\r\n")
    assert b"authorization: Bearer T" in request
    text = b'event: said\r\nid: 7\r\ndata: one\r\ndata: two\r\n\r\n: ping\n\ndata: {"a": 1}\n\n'
    data = HEAD + chunk(text) + b"0\r\n\r\n"
    frames: list[str | bytes] = []
    for at in range(0, len(data), step):
        frames += wire.receive(data[at : at + step])
    assert wire.opened
    assert [(e.event, e.data, e.id) for e in map(parse_event, frames)] == [
        ("said", "one\ntwo", "7"), ("message", "", ""), ("message", '{"a": 1}', ""),
    ]  # fmt: skip
    assert (wire.over, wire.close_code) == (True, 1000)


def test_what_refuses_a_stream() -> None:
    """A status is the reason; a body that is too long ends it from our side; nothing can be sent on it."""
    wire = make_wire(EventStream(url="http://127.0.0.1:1/"))
    wire.receive(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 4\r\n\r\nno!!")
    assert wire.refusal is not None
    assert (wire.refusal.status, wire.refusal.reason, wire.opened) == (403, "no!!", False)
    small = make_wire(EventStream(url="http://127.0.0.1:1/", network=Network(frame_bytes=100)))
    assert small.receive(HEAD + chunk(b"data: " + b"x" * 200)) == []
    assert (small.over, small.close_code) == (True, 1009)
    with pytest.raises(TargetError, match="read only"):
        small.frame("x")
    with pytest.raises(TargetError, match="is no address of the kind http://"):
        make_wire(EventStream(url="ws://127.0.0.1:1/"))
    broken = make_wire(LongPoll(url="http://127.0.0.1:1/"))
    broken.receive(b"SMTP ready\r\n\r\n")
    assert broken.over
    assert "no HTTP" in broken.close_reason


def test_long_polls() -> None:
    """One request after the other on the same connection; each body is a frame; an error ends it."""
    wire = make_wire(LongPoll(url="http://127.0.0.1:1/sync", headers={"Authorization": "T"}))
    assert wire.take_output().startswith(b"GET /sync HTTP/1.1")
    assert wire.receive(b'HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\n{"next": "a"') == ['{"next": "a"']
    assert wire.frame("/sync?since=a").startswith(b"GET /sync?since=a HTTP/1.1")
    assert wire.receive(b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 3\r\n\r\nbad") == []
    assert (wire.over, wire.close_reason, wire.refusal) == (True, "HTTP 502: bad", None)


class Lines(BaseDialogue):
    """A protocol of lines over TCP: HELLO is answered by NAME, OK greets; frames may be cut anywhere."""

    def __init__(self, handshake: Handshake) -> None:
        super().__init__(handshake, ["HI\n"])
        self._rest = b""
        self.beat_s = 0.05

    def received(self, data: str | bytes) -> Sequence[Heard]:
        assert isinstance(data, bytes)
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [event for line in lines for event in self._line(line.decode())]

    def _line(self, line: str) -> Sequence[Heard]:
        if line == "HELLO":
            self.out.append("NAME ann\n")
            return ()
        if line == "OK":
            return [(WELCOME, None, None, -1, None, None, {}), (JOINED, "a", None, -1, None, None, None)]
        if line.startswith("NO "):
            raise Refused(line.removeprefix("NO "), code=NO_CLOSE)
        return [(MESSAGE, "a", line, -1, None, None, None)]

    def send(self, label: str, message_id: str, text: str) -> str:
        return f"{text}\n"

    def tick(self) -> Sequence[Heard]:
        self.out.append("BEAT\n")
        return [(OTHER, None, None, -1, None, None, "a heartbeat")]

    def closing(self) -> None:
        self.out.append("BYE\n")


@pytest.fixture
def serve() -> Iterator[Callable[[Callable[[socket.socket], None]], int]]:
    """Run a function with the first connection of a TCP server; returns the port."""
    threads: list[threading.Thread] = []
    sockets: list[socket.socket] = []

    def start(speak: Callable[[socket.socket], None]) -> int:
        listener = socket.create_server(("127.0.0.1", 0))
        sockets.append(listener)

        def run() -> None:
            peer, _ = listener.accept()
            with peer:
                peer.settimeout(10)
                speak(peer)

        threads.append(threading.Thread(target=run))
        threads[-1].start()
        return int(listener.getsockname()[1])

    yield start
    for thread in threads:
        thread.join(10)
    for one in sockets:
        one.close()


def until(peer: socket.socket, wanted: bytes, got: bytearray) -> None:
    while wanted not in got:
        data = peer.recv(1000)
        assert data, f"{bytes(got)} and no {wanted!r}"
        got += data


def test_a_dialogue_over_tcp(make_stage: Any, shell: Any, serve: Any) -> None:
    """First frames, an answer while opening, the greeting awaited, heartbeats, and a goodbye: in both shells."""
    got = bytearray()

    def speak(peer: socket.socket) -> None:
        until(peer, b"HI\n", got)
        peer.sendall(b"HEL")
        peer.sendall(b"LO\n")
        until(peer, b"NAME ann\n", got)
        peer.sendall(b"OK\nfirst\nsec")
        until(peer, b"BEAT\nBEAT\n", got)
        peer.sendall(b"ond\n")
        until(peer, b"BYE\n", got)

    stage = make_stage()
    texts: list[str] = []
    stage.session.on_message = lambda event: texts.append(event[2])
    connection = shell.connection(stage.session, Lines(ByteStream(url=f"tcp://127.0.0.1:{serve(speak)}")), 10.0)
    shell.run(connection.open())
    assert connection.usable
    assert shell.run(connection.wait(lambda: len(texts) == 2, 10.0))
    assert texts == ["first", "second"]
    shell.run(connection.close())
    rows = stage.journal.rows()
    assert [Kind(int(kind)) for kind in rows["kind"]][:2] == [Kind.CONNECT, Kind.JOIN]
    assert Kind(int(rows["kind"][-1])) is Kind.DISCONNECT
    assert connection.transport.frames_in == stage.session.frames_recorded


@pytest.mark.parametrize("greeted", [False, True])
def test_a_platform_that_ends_a_connection_in_a_frame(make_stage: Any, shell: Any, serve: Any, greeted: bool) -> None:
    """The socket is dropped at once with the platform's reason, as its own doing; before the greeting it is refused."""
    got = bytearray()

    def speak(peer: socket.socket) -> None:
        until(peer, b"HI\n", got)
        peer.sendall(b"OK\n" if greeted else b"NO guests today\n")
        if greeted:
            until(peer, b"BEAT\n", got)
            peer.sendall(b"NO more\n")
        while peer.recv(1000):
            pass

    stage = make_stage()
    connection = shell.connection(stage.session, Lines(ByteStream(url=f"tcp://127.0.0.1:{serve(speak)}")), 10.0)
    if greeted:
        shell.run(connection.open())
        assert shell.run(connection.wait(lambda: connection.over, 10.0))
    else:
        with pytest.raises(Refused, match="guests today"):
            shell.run(connection.open())
    end = stage.journal.rows()[-1]
    assert (end["kind"], end["counter"], end["flags"]) == (Kind.DISCONNECT, NO_CLOSE, 0)
    assert end["author"] == stage.journal.names["more" if greeted else "guests today"]
    assert connection.error is None
    assert connection.transport.frames_in == stage.session.frames_recorded


def test_no_socket(make_stage: Any, shell: Any) -> None:
    """It is open at once, and over as soon as it is closed."""
    stage = make_stage()
    connection = shell.connection(stage.session, Lines(NoSocket()), 10.0)
    shell.run(connection.open())
    assert connection.usable
    shell.run(connection.close())
    assert [Kind(int(kind)) for kind in stage.journal.rows()["kind"]] == [Kind.CONNECT, Kind.DISCONNECT]
