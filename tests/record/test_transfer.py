"""What is exported and imported again is the same history; what a simple recorder writes can be read."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from checks.contract import Contract
from checks.judge import judge
from checks.record import FOREIGN, NOBODY, NONE, RECORD, RECORD_BYTES, Flag, Kind, Phase, Place, empty
from checks.roster import Roster
from checks.verdict import Outcome
from harness.cli import main
from harness.errors import RecordError
from harness.record.history import open_history
from harness.record.journal import Journal
from harness.record.reading import STRANGER
from harness.record.rundir import RunDirectory
from harness.record.transfer_in import import_history
from harness.record.transfer_out import export
from harness.report.facts import facts_of

NAMES = ["u-ann", "u-bob", "stranger", "replica 1"]
INTERNED = st.integers(FOREIGN, FOREIGN + len(NAMES) - 1)
U4 = st.integers(0, NOBODY - 1)
NUMBERS: dict[str, st.SearchStrategy[int]] = {
    "t": st.integers(-(2**63), 2**63 - 1),
    "kind": st.sampled_from([int(kind) for kind in Kind]),
    "flags": st.integers(0, 255),
    "attempt": st.integers(0, 255),
    "proc": st.integers(0, 255),
    "client": st.sampled_from([0, 1, 2, NOBODY]),
    "conn": U4,
    "conv": st.one_of(st.just(NOBODY), U4),
    "author": st.one_of(st.just(NOBODY), INTERNED, U4),
    "counter": st.one_of(st.integers(0, 10), U4),
    "seq": st.integers(-(2**63), 2**63 - 1),
    "aux": st.one_of(st.sampled_from([NONE, STRANGER]), INTERNED, st.integers(-(2**63), 2**63 - 1)),
    "size": U4,
    "digest": U4,
}
RECORDS = st.lists(st.fixed_dictionaries(NUMBERS), min_size=1, max_size=30)


def of_every_kind() -> list[dict[str, int]]:
    common = {"t": 5, "flags": 0, "attempt": 1, "proc": 2, "client": 1, "conn": 3, "conv": 0, "author": 0}
    rest = {"counter": 1, "seq": 7, "aux": FOREIGN + 1, "size": 128, "digest": 99}
    return [{**common, **rest, "kind": int(kind)} for kind in Kind]


def record_run(folder: Path, records: list[dict[str, int]], footer: dict[str, Any] | None) -> RunDirectory:
    run = RunDirectory.create(folder / "runs", "story", 7)
    run.write_roster(Roster(user_of=(0, 1, 1), conversations=((0, 1),), user_names=("ann", "bob")))
    for name in ("w1", "w2"):
        journal = Journal.create(run.journals, name, meta={"host": name})
        for text in NAMES:
            journal.intern(text)
        journal.identity(0, "u-ann")
        journal.identity(1, "u-bob")
        for row in records:
            v = row.values()
            t, kind, flags, attempt, proc, client, conn, conv, author, counter, seq, aux, size, digest = v
            journal.write(t, kind, flags, attempt, proc, client, conn, conv, author, counter, seq, aux, size, digest)
        journal.close(footer)
    return run


def assert_same(original: Path, copy: Path) -> None:
    first, second = open_history(original), open_history(copy)
    assert second.roster == first.roster
    assert {**second.run, "imported_from": 0} == {**first.run, "imported_from": 0, "contract": second.run["contract"],
                                                  "journals": ["w1", "w2"], "tag": "", "judged_by": [],
                                                  "state": "recorded"}  # fmt: skip
    assert second.infos() == first.infos()
    for old, new in zip(first.journals, second.journals, strict=True):
        assert np.array_equal(new.records, old.records)
        assert new.names == old.names
        assert new.sidecar.identities == old.sidecar.identities
    for old_batch, new_batch in zip(first.batches(), second.batches(), strict=True):
        assert np.array_equal(new_batch.records, old_batch.records)


def round_trip(records: list[dict[str, int]], ending: str, footer: dict[str, Any] | None = None) -> None:
    ordered = [{name: row[name] for name in NUMBERS} for row in records]
    with tempfile.TemporaryDirectory() as folder:
        run = record_run(Path(folder), ordered, footer)
        file, copy = Path(folder) / f"history{ending}", Path(folder) / "copy"
        assert export(run.path, file) == 2 * len(records)
        assert import_history(file, copy) == 2 * len(records)
        assert_same(run.path, copy)


@settings(max_examples=30, deadline=None)
@given(RECORDS)
def test_lines_round_trip(records: list[dict[str, int]]) -> None:
    """JSON lines keep every slot of every record, whatever its kind and values."""
    round_trip(records, ".jsonl")


@settings(max_examples=20, deadline=None)
@given(RECORDS)
def test_parquet_round_trips(records: list[dict[str, int]]) -> None:
    """Parquet keeps every slot of every record, whatever its kind and values."""
    round_trip(records, ".parquet")


@pytest.mark.parametrize("ending", [".jsonl", ".parquet"])
@pytest.mark.parametrize("footer", [None, {"frames_in": 3, "lag_ms": {"p99": 1.5}}])
def test_every_kind_round_trips(ending: str, footer: dict[str, Any] | None) -> None:
    """Each kind's record comes back the same, with footers, or torn as it was."""
    round_trip(of_every_kind(), ending, footer)


