"""Pace of a user: planned and started actions can be read at any time, and the plan stays as it is."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import time
from random import Random
from types import SimpleNamespace
from earwitness.harness.load.attained import Attained
from earwitness.harness.load.pacing import Pace
from earwitness.harness.planning.arrivals import Arrivals

SECOND = 1_000_000_000

def begun():
    "A pace of a hundred actions a second whose first one was planned for about now, and that moment."
    pace = Pace()
    pace.begin_arrivals(Arrivals(100.0), 0, 1, time.monotonic_ns() - SECOND, Random(1))
    return pace, pace.planned_ns

# between two actions, as often as one likes; what is planned next stays what it was
pace, first = begun()
assert [pace.actions(first + 5) for _ in range(3)] == [(1, 1)] * 3
for number in range(1, 4):
    assert pace.actions(first + SECOND // 10 + 5) == (11, number), pace.actions(first + SECOND // 10 + 5)
    pace.wait_s()
    assert abs(pace.planned_ns - first - number * SECOND // 100) < 1_000
assert pace.actions(first - 1) == (3, 3)  # the present one is planned for later

# a closed user plans nothing
closed = Pace()
assert closed.actions(time.monotonic_ns()) == (0, 0)

# those that left stay in the sum, those that act are counted anew each time
attained, (left, first), (acting, second) = Attained(), begun(), begun()
later = max(first, second) + SECOND // 10
attained.add_actions([SimpleNamespace(pace=left)], later)
alone = attained.actions([], later)
both = attained.actions([SimpleNamespace(pace=acting)], later)
assert both == attained.actions([SimpleNamespace(pace=acting)], later)
assert alone[1] == 1 and both[1] == 2 and both[0] > alone[0] + 9, (alone, both)
print("well")
"""


def test_reading_does_not_consume_the_plan() -> None:
    """In a process of its own, because Locust patches the one that imports it."""
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "well\n", done.stderr
