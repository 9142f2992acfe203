"""What was missed after a cut: joins that name the last number, AnyCable's history, and protocols that have neither."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from dialect_talk import ANN, EMPTY, ROOM, TEXT, example, sent
from server_processes import ROOT, saying_its_port
from story_runs import CUTS, example_file, run_story

from earwitness.dialects import BEATS, JOINED, MESSAGE, OTHER, REPLAYED, WELCOME, Credentials, HttpResponse, StoredRow
from earwitness.harness.dialects.protocol import Target
from earwitness.harness.dialects.registry import load_target
from earwitness.harness.errors import SettingsError

SHOWN = Credentials(person=ANN, user_id="ann-0", token="tok")
RESUMES = ("delivery_bound_s = 5.0", "delivery_bound_s = 5.0\nresume = true")
PHOENIX = (
    "[contract]",
    '[options.resume]\njoin = { last_seen_id = "{seq}" }\nitems = "messages"\ncomplete = "whole"\n\n[contract]',
)
GRAPHQL = (
    "[options.history]",
    '[options.resume]\nvariables = { room = "{room}", after = "{seq}" }\n\n[options.history]',
)
CABLE = ("identifier = { ch", 'protocol = "actioncable-v1-ext-json"\nidentifier = { ch')
CABLE_RESUMES = ("names_sender = true", "names_sender = true\nresume = true")
IDENTIFIER = '{"channel":"ChatChannel","room":"t0-r0-of-2"}'


def after_a_cut(target: Target, seqs: dict[str, int], previous: Any = None, rooms: Any = (ROOM, EMPTY)) -> Any:
    """Return the dialogue of a second connection, without its guard."""
    said: Any = target.dialogue(SHOWN, rooms, seqs, previous)
    return said.dialogue


def row(number: int, **more: object) -> dict[str, object]:
    return {"body": TEXT, "user": "bob-1", "number": number, **more}


def reply(ref: str, response: object, topic: str = "room:t0-r0-of-2") -> str:
    return json.dumps([ref, ref, topic, "phx_reply", {"status": "ok", "response": response}])


@pytest.fixture
def phoenix(tmp_path: Path) -> Target:
    return example(tmp_path, "phoenix", RESUMES, PHOENIX)


def test_a_phoenix_join_names_the_last_number(phoenix: Target) -> None:
    """Only for rooms where something was received; the missed messages stand in the reply."""
    said = after_a_cut(phoenix, {ROOM.label: 7})
    said.opened()
    assert sent(said) == [
        ["1", "1", "room:t0-r0-of-2", "phx_join", {"last_seen_id": 7}],
        ["2", "2", "room:t0-r1-of-2", "phx_join", {}],
    ]
    heard = said.received(reply("1", {"messages": [row(8), row(9)]}))
    assert heard == (
        (JOINED, ROOM.label, None, -1, None, None, True),
        (REPLAYED, ROOM.label, TEXT, 8, "bob-1", None, None),
        (REPLAYED, ROOM.label, TEXT, 9, "bob-1", None, None),
    )
    fresh = said.received(reply("2", {"messages": [row(1)]}, "room:t0-r1-of-2"))
    assert [(event[0], event[6]) for event in fresh] == [(JOINED, None), (WELCOME, None)]


def test_what_a_phoenix_reply_leaves_open(phoenix: Target) -> None:
    """Something is missing; no list, so nothing is known; a row without a text; a channel that crashes later."""
    for response, states, others in (
        ({"messages": [], "whole": False}, False, 0),
        ({"messages": [], "whole": True}, True, 0),
        ({}, None, 1),
        ({"messages": [row(8, body=5), row(9)]}, True, 1),
    ):
        said = after_a_cut(phoenix, {ROOM.label: 7}, rooms=[ROOM])
        said.opened()
        heard = said.received(reply("1", response))
        assert heard[0] == (JOINED, ROOM.label, None, -1, None, None, states)
        assert sum(event[0] == OTHER for event in heard) == others
        assert heard[-1][0] == WELCOME
    said.out.clear()
    said.received('["1", null, "room:t0-r0-of-2", "phx_error", {}]')
    assert sent(said)[0][4] == {}  # it left the room, so nothing is continued


def test_a_first_connection_joins_as_ever(phoenix: Target) -> None:
    said: Any = phoenix.dialogue(SHOWN, [ROOM])
    said.opened()
    assert sent(said)[0][4] == {}


def test_a_graphql_subscription_names_the_last_number(tmp_path: Path) -> None:
    """Other variables after a cut; what was missed arrives as events of the subscription."""
    target = example(tmp_path, "graphql_ws", RESUMES, GRAPHQL)
    said = after_a_cut(target, {ROOM.label: 7})
    said.opened()
    said.out.clear()
    said.received('{"type":"connection_ack"}')
    assert [frame["payload"]["variables"] for frame in sent(said)] == [
        {"room": ROOM.label, "after": 7}, {"room": EMPTY.label},
    ]  # fmt: skip
    message = {"id": "m-1", "text": TEXT, "sender": "bob-1", "number": 8}
    events = [
        said.received(json.dumps({"id": name, "type": "next", "payload": {"data": {"said": {"message": message}}}}))
        for name in ("r0", "r1")
    ]
    assert [[(event[0], event[6]) for event in one] for one in events] == [
        [(JOINED, True), (MESSAGE, None)], [(JOINED, None), (MESSAGE, None)],
    ]  # fmt: skip


def frame(offset: int, text: str = TEXT, **more: object) -> str:
    message = {"text": text, "user": "bob-1", "id": f"m-{offset}"}
    position = {"stream_id": "chat_42", "epoch": "x123", "offset": offset}
    return json.dumps({"identifier": IDENTIFIER, "message": message, **position, **more})


def answer(kind: str) -> str:
    return json.dumps({"identifier": IDENTIFIER, "type": kind})


@pytest.fixture
def cable(tmp_path: Path) -> Any:
    """A dialogue on AnyCable's protocol after a cut; the connection before had received offset 32."""
    target = example(tmp_path, "action_cable", CABLE, CABLE_RESUMES)
    before: Any = target.dialogue(SHOWN, [ROOM, EMPTY])
    before.received('{"type":"welcome","sid":"rcl245"}')
    assert "history" not in json.loads(before.out[0])
    before.received(answer("confirm_subscription"))
    assert [event[0] for event in before.received(frame(32))] == [MESSAGE]
    said = after_a_cut(target, {}, before)
    said.received('{"type":"welcome","sid":"yi421"}')
    return said


