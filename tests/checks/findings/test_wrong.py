"""Which records of a counterexample are wrong themselves, and the words for each, from literal histories."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from earwitness.checks import ALL, Finding, Kind
from earwitness.checks.findings.lines import Told
from earwitness.checks.findings.scene import scene
from earwitness.checks.findings.sentences import SENTENCES
from earwitness.checks.findings.wrong import WRONG, wrong_records
from earwitness.checks.history.record import NOBODY
from earwitness.checks.roster import Roster


def marked(history: Any, id: str) -> list[tuple[str, str | None]]:
    """(label, why it is wrong) of each step of the first finding of a check, with all records as context."""
    verdict = history.judge()[id]
    rows = history.arrays()[0]
    records = {n: Told(0, n, row) for n, row in enumerate(rows, start=1)}
    finding = verdict.findings[0]
    proof = [records[index] for _, index in finding.records]
    drawn = scene(id, finding, proof, list(records.values()), history.roster)
    return [(step.label, step.wrong) for step in drawn.steps if step.wrong is not None]


def test_a_leak_is_at_who_is_no_member(new_history: Callable[..., Any]) -> None:
    """I12: the delivery to Eve, with the room; not that to Bob, who is a member."""
    history = new_history().join(1).send(0, 1).ack(0, 1, 5).hear(1, 0, 1, 5).add(Kind.CONNECT, 3, conn=4)
    history.add(Kind.DELIVER, 3, author=0, counter=1, conv=0, attempt=1, conn=4, seq=5, digest=1, size=10)
    assert marked(history, "I12") == [("5 · #1 of ann", "is no member of room-1")]


def test_every_delivery_that_names_a_wrong_sender(new_history: Callable[..., Any]) -> None:
    """I15: also at those who are not of this finding, since the same arrow is wrong there; the right name is not."""
    history = new_history().join(0).join(1).send(0, 1)
    for client, stated in ((1, 3), (2, 3), (0, 0)):
        history.hear(client, 0, 1, 1, aux=stated)
    assert marked(history, "I15") == [("1 · #1 of ann", "says: from eve")] * 2


def test_a_duplicate_is_the_second_delivery(new_history: Callable[..., Any]) -> None:
    """I6: the first one is right."""
    history = new_history(at_most_once="device").join(0).join(1).send(0, 1).hear(1, 0, 1, 1).hear(1, 0, 1, 1)
    assert marked(history, "I6") == [("1 · #1 of ann", "again")]


def test_the_crossed_pair(new_history: Callable[..., Any]) -> None:
    """I1 and I4: both deliveries that are crossed, as far as the check knows them."""
    history = new_history(sequence="contiguous").join(0).join(1, head=0)
    history.send(0, 1).send(0, 2).hear(1, 0, 2, 2).hear(1, 0, 1, 1)
    assert marked(history, "I1") == [("2 · #2 of ann", "too early"), ("1 · #1 of ann", "too late")]
    assert marked(history, "I4") == [("2 · #2 of ann", "skips number 1"), ("1 · #1 of ann", "too late")]


ROSTER = Roster(user_of=(0, 1), conversations=((0, 1),), user_names=("ann", "bob"))


@pytest.mark.parametrize(("rows", "words"), [(4, "3 fewer rows than numbers"), (7, None)])
def test_a_final_read_with_fewer_rows_than_numbers(rows: int, words: str | None) -> None:
    """I5a: it is the proof that storage lost messages."""
    read = {"kind": int(Kind.READ_END), "counter": rows, "seq": 7, "author": NOBODY, "aux": -1}
    finding = Finding(what="lost", records=((0, 1),), facts={"author": 0, "counter": 2, "conv": 0})
    found = wrong_records("I5a", finding, [Told(0, 9, read)], ROSTER, lambda journal, number: None)
    assert found == ({} if words is None else {(0, 9): words})


def test_words_only_for_kinds_that_exist() -> None:
    """Each names a kind of finding of a check, with places that a finding can have."""
    assert set(WRONG) <= set(SENTENCES)
    assert {id for id, _ in WRONG} <= {check.id for check in ALL}


@pytest.mark.parametrize(("key", "places"), list(WRONG.items()))
def test_a_finding_without_facts_and_records(key: tuple[str, str], places: Sequence[tuple[int, str]]) -> None:
    """It costs no verdict: no mark without a record, no error without a fact."""
    check, what = key
    nobody = lambda journal, number: None  # noqa: E731
    assert wrong_records(check, Finding(what=what), [], ROSTER, nobody) == {}
    found = wrong_records(check, Finding(what=what, records=((0, 1), (0, 2), (0, 3))), [], ROSTER, nobody)
    assert len(found) == len(places)
    assert not any("{" in words for words in found.values())
