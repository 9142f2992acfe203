"""What is exported and imported again is the same history; what a simple recorder writes can be read."""

from __future__ import annotations

import json
import os
import re
import stat
import sys
import tempfile
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earwitness.checks.history.record import (
    CONN_MAX,
    FOREIGN,
    NOBODY,
    NONE,
    RECORD,
    RECORD_BYTES,
    Flag,
    Kind,
    Phase,
    Place,
    empty,
)
from earwitness.checks.roster import Roster
from earwitness.harness.errors import RecordError
from earwitness.harness.planning.plan import Plan
from earwitness.harness.record.columns import COLUMNS, KINDS
from earwitness.harness.record.evidence import conclude
from earwitness.harness.record.exporter import export
from earwitness.harness.record.history import open_history
from earwitness.harness.record.importer import import_history
from earwitness.harness.record.journal import Journal
from earwitness.harness.record.reading import STRANGER
from earwitness.harness.record.rundir import RunDirectory

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
    "conn": st.integers(0, CONN_MAX - 1),
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
    sealed = ("checksum", "evidence")
    expected = {
        **first.run,
        "contract": second.run["contract"],
        "journals": ["w1", "w2"],
        "tag": "",
        "state": "recorded",
    }
    assert {name: value for name, value in second.run.items() if name not in (*sealed, "imported_from")} == {
        name: value for name, value in expected.items() if name not in sealed
    }
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


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_an_export_is_given_away(tmp_path: Path, ending: str) -> None:
    """No password of a person of the plan is in it, and only its owner may read it."""
    records = [{name: row[name] for name in NUMBERS} for row in of_every_kind()]
    run = record_run(tmp_path, records, {"lag_ms": {"p99": 1.0}})
    plan = Plan(seed=1, tag="t", users=2, sizes=(2,))
    run.write_roster(plan.roster(), plan.origin)
    conclude(run)
    file = tmp_path / f"out.{ending}"
    export(run.path, file)
    assert all(person.secret.encode() in (run.path / "roster.json").read_bytes() for person in plan.people)
    headers = pq.read_schema(file).metadata[b"earwitness"] if ending == "parquet" else file.read_bytes()
    assert plan.people[0].email.encode() in headers
    assert not [person for person in plan.people if person.secret.encode() in headers]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    import_history(file, tmp_path / "copy")
    assert [stat.S_IMODE(path.stat().st_mode) for path in (run.path, tmp_path / "copy")] == [0o700, 0o700]


def test_parquet_is_for_other_tools(tmp_path: Path) -> None:
    """The Parquet file has typed columns that any reader can select by name."""
    parquet = pytest.importorskip("pyarrow.parquet")
    run = record_run(tmp_path, [{name: row[name] for name in NUMBERS} for row in of_every_kind()], {})
    export(run.path, tmp_path / "h.parquet")
    table = parquet.read_table(tmp_path / "h.parquet", columns=["kind", "seq", "flags", "sender_id"])
    assert [str(field.type) for field in table.schema] == ["string", "int64", "list<element: string>", "string"]
    assert table.column("kind").to_pylist()[: len(Kind)] == [kind.name.lower() for kind in Kind]


def test_by_shards(tmp_path: Path) -> None:
    """Each record is in one file, a conversation in one shard; rare kinds are apart. An answer that names no
    conversation is with its message, also if that is read later."""
    blank = dict.fromkeys(NUMBERS, 0) | {"author": 1, "client": 1, "attempt": 1, "counter": 9}
    said = [
        blank | {"kind": Kind.OK, "conv": NOBODY},
        *(blank | {"kind": Kind.INVOKE, "conv": conv, "counter": 9 + conv} for conv in (1, 0, 2)),
        blank | {"kind": Kind.OK, "conv": NOBODY, "counter": 10},
        *({name: row[name] for name in NUMBERS} | {"conv": 0} for row in of_every_kind()),
    ]
    run = record_run(tmp_path, [{key: int(value) for key, value in row.items()} for row in said], {})
    run.write_roster(Roster(user_of=(0, 1, 1), conversations=((0, 1), (0, 1), (1,))))
    output = tmp_path / "h.parquet"
    count = export(run.path, output, shards=3)
    rare = pq.read_table(output / "rare" / "records.parquet").to_pylist()
    table = ds.dataset(output / "records", partitioning="hive").to_table()
    rows = table.to_pylist()
    assert str(table.schema.field("shard").type) == "int32"
    export(run.path, tmp_path / "whole.parquet")
    whole = pq.read_table(tmp_path / "whole.parquet").to_pylist()
    key = itemgetter("journal", "index")
    assert sorted([*rare, *({k: v for k, v in row.items() if k != "shard"} for row in rows)], key=key) == whole
    assert len(whole) == count
    assert {row["kind"] for row in rare} >= {"connect", "token", "fault"}
    assert not {row["kind"] for row in rare} & {"invoke", "ok", "deliver", "join", "stored"}
    shards: dict[int, set[int]] = {}
    for row in rows:
        if row["conversation"] is not None:
            shards.setdefault(row["conversation"], set()).add(row["shard"])
    assert sorted(map(len, shards.values())) == [1, 1, 1]
    answered = {row["counter"]: row["shard"] for row in rows if row["kind"] == "ok" and row["conversation"] is None}
    assert {n: {shard} for n, shard in answered.items()} == {9: shards[0], 10: shards[1]}
    assert "journal" in json.loads((output / "headers.json").read_text())[-1]


@pytest.mark.parametrize(
    ("name", "shards", "said"),
    [("h.jsonl", 2, "ending .parquet"), ("h.parquet", 0, "from 1 to"), ("runs.parquet", 2, "exists")],
)
def test_shards_that_cannot_be_written(name: str, shards: int, said: str, tmp_path: Path) -> None:
    """One sentence, and nothing is left."""
    run = record_run(tmp_path, [{key: row[key] for key in NUMBERS} for row in of_every_kind()], {})
    (tmp_path / "runs.parquet").mkdir()
    with pytest.raises(RecordError, match=said):
        export(run.path, tmp_path / name, shards=shards)
    assert sorted(os.listdir(tmp_path)) == ["runs", "runs.parquet"]


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
    """What the schema leaves out is what `checks.history.record.empty` says is absent."""
    from earwitness.harness.record.columns import ABSENT

    nothing = empty(1)[0]
    assert {name: int(nothing[name]) for name in ABSENT} == ABSENT
    assert RECORD.itemsize == RECORD_BYTES


def test_the_schema_is_documented() -> None:
    """Every kind and every column stands in the tables of docs/history-schema.md."""
    tables = (
        (Path(__file__).parents[2] / "docs" / "history-schema.md").read_text(encoding="utf-8").split("## Headers")[0]
    )
    first = [line.split("|")[1] for line in tables.splitlines() if line.startswith("|")]
    named = {word for cell in first for word in re.findall(r"\w+", cell)}
    assert named >= {*COLUMNS, *KINDS}
