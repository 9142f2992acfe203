"""What the panels of `dashboards/` show, in a real Prometheus that has scraped real runs, is what the verdict says.

One run has a planted defect and a fault, and its alert fires. The other is healthy, has two load processes, and no
alert about the verdict fires.
"""

from __future__ import annotations

import json
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from scraped import WHOLE, WHOLE_S, Prometheus, Series, filled, panels, serving

from earwitness.checks.history.record import Flag, Kind
from earwitness.harness.record.history import open_history
from earwitness.harness.report.live_file import LADDER_S

ABOUT_THE_VERDICT = ("EarwitnessPromiseBroken", "EarwitnessRunUnknown", "EarwitnessThresholdMissed")
THRESHOLDS = (
    "fan-out p99 < 20 s; probe p99 < 60 s; errors < 60 %; probe errors <= 100 %; "
    "memory of backend < 4000 MB; memory of auth < 4000 MB; memory of frontend < 4000 MB"
)
"""Met in any case, those of the story too: that one is missed is not what is tested."""
FAULT = "pause:auth@3s+4s"
RATE_REL = 0.3
"""A rate is extrapolated beyond the first and the last scrape, by half an interval of two seconds each."""
Shown = dict[str, list[Series]]


@dataclass(frozen=True)
class Seen:
    """A finished run: its directory, how long ago it began, and what its files say."""

    path: Path
    seconds: float

    @cached_property
    def verdict(self) -> dict[str, Any]:
        return json.loads((self.path / "verdict.json").read_text())

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        return [*self.verdict["checks"], *self.verdict["harness"]]

    @cached_property
    def kinds(self) -> Counter[str]:
        """Number of records by kind."""
        return Counter(Kind(kind).name for view in open_history(self.path).journals for kind in view.records["kind"])

    @cached_property
    def last_rows(self) -> dict[str, dict[str, Any]]:
        """The last row of each process."""
        return {row["service"]: row for row in self._table() if "service" in row}

    @cached_property
    def peaks(self) -> dict[str, float]:
        peaks: dict[str, float] = {}
        for row in self._table():
            if "service" in row:
                peaks[row["service"]] = max(peaks.get(row["service"], 0.0), row["rss_mb"] * 1e6)
        return peaks

    def _table(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.path / "tables" / "services.jsonl").read_text().splitlines()]

    def check(self, id: str) -> dict[str, Any]:
        return next(row for row in self.rows if row["id"] == id)

    def violations(self, promised: bool) -> int:
        return sum(row["violations"] for row in self.rows if row["promised"] is promised)

    @property
    def broken(self) -> set[str]:
        return {row["id"] for row in self.rows if row["promised"] and row["outcome"] == "FAIL"}

    def faults(self) -> list[float]:
        """Unix time of the beginning of each fault, from its record."""
        found = []
        for view in open_history(self.path).journals:
            began = view.records[(view.records["kind"] == Kind.FAULT) & (view.records["flags"] & Flag.OWN != 0)]
            offset = view.sidecar.meta.get("wall_minus_monotonic_ns", 0)
            found += [(int(t) + offset) / 1e9 for t in began["t"]]
        return sorted(found)


def by(label: str, series: list[Series]) -> dict[str, float]:
    """Last value by one label."""
    return {one.labels[label]: one.last for one in series}


def only(series: list[Series]) -> float:
    (one,) = series
    return one.last


def same_bucket(found_s: float, wanted_ms: float) -> None:
    """A quantile of a histogram can be no more exact than its bounds."""
    bounds = [0.0, *LADDER_S, float("inf")]
    slack = 1.1  # Locust rounds to two digits
    above = next(n for n, bound in enumerate(bounds) if wanted_ms / 1e3 <= bound)
    assert bounds[above - 1] / slack <= found_s <= bounds[above] * slack, (found_s, wanted_ms)


def outcome(shown: Shown, seen: Seen) -> None:
    assert by("outcome", shown["A"]) == {seen.verdict["outcome"]: 1}


