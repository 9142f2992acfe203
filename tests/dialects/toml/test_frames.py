"""Frames of any JSON platform, understood by the rules of a target file."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earwitness.harness.client.events import ACK, JOINED, LEFT, MESSAGE, NACK, OTHER, REPLAYED, WELCOME
from earwitness.harness.described import Faults, Table
from earwitness.harness.dialects.toml.frames import listener, read_frame_rules
from earwitness.harness.errors import SettingsError

RULES: dict[str, Any] = {
    "kind": "type",
    "message": {
        "is": ["msg", 7], "room": "room.id", "text": "body.text", "id": "cid", "seq": "n", "sender": "from.0.id",
    },
    "ack": {"is": "ok", "id": "cid", "seq": "n", "room": "room.id"},
    "nack": {"is": "err", "id": "cid", "code": "status", "retry_after": "wait"},
    "welcome": {"is": "hi", "user": "me.id", "replica": "node", "session": "sid", "rooms": "rooms"},
    "joined": {"is": "in", "room": "room.id", "seq": "head", "complete": "all"},
    "left": {"is": "out", "room": "room.id"},
    "replayed": {"is": "backlog", "items": "list", "text": "t", "seq": "n", "room": "r"},
}  # fmt: skip


def hear_with(rules: dict[str, Any], label_of: dict[str, str] | None = None) -> Any:
    faults = Faults("test")
    read = read_frame_rules(Table(rules, faults, "frames"))
    faults.raise_any()
    return listener(read, label_of or {})


def heard(frame: Any, rules: dict[str, Any] = RULES, label_of: dict[str, str] | None = None) -> list[Any]:
    data = frame if isinstance(frame, (str, bytes)) else json.dumps(frame)
    return list(hear_with(rules, label_of)(data))


MESSAGE_FRAME = {"type": "msg", "room": {"id": 12}, "body": {"text": "hé"}, "cid": "c1", "n": "3", "from": [{"id": 9}]}


def test_message() -> None:
    """Every slot by its path; numbers and texts as the record needs them."""
    expected = [(MESSAGE, "12", "hé", 3, "9", "c1", None)]
    assert heard(MESSAGE_FRAME) == expected
    assert heard(json.dumps(MESSAGE_FRAME).encode()) == expected
    assert heard({**MESSAGE_FRAME, "type": 7}) == expected


def test_a_message_without_text_is_other() -> None:
    """What has no text is no message: exactly one thing that was not understood."""
    for text in (None, 5, {"t": "x"}):
        assert [h[0] for h in heard({**MESSAGE_FRAME, "body": {"text": text}})] == [OTHER]


def test_rooms_have_their_planned_labels() -> None:
    """A platform's own name of a room is turned back into the plan's label."""
    assert heard(MESSAGE_FRAME, label_of={"12": "run-r0"})[0][1] == "run-r0"


def test_answers() -> None:
    """Acknowledgement and refusal."""
    assert heard({"type": "ok", "cid": "c1", "n": 4, "room": {"id": "a"}}) == [(ACK, "a", None, 4, None, "c1", None)]
    assert heard({"type": "err", "cid": "c1", "status": "429", "wait": 2}) == [
        (NACK, None, None, -1, None, "c1", (429, 2.0))
    ]
    assert heard({"type": "err", "status": "slow down"}) == [(NACK, None, None, -1, None, None, (0, None))]


def test_greeting_and_membership() -> None:
    """A greeting may list rooms, with or without their heads."""
    who = {"user": "9", "replica": "n1", "session": None}
    frame = {"type": "hi", "me": {"id": 9}, "node": "n1", "rooms": {"a": 4, "b": 0}}
    joined = [(JOINED, "a", None, 4, None, None, None), (JOINED, "b", None, 0, None, None, None)]
    assert heard(frame) == [(WELCOME, None, None, -1, "9", None, who), *joined]
    assert heard({**frame, "rooms": ["a"]})[1:] == [(JOINED, "a", None, -1, None, None, None)]
    assert len(heard({**frame, "rooms": 5})) == 1
    assert heard({"type": "in", "room": {"id": "a"}, "head": 7, "all": False}) == [
        (JOINED, "a", None, 7, None, None, False)
    ]
    assert heard({"type": "out", "room": {"id": "a"}}) == [(LEFT, "a", None, -1, None, None, None)]


def test_items_of_one_frame() -> None:
    """A frame that carries a list is as many heard things."""
    frame = {"type": "backlog", "list": [{"t": "x", "n": 1, "r": "a"}, {"t": "y", "n": 2, "r": "a"}]}
    assert [(h[0], h[2], h[3]) for h in heard(frame)] == [(REPLAYED, "x", 1), (REPLAYED, "y", 2)]
    assert heard({"type": "backlog", "list": 3})[0][0] == OTHER


def test_several_messages_in_one_frame() -> None:
    """A JSON list, or one JSON text a line."""
    two = [MESSAGE_FRAME, {"type": "ok", "cid": "c1"}]
    assert [h[0] for h in heard(two, {**RULES, "split": "list"})] == [MESSAGE, ACK]
    assert [h[0] for h in heard(two[0], {**RULES, "split": "list"})] == [MESSAGE]
    lines = "\n".join(json.dumps(frame) for frame in two) + "\n"
    assert [h[0] for h in heard(lines, {**RULES, "split": "lines"})] == [MESSAGE, ACK]
    assert [h[0] for h in heard(lines.encode(), {**RULES, "split": "lines"})] == [MESSAGE, ACK]
    assert heard("[]", {**RULES, "split": "list"}) == []


def test_framing_of_a_library() -> None:
    """A prefix before the JSON, as socket.io has it; another prefix is of no interest."""
    rules = {"prefix": "42", "kind": "0", "message": {"is": "chat", "text": "1.text"}}
    assert heard('42["chat",{"text":"x"}]', rules)[0][:3] == (MESSAGE, None, "x")
    assert heard("3probe", rules)[0][0] == OTHER


def test_recognised_by_presence() -> None:
    """A platform without kinds: something is there or it is not, the first rule that fits wins."""
    rules = {"message": {"has": "body", "text": "body"}, "ack": {"has": "ref", "id": "ref"}}
    assert heard({"body": "x"}, rules)[0][0] == MESSAGE
    assert heard({"ref": "c1"}, rules)[0][5] == "c1"
    assert heard({"neither": 1}, rules)[0][0] == OTHER


@settings(deadline=None, max_examples=200)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["type", "room", "body", "text", "cid", "n", "from", "id", "list", "rooms", "me", "status"]
                ),
                inner | st.sampled_from(["msg", "ok", "err", "hi", "in", "out", "backlog"]),
                max_size=6,
            )
        ),
        max_leaves=12,
    )
)
def test_never_raises(value: Any) -> None:
    """Whatever a broken server sends: heard things of the right shape, never an exception."""
    for split in ("none", "list", "lines"):
        for what, label, text, seq, sender, message_id, _ in hear_with({**RULES, "split": split})(json.dumps(value)):
            assert 1 <= what <= 9
            assert all(slot is None or isinstance(slot, str) for slot in (label, text, sender, message_id))
            assert -1 <= seq < 1 << 62


@given(st.binary(max_size=40))
def test_bytes_never_raise(data: bytes) -> None:
    """Bytes that are no JSON are OTHER."""
    hear_with(RULES)(data)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"message": {"is": "msg"}}, "frames.message.text is missing"),
        ({"message": {"text": "t"}}, "nothing distinguishes this kind of frame"),
        ({"mesage": {}}, "frames.mesage is not known here (did you mean message?)"),
        ({"split": "line"}, "frames.split = 'line' is none of none, lines, list"),
        ({"ack": {"is": "ok", "id": "a..b"}}, "frames.ack.id = 'a..b' is no path"),
        ({"ack": {"is": "ok", "id": "id", "sequence": "n"}}, "frames.ack.sequence is not known here"),
        ({"nack": {"is": [{}], "id": "x"}}, "frames.nack.is = [{}] is not a text, a whole number or a list of them"),
    ],
)
def test_faults(change: dict[str, Any], sentence: str) -> None:
    """A wrong rule is said with its key."""
    with pytest.raises(SettingsError) as caught:
        hear_with({**RULES, **change})
    assert sentence in str(caught.value)
