"""CALL records from the lines that breakers leave in logs."""

from __future__ import annotations

import json
from pathlib import Path

from earwitness.checks.history.record import Flag
from earwitness.harness.record.history import JournalView
from earwitness.harness.record.reading import DataFile, measure
from earwitness.harness.record.rundir import RunDirectory
from earwitness.harness.record.sidecar import Sidecar
from earwitness.harness.run.breaker_log import CallLog


def line(begun: int, ended: int, state: str, *, called: bool = True, answered: bool = False) -> str:
    told: dict[str, object] = {"dependency": "auth", "begun_ns": begun, "ended_ns": ended, "state": state}
    told |= {"called": called, "answered": answered}
    return f"12:00:00.000 INFO earwitness.harness.reference.breaker call {json.dumps(told)}\n"


def test_calls_since_the_beginning_of_the_run(tmp_path: Path) -> None:
    """Sorted by their end over all services; what was there before, other lines and a torn last one are left out."""
    frontend, backend = tmp_path / "frontend.log", tmp_path / "backend-1.log"
    frontend.write_text(line(1, 2, "closed"))
    log = CallLog({"frontend": frontend, "backend-1": backend, "edge": tmp_path / "none.log"})
    with frontend.open("a") as file:
        file.write(line(10, 40, "closed") + "something else: call me\n" + line(50, 51, "open", called=False))
        file.write(line(60, 70, "half-open", answered=True)[:-9])
    backend.write_text(line(20, 30, "closed", answered=True))
    run = RunDirectory.at(tmp_path / "run")
    assert log.write(run) == 3
    sidecar = Sidecar(run.journals / "calls.names.jsonl")
    sidecar.read()
    view = JournalView("calls", run.journals / "calls.ewj", sidecar)
    with DataFile(view.path) as data:
        measure(view, data)
    told = [
        (view.names[int(r["author"])], int(r["seq"]), int(r["t"]), int(r["counter"]), int(r["aux"]), int(r["flags"]))
        for r in view.records
    ]
    assert told == [
        ("backend-1/auth", 20, 30, 1, 1, int(Flag.ACCEPTED)),
        ("frontend/auth", 10, 40, 1, 1, 0),
        ("frontend/auth", 50, 51, 2, 0, 0),
    ]
    assert not view.torn
