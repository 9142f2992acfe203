"""Reading gives every complete record once, ids remapped, and says in one sentence what cannot be read."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from earwitness.checks.history.record import FOREIGN, NOBODY, NONE, RECORD, RECORD_BYTES, Kind
from earwitness.harness.errors import RecordError
from earwitness.harness.record.history import Follower, follow, open_history
from earwitness.harness.record.journal import Journal
from earwitness.harness.record.reading import STRANGER
from earwitness.harness.record.rundir import RunDirectory

Make = Callable[..., tuple[int, ...]]


def recorded(run: RunDirectory, record: Make, count: int, name: str = "w1") -> Journal:
    journal = Journal.create(run.journals, name, meta={})
    for n in range(1, count + 1):
        journal.write(*record(n))
    return journal


def unseal(journal: Journal) -> Journal:
    """Make of a journal what an earlier version wrote: lines without chain, and no seals."""
    lines = [json.loads(line) for line in journal.names_path.read_text().splitlines()]
    plain = [{key: line[key] for key in line if key not in ("chain", "blocks", "before")} for line in lines]
    journal.names_path.write_text("".join(f"{json.dumps(line)}\n" for line in plain if "block" not in line))
    return journal


@pytest.mark.parametrize("size", [1, 7, 100, 1000])
def test_batches_hold_every_record_once(run: RunDirectory, record: Make, size: int) -> None:
    """Whatever the batch size, the records of each journal come in order and none twice."""
    for name, count in (("w1", 100), ("w2", 0), ("w3", 15)):
        recorded(run, record, count, name).close({})
    history = open_history(run.path)
    heard: dict[int, list[int]] = {}
    for batch in history.batches(size):
        assert 0 < len(batch.records) <= size
        heard.setdefault(batch.journal, []).extend(batch.records["index"].tolist())
    assert heard == {0: list(range(1, 101)), 2: list(range(1, 16))}
    assert [(i.name, i.records, i.torn, i.gaps) for i in history.infos()] == [
        ("w1", 100, False, 0),
        ("w2", 0, False, 0),
        ("w3", 15, False, 0),
    ]
    assert len(history.journals[1].records) == 0


def test_interned_senders_become_clients(run: RunDirectory, record: Make) -> None:
    """A platform's user id is the client whose login stated it, in whatever journal; an unexplained one is a
    stranger; what is no user id is left alone."""
    first, second = (Journal.create(run.journals, name, meta={}) for name in ("w1", "w2"))
    ghost, bob = first.intern("ghost"), first.intern("bob-id")
    ann = second.intern("ann-id")
    second.identity(1, "bob-id")
    first.identity(0, "ann-id")
    second.identity(2, "bob-id")
    for aux in (bob, ghost, NONE, 2, STRANGER, FOREIGN + 99):
        first.write(*record(aux=aux))
    for kind in (Kind.DELIVER, Kind.REPLAY, Kind.STORED, Kind.IDENTITY, Kind.PROBE, Kind.INVOKE):
        second.write(*record(kind=kind, aux=ann))
    for journal in (first, second):
        journal.close({})
    history = open_history(run.path)
    heard = [batch.records["aux"].tolist() for batch in history.batches()]
    assert heard == [[1, STRANGER, NONE, 2, STRANGER, STRANGER], [0, 0, 0, 0, ann, ann]]
    assert history.journals[0].records["aux"][0] == bob, "the journal itself is not changed"


def test_whose_presence_is_shown(run: RunDirectory) -> None:
    """In PRESENCE the person is the author; somebody of whom no login says anything is nobody."""
    journal = Journal.create(run.journals, "w1", meta={})
    bob, ghost = journal.intern("bob-id"), journal.intern("ghost")
    journal.identity(1, "bob-id")
    for kind, author in ((Kind.PRESENCE, bob), (Kind.PRESENCE, ghost), (Kind.PRESENCE, 2), (Kind.PROBE, bob)):
        journal.write(1, kind, 0, 0, 0, 0, 1, 0, author, 1, NONE, NONE, 0, 0)
    journal.close({})
    (batch,) = open_history(run.path).batches()
    assert batch.records["author"].tolist() == [1, NOBODY, 2, bob]


def test_torn_tail_is_dropped_and_counted(run: RunDirectory, record: Make) -> None:
    """A record whose index was not written is no testimony; all before it is."""
    journal = recorded(run, record, 70)
    journal.close(None)
    with journal.path.open("ab") as file:
        file.write(np.zeros(1, RECORD).tobytes()[:8].replace(b"\0", b"\1") + bytes(RECORD_BYTES - 8) + bytes(640))
    view = open_history(run.path).journals[0]
    assert (view.count, view.dropped, view.torn, view.footer) == (70, 1, True, None)
    assert view.records["index"][-1] == 70


def test_tail_of_half_a_record(run: RunDirectory, record: Make) -> None:
    """A file cut in the midst of a record keeps those before it."""
    journal = recorded(run, record, 3)
    journal.close(None)
    with journal.path.open("r+b") as file:
        file.truncate(2 * RECORD_BYTES + 10)
    view = open_history(run.path).journals[0]
    assert (view.count, view.dropped) == (2, 1)


def test_records_that_the_footer_misses_are_gaps(run: RunDirectory, record: Make) -> None:
    """A closed journal that lost its end, or a record in its midst, says how many are missing; it ends at the first."""
    journal = recorded(run, record, 10)
    journal.close({})
    unseal(journal)
    with journal.path.open("r+b") as file:
        file.truncate(8 * RECORD_BYTES)
        file.seek(4 * RECORD_BYTES)
        file.write(bytes(RECORD_BYTES))
    history = open_history(run.path)
    for _ in range(2):
        assert [i for b in history.batches(3) for i in b.records["index"].tolist()] == [1, 2, 3, 4]
        assert (history.infos()[0].records, history.infos()[0].gaps) == (4, 6)
        assert not history.infos()[0].complete


@pytest.mark.parametrize(("at", "value"), [(8, b"\xc8"), (19, b"\xee")])
def test_a_record_that_cannot_be(run: RunDirectory, record: Make, at: int, value: bytes) -> None:
    """An unknown kind, or a connection number beyond all that are given: the journal ends there, as damaged."""
    journal = recorded(run, record, 6)
    journal.close({})
    unseal(journal)
    file = run.journals / "w1.ewj"
    data = bytearray(file.read_bytes())
    data[3 * RECORD_BYTES + at : 3 * RECORD_BYTES + at + 1] = value
    file.write_bytes(bytes(data))
    history = open_history(run.path)
    assert sum(len(batch.records) for batch in history.batches()) == 3
    (info,) = history.infos()
    assert (info.records, info.gaps, info.complete) == (3, 3, False)


@pytest.mark.parametrize("counts", [(5, 7), (7, 5)])
def test_swapped_data_files(run: RunDirectory, record: Make, counts: tuple[int, int]) -> None:
    """Without seals: a data file longer than its footer says belongs to another journal, and then a shorter one too.
    Nothing of them is judged, because their ids would be looked up in each other's names."""
    for name, count in zip(("w1", "w2"), counts, strict=True):
        journal = recorded(run, record, count, name)
        journal.close({})
        unseal(journal)
    recorded(run, record, 4, "w3").close({})
    one, two = run.journals / "w1.ewj", run.journals / "w2.ewj"
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)
    two.write_bytes(first)
    history = open_history(run.path)
    assert {batch.journal for batch in history.batches()} == {2}
    assert [info.complete for info in history.infos()] == [False, False, True]


