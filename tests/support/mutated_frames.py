"""Frames of a protocol with seeded damage, as a broken or hostile server may send them. Decoders must not raise.

Frames that are JSON trees are damaged as trees, by `mutations.py`.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Sequence

COUNT = int(os.environ.get("MUTATED_FRAMES", "2000"))
"""Number of frames in one test; `make campaign frames` sets a larger number."""
SIGNS = (
    "",
    "\0",
    "\x1e",
    "\ud7ff",
    "\ud800",
    "\ufffd",
    "²",
    "🧵",
    "<",
    ">",
    "&",
    "{",
    "}",
    "[",
    "]",
    '"',
    "'",
    ",",
    "-",
    "/",
)
WORDS = ("\\u0000", "\\ud800", "null", "-1", "1e999", "9" * 30, "[" * 2000)
MARKUP = ("&#0;", "]]>", "<!DOCTYPE a [<!ENTITY b 'c'>]>", "&b;", "<?xml version='1.0' encoding='x'?>", "<!--")
ODD = (*SIGNS, *WORDS, *MARKUP)
MOST_CHARS = 20_000
PART_CHARS = 40


def mutated_texts(frames: Sequence[str], count: int, seed: int = 1) -> Iterator[str | bytes]:
    """Yield `count` frames, each a known one with one to four changes, as text or as bytes.

    Changes: parts are removed, doubled, reversed, or replaced by unusual characters or parts of other frames; frames
    are cut.
    """
    rng = random.Random(seed)
    for _ in range(count):
        frame = rng.choice(frames)
        for _ in range(rng.randint(1, 4)):
            at, to = sorted((rng.randint(0, len(frame)), rng.randint(0, len(frame))))
            part, other = frame[at : min(to, at + PART_CHARS)], rng.choice(frames)
            new = rng.choice(("", part + part, rng.choice(ODD), part[::-1], part.swapcase(), other[at:to]))
            rest = rng.choice((frame[at + len(part) :], frame[at + len(part) :], frame[to:], ""))
            frame = (frame[:at] + new + rest)[:MOST_CHARS]
        data = frame.encode("utf-8", "surrogatepass")
        if rng.random() < 0.2 and data:
            spoiled = bytearray(data)
            spoiled[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            yield bytes(spoiled)
        else:
            yield frame if rng.random() < 0.8 else data


def mutated_bytes(frames: Sequence[bytes], count: int, seed: int) -> Iterator[bytes]:
    """Yield `count` known frames with bytes changed, removed, repeated or cut, or joined with parts of other frames."""
    rng = random.Random(seed)
    for _ in range(count):
        data = bytearray(rng.choice(frames))
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(data) + 1)
            kind = rng.randrange(6)
            if kind == 0 and data:
                data[at % len(data)] = rng.randrange(256)
            elif kind == 1:
                del data[at : at + rng.randint(1, 8)]
            elif kind == 2:
                data[at:at] = data[at : at + rng.randint(1, 20)]
            elif kind == 3:
                data[at:at] = bytes(rng.randrange(256) for _ in range(rng.randint(1, 6)))
            elif kind == 4:
                del data[at:]
            else:
                other = rng.choice(frames)
                data[at:at] = other[: rng.randrange(len(other) + 1)]
        yield bytes(data)
