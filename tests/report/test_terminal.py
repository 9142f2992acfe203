"""The verdict as text: in groups, in 80 columns, the outcome first, with the figures that a reader needs."""

from __future__ import annotations

import re
from typing import Any

import pytest

from earwitness.harness.report.terminal import WIDTH, three_digits, verdict_text

LONG = "user 3 was subscribed to conversation 1 from before #1 of user 4 was sent until the end, and never received it"


def row(id: str, name: str, outcome: str = "PASS", examined: int = 12_345, **more: Any) -> dict[str, Any]:
    plain = {"counts": True, "promised": True, "violations": 0, "why": "", "upper_bound_95": None, "witnesses": []}
    return {"id": id, "name": name, "outcome": outcome, "examined": examined, **plain, **more}


def verdict(checks: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    return {
        "headline": "FAIL",
        "exit_code": 1,
        "why": "broken: I5b delivered",
        "story": "ws_ordering",
        "seed": 7,
        "run": "runs/one",
        "seconds": 40.0,
        "checks": checks,
        "harness": [row("H1", "record-complete"), row("H4", "load-attained", "UNKNOWN", why="9 of 10 users connected")],
        "thresholds": [],
        "load": {"users": 100, "connections": 120, "messages_sent": 1_000, "messages_delivered": 3_456},
        "replicas": {"backend-1": 60, "backend-2": 60},
        "latency_ms": {"ack": {"p50": 1.23456, "p99": 1234.5, "samples": 1000}},
        "to_first_message_s": None,
        "bursts": [],
        "records": 4_567,
        "faults": [{"name": "kill auth", "start_s": 20.04, "end_s": 25.1}],
        **more,
    }


BROKEN = row("I5b", "delivered", "FAIL", 48, violations=23, witnesses=[
    {"number": 1, "sentence": LONG, "records": [], "command": f"earwitness check {'deep/' * 20}run --witness 1"},
])  # fmt: skip


def test_the_outcome_comes_first_and_last() -> None:
    """The first line is the outcome with its reason, and the last ones repeat it, with the report's path at the end."""
    lines = verdict_text(verdict([BROKEN])).splitlines()
    assert lines[:2] == ["", "FAIL  (exit code 1) broken: I5b delivered"]
    assert lines[-3] == lines[1]
    assert lines[-2] == "judged from 4,567 records; again: earwitness check runs/one"
    assert lines[-1] == "report: runs/one/report.html"


def test_load_rates_and_faults() -> None:
    """Story, seed, duration, users, messages per second of the run, and each fault with its times."""
    text = verdict_text(verdict([BROKEN]))
    assert "ws_ordering · seed 7 · 40 s" in text
    assert "1,000 sent (25/s), 3,456 received (86.4/s)" in " ".join(text.split())
    assert "\nfaults: kill auth from 20 to 25.1 s\n" in text
    assert "faults:" not in verdict_text(verdict([BROKEN], faults=[]))
    assert "planted" not in text
    planted = verdict_text(verdict([BROKEN], defect="backend=drop-push:0.05"))
    assert "\nplanted defects, with which the platform was started: backend=drop-push:0.05\n" in planted
    assert "the probability with which it acts at each opportunity. A defect is" in " ".join(planted.split())


def test_each_check_stands_in_its_group() -> None:
    """A broken promise, what is not known, what held, an observation, and by name what nothing exercised."""
    checks = [
        row("I1", "per-sender-fifo", upper_bound_95=3 / 12_345),
        row("I2", "total-order", "UNKNOWN", 3, why="journal load-1 is torn"),
        BROKEN,
        row("I44", "recent-reads", "FAIL", 9, violations=2, promised=False, counts=False),
        row("I18", "monotonic-writes", "UNKNOWN", 0, counts=False),
        row("I22", "convergence", "UNKNOWN", 0, counts=False),
    ]
    text = verdict_text(verdict(checks))
    groups = {part.split(" (")[0]: part for part in text.split("\n\n")}
    broken = r"I5b +delivered +23 violations\n +Subscribed devices never received messages\n +23 of 48 "
    assert re.search(broken, groups["Broken"])
    assert "23 of 48 deliveries that were due never came (47.9 %)" in groups["Broken"]
    assert re.search(r"I2 +total-order +3 numbers and deliveries\n +journal load-1 is torn", groups["Not known"])
    assert re.search(r"I1 +per-sender-fifo +12,345 +fewer than 0.0243 %", groups["Held"])
    assert re.search(
        r"I44 +recent-reads +2 violations in 9 reads after an acknowledgement", groups["Not promised, only observed"]
    )
    assert "I18 monotonic-writes, I22 convergence" in groups["Not exercised"]
    assert [word for word in ("I1 ", "I2 ", "I44", "I18") if word in groups["Broken"]] == []
    assert "H1 record-complete" in groups["The tester itself"]
    assert re.search(
        r"H4 +load-attained +UNKNOWN: 12,345 measures of the load\n +9 of 10 users", groups["The tester itself"]
    )


def test_an_unpromised_check_never_stands_under_broken() -> None:
    """Only a broken promise does."""
    text = verdict_text(verdict([row("I44", "recent-reads", "FAIL", 9, violations=2, promised=False)]))
    assert "Broken" not in text


def test_lines_fit_into_80_columns() -> None:
    """All but commands and paths, which are copied whole; a name and its number are not torn apart."""
    silent = [row(f"I{n}", f"a-name-{n}", "UNKNOWN", 0, counts=False) for n in range(10, 60)]
    why = ", ".join(f"I{n} a-name-{n}" for n in range(10, 30))
    lines = verdict_text(verdict([BROKEN, *silent], why=f"broken: {why}")).splitlines()
    long = [line for line in lines if len(line) > WIDTH]
    assert len(long) == 1
    assert "earwitness check deep/" in long[0]
    assert not [line for line in lines if re.search(r" I\d+$", line)]
    assert not any("\u00a0" in line for line in lines)


@pytest.mark.parametrize(
    ("value", "text"),
    [(1.23456, "1.23"), (12.345, "12.3"), (0.012345, "0.0123"), (123.456, "123"), (12345.6, "12,346")],
)
def test_three_digits(value: float, text: str) -> None:
    """Three significant digits, and never fewer than those before the decimal point."""
    assert three_digits(value) == text


def test_figures_have_three_digits() -> None:
    """Latencies too."""
    assert "  ack: p50 1.23 ms, p99 1,234 ms (1,000)" in verdict_text(verdict([BROKEN]))


STREAMS = {
    "streams": 30, "judged": 24, "finished": 20, "failed": 3, "broken": 1, "stalled": 2, "cut": 1, "of_several": 12,
    "differing": 0, "compared": 9, "cut_short": 4, "closed": 0, "during_faults": 2, "tokens": 1234, "unanswered": 1,
    "tokens_per_s": {"p1": 9.8, "p50": 98.4},
}  # fmt: skip


def test_streamed_answers_have_their_lines() -> None:
    """How they ended, what is not judged, and the speed; a lower limit is named as one. Without any, no line."""
    rate = {"name": "token rate p1", "limit": 20.0, "unit": "/s", "measured": 9.8, "samples": 24, "met": False}
    text = " ".join(verdict_text(verdict([BROKEN], streams=STREAMS, thresholds=[{**rate, "at_least": True}])).split())
    for words in (
        "24 judged: 20 finished, 3 ended by an error, 1 broken off, 2 stalled, 1 cut for one of several listeners; "
        "not judged: 4 cut short by the tester, 2 during faults",
        "questions whose answer never showed a token: 1",
        "tokens a second of an answer: p50 98.4, slowest 1 % at most 9.8 (1,234 tokens)",
        "MISSED token rate p1: 9.8 /s, at least 20 /s (24 samples)",
    ):
        assert words in text
    assert "streamed" not in verdict_text(verdict([BROKEN], streams={}))