def test_swapped_journals(run: RunDirectory, record: Make) -> None:
    """A side file says of which journal it is: under another's name nothing of it is judged."""
    for name in ("w1", "w2"):
        recorded(run, record, 5, name).close({})
    for suffix in (".ewj", ".names.jsonl"):
        one, two = run.journals / f"w1{suffix}", run.journals / f"w2{suffix}"
        one.rename(run.journals / "w0")
        two.rename(one)
        (run.journals / "w0").rename(two)
    history = open_history(run.path)
    assert list(history.batches()) == []
    assert [info.complete for info in history.infos()] == [False, False]


def test_one_record(run: RunDirectory, record: Make) -> None:
    """By its index, as it was written; there is none before the first, behind the last complete one or a cut."""
    journal = recorded(run, record, 5)
    journal.close(None)
    view = open_history(run.path).journals[0]
    found = [view.record(index) for index in range(7)]
    assert [one is None for one in found] == [True, *[False] * 5, True]
    assert [one.tobytes() for one in found if one is not None] == [one.tobytes() for one in view.records]
    with journal.path.open("r+b") as file:
        file.truncate(4 * RECORD_BYTES)
    assert view.record(5) is None


def test_torn_sidecar_line_is_left_out(run: RunDirectory, record: Make) -> None:
    """A sidecar line without its end was never used by a complete record."""
    journal = recorded(run, record, 3)
    journal.intern("whole")
    journal.close(None)
    with journal.names_path.open("a") as file:
        file.write('{"name":[2147483649,"ha')
    view = open_history(run.path).journals[0]
    assert view.names == {FOREIGN: "whole"}
    assert view.torn


