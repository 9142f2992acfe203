"""Kinds of received frames: frames that look alike are shown once."""

from __future__ import annotations

import re

import orjson

SHOWN = 20
"""Most kinds of frames that are shown."""
KEYS = 8
HEAD = 8
NAMES = ("type", "event", "ev", "kind", "op", "action", "method", "cmd")
"""Keys whose values usually name the kind of a frame."""
_DIGITS = re.compile(r"\d+")


def kind_of(data: str | bytes) -> str:
    """Return a text that is the same for all frames of one kind: the form of its JSON, or how its data begins."""
    text = data if isinstance(data, str) else data.decode(errors="replace")
    start = re.search(r"[\[{]", text)
    prefix = "" if start is None else text[: start.start()]
    if start is not None and len(prefix) <= HEAD:
        try:
            return f"{_DIGITS.sub('0', prefix)}{form_of(orjson.loads(text[start.start() :]))}"
        except ValueError:
            pass
    if isinstance(data, bytes):
        return f"bytes {data[:2].hex()}"
    return f"text {_DIGITS.sub('0', text[:HEAD])}"


def form_of(value: object) -> str:
    """Return a text that is the same for all decoded frames of one kind: values of NAMES, or its keys or type."""
    if isinstance(value, dict):
        named = {key: found for key in NAMES if (found := value.get(key))}
        short = {key: found for key, found in named.items() if isinstance(found, str | int)}
        return f"object {short}" if short else f"object with {sorted(value)[:KEYS]}"
    if isinstance(value, list):
        if value and isinstance(value[0], dict):
            return f"list of {form_of(value[0])}"
        words = [item for item in value if isinstance(item, str) and not any(c.isdigit() for c in item)]
        return f"list {words[:1]} of {len(value)}"
    return type(value).__name__
