"""Pieces of a journal: cut while it grows, put together elsewhere, never wrong, whatever is lost or comes twice."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from earwitness.harness.errors import RecordError
from earwitness.harness.record.evidence import conclude
from earwitness.harness.record.history import open_history
from earwitness.harness.record.journal import BLOCK_RECORDS, Journal
from earwitness.harness.record.rundir import RunDirectory
from earwitness.harness.record.shipping import Cutter, Gathering, Piece

Make = Callable[..., tuple[int, ...]]


@pytest.fixture
def part(tmp_path: Path) -> Path:
    (tmp_path / "part" / "tables").mkdir(parents=True)
    return tmp_path / "part"


def grown(part: Path, record: Make, rng: random.Random, count: int) -> list[Piece]:
    """The pieces of a journal that is sealed and cut at random moments, and closed in the end."""
    journal = Journal.create(part / "journals", "load-1", meta={"host": "there"})
    cutter, pieces, n = Cutter(part, "load-1"), [], 0
    while n < count:
        for _ in range(rng.choice((1, 50, 3000, 20_000))):
            n += 1
            journal.write(*record(n, aux=journal.intern(f"name {n}") if n % 700 == 0 else -1))
        with (part / "tables" / "services.jsonl").open("a") as table:
            table.write(json.dumps({"t_ns": n, "service": "load-1"}) + "\n")
        if rng.random() < 0.7:
            journal.seal()
        while rng.random() < 0.8 and (piece := cutter.next()) is not None:
            pieces.append(piece)
    journal.close({"frames_in": n})
    while (piece := cutter.next()) is not None:
        pieces.append(piece)
    assert cutter.closed
    return pieces


@pytest.mark.parametrize("seed", range(6))
def test_pieces_make_the_same_journal(run: RunDirectory, part: Path, record: Make, seed: int) -> None:
    """Also if pieces come twice, or after a gap again from an earlier one."""
    rng = random.Random(seed)
    pieces = [Piece.unpacked(piece.packed()) for piece in grown(part, record, rng, 70_000)]
    gathering, at = Gathering(run.path, "load-1", offset_ns=1000), 0
    while at < len(pieces):
        if rng.random() < 0.2 and at + 1 < len(pieces):
            gathering.take(pieces[at + 1])  # refused if this one must come before it
        assert gathering.take(pieces[at])
        at = max(0, at - rng.randrange(3)) if rng.random() < 0.2 else at + 1
    for name in ("load-1.ewj", "load-1.names.jsonl"):
        assert (run.journals / name).read_bytes() == (part / "journals" / name).read_bytes()
    run.update(journals=["load-1"])
    conclude(run)
    (view,) = open_history(run.path).journals
    assert (view.faults, view.torn, len(view.names)) == ([], False, view.count // 700)
    ours = [row["t_ns"] for row in run.rows("services")]
    theirs = [json.loads(line)["t_ns"] for line in (part / "tables" / "services.jsonl").read_text().splitlines()]
    assert ours == [t + 1000 for t in theirs]


def test_what_a_killed_process_had_sealed_is_judged(run: RunDirectory, part: Path, record: Make) -> None:
    """All of it, with the names that it uses, in order; what was not sealed is lost."""
    journal = Journal.create(part / "journals", "load-1", meta={})
    for n in range(1, BLOCK_RECORDS + 101):
        journal.write(*record(n, aux=journal.intern(f"name {n}") if n == 5 else -1))
    journal.seal()
    journal.write(*record(9999))
    first = Cutter(part, "load-1")
    pieces = [first.next()]
    for n in range(10_000, 10_100):
        journal.write(*record(n))
    journal.seal()
    pieces.append(first.next())
    gathering = Gathering(run.path, "load-1")
    one, other = (piece for piece in pieces if piece is not None)
    assert not gathering.take(other)
    assert gathering.take(one)
    run.update(journals=["load-1"])
    (view,) = open_history(run.path).journals
    assert (view.count, view.torn, view.faults, list(view.names.values())) == (
        BLOCK_RECORDS + 100,
        True,
        [],
        ["name 5"],
    )
    assert open_history(run.path).infos()[0].unsealed == 0


def test_a_piece_may_not_write_other_files(run: RunDirectory) -> None:
    """Neither those of another journal, nor any outside the run."""
    gathering = Gathering(run.path, "load-1")
    for journal, name in (
        ("load-1", "run.json"),
        ("load-1", "journals/load-2.ewj"),
        ("load-1", "tables/../../x.jsonl"),
        ("load-2", "journals/load-2.ewj"),
    ):
        with pytest.raises(RecordError, match="no file of load-1"):
            gathering.take(Piece(journal, [(name, 0, b"x")]))
    with pytest.raises(RecordError, match="no piece of a journal"):
        Piece.unpacked(b'{"journal": "load-1", "slices": [["a", 0, 5]]}\nxyz')
