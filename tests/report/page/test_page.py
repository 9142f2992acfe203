"""`report.html`: what stands in it, that it needs nothing else, and that it is bounded."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from earwitness.checks.history.record import Kind, empty
from earwitness.harness.cli import main
from earwitness.harness.record.importer import import_history
from earwitness.harness.report.page.svg import plot_svg
from earwitness.harness.report.page.timeline import BINS, Band, Line, Plot, axis_of
from earwitness.harness.report.recorded import Recorded

HISTORY = Path(__file__).parents[3] / "docs" / "pictures" / "counterexample.jsonl"
VOID = {"meta", "br", "link", "input"}


class Balanced(HTMLParser):
    """Fails on elements that are not closed in their order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.seen.add(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.seen.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture
def page_of(tmp_path: Path) -> Callable[..., str]:
    """`page_of(rows)`: import rows, judge them, and return the page that `earwitness check` wrote."""

    def make(rows: list[dict[str, Any]] | None = None) -> str:
        file, run = tmp_path / "history.jsonl", tmp_path / "run"
        lines = HISTORY.read_text("utf-8") if rows is None else "\n".join(map(json.dumps, rows)) + "\n"
        file.write_text(lines, "utf-8")
        import_history(file, run)
        main(["check", str(run)])
        page = (run / "report.html").read_text("utf-8")
        parser = Balanced()
        parser.feed(page)
        assert parser.open == []
        return page

    return make


def chat(room: str, *, footer: object = None, heard_by: tuple[str, ...] = ("ann", "bob")) -> list[dict[str, Any]]:
    """Rows of a chat of ann and bob with one message of ann."""
    say = {"time_ns": 0, "client": "ann", "conversation": room}
    rows: list[dict[str, Any]] = [{"roster": {"members": {room: ["ann", "bob"]}}}]
    for client in ("ann", "bob"):
        rows.append({"time_ns": 1, "kind": "connect", "client": client})
        rows.append({"time_ns": 2, "kind": "join", "client": client, "conversation": room, "seq": 0})
    rows.append({**say, "time_ns": 1_000_000, "kind": "invoke", "message": "m", "text": "hello"})
    rows.append({"time_ns": 2_000_000, "kind": "ok", "client": "ann", "message": "m", "seq": 1})
    for client in heard_by:
        rows.append(
            {"time_ns": 3_000_000, "kind": "deliver", "client": client, "message": "m", "seq": 1, "text": "hello"}
        )
    rows.append({"time_ns": 900_000_000, "kind": "phase", "phase": "drained"})
    rows.append({"journal": {"name": "import", "footer": footer}})
    return rows


def test_a_failed_run(page_of: Callable[..., str]) -> None:
    """Outcome, sentence, picture, records, the command to see it again, plots, cards, and what was not exercised."""
    page = page_of()
    for words in (
        "<h1>FAIL</h1>", "the violation that happened first", ">Counterexamples</h2>", "see it again: <code>",
        "--only I4 --witness 1",
        "Messages a second", ": 1 violation<", ">Checks of the platform</h2>", ">Health of the tester</h2>",
        ">Not exercised</h2>", ">Again</h2>",
    ):  # fmt: skip
        assert words in page, words
    assert page.count("<svg") >= 3


def test_it_needs_nothing_else(page_of: Callable[..., str]) -> None:
    """No script, no picture, font or style from elsewhere."""
    page = page_of()
    assert "<script" not in page
    assert re.findall(r'(?:src|href)="(?!#)[^"]*"', page) == []
    assert set(re.findall(r"https?://[^\s\"<]+", page)) <= {"http://www.w3.org/2000/svg"}


def test_the_same_bytes(page_of: Callable[..., str], tmp_path: Path) -> None:
    """`earwitness report` writes what `earwitness check` wrote."""
    page = page_of()
    assert main(["report", str(tmp_path / "run"), "-o", str(tmp_path / "again.html")]) == 0
    assert (tmp_path / "again.html").read_text("utf-8") == page


def test_a_torn_recording(page_of: Callable[..., str]) -> None:
    """It has a page too, which states what is missing."""
    page = page_of(chat("general"))
    assert "<h1>UNKNOWN</h1>" in page
    assert "H1 record-complete" in page


def test_words_of_others_are_text(page_of: Callable[..., str]) -> None:
    """A conversation's name is no markup, and drives no terminal."""
    name = "<script>alert(1)</script>\x1b[2J"
    page = page_of(chat(name, footer={"lag_ms": {"p99": 0.1}}, heard_by=("ann", "bob", "bob")))
    assert "&lt;script&gt;alert(1)" in page  # in the sentence of what bob received twice
    assert "<script" not in page
    assert "\x1b" not in page


def test_a_run_that_was_not_judged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One sentence names what to do."""
    file = tmp_path / "history.jsonl"
    file.write_text("\n".join(map(json.dumps, chat("general"))), "utf-8")
    import_history(file, tmp_path / "run")
    assert main(["report", str(tmp_path / "run")]) == 2
    assert "judge the run first: earwitness check" in capsys.readouterr().err


@pytest.mark.parametrize("seconds", [0.05, 7, 3600, 86_400])
def test_an_axis_has_few_bins(seconds: float) -> None:
    """Whatever a run lasts; each time lies in one of them."""
    records = empty(2)
    records["kind"], records["t"] = Kind.INVOKE, (5, 5 + int(seconds * 1e9))
    axis = axis_of(Recorded([records]))
    assert axis is not None
    assert 1 <= axis.count <= BINS
    assert axis.bins(records["t"]).tolist() == [0, axis.count - 1]
    line = axis.rate("sent", records["t"])
    assert math.isclose(sum(line.values) * axis.width_s, 2, rel_tol=0.1)


def test_gaps_and_bands_are_drawn() -> None:
    """A value that is missing breaks the line; what was shaded is named."""
    line = Line("p99", (0.0, 1.0, 2.0, 3.0), (1.0, 2.0, math.nan, 4.0))
    drawn = plot_svg(Plot("Latency", "ms", (line,), log=True), 4.0, [Band("kill:auth", 1.0, 2.0)])
    assert drawn.count("<polyline") == 1
    assert drawn.count("<circle") == 1
    assert "kill:auth: 1.0 s to 2.0 s" in drawn
    assert "at most 4 ms at 3 s" in drawn
    assert np.isfinite([float(y) for y in re.findall(r'cy="([\d.]+)"', drawn)]).all()
