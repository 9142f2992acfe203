"""Frames of a protocol with seeded damage, for decoders that must not raise."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence


def mutated(frames: Sequence[bytes], count: int, seed: int) -> Iterator[bytes]:
    """Yield `count` frames: real ones with bytes changed, removed, repeated, cut, or joined with parts of others."""
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