def test_exported_lines_are_readable(tmp_path: Path) -> None:
    """A delivery, a close, an identity and a phase in the words of the schema."""
    rows = [row for row in of_every_kind() if row["kind"] in (Kind.DELIVER, Kind.DISCONNECT, Kind.IDENTITY, Kind.PHASE)]
    rows[0] |= {"flags": int(Flag.CORRUPT | Flag.MISROUTED), "aux": FOREIGN + 2}
    rows[1] |= {"flags": int(Flag.OWN), "counter": 1012, **dict.fromkeys(("seq", "aux"), NONE)}
    rows[2] |= {"counter": int(Place.BACKEND)}
    rows[3] |= {"counter": int(Phase.DRAINED)}
    run = record_run(tmp_path, [{name: row[name] for name in NUMBERS} for row in rows], {})
    export(run.path, tmp_path / "h.jsonl")
    said = [json.loads(line) for line in (tmp_path / "h.jsonl").read_text().splitlines()]
    assert [next(iter(header)) for header in said[:5]] == ["earwitness", "run", "roster", "journal", "journal"]
    deliver, close, identity, phase = said[5:9]
    assert deliver == {
        "journal": "w1", "index": 1, "time_ns": 5, "kind": "deliver", "flags": ["corrupt", "misrouted"], "client": 1,
        "user": 1, "connection": 3, "conversation": 0, "author": 0, "counter": 1, "attempt": 1, "author_connection": 2,
        "seq": 7, "sender": STRANGER, "sender_id": "stranger", "size": 128, "digest": 99,
    }  # fmt: skip
    assert (close["kind"], close["code"], close["flags"]) == ("disconnect", 1012, ["own"])
    assert (identity["place"], identity["sender"], identity["sender_id"]) == ("backend", 1, "u-bob")
    assert phase["phase"] == "drained"


def test_parquet_is_for_other_tools(tmp_path: Path) -> None:
    """The Parquet file has typed columns that any reader can select by name."""
    parquet = pytest.importorskip("pyarrow.parquet")
    run = record_run(tmp_path, [{name: row[name] for name in NUMBERS} for row in of_every_kind()], {})
    export(run.path, tmp_path / "h.parquet")
    table = parquet.read_table(tmp_path / "h.parquet", columns=["kind", "seq", "flags", "sender_id"])
    assert [str(field.type) for field in table.schema] == ["string", "int64", "list<element: string>", "string"]
    assert table.column("kind").to_pylist()[: len(Kind)] == [kind.name.lower() for kind in Kind]


