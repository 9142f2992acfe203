"""What goes to the terminal: progress of what may take more than two seconds, and text that others wrote."""

from __future__ import annotations

import json
import logging
import sys
import time
from types import TracebackType
from typing import Any, Final, Self

FIRST_S: Final = 2.0
SCREEN_S: Final = 0.5
LOG_S: Final = 5.0


_SHOWN: Final = {
    code: f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
    for code in (
        *range(0x20), *range(0x7F, 0xA0),  # C0, DEL, C1: they begin escapes
        0x2028, 0x2029,  # separators of lines
        0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A),  # which let text run backwards
        *range(0xD800, 0xE000), 0xFFFE, 0xFFFF,  # halves of characters, and none: no stream or XML file has them
    )
}  # fmt: skip
_SHOWN_IN_TEXT: Final = {code: how for code, how in _SHOWN.items() if chr(code) not in "\n\t"}


def printable(text: str) -> str:
    """Return `text` with control characters written out: a platform's words must not drive the terminal."""
    return text.translate(_SHOWN_IN_TEXT)


def one_line(text: str) -> str:
    """The same for text that stands in a line of ours: line breaks are written out too, so that it makes no other."""
    return text.translate(_SHOWN)


def say(sentence: str) -> None:
    """Tell the user a sentence on stderr, whoever's words are in it."""
    print(f"earwitness: {printable(sentence)}", file=sys.stderr, flush=True)


def show(text: str) -> None:
    """Print text of one or many lines on stdout, whoever's words are in it."""
    print(printable(text), flush=True)


def show_json(value: Any) -> None:
    """Print JSON on stdout, readable and with every control character escaped as JSON has it."""
    text = json.dumps(value, indent=1, ensure_ascii=False)
    print(text.translate({code: f"\\u{code:04x}" for code in _SHOWN_IN_TEXT}), flush=True)


class ShownLog(logging.Formatter):
    """A log handler's own format, with control characters written out: Locust logs what stories raise, and that may
    quote the platform."""

    def __init__(self, inner: logging.Formatter) -> None:
        super().__init__()
        self._inner = inner

    def format(self, record: logging.LogRecord) -> str:
        return printable(self._inner.format(record))


def show_logs() -> None:
    """Let every handler of the root logger, and of those that do not pass on to it, write controls out. Idempotent."""
    named = [logger for logger in logging.root.manager.loggerDict.values() if isinstance(logger, logging.Logger)]
    for handler in [handler for logger in (logging.root, *named) for handler in logger.handlers]:
        if not isinstance(handler.formatter, ShownLog):
            handler.setFormatter(ShownLog(handler.formatter or logging.Formatter()))


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