def checks_table(shown: Shown, seen: Seen) -> None:
    assert by("check", shown["A"]) == {row["id"]: row["examined"] for row in seen.rows}
    assert by("check", shown["B"]) == {row["id"]: row["violations"] for row in seen.rows}
    assert {one.labels["check"]: one.labels["outcome"] for one in shown["C"]} == {
        row["id"]: row["outcome"] for row in seen.rows
    }


def thresholds(shown: Shown, seen: Seen) -> None:
    states = {True: "met", False: "missed", None: "not_measured"}
    wanted = {row["name"]: states[row["met"]] for row in seen.verdict["thresholds"]}
    assert {one.labels["threshold"]: one.labels["state"] for one in shown["A"]} == wanted
    assert len(wanted) >= 3


def headroom(shown: Shown, seen: Seen) -> None:
    found = {name: value for series in shown.values() for name, value in by("threshold", series).items()}
    rows = [row for row in seen.verdict["thresholds"] if row["limit"]]
    assert found == pytest.approx({row["name"]: row["measured"] / row["limit"] for row in rows})
    filled = sum(len(series) > 0 for series in shown.values())
    assert filled == len(shown) - 1, "time, size and share each have one; a rate of tokens needs an agent"


def messages(shown: Shown, seen: Seen) -> None:
    load = seen.verdict["load"]
    assert by("event", shown["A"]) == {
        "sent": load["messages_sent"],
        "heard": load["messages_delivered"],
        "acknowledged": seen.kinds["OK"],
        "refused": seen.kinds["FAIL"],
        "unanswered": seen.kinds["INFO"],
    }
    assert load["messages_sent"] > 100


def connections(shown: Shown, seen: Seen) -> None:
    load = seen.verdict["load"]
    assert (only(shown["A"]), only(shown["B"])) == (load["connections"], load["connections"] - load["users"])


def users(shown: Shown, seen: Seen) -> None:
    assert {ref: max(max(one.values) for one in series) for ref, series in shown.items()} == {
        "A": seen.verdict["load"]["users"], "B": 20, "C": seen.verdict["load"]["users"]
    }  # fmt: skip


def actions_a_second(shown: Shown, seen: Seen) -> None:
    facts = seen.check("H4")["facts"]
    for ref, name in (("A", "actions_planned"), ("B", "actions_started")):
        assert only(shown[ref]) * WHOLE_S == pytest.approx(facts[name], rel=RATE_REL)


def attained(shown: Shown, seen: Seen) -> None:
    facts = seen.check("H4")["facts"]
    assert facts["actions_planned"] > 100
    assert only(shown["A"]) == pytest.approx(facts["actions_started"] / facts["actions_planned"])


def fan_out(shown: Shown, seen: Seen) -> None:
    found, latencies = by("room", shown["A"]), seen.verdict["latency_ms"]
    wanted = {name.rpartition(" ")[2]: row["p99"] for name, row in latencies.items() if name.startswith("fan-out")}
    assert {room for room, value in found.items() if value == value} == wanted.keys()  # of a room without: not a number
    if (
        len(list(seen.path.glob("journals/load-*.ewj"))) == 1
    ):  # else the metric has only what one process sent and heard
        for room, p99 in wanted.items():
            same_bucket(found[room], p99)


def answers(shown: Shown, seen: Seen) -> None:
    same_bucket(only(shown["A"]), seen.verdict["latency_ms"]["ack"]["p99"])


def memory(shown: Shown, seen: Seen) -> None:
    assert by("process", shown["A"]) == pytest.approx({name: r["rss_mb"] * 1e6 for name, r in seen.last_rows.items()})


def highest_memory(shown: Shown, seen: Seen) -> None:
    found = by("process", shown["A"])
    assert found == pytest.approx(seen.peaks)
    (row,) = (row for row in seen.verdict["thresholds"] if row["name"] == "memory of backend")
    backends = [value for name, value in found.items() if name.startswith("backend")]
    assert max(backends) == pytest.approx(row["measured"] * 1e6)


def processor_time(shown: Shown, seen: Seen) -> None:
    assert by("process", shown["A"]) == pytest.approx({name: row["cpu_s"] for name, row in seen.last_rows.items()})


