"""Rows of a comparison over runs: each figure's means, ratio with interval, and whether a difference is claimed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from earwitness.harness.report.comparison.samples import Measure, measure_of
from earwitness.harness.report.comparison.statistics import (
    Shift,
    detectable_by_interval,
    detectable_by_ranks,
    holm,
    least_rank_p,
    rank_p,
    ranks_higher,
    shift_of,
)

CONFIDENCE: Final = 0.95
"""Confidence level of the interval that is shown for each row."""
LEVEL: Final = 0.02
"""Highest accepted probability that a comparison of a state with itself claims any difference at all.

Half of these differences are for the worse, so a regression is claimed in at most one of a hundred comparisons.
"""
LEVEL_OF_MARGIN: Final = 0.05
"""Highest probability `p_margin` with which a regression is claimed: a difference that is larger than the margin.

`p_margin` is two-sided. Where the true difference is exactly the margin, half of it is for changes to the worse.
"""
RANKS_FROM: Final = 7
"""Fewest runs a side from which the rank test can reach LEVEL in each of up to 34 rows."""
FEWEST_RUNS: Final = 2
MOST_RUNS: Final = 100
"""Most runs a side: with more, the drawn sets would take over 32 MB, for little more precision."""
POINTS: Final = 0.1
"""Margin of figures that are compared by their difference (errors), in percentage points."""
FACTOR_MAX: Final = 100.0
"""Factor from which the smallest visible change is not stated any more: the runs vary too much to measure anything."""

Figures = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Row:
    """One figure of both sides.

    before, after  means over runs
    change         ratio of the means, after / before; for `absolute` figures the difference
    low, high      interval of `change` over runs
    p, p_ranks     p-values of "no difference", by the interval and by ranks, adjusted by Holm's method over all rows;
                   p_ranks None: the rank test cannot decide here
    p_margin       p-value of "as much worse as the margin allows", by the test that decides, adjusted in the same way
    seen           whether a difference is claimed, by ranks if the rank test decides, else by the interval
    worse          whether the change is in the bad direction
    regression     whether a difference is claimed that is larger than the margin and for the worse
    seen_from      smallest change (a share, or percentage points) that would have been claimed; None: none
                   would be
    """

    name: str
    unit: str
    absolute: bool
    more_is_better: bool
    before: float
    after: float
    change: float
    low: float
    high: float
    p: float
    p_ranks: float | None
    p_margin: float
    seen: bool
    worse: bool
    regression: bool
    seen_from: float | None

    def to_dict(self) -> dict[str, Any]:
        """Return the row as a JSON-ready dict, with numbers shortened to six digits."""
        return {key: float(f"{v:.6g}") if isinstance(v, float) else v for key, v in asdict(self).items()}


def comparable_names(before: Sequence[Figures], after: Sequence[Figures]) -> tuple[list[str], list[str]]:
    """Return (names of figures that all runs have, names of those that only some have), in order of first appearance.

    A figure that is compared by its ratio, and is zero in a run, counts as missing in that run.
    """
    runs = [*before, *after]
    names = list(dict.fromkeys(name for run in runs for name in run))
    whole = [name for name in names if all(_usable(name, run) for run in runs)]
    return whole, [name for name in names if name not in whole]


def _usable(name: str, run: Figures) -> bool:
    value = run.get(name)
    return value is not None and math.isfinite(value) and (value > 0 or measure_of(name).absolute)


def ranks_decide(runs_a: int, runs_b: int, rows: int) -> bool:
    """Return whether the rank test decides: there are enough runs a side, and not too many rows to reach LEVEL."""
    return min(runs_a, runs_b) >= RANKS_FROM and rows * least_rank_p(runs_a, runs_b) <= LEVEL


def compare_sets(before: Sequence[Figures], after: Sequence[Figures], margin: float) -> list[Row]:
    """Return one row for each figure that all runs have.

    `before`, `after`: the figures of each run, by name; `margin`: share by which a ratio may become worse. With enough
    runs (`ranks_decide`) the rank test decides whether there is a difference: it holds for any distribution, and one
    disturbed run does not hide a difference that the other runs show. With fewer runs the interval decides. The
    p-values of both tests are adjusted over all rows. Raises ValueError for fewer than FEWEST_RUNS runs.
    """
    names, _ = comparable_names(before, after)
    ranks = ranks_decide(len(before), len(after), len(names))
    columns = [([run[name] for run in before], [run[name] for run in after]) for name in names]
    shifts = [shift_of(a, b, ratio=not measure_of(name).absolute) for name, (a, b) in zip(names, columns, strict=True)]
    ps = holm([_p_of(shift, a, b) for shift, (a, b) in zip(shifts, columns, strict=True)])
    by_ranks = holm([rank_p(a, b) for a, b in columns]) if ranks else [None] * len(names)
    measured = [(measure_of(name), a, b) for name, (a, b) in zip(names, columns, strict=True)]
    by_margin = holm([margin_p(*of, margin, ranks=ranks) for of in measured])
    smallest = [_seen_from(*of, LEVEL / len(names), ranks=ranks) for of in measured]
    every = zip(names, columns, shifts, zip(ps, by_ranks, by_margin, strict=True), smallest, strict=True)
    return [_row(name, runs, shift, tests, seen_from=size) for name, runs, shift, tests, size in every]


def _p_of(shift: Shift, a: Sequence[float], b: Sequence[float]) -> float:
    """Return the p-value of a row; 1 if the runs show no spread and are equal, or are fewer than RANKS_FROM a side."""
    flat = len(set(a)) == 1 and len(set(b)) == 1
    return 1.0 if flat and (a[0] == b[0] or min(len(a), len(b)) < RANKS_FROM) else shift.p


def _row(
    name: str,
    runs: tuple[Sequence[float], Sequence[float]],
    shift: Shift,
    ps: tuple[float, float | None, float],
    *,
    seen_from: float | None,
) -> Row:
    measure, (p, p_ranks, p_margin) = measure_of(name), ps
    low, high = shift.interval(CONFIDENCE)
    change = shift.estimate
    up = shift.estimate if p_ranks is None else ranks_higher(*runs)
    if not measure.absolute:
        low, high, change = (math.exp(max(-700.0, min(value, 700.0))) for value in (low, high, change))
    seen, worse = (p if p_ranks is None else p_ranks) <= LEVEL, (up < 0 if measure.more_is_better else up > 0)
    return Row(
        name=name, unit=measure.unit, absolute=measure.absolute, more_is_better=measure.more_is_better,
        before=sum(runs[0]) / len(runs[0]), after=sum(runs[1]) / len(runs[1]),
        change=change, low=low, high=high, p=p, p_ranks=p_ranks, p_margin=p_margin,
        seen=seen, worse=worse, regression=seen and worse and p_margin <= LEVEL_OF_MARGIN, seen_from=seen_from,
    )  # fmt: skip


def margin_p(measure: Measure, a: Sequence[float], b: Sequence[float], margin: float, *, ranks: bool) -> float:
    """Return the two-sided p-value of "B is as much worse as the margin allows"; 1 if B is not worse than that.

    `a`, `b`: the figure in each run; `margin`: a share; `ranks`: use the rank test, else the interval. For figures that
    are compared by their difference the margin is POINTS.
    """
    if measure.absolute:
        moved = [value + POINTS for value in a]
    else:
        moved = [value * (1 - margin if measure.more_is_better else 1 + margin) for value in a]
    shift = None if ranks else shift_of(moved, b, ratio=not measure.absolute)
    up = ranks_higher(moved, b) if shift is None else shift.estimate
    if not (up < 0 if measure.more_is_better else up > 0):
        return 1.0
    return rank_p(moved, b) if shift is None else _p_of(shift, moved, b)


def _seen_from(measure: Measure, a: Sequence[float], b: Sequence[float], level: float, *, ranks: bool) -> float | None:
    """Return the smallest change for the worse that would have been claimed: a share, or percentage points.

    None if not even a change by the factor FACTOR_MAX, or by 100 points, would have been. `a`, `b`: the figure in each
    run; `level`: the p-value that counts as a difference; `ranks`: by the rank test, else by the interval.
    """
    detectable = detectable_by_ranks if ranks else detectable_by_interval
    shift = detectable(a, b, level, ratio=not measure.absolute)
    if measure.absolute:
        return shift if shift < 100 else None
    if shift >= math.log(FACTOR_MAX):
        return None
    return 1 - math.exp(-shift) if measure.more_is_better else math.exp(shift) - 1
