"""Rows over runs: what is claimed, what is not, and the words for it."""

from __future__ import annotations

import numpy as np
import pytest

from earwitness.harness.report.comparison import texts
from earwitness.harness.report.comparison.rows import (
    LEVEL,
    Row,
    comparable_names,
    compare_sets,
    margin_p,
    ranks_decide,
)
from earwitness.harness.report.comparison.samples import measure_of
from earwitness.harness.report.comparison.statistics import least_rank_p

NAMES = ("fan-out of 5 p50", "fan-out of 5 p99", "ack p50", "messages sent", "CPU of backend", "memory of backend")


def runs(seed: int, number: int = 10, slower: float = 1.0, spread: float = 0.03, errors: float = 0.0) -> list[dict]:
    """Figures of so many runs; latencies and CPU `slower` times as great."""
    rng = np.random.default_rng(seed)
    return [
        {name: 10 * (slower if measure_of(name).unit == "ms" else 1) * float(np.exp(rng.normal(0, spread)))
         for name in NAMES} | {"errors": errors}
        for _ in range(number)
    ]  # fmt: skip


def by_name(rows: list[Row]) -> dict[str, Row]:
    return {row.name: row for row in rows}


def test_a_state_compared_with_itself() -> None:
    """No regression in forty comparisons, and next to no claim at all."""
    claims = [row for seed in range(40) for row in compare_sets(runs(seed), runs(1000 + seed), 0.05) if row.seen]
    assert len({row.name for row in claims}) <= 1
    assert not any(row.regression for row in claims)


def test_twenty_per_cent_are_found_with_their_interval() -> None:
    for seed in range(10):
        rows = by_name(compare_sets(runs(seed), runs(1000 + seed, slower=1.2), 0.05))
        slow = {name for name, row in rows.items() if row.regression}
        assert slow == {"fan-out of 5 p50", "fan-out of 5 p99", "ack p50", "CPU of backend"}
        assert rows["ack p50"].low < 1.2 < rows["ack p50"].high
        assert rows["ack p50"].low > 1.05
        assert rows["ack p50"].before == pytest.approx(10, rel=0.05)
        assert rows["ack p50"].after == pytest.approx(12, rel=0.05)


def test_five_per_cent_are_no_regression_beyond_five() -> None:
    """Where they are not seen the row names a size that is larger than they are, or near it."""
    wrong = 0
    for seed in range(20):
        row = by_name(compare_sets(runs(seed), runs(1000 + seed, slower=1.05), 0.05))["ack p50"]
        wrong += row.regression
        assert row.seen or (row.seen_from is not None and row.seen_from > 0.025)
    assert wrong <= 1


def test_faster_is_no_regression() -> None:
    rows = by_name(compare_sets(runs(1, slower=1.2), runs(2), 0.05))
    assert rows["ack p50"].seen
    assert not rows["ack p50"].worse
    assert not any(row.regression for row in rows.values())
    assert texts.word(rows["ack p50"]) == "faster"


def test_one_disturbed_run_hides_nothing() -> None:
    """The mean and its interval move with it; ranks do not."""
    before, after = runs(1), runs(2, slower=1.2)
    after[3] = {name: value * 3 for name, value in after[3].items()}
    row = by_name(compare_sets(before, after, 0.05))["ack p50"]
    assert row.low < 1.05
    assert row.regression


def test_less_throughput_is_worse_and_more_is_not() -> None:
    before, fewer = runs(1), [{**run, "messages sent": run["messages sent"] * 0.7} for run in runs(2)]
    row = by_name(compare_sets(before, fewer, 0.05))["messages sent"]
    assert row.regression
    assert texts.word(row) == "less"
    assert not any(row.regression for row in compare_sets(fewer, before, 0.05))


def test_errors_are_compared_by_their_difference() -> None:
    rng = np.random.default_rng(1)
    some = [{**run, "errors": float(rng.uniform(0.4, 0.6))} for run in runs(2)]
    row = by_name(compare_sets(runs(1), some, 0.05))["errors"]
    assert row.regression
    assert row.change == pytest.approx(0.5, abs=0.05)
    assert texts.word(row) == "more"
    few = [{**run, "errors": 0.05} for run in runs(2)]
    assert not any(row.regression for row in compare_sets(runs(1), few, 0.05))


def test_few_runs_make_no_claim_by_ranks() -> None:
    """Six a side, however far apart: the interval alone decides, and can."""
    rows = compare_sets(runs(1, 6), runs(2, 6, slower=2.0), 0.05)
    assert {row.p_ranks for row in rows} == {None}
    assert by_name(rows)["ack p50"].regression
    assert all(row.p_ranks is not None for row in compare_sets(runs(1, 7), runs(2, 7), 0.05))
    assert "No claim by ranks: fewer than 7 runs a side" in texts.method(rows, (6, 6))


def test_ranks_decide_only_where_they_can() -> None:
    """As many rows as seven runs a side can carry, and one more."""
    most = int(LEVEL / least_rank_p(7, 7))
    assert ranks_decide(7, 7, most)
    assert not ranks_decide(7, 7, most + 1)
    assert not ranks_decide(6, 100, 1)


def test_equal_numbers_of_few_runs_prove_nothing() -> None:
    """Memory in whole MB was the same in two runs of each side: there is no spread to compare with."""
    row = compare_sets([{"memory of backend": 60.0}] * 2, [{"memory of backend": 66.0}] * 2, 0.05)[0]
    assert not row.seen
    row = compare_sets([{"memory of backend": 60.0}] * 8, [{"memory of backend": 66.0}] * 8, 0.05)[0]
    assert row.regression


