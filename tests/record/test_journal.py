"""The journal keeps what `write` has returned, whatever happens to its process or its disk."""

from __future__ import annotations

import json
import os
import random
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from earwitness.checks.history.record import FOREIGN, RECORD, RECORD_BYTES, Kind
from earwitness.harness.errors import Exceeded, RecordError
from earwitness.harness.record.history import open_history
from earwitness.harness.record.journal import BLOCK_RECORDS, SEAL_BLOCKS, STEP_BYTES, STEP_RECORDS, STEPS_AHEAD, Journal
from earwitness.harness.record.rundir import RunDirectory

Make = Callable[..., tuple[int, ...]]

WRITER = """
import itertools, os, sys
from pathlib import Path
from earwitness.harness.record.journal import Journal
journal = Journal.create(Path(sys.argv[1]), "victim", meta={})
for n in itertools.count(1):
    aux = journal.intern(f"user {n}") if n % 500 == 0 else -1
    journal.write(n, 5, 0, 1, 1, 0, 1, 0, 0, n % 1000, n, aux, 128, n & 0xFFFFFFFF)
    if n % 97 == 0:
        os.write(1, n.to_bytes(8, "little"))
"""

FILLER = """
import json, resource, sys
from pathlib import Path
from earwitness.harness.errors import RecordError
from earwitness.harness.record.journal import Journal
limit = int(sys.argv[2])
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
errors, first, n = [], 0, 0
try:
    journal = Journal.create(Path(sys.argv[1]), "full", meta={})
    while len(errors) < 3:
        n += 1
        try:
            journal.write(n, 5, 0, 1, 1, 0, 1, 0, 0, n, n, -1, 128, 0)
        except RecordError as error:
            first = first or n
            errors.append(str(error))
    journal.close({})
except RecordError as error:
    errors.append(str(error))
print(json.dumps({"tried": n, "first": first, "errors": errors}))
"""


def journal_of(run: RunDirectory) -> Journal:
    return Journal.create(run.journals, "w1", meta={"host": "here"})


@pytest.mark.parametrize("seed", range(5))
def test_sigkill_loses_no_completed_record(run: RunDirectory, seed: int) -> None:
    """A writer killed at any point leaves every record that `write` had returned, and the names that they use."""
    threshold = random.Random(seed).randrange(1_000, 3 * STEP_RECORDS)
    with subprocess.Popen([sys.executable, "-c", WRITER, str(run.journals)], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        told = 0
        while told < threshold:
            told = int.from_bytes(writer.stdout.read(8), "little")
        writer.kill()
        rest = writer.stdout.read()
        told = int.from_bytes(rest[-8:], "little") if rest else told
    view = open_history(run.path).journals[0]
    records = view.records
    assert view.torn
    assert told <= view.count
    assert view.faults == []
    assert 0 <= view.count - view.sidecar.sealed_records <= SEAL_BLOCKS * BLOCK_RECORDS
    numbers = np.arange(1, view.count + 1)
    for column in ("t", "seq", "index"):
        assert np.array_equal(records[column], numbers)
    interned = records["aux"][records["aux"] >= FOREIGN].tolist()
    assert [view.names[i] for i in interned] == [f"user {n}" for n in numbers.tolist() if n % 500 == 0]


def fill(journals: Path, limit: int) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-c", FILLER, str(journals), str(limit)], capture_output=True, check=True, text=True
    )
    assert done.stderr == ""
    result: dict[str, object] = json.loads(done.stdout)
    return result


