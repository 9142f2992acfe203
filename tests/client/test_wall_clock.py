"""The watch of the wall clock, and what the deadlines of tokens rest on."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from earwitness.harness.client import wall_clock
from earwitness.harness.client.wall_clock import STEP_NS, Deadline, WallClock, deadline_of
from earwitness.harness.dialects.reference.forgery import FORGERIES, TIMED, WITHOUT_KEY

S = 1_000_000_000


class Times:
    """Both clocks, moved by hand; a suspension takes place between two readings of the monotonic one."""

    def __init__(self) -> None:
        self.now, self.ahead, self.suspended = 100 * S, 10**18, 0

    def monotonic_ns(self) -> int:
        self.now += self.suspended
        return self.now

    def time_ns(self) -> int:
        return self.now + self.ahead


@pytest.fixture
def times(monkeypatch: pytest.MonkeyPatch) -> Times:
    found = Times()
    monkeypatch.setattr(wall_clock, "time", found)
    return found


@pytest.fixture
def watched(times: Times) -> tuple[WallClock, list[tuple[int, int, int]]]:
    """A watch that has looked once, at 100 s, and the steps that it notes."""
    noted: list[tuple[int, int, int]] = []
    watch = WallClock(lambda *step: noted.append(step))
    watch.close()
    return watch, noted


@pytest.mark.parametrize("by_ns", [STEP_NS + 1, -STEP_NS - 1, 3600 * S])
def test_a_step_is_noted_once(times: Times, watched: Any, by_ns: int) -> None:
    """With the last look before it and the first after it; afterwards this is the clock."""
    watch, noted = watched
    times.now += S
    watch.look()
    times.now, times.ahead = times.now + S, times.ahead + by_ns
    watch.look()
    times.now += S
    watch.look()
    assert noted == [(101 * S, 102 * S, by_ns)]


def test_gradual_corrections_are_no_step(times: Times, watched: Any) -> None:
    """Up to a quarter of a second in all, however often; what is more is a step after all."""
    watch, noted = watched
    for _ in range(10):
        times.now, times.ahead = times.now + S, times.ahead + STEP_NS // 10
        watch.look()
    assert noted == []
    times.ahead += STEP_NS // 10
    watch.look()
    assert [by_ns for _, _, by_ns in noted] == [STEP_NS // 10 * 11]


def test_a_suspension_is_no_step(times: Times, watched: Any) -> None:
    """A process that did not run between two readings knows nothing; a step in that time is noted by the next look."""
    watch, noted = watched
    times.suspended = 5 * S
    watch.look()
    assert noted == []
    times.ahead += 3600 * S
    watch.look()
    times.suspended = 0
    watch.look()
    assert [(from_ns, by_ns) for from_ns, _, by_ns in noted] == [(100 * S, 3600 * S)]


def test_what_a_deadline_rests_on(times: Times) -> None:
    """On our wall clock alone without a time of issue; one that lies between sending and receiving shows that it is
    right, any other one that it is not, and then the deadline counts from receiving."""
    wall_s, sent, received = (times.now + times.ahead) // S, 99 * S, 100 * S
    assert deadline_of(None, None, sent, received) == Deadline(-1)
    assert deadline_of(wall_s + 900, None, sent, received) == Deadline(1000 * S, by_own_clock=True)
    assert deadline_of(wall_s + 900, wall_s - 1, sent, received) == Deadline(1000 * S, clocks_agree=True)
    ahead = received + STEP_NS, received + STEP_NS + 1
    for issued_ns, agree in zip(ahead, (True, False), strict=True):
        issued_s = Fraction(issued_ns + times.ahead, S)  # a float has no nanoseconds
        assert deadline_of(issued_s + 900, issued_s, sent, received) == Deadline(1000 * S, clocks_agree=agree)
    assert deadline_of(wall_s + 4500, wall_s + 3600, sent, received) == Deadline(1000 * S)


def test_forgeries_that_are_wrong_by_their_times() -> None:
    """They are known by name, and none can be made without the platform's key."""
    assert set(FORGERIES) >= TIMED
    assert not TIMED & set(WITHOUT_KEY)
