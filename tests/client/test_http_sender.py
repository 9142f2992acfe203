"""Messages as requests: one at a time, their answers recorded, their fate unknown where there is none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gevent
import pytest
from gevent.event import Event

from earwitness.checks.history.record import Kind
from earwitness.harness.client.body import decode
from earwitness.harness.client.events import ACK
from earwitness.harness.client.flow import FlowError
from earwitness.harness.client.http_sender import Poster
from tests.client.spoken import dialogue


class Office:
    """Takes letters; answers each as it is told: acknowledged, or with an error."""

    def __init__(self) -> None:
        self.letters: list[tuple[str, str, str]] = []
        self.broken = False
        self.open = Event()
        self.open.set()

    def post(self, label: str, message_id: str, text: str) -> Any:
        self.letters.append((label, message_id, text))
        self.open.wait(5)
        if self.broken:
            raise FlowError("send", "201")
        return ((ACK, label, None, 7, None, message_id, None),)


@pytest.fixture
def office() -> Office:
    return Office()


@pytest.fixture
def posting(make_stage: Callable[..., Any], office: Office) -> tuple[Poster, Any]:
    """A poster and the stage of its session, connected."""
    poster = Poster(office.post)
    stage = make_stage(by_http=True)
    poster.session = stage.session
    stage.session.connected(dialogue(), 100, 0)
    return poster, stage


def kinds(stage: Any) -> list[Kind]:
    return [Kind(int(kind)) for kind in stage.journal.rows()["kind"]][1:]


def test_a_letter_is_what_the_record_says(posting: tuple[Poster, Any], office: Office) -> None:
    """Room, id and body of the request are those of the INVOKE; the answer is its OK."""
    poster, stage = posting
    poster.say("b", "hello", None)
    ((label, message_id, text),) = office.letters
    body = decode(text)
    assert body is not None
    assert (label, message_id, body.counter, body.conv) == ("b", "run1-3-1", 1, 1)
    assert kinds(stage) == [Kind.INVOKE, Kind.OK]
    assert stage.session.acked_points() == {"b": 7}


def test_one_at_a_time(posting: tuple[Poster, Any], office: Office) -> None:
    """A second one is not even recorded as said before the first is answered."""
    poster, stage = posting
    office.open.clear()
    both = [gevent.spawn(poster.say, "a", text, None) for text in ("one", "two")]
    gevent.idle()
    assert (len(office.letters), kinds(stage)) == (1, [Kind.INVOKE])
    office.open.set()
    gevent.joinall(both, timeout=5, raise_error=True)
    assert kinds(stage) == [Kind.INVOKE, Kind.OK, Kind.INVOKE, Kind.OK]


def test_a_message_without_answer_can_be_said_again(posting: tuple[Poster, Any], office: Office) -> None:
    """INFO, then the same id with the next attempt, once; what is known needs no repetition."""
    poster, stage = posting
    office.broken = True
    poster.say("a", "hello", None)
    assert kinds(stage) == [Kind.INVOKE, Kind.INFO]
    office.broken = False
    for _ in range(2):
        poster.again("run1-3-1")
    assert kinds(stage) == [Kind.INVOKE, Kind.INFO, Kind.INVOKE, Kind.OK]
    assert [letter[1] for letter in office.letters] == ["run1-3-1"] * 2
    assert list(stage.journal.rows()["attempt"][1:]) == [1, 1, 2, 2]


def test_nothing_is_said_offline_and_nothing_recorded_after_the_end(
    posting: tuple[Poster, Any], office: Office
) -> None:
    """Without a socket nobody would hear the others; the journal may be closed when a late answer comes."""
    poster, stage = posting
    stage.session.closed(200, 1006, False)
    poster.say("a", "hello", None)
    assert office.letters == []
    stage.session.connected(dialogue(), 300, 0)
    poster.close()
    poster.say("a", "hello", None)
    assert kinds(stage)[-1] == Kind.INVOKE
