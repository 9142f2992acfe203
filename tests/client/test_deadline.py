"""A platform's deadline on our own clock."""

from __future__ import annotations

import time

import pytest

from earwitness.checks.history.record import NONE
from earwitness.harness.client.wall_clock import SECOND, deadline_of

LIVES_S = 60
JITTER_NS = SECOND // 10
"""Between two looks at two clocks."""


def deadline(skew_s: float, rounded: bool = False) -> tuple[int, int]:
    """(what is made of a token that a platform with so wrong a clock issued just now, what is right)."""
    sent_ns = time.monotonic_ns()
    issued_at = time.time() + skew_s
    issued_at = float(int(issued_at)) if rounded else issued_at
    received_ns = time.monotonic_ns()
    return deadline_of(issued_at + LIVES_S, issued_at, sent_ns, received_ns).ns, sent_ns + LIVES_S * SECOND


@pytest.mark.parametrize("skew_s", [0.0, 3600.0, -3600.0])
def test_a_wrong_clock_of_the_platform_is_set_right(skew_s: float) -> None:
    """It was issued between our asking and the answer, whatever the platform says."""
    found, right = deadline(skew_s)
    assert abs(right - found) <= JITTER_NS


def test_whole_seconds_are_no_wrong_clock() -> None:
    """Times of issue that are rounded down move no deadline but by the rounding."""
    found, right = deadline(0.0, rounded=True)
    assert -JITTER_NS <= right - found <= SECOND + JITTER_NS


def test_without_a_time_of_issue_the_deadline_is_taken_as_said() -> None:
    """Nothing is known of the platform's clock."""
    now_ns = time.monotonic_ns()
    assert abs(deadline_of(time.time() + 5, None, now_ns, now_ns).ns - now_ns - 5 * SECOND) <= JITTER_NS


def test_what_has_no_end_has_no_deadline() -> None:
    """NONE, whenever it was issued."""
    assert deadline_of(None, time.time(), 0, 1).ns == NONE


def test_a_slow_answer_blames_nobody() -> None:
    """When exactly a platform with a wrong clock issued is not known: then it was at the last moment that can be."""
    received_ns = time.monotonic_ns()
    issued_at = time.time() - 3600
    found = deadline_of(issued_at + LIVES_S, issued_at, received_ns - 3 * SECOND, received_ns).ns
    assert abs(found - received_ns - LIVES_S * SECOND) <= JITTER_NS
