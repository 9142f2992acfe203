"""Trials of a shipped dialect: a dialogue without a server, mutated frames, and two people who chat over a server."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import mutations
from mutated_frames import COUNT
from story_runs import example_file

from earwitness.dialects import ACK, JOINED, MESSAGE, NACK, Credentials, Person, Room
from earwitness.harness.client.asyncio_shell import AsyncConnection
from earwitness.harness.client.dialogue import Dialogue
from earwitness.harness.client.events import Heard
from earwitness.harness.client.flow import run_flow_async
from earwitness.harness.client.link import Transport
from earwitness.harness.dialects.guarded import event_fault
from earwitness.harness.dialects.protocol import Target
from earwitness.harness.dialects.registry import load_target

ANSWER_S = 20.0
MOST_FRAMES = 20
ANN, BOB = (Person(number=n, name=name, email=f"{name}@people.example") for n, name in enumerate(("ann-0", "bob-1")))
ROOM, EMPTY = (Room(number=n, label=f"t0-r{n}-of-2", members=(ANN, BOB)) for n in range(2))
TEXT = 'ew1:t:1:2:3:4.1:0000abcd:"quoted" \\ {text} <b>é 日本語 🧵\u2028 </b>'


def example(folder: Path, name: str, *replaced: tuple[str, str]) -> Target:
    """Return the target of a file in examples/dialects. `replaced`: (old, new) pairs of text to replace in it first."""
    return load_target(example_file(folder, name, *replaced))


def dialogue(target: Target, rooms: Sequence[Room] = (ROOM, EMPTY), person: Person = ANN) -> Any:
    """Return the dialogue of a target without the wrapper that guards it."""
    said: Any = target.dialogue(Credentials(person=person, user_id=person.name, token="tok"), rooms)
    return said.dialogue


def sent(said: Dialogue) -> list[Any]:
    """Return and remove the frames that a dialogue wants to send, decoded from JSON."""
    frames = [json.loads(frame) for frame in said.out]
    said.out.clear()
    return frames


def fuzz(make: Any, frames: Sequence[Any], *, seed: int = 1, times: int = COUNT) -> int:
    """Feed a dialogue with mutated frames; assert that it never raises and that all its events are well formed.

    `make`: returns a new dialogue; `frames`: valid ones to mutate. A dialogue is replaced after ten frames, so that
    some frames meet the state that others made. Returns the number of events.
    """
    rng, events = random.Random(seed), 0
    said = make()
    for number in range(times):
        if number % 10 == 0:
            said = make()
            said.opened()
            for frame in frames[: rng.randrange(len(frames))]:
                said.received(json.dumps(frame))
            said.out.clear()
        whole = mutations.as_json(mutations.tree(rng, json.loads(json.dumps(rng.choice(frames)))))
        raw = whole.encode(errors="surrogatepass")
        for data in (whole, raw, mutations.data(rng, raw)):
            heard = said.received(data)
            assert [event_fault(event) for event in heard] == [None] * len(heard), data
            events += len(heard)
        assert len(said.out) <= MOST_FRAMES
        said.out.clear()
    return events


class Listener:
    """Session of one person that stores all events."""

    def __init__(self, connection_of: Any) -> None:
        self.events: list[Heard] = []
        self.welcomed = False
        self.ended = ""
        self.connection: AsyncConnection = connection_of(self)

    def connected(self, said: Dialogue, now_ns: int, handshake_ns: int, replica: str | None = None) -> int:
        self._decode = said.received
        return 1

    def heard(self, now_ns: int, data: str | bytes) -> None:
        self.happened(now_ns, self._decode(data))

    def happened(self, now_ns: int, events: Sequence[Heard]) -> None:
        self.welcomed = self.welcomed or any(event[0] == 4 for event in events)
        self.events += events

    def closed(self, now_ns: int, code: int, own: bool, reason: str = "") -> None:
        self.ended = f"{code} {own} {reason}"

    def count(self, *kinds: int) -> int:
        return sum(event[0] in kinds for event in self.events)

    def texts(self) -> list[str | None]:
        return [event[2] for event in self.events if event[0] == MESSAGE]


class Talk:
    """Chat of Ann and Bob in one room over a server: the events of each, and the result of a final read."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.people: list[Listener] = []
        self.rows: list[Any] = []
        self.credentials: list[Credentials] = []

    async def run(self, texts: Sequence[str], *, joined: bool = True, echo: bool = True, idle_s: float = 0.0) -> None:
        """Let Ann and Bob send `texts` in turn, and wait until all have arrived.

        joined  the platform states that a room is joined, so wait for that before the first text
        echo    the platform delivers a message also to its sender
        idle_s  silence in s before the last text, in which heartbeats keep the sockets open
        """
        async with httpx.AsyncClient() as http:
            for person in (ANN, BOB):
                self.credentials.append(await run_flow_async(self.target.login(person), http))
                await run_flow_async(self.target.open_room(self.credentials[-1], ROOM), http)
                said = self.target.dialogue(self.credentials[-1], [ROOM])
                self.people.append(
                    Listener(lambda session, said=said: AsyncConnection(session, said, transport=Transport()))
                )
                await self.people[-1].connection.open()
            if joined:
                await self.until(lambda one: one.count(JOINED) == 1)
            for number, text in enumerate(texts):
                if number == len(texts) - 1 and idle_s:
                    await asyncio.sleep(idle_s)  # the passing of time is what is tested
                await self.say(number % 2, f"m-{number}", text, http)
                missed = 0 if echo else (number + 2) // 2
                await self.until(lambda one, n=number, m=missed: one.count(MESSAGE) >= n + 1 - m)
            if self.target.contract.history:
                self.rows = await run_flow_async(self.target.history(self.credentials[0], ROOM), http)
        for one in self.people:
            await one.connection.close()

    async def say(self, who: int, message_id: str, text: str, http: httpx.AsyncClient) -> None:
        one, by_http = self.people[who], self.target.parts.sends_by_http
        before = one.count(ACK, NACK)
        if by_http is not None:
            flow = by_http.post(self.credentials[who], ROOM.label, message_id, text)
            one.events += await run_flow_async(flow, http)
        else:
            one.connection.send(one.connection.dialogue.send(ROOM.label, message_id, text))
        if self.target.contract.acknowledges:
            answered = await one.connection.wait(lambda: one.count(ACK, NACK) > before or bool(one.ended), ANSWER_S)
            assert answered, one.events
            assert not one.ended, one.ended

    async def until(self, done: Any) -> None:
        for one in self.people:
            assert await one.connection.wait(lambda one=one: done(one), ANSWER_S), (one.events, one.ended)


def talk(target: Target, texts: Sequence[str], **options: Any) -> Talk:
    """Let Ann and Bob chat over a server, see `Talk.run`; return the finished talk."""
    conversation = Talk(target)
    asyncio.run(conversation.run(texts, **options))
    return conversation
