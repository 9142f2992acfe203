"""I24: the stream of an agent's run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from earwitness.checks import Flag, Kind, Outcome

ANN, BOB, BOB2, EVE = range(4)
RUN = 1 << 31
STARTED, THINKING, TOOL, TOOL_DONE, CHUNK, COMPLETED, ERROR, BROKEN_OFF = range(1, 9)
WHOLE = "s t ( ) 0 1 2 c"


def tell(history: Any, events: str, client: int = BOB, run: int = RUN, **slots: int) -> Any:
    """s(tarted) t(hinking) ( ) tool, digits: chunks, c(ompleted), e(rror), b(roken off), ?: an unknown event."""
    known = {
        "s": STARTED,
        "t": THINKING,
        "(": TOOL,
        ")": TOOL_DONE,
        "c": COMPLETED,
        "e": ERROR,
        "b": BROKEN_OFF,
        "?": 0,
    }
    for event in events.split():
        chunk = int(event) if event.isdecimal() else 0
        number = CHUNK if event.isdecimal() else known[event]
        place = {"conv": 0, "conn": client + 1, **slots}
        history.add(Kind.RUN, client, author=run, attempt=number, counter=chunk, **place)
    return history


@pytest.mark.parametrize(
    ("events", "what"),
    [
        (WHOLE, ""),
        ("s e", ""),
        ("s ( ( ) ) 0 c", ""),
        ("s ( e", ""),
        ("s ? 0 ? 1 c ?", ""),
        ("t s 0 c", "restarted"),
        ("s s 0 c", "restarted"),
        ("s 0 2 c", "chunks"),
        ("s 1 c", "chunks"),
        ("s 0 0 c", "chunks"),
        ("s ) c", "tools"),
        ("s ( c", "tools"),
        ("s 0 c c", "after-end"),
        ("s 0 c e", "after-end"),
        ("s e 0", "after-end"),
        ("s c s", "after-end"),
        ("s 0 1", "endless"),
        ("s 0 b", "endless"),
        ("s e b", "after-end"),
        ("s s c c 9", "restarted"),
    ],
)
def test_grammar(new_history: Callable[..., Any], events: str, what: str) -> None:
    """Each run counts once, by the first rule that it breaks."""
    verdict = tell(new_history().join(BOB), events).drained().judge()["I24"]
    assert (verdict.examined, verdict.violations) == (1, 1 if what else 0)
    assert [f.what for f in verdict.findings] == ([what] if what else [])
    assert verdict.outcome is (Outcome.FAIL if what else Outcome.PASS)


def test_runs_and_connections_are_told_apart(new_history: Callable[..., Any]) -> None:
    """Two runs interleaved on one connection, the same id in another journal, the same run on two connections."""
    history = new_history().join(BOB).join(BOB2)
    for event in WHOLE.split():
        tell(history, event)
        tell(history, event, run=RUN + 1)
        tell(history, event, client=BOB2)
        tell(history, event, client=EVE, journal=1, conn=2)
    verdict = history.drained().judge()["I24"]
    assert (verdict.examined, verdict.violations) == (4, 0)


def test_two_runs_under_one_id(new_history: Callable[..., Any]) -> None:
    """Chunks of two runs under one id do not follow each other."""
    verdict = tell(new_history().join(BOB), "s 0 1 0 2 1 c").drained().judge()["I24"]
    assert [f.what for f in verdict.findings] == ["chunks"]


@pytest.mark.parametrize(
    ("end", "violations"),
    [("drained", 1), ("own", 1), ("cut", 0), ("left", 0), ("open", 0)],
)
def test_who_is_owed_an_end(new_history: Callable[..., Any], end: str, violations: int) -> None:
    """Only a connection that lasted until the run was drained."""
    history = tell(new_history().join(BOB), "s 0")
    if end == "cut":
        history.cut(BOB)
    if end == "left":
        history.leave(BOB)
    if end != "open":
        history.drained()
    if end == "own":
        history.cut(BOB, own=True)
    verdict = history.judge()["I24"]
    assert verdict.violations == violations
    if end == "drained":
        assert history.tell(verdict).sentence == "bob on tab 1 never received the end of an agent's run in room-1"


@pytest.mark.parametrize(("ending", "counts"), [("0", (0, 0)), ("0 b", (1, 1)), ("0 c", (1, 0))])
def test_an_answer_on_a_connection_that_the_tester_cut(
    new_history: Callable[..., Any], ending: str, counts: tuple[int, int]
) -> None:
    """The one that was under way is not counted; one that the platform had broken off before is."""
    history = tell(new_history().join(BOB), f"s {ending}").cut(BOB, own=True).drained()
    verdict = history.judge()["I24"]
    assert (verdict.examined, verdict.violations) == counts


def test_a_run_that_began_earlier_owes_no_beginning(new_history: Callable[..., Any]) -> None:
    """Somebody asked, then Bob joined: he hears the rest of it. The rest must be in order."""
    history = tell(new_history().send(ANN, 1).join(BOB), ") 3 4 c")
    assert history.judge()["I24"].outcome is Outcome.PASS
    history = tell(new_history().send(ANN, 1).join(BOB), ") 3 5 c")
    assert [f.what for f in history.judge()["I24"].findings] == ["chunks"]


def test_a_run_without_beginning(new_history: Callable[..., Any]) -> None:
    """Bob was there before anybody had said anything, so nothing can have begun without him."""
    history = tell(new_history().join(BOB).send(ANN, 1), "0 1 c")
    assert [f.what for f in history.judge()["I24"].findings] == ["headless"]
    continued = new_history().join(BOB).send(ANN, 1).join(BOB, head=1, flags=int(Flag.CONTINUED))
    assert tell(continued, "0 1 c").judge()["I24"].violations == 1
    assert tell(new_history().join(BOB).send(ANN, 1).leave(BOB).join(BOB), "0 1 c").judge()["I24"].violations == 0


@pytest.mark.parametrize("client", [ANN, BOB])
@pytest.mark.parametrize("after", ["", "5 c", "c c", "s"])
def test_nothing_is_judged_after_leaving(new_history: Callable[..., Any], client: int, after: str) -> None:
    """Not what still comes of a run, nor its end, also if the connection joins again; what broke before counts."""
    history = tell(new_history().join(client), "s 0", client).leave(client).join(client)
    verdict = tell(history, after, client).drained().judge()["I24"]
    assert (verdict.examined, verdict.violations) == (0, 0)
    broken = tell(new_history().join(client), "s 1", client).leave(client)
    assert tell(broken, after, client).drained().judge()["I24"].violations == 1


def test_another_conversations_leaving_excuses_nothing(new_history: Callable[..., Any]) -> None:
    """A run is judged by the subscription in which it is told."""
    history = tell(new_history().join(ANN).join(ANN, conv=1), "s 0", ANN).leave(ANN, conv=1)
    assert tell(history, "2", ANN).drained().judge()["I24"].violations == 1


@pytest.mark.parametrize(("joined_ns", "violations"), [(0, 0), (1, 1)])
def test_joined_at_the_moment_of_the_first_sending(
    new_history: Callable[..., Any], joined_ns: int, violations: int
) -> None:
    """A run may have begun with it; not if Bob was there a nanosecond before."""
    history = new_history().join(BOB, t=5_000_000 - joined_ns).send(ANN, 1, t=5_000_000)
    assert tell(history, "0 1 c").judge()["I24"].violations == violations


def test_who_never_joined_owes_no_beginning(new_history: Callable[..., Any]) -> None:
    """Nobody knows from when on it is told."""
    assert tell(new_history().send(ANN, 1), "0 1 c").judge()["I24"].outcome is Outcome.PASS


def test_going_on_after_leaving_is_joining(new_history: Callable[..., Any]) -> None:
    """What began before it has no beginning here."""
    history = new_history().join(BOB).send(ANN, 1).leave(BOB).join(BOB, head=1, flags=int(Flag.CONTINUED))
    assert tell(history, "0 1 c").judge()["I24"].violations == 0


def test_a_conversation_that_is_not_in_the_roster(new_history: Callable[..., Any]) -> None:
    """The first one after all that there are: what is sent there says nothing, the order of a run is judged."""
    verdict = tell(new_history().send(ANN, 1, conv=2), "s 0 c", conv=2).judge()["I24"]
    assert (verdict.outcome, verdict.examined) == (Outcome.PASS, 1)
