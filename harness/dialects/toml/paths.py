"""Path language of target files: `a.b.0.c` walks keys and list positions; `.` is the value itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

from earwitness.checks.declared import Text

Getter: TypeAlias = Callable[[object], object]

PATH: Final = Text(
    words="a path",
    pattern=r"\.|[^.\s]+(\.[^.\s]+)*",
    problem="is no path (keys and positions with dots between them)",
)


def compile_path(text: str) -> Getter:
    """Return a function that takes a decoded JSON value and returns what is at the path `text`, None if nothing is.

    The function never raises. A number in a path is a position in a list, and a key in an object.
    """
    if text == ".":
        return lambda value: value
    steps = tuple(text.split("."))
    if len(steps) == 1 and not steps[0].lstrip("-").isdigit():
        only = steps[0]
        return lambda value: value.get(only) if type(value) is dict else None

    def get(value: object) -> object:
        for step in steps:
            if type(value) is dict:
                value = value.get(step)
            elif type(value) is list:
                try:
                    value = value[int(step)]
                except (ValueError, IndexError):
                    return None
            else:
                return None
        return value

    return get


def text_or_none(value: object) -> str | None:
    """Return a label or an id as text: text unchanged, a whole number converted, None for anything else."""
    if type(value) is str:
        return value
    return str(value) if type(value) is int else None


def seq_or_none(value: object) -> int | None:
    """Return a sequence number that a record can hold (0 to 2^62 - 1), from a whole number or a text of ASCII digits.

    Return None for anything else.
    """
    if type(value) is str and len(value) < 20 and value.isascii() and value.isdigit():
        value = int(value)
    return value if type(value) is int and -1 < value < 1 << 62 else None
