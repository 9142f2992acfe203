"""The native path leaves what the Python path leaves when journals, hooks and sends are not as usual."""

from __future__ import annotations

import gc
import json
import os
import struct
import weakref
from pathlib import Path
from random import Random
from typing import Any

import pytest

from earwitness.harness.client.outbox import NotConnected
from earwitness.harness.client.tally import BUCKETS, Histogram, PlainBuckets
from earwitness.harness.client.wire import Refused
from earwitness.harness.errors import Exceeded
from earwitness.harness.native import HOT
from earwitness.harness.record import journal
from earwitness.harness.record.journal import BLOCK_RECORDS, STEP_RECORDS
from tests.client.both_ways import CLIENT, TAG, Way, frame
from tests.client.native_streams import (
    heard,
    played,
    reference,
)

pytestmark = [
    pytest.mark.skipif(HOT is None, reason="the native path is not compiled: make setup"),
    pytest.mark.usefixtures("clock"),
]


def test_blocks_and_pages_turn_alike(tmp_path: Path) -> None:
    """More records than a page holds, in reads of many frames: at each block one frame is given to Python, not more."""

    def play(way: Way) -> None:
        way.link.receive(1, heard(1))  # CONNECT is recorded with it
        for first in range(1, STEP_RECORDS + 5 * BLOCK_RECORDS, 500):
            way.link.receive(first, b"".join(heard(counter) for counter in range(first, first + 500)))

    way = played(tmp_path, reference, play)
    moved = way.transport.snapshot()
    assert way.journal.records > STEP_RECORDS + 4 * BLOCK_RECORDS
    assert moved["frames_in"] - moved["frames_native"] <= 2 + way.journal.records // BLOCK_RECORDS


def test_a_full_disk_is_said_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page that cannot be reserved ends the connection after the record is safe; the next one goes on."""
    firsts = range(1, 6 * STEP_RECORDS + 5000, 1000)
    reads = {first: b"".join(heard(counter) for counter in range(first, first + 1000)) for first in firsts}

    def play(way: Way) -> None:
        steps = [1]

        def allocate(fd: int, offset: int, size: int) -> None:
            if steps[0] > 1:
                raise OSError(28, "No space left on device")
            steps[0] += 1
            os.posix_fallocate(fd, offset, size)

        with monkeypatch.context() as patched:
            patched.setattr(journal, "_allocate", allocate)
            for first, read in reads.items():
                if way.link.over:
                    way.told.append((first, type(way.link.error), way.journal.records))
                    way.connect(first)
                way.link.receive(first, read)
        assert len(way.told) > 2, "it was full, and said so"

    played(tmp_path, reference, play)


def test_refused_sends_record_nothing(tmp_path: Path) -> None:
    """An unplanned room, a text that is no Unicode, no connection: the error is Python's, and nothing is left."""

    def play(way: Way) -> None:
        for label, payload in (("unplanned", "x"), ("alpha", "\ud800"), ("alpha", "fine")):
            try:
                way.link.say(5, label, payload)
            except (KeyError, UnicodeEncodeError) as error:
                way.told.append(repr(error))
        way.link._give_up()
        with pytest.raises(NotConnected):
            way.link.say(6, "alpha", "x")

    assert played(tmp_path, reference, play).session.counter == 1


@pytest.mark.parametrize("failing", ["on_answer", "on_message"])
@pytest.mark.parametrize("error", [RuntimeError("a mistake of ours"), Exceeded("too much"), Refused("no more")])
def test_an_error_of_a_hook_ends_the_connection_alike(tmp_path: Path, failing: str, error: Exception) -> None:
    """It is counted as the frame at which it happened, in the middle of a read."""

    def play(way: Way) -> None:
        def fail(*_: object) -> None:
            if way.session.heard_count == 3 or way.session.acked == 2:
                raise error

        for _ in range(4):
            way.link.say(5, "alpha", "x")
        setattr(way.session, failing, fail)
        acks = [{"type": "ack", "id": f"{TAG}-{CLIENT}-{n}", "conversation": "alpha", "seq": n} for n in range(1, 5)]
        parts = [heard(1), heard(2), *(frame(json.dumps(ack)) for ack in acks), heard(3), heard(4)]
        way.link.receive(9, b"".join(parts))

    played(tmp_path, reference, play)


def test_a_hook_may_send(tmp_path: Path) -> None:
    """As stories do: the next message goes out while the answer to the last one is recorded."""

    def play(way: Way) -> None:
        way.session.on_answer = lambda: way.link.say(50, "alpha", f"after {way.session.acked}")
        way.link.say(5, "alpha", "first")
        for n in range(1, 20):
            ack = {"type": "ack", "id": f"{TAG}-{CLIENT}-{n}", "conversation": "alpha", "seq": n}
            way.link.receive(60 + n, frame(json.dumps(ack)) + heard(n))

    assert played(tmp_path, reference, play).session.counter == 20


def test_a_closed_or_forked_journal_is_not_written(tmp_path: Path) -> None:
    """A halted journal has no room: the frame is given to Python, which says that it is closed."""
    way = Way(tmp_path, reference, native=True)
    way.link.receive(5, heard(1) + heard(2))
    way.journal.close({})
    way.link.receive(6, heard(3))
    assert "closed" in str(way.link.error)


@pytest.mark.parametrize("seed", range(20))
def test_histograms_count_alike(seed: int) -> None:
    rng = Random(seed)
    values = [rng.randrange(-5, 1 << rng.randrange(1, 50)) for _ in range(500)] + [0, 255 << 6, 256 << 6, (1 << 61) - 1]
    plain, native = PlainBuckets(), Histogram()
    for value in values:
        plain.add(value)
        native.add(value)
    assert (taken := native.take()) == plain.take()
    assert max(taken[0]) < BUCKETS
    assert native.take()[0] == {}


def test_a_record_out_of_range_is_refused(tmp_path: Path) -> None:
    """`struct.error` as Python has it, and nothing is appended."""
    way = Way(tmp_path, reference, native=True)
    before = way.journal.records
    for position, value in ((1, 256), (5, -1), (5, 1 << 32), (10, 1 << 63), (0, 1.5), (12, "x")):
        record: list[Any] = [1] * 14
        record[position] = value
        with pytest.raises(struct.error):
            way.journal.write(*record)
    with pytest.raises(TypeError):
        way.journal.write(1, 2, 3)  # type: ignore[call-arg]
    assert way.journal.records == before


def test_a_session_that_its_own_hooks_hold_is_freed() -> None:
    """A user's session and its hooks refer to each other: the hooks are visible to the garbage collection."""
    for name in ("on_answer", "on_message"):

        class Hook:
            held: Any = None

            def __call__(self, *heard: object) -> None: ...

        hook, counts = Hook(), HOT.Counts()  # type: ignore[union-attr]
        gone = weakref.ref(hook)
        hook.held = counts
        setattr(counts, name, hook)
        del hook, counts
        gc.collect()
        assert gone() is None
