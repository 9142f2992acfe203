"""Order in which files of tests are given to the processes of a test run.

Whole runs mostly wait: three of them leave a core idle. Histories only compute: three of them share two cores. So both
kinds are mixed. A run begins before the last fifth of the queue, because a file that begins last must not take minutes
while the other processes have nothing to do.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TypeVar

File = TypeVar("File", bound=Hashable)
BEFORE = 0.8
"""Part of the queue in which the files that wait lie."""


def mixed(waiting: Sequence[File], computing: Sequence[File]) -> dict[File, float]:
    """Return the place of each file in the queue: the files that wait evenly in its first part, the others in all."""
    places = {file: number / len(computing) for number, file in enumerate(computing)}
    return places | {file: BEFORE * number / len(waiting) for number, file in enumerate(waiting)}