def open_files(shown: Shown, seen: Seen) -> None:
    assert by("process", shown["A"]) == {name: row["fds"] for name, row in seen.last_rows.items()}


def faults_on(shown: Shown, seen: Seen) -> None:
    expected = {"pause auth": (1.0, 0.0)} if seen.faults() else {}
    assert {one.labels["fault"]: (max(one.values), one.last) for one in shown["A"]} == expected


def faults(shown: Shown, seen: Seen) -> None:
    began = seen.faults()
    assert by("fault", shown["A"]) == ({"pause auth": len(began)} if began else {})
    assert set(by("fault", shown["B"]).values()) <= {0.0}


def judge_time(shown: Shown, seen: Seen) -> None:
    assert only(shown["A"]) == json.loads((seen.path / "live.json").read_text())["judge_cpu_s"]


COMPARED: dict[tuple[str, str], Callable[[Shown, Seen], None]] = {
    ("correctness", "Outcome"): outcome,
    ("correctness", "Stage"): lambda shown, _: _equal(by("stage", shown["A"]), {"finished": 1}),
    ("correctness", "Broken promises"): lambda shown, seen: _equal(only(shown["A"]), len(seen.broken)),
    ("correctness", "Violations of promises"): lambda shown, seen: _equal(only(shown["A"]), seen.violations(True)),
    ("correctness", "Violations never promised"): lambda shown, seen: _equal(only(shown["A"]), seen.violations(False)),
    ("correctness", "Opportunities examined"): lambda shown, seen: _equal(
        only(shown["A"]), sum(row["examined"] for row in seen.rows)
    ),
    ("correctness", "Outcome over time"): lambda shown, seen: _equal(
        only(shown["A"]), ("PASS", "UNKNOWN", "FAIL").index(seen.verdict["outcome"])
    ),
    ("correctness", "Checks by outcome"): lambda shown, seen: _equal(
        by("outcome", shown["A"]), dict(Counter(row["outcome"] for row in seen.rows))
    ),
    ("correctness", "Violations by check"): lambda shown, seen: _equal(
        by("check", shown["A"]), {row["id"]: row["violations"] for row in seen.rows if row["violations"]}
    ),
    ("correctness", "Checks"): checks_table,
    ("correctness", "Thresholds"): thresholds,
    ("correctness", "Thresholds: figure / limit"): headroom,
    ("load", "Messages"): messages,
    ("load", "Connections"): connections,
    ("load", "Users"): users,
    ("load", "Actions a second"): actions_a_second,
    ("load", "Actions attained"): attained,
    ("load", "Fan-out p99"): fan_out,
    ("load", "Answer p99"): answers,
    ("services", "Memory by process"): memory,
    ("services", "Highest memory"): highest_memory,
    ("services", "Processor time"): processor_time,
    ("services", "Open files"): open_files,
    ("services", "Faults on"): faults_on,
    ("services", "Faults"): faults,
    ("services", "Processor time of the judge"): judge_time,
    ("services", "Version"): lambda shown, _: _equal(shown["A"][0].labels["version"], version("earwitness")),
}
"""Panels whose numbers are compared with the files of the run."""

NOT_COMPARED = {
    ("load", "Streamed answers"): "the stories of this test ask no agent",
    ("load", "Messages a second"): "what comes before the first scrape is in no rate; the sum is compared in Messages",
    ("load", "Records judged a second"): "what comes before the first scrape is in no rate",
    ("load", "Seconds by stage"): "no file of a run says them",
    ("load", "Fan-out over time"): "the verdict has only the whole run, which is compared in Fan-out p99",
    ("load", "Answers over time"): "the verdict has only the whole run, which is compared in Answer p99",
    ("load", "Connections a second"): "most connections open before the first scrape; they are compared in Connections",
    ("load", "Loop lag"): "the verdict has the whole run, the metric the last second",
    ("services", "Processor by process"): "a rate of what is compared in Processor time",
    ("services", "Platform and tester"): "sums of rates of what is compared in Processor time",
    ("services", "Age of the verdict"): "it depends on when it is asked",
}
"""Panels of which only is asserted that they show something, with the reason."""