def test_only_what_all_runs_have_is_compared() -> None:
    """And a figure that is zero in a run has no ratio; errors have a difference."""
    before, after = [{"ack p50": 1.0, "ack p99": 2.0, "errors": 0.0}], [{"ack p50": 1.0, "errors": 0.0}]
    assert comparable_names(before, after) == (["ack p50", "errors"], ["ack p99"])
    assert comparable_names([{"ack p50": 0.0}], [{"ack p50": 1.0}]) == ([], ["ack p50"])
    assert comparable_names([{"ack p50": float("inf")}], [{"ack p50": 1.0}]) == ([], ["ack p50"])


def test_what_is_not_seen_is_no_regression() -> None:
    """Without a margin both tests are one; its p of 0.028 is enough for the margin, and not for the difference."""
    rows = compare_sets([{"ack p50": x} for x in (1, 2, 3, 4, 5, 6, 9, 12.5)],
                        [{"ack p50": x} for x in (7, 8, 11, 12, 13, 14, 5.5, 6.5)], 0.0)  # fmt: skip
    assert LEVEL < rows[0].p_margin == rows[0].p_ranks <= 0.05
    assert not rows[0].seen
    assert not rows[0].regression


@pytest.mark.parametrize(("ranks", "number"), [(True, 10), (False, 10), (False, 5)])
def test_the_margin(ranks: bool, number: int) -> None:
    """What is just as much worse as the margin allows is not beyond it; what is better has p 1."""
    a = [100.0 + k for k in range(number)]
    for name, sign in (("ack p50", 1), ("messages sent", -1)):
        at, above, below = (
            margin_p(measure_of(name), a, [x * (1 + sign * by) for x in a], 0.05, ranks=ranks)
            for by in (0.05, 0.2, -0.2)
        )
        assert at > 0.5
        assert above < 0.001
        assert below == 1.0
    errors = measure_of("errors")
    assert margin_p(errors, [x / 1e4 for x in a], [0.2 + x / 1e4 for x in a], 0.05, ranks=ranks) < 0.001
    assert margin_p(errors, [x / 1e4 for x in a], [0.09 + x / 1e4 for x in a], 0.05, ranks=ranks) == 1.0


def test_a_change_as_large_as_the_margin_is_rarely_called_larger() -> None:
    """All latencies are exactly 5 % greater; in whole comparisons 2.5 % may be wrong, here 3 of 60."""
    claims = [
        any(row.regression for row in compare_sets(runs(seed), runs(1000 + seed, slower=1.05), 0.05))
        for seed in range(60)
    ]
    assert sum(claims) <= 3


def row_of(**changed: object) -> Row:
    told = {"name": "ack p50", "unit": "ms", "absolute": False, "more_is_better": False, "before": 10.0, "after": 11.0}
    told |= {
        "change": 1.1,
        "low": 1.02,
        "high": 1.2,
        "p": 0.001,
        "p_ranks": None,
        "p_margin": 1.0,
        "seen": False,
        "worse": True,
    }
    return Row(**{**told, "regression": False, "seen_from": 0.0512, **changed})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("seen_from", "absolute", "words"),
    [(0.0512, False, "≥ 5.2 %"), (0.06, False, "≥ 6 %"), (1.234, False, "≥ 130 %"), (None, False, "none"),
     (0.0, False, "any"), (0.311, True, "≥ 0.32 points")],
)  # fmt: skip
def test_what_would_have_been_seen(seen_from: float | None, absolute: bool, words: str) -> None:
    """Rounded up: nothing smaller than what would have been seen is named."""
    assert texts.visible(row_of(seen_from=seen_from, absolute=absolute)) == words


def test_the_table_is_in_groups_of_80_columns() -> None:
    """Regressions first; a group without rows has no title."""
    rows = [row_of(name="fan-out of 100 p99", high=1e9), row_of(name="little", seen=True),
            row_of(name="messages delivered", seen=True, regression=True, more_is_better=True, unit="1/s"),
            row_of(name="good", seen=True, worse=False)]  # fmt: skip
    lines = texts.table(rows, 5).splitlines()
    assert max(map(len, lines)) <= 80
    assert [line if line.endswith(":") else line.split("  ")[0] for line in lines[1:]] == [
        "worse, by more than 5 % (errors, streams: 0.1 points):",
        "messages delivered",
        "worse; not shown: by more than 5 % (errors, streams: 0.1 points):",
        "little",
        "better:",
        "good",
        "no difference seen; with these runs so much would have been:",
        "fan-out of 100 p99",
    ]
    assert [line.split()[-1] for line in lines[2:9:2]] == ["less", "slower", "faster", "%"]
    assert "1.10 (1.02 to > 100)" in lines[-1]
    assert len(texts.table(rows[:1], 5).splitlines()) == 3


def test_the_result() -> None:
    rows = [row_of(name="calm"), row_of(name="little", seen=True), row_of(name="bad", seen=True, regression=True)]
    assert texts.result(rows, 5) == "REGRESSION by more than 5 %: bad"
    assert texts.result(rows[:2], 5) == "no regression beyond 5 %; worse within it, or perhaps beyond: little"
    assert texts.result(rows[:1], 5) == "no regression beyond 5 %"
