"""Many messages in one native call: the same records and frames as one by one, however the socket takes them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from earwitness.checks.history.record import RECORD, Kind
from earwitness.harness.client.dialogue import PlainDialogue
from earwitness.harness.client.events import Handshake
from earwitness.harness.client.gevent_shell import Connection
from earwitness.harness.client.session import ChatSession
from earwitness.harness.client.tally import Tally
from earwitness.harness.native import HOT, SOCKETS
from earwitness.harness.record.journal import BLOCK_RECORDS, Journal
from tests.client.test_native_shells import ENVELOPE, TEXTS, encode, hear

pytestmark = pytest.mark.skipif(HOT is None or not SOCKETS, reason="the native path is not compiled: make setup")


class Pouring:
    """An open connection of its own journal, whose messages come back to it."""

    def __init__(self, directory: Path, url: str, *, native: bool = True) -> None:
        self.path = directory / f"native-{native}.ewj"
        self.journal = Journal.create(directory, self.path.stem, meta={}, native=native)
        self.session = ChatSession(
            client=3, tag="run1", journal=self.journal, rooms={"a": 0}, tally=Tally(), ack_by_echo=True
        )
        dialogue = PlainDialogue(Handshake(url=url, welcome=False), hear, encode, envelope=ENVELOPE)
        self.connection = Connection(self.session, dialogue, timeout_s=20.0)
        self.connection.native = native
        self.before = self.connection.transport.snapshot()
        self.connection.open()

    def one(self, text: str, planned_ns: int) -> None:
        now_ns = time.monotonic_ns()
        if not self.connection.say(now_ns, "a", text, planned_ns):
            self.connection.send(self.session.send(now_ns, "a", text, planned_ns))

    def pour(self, texts: list[str], *, joined: bool) -> int:
        """Send the texts, and return how many of them went natively; message n is planned for n ns."""
        done = natively = 0
        starts = list(range(1, len(texts) + 1))
        while done < len(texts):
            sent = self.connection.say_many("a", texts[done:], starts[done:], joined=joined)
            natively, done = natively + sent, done + sent
            if done < len(texts):
                self.one(texts[done], starts[done])
                done += 1
        return natively

    def planned(self) -> list[int]:
        return [sent[7] for sent in self.session.under_way.values()]

    def rows(self) -> Any:
        """Close, and return the records without times, those of sending before those of receiving."""
        assert self.connection.wait(lambda: not self.session.pending, 20.0)
        self.connection.close()
        assert self.connection.error is None
        self.journal.close({})
        rows = np.fromfile(self.path, RECORD)
        for name in ("t", "index"):
            rows[name] = 0
        rows["size"][rows["kind"] == Kind.CONNECT] = 0
        return np.sort(rows, order=["kind", "counter"])


@pytest.mark.parametrize("joined", [True, False])
def test_the_records_are_those_of_the_python_path(tmp_path: Path, server: Any, joined: bool) -> None:
    """Long ones, awkward ones, and more than a block of the journal has room for."""
    texts = [TEXTS[number % len(TEXTS)] for number in range(BLOCK_RECORDS // 2)]
    left, written = [], []
    for native in (False, True):
        talk = Pouring(tmp_path, f"{server.url}/echo", native=native)
        natively = talk.pour(texts, joined=joined)
        assert talk.planned() == list(range(1, len(texts) + 1))
        left.append(talk.rows())
        moved = talk.connection.transport.since(talk.before)
        assert moved["frames_out"] == moved["frames_in"] == len(texts)
        written.append(moved["bytes_out"])
        assert (natively > len(texts) * 0.9) if native else natively == 0
    assert np.array_equal(*left)
    assert written[0] == written[1]


def test_joined_messages_have_the_time_of_their_write(tmp_path: Path, server: Any) -> None:
    """The clock is read before the write: no message is recorded as sent after its bytes were, or long before."""
    talk = Pouring(tmp_path, f"{server.url}/echo")
    talk.one("warm", 0)
    begin_ns = time.monotonic_ns()
    assert talk.connection.say_many("a", ["x"] * 50, joined=True) == 50
    times = {sent[6] for sent in list(talk.session.under_way.values())[-50:]}
    assert len(times) == 1
    assert begin_ns <= times.pop() <= time.monotonic_ns()
    assert talk.connection.say_many("a", ["x"] * 50) == 50
    assert len({sent[6] for sent in list(talk.session.under_way.values())[-50:]}) == 50
    talk.rows()


@pytest.mark.parametrize("joined", [True, False])
def test_what_the_kernel_does_not_take_is_sent_later(tmp_path: Path, server: Any, joined: bool) -> None:
    """A server that reads slowly: part of a write is taken, the rest is sent by the loop, and nothing is lost."""
    talk = Pouring(tmp_path, f"{server.url}/slow/1500")
    natively = talk.pour(["x" * 15000] * 1500, joined=joined)
    assert natively > 0
    assert talk.connection.backlog > 0, "the kernel took everything: the test shows nothing"
    assert talk.connection.wait(lambda: talk.session.frames_recorded > 0, 30.0), "the server says when all have come"
    talk.connection.abort()
    talk.journal.close({})


def test_a_room_that_is_not_planned_is_left_to_python(tmp_path: Path, server: Any) -> None:
    talk = Pouring(tmp_path, f"{server.url}/echo")
    before = talk.journal.records
    assert talk.connection.say_many("elsewhere", ["x"] * 5) == 0
    assert (talk.session.counter, talk.journal.records) == (0, before)
    with pytest.raises(ValueError, match="planned start"):
        talk.connection.say_many("a", ["x"] * 5, [1])
    talk.rows()


@pytest.mark.parametrize("joined", [True, False])
def test_an_error_comes_after_what_was_sent_before_it(tmp_path: Path, server: Any, joined: bool) -> None:
    """What is in the journal is on the wire and in the counts, whatever comes after it."""
    talk = Pouring(tmp_path, f"{server.url}/echo")
    talk.one("warm", 0)
    starts: Any = [1, 2, 3, "no number", 5]
    with pytest.raises(TypeError):
        talk.connection.say_many("a", ["x"] * 5, starts, joined=joined)
    assert talk.session.counter == 4
    assert talk.connection.wait(lambda: not talk.session.pending, 20.0)
    moved = talk.connection.transport.since(talk.before)
    assert moved["frames_out"] == moved["frames_in"] == 4
    assert [row["counter"] for row in talk.rows() if row["kind"] == Kind.INVOKE] == [1, 2, 3, 4]


def test_what_was_queued_before_goes_first(tmp_path: Path, server: Any) -> None:
    talk = Pouring(tmp_path, f"{server.url}/echo")
    talk.one("warm", 0)
    assert talk.connection.say(time.monotonic_ns(), "a", "queued", soon=True)
    assert talk.connection.say_many("a", ["x"] * 3, joined=True) == 3
    rows = talk.rows()
    acked = [row["counter"] for row in rows if row["kind"] == Kind.OK]
    delivered = np.fromfile(talk.path, RECORD)
    assert acked == [1, 2, 3, 4, 5]
    assert [int(row["counter"]) for row in delivered if row["kind"] == Kind.DELIVER] == [1, 2, 3, 4, 5]
