"""What is damaged, missing, shortened or exchanged is named, and nothing is judged from it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from earwitness.checks.history.record import RECORD_BYTES
from earwitness.harness.cli import main
from earwitness.harness.errors import Exit, RecordError
from earwitness.harness.record.evidence import conclude
from earwitness.harness.record.history import Follower, History, open_history
from earwitness.harness.record.journal import BLOCK_RECORDS, STEP_RECORDS, Journal
from earwitness.harness.record.rundir import RunDirectory

Make = Callable[..., tuple[int, ...]]
COUNT = 2 * BLOCK_RECORDS + 10
"""Records of each journal: two full blocks and a last one of ten."""


@pytest.fixture(autouse=True)
def a_seal_for_each_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that damage of one is told from damage of another."""
    monkeypatch.setattr("earwitness.harness.record.journal.SEAL_BLOCKS", 1)


@pytest.fixture
def whole(run: RunDirectory, record: Make) -> RunDirectory:
    """A concluded run of two journals and one table."""
    run.append("services", {"cpu": 1})
    for name in ("w1", "w2"):
        journal = Journal.create(run.journals, name, meta={"host": name})
        for n in range(1, COUNT + 1):
            journal.write(*record(n, seq=int(name[1:]), aux=journal.intern(f"{name} {n}") if n % 1000 == 0 else -1))
        journal.identity(0, f"ann of {name}")
        journal.close({})
    run.update(journals=["w1", "w2"])
    conclude(run, state="collected")
    return run


def opened(run: RunDirectory) -> History:
    """The run, read to its end."""
    history = open_history(run.path)
    for _ in history.batches():
        pass
    return history


def said(history: History) -> list[str]:
    """Everything that is said to be damaged."""
    return [*(fault for view in history.journals for fault in view.faults), *history.damage]


def flip(path: Path, at: int, bit: int = 0) -> None:
    """Turn one bit of a file."""
    data = bytearray(path.read_bytes())
    data[at] ^= 1 << bit
    path.write_bytes(bytes(data))


def test_a_whole_run(whole: RunDirectory) -> None:
    """Every record has a seal, and nothing is damaged."""
    history = opened(whole)
    assert said(history) == []
    assert history.concluded
    assert [(info.records, info.unsealed, info.complete) for info in history.infos()] == [(COUNT, 0, True)] * 2
    blocks = history.journals[0].sidecar.blocks
    assert [(block.number, block.first, block.count) for block in blocks] == [
        (1, 1, BLOCK_RECORDS),
        (2, BLOCK_RECORDS + 1, BLOCK_RECORDS),
        (3, 2 * BLOCK_RECORDS + 1, 10),
    ]


def test_blocks_fill_steps() -> None:
    """A block never lies in two steps of the file."""
    assert STEP_RECORDS % BLOCK_RECORDS == 0


@pytest.mark.parametrize(("at", "left"), [(1, 0), (BLOCK_RECORDS, 0), (BLOCK_RECORDS + 1, 1), (COUNT, 2)])
def test_one_bit_of_a_record(whole: RunDirectory, at: int, left: int) -> None:
    """The journal ends before the block of the record; the other one is judged as before."""
    flip(whole.journals / "w1.ewj", at * RECORD_BYTES - 1, 3)
    history = opened(whole)
    count = left * BLOCK_RECORDS
    assert [(info.records, info.gaps) for info in history.infos()] == [(count, COUNT - count), (COUNT, 0)]
    (fault,) = said(history)
    assert fault.startswith(f"w1.ewj, block {left + 1} (records {count + 1:,} to ")
    assert fault.endswith("is not what was written")


def _swap(one: Path, other: Path) -> None:
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)


def _swap_all(journals: Path) -> None:
    for suffix in ("ewj", "names.jsonl"):
        _swap(journals / f"w1.{suffix}", journals / f"w2.{suffix}")


def _cut(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])


def _append(path: Path, data: bytes) -> None:
    path.write_bytes(path.read_bytes() + data)


def _line_out(path: Path, number: int) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:number] + lines[number + 1 :]))


def _remove(journals: Path) -> None:
    for path in journals.glob("w1.*"):
        path.unlink()