def _equal(found: Any, wanted: Any) -> None:
    assert found == wanted


@pytest.fixture
def scraping(tmp_path: Path) -> Callable[..., Any]:
    """Start Prometheus; it scrapes 127.0.0.1:target."""
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("prometheus is not installed; Debian's package prometheus has it")

    @contextmanager
    def start(port: int, target: int) -> Iterator[Prometheus]:
        folder = tmp_path / "prometheus"
        folder.mkdir()
        with serving(program, folder, port, target) as running:
            yield running

    return start


def test_each_panel_is_compared_or_says_why_not() -> None:
    named = [(dashboard, panel["title"]) for dashboard, panel in panels()]
    assert sorted(named) == sorted([*COMPARED, *NOT_COMPARED])


@pytest.mark.timeout(240)
@pytest.mark.parametrize("planted", [True, pytest.param(False, marks=pytest.mark.campaign)], ids=["planted", "healthy"])
def test_panels_show_what_the_verdict_says(
    planted: bool, locust: Callable[..., Any], scraping: Callable[..., Any], free_ports: tuple[int, int]
) -> None:
    """The final numbers too. Often a scrape sees them while the platform ends; that the process waits for one is what
    `test_metrics.py` tests."""
    own, target = free_ports
    unlike = ("--defect", "backend=drop-push:0.02", "--faults", FAULT) if planted else ("--processes", "2")
    load = ("-u", "20", "-r", "20", "-t", "10s", "--arrivals", "60/s", "--seed", "7", "--threshold", THRESHOLDS)
    began = time.time()
    with scraping(own, target) as prometheus:
        run = locust(*load, *unlike, "--metrics-port", str(target))
        assert run.code == (1 if planted else 0), run.out
        prometheus.await_evaluation()
        seen = Seen(run.directory, time.time() - began)
        different = list(_differences(prometheus, seen))
        assert not different, "\n".join(different)
        fired = prometheus.ask(filled('count_over_time(ALERTS{alertstate="firing", run="$run"}[1h])', seen.path.name))
        names = {one.labels["alertname"] for one in fired} & set(ABOUT_THE_VERDICT)
        assert names == ({"EarwitnessPromiseBroken"} if planted else set())
        about = {one.labels["check"] for one in fired if one.labels["alertname"] == "EarwitnessPromiseBroken"}
        assert about == seen.broken
        assert seen.broken >= ({"I4"} if planted else set())
        _recorded(prometheus, seen)
        if planted:
            _annotated(prometheus, seen)


def _differences(prometheus: Prometheus, seen: Seen) -> Iterator[str]:
    """Compare all panels, so that one run says all that is wrong."""
    for dashboard, panel in panels():
        key = (dashboard, panel["title"])
        shown = prometheus.panel(panel, seen.path.name, seen.seconds)
        if key in NOT_COMPARED:
            if not all(shown.values()):
                yield f"{key}: a query shows nothing"
            continue
        try:
            COMPARED[key](shown, seen)
        except (AssertionError, KeyError, ValueError, IndexError, TypeError) as error:
            yield f"{key}: {type(error).__name__}: {error}"


def _recorded(prometheus: Prometheus, seen: Seen) -> None:
    """The recording rules have been evaluated on this run."""
    name = seen.path.name
    total = f'last_over_time(run:earwitness_promised_violations:sum{{run="{name}"}}[{WHOLE}])'
    assert only(prometheus.ask(total)) <= seen.violations(True)
    rates = prometheus.ask(f'max_over_time(run_event:earwitness_messages:rate30s{{run="{name}"}}[{WHOLE}])')
    assert by("event", rates)["sent"] > 0


def _annotated(prometheus: Prometheus, seen: Seen) -> None:
    """The annotation of a fault stands at the time of its record, to a tenth of a second."""
    begin = 'last_over_time(earwitness_fault_begin_timestamp_seconds{run="$run"}[1h])'
    assert only(prometheus.ask(filled(begin, seen.path.name))) == pytest.approx(seen.faults()[0], abs=0.1)