SIMPLE = [
    {"roster": {"members": {"general": ["ann", "bob", "eve"]}}},
    {"kind": "connect", "client": "ann", "time_ns": 1},
    {"kind": "connect", "client": "bob-phone", "user": "bob", "time_ns": 2},
    {"kind": "join", "client": "ann", "conversation": "general", "seq": 0, "time_ns": 3},
    {"kind": "join", "client": "bob-phone", "conversation": "general", "seq": 0, "time_ns": 4},
    {"kind": "invoke", "client": "ann", "conversation": "general", "message": "m1", "text": "hi", "time_ns": 5},
    {"kind": "invoke", "client": "ann", "conversation": "general", "message": "m2", "text": "you", "time_ns": 6},
    {"kind": "info", "client": "ann", "message": "m2", "time_ns": 7},
    {"kind": "invoke", "client": "ann", "conversation": "general", "message": "m2", "text": "you", "time_ns": 8},
    {"kind": "ok", "client": "ann", "message": "m1", "seq": 1, "time_ns": 9},
    {"kind": "deliver", "client": "bob-phone", "message": "m1", "sender": "ann", "seq": 1, "text": "ho", "time_ns": 10},
    {"kind": "deliver", "client": "ann", "message": "m2", "sender": "bob", "seq": 2, "time_ns": 11},
    {"kind": "disconnect", "client": "ann", "flags": ["own"], "time_ns": 12},
    {"kind": "connect", "client": "ann", "time_ns": 13},
]  # fmt: skip


