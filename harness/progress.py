"""What goes to the terminal: progress of what may take more than two seconds, and text that others wrote."""

from __future__ import annotations

import io
import sys
import time
from types import TracebackType
from typing import Final, Self

FIRST_S: Final = 2.0
SCREEN_S: Final = 0.5
LOG_S: Final = 5.0


_CONTROLS: Final = {
    code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029) if chr(code) not in "\n\t"
}


def printable(text: str) -> str:
    """Return `text` with control characters written out: a platform's words must not drive the terminal."""
    return text.translate(_CONTROLS)


def complain(error: object) -> None:
    """Say on stderr, in one line of ours, what somebody can mend."""
    print(f"earwitness: {printable(str(error))}", file=sys.stderr, flush=True)


def write_anything() -> None:
    """Let stdout take every character: what its encoding has none for is written out, as stderr does it anyway. Names
    and texts of a platform are printed, and a terminal may be ASCII."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


class Progress:
    """`with Progress("judging runs/x", total) as progress: … progress.at(done)`, as often as you like.

    A line on stderr: overwritten where that is a screen, and cleared at the end; elsewhere a new one now and then."""

    def __init__(self, what: str, total: int) -> None:
        """`what` is being done; `total` in any unit."""
        self._what, self._total = what, total
        self._screen = sys.stderr.isatty()
        self._next, self._shown = time.monotonic() + FIRST_S, False

    def at(self, done: int) -> None:
        """`done` of the total by now."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next, self._shown = now + (SCREEN_S if self._screen else LOG_S), True
        share = f"{min(100, 100 * done // self._total)} %" if self._total else "..."
        start, end = ("\r\033[K", "") if self._screen else ("", "\n")
        print(f"{start}earwitness: {self._what}: {share}", end=end, file=sys.stderr, flush=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._shown and self._screen:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
