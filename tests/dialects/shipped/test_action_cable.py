"""Action Cable: frames of its protocol, and the real library on Puma, from Debian.

https://docs.anycable.io/misc/action_cable_protocol and https://guides.rubyonrails.org/action_cable_overview.html
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dialect_talk import ROOM, TEXT, dialogue, example, fuzz, sent, talk
from server_processes import Program, free_port, running

from earwitness.dialects import BEATS, JOINED, LEFT, MESSAGE, OTHER, WELCOME
from earwitness.harness.dialects.protocol import Target

APPLICATION = Path(__file__).parents[2] / "support/action_cable/config.ru"
IDENTIFIER = '{"channel":"ChatChannel","room":"t0-r0-of-2"}'


@pytest.fixture
def target(tmp_path: Path) -> Target:
    return example(tmp_path, "action_cable")


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A free port on which the application listens."""
    if shutil.which("puma") is None or not list(Path("/usr/share/rubygems-integration").glob("all/gems/actioncable-*")):
        pytest.skip("not run: apt-get install --no-install-recommends ruby-actioncable puma")
    number = free_port()
    command = ["puma", "-q", "-b", f"tcp://127.0.0.1:{number}", "-t", "8:8", str(APPLICATION)]
    with running(Program(command, [number]), tmp_path_factory.mktemp("puma")):
        yield number


def welcomed(target: Target) -> Any:
    said = dialogue(target, [ROOM])
    assert said.received('{"type":"welcome"}') == ()
    confirmed = said.received(json.dumps({"identifier": IDENTIFIER, "type": "confirm_subscription"}))
    assert [event[0] for event in confirmed] == [JOINED, WELCOME]
    said.out.clear()
    return said


def test_subscribing(target: Target) -> None:
    """After the greeting, with an identifier that is JSON within JSON; the server checks the origin."""
    said = dialogue(target)
    assert said.handshake.url == "ws://127.0.0.1:3000/cable?user=ann-0"
    assert said.handshake.headers["Origin"] == "http://127.0.0.1:3000"
    assert said.handshake.subprotocols[0] == "actioncable-v1-json"
    assert (said.opened(), said.received('{"type":"welcome"}')) == ((), ())
    frames = sent(said)
    assert [frame["command"] for frame in frames] == ["subscribe", "subscribe"]
    assert frames[0]["identifier"] == IDENTIFIER
    confirmed = json.dumps({"identifier": IDENTIFIER, "type": "confirm_subscription"})
    assert [event[:2] for event in said.received(confirmed)] == [(JOINED, ROOM.label)]
    rejected = json.dumps({"identifier": frames[1]["identifier"], "type": "reject_subscription"})
    assert [event[0] for event in said.received(rejected)] == [OTHER, WELCOME]
    assert [event[0] for event in dialogue(target, []).received('{"type":"welcome"}')] == [WELCOME]


def test_messages(target: Target) -> None:
    """An action with data that is JSON within JSON; what the channel broadcasts; pings; the server's goodbye."""
    said = welcomed(target)
    frame = json.loads(said.send(ROOM.label, "m-1", TEXT))
    assert (frame["command"], frame["identifier"]) == ("message", IDENTIFIER)
    assert json.loads(frame["data"]) == {"action": "speak", "text": TEXT, "id": "m-1"}
    message = {"text": TEXT, "id": "m-1", "user": "ann-0"}
    heard = said.received(json.dumps({"identifier": IDENTIFIER, "message": message}))
    assert heard == ((MESSAGE, ROOM.label, TEXT, -1, "ann-0", "m-1", None),)
    assert said.received('{"type":"ping","message":1457102469}') == BEATS
    goodbye = '{"type":"disconnect","reason":"server_restart","reconnect":true}'
    assert [event[0] for event in said.received(goodbye)] == [OTHER]
    rejected = json.dumps({"identifier": IDENTIFIER, "type": "reject_subscription"})
    assert [event[0] for event in said.received(rejected)] == [OTHER, LEFT]


def test_a_message_of_a_foreign_room(target: Target) -> None:
    """It is a leak, so it is reported with its room; a name of another form is not understood."""
    said = welcomed(target)
    heard = said.received(
        json.dumps({"identifier": IDENTIFIER.replace("r0-of-2", "r9-of-5"), "message": {"text": TEXT}})
    )
    assert [event[:3] for event in heard] == [(MESSAGE, "t0-r9-of-5", TEXT)]
    assert [event[0] for event in said.received(json.dumps({"identifier": "{}", "message": {"text": TEXT}}))] == [OTHER]


def test_mutated_frames(target: Target) -> None:
    """Whatever arrives, a dialogue returns events."""
    frames: list[Any] = [
        {"type": "welcome"},
        {"identifier": IDENTIFIER, "type": "confirm_subscription"},
        {"identifier": IDENTIFIER, "message": {"text": "ew1:x", "user": "bob", "id": "m-1"}},
        {"type": "ping", "message": 1457102469},
        {"identifier": IDENTIFIER, "type": "reject_subscription"},
        {"type": "disconnect", "reason": "unauthorized", "reconnect": False},
    ]
    assert fuzz(lambda: dialogue(target, [ROOM]), frames) > 1000


@pytest.mark.servers
def test_a_talk(tmp_path: Path, port: int) -> None:
    """With the real library: texts arrive unchanged at both, beyond two of its pings (3 s each)."""
    texts = [f"{TEXT} {n}" for n in range(6)]
    said = talk(example(tmp_path, "action_cable", ("3000", str(port))), texts, idle_s=6.5)
    assert [one.texts() for one in said.people] == [texts, texts]
    senders = [event[4] for event in said.people[1].events if event[0] == MESSAGE]
    assert senders == ["ann-0", "bob-1"] * 3


@pytest.mark.servers
def test_who_may_not_enter(tmp_path: Path, port: int) -> None:
    """A foreign origin, and a user without a name, are refused by the real library."""
    foreign = ("[contract]", 'origin = "http://elsewhere.example"\n[contract]')
    with pytest.raises(Exception, match="404"):
        talk(example(tmp_path, "action_cable", ("3000", str(port)), foreign), [TEXT])
