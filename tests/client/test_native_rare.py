"""The native path leaves what the Python path leaves of greetings, answers of agents, resumption and repeated sends."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest

from earwitness.harness.client.body import encode
from earwitness.harness.client.dialogue import Dialogue
from earwitness.harness.client.sharing import Shown
from earwitness.harness.dialects.protocol import Credentials
from earwitness.harness.dialects.reference.dialect import ReferenceTarget
from earwitness.harness.native import HOT
from tests.client.both_ways import CLIENT, ROOMS, TAG, Way, frame, unmasked
from tests.client.native_streams import (
    ANN,
    ENDPOINTS,
    heard,
    listen,
    played,
    question,
    reference,
)

pytestmark = [
    pytest.mark.skipif(HOT is None, reason="the native path is not compiled: make setup"),
    pytest.mark.usefixtures("clock"),
]


def test_an_open_question_is_for_python(tmp_path: Path) -> None:
    """Its acknowledgement states the number by which the answer of the agent names it."""

    def play(way: Way) -> None:
        way.link.receive(1, heard(1))
        way.session.send(5, "alpha", "a question", asks=True)
        ack = {"type": "ack", "id": f"{TAG}-{CLIENT}-1", "conversation": "alpha", "seq": 4}
        chunk = {"type": "agent", "conversation": "alpha", "run": "r#4", "event": "chunk", "n": 1, "text": "well"}
        way.link.receive(6, frame(json.dumps(ack)) + frame(json.dumps(chunk)))

    assert "first token, from its planned start" in played(tmp_path, reference, play).latencies


ALPHA = {"conversation": "alpha"}


def of_an_answer(run: str, text: str = "", *, edits: int = 0) -> list[dict[str, Any]]:
    """An agent's whole answer in pieces, and `edits` of a message among them; `text`: that the end carries."""
    pieces = ("", "You asked", ' "in"', " ünï words")
    said = [("started", 0, ""), ("thinking", 0, "hm"), *(("chunk", n, piece) for n, piece in enumerate(pieces))]
    said.append(("completed", len(pieces), text))
    found: list[dict[str, Any]] = [
        {"type": "agent", **ALPHA, "run": run, "event": event, "n": n, "text": piece} for event, n, piece in said
    ]
    body, _ = encode(TAG, 3, ROOMS["alpha"], 5, 1, 1, "better")
    found[3:3] = [
        {"type": "edited", **ALPHA, "n": n, "seq": 1, "version": n + 1, "text": body, "at": "now"}
        for n in range(1, edits + 1)
    ]
    return found


WELCOME = {
    "type": "welcome", "user": "u7", "name": "ann", "replica": "b1", "session": "s",
    "conversations": {"alpha": 3, "room-3": 0}, "read": {"alpha": 2, "room-3": 0},
}  # fmt: skip


@pytest.mark.parametrize("shown", [False, True])
def test_usual_frames_that_are_no_messages_take_the_native_path(tmp_path: Path, shown: bool) -> None:
    """On a second connection, when the names are known, Python gets only what comes once in an answer."""
    own = f"{TAG}-{CLIENT}-"
    frames: list[dict[str, Any]] = [
        {"type": "joined", **ALPHA, "head": 4, "complete": True},
        {"type": "joined", "conversation": "room-3", "head": 4, "complete": False},
        {"type": "left", "conversation": "room-3"}, {"type": "read", **ALPHA, "seq": 3},
        {"type": "presence", **ALPHA, "users": {"user-3": True, "u7": False}, "whole": True},
        {"type": "user", "user": {"id": "u7", "email": "a@b", "name": "änn", "is_active": True}},
        {"type": "ack", "id": f"{own}1", **ALPHA, "seq": 7},  # a question
        {"type": "nack", "id": f"{own}2", "code": 429, "reason": "slow", "retry_after": 1.2345},
        *of_an_answer("x#7", 'You asked "in" ünï words'), *of_an_answer("y#6", edits=4), *of_an_answer("z#5", "other"),
        {"type": "message", **ALPHA, "seq": 8, "id": "i", "sender": "agent", "text": "an answer", "at": "now"},
    ]  # fmt: skip

    def play(way: Way) -> None:
        listen(Random(1), way)
        way.session.shown = Shown(way.journal, CLIENT, TAG, dict(ROOMS)) if shown else None
        names = ({"type": "presence", **ALPHA, "users": {"user-3": False}}, *of_an_answer("x#1"), frames[-1])
        for name in ("user-3", "agent", "x#7", "y#6", "z#5"):
            way.journal.intern(name)
        way.link.receive(1, b"".join(frame(json.dumps(said)) for said in (WELCOME, *names)))
        way.link._give_up()
        way.session.asked = {"alpha": 2}
        way.before = way.transport.snapshot()
        way.connect(50)
        way.link.receive(60, frame(json.dumps(WELCOME)))
        way.link.say(70, "alpha", "a question", 65, ask=question)
        way.link.say(70, "alpha", "too much")
        for now, said in enumerate(frames, 80):
            way.link.receive(now, frame(json.dumps(said, ensure_ascii=now % 2 == 0)))

    moved = (way := played(tmp_path, reference, play, agents=("agent",))).transport.since(way.before)
    assert moved["frames_in"] == 1 + len(frames)
    # the answer that begins while a question is open, and the first token
    assert moved["frames_in"] + moved["frames_out"] - moved["frames_native"] == 2


