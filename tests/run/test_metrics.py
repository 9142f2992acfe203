"""Metrics of a run directory: with the verdict's numbers, and in a form that Prometheus' own linter accepts."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from journaled import Journaled
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families
from soup import soup

from earwitness.harness.report.follow import Following
from earwitness.harness.report.live_file import read_live
from earwitness.harness.report.thresholds import parse_all
from earwitness.harness.run.faults import FaultCount
from earwitness.harness.run.metric_table import COUNTER, GAUGE, SERIES, TABLE, gauge, states
from earwitness.harness.run.metrics import ProcessTable, RunMetrics, acknowledged

THRESHOLDS = ("fan-out p99 < 250 ms", "errors < 1 %", "memory of backend < 400 MB")
RUN = {"run": "run"}


class Series(dict[tuple[str, frozenset[tuple[str, str]]], float]):
    """Value by name and labels."""

    def of(self, series: str, /, **labels: str) -> float:
        return self[f"earwitness_{series}", frozenset(labels.items())]

    def all(self, name: str) -> list[float]:
        return [value for (series, _), value in self.items() if series == f"earwitness_{name}"]


class Scraped:
    """Collector of fixed families, as `harness.load.metrics` is one of those of a process."""

    def __init__(self, families: list[Metric]) -> None:
        self.families = families

    def collect(self) -> Iterator[Metric]:
        yield from self.families


def exposed(families: list[Metric]) -> str:
    registry = CollectorRegistry()
    registry.register(Scraped(families))
    return generate_latest(registry).decode()


def read(text: str) -> Series:
    return Series(
        ((sample.name, frozenset(sample.labels.items())), sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    )


def described(path: Path, **changed: Any) -> RunMetrics:
    values: dict[str, Any] = {"story": "test", "seed": 5, "target": "reference", "users": 20, "room_sizes": (2, 100)}
    faults = {"kill auth": FaultCount("kill", "auth")}
    return RunMetrics(path, thresholds=parse_all("here", THRESHOLDS), faults=faults, **{**values, **changed})


@pytest.fixture
def run(tmp_path: Path) -> Journaled:
    """A small history with mistakes, of which nothing is written yet."""
    return Journaled(tmp_path / "run", soup(3, steps=150), judged_by=["I1", "I4"], thresholds=list(THRESHOLDS))


def everything(run: RunMetrics, live: dict[str, Any] | None) -> str:
    return exposed([*run.metrics(live, (7, 6)), acknowledged(run.name, {0.2: 3, 40: 1}, 40.6)])


def test_counters_are_there_before_the_first_record(run: Journaled) -> None:
    """The judge looks once at the empty run, so that the first violation is an increase."""
    following = Following(run.directory.path, print, publish=True)
    following.turn()
    found = read(everything(described(run.directory.path), read_live(run.directory.path)))
    violations = found.all("check_violations_total")
    assert len(violations) > 40
    assert set(violations) == {0.0}
    assert found.of("messages_total", event="heard", **RUN) == 0
    assert found.of("fan_out_seconds_count", room="100", **RUN) == 0
    assert found.of("outcome", outcome="UNKNOWN", **RUN) == 1
    assert found.of("threshold_state", threshold="errors", state="pending", **RUN) == 1
    assert found.of("threshold_limit_seconds", threshold="fan-out p99", **RUN) == 0.25
    assert found.of("threshold_limit_ratio", threshold="errors", **RUN) == 0.01
    assert found.of("threshold_limit_bytes", threshold="memory of backend", **RUN) == 400e6
    assert found.of("fault_injections_total", fault="kill auth", kind="kill", where="auth", **RUN) == 0


def test_the_numbers_are_those_of_the_verdict(run: Journaled) -> None:
    following = Following(run.directory.path, print, publish=True)
    for number in run.left:
        run.write(number, 10_000)
    run.close()
    following.turn()
    verdict = following.finish()
    metrics = described(run.directory.path)
    for stage in ("drain", "collect", "judge", "finished"):
        metrics.stages.enter(stage)
    found = read(everything(metrics, read_live(run.directory.path)))
    rows = [*verdict["checks"], *verdict["harness"]]
    for row in rows:
        labels = {**RUN, "check": row["id"], "name": row["name"], "promised": str(row["promised"]).lower()}
        assert found.of("check_examined_total", **labels) == row["examined"]
        assert found.of("check_violations_total", **labels) == row["violations"]
        assert found.of("check_outcome", outcome=row["outcome"], **labels) == 1
    assert sum(found.all("check_outcome")) == len(rows)
    assert any(row["violations"] for row in rows)
    load = verdict["load"]
    assert found.of("messages_total", event="sent", **RUN) == load["messages_sent"] > 0
    assert found.of("connections_opened_total", **RUN) == load["connections"]
    assert found.of("reconnections_total", **RUN) == load["connections"] - load["users"] > 0
    assert found.of("run_stage", stage="finished", **RUN) == 1
    assert found.of("outcome", outcome=verdict["outcome"], **RUN) == 1
    assert found.of("threshold_state", threshold="memory of backend", state="not_measured", **RUN) == 1
    (fan_out,) = (row for row in verdict["thresholds"] if row["name"] == "fan-out p99")
    measured = found.of("threshold_measured_seconds", threshold="fan-out p99", **RUN)
    assert measured == pytest.approx(fan_out["measured"] / 1e3)
    assert found.of("actions_started_total", **RUN) == 6
    assert found.of("acknowledged_seconds_bucket", le="0.00025", **RUN) == 3
    assert {name for name, _ in found} <= SERIES


def test_promtool_accepts_all_of_it(run: Journaled) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed; Debian's package prometheus has it")
    following = Following(run.directory.path, print, publish=True)
    following.turn()
    other = [gauge("build_info", [(["1"], 1)]), gauge("users", [([], 3)])]
    other.append(gauge("loop_lag_seconds", [(["load-0", "p99"], 0.001)]))
    text = exposed(other) + everything(described(run.directory.path), read_live(run.directory.path))
    done = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, text=True)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    families = {family.name for family in text_string_to_metric_families(text)}
    assert families == {one.name for one in TABLE}, "each metric of the table is served, and no other"
    crooked = text.replace("earwitness_users ", "earwitness_users_ms ")
    done = subprocess.run([promtool, "check", "metrics"], input=crooked, capture_output=True, text=True)
    assert done.returncode != 0, "this linter finds nothing"


def test_processes_are_read_as_they_are_written(tmp_path: Path) -> None:
    """Torn lines wait, errors of the sampler are no process, and a process that has ended is reported no longer."""
    path = tmp_path / "services.jsonl"
    table = ProcessTable(path)
    table.refresh()
    assert table.living() == {}

    def row(service: str, at_s: float, mb: float) -> str:
        return json.dumps({"t_ns": int(at_s * 1e9), "service": service, "rss_mb": mb, "cpu_s": at_s, "fds": 3}) + "\n"

    path.write_text(row("backend", 1, 50) + row("auth", 1, 20) + row("backend", 2, 90)[:-9])
    table.refresh()
    assert {name: one["rss_mb"] for name, one in table.living().items()} == {"backend": 50, "auth": 20}
    path.write_text(
        row("backend", 1, 50) + row("auth", 1, 20) + row("backend", 2, 90) + '{"t_ns": 3, "error": "x"}\nno row\n'
        + row("backend", 9, 60)
    )  # fmt: skip
    table.refresh()
    assert {name: one["rss_mb"] for name, one in table.living().items()} == {"backend": 60}
    assert table.peak_mb == {"backend": 90, "auth": 20}


def test_a_state_that_is_not_in_the_table_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="earwitness_outcome has no state 'GOOD'"):
        states("outcome", ["run"], ("PASS", "FAIL"), "GOOD")


def test_names_are_in_base_units() -> None:
    """Each is said once; a counter's name has no _total here, because the client adds it."""
    assert len({one.name for one in TABLE}) == len(TABLE)
    assert [one.name for one in TABLE if one.kind == COUNTER and one.name.endswith("_total")] == []
    assert [one.name for one in TABLE if one.name.endswith(("_ms", "_mb", "_percent"))] == []
    assert [one.name for one in TABLE if one.name.endswith("_info") and one.kind != GAUGE] == []


def test_the_verdict_of_a_run_that_is_not_judged(tmp_path: Path) -> None:
    """Finished without a readable verdict: thresholds stay pending, and a scrape is answered all the same."""
    metrics = described(tmp_path)
    metrics.stages.enter("finished")
    found = read(everything(metrics, None))
    assert found.of("threshold_state", run=tmp_path.name, threshold="errors", state="pending") == 1
