"""Two users, one room, a few numbered messages: everything that was said and heard, kept for words."""

from __future__ import annotations

import asyncio
import secrets
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.typing import Subprotocol

from harness.client.body import decode, encode
from harness.client.events import ACK, JOINED, MESSAGE, NACK, WELCOME, Handshake, Heard
from harness.client.flow import Flow, FlowError, T, run_flow_async
from harness.errors import TargetError
from harness.target.generic import GenericTarget
from harness.target.protocol import Credentials, Person, Room, Statement, StoredRow

MESSAGES_EACH = 3
AWKWARD = ' "quotes" <b>&amp;</b> naïve 🧵'


@dataclass(slots=True)
class Frame:
    """One frame as it came, and what the target file makes of it."""

    person: Person
    data: str | bytes
    heard: tuple[Heard, ...]


@dataclass(slots=True)
class Voice:
    """One of the two: credentials, socket and all that it heard. `sent`: texts by client message id."""

    person: Person
    credentials: Credentials
    statements: Sequence[Statement] = ()
    socket: ClientConnection | None = None
    frames: list[Frame] = field(default_factory=list)
    sent: dict[str, str] = field(default_factory=dict)
    closed: str = ""
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def heard(self, what: int) -> list[Heard]:
        return [heard for frame in self.frames for heard in frame.heard if heard[0] == what]


@dataclass(slots=True)
class Rehearsal:
    """What came of it. `notes`: sentences about what did not go as the file says."""

    target: GenericTarget
    room: Room
    tag: str
    voices: list[Voice] = field(default_factory=list)
    rows: list[StoredRow] | None = None
    answer_ms: float | None = None
    notes: list[str] = field(default_factory=list)


async def rehearse(target: GenericTarget, timeout_s: float) -> Rehearsal:
    """Raises TargetError in one or two sentences if the platform cannot be reached, logged in to or connected to."""
    tag = secrets.token_hex(4)
    people = target.people()[:2] or tuple(_person(number, tag) for number in range(2))
    if len(people) < 2:
        raise TargetError(f"{target.name}: a probe needs two accounts, but the file of accounts has {len(people)}.")
    rooms = [room for room in target.existing_rooms(people) if len(room.members) == 2]
    if not rooms and target.rooms_exist:
        raise TargetError(f"{target.name}: a probe needs an existing room with users 0 and 1 among its members.")
    room = rooms[0] if rooms else Room(number=0, label=f"probe-{tag}", members=people)
    rehearsal = Rehearsal(target=target, room=room, tag=tag)
    verify: ssl.SSLContext | bool = ssl.create_default_context(cafile=target.ca_file) if target.ca_file else True
    async with httpx.AsyncClient(timeout=timeout_s, verify=verify, trust_env=False) as http:
        await _ask(http, target.reachable(), f"{target.name} was asked for a sign of life")
        for person in people:
            credentials = await _ask(http, target.login(person), f"{person.name} tried to log in")
            voice = Voice(person, credentials)
            voice.statements = await _ask(http, target.identity(credentials), f"it was asked who {person.name} is")
            await _ask(http, target.open_room(credentials, room), f"{person.name} tried to open the room {room.label}")
            rehearsal.voices.append(voice)
        await _talk(rehearsal, http, timeout_s)
        if target.contract.history:
            reader = rehearsal.voices[0].credentials
            rehearsal.rows = await _ask(http, target.history(reader, room), "the history of the room was read")
    return rehearsal


def _person(number: int, tag: str) -> Person:
    name = f"{('ann', 'bob')[number]}-{number}"
    return Person(number=number, name=name, email=f"{name}.{tag}@people.example", secret=f"probe-{tag}-{number}")


async def _ask(http: httpx.AsyncClient, flow: Flow[T], doing: str) -> T:
    try:
        return await run_flow_async(flow, http)
    except FlowError as error:
        raise TargetError(f"When {doing}, the answer did not fit. {error}") from error
    except httpx.HTTPError as error:
        raise TargetError(f"When {doing}, nobody answered ({_words(error)}). Is the platform running?") from error


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".rstrip(": ")


async def _talk(rehearsal: Rehearsal, http: httpx.AsyncClient, timeout_s: float) -> None:
    readers = []
    try:
        for voice in rehearsal.voices:
            handshake = rehearsal.target.handshake(voice.credentials)
            voice.socket = await _connect(handshake, voice.person, timeout_s)
            readers.append(asyncio.create_task(_listen(rehearsal.target, voice)))
            await _enter(rehearsal, voice, handshake, timeout_s)
        for k in range(MESSAGES_EACH):
            for voice in rehearsal.voices:
                await _say(rehearsal, voice, http, k + 1)
        begin = time.monotonic()
        for voice in rehearsal.voices:
            if await _until(voice, lambda v=voice: _complete(rehearsal, v), timeout_s):  # type: ignore[misc]
                rehearsal.answer_ms = (time.monotonic() - begin) * 1000
    finally:
        for voice in rehearsal.voices:
            if voice.socket is not None:
                await voice.socket.close()
        await asyncio.gather(*readers)