@pytest.mark.parametrize("continued", [True, False, None])
def test_a_connection_resumes_natively(tmp_path: Path, continued: bool | None) -> None:
    """It says where it continues, is told whether it may, and what was missed comes again: all of it natively."""
    points: dict[str, int] = {}

    def make() -> Dialogue:
        target, mine = ReferenceTarget(ENDPOINTS), Credentials(person=ANN, user_id="u7", token="t")
        return target.dialogue(mine, (), dict(points) or None)

    def play(way: Way) -> None:
        for name in ("u7", "b1", "user-3"):
            way.journal.intern(name)
        way.link.receive(1, b"".join((frame(json.dumps(WELCOME)), heard(4), heard(5))))
        way.link.say(2, "alpha", "lost")
        points.update(way.session.resume_points())
        way.session.asked = dict(points)
        way.link._give_up()
        way.before = way.transport.snapshot()
        way.connect(10)
        way.told.append(unmasked(b"".join(way.link.written)))
        joined = [
            {"type": "joined", "conversation": label, "head": seq, "complete": continued if label == "alpha" else None}
            for label, seq in (("alpha", 7), ("room-3", 0), ("unplanned", 3))
        ]
        stream = [frame(json.dumps(said)) for said in (WELCOME | {"resume": True}, *joined)]
        way.link.receive(11, b"".join((*stream, heard(6), heard(7), heard(6))))
        way.link.say_again(12, f"{TAG}-{CLIENT}-1")
        way.link.receive(13, frame(json.dumps({"type": "ack", "id": f"{TAG}-{CLIENT}-1", **ALPHA, "seq": 8})))
        points.clear()

    way = played(tmp_path, make, play)
    assert way.session.resume_points() == {"alpha": 7, "room-3": 0}
    moved = way.transport.since(way.before)
    assert (moved["frames_in"], moved["frames_out"]) == (8, 2)
    assert moved["frames_native"] == 10
    assert ("resume", {"alpha": 5, "room-3": 0}) in [
        (said["type"], said["from"]) for sent in way.told if isinstance(sent, list) for said in [json.loads(sent[0][1])]
    ]


def test_a_message_is_sent_again_natively(tmp_path: Path) -> None:
    """After a lost connection: the same id, another attempt, and the next one if that is lost too."""

    def play(way: Way) -> None:
        way.link.receive(1, frame(json.dumps(WELCOME)))
        way.link.say(5, "alpha", "lost")
        for now in (10, 20):
            way.link._give_up()
            way.written += way.link.written
            way.connect(now)
            way.link.receive(now + 1, frame(json.dumps(WELCOME)))
            way.link.say_again(now + 2, f"{TAG}-{CLIENT}-1")
        with pytest.raises(KeyError):
            way.link.say_again(30, "unknown")
        ack = {"type": "ack", "id": f"{TAG}-{CLIENT}-1", **ALPHA, "seq": 7}
        way.link.receive(40, frame(json.dumps(ack)))

    assert played(tmp_path, reference, play).transport.frames_native == 6


def test_an_answer_that_overtakes_the_acknowledgement_finds_its_question(tmp_path: Path) -> None:
    """Its first event has no question yet; the one after the acknowledgement has."""

    def play(way: Way) -> None:
        for name in ("u7", "b1", "x#7"):
            way.journal.intern(name)
        way.link.receive(1, frame(json.dumps(WELCOME)))
        way.link.say(5, "alpha", "a question", ask=question)
        first, *others = of_an_answer("x#7")
        ack = {"type": "ack", "id": f"{TAG}-{CLIENT}-1", **ALPHA, "seq": 7}
        for now, said in enumerate((first, ack, *others), 10):
            way.link.receive(now, frame(json.dumps(said)))

    way = played(tmp_path, reference, play)
    assert way.latencies["first token, from its planned start"].n == 1


@pytest.mark.parametrize("first", ["a message", "an escaped room", "a room twice", "a message that is sent"])
def test_a_connection_begins_alike(tmp_path: Path, first: str) -> None:
    """CONNECT comes before all else, whatever is received or sent first; one of both understands the greeting."""
    escaped = frame(json.dumps(WELCOME).replace('"alpha"', '"\\u0061lpha"'))
    twice = frame(json.dumps(WELCOME).replace('"room-3"', '"alpha"'))
    begun = {"a message": heard(1), "an escaped room": escaped, "a room twice": twice, "a message that is sent": b""}

    def play(way: Way) -> None:
        for name in ("u7", "b1", "user-3"):
            way.journal.intern(name)
        if not begun[first]:
            way.link.say(3, "alpha", "early")
        way.link.receive(5, begun[first] + frame(json.dumps(WELCOME)) + heard(2))

    assert played(tmp_path, reference, play).session.welcomed
