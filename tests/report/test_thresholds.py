"""Thresholds: how they are written, and what they are judged by."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from earwitness.checks.history.record import Flag, Kind, Phase, empty
from earwitness.harness.errors import SettingsError
from earwitness.harness.record.latencies import FOOTER_KEY, encoded
from earwitness.harness.report.measures import Measured, reconnects_ms
from earwitness.harness.report.recorded import Recorded
from earwitness.harness.report.thresholds import judge_thresholds, merged, missed, parse, parse_all

MS = 1_000_000


def records(*rows: dict[str, Any]) -> np.ndarray:
    found = empty(len(rows))
    for at, row in enumerate(rows):
        for key, value in row.items():
            found[key][at] = value
    return found


def measured(tmp_path: Path, *rows: dict[str, Any], footers: Any = (), services: Any = ()) -> Measured:
    table = tmp_path / "services.jsonl"
    table.write_text("".join(json.dumps(row) + "\n" for row in services))
    return Measured(Recorded([records(*rows)]), [2, 5], footers, table)


def judged(text: str, seen: Measured) -> tuple[float | None, int, bool | None]:
    [row] = judge_thresholds([parse(text)], seen)
    return row["measured"], row["samples"], row["met"]


@pytest.mark.parametrize(
    ("text", "name", "limit", "unit"),
    [
        ("fan-out p99 < 250 ms", "fan-out p99", 250, "ms"),
        ("fan-out of 100 p99.9 <= 1.5 s", "fan-out of 100 p99.9", 1.5, "s"),
        ("planned ack max<2s", "planned ack max", 2, "s"),
        ("errors < 1 %", "errors", 1, "%"),
        ("memory of backend < 400 MB", "memory of backend", 400, "MB"),
        ("first token p99 < 2 s", "first token p99", 2, "s"),
        ("streams broken < 1 %", "streams broken", 1, "%"),
        ("token rate p1 > 20 /s", "token rate p1", 20, "/s"),
    ],
)
def test_what_is_understood(text: str, name: str, limit: float, unit: str) -> None:
    """Metric, of what, which statistic, limit and unit."""
    found = parse(text)
    assert (found.name, found.limit, found.unit) == (name, limit, unit)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("fast please", "is no threshold; write METRIC [of WHAT] [p99] < LIMIT UNIT, like fan-out p99 < 250 ms"),
        ("fan-out p99 > 250 ms", "is no threshold"),
        ("fanout p99 < 250 ms", "there is no metric 'fanout' (did you mean fan-out?)"),
        ("ack p99 < 250 MB", "ack is a time; give it in us, ms, s, min, not in MB"),
        ("ack < 250 ms", "ack is many times; name one, like ack p99 < 250 ms"),
        ("errors p99 < 1 %", "errors is one figure; leave p99 out"),
        ("memory < 1 GB", "name a service, like memory of backend"),
        ("ack of backend p99 < 1 s", "leave out of backend"),
        ("fan-out of backend p99 < 1 s", "backend is no room size"),
        ("token gap > 5 ms", "is no threshold"),
        ("token rate p1 < 20 /s", "token rate is many rates, with a lower limit; write token rate p1 > 20 /s"),
        ("token rate > 20 /s", "token rate is many rates, with a lower limit; write token rate p1 > 20 /s"),
        ("token rate max > 20 /s", "token rate is many rates, with a lower limit; write token rate p1 > 20 /s"),
        ("token rate p1 > 20 ms", "token rate is a rate; give it in /s, /min, not in ms"),
        ("streams broken p99 < 1 %", "streams broken is one figure; leave p99 out"),
        ("streams lost < 1 %", "there is no metric 'streams lost'"),
        ("streams broken of 5 < 1 %", "leave out of 5"),
        ("lag p95 < 1 s", "of lag there are only p50, p99 and max"),
    ],
)
def test_a_mistake_is_one_clear_sentence(text: str, words: str) -> None:
    """It names the threshold, what is wrong and how it is written; all mistakes are told at once."""
    with pytest.raises(ValueError) as raised:
        parse(text)
    assert words in str(raised.value)
    assert repr(text) in str(raised.value)
    with pytest.raises(SettingsError) as both:
        parse_all("--threshold", [text, "nonsense", "errors < 1 %"])
    assert words in str(both.value)
    assert "nonsense" in str(both.value)


def test_the_later_threshold_on_the_same_figure_wins() -> None:
    """Another statistic, or another service, is another figure."""
    story = [parse("ack p99 < 1 s"), parse("memory of auth < 300 MB"), parse("errors < 1 %")]
    options = [parse("ack p99 < 50 ms"), parse("ack p50 < 5 ms")]
    assert merged(story, options) == ["ack p99 < 50 ms", "memory of auth < 300 MB", "errors < 1 %", "ack p50 < 5 ms"]


def test_times_of_the_records(tmp_path: Path) -> None:
    """Probes and fan-out in their units; a percentile of what there is, exactly met is met."""
    seen = measured(
        tmp_path,
        {"kind": Kind.INVOKE, "t": 0, "author": 1, "counter": 1, "conv": 1, "attempt": 1},
        {"kind": Kind.DELIVER, "t": 40 * MS, "author": 1, "counter": 1, "conv": 1, "attempt": 1},
        {"kind": Kind.PROBE, "aux": 2000, "counter": 200},
        {"kind": Kind.PROBE, "aux": 4000, "counter": 503},
    )
    assert judged("fan-out of 5 max < 40 ms", seen) == (40.0, 1, True)
    assert judged("fan-out max < 0.039 s", seen) == (0.04, 1, False)
    assert judged("probe max < 3 ms", seen) == (4.0, 2, False)
    assert judged("probe errors < 49 %", seen) == (50.0, 2, False)


def test_errors_while_a_fault_is_on_are_its_effects(tmp_path: Path) -> None:
    """Whatever a fault was on for a part of counts for neither side; what came before and after it does."""
    seen = measured(
        tmp_path,
        {"kind": Kind.PROBE, "t": 9 * MS, "aux": 500, "counter": 200},
        {"kind": Kind.FAULT, "t": 10 * MS, "author": 7, "flags": int(Flag.OWN)},
        {"kind": Kind.PROBE, "t": 11 * MS, "aux": 5000, "counter": 503},
        {"kind": Kind.INVOKE, "t": 12 * MS},
        {"kind": Kind.INFO, "t": 15 * MS},
        {"kind": Kind.FAULT, "t": 20 * MS, "author": 7},
        {"kind": Kind.PROBE, "t": 21 * MS, "aux": 3000, "counter": 0},
        {"kind": Kind.PROBE, "t": 29 * MS, "aux": 1000, "counter": 401},
        {"kind": Kind.INVOKE, "t": 30 * MS},
        {"kind": Kind.FAIL, "t": 31 * MS},
        {"kind": Kind.REQUEST, "t": 32 * MS, "flags": int(Flag.ACCEPTED)},
    )
    assert judged("probe errors < 1 %", seen) == (50.0, 2, False)
    assert judged("errors < 50 %", seen) == (50.0, 4, True)
    assert judged("probe max < 4 ms", seen) == (5.0, 4, False)


def asked(counter: int, ms: int) -> list[dict[str, Any]]:
    place = {"client": 1, "conn": 1, "conv": 0, "author": 1, "counter": counter}
    return [
        {"kind": Kind.INVOKE, "t": ms * MS, "flags": int(Flag.OWN), **place},
        {"kind": Kind.OK, "t": (ms + 1) * MS, **place},
    ]


def piece(event: int, ms: int, question: int, number: int = 0, run: int = 9) -> dict[str, Any]:
    place = {"client": 1, "conn": 1, "conv": 0, "author": run, "aux": run, "seq": question}
    return {"kind": Kind.RUN, "t": ms * MS, "attempt": event, "size": 4 * (event == 5), "counter": number, **place}


def test_streamed_answers(tmp_path: Path) -> None:
    """Times of tokens, a lower limit, and shares. A question without any token took longer than any."""
    rows = [
        *asked(1, 0), piece(1, 50, 1), piece(5, 100, 1), piece(5, 140, 1, 1), piece(6, 200, 1, 2),
        *asked(2, 300), piece(1, 310, 2, run=10), piece(5, 600, 2, run=10), piece(7, 700, 2, run=10),
        {"kind": Kind.PHASE, "t": 20_000 * MS, "counter": Phase.DRAINED},
    ]  # fmt: skip
    footers = [{FOOTER_KEY: {"planned first token": encoded([(150 * MS, 1), (400 * MS, 1)])}}]
    seen = measured(tmp_path, *rows, footers=footers)
    assert judged("first token max < 250 ms", seen) == (300.0, 2, False)
    assert judged("planned first token p50 < 200 ms", seen) == (pytest.approx(150, rel=0.01), 2, True)
    assert judged("token gap p99 < 40 ms", seen) == (40.0, 1, True)
    assert judged("token rate p1 > 25 /s", seen) == (25.0, 1, True)
    assert judged("token rate p1 > 26 /s", seen) == (25.0, 1, False)
    assert judged("token rate p50 > 1499 /min", seen) == (1500.0, 1, True)
    assert judged("streams failed < 49 %", seen) == (50.0, 2, False)
    assert judged("streams broken < 1 %", seen) == (0.0, 2, True)
    assert judged("streams cut < 1 %", seen) == (None, 0, None), "no answer had two listeners"
    rows[-1:] = [*asked(3, 1000), rows[-1]]
    silent = measured(tmp_path, *rows, footers=footers)
    assert judged("first token p50 < 310 ms", silent) == (pytest.approx(250, abs=51), 3, True)
    for metric in ("first token", "planned first token"):
        [row] = judge_thresholds([parse(f"{metric} p99 < 1 s")], silent)
        assert (row["measured"], row["met"], row["samples"], row["unanswered"]) == (None, False, 3, 1)
    assert silent.latencies()["first token"]["unanswered"] == 1
    assert silent.streams()["tokens_per_s"] == {"p1": 25.0, "p50": 25.0}


def test_without_samples_nothing_is_met(tmp_path: Path) -> None:
    """Each is told as not measured, and the run misses it."""
    seen = measured(tmp_path)
    texts = [
        "fan-out p99 < 1 s", "fan-out of 7 p99 < 1 s", "ack p99 < 1 s", "probe p99 < 1 s", "reconnect p99 < 1 s",
        "first token p99 < 1 s", "planned first token p99 < 1 s", "token gap p99 < 1 s", "token rate p1 > 1 /s",
        "streams broken < 1 %", "streams differing < 1 %", "lag p99 < 1 s", "errors < 1 %",
        "memory of auth < 1 GB", "request max < 1 s", "login p50 < 1 s",
    ]  # fmt: skip
    for text in texts:
        assert judged(text, seen) == (None, 0, None), text
    rows = judge_thresholds(parse_all("", texts[-1:]), seen)
    assert missed(rows) == "not measured: login p50"


def test_acknowledgements_of_all_processes(tmp_path: Path) -> None:
    """Histograms of the footers are added: 99 fast ones in one process, one slow one in another."""
    footers = [{FOOTER_KEY: {"ack": encoded([(MS, 99)])}}, {FOOTER_KEY: {"ack": encoded([(500 * MS, 1)])}}, {}]
    seen = measured(tmp_path, footers=footers)
    assert judged("ack p99 < 2 ms", seen) == (pytest.approx(1.0, rel=0.01), 100, True)
    assert judged("ack max < 499 ms", seen) == (pytest.approx(500, rel=0.01), 100, False)


def test_memory_is_the_highest_of_a_kind_and_lag_the_worst_process(tmp_path: Path) -> None:
    """Replicas are one kind; a second in which nothing could be asked is no sample."""
    services = [{"service": "backend-1", "rss_mb": 90.0}, {"service": "backend-2", "rss_mb": 120.0}, {"error": "x"}]
    seen = measured(tmp_path, footers=[{"lag_ms": {"p99": 3.0}}, {"lag_ms": {"p99": 9.0}}], services=services)
    assert judged("memory of backend < 100 MB", seen) == (120.0, 2, False)
    assert judged("memory of backend < 0.1 GB", seen) == (0.12, 2, False)
    assert judged("lag p99 < 10 ms", seen) == (9.0, 2, True)
    rows = judge_thresholds(parse_all("", ["memory of backend < 100 MB", "lag p99 < 10 ms"]), seen)
    assert missed(rows) == "missed: memory of backend"


def test_errors_are_everything_that_did_not_go_well(tmp_path: Path) -> None:
    """A refused and an unanswered message, a probe with 503, a request without a clear answer: four of seven."""
    seen = measured(
        tmp_path,
        *({"kind": Kind.INVOKE} for _ in range(3)),
        {"kind": Kind.OK},
        {"kind": Kind.FAIL},
        {"kind": Kind.INFO},
        {"kind": Kind.PROBE, "counter": 503, "aux": 1},
        {"kind": Kind.REQUEST, "flags": int(Flag.ACCEPTED)},
        {"kind": Kind.REQUEST, "flags": int(Flag.REFUSED)},
        {"kind": Kind.REQUEST, "flags": 0},
    )
    assert judged("errors < 50 %", seen) == (57.143, 7, False)


def test_reconnects_are_timed_from_loss_to_the_next_connection() -> None:
    """The tester's own closing is no loss; who never came back counts until the drain."""
    rows: list[dict[str, Any]] = [
        {"kind": Kind.CONNECT, "client": 1, "t": 0},
        {"kind": Kind.DISCONNECT, "client": 1, "t": 10 * MS},
        {"kind": Kind.DISCONNECT, "client": 2, "t": 12 * MS},
        {"kind": Kind.CONNECT, "client": 1, "t": 15 * MS},
        {"kind": Kind.DISCONNECT, "client": 1, "t": 20 * MS, "flags": int(Flag.OWN)},
        {"kind": Kind.CONNECT, "client": 1, "t": 90 * MS},
        {"kind": Kind.PHASE, "counter": int(Phase.DRAIN), "t": 112 * MS},
        {"kind": Kind.DISCONNECT, "client": 1, "t": 120 * MS},
    ]
    assert sorted(reconnects_ms(records(*rows))) == [5.0, 100.0]


