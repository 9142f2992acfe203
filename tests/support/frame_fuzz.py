"""Mutated frames: what a broken or hostile server may send instead of the frames that a dialect knows."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

ODD = (
    "\0",
    "\ud7ff",
    "\ufffd",
    "🧵",
    "<",
    ">",
    "&",
    "&#0;",
    "]]>",
    "{",
    "}",
    "[",
    '"',
    "'",
    "\\u0000",
    "\\ud800",
    "null",
)
ODD += ("-1", "1e999", "9" * 30, "<!DOCTYPE a [<!ENTITY b 'c'>]>", "&b;", "<?xml version='1.0' encoding='x'?>", "<!--")


def mutated(frames: Sequence[str], count: int, seed: int = 1) -> Iterator[str | bytes]:
    """Yield `count` frames, each a known one with one to four changes, as text or as bytes."""
    rng = random.Random(seed)
    for _ in range(count):
        frame = rng.choice(frames)
        for _ in range(rng.randint(1, 4)):
            at, to = sorted((rng.randrange(len(frame) + 1), rng.randrange(len(frame) + 1)))
            part = frame[at : min(to, at + 40)]
            other = rng.choice(frames)
            new = rng.choice(("", part + part, rng.choice(ODD), part[::-1], part.swapcase(), other[at:to]))
            frame = frame[:at] + new + frame[at + len(part) :]
        data = frame.encode("utf-8", "surrogatepass")
        if rng.random() < 0.3 and data:
            spoiled = bytearray(data)
            spoiled[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            yield bytes(spoiled)
        else:
            yield frame if rng.random() < 0.7 else data
