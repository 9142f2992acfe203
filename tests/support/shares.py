"""Comparison of a draft with a target file that was written by hand, key by key."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

WHOLE = {
    "frame",
    "request",
    "requests",
    "existing",
    "body",
    "form",
    "claims",
    "first",
    "join",
    "headers",
    "cookies",
    "query",
}
"""Keys of a target file whose table is compared as a single value."""


@dataclass(frozen=True)
class Share:
    """Keys of the hand-written file that are right, different or missing in the draft, and keys only in the draft."""

    right: list[str]
    different: list[str]
    missing: list[str]
    further: list[str]

    @property
    def share(self) -> float:
        return len(self.right) / (len(self.right) + len(self.different) + len(self.missing))

    def __str__(self) -> str:
        count = len(self.right) + len(self.different) + len(self.missing)
        return (
            f"{len(self.right)} of {count} keys right ({100 * self.share:.0f} %); different: {self.different}; "
            f"missing: {self.missing}; only in the draft: {self.further}"
        )


def compare(draft: str, by_hand: str) -> Share:
    """Return the comparison of two target files.

    {label} counts as {room}, because both are the same without `room_id`.
    """
    ours, theirs = dict(keys(tomllib.loads(draft))), dict(keys(tomllib.loads(by_hand)))
    right = [key for key, value in theirs.items() if ours.get(key) == value]
    different = [key for key in theirs if key in ours and key not in right]
    return Share(
        right, different, [key for key in theirs if key not in ours], [key for key in ours if key not in theirs]
    )


def keys(table: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    """Yield (dotted key, value as JSON text) of a target file, without its name.

    A list of one value counts as the value.
    """
    for key, value in table.items():
        dotted = f"{path}.{key}" if path else key
        if isinstance(value, dict) and key not in WHOLE:
            yield from keys(value, dotted)
        elif dotted != "name":
            alone = value[0] if isinstance(value, list) and len(value) == 1 else value
            yield dotted, json.dumps(alone, sort_keys=True).replace("{label}", "{room}")
