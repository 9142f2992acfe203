"""The native path on real sockets, plain and by TLS, in both shells: the same records as by the Python path."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from earwitness.checks.history.record import RECORD, Kind
from earwitness.harness.client.dialogue import PlainDialogue
from earwitness.harness.client.envelope import Envelope, Put, Quoted, Values
from earwitness.harness.client.events import MESSAGE, Handshake, Heard
from earwitness.harness.client.network import ANY, Network
from earwitness.harness.client.session import ChatSession
from earwitness.harness.client.tally import Tally
from earwitness.harness.native import HOT
from earwitness.harness.record.journal import Journal

pytestmark = pytest.mark.skipif(HOT is None, reason="the native path is not compiled: make setup")

ENVELOPE = Envelope(
    message=Values(room="c", text="t"),
    send=('{"c":', (Put.LABEL, Quoted.JSON), ',"t":"', (Put.TEXT, Quoted.INNER), '"}'),
)
TEXTS = ("plain", 'with "quotes"', "naïve café", "🧵" * 30, "x" * 3000)


def hear(data: str | bytes) -> Sequence[Heard]:
    frame = json.loads(data)
    if "c" not in frame:
        return ()
    return ((MESSAGE, frame["c"], frame["t"], -1, None, None, None),)


def encode(label: str, message_id: str, text: str) -> str:
    return json.dumps({"c": label, "t": text}, ensure_ascii=False, separators=(",", ":"))


class Talk:
    """A session with a journal of its own that hears what it says; `native`: which way its frames go."""

    def __init__(self, shell: Any, directory: Path, url: str, network: Network, *, native: bool) -> None:
        self.shell, self.url, self.network, self.native = shell, url, network, native
        self.path = directory / f"native-{native}.ewj"
        self.journal = Journal.create(directory, self.path.stem, meta={}, native=native)
        self.session = ChatSession(
            client=3, tag="run1", journal=self.journal, rooms={"a": 0}, tally=Tally(), ack_by_echo=True
        )
        self.moved = {"frames_native": 0, "frames_in": 0, "frames_out": 0}

    def talk(self, count: int, *, soon: bool = False) -> None:
        """Open a connection, say `count` messages, await their echoes, close."""
        dialogue = PlainDialogue(
            Handshake(url=self.url, welcome=False, network=self.network), hear, encode, envelope=ENVELOPE
        )
        connection = self.shell.connection(self.session, dialogue, 10.0)
        connection.native = self.native
        self.shell.run(connection.open())
        for number in range(count):
            self._say(connection, TEXTS[number % len(TEXTS)], soon=soon)
            if not soon:
                assert self.shell.run(connection.wait(lambda: not self.session.pending, 10.0))
        assert self.shell.run(connection.wait(lambda: not self.session.pending, 10.0))
        self.shell.run(connection.close())
        assert connection.error is None
        self.moved = {name: n + connection.transport.snapshot()[name] for name, n in self.moved.items()}

    def _say(self, connection: Any, payload: str, *, soon: bool) -> None:
        now_ns = time.monotonic_ns()
        how = {"soon": soon} if self.shell.name == "gevent" else {}  # asyncio's always queues
        if not connection.say(now_ns, "a", payload, **how):
            frame = self.session.send(now_ns, "a", payload)
            (connection.send_soon if soon else connection.send)(frame)

    def rows(self) -> Any:
        """Its records without times and what follows from them, in the order of sending and of receiving."""
        self.journal.close({})
        rows = np.fromfile(self.path, RECORD)
        for name in ("t", "index"):
            rows[name] = 0
        rows["size"][rows["kind"] == Kind.CONNECT] = 0
        return rows


Both = Callable[..., Talk]


@pytest.fixture
def both(shell: Any, tmp_path: Path) -> Both:
    """Do the same both ways, compare the records, and return the native one."""

    def play(url: str, act: Callable[[Talk], None], network: Network = ANY) -> Talk:
        talks = [Talk(shell, tmp_path, url, network, native=native) for native in (False, True)]
        for talk in talks:
            act(talk)
        plain, native = (talk.rows() for talk in talks)
        key = ["kind", "counter", "conn"]
        assert np.array_equal(np.sort(plain, order=key), np.sort(native, order=key))
        assert talks[0].moved["frames_native"] == 0
        return talks[1]

    return play


def test_one_by_one_and_again_on_the_next_connection(both: Both, server: Any) -> None:
    def act(talk: Talk) -> None:
        talk.talk(30)
        talk.talk(30)

    moved = both(f"{server.url}/echo", act).moved
    assert moved["frames_in"] == moved["frames_out"] == 60
    assert moved["frames_native"] >= 50


def test_by_tls(both: Both, server: Any, certificates: Any) -> None:
    talk = both(f"{server.secure_url}/echo", lambda talk: talk.talk(30), Network(ca_file=certificates.authority))
    assert talk.moved["frames_native"] >= 25


def test_many_at_once(both: Both, server: Any) -> None:
    """All messages of a turn are one write, and their echoes come many in a read."""
    assert both(f"{server.url}/echo", lambda talk: talk.talk(2000, soon=True)).moved["frames_native"] >= 1900


def test_fragments_and_pings_go_the_way_of_python(both: Both, server: Any) -> None:
    moved = both(f"{server.url}/fragments", lambda talk: talk.talk(10)).moved
    assert moved["frames_native"] <= moved["frames_out"]


def test_what_the_kernel_does_not_take_is_sent_later(shell: Any, tmp_path: Path, server: Any) -> None:
    """A server that reads slowly: part of a frame is written natively, the rest by the loop, and nothing is lost."""
    if shell.name != "gevent":
        pytest.skip("only gevent's shell writes natively")
    talk = Talk(shell, tmp_path, f"{server.url}/slow/1503", ANY, native=True)
    dialogue = PlainDialogue(Handshake(url=talk.url, welcome=False), hear, encode, envelope=ENVELOPE)
    connection = shell.connection(talk.session, dialogue, 20.0)
    connection.open()
    for _ in range(3):
        talk._say(connection, "warm", soon=False)
    waited = False
    for _ in range(1500):
        talk._say(connection, "x" * 15000, soon=False)
        waited = waited or connection.backlog > 0
    assert waited, "the kernel took everything: the test shows nothing"
    assert connection.wait(lambda: talk.session.frames_recorded > 0, 30.0), "the server says when all have come"
    connection.abort()
    talk.journal.close({})


@pytest.mark.parametrize("path", ["echo", "fragments"])
def test_compressed_messages_go_the_way_of_python(both: Both, server: Any, path: str) -> None:
    """Permessage-deflate with the library's server: the same records, and fewer bytes."""
    network = Network(compress=True)
    moved = both(f"{server.url}/{path}", lambda talk: talk.talk(30), network).moved
    assert moved["frames_in"] == moved["frames_out"] == 30
    assert moved["frames_native"] == 0


def test_compressed_by_tls(both: Both, server: Any, certificates: Any) -> None:
    network = Network(ca_file=certificates.authority, compress=True)
    assert both(f"{server.secure_url}/echo", lambda talk: talk.talk(30), network).moved["frames_native"] == 0
