"""Messages as requests: one at a time, their answers recorded, their fate unknown where there is none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gevent
import pytest
from gevent.event import Event

from earwitness.checks.history.record import Kind
from earwitness.harness.client.body import decode
from earwitness.harness.client.events import ACK, AGENT
from earwitness.harness.client.flow import FlowError, Unbounded
from earwitness.harness.client.http_sender import Poster, StreamPoster
from earwitness.harness.errors import Exceeded, TargetError
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


class Agent:
    """Answers each question by a stream: `open` lets all go on; `end` is what ends them."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.end: Exception | None = None
        self.open = Event()

    def ask(self, label: str, message_id: str, text: str, happened: Callable[[Any], None]) -> Any:
        def agent(name: str) -> Any:
            return (AGENT, label, None if name == "started" else "word", -1, None, message_id, (message_id, name, 0))

        self.asked.append(message_id)
        happened([(ACK, label, None, -1, None, message_id, None), agent("started")])
        happened([agent("chunk")])
        self.open.wait(5)
        if self.end is not None:
            raise self.end
        return [agent("completed")]


@pytest.fixture
def agent() -> Agent:
    return Agent()


@pytest.fixture
def asking(make_stage: Callable[..., Any], agent: Agent) -> tuple[StreamPoster, Any]:
    """A sender of questions and the stage of its session, connected."""
    poster = StreamPoster(agent.ask)
    stage = make_stage(by_http=True)
    poster.session = stage.session
    stage.session.connected(dialogue(), 100, 0)
    return poster, stage


def test_a_question_is_answered_while_the_stream_lasts(asking: tuple[StreamPoster, Any], agent: Agent) -> None:
    """The acknowledgement and each piece are recorded when they come; `say` returns at the end of the stream."""
    poster, stage = asking
    saying = gevent.spawn(poster.say, "b", "hello", None)
    gevent.idle()
    assert kinds(stage) == [Kind.INVOKE, Kind.OK, Kind.RUN, Kind.RUN]
    assert (stage.session.pending, poster.busy, saying.dead) == (0, True, False)
    agent.open.set()
    saying.join(timeout=5)
    assert kinds(stage)[4:] == [Kind.RUN]
    assert list(stage.journal.rows()["attempt"][-3:]) == [1, 5, 6]
    assert not poster.busy


def test_questions_at_the_same_time(asking: tuple[StreamPoster, Any], agent: Agent) -> None:
    """They run beside each other, and have no order; a planned one does not wait. The one after them waits alone."""
    poster, stage = asking
    poster.begin("b", "one", None)
    poster.say("b", "two", 5)
    gevent.idle()
    assert agent.asked == ["run1-3-1", "run1-3-2"]
    agent.open.set()
    gevent.joinall(list(poster._streams), timeout=5)
    poster.say("b", "three", None)
    sent = stage.journal.rows()[stage.journal.rows()["kind"] == Kind.INVOKE]
    assert list(sent["proc"]) == [1, 2, 2]


def test_more_questions_than_can_be_told_apart(
    asking: tuple[StreamPoster, Any], agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next one waits until an answer has ended."""
    monkeypatch.setattr("earwitness.harness.client.http_sender.STREAMS_AT_ONCE", 3)
    poster, _ = asking
    asked = gevent.spawn(lambda: [poster.begin("b", "one", None) for _ in range(5)])
    gevent.idle()
    assert len(agent.asked) == 3
    agent.open.set()
    asked.join(timeout=5)
    gevent.idle()
    assert len(agent.asked) == 5


@pytest.mark.parametrize("error", [FlowError("question", "a whole streamed answer"), FlowError("question", "200")])
def test_an_answer_that_breaks_off(asking: tuple[StreamPoster, Any], agent: Agent, error: FlowError) -> None:
    """It has no end on record; the question stays acknowledged, and nobody left the room."""
    poster, stage = asking
    agent.end = error
    agent.open.set()
    poster.say("b", "hello", None)
    assert kinds(stage) == [Kind.INVOKE, Kind.OK, Kind.RUN, Kind.RUN]


@pytest.mark.parametrize("error", [Unbounded("question", "less"), Exceeded("too many names"), TargetError("a mistake")])
def test_our_own_limits_blame_nobody(asking: tuple[StreamPoster, Any], agent: Agent, error: Exception) -> None:
    """The user has lost the thread of the room: a LEAVE, so that I24 misses no end, and a new JOIN."""
    poster, stage = asking
    agent.end = error
    agent.open.set()
    poster.say("b", "hello", None)
    assert kinds(stage)[4:] == [Kind.LEAVE, Kind.JOIN]


def test_a_question_without_answer(asking: tuple[StreamPoster, Any], agent: Agent) -> None:
    """It is recorded as INFO, a user who waits for answers goes on, and the question can be sent again."""
    poster, stage = asking
    woken: list[int] = []
    stage.session.on_answer = lambda: woken.append(stage.session.pending)
    stream, agent.ask = agent.ask, lambda *of: (_ for _ in ()).throw(FlowError("question", "200"))  # type: ignore[method-assign]
    poster = StreamPoster(lambda *of: agent.ask(*of))
    poster.session = stage.session
    poster.say("b", "hello", None)
    assert (kinds(stage), woken) == ([Kind.INVOKE, Kind.INFO], [0])
    agent.ask = stream  # type: ignore[method-assign]
    agent.open.set()
    poster.again("run1-3-1")
    assert kinds(stage)[2:] == [Kind.INVOKE, Kind.OK, Kind.RUN, Kind.RUN, Kind.RUN]


def test_a_lost_connection_ends_the_streams(asking: tuple[StreamPoster, Any], agent: Agent) -> None:
    """What still comes belongs to no connection, and is not recorded."""
    poster, stage = asking
    stage.session.on_closed = poster.cut
    poster.begin("b", "hello", None)
    gevent.idle()
    agent.open.set()  # the stream goes on before it is told to end
    stage.session.closed(200, 1006, False)
    gevent.idle()
    assert kinds(stage)[4:] == [Kind.DISCONNECT]
    assert not poster.busy


def test_a_question_that_was_never_sent_is_unknown(asking: tuple[StreamPoster, Any], agent: Agent) -> None:
    """Its greenlet had no turn before the connection was lost: INFO, and never an acknowledgement."""
    poster, stage = asking
    stage.session.on_closed = poster.cut
    poster.begin("b", "hello", None)
    stage.session.closed(200, 1006, False)
    gevent.idle()
    assert kinds(stage) == [Kind.INVOKE, Kind.DISCONNECT, Kind.INFO]
    assert agent.asked == []


def test_the_end_of_the_run_cuts_streams_openly(asking: tuple[StreamPoster, Any], agent: Agent) -> None:
    """A LEAVE of each room with a stream, once; afterwards nothing is said or recorded."""
    poster, stage = asking
    for label in ("b", "b", "a"):
        poster.begin(label, "hello", None)
    gevent.idle()
    poster.close()
    poster.say("b", "late", None)
    agent.open.set()
    gevent.idle()
    ends = stage.journal.rows()[stage.journal.rows()["kind"] == Kind.LEAVE]
    assert list(ends["conv"]) == [0, 1]
    assert kinds(stage)[-2:] == [Kind.LEAVE, Kind.LEAVE]
