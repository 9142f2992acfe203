"""Output to the terminal: progress lines that overwrite each other, and texts with control characters escaped."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import sys
import time
from types import TracebackType
from typing import Final, Self, TextIO

FIRST_S: Final = 2.0
SCREEN_S: Final = 0.5
LOG_S: Final = 5.0


_SHOWN: Final = {
    code: f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
    for code in (
        *range(0x20), *range(0x7F, 0xA0),  # C0, DEL, C1: they begin escapes
        0x2028, 0x2029,  # line separators
        0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A),  # marks that reverse the direction of text
        *range(0xD800, 0xE000), 0xFFFE, 0xFFFF,  # surrogates and noncharacters: no stream or XML file has them
    )
}  # fmt: skip
_SHOWN_IN_TEXT: Final = {code: how for code, how in _SHOWN.items() if chr(code) not in "\n\t"}


def printable(text: str) -> str:
    """Return `text` with control characters escaped, except line breaks and tabs, to protect the terminal."""
    return text.translate(_SHOWN_IN_TEXT)


def one_line(text: str) -> str:
    """Return `text` with control characters escaped, line breaks and tabs too, so that it stays on one line."""
    return text.translate(_SHOWN)


def say(sentence: str, *, over: bool = False) -> None:
    """Print a sentence for the user on stderr, with control characters escaped.

    `over`: print no line break, so that the next sentence overwrites this one. Use it for progress, and only if stderr
    is a terminal.
    """
    start = "\r\033[K" if sys.stderr.isatty() else ""
    print(f"{start}earwitness: {printable(sentence)}", end="" if over else "\n", file=sys.stderr, flush=True)


def show(text: str) -> None:
    """Print text of one or many lines on stdout, with control characters escaped."""
    print(printable(text), flush=True)


def show_verdict(text: str) -> None:
    """Print a verdict's text on stdout, with control characters escaped, in colours if `has_colors` permits them."""
    shown = printable(text)
    print(painted(shown) if has_colors(sys.stdout) else shown, flush=True)


def has_colors(stream: TextIO) -> bool:
    """Return whether text for `stream` may have colours: a terminal, TERM is not "dumb", and NO_COLOR is not set."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def painted(text: str) -> str:
    """Return a verdict's text with colours for its outcomes and headings (ANSI codes).

    The caller must have escaped the text (`printable`), because it may contain texts of a platform.
    """
    return _PAINTED.sub(lambda found: f"\033[{_COLORS[found.group(1)]}m{found.group()}\033[0m", text)


_COLORS: Final = {
    **dict.fromkeys(("PASS", "Held", "met"), "32"),
    **dict.fromkeys(("FAIL", "Broken"), "31"),
    **dict.fromkeys(("UNKNOWN", "THRESHOLD MISSED", "MISSED", "NO DATA", "Not known", "Note:"), "33"),
    **dict.fromkeys(("Not promised", "Not exercised", "The tester itself", "Figures"), "1"),
}
"""Words that begin a line of a verdict, and their colour as an ANSI code: green, red, yellow, bold."""
_PAINTED: Final = re.compile(rf"^ *({'|'.join(sorted(_COLORS, key=len, reverse=True))})(?!\w).*$", re.MULTILINE)


def show_json(value: object) -> None:
    """Print JSON on stdout, readable and with every control character escaped as JSON does."""
    text = json.dumps(value, indent=1, ensure_ascii=False)
    print(text.translate({code: f"\\u{code:04x}" for code in _SHOWN_IN_TEXT}), flush=True)


class ShownLog(logging.Formatter):
    """Wrapper around a log handler's own formatter that escapes control characters.

    Locust logs the exceptions that stories raise, and those may quote the platform.
    """

    def __init__(self, inner: logging.Formatter) -> None:
        """Wrap `inner`, the formatter that the handler had before."""
        super().__init__()
        self._inner = inner

    def format(self, record: logging.LogRecord) -> str:
        """Implement `logging.Formatter.format`: escape what the wrapped formatter returns."""
        return printable(self._inner.format(record))


def show_logs() -> None:
    """Make every log handler escape control characters: those of the root logger and of all named loggers.

    Further calls change nothing.
    """
    named = [logger for logger in logging.root.manager.loggerDict.values() if isinstance(logger, logging.Logger)]
    for handler in [handler for logger in (logging.root, *named) for handler in logger.handlers]:
        if not isinstance(handler.formatter, ShownLog):
            handler.setFormatter(ShownLog(handler.formatter or logging.Formatter()))


def write_anything() -> None:
    """Make stdout escape characters that its encoding lacks, instead of raising an error; stderr does so already.

    Names and texts of a platform are printed, and a terminal may be ASCII.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


class Progress:
    """Progress line on stderr: `with Progress("judging runs/x", total) as progress: … progress.at(done)`.

    `at` may be called at any rate. On a terminal the line is overwritten, and cleared at the end; elsewhere a new line
    is printed every few seconds.
    """

    def __init__(self, what: str, total: int) -> None:
        """Prepare the progress of the operation `what`. `total`: amount of work, in the unit of `at`; 0: not known.

        Nothing is printed in the first 2 s.
        """
        self._what, self._total = what, total
        self._screen = sys.stderr.isatty()
        self._next, self._shown = time.monotonic() + FIRST_S, False

    def at(self, done: int) -> None:
        """Report that `done` of `total` is complete; print the percentage if it is time for a new line."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next, self._shown = now + (SCREEN_S if self._screen else LOG_S), True
        share = f"{min(100, 100 * done // self._total)} %" if self._total else "..."
        start, end = ("\r\033[K", "") if self._screen else ("", "\n")
        print(f"{start}earwitness: {self._what}: {share}", end=end, file=sys.stderr, flush=True)

    def __enter__(self) -> Self:
        """Return this object. The first line is printed by `at`."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        """Clear the line on a terminal, also after an error."""
        if self._shown and self._screen:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
