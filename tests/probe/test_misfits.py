"""Wrong paths of a target file, told from frames that two users received."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from earwitness.checks.contract import Contract
from earwitness.harness.client.body import encode
from earwitness.harness.described import Faults, Table
from earwitness.harness.dialects.toml.frames import read_frame_rules
from earwitness.harness.probe.misfits import Misfit, Sent, misfits

TAG = "c0ffee00"
TEXT = encode(TAG, 0, 0, 1, 1, 1, 'say "hi" 🧵')[0]
SENT = Sent(
    tag=TAG,
    texts=frozenset({TEXT}),
    ids=frozenset({f"{TAG}-0-1"}),
    rooms=frozenset({"den", "r-17"}),
    users=frozenset({"u1", "u2"}),
)
RULES: dict[str, Any] = {
    "kind": "what",
    "message": {
        "is": "said",
        "room": "where.id",
        "text": "body.text",
        "seq": "body.no",
        "sender": "by.id",
        "id": "ref",
    },
    "ack": {"is": "ok", "id": "ref", "seq": "no"},
    "nack": {"is": "no", "id": "ref"},
    "welcome": {"is": "hi", "user": "me", "replica": "node"},
    "joined": {"is": "in", "room": "where.id", "seq": "head", "complete": "whole"},
}
SAID = {
    "what": "said",
    "where": {"id": "r-17", "name": "the den"},
    "body": {"text": TEXT, "no": 1},
    "by": {"id": "u1"},
    "ref": f"{TAG}-0-1",
}
FRAMES: list[Any] = [
    {"what": "hi", "me": "u1"},
    {"what": "in", "where": {"id": "r-17"}, "head": 0},
    {"what": "ok", "ref": f"{TAG}-0-1", "no": 1},
    SAID,
]


def found(
    changes: Mapping[str, Any] = {}, frames: Sequence[Any] = FRAMES, contract: Contract | None = None
) -> list[Misfit]:  # fmt: skip
    """Misfits of the rules with `changes` by `rule.key`."""
    rules = json.loads(json.dumps(RULES))
    for place, value in changes.items():
        name, _, key = place.partition(".")
        if not key:
            rules[name] = value
        elif value is None:
            del rules[name][key]
        else:
            rules[name][key] = value
    faults = Faults("test")
    read = read_frame_rules(Table(rules, faults, "frames"))
    faults.raise_any()
    data = [frame if isinstance(frame, (str, bytes)) else json.dumps(frame) for frame in frames]
    return misfits(read, contract or Contract(sequence="contiguous"), data, SENT)


def test_a_right_file_fits() -> None:
    """No misfit; a `replica` and a `complete` that are never said are the platform's choice."""
    assert found() == []


@pytest.mark.parametrize(
    ("place", "path", "words"),
    [
        ("message.text", "body.txet", ["finds no text in its frame", "keys at 'body' are text, no", "'body.text'"]),
        ("message.text", "bdy.text", ["finds no text", "keys there are what, where, body, by, ref", "'body.text'"]),
        ("message.text", "where.name", ["is never what was sent", "'body.text'"]),
        ("message.room", "where.di", ["finds nothing", "keys at 'where' are id, name", "'where.id'"]),
        ("message.room", "where.name", ["is never the room that was spoken in", "rooms.room_id", "'where.id'"]),
        ("message.seq", "body.n", ["finds no number", "keys at 'body' are text, no"]),
        ("message.sender", "from", ["finds nothing", "'by.id'"]),
        ("message.sender", "where.name", ["is never one of the users who spoke", "login.user_id", "'by.id'"]),
        ("message.is", "sayd", ["frames.message.is = 'sayd' at 'what'", "1 frame of kind 'said'"]),
        (
            "kind",
            "waht",
            ["what was sent came in 1 frame without a kind, with what, where, body, by, ref", "frames.kind = 'what'"],
        ),
        ("ack.id", "rfe", ["frames.ack.id = 'rfe' finds nothing", "keys there are what, ref, no", "'ref'"]),
        ("ack.id", "no", ["is never the id of what was sent", "'ref'"]),
        ("ack.is", "okay", ["the ids of what was sent came in 1 frame of kind 'ok'"]),
        (
            "joined.room",
            "where.no",
            ["frames.joined.room = 'where.no' finds nothing", "keys at 'where' are id", "'where.id'"],
        ),
    ],
)
def test_a_wrong_path_is_fatal(place: str, path: str, words: list[str]) -> None:
    """The path, the keys that are there, and where the right value stands. Without it the load would be judged by
    what the tester could not read."""
    first = found({place: path})[0]
    assert first.fatal
    for word in words:
        assert word in first.sentence


