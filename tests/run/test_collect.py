"""The collector reads the final state of somebody else's chat into its own journal."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from earwitness.checks.history.record import FOREIGN, NOBODY, NONE, RECORD, Flag, Kind, Place
from earwitness.checks.roster import Roster
from earwitness.harness.client.body import encode
from earwitness.harness.client.flow import run_flow
from earwitness.harness.dialects.protocol import Person, Room
from earwitness.harness.dialects.registry import load_target
from earwitness.harness.record.rundir import RunDirectory
from earwitness.harness.record.sidecar import Sidecar
from earwitness.harness.run.collect import main

PersonOf = Callable[..., Person]
RoomOf = Callable[..., Room]


class Speaker:
    """Puts messages into a circle over its own socket, without the tester's client."""

    def __init__(self, chat: Any, http: httpx.Client) -> None:
        self.target, self.http = load_target(chat.target_file), http

    def say(self, person: Person, room: Room, texts: list[str]) -> None:
        from websockets.sync.client import connect

        credentials = run_flow(self.target.login(person), self.http)
        run_flow(self.target.open_room(credentials, room), self.http)
        dialogue = self.target.dialogue(credentials, ())
        dialogue.opened()
        with connect(dialogue.handshake.url, proxy=None) as socket:
            for frame in dialogue.out:
                socket.send(frame)
            for k, text in enumerate(texts):
                socket.send(dialogue.send(room.label, f"m{k}", text))
            answers = 0
            while answers < len(texts):
                answers += sum(heard[0] == 2 for heard in dialogue.received(socket.recv(timeout=10)))


@pytest.fixture
def run_dir(tmp_path: Path, other_chat: Any, person: PersonOf, room: RoomOf) -> Callable[..., Path]:
    """Makes a run directory about two rooms of two people."""

    def make(tag: str) -> Path:
        directory = RunDirectory.at(tmp_path / f"run-{tag}")
        directory.update(tag=tag, target={"kind": "file", "path": str(other_chat.target_file)})
        rooms = [room(0, tag), room(1, tag)]
        people = [person(0, tag), person(1, tag)]
        extra = {
            "people": [{"number": p.number, "name": p.name, "email": p.email, "secret": p.secret} for p in people],
            "rooms": [{"number": r.number, "label": r.label, "members": [0, 1]} for r in rooms],
        }
        directory.write_roster(Roster(user_of=(0, 1), conversations=((0, 1), (0, 1)), extra=extra))
        return directory.path

    return make


def records_of(path: Path) -> tuple[np.ndarray, Sidecar]:
    sidecar = Sidecar(path / "journals" / "collector.names.jsonl")
    sidecar.read()
    return np.fromfile(path / "journals" / "collector.ewj", dtype=RECORD), sidecar


def test_history_becomes_records(other_chat: Any, run_dir: Callable[..., Path], person: PersonOf, room: RoomOf) -> None:
    """Every stored message is one STORED record as its body says, over several pages; READ_END closes each room."""
    tag = "c0llect1"
    count = 120  # more than two pages of the server
    texts = [encode(tag, 0, 0, counter, 1, 1, f"text {counter}")[0] for counter in range(1, count + 1)]
    with httpx.Client() as http:
        speaker = Speaker(other_chat, http)
        speaker.say(person(0, tag), room(0, tag), texts)
        speaker.say(person(1, tag), room(1, tag), [])
    path = run_dir(tag)
    assert main([str(path)]) == 0
    records, sidecar = records_of(path)
    stored = records[records["kind"] == Kind.STORED]
    assert stored["counter"].tolist() == list(range(1, count + 1))
    assert set(stored["author"].tolist()) == {0}
    assert set(stored["flags"].tolist()) == {0}
    assert set(stored["conv"].tolist()) == {0}
    assert set(stored["digest"][:1].tolist()) == {encode(tag, 0, 0, 1, 1, 1, "text 1")[1]}
    assert {sidecar.names[aux] for aux in stored["aux"].tolist()} == {person(0, tag).email}
    ends = records[records["kind"] == Kind.READ_END]
    assert dict(zip(ends["conv"].tolist(), ends["counter"].tolist(), strict=True)) == {0: count, 1: 0}
    assert set(ends["seq"].tolist()) == {NONE}
    assert sidecar.footer is not None
    assert sidecar.footer["records"] == len(records)


