"""I5b when our own deadline ended the run: what a still receiving connection missed is not known to be lost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from earwitness.checks import Flag, Kind, Outcome, Phase

ANN, BOB, BOB2, EVE = range(4)
S = 1_000_000_000
CUT = int(Flag.TIMEOUT)


def drained(history: Any, cut: bool) -> Any:
    """The load ends at 10 s, the drain at 30 s."""
    history.add(Kind.PHASE, counter=int(Phase.DRAIN), t=10 * S)
    return history.add(Kind.PHASE, counter=int(Phase.DRAINED), flags=CUT if cut else 0, t=30 * S)


def slow(history: Any, *, cut: bool = True, bob: float = 29.9) -> Any:
    """Ann sends 1 to 3; Bob has received 1 at `bob` seconds, his other tab all three."""
    for client in (ANN, BOB, BOB2):
        history.join(client, t=S)
    for n in (1, 2, 3):
        history.send(ANN, n, t=2 * S + n).ack(ANN, n, n, t=3 * S + n)
        for client in (ANN, BOB2):
            history.hear(client, ANN, n, n, t=4 * S + n)
    return drained(history.hear(BOB, ANN, 1, 1, t=int(bob * S)), cut)


def test_a_slow_platform_loses_nothing(new_history: Callable[..., Any]) -> None:
    """It still delivered when our deadline came: UNKNOWN, with what to do."""
    verdict = slow(new_history(history=False)).judge()["I5b"]
    assert (verdict.outcome, verdict.violations) == (Outcome.UNKNOWN, 0)
    assert verdict.why == (
        "2 deliveries had not come: the drain ended after 20 s while messages still arrived; raise --drain-s"
    )


@pytest.mark.parametrize(
    ("cut", "bob"),
    [(False, 29.9), (True, 27.9), (True, 28.0)],
    ids=["not cut", "silent among busy ones", "for 2 s"],
)
def test_what_is_lost_all_the_same(new_history: Callable[..., Any], cut: bool, bob: float) -> None:
    """A drain that was not cut, and a connection that had been silent for two seconds, excuse nothing."""
    assert slow(new_history(history=False), cut=cut, bob=bob).judge()["I5b"].violations == 2


@pytest.mark.parametrize(("heard", "violations"), [(29.9, 0), (27.9, 2)], ids=["receiving", "silent"])
def test_another_conversation_on_the_same_connection(
    new_history: Callable[..., Any], heard: float, violations: int
) -> None:
    """What waits for a connection waits in one queue: while it receives in one room, the other room is delayed."""
    history = new_history(history=False, sequence="none")
    rooms = (ANN, BOB), (ANN, BOB)
    history.roster = replace(history.roster, user_of=(0, 1), conversations=rooms, user_names=("ann", "bob"))
    for client, conv in ((ANN, 0), (ANN, 1), (BOB, 0), (BOB, 1)):
        history.join(client, conv, -1, t=S)
    for n, conv in ((1, 1), (2, 0), (3, 1)):
        history.send(ANN, n, conv, t=2 * S + n).ack(ANN, n, conv=conv, t=3 * S + n).hear(
            ANN, ANN, n, conv=conv, t=4 * S
        )
    drained(history.hear(BOB, ANN, 1, conv=1, t=int(heard * S)), True)
    assert history.judge()["I5b"].violations == violations


def test_a_hole_below_what_came(new_history: Callable[..., Any]) -> None:
    """A message with a lower number than the latest delivery is not on its way any more."""
    history = slow(new_history(history=False)).hear(BOB, ANN, 3, 3, t=int(29.95 * S))
    assert history.judge()["I5b"].violations == 1


def test_its_number_came_with_a_corrupt_body(new_history: Callable[..., Any]) -> None:
    """Then it is not on its way any more; number 3 may be."""
    history = slow(new_history(history=False)).hear(BOB, ANN, 2, 2, t=int(29.95 * S), flags=int(Flag.CORRUPT))
    assert history.judge()["I5b"].violations == 1


def test_number_0_below_what_came(new_history: Callable[..., Any]) -> None:
    """Number 0 is a number like all others."""
    history = new_history(history=False).join(BOB, t=S)
    for n in (1, 2):
        history.send(ANN, n, t=2 * S + n).ack(ANN, n, n - 1, t=3 * S + n)
    assert drained(history.hear(BOB, ANN, 2, 1, t=int(29.9 * S)), True).judge()["I5b"].violations == 1


def test_the_first_subscription_of_all(new_history: Callable[..., Any]) -> None:
    """Ann has the first row of all tables; her connection was still receiving as well."""
    history = new_history(history=False).join(ANN, t=S).join(BOB, t=S)
    for n in (1, 2):
        history.send(BOB, n, t=2 * S + n).ack(BOB, n, n, t=3 * S + n).hear(BOB, BOB, n, n, t=4 * S + n)
    verdict = drained(history.hear(ANN, BOB, 1, 1, t=int(29.9 * S)), True).judge()["I5b"]
    assert (verdict.outcome, verdict.violations) == (Outcome.UNKNOWN, 0)


def test_a_promised_bound_that_has_passed(new_history: Callable[..., Any]) -> None:
    """With a bound the absence is a violation (I25), however the run ended."""
    assert slow(new_history(history=False, delivery_bound_s=5.0)).judge()["I25"].outcome is Outcome.FAIL


@pytest.mark.parametrize(("load", "violations"), [({"left_s": 9.0}, 0), ({"users": 3}, 2)], ids=["left", "stayed"])
def test_a_load_process_that_left(new_history: Callable[..., Any], load: dict[str, Any], violations: int) -> None:
    """It closed its users' connections while others still sent to them: what did not come there is not lost."""
    history = slow(new_history(history=False), cut=False, bob=9.0)
    infos = history.infos
    history.infos = lambda: [replace(info, footer={**info.footer, "load": load}) for info in infos()]
    assert history.judge()["I5b"].violations == violations
