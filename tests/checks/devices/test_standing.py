"""I22, of memberships and permissions: when the bound has passed, nobody is shown what was replaced."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from presented import MS

from earwitness.checks import Flag, Kind
from earwitness.checks.history.record import NOBODY, NONE, Place, State

ANN, BOB, BOB2, EVE = range(4)
YES, NO = int(Flag.ACCEPTED), int(Flag.REFUSED)


def removed(history: Any, *, flags: int = YES, value: int = 0, t: int = 10, of: int = EVE, **slots: int) -> Any:
    """Eve's membership of room-1 is changed: asked for at t - 1 ms, answered at t ms."""
    about = {"author": of, "conv": 0, "proc": int(State.MEMBERSHIP), "attempt": int(Place.BACKEND), "aux": value}
    return history.add(Kind.WRITE, ANN, flags=flags, t=t * MS, **{**about, "seq": (t - 1) * MS, **slots})


def shown(history: Any, value: int, *, asked: int | None = 20, t: int = 21, client: int = BOB, **slots: int) -> Any:
    """What Bob is shown of Eve's membership: asked for at `asked` ms, or pushed."""
    about = {"author": EVE, "conv": 0, "proc": int(State.MEMBERSHIP), "attempt": int(Place.BACKEND), "aux": value}
    seq = NONE if asked is None else asked * MS
    return history.add(
        Kind.SEEN, client, conn=client + 1 if asked is None else 0, seq=seq, t=t * MS, **{**about, **slots}
    )


@pytest.mark.parametrize(
    ("look", "violations"),
    [
        ({"value": 1}, 1),
        ({"value": 0}, 0),
        ({"value": 1, "asked": 14}, 0),
        ({"value": 1, "asked": 15}, 1),
        ({"value": 1, "asked": None}, 1),
        ({"value": 1, "asked": None, "t": 14}, 0),
        ({"value": 1, "client": NOBODY}, 1),
        ({"value": 1, "author": ANN}, 0),
        ({"value": 1, "conv": 1}, 0),
    ],
    ids="old new before-the-bound after-it pushed pushed-in-time by-the-collector of-another elsewhere".split(),
)
def test_what_is_shown_after_a_change(new_history: Callable[..., Any], look: dict[str, Any], violations: int) -> None:
    """The moment of asking counts, of a push the moment in which it came."""
    history = shown(removed(new_history(shared_state_s=0.004)), **look)
    assert history.judge()["I22"].violations == violations


@pytest.mark.parametrize(
    ("more", "violations"),
    [
        (lambda h: removed(h, value=1, t=12), 0),
        (lambda h: removed(h, value=1, t=22, seq=20 * MS), 0),
        (lambda h: removed(h, value=1, t=12, flags=0), 0),
        (lambda h: removed(h, value=1, t=12, flags=NO), 1),
        (lambda h: h.add(Kind.FAULT, flags=int(Flag.OWN), t=11 * MS), 0),
        (lambda h: setattr(h, "torn", {0}) or h, 0),
    ],
    ids=["taken in again", "meanwhile", "nobody knows", "refused", "fault", "torn"],
)
def test_what_may_still_be_shown(new_history: Callable[..., Any], more: Callable[[Any], Any], violations: int) -> None:
    """What may have been restored, and whose news a fault may have held up, is not held against anybody."""
    history = more(removed(new_history(shared_state_s=0.004)))
    assert shown(history, 1).judge()["I22"].violations == violations


@pytest.mark.parametrize(("late_ns", "violations"), [(0, 0), (1, 1)])
def test_a_fault_at_the_last_moment(new_history: Callable[..., Any], late_ns: int, violations: int) -> None:
    """A fault that begins 4 ms after the change, when it is due, may have hindered it; a later one has not."""
    history = removed(new_history(shared_state_s=0.004))
    history.add(Kind.FAULT, flags=int(Flag.OWN), t=14 * MS + late_ns)
    assert shown(history, 1).judge()["I22"].violations == violations


def test_permissions_are_compared_by_content(new_history: Callable[..., Any]) -> None:
    """They are no numbers: the digest of what they say counts. Told in words."""
    history = new_history(shared_state_s=0.004)
    what = {"proc": int(State.PERMISSIONS), "aux": NONE}
    removed(history, digest=7, t=5, value=NONE, proc=what["proc"])
    removed(history, digest=8, t=10, value=NONE, proc=what["proc"])
    verdict = shown(history, NONE, digest=7, proc=what["proc"]).judge()["I22"]
    assert verdict.violations == 1
    assert history.tell(verdict).sentence == (
        "bob on tab 1 was shown an old set of permissions of eve in room-1, longer after its change than promised"
    )


@pytest.mark.parametrize(("digest", "conv", "violations"), [(7, 0, 1), (8, 0, 0), (7, 1, 0)])
def test_an_old_name(new_history: Callable[..., Any], digest: int, conv: int, violations: int) -> None:
    """A conversation's name is nobody's: it needs no author. Another conversation may be called so."""
    history = new_history(shared_state_s=0.004)
    what = {"proc": int(State.TITLE), "of": NOBODY, "value": NONE}
    removed(history, digest=7, t=5, **what)
    removed(history, digest=8, t=10, **what)
    shown(history, NONE, digest=digest, conv=conv, proc=what["proc"], author=NOBODY)
    verdict = history.judge()["I22"]
    assert verdict.violations == violations
    if violations:
        told = history.tell(verdict)
        assert told.sentence == "bob on tab 1 was shown an old name of room-1, longer after its change than promised"
        assert "bob on tab 1 is shown the name of room-1 by the backend" in told.lines[-1]