def write_lines(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def test_a_simple_recorder_can_be_read(tmp_path: Path) -> None:
    """From names alone: clients, users, members, connections, counters, attempts and digests are derived."""
    file = write_lines(tmp_path / "h.jsonl", SIMPLE)
    assert import_history(file, tmp_path / "run") == len(SIMPLE) - 1
    history = open_history(tmp_path / "run")
    assert history.roster.to_dict() == {
        "user_of": [1, 0],
        "conversations": [[0, 1, 2]],
        "user_names": ["bob", "ann", "eve"],
        "conversation_names": ["general"],
        "extra": {},
    }
    assert history.run["contract"]["name"] == "h"
    (batch,) = history.batches()
    got = batch.records
    assert got["conn"].tolist() == [1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1, 3]
    messages = got[(got["author"] != NOBODY)]
    assert messages["counter"].tolist() == [1, 2, 2, 2, 1, 1, 2]
    assert messages["attempt"].tolist() == [1, 1, 1, 2, 1, 1, 2]
    assert set(messages["author"].tolist()) == {0}
    heard = got[got["kind"] == Kind.DELIVER]
    sent = got[got["kind"] == Kind.INVOKE]
    assert heard["aux"].tolist() == [0, 1], "senders by the name of a client or a user"
    assert heard["proc"].tolist() == [1, 1]
    assert heard["digest"][0] != sent["digest"][0], "another text is another digest"
    assert heard["digest"][1] == sent["digest"][1], "a delivery without text is taken for unchanged"


def test_numbers_without_a_roster(tmp_path: Path) -> None:
    """Clients by number are a user each; a conversation's members are those who joined it."""
    rows = [
        {"kind": "connect", "client": 1, "time_ns": 1},
        {"kind": "join", "client": 1, "conversation": 0, "time_ns": 2},
        {"kind": "invoke", "client": 1, "conversation": 0, "counter": 9, "time_ns": 3},
        {"kind": "deliver", "client": 1, "conversation": 0, "author": 1, "counter": 9, "time_ns": 4},
    ]
    import_history(write_lines(tmp_path / "h.jsonl", rows), tmp_path / "run")
    history = open_history(tmp_path / "run")
    assert history.roster.to_dict()["user_of"] == [0, 1]
    assert history.roster.to_dict()["conversations"] == [[1]]
    assert history.journals[0].records["proc"].tolist() == [0, 0, 1, 1]


def connected(row: dict[str, Any]) -> list[Any]:
    return [{"kind": "connect", "client": "ann", "time_ns": 1}, {"client": "ann", "time_ns": 2, **row}]


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        (['{"kind"'], r"h\.jsonl:1: expected a JSON object, this is no JSON"),
        (["", "[]"], r"h\.jsonl:2: expected a JSON object, not list\."),
        (connected({"kind": "shout"}), r"h\.jsonl:2: 'kind' is 'shout': choose one of invoke, ok, fail"),
        (connected({"kind": []}), r"h\.jsonl:2: 'kind' is \[\]"),
        (connected({}), r"h\.jsonl:2: 'kind' is missing, and this is none of the headers"),
        (connected({"kind": "deliver"}), r"2: a deliver needs 'message' \(as in its invoke row\), or 'author' and"),
        (connected({"kind": "deliver", "message": "x"}), r"2: message 'x' has no 'invoke' row before this one"),
        (connected({"kind": "invoke"}), r"2: 'conversation' is missing: expected where the message was sent"),
        (connected({"kind": "join"}), r"2: 'conversation' is missing: expected which one the join is about"),
        (connected({"kind": "join", "seen_seq": 1}), r"2: 'seen_seq' is no column of a row of kind join, which may"),
        (connected({"kind": "join", "conversation": -1}), r"2: 'conversation' is -1: expected 0 to 4294967295\."),
        (connected({"kind": "join", "seq": "1"}), r"2: 'seq' is '1': expected a whole number\."),
        (connected({"kind": "connect", "flags": "own"}), r"2: 'flags' is 'own': expected a list of corrupt, misrouted"),
        (connected({"kind": "join", "client": 3}), r"2: client 3 is a number, but earlier rows give names"),
        (connected({"kind": "connect", "client": None}), r"2: client is None: expected a number or a name"),
        (connected({"kind": "phase", "phase": "over"}), r"2: 'phase' is 'over': choose one of load, drain, drained\."),
        (connected({"kind": "connect", "time_ns": 1.5}), r"2: 'time_ns' is 1\.5: expected a whole number\."),
        (connected({"kind": "connect", "journal": 3}), r"2: 'journal' is 3: expected a name\."),
        ([{"kind": "deliver", "client": 1, "time_ns": 1}], r"1: a deliver needs a 'connect' row of its client before"),
        ([{"kind": "connect", "client": 1}], r"1: 'time_ns' is missing: expected a whole number\."),
        ([{"kind": "connect", "time_ns": 1}], r"1: 'client' is missing: expected who recorded this connect\."),
        ([{"earwitness": 2}], r"1: the schema is version 2, this earwitness reads version 1\."),
        ([{"roster": {}}], r"1: the header 'roster' needs 'members'"),
        ([{"journal": {}}], r"1: the header 'journal' is not understood"),
        ([{"kind": "connect", "client": 10**8, "time_ns": 1}], r"Client number 100000000 is too large"),
        ([{"roster": {"user_of": [0], "conversations": []}}, *connected({"kind": "connect", "client": "b"})],
         r"client 1 is not in its roster, which has 1 clients\."),
        ([], r"h\.jsonl holds no records\."),
    ],
)  # fmt: skip
def test_malformed_lines(tmp_path: Path, rows: list[Any], sentence: str) -> None:
    """The first thing that is wrong is one sentence with file and line; nothing is left behind."""
    with pytest.raises(RecordError, match=sentence):
        import_history(write_lines(tmp_path / "h.jsonl", rows), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@settings(max_examples=80, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["kind", "client", "time_ns", "conversation", "message", "text", "flags", "sender", "roster"]),
        st.one_of(
            *(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=3)),
            st.lists(st.integers(), max_size=2),
            st.dictionaries(st.text(), st.none(), max_size=1),
            st.sampled_from(["connect", "invoke", "deliver", "identity"]),
        ),
    )
)
def test_no_line_makes_a_traceback(row: dict[str, Any]) -> None:
    """Whatever a line holds, it is imported or refused in a sentence."""
    with tempfile.TemporaryDirectory() as folder:
        file = write_lines(Path(folder) / "h.jsonl", [{"kind": "connect", "client": 0, "time_ns": 0}, row])
        said = "."
        try:
            import_history(file, Path(folder) / "run")
        except RecordError as error:
            said = str(error)
        assert said.endswith(".")


