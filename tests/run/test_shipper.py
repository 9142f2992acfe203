"""Records on their way to the master: messages get lost, come late or twice, and nothing is missing in the end."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest

from earwitness.checks.history.record import NOBODY, NONE, Kind
from earwitness.harness.record.journal import Journal
from earwitness.harness.record.shipping import Gathering
from earwitness.harness.run import shipper
from earwitness.harness.run.shipper import Intake, Shipper, own_directory, shares_disk

RECORDS = 12_000


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("SHIP_S", 0.01), ("ANSWER_S", 0.05), ("SILENCE_S", 20.0), ("WINDOW_BYTES", 1 << 18)):
        monkeypatch.setattr(shipper, name, value)


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    for folder in ("journals", "tables"):
        (tmp_path / "master" / "run-7" / folder).mkdir(parents=True)
    return tmp_path / "master" / "run-7"


@pytest.fixture
def own(tmp_path: Path, run_dir: Path) -> Path:
    return own_directory(tmp_path / "worker", run_dir, "load-1")


@pytest.fixture
def journal(own: Path) -> Iterator[Journal]:
    made = Journal.create(own / "journals", "load-1", meta={})
    yield made
    made.close(None)


class Way:
    """A connection between a worker and a master that loses messages of either direction."""

    def __init__(self, intake: Intake, rng: random.Random, lost: float) -> None:
        self.intake, self.rng, self.lost = intake, rng, lost
        self.shipper: Shipper

    def send(self, data: Any) -> None:
        gevent.spawn_later(self.rng.random() / 100, self._arrive, data)
        if self.rng.random() < 0.1:
            gevent.spawn_later(self.rng.random() / 20, self._arrive, data)

    def _arrive(self, data: Any) -> None:
        if self.rng.random() < self.lost:
            return
        answer = self.intake.take("worker", data)
        if answer is not None and self.rng.random() >= self.lost:
            self.shipper.answered(answer)


def shipped(way: Way, own: Path, journal: Journal) -> Shipper:
    way.shipper = Shipper(own, journal, "run-7", way.send)
    for n in range(1, RECORDS + 1):
        aux = journal.intern(f"name {n}") if n % 500 == 0 else NONE
        journal.write(n, Kind.DELIVER, 0, 1, 1, 0, 1, 0, NOBODY, n, NONE, aux, 9, 9)
        if n % 1500 == 0:
            gevent.sleep(0.02)
    journal.close({})
    return way.shipper


@pytest.mark.parametrize(("seed", "lost"), [(1, 0.0), (2, 0.2), (3, 0.4)])
def test_all_records_come(
    run_dir: Path, own: Path, journal: Journal, seed: int, lost: float, record_bytes: Callable[[Path], list[bytes]]
) -> None:
    """And the worker's own directory is removed."""
    way = Way(Intake(run_dir, {"worker": Gathering(run_dir, "load-1")}), random.Random(seed), lost)
    sender = shipped(way, own, journal)
    written = record_bytes(own)
    assert sender.finish()
    assert record_bytes(run_dir) == written
    assert not own.exists()


@pytest.fixture
def record_bytes() -> Callable[[Path], list[bytes]]:
    return lambda folder: [
        (folder / "journals" / f"load-1{suffix}").read_bytes() for suffix in (".ewj", ".names.jsonl")
    ]


def test_a_master_that_is_gone(
    run_dir: Path, own: Path, journal: Journal, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end does not wait for ever; the records stay where they are, and the message says where."""
    monkeypatch.setattr(shipper, "SILENCE_S", 0.5)
    way = Way(Intake(run_dir, {"worker": Gathering(run_dir, "load-1")}), random.Random(1), 1.0)
    assert not shipped(way, own, journal).finish()
    assert str(own) in capsys.readouterr().err
    assert (own / "journals" / "load-1.ewj").stat().st_size == RECORDS * 64


def test_pieces_of_others_are_left_out(run_dir: Path) -> None:
    """Of a worker that is no part of the run, and of a run before."""
    intake = Intake(run_dir, {"worker": Gathering(run_dir, "load-1")})
    assert intake.take("stranger", {"run": "run-7", "piece": b""}) is None
    assert intake.take("worker", {"run": "run-6", "piece": b""}) is None
    assert intake.take("worker", {"run": "run-7", "piece": b"nonsense"}) is None
    assert list((run_dir / "journals").iterdir()) == []


def test_a_path_is_no_disk(tmp_path: Path) -> None:
    """Another host may have the same path: the text decides."""
    mark = tmp_path / ".meeting"
    assert not shares_disk(mark, "a")
    mark.write_text("a")
    assert shares_disk(mark, "a")
    assert not shares_disk(mark, "b")
