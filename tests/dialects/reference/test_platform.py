"""The reference dialect and the collector against the real reference platform."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import numpy as np
import pytest
from websockets.sync.client import connect

from earwitness.checks.history.record import RECORD, Kind, Place
from earwitness.checks.roster import Roster
from earwitness.harness.client.body import encode
from earwitness.harness.client.events import ACK, JOINED, MESSAGE, WELCOME, Heard
from earwitness.harness.client.flow import run_flow
from earwitness.harness.dialects.protocol import Credentials, Person, Room
from earwitness.harness.dialects.reference.dialect import ReferenceTarget
from earwitness.harness.dialects.registry import secrets_environment, without_secrets
from earwitness.harness.platform.launch import launch
from earwitness.harness.record.rundir import RunDirectory
from earwitness.harness.record.sidecar import Sidecar
from earwitness.harness.run.collect import main

ANSWER_S = 15.0


@pytest.fixture(scope="module")
def endpoints() -> Iterator[dict[str, Any]]:
    platform = launch()
    yield platform.endpoints
    platform.stop()


@pytest.fixture
def http() -> Iterator[httpx.Client]:
    with httpx.Client(timeout=ANSWER_S) as client:
        yield client


class Ears:
    """A socket of one person, read until what is waited for was heard."""

    def __init__(self, target: ReferenceTarget, credentials: Credentials, resume: dict[str, int] | None = None) -> None:
        self.dialogue = target.dialogue(credentials, (), resume)
        handshake = self.dialogue.handshake
        self.heard: list[Heard] = []
        self._open = contextlib.ExitStack()
        self.socket = self._open.enter_context(
            connect(
                handshake.url,
                additional_headers=dict(handshake.headers),
                subprotocols=handshake.subprotocols or None,  # type: ignore[arg-type]
                proxy=None,
            )
        )
        self.close = self._open.close
        self.dialogue.opened()
        for frame in self.dialogue.out:
            self.socket.send(frame)

    def until(self, what: int, count: int = 1) -> list[Heard]:
        while sum(heard[0] == what for heard in self.heard) < count:
            self.heard += self.dialogue.received(self.socket.recv(timeout=ANSWER_S))
        return [heard for heard in self.heard if heard[0] == what]


@pytest.mark.parametrize("via", ["header", "subprotocol", "query", "ticket"])
def test_a_message_by_every_way_in(
    endpoints: dict[str, Any],
    http: httpx.Client,
    person: Callable[..., Person],
    room: Callable[..., Room],
    via: Any,
) -> None:
    """Login, three places that agree, room, socket, message, history: what was said is heard and stored."""
    tag = f"way{via}"
    target = ReferenceTarget(endpoints, via=via)
    run_flow(target.reachable(), http)
    ann, bob = (run_flow(target.login(person(n, tag)), http) for n in (0, 1))
    statements = run_flow(target.identity(ann), http)
    assert {s.place for s in statements} == {Place.AUTH, Place.BACKEND, Place.FRONTEND}
    assert {s.user_id for s in statements} == {ann.user_id}
    for credentials in (ann, bob, ann):
        run_flow(target.open_room(credentials, room(0, tag)), http)
    mine, yours = Ears(target, ann), Ears(target, bob)
    for ears, credentials in ((mine, ann), (yours, bob)):
        assert ears.until(WELCOME)[0][6]["user"] == credentials.user_id
        assert [heard[1] for heard in ears.until(JOINED)] == [room(0, tag).label]
    text = 'tricky "\\ 🧵 \u202e'
    mine.socket.send(target.encode(room(0, tag).label, f"{tag}-1", text))
    assert mine.until(ACK)[0][3:6] == (1, None, f"{tag}-1")
    for ears in (mine, yours):
        assert ears.until(MESSAGE)[0][1:6] == (room(0, tag).label, text, 1, ann.user_id, f"{tag}-1")
        ears.close()
    rows = run_flow(target.history(bob, room(0, tag)), http)
    assert [(row.text, row.seq, row.sender) for row in rows] == [(text, 1, ann.user_id)]
    assert run_flow(target.probe(bob), http) == 200


def test_resume(
    endpoints: dict[str, Any], http: httpx.Client, person: Callable[..., Person], room: Callable[..., Room]
) -> None:
    """After a reconnect exactly what was missed comes, and nothing counts as joined before the platform says so."""
    target, planned = ReferenceTarget(endpoints), room(0, "res")
    ann = run_flow(target.login(person(0, "res")), http)
    run_flow(target.open_room(ann, planned), http)
    ears = Ears(target, ann)
    for k in range(3):
        ears.socket.send(target.encode(planned.label, f"res-{k}", f"text {k}"))
    ears.until(ACK, 3)
    ears.close()
    again = Ears(target, ann, {planned.label: 1})
    assert [heard[3] for heard in again.until(MESSAGE, 2)] == [2, 3]
    joined = again.until(JOINED)
    assert [(heard[1], heard[6]) for heard in joined] == [(planned.label, True)]
    again.close()


@pytest.fixture
def run_dir(
    tmp_path: Path,
    endpoints: dict[str, Any],
    person: Callable[..., Person],
    room: Callable[..., Room],
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[str], Path]:
    """Makes a run directory, as the conductor does: passwords only in the environment."""

    def make(tag: str) -> Path:
        directory = RunDirectory.at(tmp_path / tag)
        directory.update(tag=tag, target={"kind": "reference", "endpoints": without_secrets(endpoints)})
        people = [person(0, tag), person(1, tag)]
        extra = {
            "people": [{"number": p.number, "name": p.name, "email": p.email, "secret": ""} for p in people],
            "rooms": [{"number": 0, "label": room(0, tag).label, "members": [0, 1]}],
        }
        directory.write_roster(Roster(user_of=(0, 1), conversations=((0, 1),), extra=extra))
        assert endpoints["main_dsn"] not in (directory.path / "run.json").read_text()
        return directory.path

    for key, value in secrets_environment(endpoints).items():
        monkeypatch.setenv(key, value)
    return make


def spoken(endpoints: dict[str, Any], http: httpx.Client, people: list[Person], planned: Room, tag: str) -> None:
    """Both people log in and say one message each."""
    target = ReferenceTarget(endpoints)
    for counter, who in enumerate(people, 1):
        credentials = run_flow(target.login(who), http)
        run_flow(target.open_room(credentials, planned), http)
        ears = Ears(target, credentials)
        text, _ = encode(tag, who.number, 0, counter, 1, 1, "text")
        ears.until(WELCOME)
        ears.socket.send(target.encode(planned.label, f"{tag}-{who.number}", text))
        ears.until(ACK)
        ears.close()


def records_of(path: Path) -> tuple[np.ndarray, Sidecar]:
    sidecar = Sidecar(path / "journals" / "collector.names.jsonl")
    sidecar.read()
    return np.fromfile(path / "journals" / "collector.ewj", dtype=RECORD), sidecar


def test_the_collector_reads_everything(
    endpoints: dict[str, Any],
    http: httpx.Client,
    person: Callable[..., Person],
    room: Callable[..., Room],
    run_dir: Callable[[str], Path],
) -> None:
    """History, places and both databases agree: every statement about a client is that client's id."""
    people, planned = [person(0, "c0ll"), person(1, "c0ll")], room(0, "c0ll")
    spoken(endpoints, http, people, planned, "c0ll")
    path = run_dir("c0ll")
    assert main([str(path)]) == 0
    records, sidecar = records_of(path)
    stored = records[records["kind"] == Kind.STORED]
    assert (stored["author"].tolist(), stored["seq"].tolist()) == ([0, 1], [1, 2])
    end = records[records["kind"] == Kind.READ_END]
    assert (end["counter"].tolist(), end["seq"].tolist()) == ([2], [2])
    ids = dict(sidecar.identities)
    said = records[records["kind"] == Kind.IDENTITY]
    assert {Place(p) for p in said["counter"].tolist()} == set(Place) - {Place.SOCKET}
    assert [sidecar.names[r["aux"]] for r in said] == [ids[r["client"]] for r in said]
    rows = [json.loads(line) for line in (path / "tables" / "users.jsonl").read_text().splitlines()]
    assert sorted((row["table"], row["id"]) for row in rows) == sorted(
        (table, user_id) for table in ("auth database", "main database") for user_id in ids.values()
    )


