"""Where the workers of a run are: asked before it, measured until its end, and stated in run.json."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from earwitness.checks.roster import Roster
from earwitness.harness.record.meta import clock_id
from earwitness.harness.record.rundir import RunDirectory
from earwitness.harness.run import hosts
from earwitness.harness.run.hosts import EXCHANGES, Hosts
from earwitness.harness.run.messages import MEET, TIME
from earwitness.harness.run.shipper import shares_disk

S = 1_000_000_000


class Workers:
    """`here` is beside the master; `there` has its own disk, and a clock two seconds ahead; `mute` never answers."""

    def __init__(self) -> None:
        self.hosts = Hosts({"here": 0, "there": 1, "mute": 2}, self.send)
        self.asked: list[tuple[str, str]] = []
        self.gone: set[str] = {"mute"}

    def send(self, what: str, data: dict[str, Any], worker: str) -> None:
        self.asked.append((what, worker))
        if worker in self.gone:
            return
        t = time.monotonic_ns() + (2 * S if worker == "there" else 0)
        if what == MEET:
            shares = worker == "here" and shares_disk(Path(data["mark"]), data["text"])
            clock = clock_id() if worker == "here" else "another"
            self.hosts.met(worker, {"n": data["n"], "t": t, "clock": clock, "shares": shares})
        else:
            self.hosts.told(worker, {"n": data["n"], "t": t})


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> Workers:
    monkeypatch.setattr(hosts, "MEET_S", 0.1)
    monkeypatch.setattr(hosts, "EXCHANGE_S", 0.1)
    return Workers()


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    made = RunDirectory.create(tmp_path / "runs", "story", 7)
    made.write_roster(Roster(user_of=(0, 1), conversations=((0, 1),)))
    return made


def test_workers_say_where_they_are(
    workers: Workers, run: RunDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One that does not answer is taken as one on this host, with a message."""
    before = sorted((tmp_path / "runs").iterdir())
    assert workers.hosts.meet(tmp_path / "runs") == (0, 1, 0)
    assert sorted((tmp_path / "runs").iterdir()) == before
    assert "load process mute did not say" in capsys.readouterr().err
    assert workers.hosts.away == {"there"}
    assert workers.asked.count((TIME, "there")) == EXCHANGES
    assert (TIME, "here") not in workers.asked
    workers.hosts.begin(run)
    assert list(workers.hosts.parts) == [1]
    workers.hosts.close({"here", "there"})
    clocks = RunDirectory.open(run.path).run["clocks"]
    stated = clocks["others"]["another"]
    assert clocks["master"] == clock_id()
    assert abs(stated["offset_ns"] + 2 * S) <= stated["bound_ns"] < S
    assert stated["exchanges"] == 2 * EXCHANGES + 1


def test_a_host_that_is_lost_is_asked_once_more_only(workers: Workers, run: RunDirectory, tmp_path: Path) -> None:
    """The end does not wait for it at each exchange; what was measured of it stays."""
    workers.hosts.meet(tmp_path / "runs")
    workers.hosts.begin(run)
    workers.gone.add("there")
    workers.asked.clear()
    workers.hosts.close({"here", "there"})
    assert workers.asked == [(TIME, "there")]
    assert RunDirectory.open(run.path).run["clocks"]["others"]["another"]["exchanges"] == EXCHANGES + 1
