"""Streamed answers in a comparison: figures of literal runs, and a state whose agent became slower."""

from __future__ import annotations

from pathlib import Path

import pytest
from measured import MACHINE, MS, PLANNED, VERSIONS

from earwitness.checks.contract import Contract
from earwitness.checks.history.record import FOREIGN, Flag, Kind, Phase
from earwitness.checks.roster import Roster
from earwitness.harness.record.evidence import conclude
from earwitness.harness.record.journal import Journal
from earwitness.harness.record.named import write_record
from earwitness.harness.record.rundir import RunDirectory, write_json
from earwitness.harness.report.comparison import texts
from earwitness.harness.report.comparison.rows import compare_sets
from earwitness.harness.report.comparison.samples import measure_of, sample_of
from earwitness.harness.report.comparison.within import blocks_of

STARTED, CHUNK, COMPLETED, ERROR = 1, 5, 6, 7


def asked(journal: Journal, second: int, scale: float, end: int) -> None:
    """Write a question of each second and its answer: started at 50 ms, tokens at 200, 300 and 500 ms, then the end.

    `scale`: by which these times are multiplied.
    """
    place = {"client": 0, "conn": 1, "conv": 0}
    name = {"author": FOREIGN + second, "aux": 1000 + second, "seq": second + 1}
    question = {"author": 0, "counter": second + 1, "size": 30, "digest": 7}
    at = MS + second * 1000 * MS
    write_record(journal, at, Kind.INVOKE, **place, **question, flags=int(Flag.OWN), attempt=1)
    write_record(journal, at + 10 * MS, Kind.OK, **place, **question, attempt=1)
    events = [(50, STARTED, 0), (200, CHUNK, 0), (300, CHUNK, 1), (500, CHUNK, 2), (600, end, 0)]
    for ms, event, piece in events:
        size = 5 if event == CHUNK else 0
        at_ns = at + int(ms * scale * MS)
        write_record(journal, at_ns, Kind.RUN, **place, **name, attempt=event, counter=piece, size=size)


def run_of(path: Path, scale: float = 1.0, *, seconds: int = 12, failed: int = 0) -> Path:
    """Write a run with a question a second; the last `failed` answers end by an error."""
    directory = RunDirectory.at(path)
    directory.write_roster(Roster(user_of=(0,), conversations=((0,),)))
    directory.update(
        story="ask", machine=MACHINE, versions=VERSIONS, planned=PLANNED, planned_faults=[], seed=1,
        contract=Contract().to_dict(), journals=["load-0"], target={"kind": "file"}, created="2026-11-30T00:00:00",
        plan={"sizes": [1], "devices": 1, "tag": path.name},
    )  # fmt: skip
    journal = Journal.create(directory.journals, "load-0", meta={"host": "here"})
    for second in range(seconds):
        asked(journal, second, scale, ERROR if second >= seconds - failed else COMPLETED)
    for phase in (Phase.DRAIN, Phase.DRAINED):
        write_record(journal, MS + (seconds + int(phase)) * 1000 * MS, Kind.PHASE, counter=int(phase))
    journal.close({"messages_sent": seconds, "messages_unsaid": 0})
    (directory.path / "tables").mkdir(exist_ok=True)
    directory.append("services", {"t_ns": 0, "service": "load-0", "pid": 7, "rss_mb": 80.0, "cpu_s": 0.0, "fds": 3})
    conclude(directory, state="collected")
    write_json(path / "verdict.json", {"outcome": "PASS"})
    return path


def streamed(path: Path) -> dict[str, float]:
    figures = sample_of(path).figures
    return {name: value for name, value in figures.items() if name.startswith(("first", "token", "streams"))}


def test_figures_of_streamed_answers(tmp_path: Path) -> None:
    """200 ms to the first token, gaps of 100 and 200 ms, two tokens in 300 ms, three failed answers of twelve."""
    assert streamed(run_of(tmp_path / "run", failed=3)) == {
        "first token p50": pytest.approx(200), "first token p99": pytest.approx(200),
        "token gap p50": pytest.approx(150, rel=0.004), "token gap p99": pytest.approx(200, rel=0.004),
        "token rate p50": pytest.approx(2 / 0.3),
        "streams failed": pytest.approx(25), "streams broken": 0, "streams stalled": 0,
    }  # fmt: skip


def test_few_seconds_of_answers_have_no_times(tmp_path: Path) -> None:
    """As with other latencies: nine seconds are too few for them, not for shares."""
    found = streamed(run_of(tmp_path / "run", seconds=9))
    assert sorted(found) == ["streams broken", "streams failed", "streams stalled", "token rate p50"]


def test_no_streams_no_rows(tmp_path: Path) -> None:
    from measured import measured_run

    assert streamed(measured_run(tmp_path / "run", 1)) == {}


def test_a_slower_agent_is_found(tmp_path: Path) -> None:
    """Half as slow again in eight runs a side: tokens later and fewer. Shares of failed answers are compared too."""
    before, after = (
        [sample_of(run_of(tmp_path / f"{side}-{n}", scale * (1 + n / 500), failed=failed)).figures for n in range(8)]
        for side, scale, failed in (("a", 1.0, 0), ("b", 1.5, 3))
    )
    rows = {row.name: row for row in compare_sets(before, after, 0.05)}
    worse = {name for name, row in rows.items() if row.regression}
    assert worse == {
        "first token p50", "first token p99", "token gap p50", "token gap p99", "token rate p50", "streams failed",
    }  # fmt: skip
    assert [texts.word(rows[name]) for name in ("first token p50", "token rate p50", "streams failed")] == [
        "slower", "less", "more",
    ]  # fmt: skip
    assert (rows["token rate p50"].unit, rows["streams failed"].unit, rows["streams failed"].change) == ("1/s", "%", 25)


def test_two_single_runs_show_them_too(tmp_path: Path) -> None:
    from earwitness.harness.record.history import open_history

    found = blocks_of(open_history(run_of(tmp_path / "run")))
    assert (found["first token"].samples, found["token gap"].samples) == (12, 24)
    assert found["first token"].quantile(0.5) == pytest.approx(200, rel=0.002)


@pytest.mark.parametrize(
    ("name", "unit", "more_is_better", "absolute"),
    [("first token p99", "ms", False, False), ("token gap p50", "ms", False, False),
     ("token rate p50", "1/s", True, False), ("streams broken", "%", False, True)],
)  # fmt: skip
def test_measures(name: str, unit: str, more_is_better: bool, absolute: bool) -> None:
    found = measure_of(name)
    assert (found.unit, found.more_is_better, found.absolute) == (unit, more_is_better, absolute)