def _footer_out(path: Path) -> None:
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))


def _older(path: Path) -> None:
    """Take the chain from the first line, as if an earlier version had written it."""
    first, *rest = path.read_bytes().splitlines(keepends=True)
    value = json.loads(first)
    del value["chain"]
    path.write_bytes(json.dumps(value).encode() + b"\n" + b"".join(rest))


DAMAGE: dict[str, tuple[Callable[[Path], object], int, str]] = {
    "data missing": (lambda j: (j / "w1.ewj").unlink(), 0, "w1.ewj is missing"),
    "data shortened": (lambda j: _cut(j / "w1.ewj", 9000), 0, "w1.ewj, block 1 (records 1 to 2,048) is cut off"),
    "data cut by one record": (lambda j: _cut(j / "w1.ewj", (COUNT - 1) * RECORD_BYTES), 2, "w1.ewj, block 3"),
    "data lengthened": (lambda j: _append(j / "w1.ewj", b"x"), 3, "w1.ewj is longer than its footer says"),
    "names missing": (lambda j: (j / "w1.names.jsonl").unlink(), 0, "w1.names.jsonl is missing"),
    "names empty": (lambda j: (j / "w1.names.jsonl").write_text(""), 0, "w1.names.jsonl has no first line"),
    "names shortened": (lambda j: _cut(j / "w1.names.jsonl", 500), 0, "w1.names.jsonl is cut off: 0 of 3 blocks"),
    "footer missing": (lambda j: _footer_out(j / "w1.names.jsonl"), 3, "w1.names.jsonl is cut off: 3 of 3 blocks"),
    "first line changed": (lambda j: flip(j / "w1.names.jsonl", 20), 0, "w1.names.jsonl, line 1"),
    "name changed": (lambda j: flip(j / "w1.names.jsonl", 150), 0, "w1.names.jsonl, line 2"),
    "name left out": (lambda j: _line_out(j / "w1.names.jsonl", 2), 0, "w1.names.jsonl, line 3"),
    "seal left out": (lambda j: _line_out(j / "w1.names.jsonl", 3), 0, "w1.names.jsonl, line 4"),
    "line added": (
        lambda j: _append(j / "w1.names.jsonl", b"{}\n"),
        3,
        "w1.names.jsonl, line 11",
    ),
    "chain taken": (lambda j: _older(j / "w1.names.jsonl"), 0, "w1.names.jsonl is not this run's"),
    "journal missing": (_remove, -1, "journal w1 is missing"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_what_is_damaged(whole: RunDirectory, kind: str) -> None:
    """It is named, and of its journal only whole blocks before it are judged."""
    damage, left, words = DAMAGE[kind]
    damage(whole.journals)
    history = opened(whole)
    assert any(fault.startswith(words) for fault in said(history)), said(history)
    infos = {info.name: info for info in history.infos()}
    assert (infos["w2"].records, infos["w2"].complete) == (COUNT, True)
    if left >= 0:
        assert (infos["w1"].records, infos["w1"].complete) == (min(left * BLOCK_RECORDS, COUNT), False)


@pytest.mark.parametrize("suffixes", [["ewj"], ["names.jsonl"], ["ewj", "names.jsonl"]])
def test_swapped_files(whole: RunDirectory, suffixes: list[str]) -> None:
    """Of journals that were exchanged, in part or as a whole, nothing is judged."""
    for suffix in suffixes:
        _swap(whole.journals / f"w1.{suffix}", whole.journals / f"w2.{suffix}")
    history = opened(whole)
    assert [info.records for info in history.infos()] == [0, 0]
    assert all(view.faults for view in history.journals)


def test_a_journal_of_another_run(whole: RunDirectory, record: Make, tmp_path: Path) -> None:
    """A journal that is whole and has the right name, and one that nobody expected, are not this run's."""
    other = RunDirectory.create(tmp_path / "other", "story", 7)
    for name in ("w1", "w3"):
        journal = Journal.create(other.journals, name, meta={"host": "elsewhere"})
        journal.write(*record())
        journal.close({})
    for path in other.journals.iterdir():
        (whole.journals / path.name).write_bytes(path.read_bytes())
    history = opened(whole)
    assert [info.records for info in history.infos()] == [0, COUNT, 0]
    assert "w1.names.jsonl is not this run's" in said(history)[0]
    assert said(history)[1] == "w3.ewj is no journal of this run"


def _change(path: Path, *, gone: bool = False) -> None:
    if gone:
        path.unlink()
    else:
        path.write_text(path.read_text().replace("1", "2") + "\n")


@pytest.mark.parametrize("gone", [False, True])
def test_a_table(whole: RunDirectory, gone: bool) -> None:
    """Tables are compared with their hashes; a damaged one counts as none."""
    _change(whole.path / "tables" / "services.jsonl", gone=gone)
    history = opened(whole)
    assert said(history) == ["tables/services.jsonl is missing or not what was written"]
    assert not history.table("services").exists()


@pytest.mark.parametrize("name", ["roster.json", "run.json"])
@pytest.mark.parametrize("gone", [False, True])
def test_a_copy_stands_in(whole: RunDirectory, name: str, gone: bool) -> None:
    """What every verdict rests on is there twice: a damaged one is named, and its copy is judged by."""
    before = opened(whole)
    _change(whole.path / name, gone=gone)
    history = opened(whole)
    assert said(history) == [f"{name} is missing or not what was written; its copy in spare/ is whole"]
    assert (history.run, history.roster, history.roster_damaged) == (before.run, before.roster, False)


def test_a_damaged_copy(whole: RunDirectory) -> None:
    """Nothing rests on a copy while the file itself is whole; of a roster that is damaged twice no check fails."""
    for name in ("roster.json", "run.json"):
        _change(whole.path / "spare" / name)
    assert said(opened(whole)) == []
    _change(whole.path / "roster.json")
    assert opened(whole).roster_damaged


def test_a_changed_description(whole: RunDirectory) -> None:
    """Nothing is judged by a `run.json` that was changed as its copy was; its layout does not matter."""
    path = whole.path / "run.json"
    (whole.path / "spare" / "run.json").unlink()
    text = path.read_text()
    path.write_text(json.dumps(json.loads(text)))
    assert said(opened(whole)) == []
    path.write_text(text.replace('"seed": 7', '"seed": 8'))
    with pytest.raises(RecordError, match=r"run\.json is damaged: its content is not the one"):
        open_history(whole.path)
    path.write_text(text.replace('"checksum"', '"cheqsum"'))
    with pytest.raises(RecordError, match=r"run\.json is damaged: it has no checksum"):
        open_history(whole.path)


def test_a_process_that_died(run: RunDirectory, record: Make) -> None:
    """Behind the last seal of a journal that was never closed records are judged as before; they are not sealed."""
    journal = Journal.create(run.journals, "w1", meta={})
    for n in range(1, BLOCK_RECORDS + 51):
        journal.write(*record(n))
    journal.close(None)
    conclude(run, journals=["w1"])
    history = opened(run)
    (info,) = history.infos()
    assert (info.records, info.unsealed, info.gaps, info.torn) == (BLOCK_RECORDS + 50, 50, 0, True)
    assert said(history) == []
    flip(journal.path, 100)
    history = opened(run)
    assert history.infos()[0].records == 0
    assert said(history)[0].startswith("w1.ewj, block 1 ")


def test_not_concluded(run: RunDirectory, record: Make) -> None:
    """A run whose leader died has no last hashes; its seals hold all the same."""
    journal = Journal.create(run.journals, "w1", meta={})
    journal.write(*record())
    journal.close({})
    history = opened(run)
    assert not history.concluded
    assert said(history) == []
    flip(journal.names_path, 30)
    assert said(opened(run))[0].startswith("w1.names.jsonl, line 1")


def test_a_journal_that_never_came(run: RunDirectory, record: Make) -> None:
    """A process that died before it wrote anything is named all the same."""
    journal = Journal.create(run.journals, "w1", meta={})
    journal.write(*record())
    journal.close({})
    conclude(run, journals=["w1", "w2"])
    assert said(opened(run)) == ["journal w2 is missing"]


def test_damaged_after_it_was_followed(whole: RunDirectory) -> None:
    """A follower compares everything at the end: what it has read and what is damaged now is to be judged again."""
    follower = Follower(whole.path)
    assert sum(len(batch.records) for batch in follower.sweep()) == 2 * COUNT
    flip(whole.journals / "w1.ewj", (COUNT - 1) * RECORD_BYTES)
    assert list(follower.sweep(last=True)) == []
    assert follower.revised
    assert [info.records for info in follower.history.infos()] == [2 * BLOCK_RECORDS, COUNT]


def test_verify(whole: RunDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`earwitness verify` says what is damaged, each in a line, and that nothing is."""
    assert main(["verify", str(whole.path)]) == Exit.PASS
    assert capsys.readouterr().out == "whole: 2 journals, 6 blocks, 8,212 sound records, 2 other files\n"
    flip(whole.journals / "w1.ewj", 10)
    (whole.path / "tables" / "services.jsonl").unlink()
    assert main(["verify", str(whole.path)]) == Exit.UNKNOWN
    assert capsys.readouterr().out.splitlines() == [
        "damaged: w1.ewj, block 1 (records 1 to 2,048) is not what was written",
        "damaged: tables/services.jsonl is missing or not what was written",
        "not known to be whole: 2 journals, 6 blocks, 4,106 sound records, 2 other files",
    ]
    for path in whole.path.rglob("run.json"):
        _cut(path, 100)
    assert main(["verify", str(whole.path)]) == Exit.UNKNOWN
    assert "run.json is damaged" in capsys.readouterr().out
    assert main(["verify", str(tmp_path)]) == Exit.CANNOT_RUN
    assert "is no run directory" in capsys.readouterr().err


def test_verify_what_is_not_sealed(run: RunDirectory, record: Make, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a run that was never concluded, and of processes that died, nobody knows whether it is whole."""
    for name, count in (("w1", 3), ("w2", 0)):
        journal = Journal.create(run.journals, name, meta={})
        for n in range(count):
            journal.write(*record(n))
        journal.close(None)
    assert main(["verify", str(run.path)]) == Exit.UNKNOWN
    assert capsys.readouterr().out.splitlines() == [
        "not sealed: 3 records of w1.ewj, its process died before it sealed them",
        "not closed: w2.ewj, its process died",
        "not concluded: run.json has no last hashes, its process died or still runs",
        "not known to be whole: 2 journals, 0 blocks, 3 sound records, 0 other files",
    ]


@pytest.mark.parametrize("count", [1, BLOCK_RECORDS, 5 * BLOCK_RECORDS, 5 * BLOCK_RECORDS + 7])
def test_one_seal_for_several_blocks(
    run: RunDirectory, record: Make, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """Blocks are as small as without; what was not sealed when full is sealed at the end."""
    monkeypatch.setattr("earwitness.harness.record.journal.SEAL_BLOCKS", 2)
    journal = Journal.create(run.journals, "w1", meta={})
    for n in range(1, count + 1):
        journal.write(*record(n))
    journal.close({})
    blocks = opened(run).journals[0].sidecar.blocks
    assert [block.first for block in blocks] == list(range(1, count + 1, BLOCK_RECORDS))
    assert blocks[-1].last == count
    flip(journal.path, (count - 1) * RECORD_BYTES)
    assert said(opened(run))[0].startswith(f"w1.ewj, block {len(blocks)} ")


def test_what_stands_behind_damage(whole: RunDirectory) -> None:
    """Blocks behind a damaged one, and behind a damaged line of the side file, are sound all the same."""
    flip(whole.journals / "w1.ewj", 10)
    _line_out(whole.journals / "w2.names.jsonl", 3)
    history = opened(whole)
    assert history.stretches == [(0, BLOCK_RECORDS + 1, COUNT), (1, BLOCK_RECORDS + 1, COUNT)]
    (first, *_), (second, *_) = ([b for b in history.beyond() if b.journal == n] for n in (2, 3))
    assert first.records["index"][0] == second.records["index"][0] == BLOCK_RECORDS + 1
    assert history.journals[0].record(COUNT) is not None
    assert history.journals[0].record(1) is None
    assert (second.records["aux"] < 0).all()  # a name may be missing
