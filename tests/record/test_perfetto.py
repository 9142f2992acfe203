"""The trace of a run: a track for each connection, an arrow from each send to its deliveries, faults beside them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from earwitness.harness.cli import main
from earwitness.harness.record.importer import import_history

ROWS: list[dict[str, Any]] = [
    {"roster": {"members": {"room": ["ann", "bob"]}}},
    {"time_ns": 1_000, "kind": "connect", "client": "ann"},
    {"time_ns": 2_000, "kind": "connect", "client": "bob"},
    {"time_ns": 3_000, "kind": "join", "client": "ann", "conversation": "room", "seq": 0},
    {"time_ns": 3_000, "kind": "join", "client": "bob", "conversation": "room", "seq": 0},
    {"time_ns": 10_000, "kind": "fault", "name": "kill:auth", "flags": ["own"]},
    {
        "time_ns": 11_000,
        "kind": "invoke",
        "client": "ann",
        "conversation": "room",
        "message": "m",
        "text": "private",
    },
    {"time_ns": 12_000, "kind": "ok", "client": "ann", "message": "m", "seq": 1},
    {"time_ns": 13_000, "kind": "deliver", "client": "ann", "message": "m", "seq": 1, "text": "private"},
    {"time_ns": 14_000, "kind": "deliver", "client": "bob", "message": "m", "seq": 1, "text": "private"},
    {"time_ns": 15_000, "kind": "fault", "name": "kill:auth"},
    {"time_ns": 19_000, "kind": "disconnect", "client": "bob", "code": 1000},
]


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    file = tmp_path / "history.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    import_history(file, tmp_path / "run")
    return tmp_path / "run"


def test_the_trace_of_a_run(run_dir: Path, tmp_path: Path) -> None:
    """Names of users, one arrow a delivery from its send, the span of each connection and of the fault."""
    file = tmp_path / "trace.json"
    assert main(["export", str(run_dir), "--perfetto", "-o", str(file)]) == 0
    events = json.loads(file.read_text())["traceEvents"]
    names = {event["args"]["name"]: event["pid"] for event in events if event["ph"] == "M"}
    assert set(names) == {"faults", "ann", "bob"}
    starts = {event["id"]: event for event in events if event["ph"] == "s"}
    ends = {event["id"]: event for event in events if event["ph"] == "f"}
    assert [(starts[n]["pid"], starts[n]["ts"]) for n in ends] == [(names["ann"], 10.0)] * 2
    assert [(end["pid"], end["ts"]) for end in ends.values()] == [(names["ann"], 12.0), (names["bob"], 13.0)]
    (send,) = [event for event in events if event.get("name", "").startswith("send #")]
    assert (send["pid"], send["tid"], send["ts"]) == (names["ann"], 1, 10.0)
    (fault,) = [event for event in events if event["ph"] == "X" and event["pid"] == names["faults"]]
    assert (fault["name"], fault["ts"], fault["dur"]) == ("kill:auth", 9.0, 5.0)
    spans = [(event["ph"], event["pid"], event["ts"]) for event in events if event.get("cat") == "connection"]
    assert spans == [("b", names["ann"], 0.0), ("b", names["bob"], 1.0), ("e", names["bob"], 18.0)]
    assert "private" not in file.read_text()


def test_the_ending_must_fit(run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A trace is .json, and nothing else is; nothing is written otherwise."""
    for words, hint in ((["-o", "x.json"], "add --perfetto"), (["--perfetto", "-o", "x.jsonl"], "the ending .json.")):
        assert main(["export", str(run_dir), *words[:-1], str(tmp_path / words[-1])]) == 2
        assert hint in capsys.readouterr().err
        assert not (tmp_path / words[-1]).exists()
