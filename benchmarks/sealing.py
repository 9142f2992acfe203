"""Measure how much slower the hot path is with sealing, in per cent of a journal that seals nothing.

python -m benchmarks.sealing [--rounds N]

Two journals in one process, one with and one without sealing, alternately write 16,384 records (one seal), in changing
order. The time of a loop that records nothing is subtracted. The result is the median of the rounds' ratios of CPU
time, with its 95 % interval by bootstrap. Because the journals alternate, other work on the machine affects both alike.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.record import nothing
from earwitness.harness.record import journal as writing
from earwitness.harness.record.journal import Journal, Write

TURN = 16_384
WARM_ROUNDS = 20
TAG, SEAL = writing.tag_of, Journal._seal


def _turn_s(write: Write) -> float:
    begin = time.thread_time()
    for n in range(TURN):
        write(time.monotonic_ns(), 5, 0, 1, 1, 17, 4, 12, 88, n, 1000 + n, -1, 128, 0xDEADBEEF)
    return time.thread_time() - begin


def _seals(on: bool) -> None:
    """Switch sealing on or off for all journals of this process."""
    writing.tag_of = TAG if on else lambda records: ""
    Journal._seal = SEAL if on else lambda journal: journal._unsealed.clear()  # type: ignore[method-assign]


def ratios(rounds: int) -> list[float]:
    """Return for each round by how many per cent writing with sealing took longer."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        journals = {on: Journal.create(Path(folder), str(on), meta={}) for on in (True, False)}
        for n in range(WARM_ROUNDS + rounds):
            spent = {}
            for on in (True, False) if n % 2 else (False, True):
                _seals(on)
                spent[on] = _turn_s(journals[on].write)
            empty = _turn_s(nothing)
            if n >= WARM_ROUNDS:
                found.append(((spent[True] - empty) / (spent[False] - empty) - 1) * 100)
    _seals(True)
    return found


def interval(values: Sequence[float], draws: int = 2000) -> tuple[float, float]:
    """Return the 95 % confidence interval of the median of `values`, by bootstrap with a fixed seed."""
    rng = random.Random(1)
    medians = sorted(statistics.median(rng.choices(values, k=len(values))) for _ in range(draws))
    return medians[draws // 40], medians[-draws // 40]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=500)
    found = ratios(parser.parse_args().rounds)
    low, high = interval(found)
    print(f"sealing costs {statistics.median(found):.1f} % of the hot path (95 %: {low:.1f} to {high:.1f})")


if __name__ == "__main__":
    main()
