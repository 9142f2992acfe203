"""Faults of a run: begun when everybody is there, ended with the load, recorded, and told if nothing came of them."""

from __future__ import annotations

from pathlib import Path

import gevent
import pytest
from gevent.event import Event

from earwitness.checks.history.record import FaultKind, Flag, Place
from earwitness.harness.errors import PlatformError
from earwitness.harness.platform.faults import read_schedule
from earwitness.harness.record.history import JournalView
from earwitness.harness.record.rundir import RunDirectory
from earwitness.harness.record.sidecar import Sidecar
from earwitness.harness.run.faults import Faults, kind_of, place_of

ON = int(Flag.OWN)


class Script:
    """A fault that writes down what it was told, and fails where it is asked to."""

    def __init__(self, said: list[str], name: str, *, lasting: bool = True, fails: str = "") -> None:
        self.said, self.name, self.lasting, self.fails = said, name, lasting, fails

    def apply(self) -> None:
        self._do("apply")

    def lift(self) -> None:
        self._do("lift")

    def _do(self, what: str) -> None:
        self.said.append(f"{what} {self.name}")
        if self.fails == what:
            raise PlatformError(f"{self.name} would not")


def recorded(run: RunDirectory) -> list[tuple[str, int, int, int]]:
    from earwitness.harness.record.reading import DataFile, measure

    sidecar = Sidecar(run.journals / "conductor.names.jsonl")
    sidecar.read()
    view = JournalView("conductor", run.journals / "conductor.ewj", sidecar)
    with DataFile(view.path) as data:
        measure(view, data)
    assert not view.torn
    return [(view.names[int(r["author"])], int(r["flags"]), int(r["counter"]), int(r["attempt"])) for r in view.records]


def test_a_fault_is_on_for_its_duration_and_at_most_until_the_end(tmp_path: Path) -> None:
    """The first ends by itself, the second with the load; the third was never due. What ends is lifted, once."""
    run = RunDirectory.at(tmp_path / "run")
    said: list[str] = []
    plan = read_schedule("kill:auth@1ms+1ms,pause:backend-1@2ms,kill:edge@1m")
    faults = Faults(run, plan, [Script(said, name) for name in ("auth", "backend-1", "edge")], None)
    gevent.sleep(0.05)
    assert said == []
    faults.begin()
    gevent.sleep(0.2)
    assert said == ["apply auth", "lift auth", "apply backend-1"] or said[-1] == "lift auth"
    assert "lift backend-1" not in said
    counts = {name: (count.active, count.injections, count.failures) for name, count in faults.counts.items()}
    assert counts == {"kill auth": (0, 1, 0), "pause backend-1": (1, 1, 0), "kill edge": (0, 0, 0)}
    assert faults.counts["kill auth"].began_at_s > 1e9 > faults.counts["kill edge"].began_at_s
    assert faults.end() == []
    assert sorted(said) == ["apply auth", "apply backend-1", "lift auth", "lift backend-1"]
    assert [count.active for count in faults.counts.values()] == [0, 0, 0]
    told = recorded(run)
    assert ("kill auth", ON, FaultKind.KILL, Place.AUTH) in told
    assert ("pause backend-1", 0, FaultKind.PAUSE, Place.BACKEND) in told
    assert len(told) == 4


def test_what_is_over_by_itself_takes_turns(tmp_path: Path) -> None:
    """Three replacements at once happen one after the other; who has had no turn by the end has none."""
    run = RunDirectory.at(tmp_path / "run")
    said: list[str] = []

    second_begun, release = Event(), Event()

    class Slow(Script):
        def apply(self) -> None:
            super().apply()
            if self.name == "b":
                second_begun.set()
                release.wait(5)
            said.append(f"done {self.name}")

    plan = read_schedule("replace:a@1ms,replace:b@2ms,replace:c@3ms")
    faults = Faults(run, plan, [Slow(said, name, lasting=False) for name in "abc"], None)
    faults.begin()
    assert second_begun.wait(5)
    ending = gevent.spawn(faults.end)
    gevent.sleep(0)  # the end has begun, while the second replacement is under way
    release.set()
    ending.join(5)
    assert ending.successful()
    assert said == ["apply a", "done a", "apply b", "done b"]


@pytest.mark.parametrize("fails", ["apply", "lift"])
def test_a_fault_without_effect_is_told(tmp_path: Path, fails: str, capsys: pytest.CaptureFixture[str]) -> None:
    """With its entry and the reason, to the user at once and to the judge; it is lifted in any case."""
    run = RunDirectory.at(tmp_path / "run")
    said: list[str] = []
    faults = Faults(run, read_schedule("kill:auth@1ms"), [Script(said, "auth", fails=fails)], None)
    faults.begin()
    gevent.sleep(0.1)
    assert faults.end() == ["kill:auth@1ms: auth would not"]
    assert said == ["apply auth", "lift auth"]
    assert "earwitness: fault kill:auth@1ms: auth would not" in capsys.readouterr().err
    assert [row[1] for row in recorded(run)] == [ON, 0]
    assert faults.counts["kill auth"].failures == 1


@pytest.mark.parametrize(
    ("where", "place"),
    [
        ("auth", Place.AUTH),
        ("provider", Place.AUTH),
        ("backend-2", Place.BACKEND),
        ("edge", Place.BACKEND),
        ("edge/backend-1", Place.BACKEND),
        ("backend/auth", Place.AUTH),
        ("auth/postgres", Place.AUTH),
        ("backend-1/valkey", Place.BACKEND),
        ("users/frontend", Place.FRONTEND),
        ("postgres", 0),
        ("auth_down", 0),
    ],
)
def test_who_suffers(where: str, place: int) -> None:
    """A service itself; of a link its callee; of a link to a store its caller; of a store alone several."""
    assert place_of(where) == place


def test_a_command_has_no_kind() -> None:
    """A target's own fault may be anything."""
    (planned,) = read_schedule("auth_down@1s", named=True)
    assert (kind_of(planned), planned.name) == (0, "auth_down")