def delete_all(run: RunDirectory) -> None:
    for path in run.journals.iterdir():
        path.unlink()


def delete_description(run: RunDirectory) -> None:
    for path in run.path.rglob("run.json"):
        path.unlink()


def spoil_description(run: RunDirectory) -> None:
    for path in run.path.rglob("run.json"):
        path.write_text("{")


def spoil_contract(run: RunDirectory) -> None:
    run.update(contract={"swift": True})


def break_a_key(run: RunDirectory) -> None:
    run.update(contract={"x\r\ny": True})


def spoil_roster(run: RunDirectory) -> None:
    (run.path / "roster.json").write_text('{"user_of": 3}')


def delete_roster(run: RunDirectory) -> None:
    (run.path / "roster.json").unlink()


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (delete_all, r"has no journals: nothing was recorded\.$"),
        (delete_description, r"is no run directory: it has no run\.json\.$"),
        (spoil_description, r"run\.json is damaged, it is no JSON"),
        (break_a_key, r"'contract' is not understood: 'x\\r\\ny' is not known here"),
        (spoil_contract, r"In .*run\.json 'contract' is not understood: swift is not known here"),
        (spoil_roster, r"roster\.json is damaged"),
        (delete_roster, r"it has no roster\.json\.$"),
    ],
)
def test_what_cannot_be_read(
    run: RunDirectory, record: Make, damage: Callable[[RunDirectory], None], sentence: str
) -> None:
    """Without what describes a run nothing can be judged: one sentence with the path."""
    recorded(run, record, 3).close(None)
    damage(run)
    with pytest.raises(RecordError, match=sentence) as caught:
        open_history(run.path)
    assert str(run.path) in str(caught.value)


def test_nobody_says_what_is_promised(run: RunDirectory, record: Make) -> None:
    """A history without a contract can be read, and not be judged."""
    recorded(run, record, 3).close({})
    run.update(contract=None)
    with pytest.raises(RecordError, match=r"run\.json has no 'contract'"):
        assert open_history(run.path).contract


def test_no_directory(tmp_path: Path) -> None:
    """A path that leads nowhere is no run directory."""
    with pytest.raises(RecordError, match="is no run directory"):
        open_history(tmp_path / "nowhere")


def test_following_hears_everything_and_ends(run: RunDirectory, record: Make) -> None:
    """A follower hears each record of two growing journals once, remapped, and ends when both are closed."""
    run.update(journals=["w1", "w2"])
    heard_some = threading.Event()
    failures: list[BaseException] = []

    def write() -> None:
        try:
            first = recorded(run, record, 1000)
            first.identity(1, "bob-id")
            assert heard_some.wait(20)
            first.close({})
            second = Journal.create(run.journals, "w2", meta={})
            bob = second.intern("bob-id")
            for n in range(1, 501):
                second.write(*record(n, aux=bob))
            second.close({})
        except BaseException as error:
            failures.append(error)
            raise

    writer = threading.Thread(target=write)
    writer.start()
    follower = Follower(run.path, poll_s=0.01, stop=lambda: bool(failures))
    heard: dict[str, list[int]] = {"w1": [], "w2": []}
    for batch in follower.batches(300):
        heard[follower.history.journals[batch.journal].name].extend(batch.records["index"].tolist())
        if batch.journal == 1:
            assert set(batch.records["aux"].tolist()) == {1}
        heard_some.set()
    writer.join()
    assert not failures
    assert heard == {"w1": list(range(1, 1001)), "w2": list(range(1, 501))}
    assert [info.torn for info in follower.history.infos()] == [False, False]


def test_following_can_be_stopped(run: RunDirectory, record: Make) -> None:
    """Told to stop, a follower still yields what is complete; the open journal stays torn."""
    journal = recorded(run, record, 10)
    assert sum(len(batch.records) for batch in follow(run.path, stop=lambda: True)) == 10
    journal.close({})


def test_following_counts_journals(run: RunDirectory, record: Make) -> None:
    """`journals` may be a number; a follower that starts late hears it all."""
    run.update(journals=2)
    for name in ("w1", "w2"):
        recorded(run, record, 10, name).close({})
    assert sum(len(batch.records) for batch in follow(run.path)) == 20
