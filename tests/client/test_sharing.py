"""What a device is shown of shared state, as records."""

from __future__ import annotations

from typing import Any

import pytest

from earwitness.checks.history.record import NOBODY, NONE, Kind, Place, State
from earwitness.harness.client.body import decode, encode
from earwitness.harness.client.events import EDITED, JOINED, MARKED, PRESENCE, WELCOME, Heard
from earwitness.harness.client.sharing import Edit, Shown
from earwitness.harness.client.statements import digest_of


@pytest.fixture
def shown(journal: Any) -> Shown:
    """Device 7 of run "run1", in rooms "a" (number 0) and "b" (number 1)."""
    return Shown(journal, 7, "run1", {"a": 0, "b": 1})


def text_of(author: int, counter: int, payload: str) -> str:
    return encode("run1", author, 0, counter, 0, 1, payload)[0]


def pushed(what: int, label: str | None = None, text: str | None = None, seq: int = NONE, extra: Any = None) -> Heard:
    return (what, label, text, seq, None, None, extra)


def edited(number: int, version: int, text: str) -> Heard:
    return pushed(EDITED, "a", text, 3, (number, version))


def test_a_mark_that_is_pushed(shown: Shown, journal: Any) -> None:
    """SEEN of the device's own person, on the connection, without a time of asking."""
    shown.hear(50, pushed(MARKED, "b", seq=12), 4)
    (row,) = journal.rows()
    assert (row["kind"], row["proc"], row["attempt"]) == (Kind.SEEN, State.READ_MARK, Place.SOCKET)
    assert (row["t"], row["seq"], row["client"], row["conn"], row["author"]) == (50, NONE, 7, 4, 7)
    assert (row["conv"], row["aux"], row["digest"]) == (1, 12, digest_of(12))


def test_the_greeting_tells_all_marks(shown: Shown, journal: Any) -> None:
    """One SEEN for each conversation of the plan; a greeting that tells none leaves none."""
    shown.hear(50, pushed(WELCOME, extra={"user": "u", "read": {"a": 0, "b": 5, "another's": 9}}), 4)
    assert [(row["conv"], row["aux"]) for row in journal.rows()] == [(0, 0), (1, 5)]
    shown.hear(60, pushed(WELCOME, extra={"user": "u"}), 5)
    shown.hear(60, pushed(JOINED, "a", seq=4), 5)
    assert len(journal.rows()) == 2


def test_an_edit_is_known_by_its_body(shown: Shown, journal: Any) -> None:
    """SEEN of the message that was edited, with its version and the digest of its new content."""
    text = text_of(2, 9, "better")
    shown.hear(50, edited(1, 3, text), 4)
    (row,) = journal.rows()
    assert (row["proc"], row["author"], row["counter"], row["conv"]) == (State.EDIT, 2, 9, 0)
    told = decode(text)
    assert told is not None
    assert (row["aux"], row["digest"]) == (3, told.digest)
    assert shown.versions == {(2, 9): 3}


@pytest.mark.parametrize("text", ["no body of ours", text_of(2, 9, "x") + "y", encode("run0", 2, 0, 9, 0, 1, "x")[0]])
def test_what_carries_no_identity_is_not_recorded(shown: Shown, journal: Any, text: str) -> None:
    """Neither a damaged text nor another run's names a message; that an edit came is known all the same."""
    shown.hear(50, edited(1, 2, text), 4)
    assert len(journal.rows()) == 0
    assert shown.edits == {"a": 1}


def test_an_answer_shows_the_last_edit_of_each_message(shown: Shown, journal: Any) -> None:
    """Older ones in a page are history, not what is shown."""
    old, other, new = text_of(2, 9, "old"), text_of(2, 10, "other"), text_of(2, 9, "new")
    edits = [Edit(1, 3, 2, old), Edit(2, 4, 2, other), Edit(3, 3, 3, new)]
    shown.answered_edits("a", edits, 40, 50)
    assert [(row["counter"], row["aux"], row["seq"], row["conn"]) for row in journal.rows()] == [
        (9, 3, 40, 0), (10, 2, 40, 0),
    ]  # fmt: skip
    assert set(journal.rows()["attempt"]) == {Place.BACKEND}
    assert shown.edits == {"a": 3}


def test_news_may_overtake_an_answer(shown: Shown) -> None:
    """What was pushed while older edits were asked for does not hide that they are not known yet."""
    shown.hear(50, edited(3, 2, text_of(2, 9, "x")), 4)
    assert shown.edits["a"] == 0
    shown.answered_edits("a", [Edit(1, 1, 2, "x"), Edit(2, 2, 2, "x")], 40, 60)
    assert shown.edits["a"] == 3
    shown.hear(70, edited(2, 2, text_of(2, 9, "x")), 4)
    assert shown.edits["a"] == 3


def test_marks_that_were_asked_for(shown: Shown, journal: Any) -> None:
    """With the time of asking, on no connection; rooms of others are left out."""
    shown.answered_marks({"b": 3, "another's": 4}, 40, 50)
    (row,) = journal.rows()
    assert (row["seq"], row["t"], row["conn"], row["attempt"], row["aux"]) == (40, 50, 0, Place.BACKEND, 3)


def test_presence_is_one_record_a_person(shown: Shown, journal: Any) -> None:
    """PRESENCE with the interned id of each person, where it is shown; elsewhere it is not recorded."""
    shown.hear(50, pushed(PRESENCE, "b", extra={"u-1": True, "u-2": False}), 4)
    shown.hear(50, pushed(PRESENCE, "another's", extra={"u-1": True}), 4)
    rows = journal.rows()
    assert set(rows["kind"]) == {Kind.PRESENCE}
    assert [(row["author"], row["counter"]) for row in rows] == [(journal.names["u-1"], 1), (journal.names["u-2"], 0)]
    assert {(row["client"], row["conn"], row["conv"]) for row in rows} == {(7, 4, 1)}
    assert NOBODY not in rows["author"]
