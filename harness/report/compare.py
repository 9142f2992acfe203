"""The verb `earwitness compare A B`: report what is slower in B than in A by more than noise."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from earwitness.harness.errors import Exit, RecordError, SettingsError
from earwitness.harness.progress import show, show_json
from earwitness.harness.record.history import History, open_history
from earwitness.harness.record.rundir import read_json
from earwitness.harness.report.measures import Times
from earwitness.harness.report.series import Series, latency_series, memory_series

BLOCK_NS = 1_000_000_000
"""Length of a block in ns: samples within a second are correlated, so seconds are drawn, not single samples."""
ENOUGH = 10
"""Seconds with samples that each run must have for a row."""
RESAMPLES = 1000
FINEST, BINS_AN_OCTAVE = 1e-3, 256
MEMORY = "memory"
CONFIDENCE = 99.0
"""Confidence of each interval in per cent: higher than usual, because many rows are compared."""

EPILOG = """Each row: the figure of A, of B, their ratio B/A with a 99 % interval, drawn from the seconds of both, and
a word. slower: more than the tolerance, for certain (exit 4). noise: the interval holds 1. What differs from run to run
(the machine's other work, a cold cache) is not in the interval: repeat a comparison that matters.
Exit codes: 0 nothing is slower beyond the tolerance, 4 something is, 2 could not compare."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `earwitness compare`."""
    parser.epilog = EPILOG
    parser.add_argument("a", metavar="A", type=Path, help="run directory before the change")
    parser.add_argument("b", metavar="B", type=Path, help="run directory after the change")
    parser.add_argument(
        "--tolerance", type=float, default=20.0, metavar="PERCENT", help="tolerated slowdown or growth (default 20)"
    )
    parser.add_argument("--json", action="store_true", help="print the rows as JSON")


def run(args: argparse.Namespace) -> int:
    """Print one row per figure and return the exit code.

    Raises RecordError for a path that is not a run directory, SettingsError for runs without a common figure.
    """
    if args.tolerance < 0:
        raise SettingsError("--tolerance", [f"{args.tolerance:g} is negative; write --tolerance 20"])
    before, after = open_history(args.a), open_history(args.b)
    rows = compare(series_of(before), series_of(after), args.tolerance / 100)
    if not rows:
        raise SettingsError("compare", [f"the runs have no figure in common that lasted {ENOUGH} s in both"])
    if args.json:
        show_json({"differ": differences(before, after), "rows": rows})
    else:
        for what in differences(before, after):
            show(f"not alike: {what}")
        show("\n".join(_line(row) for row in rows))
    return Exit.THRESHOLD if any(row["word"] == "slower" for row in rows) else Exit.PASS


def series_of(history: History) -> dict[str, Series]:
    """Return the series of a run.

    Rare operations such as logins are dropped later: they span too few seconds.
    """
    sizes = [len(members) for members in history.roster.conversations]
    found = latency_series([view.records for view in history.journals], sizes)
    return found | memory_series(history.table("services"))


def differences(a: History, b: History) -> list[str]:
    """Return in words what was not the same in both runs."""
    told = []
    for name, key in (("story", "story"), ("load", "planned"), ("faults", "planned_faults"), ("machine", "machine")):
        one, other = a.run.get(key), b.run.get(key)
        if one != other:
            told.append(f"{name}: {one} and {other}")
    for history in (a, b):
        outcome = _outcome(history)
        if outcome != "PASS":
            told.append(f"{history.path.name} was {outcome or 'never judged'}: its figures may be those of a defect")
    return told


def _outcome(history: History) -> str | None:
    try:
        return str(read_json(history.path / "verdict.json")["outcome"])
    except (RecordError, KeyError):
        return None


def compare(a: Mapping[str, Series], b: Mapping[str, Series], tolerance: float) -> list[dict[str, Any]]:
    """Return one row per quantile of each series that both have: name, a, b, ratio, low, high, samples, word."""
    rows = []
    for name in a:
        if name not in b:
            continue
        quantiles = (0.5,) if name.startswith(MEMORY) else (0.5, 0.99)
        one, other = Blocks(a[name]), Blocks(b[name])
        if min(one.seconds, other.seconds) >= ENOUGH:
            rows += [_row(name, q, one, other, tolerance) for q in quantiles]
    return rows


class Blocks:
    """Samples of each second, counted in bins of 0.3 %, so that a thousand resampled runs cost little."""

    def __init__(self, series: Series) -> None:
        t, values = series
        bins = np.rint(np.log2(np.maximum(values, FINEST) / FINEST) * BINS_AN_OCTAVE).astype(int)
        _, second = np.unique(t // BLOCK_NS, return_inverse=True)
        self.samples, self.values = len(values), values
        self.seconds = int(second.max()) + 1 if len(values) else 0
        self._first = int(bins.min()) if len(values) else 0
        self._counts = np.zeros((self.seconds, int(bins.max(initial=0)) - self._first + 1))
        np.add.at(self._counts, (second, bins - self._first), 1)

    def redrawn(self, quantile: float, rng: np.random.Generator) -> Times:
        """Return the quantile of each of RESAMPLES runs that consist of drawn seconds (a bootstrap)."""
        drawn = rng.multinomial(self.seconds, np.full(self.seconds, 1 / self.seconds), RESAMPLES)
        reached = np.cumsum(drawn @ self._counts, axis=1)
        bins = (reached < quantile * reached[:, -1:]).sum(axis=1)
        result: Times = FINEST * 2.0 ** ((bins + self._first) / BINS_AN_OCTAVE)
        return result


def _row(name: str, quantile: float, a: Blocks, b: Blocks, tolerance: float) -> dict[str, Any]:
    rng = np.random.default_rng(1)
    ratios = b.redrawn(quantile, rng) / a.redrawn(quantile, rng)
    edge = (100 - CONFIDENCE) / 2
    low, high = (float(v) for v in np.percentile(ratios, (edge, 100 - edge)))
    before, after = (float(np.quantile(blocks.values, quantile)) for blocks in (a, b))
    return {
        "name": f"{name} p{quantile * 100:g}",
        "a": round(before, 3),
        "b": round(after, 3),
        "ratio": round(after / before, 3) if before else None,
        "low": round(low, 3),
        "high": round(high, 3),
        "samples": [a.samples, b.samples],
        "word": word(low, high, tolerance, steady=name.startswith(MEMORY)),
    }


def word(low: float, high: float, tolerance: float, *, steady: bool = False) -> str:
    """Return the word for an interval of the ratio.

    `steady`: the series hardly moves within a run and differs from start to start. The interval does not cover that, so
    a change within the tolerance gets no stronger word.
    """
    if steady and 1 / (1 + tolerance) <= low and high <= 1 + tolerance:
        return "within tolerance"
    if low <= 1 <= high:
        return "noise"
    if low > 1:
        return "slower" if low > 1 + tolerance else "a little slower" if high <= 1 + tolerance else "perhaps slower"
    return "faster" if high < 1 / (1 + tolerance) else "a little faster"


def _line(row: Mapping[str, Any]) -> str:
    what = (
        row["word"].replace("slower", "more").replace("faster", "less")
        if row["name"].startswith(MEMORY)
        else row["word"]
    )
    samples: Sequence[int] = row["samples"]
    ratio = "" if row["ratio"] is None else f" x {row['ratio']:.2f} ({row['low']:.2f} to {row['high']:.2f})"
    return f"{row['name']:<28}{row['a']:>10g} → {row['b']:<10g}{ratio:<26}{what}  ({samples[0]:,} and {samples[1]:,})"
