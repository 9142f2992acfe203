"""Violations counted by replica, kind and place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from earwitness.checks import Finding, Kind, Outcome, Roster, Verdict
from earwitness.checks.history.record import NOBODY, NONE, Flag, Place
from earwitness.harness.record.history import History, open_history
from earwitness.harness.record.journal import Journal
from earwitness.harness.record.rundir import RunDirectory
from earwitness.harness.report.extent import Extents, extent_sentence, forgeries

ANN, BOB = range(2)
MS = 1_000_000
ROSTER = Roster(
    user_of=(ANN, BOB), conversations=((ANN, BOB),), user_names=("ann", "bob"), extra={"forgeries": ["no_key"]}
)


@pytest.fixture
def history(tmp_path: Path) -> History:
    """Ann connects to east (record 1), then to west (3); Bob to west (2), and loses it (5); Ann shows a forgery."""
    directory = RunDirectory.at(tmp_path)
    directory.update(journals=["load-0"], contract={})
    directory.write_roster(ROSTER)
    journal = Journal.create(directory.journals, "load-0", meta={"host": "a"})
    east, west = journal.intern("east"), journal.intern("west")

    def write(at: int, kind: Kind, client: int, conn: int, **slots: int) -> None:
        values = {"attempt": 0, "proc": 0, "author": NOBODY, "counter": 0, "flags": 0, "conv": NOBODY, **slots}
        journal.write(
            at * MS, kind, values["flags"], values["attempt"], values["proc"], client, conn, values["conv"],
            values["author"], values["counter"], NONE, NONE, 0, 0,
        )  # fmt: skip

    write(1, Kind.CONNECT, ANN, 1, author=east)
    write(2, Kind.CONNECT, BOB, 2, author=west)
    write(5, Kind.CONNECT, ANN, 3, author=west)
    write(6, Kind.INVOKE, BOB, 2, author=BOB, counter=1, conv=0)
    write(7, Kind.DISCONNECT, BOB, 2, counter=1006)
    write(8, Kind.TOKEN, ANN, 0, counter=4, proc=1)
    for place, flags in ((Place.AUTH, Flag.REFUSED), (Place.SOCKET, Flag.ACCEPTED), (Place.SOCKET, Flag.REFUSED)):
        write(9, Kind.REQUEST, ANN, 0, author=ANN, counter=4, attempt=int(place), flags=int(flags))
    journal.close({})
    return open_history(tmp_path)


def extent(history: History, *findings: Finding, id: str = "I5b") -> dict[str, Any]:
    verdict = Verdict(id=id, name="n", outcome=Outcome.FAIL, examined=9, violations=len(findings), findings=findings)
    found = Extents(history).of(verdict)
    assert found is not None
    return found


def test_by_replica_and_kind(history: History) -> None:
    """The connection of the record, or else the one that the device had then; who named none is not counted."""
    cut = Finding(what="cut", records=((0, 5),), facts={"client": BOB, "conv": 0})
    absent = Finding(what="absent", records=((0, 1), (0, 4)), facts={"client": ANN, "conv": 0})
    before = Finding(what="absent", records=((0, 2),), facts={"client": ANN, "conv": 0})
    nobody = Finding(what="absent", records=((0, 4),))
    found = extent(history, cut, absent, before, nobody)
    assert found["replicas"] == {"west": 2, "east": 1}
    assert found["kinds"] == {"absent": 3, "cut": 1}
    assert (found["of"], found["users"]) == (4, 2)
    words = extent_sentence({"violations": 4, "extent": found})
    assert words == "by replica: west 2, east 1; by kind: absent 3, cut 1"
    assert extent_sentence({"violations": 9, "extent": found}) == f"of the first 4; {words}"


def test_rooms_that_were_hit(history: History) -> None:
    """As findings or their records name them; a number of some findings only would look like that of all."""
    named = Finding(what="cut", records=((0, 5),), facts={"client": BOB, "conv": 0})
    by_record = Finding(what="absent", records=((0, 1), (0, 4)), facts={"client": ANN, "conv": NOBODY})
    nowhere = Finding(what="absent", records=((0, 2),), facts={"client": ANN})
    assert extent(history, named, by_record)["rooms"] == 1
    assert extent(history, by_record)["rooms"] == 1
    assert extent(history, named, nowhere)["rooms"] == 0


def test_forgeries_that_were_tried(history: History) -> None:
    """By place: how often a forgery was presented, and how often accepted; requests over HTTP name no replica."""
    accepted = Finding(what="accepted", records=((0, 6), (0, 8)), facts={"client": ANN, "place": int(Place.SOCKET)})
    found = extent(history, accepted, id="I31")
    assert found["places"] == {"the socket": 1}
    assert found["replicas"] == {}
    assert found["forgeries"] == forgeries(history) == [
        {"forgery": "no key", "place": "the auth service", "tried": 1, "accepted": 0},
        {"forgery": "no key", "place": "the socket", "tried": 2, "accepted": 1},
    ]  # fmt: skip
    assert extent_sentence({"violations": 1, "extent": found}) == (
        "by place: the socket 1; accepted of those tried: no key at the socket 1 of 2"
    )


def test_a_verdict_without_findings(history: History) -> None:
    """Nothing is counted, and a verdict of an earlier version says nothing."""
    held = Verdict(id="I1", name="n", outcome=Outcome.PASS, examined=9)
    assert Extents(history).of(held) is None
    assert extent_sentence({"violations": 3}) == ""