def test_a_cable_asks_for_the_history_behind_its_position(cable: Any) -> None:
    """The frames of the documentation; messages wait for the word on whether something is missing."""
    assert cable.handshake.subprotocols[0] == "actioncable-v1-ext-json"
    first, second = sent(cable)
    assert first["history"] == {"streams": {"chat_42": {"offset": 32, "epoch": "x123"}}}
    assert "history" not in second
    assert cable.received(answer("confirm_subscription")) == ()
    assert (cable.received(frame(33)), cable.received(frame(34))) == ((), ())
    heard = cable.received(answer("confirm_history"))
    assert [(event[0], event[5], event[6]) for event in heard] == [
        (JOINED, None, True), (MESSAGE, "m-33", None), (MESSAGE, "m-34", None),
    ]  # fmt: skip
    assert [event[0] for event in cable.received(frame(35))] == [MESSAGE]
    assert [event[0] for event in cable.received(frame(34))] == [REPLAYED]  # live and from the history: legal
    assert [event[0] for event in cable.received(frame(34, epoch="x124"))] == [MESSAGE]  # another stream by now
    assert cable.received(answer("confirm_history")) == (
        (OTHER, None, None, -1, None, None, answer("confirm_history")),
    )


def test_a_cable_whose_history_is_gone(cable: Any) -> None:
    """Rejected: something may be missing. What came meanwhile is kept, also if the subscription is rejected."""
    cable.received(answer("confirm_subscription"))
    cable.received(frame(40))
    heard = cable.received(answer("reject_history"))
    assert [(event[0], event[6]) for event in heard] == [(JOINED, False), (MESSAGE, None)]


def test_a_cable_that_may_not_return(cable: Any) -> None:
    cable.received(frame(40))
    assert [event[0] for event in cable.received(answer("reject_subscription"))] == [OTHER, MESSAGE]


def test_pongs(tmp_path: Path) -> None:
    """Where the server requires them."""
    for more, out in (("", []), ("pongs = true\n", ['{"command":"pong"}'])):
        said: Any = example(tmp_path, "action_cable", (CABLE[0], more + CABLE[1])).dialogue(SHOWN, [ROOM])
        assert (said.received('{"type":"ping","message":1681828329}'), said.out) == (BEATS, out)