async def test_tables_that_differ_name_nobody(
    endpoints: dict[str, Any],
    person: Callable[..., Person],
    room: Callable[..., Room],
    run_dir: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A row that is missing in userbase, and one whose is_active was not copied, state no id that a login explains."""
    people, planned = [person(0, "d1ff"), person(1, "d1ff")], room(0, "d1ff")
    with httpx.Client(timeout=ANSWER_S) as http:
        await asyncio.to_thread(spoken, endpoints, http, people, planned, "d1ff")
    connection = await asyncpg.connect(endpoints["main_dsn"])
    try:
        await connection.execute("update userbase set is_active = false where email = $1", people[0].email)
        await connection.execute("delete from userbase where email = $1", people[1].email)
    finally:
        await connection.close()
    path = run_dir("d1ff")
    await asyncio.to_thread(main, [str(path), "--deadline", "30"])
    records, sidecar = records_of(path)
    said = records[(records["kind"] == Kind.IDENTITY) & (records["counter"] == Place.MAIN_DATABASE)]
    assert {int(r["client"]): sidecar.names[r["aux"]] for r in said} == {
        0: "other is_active in the main database",
        1: "no row in the main database",
    }
    rows = [json.loads(line) for line in (path / "tables" / "users.jsonl").read_text().splitlines()]
    assert {row["email"]: row["differs"] for row in rows if "differs" in row} == {
        people[0].email: "is_active",
        people[1].email: "no row in the main database",
    }