async def _connect(handshake: Handshake, person: Person, timeout_s: float) -> ClientConnection:
    secure = handshake.url.startswith("wss:")
    context = ssl.create_default_context(cafile=handshake.ca_file) if secure else None
    try:
        return await connect(
            handshake.url,
            additional_headers=dict(handshake.headers),
            subprotocols=[Subprotocol(name) for name in handshake.subprotocols] or None,
            ssl=context,
            open_timeout=timeout_s,
            close_timeout=timeout_s,
            proxy=None,
        )
    except (OSError, TimeoutError, InvalidHandshake) as error:
        where = handshake.url.partition("?")[0]
        raise TargetError(f"{person.name} could not open a socket at {where} ({_words(error)}).") from error


async def _listen(target: GenericTarget, voice: Voice) -> None:
    assert voice.socket is not None
    try:
        async for data in voice.socket:
            voice.frames.append(Frame(voice.person, data, tuple(target.hear(data))))
            voice.news.set()
    except ConnectionClosed as end:
        voice.closed = str(end)
    voice.closed = voice.closed or "the connection was closed"
    voice.news.set()


async def _enter(rehearsal: Rehearsal, voice: Voice, handshake: Handshake, timeout_s: float) -> None:
    """First frames, greeting, joining, in the order in which the load does it."""
    target = rehearsal.target
    for frame in handshake.first_frames:
        await _send(voice, frame)
    if handshake.welcome and not await _until(voice, lambda: bool(voice.heard(WELCOME)), timeout_s):
        raise TargetError(f"{voice.person.name} heard no greeting within {timeout_s:.0f} s.{_heard_instead(voice)}")
    for frame in target.rooms_on_connect(voice.credentials, [rehearsal.room]):
        await _send(voice, frame)
    if target.says_joined:
        label = rehearsal.room.label

        def joined() -> bool:
            return any(heard[1] == label for heard in voice.heard(JOINED))

        if not await _until(voice, joined, timeout_s):
            rehearsal.notes.append(f"{voice.person.name} was never told to be in {label}.{_heard_instead(voice)}")


def _heard_instead(voice: Voice) -> str:
    last = f" The last frame was {str(voice.frames[-1].data)[:200]!r}." if voice.frames else " No frame came at all."
    return f"{last} {voice.closed}".rstrip()


async def _say(rehearsal: Rehearsal, voice: Voice, http: httpx.AsyncClient, counter: int) -> None:
    target, person, label = rehearsal.target, voice.person, rehearsal.room.label
    message_id = f"{rehearsal.tag}-{person.number}-{counter}"
    number = rehearsal.room.number
    text, _ = encode(rehearsal.tag, person.number, number, counter, 1, 1, f"message {counter}{AWKWARD}")
    voice.sent[message_id] = text
    if not target.sends_by_http:
        await _send(voice, target.encode(label, message_id, text))
        return
    heard = await _ask(http, target.post(voice.credentials, label, message_id, text), f"{person.name} sent a message")
    voice.frames.append(Frame(person, "(answer to the request)", tuple(heard)))


async def _send(voice: Voice, frame: str | bytes) -> None:
    assert voice.socket is not None
    try:
        await voice.socket.send(frame)
    except ConnectionClosed as end:
        raise TargetError(f"{voice.person.name}'s connection ended ({end}).{_heard_instead(voice)}") from end


async def _until(voice: Voice, condition: Callable[[], bool], timeout_s: float) -> bool:
    """Wait for a condition on what `voice` hears; False when time or connection ended first."""
    end = time.monotonic() + timeout_s
    while not condition():
        left = end - time.monotonic()
        if left <= 0 or voice.closed:
            return False
        voice.news.clear()
        try:
            await asyncio.wait_for(voice.news.wait(), left)
        except TimeoutError:
            return condition()
    return True


def _complete(rehearsal: Rehearsal, voice: Voice) -> bool:
    """Everything answered that is answered, and everything heard that is heard."""
    answers = len(voice.heard(ACK)) + len(voice.heard(NACK))
    return not unheard(rehearsal, voice) and (not rehearsal.target.contract.acknowledges or answers >= len(voice.sent))


def unheard(rehearsal: Rehearsal, voice: Voice) -> set[str]:
    """Texts that `voice` should have heard and did not hear, word for word."""
    echo = rehearsal.target.contract.echo
    wanted = {text for other in rehearsal.voices if other is not voice or echo for text in other.sent.values()}
    return wanted - {str(heard[2]) for heard in voice.heard(MESSAGE)}


def own_rows(rehearsal: Rehearsal) -> list[StoredRow]:
    """Rows of the history that carry this rehearsal's tag."""
    bodies = [(row, decode(row.text)) for row in rehearsal.rows or ()]
    return [row for row, body in bodies if body is not None and body.tag == rehearsal.tag]
