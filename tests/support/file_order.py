"""Order in which test files are given to the processes of a test run.

Tests that start whole runs mostly wait: three of them leave a core idle. Tests of histories only compute: three of them
share two cores. So both kinds are mixed. Waiting files come in the first four fifths of the queue, because a file that
starts last must not take minutes while the other processes are idle.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TypeVar

File = TypeVar("File", bound=Hashable)
BEFORE = 0.8
"""Share of the queue, from its beginning, over which the waiting files are spread."""


def mixed(waiting: Sequence[File], computing: Sequence[File]) -> dict[File, float]:
    """Return the position (0 to 1) of each file in the queue.

    Waiting files are spread evenly over the first part of the queue, computing files over all of it.
    """
    places = {file: number / len(computing) for number, file in enumerate(computing)}
    return places | {file: BEFORE * number / len(waiting) for number, file in enumerate(waiting)}
