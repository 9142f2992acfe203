"""Takeover from a process that still serves: its successor starts, listens on the same socket, and reports that."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Iterator

TAKEOVER_VARIABLE = "EARWITNESS_TAKEOVER"


@contextlib.contextmanager
def taking_over() -> Iterator[Callable[[], int] | None]:
    """Yield the function to call once this process listens; None if it replaces no other process.

    Leaving the context without the call reports a failure.
    """
    number = os.environ.pop(TAKEOVER_VARIABLE, None)
    if number is None:
        yield None
        return
    pipe = int(number)
    try:
        yield functools.partial(os.write, pipe, b"1")
    finally:
        os.close(pipe)