def test_verbs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`earwitness import` and `earwitness export` end with 0, or with 2 and one sentence."""
    file = write_lines(tmp_path / "h.jsonl", SIMPLE)
    contract = tmp_path / "contract.toml"
    contract.write_text('[contract]\nname = "mine"\ndelivery_bound_s = 2.0\n')
    run = str(tmp_path / "run")
    assert main(["import", str(file), "-o", run, "--contract", str(contract)]) == 0
    assert open_history(run).run["contract"]["delivery_bound_s"] == 2.0
    assert main(["export", run, "-o", str(tmp_path / "out.jsonl")]) == 0
    assert main(["import", str(file), "-o", run]) == 2
    assert main(["export", run, "-o", str(tmp_path / "out.csv")]) == 2
    assert main(["import", str(tmp_path / "absent.jsonl"), "-o", str(tmp_path / "r2")]) == 2
    contract.write_text("orderd = true")
    assert main(["import", str(file), "-o", str(tmp_path / "r2"), "--contract", str(contract)]) == 2
    said = capsys.readouterr().err
    for sentence in (
        "is not empty: a run needs a directory of its own.",
        "out.csv: give the file the ending .parquet or .jsonl.",
        "absent.jsonl: No such file or directory.",
        "unknown promise 'orderd'",
    ):
        assert sentence in said
    assert not (tmp_path / "r2").exists()


def test_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parquet without pyarrow is one sentence with the command that helps."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    run = record_run(tmp_path, [{name: row[name] for name in NUMBERS} for row in of_every_kind()], {})
    with pytest.raises(RecordError, match=r"`pip install pyarrow`"):
        export(run.path, tmp_path / "h.parquet")
    with pytest.raises(RecordError, match=r"`pip install pyarrow`"):
        import_history(tmp_path / "h.parquet", tmp_path / "copy")


def test_unknown_kind_is_refused(tmp_path: Path) -> None:
    """A record of a later version is not guessed at."""
    run = record_run(tmp_path, [{name: of_every_kind()[0][name] for name in NUMBERS} | {"kind": 99}], {})
    with pytest.raises(RecordError, match="has a record of kind 99, which this version does not know"):
        export(run.path, tmp_path / "h.jsonl")
    assert not (tmp_path / "h.jsonl").exists()


def test_defaults_are_those_of_the_record() -> None:
    """What the schema leaves out is what `checks.record.empty` says is absent."""
    from harness.record.columns import ABSENT

    nothing = empty(1)[0]
    assert {name: int(nothing[name]) for name in ABSENT} == ABSENT
    assert RECORD.itemsize == RECORD_BYTES


def test_the_documented_recorder_is_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example in docs/history-schema.md runs, imports and passes every check that it gives something to look at;
    with one delivery of it spoilt it fails."""
    text = (Path(__file__).parents[2] / "docs" / "history-schema.md").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    exec(compile(text.split("```python\n")[1].split("```")[0], "history-schema.md", "exec"), {})
    file = tmp_path / "history.jsonl"
    for spoilt in (False, True):
        if spoilt:
            lines = file.read_text().splitlines(keepends=True)
            file.write_text("".join(line for line in lines if '"bob"' not in line or '"m2"' not in line))
        import_history(file, tmp_path / f"run{spoilt}")
        history = open_history(tmp_path / f"run{spoilt}")
        contract = Contract.from_dict(history.run["contract"])
        facts = facts_of(history)
        verdicts = {v.id: v for v in judge(history.roster, contract, history.batches(), history.infos(), facts)}
        assert not [v for v in verdicts.values() if v.id.startswith("H") and v.outcome is not Outcome.PASS]
        broken = [v.id for v in verdicts.values() if v.outcome is Outcome.FAIL]
        assert broken == (["I5b"] if spoilt else [])
    assert {v.id for v in verdicts.values() if v.examined} >= {"I1", "I2", "I5a", "I6", "I8", "I10", "I12", "I15"}