def assert_full_disk_in_order(run: RunDirectory, result: dict[str, object], room: int) -> None:
    first, second, third = result["errors"]  # type: ignore[misc]
    assert "cannot grow beyond" in first
    assert "Free some space" in first
    assert (second, third) == (first, first)
    view = open_history(run.path).journals[0]
    assert result["first"] == (room // STEP_BYTES - STEPS_AHEAD) * STEP_RECORDS + 1
    assert view.count == room // STEP_BYTES * STEP_RECORDS
    assert np.array_equal(view.records["t"], np.arange(1, view.count + 1))
    assert not view.torn
    assert view.footer == {"records": view.count, "lost": 2}


def test_full_disk_is_said_once_then_the_reserve_is_used(run: RunDirectory) -> None:
    """At the limit of the file size: one error early, all records up to the last reserved byte, and a footer."""
    limit = (STEPS_AHEAD + 2) * STEP_BYTES + 12_345
    assert_full_disk_in_order(run, fill(run.journals, limit), limit)


@pytest.fixture
def small_disk(run: RunDirectory) -> Iterator[int]:
    """A real file system of 7 MB under the run's journals; its size in bytes."""
    if os.geteuid() != 0 or not (mount := shutil.which("mount")):
        pytest.skip("mounting a small disk needs root; the limit on file size is tested all the same")
    size = (STEPS_AHEAD + 3) * STEP_BYTES
    mounted = subprocess.run(
        [mount, "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(run.journals)], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"this machine forbids mounts, even to root: {mounted.stderr.strip()}")
    yield size
    subprocess.run(["umount", "-l", str(run.journals)], check=True)


def test_full_disk_for_real(run: RunDirectory, small_disk: int) -> None:
    """On a small file system: no SIGBUS, one error early, all records of the room there was, and a footer."""
    room = small_disk - 1  # the sidecar takes a page, so the last step does not fit
    assert_full_disk_in_order(run, fill(run.journals, 0), room)


@pytest.mark.parametrize("count", [0, 1, BLOCK_RECORDS - 1, BLOCK_RECORDS, BLOCK_RECORDS + 1, STEP_RECORDS])
def test_sealed_at_any_moment(run: RunDirectory, record: Make, count: int) -> None:
    """Once, again without anything new, and at the end: every block fits its seal, and all records are sealed."""
    journal = Journal.create(run.journals, "w1", meta={})
    for n in range(1, count + 10 * BLOCK_RECORDS):
        if n == count + 1:
            journal.seal()
            journal.seal()
        journal.write(*record(n))
    journal.close({})
    (view,) = open_history(run.path).journals
    assert (view.count, view.faults, view.sidecar.sealed_records) == (n, [], n)


def test_no_room_to_start(run: RunDirectory) -> None:
    """Where not even the first space can be reserved, creating fails in one sentence and leaves no files."""
    result = fill(run.journals, STEP_BYTES)
    assert result["tried"] == 0
    (error,) = result["errors"]  # type: ignore[misc]
    assert "cannot grow beyond" in error
    assert list(run.journals.iterdir()) == []


def test_forked_child_must_not_write(run: RunDirectory, record: Make) -> None:
    """In a forked child every method is refused, and the parent's journal is untouched."""
    journal = journal_of(run)
    journal.write(*record())
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        refused = 0
        for attempt in (
            lambda: journal.write(*record()),
            lambda: journal.intern("x"),
            lambda: journal.identity(1, "x"),
            lambda: journal.close({}),
        ):
            try:
                attempt()
            except RecordError as error:
                refused += "forked child" in str(error)
        os.write(writing, bytes([refused]))
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reading, 1) == b"\x04"
    os.close(reading)
    os.close(writing)
    assert journal.write(*record(2)) == 2
    journal.close({})
    assert open_history(run.path).journals[0].records["t"].tolist() == [1, 2]


def test_close_cuts_the_file_and_is_idempotent(run: RunDirectory, record: Make) -> None:
    """A closed journal is a plain array of records; closing again does nothing; nothing more can be recorded."""
    journal = journal_of(run)
    for n in range(1, STEP_RECORDS + 10):
        assert journal.write(*record(n)) == n
    assert journal.path.stat().st_size > journal.records * RECORD_BYTES
    journal.close({"frames_in": 4})
    journal.close({"frames_in": 5})
    records = np.memmap(journal.path, RECORD, mode="r")
    assert np.array_equal(records["index"], np.arange(1, STEP_RECORDS + 10))
    footers = [line for line in journal.names_path.read_text().splitlines() if "footer" in line]
    assert json.loads(footers[0])["footer"] == {"frames_in": 4, "records": STEP_RECORDS + 9}
    assert len(footers) == 1
    for late in (lambda: journal.write(*record()), lambda: journal.intern("x"), lambda: journal.identity(0, "x")):
        with pytest.raises(RecordError, match="is closed"):
            late()


def test_close_without_footer_stays_torn(run: RunDirectory, record: Make) -> None:
    """`close(None)` lets go of the files and says by its missing footer that the testimony is cut short."""
    journal = journal_of(run)
    journal.write(*record())
    journal.close(None)
    view = open_history(run.path).journals[0]
    assert (view.torn, view.count, journal.path.stat().st_size) == (True, 1, RECORD_BYTES)


def test_number_out_of_range_appends_nothing(run: RunDirectory, record: Make) -> None:
    """A value that does not fit its slot is an error of the caller; the next record takes its place."""
    journal = journal_of(run)
    journal.write(*record(1))
    with pytest.raises(struct.error):
        journal.write(*record(2, client=-1))
    assert journal.records == 1
    assert journal.write(*record(3)) == 2
    journal.close({})
    assert open_history(run.path).journals[0].records["t"].tolist() == [1, 3]


def test_names_are_on_disk_before_they_are_used(run: RunDirectory) -> None:
    """`intern` gives dense ids, the same for the same text, and its line can be read when it returns."""
    journal = journal_of(run)
    assert journal.intern("grüße\n\ud800") == FOREIGN
    assert journal.intern("b") == FOREIGN + 1
    assert journal.intern("grüße\n\ud800") == FOREIGN
    journal.identity(2, "b")
    lines = [json.loads(line) for line in journal.names_path.read_text().splitlines()]
    assert len({line.pop("chain") for line in lines}) == 4
    assert lines == [
        {"journal": "w1", "meta": {"host": "here"}},
        {"name": [FOREIGN, "grüße\n\ud800"]},
        {"name": [FOREIGN + 1, "b"]},
        {"identity": [2, "b"]},
    ]
    journal.close({})


def test_long_names_are_kept_short(run: RunDirectory) -> None:
    """A name of megabytes is its beginning and its digest: still one number for one text, as in an identity."""
    journal = Journal.create(run.journals, "a", meta={})
    long = ["x" * 5_000_000 + end for end in ("1", "2")]
    numbers = [journal.intern(text) for text in (*long, *long)]
    assert numbers == [FOREIGN, FOREIGN + 1, FOREIGN, FOREIGN + 1]
    journal.identity(0, long[0])
    journal.close({})
    [view] = open_history(run.path).journals
    assert max(map(len, view.names.values())) < 400
    assert view.sidecar.identities == [(0, view.names[FOREIGN])]


def test_connections_count_from_one(run: RunDirectory) -> None:
    """Connection epochs are 1, 2, … inside a journal."""
    journal = journal_of(run)
    assert [journal.next_connection() for _ in range(3)] == [1, 2, 3]
    journal.close({})


def test_one_journal_has_one_writer(run: RunDirectory) -> None:
    """A name that is used already, or is no file name, is refused in one sentence; the first journal lives on."""
    journal = journal_of(run)
    with pytest.raises(RecordError, match="exists already"):
        journal_of(run)
    with pytest.raises(RecordError, match="is no name"):
        Journal.create(run.journals, "../w2", meta={})
    journal.close({})
    assert not open_history(run.path).journals[0].torn


def test_unwritable_place(tmp_path: Path) -> None:
    """Where no file can be made, the sentence names the file."""
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordError, match=r"Cannot write a journal at .*w1\.ewj"):
        Journal.create(tmp_path / "file", "w1", meta={})


def test_kinds_fit_their_byte() -> None:
    """Every kind can be written."""
    assert max(Kind) < 256


def test_names_without_an_end(run: RunDirectory) -> None:
    """They have an end here; those that are known already stay."""
    journal = Journal.create(run.journals, "w1", meta={})
    journal.names_max = 2
    first = journal.intern("a")
    journal.intern("b")
    with pytest.raises(Exceeded, match="more than 2 unplanned names"):
        journal.intern("c")
    assert journal.intern("a") == first
    journal.close({})
