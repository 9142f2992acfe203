"""What a rehearsal finds wrong with a dialect in Python, or with promises that nobody stated: before a load begins."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from earwitness.checks.contract import Contract
from earwitness.harness.client.body import encode
from earwitness.harness.client.events import ACK, MESSAGE
from earwitness.harness.dialects.parts import Parts
from earwitness.harness.dialects.protocol import Credentials, Person, Room
from earwitness.harness.probe.rehearsal import Rehearsal, Voice

TAG = "0badcafe"
PEOPLE = [
    Person(number=number, name=name, email=f"{name}@people.example") for number, name in enumerate(("ann", "bob"))
]


def text(number: int) -> str:
    return encode(TAG, number, 0, 1, 1, 1, "hello")[0]


def rehearsal(heard: Sequence[Sequence[int]], read: bool, *, stated: frozenset[str] = frozenset()) -> Rehearsal:
    """Two users who sent one message each; `heard`: for each of them, whose messages came; `read`: as messages."""
    target: Any = SimpleNamespace(contract=Contract(), stated=stated, parts=Parts())
    room = Room(number=0, label="r", members=tuple(PEOPLE))
    made = Rehearsal(target=target, room=room, tag=TAG)
    for person, whose in zip(PEOPLE, heard, strict=True):
        voice = Voice(person, Credentials(person=person, user_id=person.name, token="T"))
        voice.sent = {f"{TAG}-{person.number}-1": text(person.number)}
        voice.keep("answer", [(ACK, None, None, -1, None, f"{TAG}-{person.number}-1", None)])
        for number in whose:
            events = [(MESSAGE, "r", text(number), -1, None, None, None)] if read else []
            voice.keep(f'42["said", {{"text": "{text(number)}"}}]', events)
        made.voices.append(voice)
    return made


def fatal(made: Rehearsal) -> list[str]:
    return [one.sentence for one in made.misfits() if one.fatal]


def test_what_came_and_was_not_read() -> None:
    """A load would count every message as lost."""
    (sentence,) = fatal(rehearsal([[0, 1], [0, 1]], read=False))
    assert "came in 1 frame, and the dialect reads no message in them" in sentence
    assert fatal(rehearsal([[0, 1], [0, 1]], read=True)) == []


def test_what_never_came_is_no_mistake_of_the_file() -> None:
    """The platform may have lost it: that is for the load to judge."""
    assert fatal(rehearsal([[], []], read=True)) == []


@pytest.mark.parametrize(
    ("heard", "stated", "found"),
    [
        ([[1], [0]], frozenset(), 1),
        ([[1], [0]], frozenset({"echo"}), 0),
        ([[0, 1], [0, 1]], frozenset(), 0),
        ([[1], [0, 1]], frozenset(), 0),
        ([[1], []], frozenset(), 0),
    ],
    ids=["to others only", "stated", "to all", "one echo is lost", "others' are lost too"],
)
def test_nobody_receives_their_own(heard: list[list[int]], stated: frozenset[str], found: int) -> None:
    """A default that the file does not state is no promise: the user is asked, and nothing is judged meanwhile."""
    sentences = fatal(rehearsal(heard, read=True, stated=stated))
    assert ["echo = false in [contract]" in one for one in sentences] == [True] * found
