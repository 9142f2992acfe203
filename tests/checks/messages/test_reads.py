"""I16 read your writes, I17 monotonic reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest

from earwitness.checks import Kind, Outcome
from earwitness.checks.history.record import page_digest
from earwitness.checks.messages.pages import WIDEST

ANN, BOB, BOB2, EVE = range(4)
MS = 1_000_000


def read(history: Any, client: int, seq: int, **slots: int) -> Any:
    return history.add(Kind.READ, client, **{"conv": 0, "seq": seq, **slots})


@pytest.mark.parametrize(("seq", "violations"), [(5, 0), (9, 0), (4, 1), (-1, 1)])
@pytest.mark.parametrize("conn", [1, 7])
def test_own_writes(new_history: Callable[..., Any], seq: int, violations: int, conn: int) -> None:
    """A read shows what was acknowledged to the same device, also on an earlier connection."""
    history = new_history().send(ANN, 1).ack(ANN, 1, 5).send(ANN, 2).ack(ANN, 2, 3)
    verdict = read(history, ANN, seq, conn=conn).judge()["I16"]
    assert (verdict.examined, verdict.violations) == (1, violations)
    assert verdict.outcome is (Outcome.FAIL if violations else Outcome.PASS)
    if seq == 4:
        telling = history.tell(verdict)
        assert telling.sentence == (
            "ann read room-1 up to number 4 after number 5, an own message, had been acknowledged"
        )
        assert len(telling.lines) == 2


def test_not_owed(new_history: Callable[..., Any]) -> None:
    """Other devices' writes, other conversations, acknowledgements without number or while the read was on its way."""
    history = new_history().send(BOB, 1).ack(BOB, 1, 5).send(ANN, 1, conv=1).ack(ANN, 1, 9, conv=1)
    history.send(ANN, 2).ack(ANN, 2)
    read(read(history, BOB2, 1), ANN, 1)
    history.send(ANN, 3).ack(ANN, 3, 7, t=100 * MS)
    read(history, ANN, 1, t=110 * MS, aux=20_000)
    verdict = history.judge()["I16"]
    assert (verdict.outcome, verdict.examined) == (Outcome.UNKNOWN, 0)
    assert read(history, ANN, 1, t=110 * MS, aux=10_000).judge()["I16"].violations == 1


@pytest.mark.parametrize(("slots", "violations"), [({}, 1), ({"flags": 1}, 0), ({"flags": 2}, 0), ({"t": 100 * MS}, 0)])
def test_pushes_count_as_reads(new_history: Callable[..., Any], slots: dict[str, int], violations: int) -> None:
    """What was heard live before asking is shown; corrupt or misrouted, or heard on the way, is not owed."""
    history = new_history().send(ANN, 1).hear(BOB, ANN, 1, 6, **slots)
    verdict = read(history, BOB, 5, t=101 * MS, aux=2_000).judge()["I17"]
    assert (verdict.examined, verdict.violations) == (violations, violations)
    if violations:
        assert history.tell(verdict).sentence == "bob on tab 1 read room-1 up to number 5 after having seen number 6"


def test_reads_do_not_go_back(new_history: Callable[..., Any]) -> None:
    """Each read is compared with all before it; replayed history and other devices do not count."""
    history = new_history().replay(BOB, ANN, 1, 9)
    for client, seq in ((BOB, 4), (BOB2, 8), (BOB, 4), (BOB, 3), (BOB, 7), (BOB, 6)):
        read(history, client, seq)
    verdict = history.judge()["I17"]
    assert (verdict.examined, verdict.violations) == (4, 2)


def test_much_heard_while_a_read_is_on_its_way(new_history: Callable[..., Any]) -> None:
    """A first long read in heavy traffic may not be judged, the next one is."""
    history = new_history()
    for n in range(1, 400):
        history.send(ANN, n, t=n * MS).hear(BOB, ANN, n, n, t=n * MS)
        if n in (100, 300):
            read(history, BOB, 1, t=n * MS, aux=50_000)
    verdict = history.judge()["I17"]
    assert (verdict.examined, verdict.violations) == (1, 1)
    assert 200 < verdict.findings[0].facts["other_seq"] <= 250


@pytest.mark.parametrize("promises", [{"sequence": "none"}, {"history": False}])
def test_not_promised(new_history: Callable[..., Any], promises: dict[str, Any]) -> None:
    """Without numbers or history nothing is promised."""
    verdicts = new_history(**promises).judge()
    assert not verdicts["I16"].promised
    assert not verdicts["I17"].promised


