"""I24 among several listeners: who is told that an answer is complete has all of it; I12: nobody else has any of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from earwitness.checks import Flag, Kind, Outcome
from earwitness.checks.history.record import AGENT

ANN, BOB, BOB2, EVE = range(4)
RUN = 1 << 31
STARTED, CHUNK, COMPLETED = 1, 5, 6
CONTINUED = int(Flag.CONTINUED)


def tell(
    history: Any, client: int, chunks: list[int], *, start: bool = True, end: bool = True, shift: int = 0,
    answer: int = 0, flags: int = 0, **slots: int,
) -> Any:  # fmt: skip
    """One listener's account of a run: its chunks, each with a digest of its number; `answer`: the whole one's."""
    place = {"conv": 0, "conn": client + 1, "author": RUN, "aux": 77, **slots}
    if start:
        history.add(Kind.RUN, client, attempt=STARTED, **place)
    for chunk in chunks:
        history.add(Kind.RUN, client, attempt=CHUNK, counter=chunk, digest=1000 + chunk + shift, **place)
    return history.add(Kind.RUN, client, attempt=COMPLETED, digest=answer, flags=flags, **place) if end else history


def listeners(history: Any) -> Any:
    """All of them join when messages have been sent already: a run may have begun before."""
    history.send(ANN, 1)
    for client in (ANN, BOB, BOB2):
        history.join(client)
    return history


def test_all_agree(new_history: Callable[..., Any]) -> None:
    """Everybody has every piece, also who began to listen in the middle."""
    history = tell(tell(listeners(new_history()), ANN, [0, 1, 2]), BOB, [0, 1, 2])
    verdict = tell(history, BOB2, [1, 2], start=False).drained().judge()["I24"]
    assert (verdict.outcome, verdict.examined) == (Outcome.PASS, 3)


def test_cut_off_for_one(new_history: Callable[..., Any]) -> None:
    """Bob is told that it is complete, and lacks its end."""
    history = tell(tell(listeners(new_history()), ANN, [0, 1, 2]), BOB, [0])
    verdict = history.drained().judge()["I24"]
    assert (verdict.violations, [f.what for f in verdict.findings]) == (1, ["cut-off"])
    assert history.tell(verdict).sentence == (
        "bob on tab 1 received an agent's answer in room-1 as complete, without its last pieces, which others received"
    )


def test_cut_off_before_the_first_piece(new_history: Callable[..., Any]) -> None:
    """Bob is told the beginning and the end, and nothing of what lies between."""
    history = tell(tell(listeners(new_history()), ANN, [0, 1, 2]), BOB, [])
    assert [f.what for f in history.drained().judge()["I24"].findings] == ["cut-off"]


def test_another_content(new_history: Callable[..., Any]) -> None:
    """A piece of another answer, for one of three."""
    history = tell(tell(listeners(new_history()), ANN, [0, 1]), BOB, [0, 1])
    verdict = tell(history, BOB2, [0, 1], shift=9).drained().judge()["I24"]
    assert [f.what for f in verdict.findings] == ["differs"]


def test_pieces_without_a_digest(new_history: Callable[..., Any]) -> None:
    """Their content is not known, so it is not compared."""
    history = tell(tell(listeners(new_history()), ANN, [0]), BOB, [0], shift=-1000)
    assert history.drained().judge()["I24"].violations == 0


def test_all_pieces_and_no_beginning(new_history: Callable[..., Any]) -> None:
    """Contents are compared among those who were told the beginning."""
    history = tell(tell(listeners(new_history()), ANN, [0, 1]), BOB, [0, 1], start=False, shift=9)
    assert history.drained().judge()["I24"].violations == 0


@pytest.mark.parametrize(
    ("ann", "bob", "violations"),
    [(77, 77, 1), (0, 0, 1), (77, 78, 0), (RUN, -1, 0), (-1, -1, 0)],
    ids=["one name", "a name may be 0", "two names", "the number of the other's name", "no names"],
)
def test_which_runs_are_the_same(new_history: Callable[..., Any], ann: int, bob: int, violations: int) -> None:
    """In several journals a run is known by its name; a number is one journal's own."""
    history = tell(listeners(new_history()), ANN, [0, 1, 2], aux=ann, journal=1)
    assert tell(history, BOB, [0], aux=bob).drained().judge()["I24"].violations == violations


@pytest.mark.parametrize(
    ("flags", "first", "promised", "violations"),
    [
        (CONTINUED, 5, True, 1),
        (CONTINUED, 2, True, 0),
        (CONTINUED, 1, True, 0),
        (0, 5, True, 0),
        (CONTINUED, 5, False, 0),
    ],
    ids=["hole", "goes on", "repeats", "not continued", "not promised"],
)
def test_across_a_reconnection(
    new_history: Callable[..., Any], flags: int, first: int, promised: bool, violations: int
) -> None:
    """Where the platform says that nothing was missed, the next piece comes next, if answers are resumed at all: what
    `resume` promises goes by sequence numbers, and pieces of an answer have none."""
    history = tell(
        new_history(resume=True, resume_answers=promised).send(ANN, 1).join(BOB), BOB, [0, 1], end=False
    ).cut(BOB)
    history.join(BOB, conn=9, flags=flags)
    tell(history, BOB, list(range(first, 7)), start=False, conn=9)
    verdict = history.drained().judge()["I24"]
    assert [f.what for f in verdict.findings] == ["hole"] * violations


