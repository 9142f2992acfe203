"""Values inside JSON with their paths, and splitting of frames into JSON values."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import orjson

MOST_DEPTH: Final = 6
MOST_LEAVES: Final = 120
"""Most values that are examined of one frame."""
MOST_POSITIONS: Final = 8
"""Most items that are examined of one list."""
MOST_VALUES: Final = 100
"""Most JSON values that are examined of one frame."""
STEP: Final = re.compile(r"[^.\s]{1,80}")
"""Key that a path of a target file can name."""
PREFIX: Final = re.compile(r"(\d{1,2}(?:-\d+)?(?:/[^,\s]*,)?)(\d*)(?=[\[{])")
"""Text before the JSON of a Socket.IO frame: packet types and namespace; then the number of an acknowledgement."""
SEPARATORS: Final = ("\x1e", "\x00")


def leaves(value: object) -> list[tuple[str, object]]:
    """Return (path, value) for each text, number and truth value inside `value`; the depth and the count are bounded.

    A key that no path can name is skipped. The path of a value that is itself no object or list is ".".
    """
    found: list[tuple[str, object]] = []
    waiting: list[tuple[str, object, int]] = [("", value, 0)]
    while waiting and len(found) < MOST_LEAVES:
        path, one, depth = waiting.pop()
        inner: Iterable[tuple[str, object]]
        if isinstance(one, Mapping):
            inner = [(str(key), item) for key, item in one.items() if STEP.fullmatch(str(key))]
        elif isinstance(one, list):
            inner = [(str(k), item) for k, item in enumerate(one[:MOST_POSITIONS])]
        else:
            if one is not None:
                found.append((path or ".", one))
            continue
        if depth < MOST_DEPTH:
            steps = [(f"{path}.{key}" if path else key, item, depth + 1) for key, item in inner]
            waiting += reversed(steps[:MOST_LEAVES])
    return found


@dataclass(frozen=True, slots=True)
class Parsed:
    """JSON content of a frame.

    values  JSON objects and lists in it; () if it holds none
    prefix  text before the JSON
    split   none, lines or list, as `frames.split` of a target file
    """

    values: tuple[object, ...]
    prefix: str = ""
    split: str = "none"


def parse(data: str) -> Parsed:
    """Return the JSON in a frame: a value, a value behind a prefix, one value on each line, or a list of objects."""
    value = _loads(data)
    if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        return Parsed(tuple(value[:MOST_VALUES]), split="list")
    if value is not None:
        return Parsed((value,))
    if found := PREFIX.match(data):
        behind = _loads(data[found.end() :])
        return Parsed((behind,) if behind is not None else (), found[1])
    lines = [line for line in data.split("\n") if line.strip()]
    each = [_loads(line) for line in lines] if 1 < len(lines) <= MOST_VALUES else []
    if each and None not in each:
        return Parsed(tuple(each), split="lines")
    return Parsed(())


def units_of(data: str) -> tuple[object, ...]:
    """Return the JSON values of a frame; () if it has none."""
    return parse(data).values


def _loads(text: str) -> object:
    """Return the object or list of a text, None for anything else: a number alone is a heartbeat, not a message."""
    try:
        value: object = orjson.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, (dict, list)) else None


def entropy(values: Iterable[object]) -> float:
    """Return Shannon's entropy (bits) of the values, which are hashable."""
    counts = Counter(values)
    total = sum(counts.values())
    return -sum(n / total * math.log2(n / total) for n in counts.values()) if total else 0.0


def last_step(path: str) -> str:
    """Return the last step of a path that is a key and no position in a list; "" if there is none."""
    return next((step for step in reversed(path.split(".")) if not step.isdigit()), "")