@pytest.mark.parametrize(
    ("never", "text", "outcome"),
    [
        (0, "ack max < 1 s", (pytest.approx(0.01, rel=0.01), 99, True)),
        (1, "ack max < 1 s", (None, 100, False)),
        (1, "ack p99 < 1 s", (pytest.approx(0.01, rel=0.01), 100, True)),
        (2, "ack p99 < 1 h", (None, 101, False)),
        (99, "ack p50 < 1 s", (pytest.approx(0.01, rel=0.01), 198, True)),
        (100, "ack p50 < 1 s", (None, 199, False)),
    ],
)
def test_an_answer_that_never_came(tmp_path: Path, never: int, text: str, outcome: Any) -> None:
    """It took longer than any bound: it is no sample to be left out. One whose connection was cut is."""
    given_up = [{"kind": Kind.INFO, "t": at * MS, "flags": int(Flag.TIMEOUT)} for at in range(never)]
    footers = [{FOOTER_KEY: {"ack": encoded([(10 * MS, 99)])}}]
    seen = measured(tmp_path, *given_up, {"kind": Kind.INFO, "t": MS}, footers=footers)
    assert judged(text.replace("1 h", "60 min"), seen) == outcome
    row = seen.latencies()["ack"]
    assert row.get("unanswered", 0) == never
    json.dumps(row, allow_nan=False)


@pytest.mark.parametrize(
    ("waited_s", "drained", "never"), [(10, True, 1), (9, True, 0), (10, False, 0)], ids=["long", "short", "cut"]
)
def test_an_answer_that_the_end_of_the_run_cut_off(tmp_path: Path, waited_s: int, drained: bool, never: int) -> None:
    """The run closed the connection itself, after a wait as long as any other. A connection that was cut is none."""
    message = {"author": 3, "counter": 7, "attempt": 1}
    rows = [{"kind": Kind.INVOKE, "t": MS, **message}, {"kind": Kind.INVOKE, "t": MS, **message, "attempt": 2}]
    rows += [{"kind": Kind.PHASE, "counter": Phase.DRAINED, "t": 2 * MS}] if drained else []
    rows.append({"kind": Kind.INFO, "t": MS + waited_s * 1000 * MS, **message})
    footers = [{FOOTER_KEY: {"ack": encoded([(10 * MS, 1)])}}]
    assert measured(tmp_path, *rows, footers=footers).unanswered == never