@pytest.mark.parametrize(
    ("name", "replaced", "words"),
    [
        ("phoenix", [RESUMES], r"contract\.resume is promised, but there is no \[options\.resume\]"),
        ("phoenix", [PHOENIX], r"options\.resume is used only where \[contract\] promises it"),
        ("phoenix", [RESUMES, PHOENIX, ('"{seq}"', '"x"')], r"options\.resume\.join does not contain \{seq\}"),
        (
            "phoenix",
            [RESUMES, PHOENIX, ('number = "number"\n', ""), ('sequence = "contiguous"', 'sequence = "none"')],
            r"options\.number is missing, and \[options\.resume\] needs",
        ),
        ("graphql_ws", [RESUMES], r"contract\.resume is promised, but there is no"),
        ("graphql_ws", [RESUMES, GRAPHQL, ("variables = { room", "variable = { room")], r"options\.resume\.variable"),
        ("pusher", [("[contract]", "[contract]\nresume = true")], "but the Pusher protocol resumes nothing"),
        ("action_cable", [CABLE_RESUMES], "but actioncable-v1-json resumes nothing"),
    ],
)  # fmt: skip
def test_mistakes(
    tmp_path: Path, name: str, replaced: list[tuple[str, str]], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A promise without a way to keep it, and a way without a promise: one sentence."""
    monkeypatch.setenv("PUSHER_APP_SECRET", "s")
    with pytest.raises(SettingsError, match=words):
        example(tmp_path, name, *replaced)


HISTORY = (
    '[options.history]\nurl = "/rooms/{room}/messages?limit=500"\nitems = "messages"\ntext = "text"\nid = "id"\n\n'
)


@pytest.mark.parametrize("name", ["phoenix", "pusher", "action_cable"])
def test_an_application_that_keeps_its_messages(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their protocols store nothing. What the application stores is read by its requests."""
    monkeypatch.setenv("PUSHER_APP_SECRET", "s")
    file = example_file(tmp_path, name, ("[contract]", f"{HISTORY}[contract]\nhistory = true\ndurable = true"))
    text = file.read_text()
    if "\nhttp = " not in text:
        file.write_text(text.replace("[urls]", '[urls]\nhttp = "http://127.0.0.1:9"'))
    target = load_target(file)
    assert target.parts.history_limits == {500}
    flow = target.history(SHOWN, ROOM)
    assert next(flow).url.endswith("/rooms/t0-r0-of-2/messages?limit=500")
    with pytest.raises(StopIteration) as end:
        flow.send(HttpResponse(200, {}, json.dumps({"messages": [{"text": TEXT, "id": "m-1"}]}).encode()))
    assert end.value.value == [StoredRow(text=TEXT, seq=-1, sender=None, message_id="m-1")]


def test_a_pusher_channel_without_a_cached_event(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUSHER_APP_SECRET", "s")
    said: Any = example(tmp_path, "pusher").dialogue(SHOWN, [ROOM])
    assert said.received('{"event":"pusher:cache_miss","channel":"private-cache-x","data":"{}"}') == ()


@pytest.mark.campaign
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("server", "target", "options", "broken"),
    [
        ("anycable_server", "anycable", [], set()),
        ("anycable_server", "anycable", ["--keep", "0"], set()),
        ("anycable_server", "anycable", ["--skip", "1"], {"I5b"}),
        ("phoenix_server", "phoenix_resumed", [], set()),
        ("phoenix_server", "phoenix_resumed", ["--skip", "1"], {"I20"}),
        ("graphql_server", "graphql_resumed", [], set()),
        ("graphql_server", "graphql_resumed", ["--skip", "1"], {"I20"}),
    ],
)
def test_runs_with_cuts(tmp_path: Path, server: str, target: str, options: list[str], broken: set[str]) -> None:
    """What is missing after a cut is found; a history that the server states to be gone is no fault."""
    with saying_its_port(sys.executable, str(ROOT / f"tests/support/{server}.py"), "--port", "0", *options) as port:
        text = (ROOT / f"tests/support/conformance/{target}.toml").read_text()
        file = tmp_path / "chat.toml"
        file.write_text(re.sub(r"127\.0\.0\.1:\d+", f"127.0.0.1:{port}", text))
        judged = run_story(CUTS, file, 10)
    assert judged.broken >= broken
    assert bool(judged.broken) == bool(broken), judged.out