def test_damaged_bodies_are_flagged(
    other_chat: Any, run_dir: Callable[..., Path], person: PersonOf, room: RoomOf
) -> None:
    """CORRUPT, MISROUTED and FOREIGN_RUN as for deliveries; an author that cannot be trusted is nobody's."""
    tag = "c0llect2"
    sound, _ = encode(tag, 0, 0, 1, 1, 1, "sound")
    texts = [
        sound,
        sound + "!",
        encode(tag, 0, 1, 2, 1, 1, "meant for room 1")[0],
        encode("0therrun", 0, 0, 3, 1, 1, "of another run")[0],
        "hello, I am a human",
        f"ew1:{tag}:cut",
    ]
    with httpx.Client() as http:
        speaker = Speaker(other_chat, http)
        speaker.say(person(0, tag), room(0, tag), texts)
        speaker.say(person(1, tag), room(1, tag), [])
    path = run_dir(tag)
    assert main([str(path)]) == 0
    records, _ = records_of(path)
    stored = records[records["kind"] == Kind.STORED]
    assert stored["flags"].tolist() == [
        0, Flag.CORRUPT, Flag.MISROUTED, Flag.FOREIGN_RUN, Flag.FOREIGN_RUN, Flag.CORRUPT,
    ]  # fmt: skip
    assert stored["author"].tolist()[3:] == [NOBODY] * 3
    assert stored["conv"].tolist() == [0, 0, 1, 0, 0, 0]


def test_identities(other_chat: Any, run_dir: Callable[..., Path], person: PersonOf, room: RoomOf) -> None:
    """What the login and each place say of a reader becomes IDENTITY records; the journal states the client's id."""
    tag = "c0llect3"
    with httpx.Client() as http:
        for number in (0, 1):
            Speaker(other_chat, http).say(person(0, tag), room(number, tag), [])
    path = run_dir(tag)
    assert main([str(path)]) == 0
    records, sidecar = records_of(path)
    said = records[records["kind"] == Kind.IDENTITY]
    assert said["counter"].tolist() == [Place.AUTH, Place.BACKEND]
    assert set(said["client"].tolist()) == {0}, "one reader for both rooms: no more logins than needed"
    assert all(aux >= FOREIGN for aux in said["aux"].tolist())
    assert sidecar.identities == [(0, person(0, tag).email)]


def test_what_cannot_be_read_has_no_end(
    other_chat: Any, run_dir: Callable[..., Path], person: PersonOf, room: RoomOf, capsys: pytest.CaptureFixture[str]
) -> None:
    """A room that nobody may read gets no READ_END, a sentence, and exit code 3; the other room is read."""
    tag = "c0llect4"
    with httpx.Client() as http:
        Speaker(other_chat, http).say(person(0, tag), room(0, tag), [])
    path = run_dir(tag)
    assert main([str(path)]) == 3
    records, sidecar = records_of(path)
    assert records[records["kind"] == Kind.READ_END]["conv"].tolist() == [0]
    assert sidecar.footer is not None
    assert len(sidecar.footer["missing"]) == 1
    assert f"the history of {tag}-r1 could not be read: FlowError" in capsys.readouterr().err


def test_members_who_are_locked_out(other_chat: Any, run_dir: Callable[..., Path], person: PersonOf) -> None:
    """Most members of a room may be banned when a run ends: it is read through one of those who are not."""
    tag = "c0llect6"
    path = run_dir(tag)
    people = [person(number, tag) for number in range(6)]
    shared = Room(number=0, label=f"{tag}-r0", members=tuple(people))
    with httpx.Client() as http:
        Speaker(other_chat, http).say(people[5], shared, [])
        for banned in people[:5]:
            run_flow(load_target(other_chat.target_file).login(replace(banned, secret="of old")), http)
    extra = {
        "people": [{"number": p.number, "name": p.name, "email": p.email, "secret": p.secret} for p in people],
        "rooms": [{"number": 0, "label": shared.label, "members": list(range(6))}],
    }
    everybody = tuple(range(6))
    RunDirectory.open(path).write_roster(Roster(user_of=everybody, conversations=(everybody,), extra=extra))
    assert main([str(path)]) == 0
    records, _ = records_of(path)
    assert records[records["kind"] == Kind.READ_END]["conv"].tolist() == [0]


def test_a_deadline_that_passes(run_dir: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    """The deadline ends the collection in order: footer written, exit code 3."""
    path = run_dir("c0llect5")
    assert main([str(path), "--deadline", "0"]) == 3
    assert "the deadline of 0 s was over" in capsys.readouterr().err
    _, sidecar = records_of(path)
    assert sidecar.footer is not None


def test_no_run_directory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder that is none is one sentence and exit code 2."""
    assert main([str(tmp_path)]) == 2
    assert "is no run directory" in capsys.readouterr().err


def test_a_roster_without_people(run_dir: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    """A roster that a foreign client wrote names no people: said, not a traceback."""
    path = run_dir("c0llect6")
    roster = json.loads((path / "roster.json").read_text())
    roster["extra"] = {}
    (path / "roster.json").write_text(json.dumps(roster))
    assert main([str(path)]) == 2
    assert "roster.json (extra) has no people" in capsys.readouterr().err
