"""Figures of one run: read from its records and its table, and nothing of a run that is not whole."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from measured import RATE, measured_run

from earwitness.harness.errors import RecordError
from earwitness.harness.record.rundir import RunDirectory
from earwitness.harness.report.comparison.samples import Sample, cpu_ms, measure_of, sample_of


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return measured_run(tmp_path / "run", 1)


def test_figures_of_a_run(run: Path) -> None:
    """Latencies around 10 ms, 20 messages a second to five members each, 20 ms of CPU for each message."""
    figures = sample_of(run).figures
    assert figures["fan-out of 5 p50"] == pytest.approx(10, rel=0.08)
    assert figures["ack p99"] == pytest.approx(20, rel=0.2)
    assert figures["messages sent"] == pytest.approx(RATE, rel=0.01)
    assert figures["messages delivered"] == pytest.approx(5 * RATE, rel=0.01)
    assert figures["errors"] == 0
    assert figures["memory of backend"] == 61
    assert figures["CPU of backend"] == pytest.approx(20, rel=0.15)


def test_the_tester_itself_is_no_row(run: Path) -> None:
    assert [name for name in sample_of(run).figures if name.endswith("load")] == []


def test_many_sizes_of_rooms_are_one_row(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many rows as a hundred sizes have would hide what each of them shows."""
    from earwitness.harness.report.comparison import samples

    before = sample_of(run).figures
    monkeypatch.setattr(samples, "SIZES_MOST", 0)
    merged = sample_of(run).figures
    assert merged["fan-out p50"] == before["fan-out of 5 p50"]
    assert len(merged) == len(before)


def test_short_latencies_are_left_out(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from earwitness.harness.report.comparison import samples

    monkeypatch.setattr(samples, "ENOUGH_S", 60)
    assert "ack p50" not in sample_of(run).figures


def test_cpu_of_replicas_and_restarts(tmp_path: Path) -> None:
    """Replicas are added; a new process begins at zero; what is outside of the span does not count."""
    rows = [(0, "backend-1", 1, 5.0), (10, "backend-1", 1, 6.0), (20, "backend-1", 1, 7.0), (99, "backend-1", 1, 70.0),
            (10, "backend-2", 2, 0.0), (20, "backend-2", 2, 0.5), (15, "backend-1", 3, 0.0), (20, "backend-1", 3, 0.25),
            (10, "load-0", 4, 0.0), (20, "load-0", 4, 9.0), (10, "auth", 5, 1.0), (20, "auth", 5, 1.0)]  # fmt: skip
    keys = ("t_ns", "service", "pid", "cpu_s")
    lines = [json.dumps(dict(zip(keys, row, strict=True))) for row in rows]
    (tmp_path / "services.jsonl").write_text("\n".join([*lines, json.dumps({"t_ns": 12, "error": "none came"})]) + "\n")
    found = cpu_ms(tmp_path / "services.jsonl", {"load-0"}, (10, 20), 100)
    assert found == {"CPU of backend": pytest.approx((1 + 0.5 + 0.25) * 10)}
    assert cpu_ms(tmp_path / "none.jsonl", set(), (10, 20), 100) == {}


def test_a_sample_survives_json(run: Path) -> None:
    sample = sample_of(run)
    assert Sample.from_dict(json.loads(json.dumps(sample.to_dict()))) == sample
    assert len(json.dumps(sample.to_dict())) < 6000


def test_runs_that_are_not_whole(tmp_path: Path) -> None:
    early = measured_run(tmp_path / "early", 1, interrupted={"after_s": 3, "of_s": 12})
    killed = measured_run(tmp_path / "killed", 2, state="running")
    damaged = measured_run(tmp_path / "damaged", 3)
    (damaged / "tables/services.jsonl").write_text("")
    with pytest.raises(RecordError, match="early: the run was interrupted"):
        sample_of(early)
    with pytest.raises(RecordError, match="killed: the run has not come to its end: its state is 'running'"):
        sample_of(killed)
    with pytest.raises(RecordError, match=r"services\.jsonl is missing or not what was written.*earwitness verify"):
        sample_of(damaged)
    with pytest.raises(RecordError, match="no run directory"):
        sample_of(tmp_path)


def test_the_name_of_a_run_is_its_content(run: Path, tmp_path: Path) -> None:
    """A copy of a run is the same run."""
    copy = run.rename(tmp_path / "elsewhere")
    assert sample_of(copy).key == RunDirectory.open(copy).run["checksum"]


@pytest.mark.parametrize(
    ("name", "unit", "more_is_better", "absolute"),
    [("fan-out of 5 p50", "ms", False, False), ("messages sent", "1/s", True, False), ("errors", "%", False, True),
     ("CPU of auth", "ms", False, False), ("memory of auth", "MB", False, False)],
)  # fmt: skip
def test_measures(name: str, unit: str, more_is_better: bool, absolute: bool) -> None:
    found = measure_of(name)
    assert (found.unit, found.more_is_better, found.absolute) == (unit, more_is_better, absolute)
