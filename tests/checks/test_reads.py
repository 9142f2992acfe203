"""I16 read your writes, I17 monotonic reads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from checks import Kind, Outcome

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
