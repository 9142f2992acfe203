"""Measure how often `earwitness compare` reports a regression that does not exist, and how often one that exists.

    python -m benchmarks.false_alarms                    # simulated runs, 600 pairs of 10 and 10
    python -m benchmarks.false_alarms runs/2026*         # pairs of halves of these runs: 20 or more of one state
    python -m benchmarks.false_alarms --slower 20        # the latencies of the second side are 20 % greater

Each pair is compared as a whole, with all rows. Simulated runs vary as runs on a shared machine do: by a factor that
all figures share, by a factor of each figure, and by some runs during which another program used the machine. Pairs
from the same recorded runs are not independent of each other, so their share of regressions is only an estimate. The
exit status is 1 if a regression is reported in more than --most per cent of the pairs without a difference.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from earwitness.harness.errors import EarwitnessError
from earwitness.harness.report.comparison.alike import require_alike
from earwitness.harness.report.comparison.command import MARGIN, refuse_twice
from earwitness.harness.report.comparison.rows import comparable_names, compare_sets
from earwitness.harness.report.comparison.samples import CPU, ERRORS, MEMORY, measure_of, sample_of

Run = dict[str, float]
Pair = tuple[list[Run], list[Run]]
FEWEST = 20
SPREAD_SHARED, SPREAD_OWN = 0.03, 0.03
DISTURBED, BY = 0.05, (1.1, 1.6)
"""Share of simulated runs that another program disturbs, and bounds of the factor by which their latencies grow."""
SERVICES = (("postgres", 2.2, 142.0), ("valkey", 0.4, 7.7), ("provider", 0.2, 57.5), ("auth", 1.0, 62.0),
            ("backend", 3.2, 62.0), ("edge", 0.6, 63.0), ("frontend", 0.1, 49.0))  # fmt: skip
"""Services of the reference platform: name, milliseconds of CPU time for each message, memory in MB."""
TYPICAL = {
    **{f"fan-out of {size} p{q}": ms for size, q, ms in ((5, 50, 6.0), (5, 99, 25.0), (20, 50, 9.0), (20, 99, 40.0))},
    **{"ack p50": 4.0, "ack p99": 20.0, "probe p50": 2.0, "probe p99": 12.0},
    **{"messages sent": 95.0, "messages delivered": 800.0, ERRORS: 0.0},
    **{f"{CPU}{service}": ms for service, ms, _ in SERVICES},
    **{f"{MEMORY}{service}": mb for service, _, mb in SERVICES},
}


@dataclass
class Count:
    """Numbers of pairs: all, with a regression, with any change for the worse, with any difference at all."""

    pairs: int = 0
    regressions: int = 0
    worse: int = 0
    claims: int = 0


def is_latency(name: str) -> bool:
    """Return whether a slow backend makes the figure greater: latencies and CPU time."""
    return measure_of(name).unit == "ms"


def simulated(rng: np.random.Generator) -> Run:
    """Return the figures of one simulated run, by name."""
    shared = rng.normal(0, SPREAD_SHARED)
    disturbed = rng.uniform(*BY) if rng.random() < DISTURBED else 1.0
    run = {}
    for name, value in TYPICAL.items():
        if name == ERRORS:
            run[name] = float(rng.choice((0.0, 0.0, 0.02)))
        elif is_latency(name):
            run[name] = value * math.exp(shared + rng.normal(0, SPREAD_OWN)) * disturbed
        else:
            run[name] = value * math.exp(rng.normal(0, SPREAD_OWN / 5))
    return run


def drawn_from(runs: Sequence[Run], each: int) -> Callable[[np.random.Generator], Pair]:
    """Return a function that draws a pair: two disjoint sets of `each` recorded runs."""

    def draw(rng: np.random.Generator) -> Pair:
        order = rng.permutation(len(runs))
        return [runs[i] for i in order[:each]], [runs[i] for i in order[each : 2 * each]]

    return draw


def slowed(runs: Sequence[Run], per_cent: float) -> list[Run]:
    """Return the runs with latencies and CPU times that are `per_cent` per cent greater."""
    return [{name: v * (1 + per_cent / 100 * is_latency(name)) for name, v in run.items()} for run in runs]


def count(
    draw: Callable[[np.random.Generator], Pair],
    pairs: int,
    *,
    seed: int = 1,
    slower: float = 0.0,
    margin: float = MARGIN,
) -> Count:
    """Draw and compare `pairs` pairs; return how many of them have differences.

    `slower`: per cent by which the second side is slowed; `margin`: per cent below which a change is no regression.
    """
    rng, found = np.random.default_rng(seed), Count()
    for _ in range(pairs):
        before, after = draw(rng)
        rows = compare_sets(before, slowed(after, slower) if slower else after, margin / 100)
        found.pairs += 1
        found.regressions += any(row.regression for row in rows)
        found.worse += any(row.seen and row.worse for row in rows)
        found.claims += any(row.seen for row in rows)
    return found


def upper_95(bad: int, of: int) -> float:
    """Return the upper bound of the share `bad` / `of` with 95 % confidence (Clopper and Pearson)."""
    low, high = bad / of, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        tail = sum(math.comb(of, k) * middle**k * (1 - middle) ** (of - k) for k in range(bad + 1))
        low, high = (middle, high) if tail > 0.05 else (low, middle)
    return high


def recorded(paths: Sequence[Path]) -> list[Run]:
    """Return the figures of recorded runs. Raises EarwitnessError if the runs are not comparable."""
    samples = [sample_of(path) for path in paths]
    refuse_twice([sample.key for sample in samples], [sample.run for sample in samples])
    require_alike(samples)
    return [dict(sample.figures) for sample in samples]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", type=Path, metavar="RUN")
    parser.add_argument("--pairs", type=int, default=600)
    parser.add_argument("--each", type=int, default=10, help="runs a side (default 10)")
    parser.add_argument("--slower", type=float, default=0.0, metavar="PERCENT")
    parser.add_argument("--margin", type=float, default=MARGIN, metavar="PERCENT")
    parser.add_argument("--most", type=float, default=1.0, metavar="PERCENT", help="false alarms (default 1)")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    begun = time.monotonic()
    if args.runs:
        if len(args.runs) < max(FEWEST, 2 * args.each):
            parser.error(f"{len(args.runs)} runs; {max(FEWEST, 2 * args.each)} of one state are needed")
        try:
            runs = recorded(args.runs)
        except EarwitnessError as error:
            parser.error(str(error))
        draw, source = drawn_from(runs, args.each), f"halves of {len(runs)} recorded runs"
        names, _ = comparable_names(runs, [])
    else:
        names, source = list(TYPICAL), "simulated runs"

        def draw(rng: np.random.Generator) -> Pair:
            return [simulated(rng) for _ in range(args.each)], [simulated(rng) for _ in range(args.each)]

    found = count(draw, args.pairs, seed=args.seed, slower=args.slower, margin=args.margin)
    what = f"{args.slower:g} % slower" if args.slower else "A/A"
    print(f"{found.pairs} pairs of {args.each} and {args.each} {source}, {what}, {len(names)} rows, "
          f"margin {args.margin:g} %, {time.monotonic() - begun:.0f} s")  # fmt: skip
    for name, number in (
        ("a regression", found.regressions),
        ("any change for the worse", found.worse),
        ("any difference", found.claims),
    ):
        bound = 100 * upper_95(number, found.pairs)
        print(f"{name} claimed in {number}: {100 * number / found.pairs:.2f} % (95 %: below {bound:.2f} %)")
    return int(not args.slower and 100 * found.regressions / found.pairs > args.most)


if __name__ == "__main__":
    sys.exit(main())
