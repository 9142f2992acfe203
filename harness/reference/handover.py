"""Taking over from a process that still serves: start first, listen on the same socket then, and say so."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Iterator

TAKEOVER_VARIABLE = "EARWITNESS_TAKEOVER"


@contextlib.contextmanager
def taking_over() -> Iterator[Callable[[], int] | None]:
    """What to call when we listen; None if we are the first. Leaving without the call says that it failed."""
    number = os.environ.pop(TAKEOVER_VARIABLE, None)
    if number is None:
        yield None
        return
    pipe = int(number)
    try:
        yield functools.partial(os.write, pipe, b"1")
    finally:
        os.close(pipe)
