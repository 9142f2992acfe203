"""Clocks of other hosts: what exchanges prove of them, and how times are mapped."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest

from earwitness.checks.history.record import NOBODY, NONE, RECORD, Kind, Phase
from earwitness.harness.record.clocks import DRIFT_PPM, HERE, KEY, ClockMap, Offset, mapping_of
from earwitness.harness.record.evidence import conclude
from earwitness.harness.record.exporter import headers
from earwitness.harness.record.history import Follower, open_history
from earwitness.harness.record.journal import Journal
from earwitness.harness.record.rundir import RunDirectory

Make = Callable[..., tuple[int, ...]]
S, MS = 1_000_000_000, 1_000_000
DAY = 86_400 * S


def exchanged(seed: int, seconds: int, drift_ppm: float) -> tuple[Offset, Callable[[int], int]]:
    """Exchanges once a second with a clock two days ahead that drifts; ways take up to 5 ms, some 300 ms. Also returns
    the true time on the master's clock by that of the other one."""
    rng, offset = random.Random(seed), Offset()

    def true(there: int) -> int:
        return there - 2 * DAY - round((there - 3 * DAY) * drift_ppm / 1e6)

    for second in range(seconds):
        there = 3 * DAY + second * S + rng.randrange(S // 2)
        before, after = (rng.randrange(300 * MS if rng.random() < 0.05 else 5 * MS) for _ in range(2))
        offset.add(true(there) - before, there, true(there) + after)
    return offset, true


@pytest.mark.parametrize("drift_ppm", [0.0, 3.0, -40.0, 450.0, -DRIFT_PPM / 2])
@pytest.mark.parametrize("seconds", [1, 2, 60, 1800])
def test_the_bound_holds_at_every_time(seconds: int, drift_ppm: float) -> None:
    """However slow and unequal the ways, and whatever the drift."""
    for seed in range(5):
        offset, true = exchanged(seed, seconds, drift_ppm)
        offset.summary()  # as it is stated when the run begins
        stated = offset.summary()
        bound = stated["bound_ns"]
        assert bound is not None
        mapping = ClockMap(
            **{key: stated[key] for key in ("offset_ns", "drift_ppb", "since_ns", "until_ns", "bound_ns")}
        )
        times = np.linspace(stated["since_ns"], stated["until_ns"], 999).astype(np.int64).tolist()
        assert max(abs(mapping.time(t) - true(t)) for t in times) <= bound
        later = stated["until_ns"] + 100 * S
        assert abs(mapping.time(later) - true(later)) <= (mapping.bound_until(later) or 0)


def test_the_bound_is_as_good_as_the_best_ways() -> None:
    """Slow exchanges cost nothing while others are quick; a drift is found where it pays, and only there."""
    steady, _ = exchanged(1, 600, 0.0)
    assert (steady.summary()["bound_ns"] or S) < 6 * MS
    assert steady.summary()["drift_ppb"] == 0
    drifting, _ = exchanged(1, 1800, 100.0)
    first = drifting.summary()
    assert (first["bound_ns"] or S) < 10 * MS
    assert abs(first["drift_ppb"] + 100_000) < 3000


def test_a_clock_that_jumped_has_no_bound() -> None:
    """A machine that slept, or was moved: no offset fits all exchanges."""
    offset = Offset()
    for second in range(10):
        there = (100 + second) * S
        here = there - 50 * S + (S if second > 5 else 0)
        offset.add(here, there, here + MS)
    assert offset.summary()["bound_ns"] is None


def test_all_times_of_a_record_are_mapped() -> None:
    """Also when a request was sent, when a token ends, and when the wall clock had not been stepped yet."""
    rows = np.zeros(5, RECORD)
    rows["t"], rows["seq"] = 10 * S, [7 * S, NONE, 12, 8 * S, 3]
    rows["kind"] = [Kind.REQUEST, Kind.TOKEN, Kind.DELIVER, Kind.PHASE, Kind.PHASE]
    rows["counter"] = [0, 0, 0, Phase.CLOCK_STEP, Phase.LOAD]
    ClockMap(offset_ns=-2 * S).apply(rows)
    assert rows["t"].tolist() == [8 * S] * 5
    assert rows["seq"].tolist() == [5 * S, NONE, 12, 6 * S, 3]


CLOCKS = {
    "master": "a",
    "others": {
        "b": {"offset_ns": 2 * S, "drift_ppb": 0, "since_ns": 0, "bound_ns": MS, "until_ns": 20 * S, "exchanges": 9},
        "c": {"offset_ns": 0, "drift_ppb": 0, "since_ns": 0, "bound_ns": None, "until_ns": 20 * S, "exchanges": 9},
    },
}


@pytest.mark.parametrize(
    ("clock", "offset_ns", "bound_ns"), [("a", 0, 0), ("b", 2 * S, MS), ("c", 0, None), ("other", 0, None)]
)
def test_which_clock(clock: str, offset_ns: int, bound_ns: int | None) -> None:
    """The master's own, one that was measured, one that jumped, one that nobody asked."""
    mapping = mapping_of({KEY: CLOCKS}, {"clock": clock})
    assert (mapping.offset_ns, mapping.bound_ns) == (offset_ns, bound_ns)
    assert mapping_of({}, {"clock": clock}) is HERE


def test_journals_are_read_on_the_masters_clock(run: RunDirectory, record: Make) -> None:
    """In batches, as a whole, and one record alone; the bound grows behind the last exchange."""
    for name in ("a", "b"):
        journal = Journal.create(run.journals, name, meta={"clock": name, "wall_minus_monotonic_ns": 5 * S})
        for second in (10, 30):
            journal.write(second * S, *record()[1:])
        journal.close({})
    run.update(journals=["a", "b"], clocks=CLOCKS)
    conclude(run)
    history = open_history(run.path)
    assert [batch.records["t"].tolist() for batch in history.batches()] == [[10 * S, 30 * S], [12 * S, 32 * S]]
    there = history.journals[1]
    assert there.records["t"].tolist() == [12 * S, 32 * S]
    one = there.record(2)
    assert one is not None
    assert one["t"] == 32 * S
    said = headers(history)
    exported = [one["journal"]["meta"]["clock_bound_ns"] for one in said if "journal" in one]
    assert exported == [info.meta["clock_bound_ns"] for info in history.infos()]  # an import has the same bounds,
    assert all("clocks" not in one.get("run", {}) for one in said)  # and maps nothing a second time
    here, meta = (info.meta for info in history.infos())
    assert (here["clock_bound_ns"], meta["clock_bound_ns"]) == (0, MS + 10 * S * DRIFT_PPM // 1_000_000)
    assert (here["wall_minus_monotonic_ns"], meta["wall_minus_monotonic_ns"]) == (5 * S, 3 * S)


def test_a_live_judge_learns_of_a_better_mapping(run: RunDirectory, record: Make) -> None:
    """What it has read was on another clock then: the run is judged again."""
    journal = Journal.create(run.journals, "b", meta={"clock": "b"})
    journal.write(10 * S, *record()[1:])
    run.update(journals=["b"], clocks=CLOCKS)
    follower = Follower(run.path)
    assert [batch.records["t"].tolist() for batch in follower.sweep()] == [[12 * S]]
    journal.close({})
    better = {**CLOCKS["others"]["b"], "drift_ppb": 1000}  # type: ignore[index]
    conclude(run, clocks={"master": "a", "others": {"b": better}})
    assert list(follower.sweep(last=True)) == []
    assert follower.revised


def test_a_record_of_nobody_is_left_as_it_is() -> None:
    """Slots that are no times stay, whatever they hold."""
    rows = np.zeros(1, RECORD)
    rows["author"], rows["kind"], rows["aux"] = NOBODY, Kind.CONNECT, 77
    ClockMap(offset_ns=S).apply(rows)
    assert (rows["t"][0], rows["seq"][0], rows["aux"][0]) == (S, 0, 77)