def test_zero_is_a_number(new_history: Callable[..., Any]) -> None:
    """Acknowledged as number 0; the read shows nothing at all."""
    history = new_history(sequence="increasing").send(ANN, 1).ack(ANN, 1, 0)
    assert read(history, ANN, -1).judge()["I16"].violations == 1


def heard_at(history: Any, *told: tuple[int, int]) -> Any:
    """Bob hears numbers, each at its millisecond."""
    for n, (seq, at) in enumerate(told, start=1):
        history.send(ANN, n, t=MS).hear(BOB, ANN, n, seq, t=at * MS)
    return history


@pytest.mark.parametrize(
    "later",
    [[(n, n) for n in range(10, 25)], [(n, 10) for n in range(10, 30)], [(1, n) for n in range(10, 30)]],
    ids=["fifteen", "at one moment", "the same again"],
)
def test_how_much_is_remembered(new_history: Callable[..., Any], later: list[tuple[int, int]]) -> None:
    """Number 1 was heard at 1 ms, and then what may be on its way with a read asked for at 5 ms."""
    history = heard_at(new_history(), (1, 1), *later)
    verdict = read(history, BOB, 0, t=100 * MS, aux=95_000).judge()["I17"]
    assert (verdict.examined, verdict.violations) == (1, 1)


def test_steps_are_told_apart_while_there_is_room(new_history: Callable[..., Any]) -> None:
    """After sixteen steps and a read of 120 ms the next number is still a step of its own."""
    history = new_history(history=True)
    for n in range(1, 17):
        history.send(ANN, n, t=MS).ack(ANN, n, n, t=n * MS)
    read(history, ANN, 16, t=17 * MS, aux=120_000).send(ANN, 17).ack(ANN, 17, 17, t=20 * MS)
    assert read(history, ANN, 15, t=25 * MS, aux=7_000).judge()["I16"].violations == 1


@pytest.mark.parametrize(("rows", "violations"), [(WIDEST, 1), (WIDEST + 1, 0)])
def test_the_widest_page(new_history: Callable[..., Any], rows: int, violations: int) -> None:
    """The order of a million rows is still compared, that of more is not; nobody shows so many at once."""
    verdict = read(new_history(), BOB, rows, author=0, counter=rows, digest=5).judge()["I17"]
    assert (verdict.examined, verdict.violations) == (1, violations)


def page(history: Any, shown: list[int], after: int | None = 0, **slots: int) -> Any:
    """Bob's read as our own reader records it: `shown` in the order in which they came."""
    known = {} if after is None else {"author": after}
    numbers = np.array(shown, np.int64)
    return read(
        history, BOB, max(shown, default=after or -1), counter=len(shown), digest=page_digest(numbers), **known, **slots
    )


@pytest.mark.parametrize(
    ("shown", "after", "violations"),
    [
        ([1, 2, 3, 4], 0, 0),
        ([0, 1, 2, 3], 0, 0),
        ([4, 5, 6], 3, 0),
        ([], 3, 0),
        ([1, 2, 4], 0, 1),
        ([2, 3, 4], 0, 1),
        ([5, 6], 3, 1),
        ([1, 2, 2, 3], 0, 1),
        ([1, 3, 2, 4], 0, 1),
        ([1, 2, 2, 4], 0, 1),
        ([1, 2, 4], None, 0),
    ],
    ids=[
        "whole",
        "from zero",
        "goes on",
        "nothing new",
        "hole",
        "begins late",
        "behind",
        "twice",
        "order",
        "twice for one",
        "old record",
    ],
)
def test_a_page_is_whole(new_history: Callable[..., Any], shown: list[int], after: int | None, violations: int) -> None:
    """Each number behind which it started, once and in its order; where it started must be on record."""
    assert page(new_history(), shown, after).judge()["I17"].violations == violations
    assert page(new_history(sequence="increasing"), shown, after).judge()["I17"].violations == 0


@pytest.mark.parametrize(
    ("shown", "flags", "words"),
    [
        ([1, 3], 0, "bob on tab 1 read room-1 from number 1 on, and numbers were missing between the 2 messages shown"),
        ([1, 2, 2, 2], 0, "and the 4 messages shown are more than there are numbers"),
        ([2, 1], 0, "and the 2 messages shown do not follow each other"),
        ([1, 2], 1, "and the 2 messages shown do not fit the digest that the platform gave of them"),
    ],
)
def test_what_is_said_of_a_page(new_history: Callable[..., Any], shown: list[int], flags: int, words: str) -> None:
    """One sentence for each way in which a page is wrong."""
    history = page(new_history(), shown, flags=flags)
    assert words in history.tell(history.judge()["I17"]).sentence