@pytest.mark.parametrize(
    ("changes", "promise"),
    [
        ({"message.seq": "body.n"}, {"sequence": "none"}),
        ({"message.sender": "from"}, {"names_sender": False}),
        ({"message.id": "rfe"}, {}),
        ({"ack.seq": "number"}, {}),
        ({"ack.id": "rfe"}, {"acknowledges": False}),
        ({"welcome.user": "you"}, {}),
    ],
)
def test_what_no_promise_needs_is_a_note(changes: dict[str, str], promise: dict[str, Any]) -> None:
    """It is said, and the load may begin."""
    misfit = found(changes, contract=Contract(**{"sequence": "contiguous", **promise}))
    assert [one.fatal for one in misfit] == [False]
    assert "finds n" in misfit[0].sentence


def test_no_message_among_frames_that_are_understood() -> None:
    """A platform that delivers nothing is the load's to judge, not the file's fault."""
    assert found(frames=FRAMES[:3]) == []


def test_no_message_and_a_frame_that_no_rule_knows() -> None:
    """Frames arrive and none fits: the kinds that came are named."""
    first = found(frames=[*FRAMES[:3], {"what": "blob", "data": "…"}])[0]
    assert first.fatal
    assert "no frame came of that kind; the others were 1 frame of kind 'blob'" in first.sentence


def test_a_platform_that_changes_texts() -> None:
    """What was sent comes at the right path, escaped: a matter for I10."""
    escaped = {**SAID, "body": {"text": TEXT.replace('"', "&quot;"), "no": 1}}
    assert found(frames=[*FRAMES[:3], escaped]) == []


def test_strangers_do_not_count() -> None:
    """Somebody else talks in the room; only their message has a name that is none of ours."""
    other = {**SAID, "by": {"id": "u99"}, "body": {"text": "those were the days", "no": 2}, "ref": "x"}
    assert found(frames=[*FRAMES, other]) == []


def test_what_the_platform_says_itself() -> None:
    """Its own words in our room, and answers to something else: no path is wrong for sure, and no load is stopped."""
    system = {"what": "said", "where": {"id": "den"}, "body": {"text": "ann joined", "no": 1}, "by": {"id": "system"}}
    answer = {"what": "ok", "no": 7}
    found_here = found(frames=[*FRAMES[:2], answer, system])
    assert not any(misfit.fatal for misfit in found_here)
    elsewhere = {"what": "in", "where": {"id": "another room"}, "head": 3}
    assert [misfit.fatal for misfit in found(frames=[FRAMES[0], elsewhere, *FRAMES[2:]])] == [False]


def test_frames_that_are_no_json() -> None:
    """All frames have another shape than the file says."""
    first = found(frames=[f"42{json.dumps(frame)}" for frame in FRAMES])[0]
    assert first.fatal
    assert "none of 4 frames could be read as frames.split = 'none'" in first.sentence


def test_lists_of_items() -> None:
    """A wrong `items` names the keys of the frame, a wrong path inside it those of the items."""
    frame = {"what": "said", "all": [{**SAID, "what": "x"}]}
    rules = {"message": {**RULES["message"], "items": "all"}}
    assert found(rules, frames=[*FRAMES[:3], frame]) == []
    first = found({"message": {**rules["message"], "items": "every"}}, frames=[*FRAMES[:3], frame])[0]
    assert first.fatal
    assert "frames.message.items = 'every' finds no list in its frame; the keys there are what, all" in first.sentence
    assert found({"message": {**rules["message"], "text": "txt"}}, frames=[*FRAMES[:3], frame])[0].fatal


def test_a_rule_by_presence() -> None:
    """`has` is named with its path."""
    first = found({"message": {"has": "said", "text": "body.text"}})[0]
    assert first.fatal
    assert "frames.message.has = 'said', but what was sent came in 1 frame of kind 'said'" in first.sentence
