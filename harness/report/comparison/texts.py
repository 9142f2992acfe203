"""Text of a comparison for the terminal: a line for each row, the legend, and the result."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from earwitness.harness.report.comparison.rows import LEVEL, POINTS, RANKS_FROM, Row
from earwitness.harness.report.comparison.within import CONFIDENCE as CONFIDENCE_WITHIN

UNKNOWN_SPREAD: Final = "spread between runs unknown"
POINTS_TOO: Final = f"errors, streams: {POINTS:g} points"


def table(rows: Sequence[Row], margin: float) -> str:
    """Return the rows as text for a terminal, grouped by their outcome (see `groups`), regressions first.

    `margin`: per cent.
    """
    head = f"{'':<20}{'before':>9}{'after':>9} {'':<4} {'ratio (95 % interval)':<24}".rstrip()
    parts = [head]
    for title, members in groups(rows, margin):
        parts += [f"{title}:", *(line(row) for row in members)] if members else []
    return "\n".join(parts)


def groups(rows: Sequence[Row], margin: float) -> list[tuple[str, list[Row]]]:
    """Return (outcome in words, its rows) for each outcome, the worst first; outcomes without rows are there too.

    `margin`: per cent.
    """
    limit = f"by more than {margin:.3g} % ({POINTS_TOO})"
    return [
        (f"worse, {limit}", [row for row in rows if row.regression]),
        (f"worse; not shown: {limit}", [row for row in rows if row.seen and row.worse and not row.regression]),
        ("better", [row for row in rows if row.seen and not row.worse]),
        ("no difference seen; with these runs so much would have been", [row for row in rows if not row.seen]),
    ]


def line(row: Row) -> str:
    """Return one row as text: name, both means, unit, and the ratio or difference with its interval.

    It ends with the `word` of a claimed difference, else with the smallest change that would have been `visible`.
    """
    if row.absolute:
        change = f"{row.change:+.2f} ({row.low:+.2f} to {row.high:+.2f})"
    else:
        change = f"{_ratio(row.change)} ({_ratio(row.low)} to {_ratio(row.high)})"
    shown = f"{row.name:<20}{_digits(row.before):>9}{_digits(row.after):>9} {row.unit:<4} {change:<24}"
    return f"{shown} {word(row) if row.seen else visible(row)}"


def word(row: Row) -> str:
    """Return the direction of a claimed difference, from before to after: "faster", "slower", "more" or "less"."""
    if row.more_is_better:
        return "less" if row.worse else "more"
    if row.unit in ("MB", "%") or row.name.startswith("CPU"):
        return "more" if row.worse else "less"
    return "slower" if row.worse else "faster"


def visible(row: Row) -> str:
    """Return the smallest change that the runs would have shown, such as "≥ 12 %".

    "none" if they would have shown no change of any size, "any" if every change.
    """
    if row.seen_from is None:
        return "none"
    if row.seen_from == 0:
        return "any"
    if row.absolute:
        return f"≥ {_two_digits(row.seen_from)} points"
    return f"≥ {_two_digits(row.seen_from * 100)} %"


def _two_digits(value: float) -> str:
    """Return `value` as text with two significant digits, rounded up: no smaller change is claimed to be visible."""
    step = 10.0 ** (math.floor(math.log10(value)) - 1)
    return f"{math.ceil(value / step - 1e-9) * step:.6g}"


def _ratio(value: float) -> str:
    return f"{value:.2f}" if value < 100 else "> 100"


def _digits(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def method(rows: Sequence[Row], runs: tuple[int, int]) -> str:
    """Return text on the method: which test decides, and how often a comparison of equal states claims a difference.

    `runs`: number of runs of each side.
    """
    wrong = f"Of 100 comparisons of a state with itself, {LEVEL * 100:g} or fewer claim a difference."
    over = f"Intervals are over runs. p is adjusted over {len(rows)} rows (Holm)."
    if rows and rows[0].p_ranks is not None:
        return f"{over}\nThe rank test decides whether there is a difference, the interval how large.\n{wrong}"
    few = min(runs) < RANKS_FROM
    reason = f"fewer than {RANKS_FROM} runs a side" if few else "too few runs for so many rows"
    return f"{over}\nNo claim by ranks: {reason}.\nThe interval decides alone; it supposes that runs vary evenly."


def result(rows: Sequence[Row], margin: float) -> str:
    """Return the last line: the regressions by name, or that there is none. `margin`: per cent."""
    worse = [row.name for row in rows if row.regression]
    if worse:
        return f"REGRESSION by more than {margin:.3g} %: {', '.join(worse)}"
    seen = [row.name for row in rows if row.seen and row.worse]
    less = f"; worse within it, or perhaps beyond: {', '.join(seen)}" if seen else ""
    return f"no regression beyond {margin:.3g} %{less}"


def pair_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the rows of two single runs as text, below a heading that says what two runs cannot show."""
    head = (
        f"{UNKNOWN_SPREAD}: each interval ({CONFIDENCE_WITHIN:g} %) holds only what varies within the two runs.\n"
        "No regression can be claimed. Record more runs of both sides (seven or more), and compare A… -- B…"
    )
    return "\n".join([head, *(_pair_line(row) for row in rows)])


def _pair_line(row: Mapping[str, Any]) -> str:
    samples: Sequence[int] = row["samples"]
    ratio = "" if row["ratio"] is None else f" x {row['ratio']:.2f} ({row['low']:.2f} to {row['high']:.2f})"
    what = str(row["word"])
    if str(row["name"]).startswith("memory"):
        what = what.replace("slower", "more").replace("faster", "less")
    return f"{row['name']:<28}{row['a']:>10g} → {row['b']:<10g}{ratio:<26}{what}  ({samples[0]:,} and {samples[1]:,})"
