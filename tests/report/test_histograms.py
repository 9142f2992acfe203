"""Histograms of times, and the figures of whole histories by them, beside the exact ones of numpy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from earwitness.checks.history.record import Kind, empty
from earwitness.harness.report import histograms, recorded
from earwitness.harness.report.drift import WARM_UP, WINDOWS, Drift
from earwitness.harness.report.histograms import ERROR, Histograms
from earwitness.harness.report.measures import Measured
from earwitness.harness.report.recorded import Recorded

S = 1_000_000_000
SHARES = (0, 1, 25, 50, 90, 99, 99.9, 100)
SAMPLES = {
    "one": np.array([123_456_789]),
    "two far apart": np.array([5, 4_000_000_000]),
    "small": np.arange(300),
    "latencies": np.random.default_rng(1).lognormal(15, 1.5, 20_000).astype(np.int64),
    "clocks of two hosts": np.random.default_rng(2).normal(0, 3e6, 20_000).astype(np.int64),
    "few values": np.random.default_rng(3).choice([1_000, 77_777, 9_999_999], 5_000),
    "the widest": np.array([-(2**62), -1, 0, 1, 2**62]),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_percentiles_are_those_of_numpy(name: str) -> None:
    """Within the stated error, at any share; the least and the greatest value are exact."""
    values = SAMPLES[name]
    found = Histograms()
    found.add(values)
    assert found.total() == len(values)
    for share in SHARES:
        exact = float(np.percentile(values, share))
        # Between two neighbours the error is that of the larger one.
        rank = share / 100 * (len(values) - 1)
        near = np.abs(np.sort(values)[[int(rank), int(np.ceil(rank))]]).max()
        assert found.percentile(share) == pytest.approx(exact, abs=ERROR * near + 1e-9), share
    assert (found.percentile(0), found.percentile(100)) == (values.min(), values.max())


def test_without_values_there_is_no_percentile() -> None:
    """Also for one of several histograms that has none."""
    found = Histograms(2)
    assert (found.total(), found.percentile(50)) == (0, None)
    found.add(np.array([7]), 1)
    assert (found.percentile(50, [0]), found.percentile(50, [1]), found.percentile(50)) == (None, 7.0, 7.0)


def test_parts_in_any_order_make_the_same_histogram(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted at once, in parts, or merged from several: the same percentiles to the last digit."""
    monkeypatch.setattr(histograms, "ROWS_AT_ONCE", 1)
    values = SAMPLES["latencies"]
    which = np.arange(len(values)) % 3
    whole, parts, others = Histograms(3), Histograms(3), [Histograms(3) for _ in range(4)]
    whole.add(values, which)
    for start in range(0, len(values), 999):
        parts.add(values[start : start + 999], which[start : start + 999])
    for number, one in enumerate(others):
        one.add(values[number::4], which[number::4])
    merged = Histograms(3)
    for one in reversed(others):
        merged.merge(one)
    for of in (None, [0], [1, 2]):
        for share in SHARES:
            expected = whole.percentile(share, of)
            assert parts.percentile(share, of) == merged.percentile(share, of) == expected
    assert merged.totals().tolist() == whole.totals().tolist() == np.bincount(which).tolist()


def history(seed: int, messages: int) -> tuple[list[np.ndarray], list[int], np.ndarray]:
    """Two journals, in which each message is delivered to both; (views, sizes of rooms, deliveries by the truth).

    The truth has a row for each delivery whose sending is on record: time of sending, delay in ns, size of the room.
    """
    rng = np.random.default_rng(seed)
    sizes = [2, 5, 5, 9]
    author, conv = rng.integers(0, 40, messages), rng.integers(0, len(sizes), messages)
    sent = np.sort(rng.integers(0, 300 * S, messages))
    counter = np.array([(author[:n] == author[n]).sum() + 1 for n in range(messages)])
    known = rng.random(messages) < 0.98
    invoke, heard = empty(messages), empty(3 * messages)
    for rows, more in ((invoke, 1), (heard, 3)):
        for name, values in (("author", author), ("counter", counter), ("conv", conv), ("t", sent)):
            rows[name] = np.repeat(values, more)
    delay = rng.lognormal(15, 1.2, 3 * messages).astype(np.int64)
    heard["t"] += delay
    heard["kind"], invoke["kind"], invoke["attempt"] = np.tile([Kind.OK, Kind.DELIVER, Kind.DELIVER], messages), 1, 1
    invoke["client"] = author
    invoke = invoke[known]
    retries = invoke[::7].copy()
    retries["attempt"], retries["t"] = 2, retries["t"] - 5 * S
    views = [np.concatenate([heard[1::3], retries]), np.concatenate([invoke, heard[::3], heard[2::3]])]
    of = np.repeat(known, 3) & (heard["kind"] == Kind.DELIVER)
    truth = np.stack([heard["t"] - delay, delay, np.array(sizes)[heard["conv"]]], axis=1)[of]
    return views, sizes, truth


@pytest.mark.parametrize("part", [1 << 15, 1000, 7])
def test_fan_out_of_a_history_is_exact_within_the_error(part: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """By size of rooms, with every delivery counted, however the journals are cut into parts; retries are no start."""
    monkeypatch.setattr(recorded, "PART", part)
    views, sizes, truth = history(part, 2_000 if part > 7 else 200)
    rows = Measured(Recorded(views), sizes, (), Path("none")).latencies()
    for size in (2, 5, 9):
        delays = truth[truth[:, 2] == size, 1] / 1e6
        row = rows[f"fan-out, room of {size}"]
        assert row["samples"] == len(delays) > 0
        for name, share in (("p50", 50), ("p99", 99), ("max", 100)):
            assert row[name] == pytest.approx(np.percentile(delays, share), rel=ERROR, abs=0.0006), (size, name)


def test_drift_compares_medians_of_the_parts_of_the_load() -> None:
    """Each window's median is that of numpy within the error; the begin of the run is left out."""
    views, sizes, truth = history(11, 3_000)
    seen = Recorded(views)
    drift = Drift(seen, sizes, Path("none"))
    seen.deliver([drift])
    said = views[1]["t"][views[1]["kind"] == Kind.INVOKE]
    begin, end = min(int(said.min()), int(views[0]["t"][views[0]["kind"] == Kind.INVOKE].min())), int(said.max())
    begin += int(WARM_UP * (end - begin))
    row = next(row for row in drift.rows() if row["name"] == "fan-out of 5")
    five = truth[(truth[:, 2] == 5) & (truth[:, 0] >= begin) & (truth[:, 0] < end)]
    part = np.floor((five[:, 0] - begin) / (end - begin) * WINDOWS)
    medians = [np.median(five[part == k, 1]) / 1e6 for k in range(WINDOWS) if (part == k).any()]
    assert row["level"] == pytest.approx(np.median(medians), rel=2 * ERROR)


def test_memory_does_not_grow_with_the_deliveries() -> None:
    """Ten times as many deliveries of the same messages: not one more bucket row, and the same table of sendings."""
    views, sizes, _ = history(5, 500)
    once, often = Recorded(views), Recorded([*views, *([views[0]] * 9)])
    kept = []
    for seen in (once, often):
        measured = Measured(seen, sizes, (), Path("none"))
        assert measured.latencies()
        kept.append((len(measured.fan_out.waits._pool), len(seen._gathered.sendings._times)))
    assert kept[0] == kept[1]
    assert often.counts[Kind.DELIVER] > 4 * once.counts[Kind.DELIVER]