def test_a_stranger_s_page(new_history: Callable[..., Any]) -> None:
    """What somebody may see who does not belong there is nobody's promise."""
    assert read(new_history(), EVE, 3, counter=1, author=0).judge()["I17"].examined == 0


def recent(new_history: Callable[..., Any], seq: int, took_us: int = 0, **slots: int) -> Any:
    """Ann's message gets number 2 at 20 ms; Bob's read is answered at 30 ms, in another journal."""
    history = new_history(recent_reads=True).send(ANN, 1, t=10 * MS).ack(ANN, 1, 2, t=20 * MS)
    return read(history, BOB, seq, t=30 * MS, aux=took_us, journal=1, **slots)


@pytest.mark.parametrize(
    ("seq", "took_us", "examined", "violations"), [(2, 0, 1, 0), (1, 0, 1, 1), (1, 10_000, 1, 1), (1, 10_001, 0, 0)]
)
def test_recent_reads(new_history: Callable[..., Any], seq: int, took_us: int, examined: int, violations: int) -> None:
    """What another member was acknowledged before the read was asked for is in it; what came meanwhile need not be."""
    history = recent(new_history, seq, took_us)
    verdict = history.judge()["I44"]
    assert (verdict.examined, verdict.violations) == (examined, violations)
    if violations:
        assert history.tell(verdict).sentence == (
            "bob on tab 1 read room-1 up to number 1; number 2, #1 of ann, had been acknowledged before"
        )


def test_recency_across_hosts(new_history: Callable[..., Any]) -> None:
    """With two hosts the clocks' bound is taken off; without one nothing can be said."""
    history = recent(new_history, 1)
    infos = history.infos

    def on_hosts(**meta: Any) -> Any:
        return [replace(info, meta={"host": info.name, **meta}) for info in infos()]

    for meta, outcome in (({}, "UNKNOWN"), ({"clock_offset_ms": 4.0}, "FAIL"), ({"clock_offset_ms": 6.0}, "UNKNOWN")):
        history.infos = partial(on_hosts, **meta)
        assert history.judge()["I44"].outcome.name == outcome


def test_recency_is_a_promise_of_its_own(new_history: Callable[..., Any]) -> None:
    """Nobody is blamed who did not promise it."""
    history = new_history().send(ANN, 1).ack(ANN, 1, 2)
    verdict = read(history, BOB, 1).judge()["I44"]
    assert (verdict.violations, verdict.promised) == (1, False)


def acked_twice(new_history: Callable[..., Any], first: tuple[int, int], second: tuple[int, int], read_seq: int) -> Any:
    """Two acknowledgements (ms, number) of Ann's message; Bob's read was asked for at 22 ms."""
    history = new_history(recent_reads=True).send(ANN, 1, t=10 * MS)
    for ms, seq in (first, second):
        history.ack(ANN, 1, seq, t=ms * MS)
    return read(history, BOB, read_seq, t=30 * MS, aux=8_000, journal=1).judge()["I44"]


@pytest.mark.parametrize(
    ("first", "second", "examined", "violations"),
    [((20, 2), (25, 1), 1, 1), ((25, 1), (20, 2), 1, 1), ((20, 1), (20, 2), 1, 0), ((20, 2), (20, 1), 1, 0)],
)
def test_the_first_acknowledgement_counts(
    new_history: Callable[..., Any], first: Any, second: Any, examined: int, violations: int
) -> None:
    """In whatever order they were written down; of two at the same moment the lower number."""
    verdict = acked_twice(new_history, first, second, 1)
    assert (verdict.examined, verdict.violations) == (examined, violations)


def test_the_moment_of_asking(new_history: Callable[..., Any]) -> None:
    """What was acknowledged a nanosecond later need not be there; number 0 is a number."""
    for later_ns, examined in ((0, 1), (1, 0)):
        history = new_history(recent_reads=True).send(ANN, 1, t=10 * MS).ack(ANN, 1, 0, t=20 * MS + later_ns)
        verdict = read(history, BOB, -1, t=30 * MS, aux=10_000, journal=1).judge()["I44"]
        assert (verdict.examined, verdict.violations) == (examined, examined)