def test_nothing_came_before_the_reconnection(new_history: Callable[..., Any]) -> None:
    """Only the beginning did: the first piece comes next, and the second one after it."""
    history = tell(new_history(resume=True, resume_answers=True).send(ANN, 1).join(BOB), BOB, [], end=False).cut(BOB)
    history.join(BOB, conn=9, flags=CONTINUED)
    assert tell(history, BOB, [0, 1, 2], start=False, conn=9).drained().judge()["I24"].violations == 0


def test_what_is_not_compared(new_history: Callable[..., Any]) -> None:
    """Who was not told the end, left, or whose journal is torn."""
    base = lambda: tell(listeners(new_history()), ANN, [0, 1, 2])  # noqa: E731
    assert tell(base(), BOB, [0], end=False).cut(BOB).drained().judge()["I24"].violations == 0
    assert tell(base(), BOB, [0]).leave(BOB).drained().judge()["I24"].violations == 0
    torn = tell(base(), BOB, [0], journal=1)
    torn.torn = {1}
    assert torn.drained().judge()["I24"].violations == 0


@pytest.mark.parametrize(
    ("kind", "what"),
    [(Kind.RUN, "stranger-run"), (Kind.PRESENCE, "stranger-presence"), (Kind.SEEN, "stranger-state")],
)
def test_pushed_to_a_stranger(new_history: Callable[..., Any], kind: Kind, what: str) -> None:
    """Eve is no member of the first room; what is pushed to her about it is a leak, what she asked for is not."""
    pushed = {"author": ANN, "attempt": CHUNK, "proc": 4}
    verdict = new_history().add(kind, EVE, conv=0, conn=4, **pushed).judge()["I12"]
    assert [f.what for f in verdict.findings] == [what]
    assert new_history().add(kind, EVE, conv=1, conn=4, **pushed).judge()["I12"].violations == 0
    assert new_history().add(kind, EVE, conv=0, conn=0, **pushed).judge()["I12"].violations == 0


def test_another_answer_at_the_end(new_history: Callable[..., Any]) -> None:
    """What comes with the end is not what the pieces made together."""
    history = tell(listeners(new_history()), BOB, [0, 1], answer=5, flags=int(Flag.CORRUPT)).drained()
    verdict = history.judge()["I24"]
    assert (verdict.violations, [f.what for f in verdict.findings]) == (1, ["restated"])
    assert history.tell(verdict).sentence == (
        "bob on tab 1 received at the end of an agent's answer in room-1 another text than its pieces make together"
    )


def keep(history: Any, *answers: int, conv: int = 0, read: bool = True) -> Any:
    """Answers of an agent in the final state."""
    for digest in answers:
        history.add(Kind.STORED, conv=conv, author=AGENT, digest=digest, flags=int(Flag.FOREIGN_RUN))
    return history.read(conv) if read else history


@pytest.mark.parametrize(
    ("kept", "violations"),
    [
        (lambda h: keep(h, 4, 5), 0),
        (lambda h: keep(h, 4), 1),
        (lambda h: keep(h, 4, read=False), 0),
        (lambda h: keep(h), 0),
        (lambda h: keep(keep(h, 4, conv=1)), 0),
        (lambda h: setattr(h, "torn", {0}) or keep(h, 4), 0),
        (lambda h: keep(h, 0), 0),
        (lambda h: keep(keep(h, 4, conv=2)), 0),
    ],
    ids=[
        "it is there", "another one", "not read to the end", "none at all", "elsewhere", "torn", "without a digest",
        "outside the roster",
    ],
)  # fmt: skip
def test_the_stored_answer(new_history: Callable[..., Any], kept: Callable[[Any], Any], violations: int) -> None:
    """Where the final state has answers of agents, it has this one as it was heard."""
    history = kept(tell(listeners(new_history()), BOB, [0, 1], answer=5).drained())
    verdict = history.judge()["I24"]
    assert (verdict.outcome, verdict.violations) == (Outcome.FAIL if violations else Outcome.PASS, violations)
    if violations:
        assert history.tell(verdict).sentence == (
            "bob on tab 1 received an agent's answer in room-1 that the final state does not have in that form"
        )


def test_an_answer_that_was_not_recorded(new_history: Callable[..., Any]) -> None:
    """Without a digest of the whole answer it is not compared with the final state."""
    history = keep(tell(listeners(new_history()), BOB, [0, 1]).drained(), 4)
    assert history.judge()["I24"].violations == 0
