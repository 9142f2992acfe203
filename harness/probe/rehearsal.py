"""Rehearsal of a target file: two users, one room, a few numbered messages, and every frame received."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx

from earwitness.checks.history.record import Place
from earwitness.harness.client.asyncio_shell import AsyncConnection, ManyAsyncConnections, connect
from earwitness.harness.client.body import PREFIX, decode, encode
from earwitness.harness.client.dialogue import Dialogue
from earwitness.harness.client.events import ACK, JOINED, MESSAGE, NACK, OTHER, WELCOME, Heard
from earwitness.harness.client.flow import Flow, FlowError, T, run_flow_async
from earwitness.harness.client.http_asyncio import http_client
from earwitness.harness.client.link import Transport
from earwitness.harness.client.network import Unlisted, shown
from earwitness.harness.client.wire import NO_CLOSE, TOO_BIG, Refused
from earwitness.harness.dialects.protocol import Credentials, Person, Room, Statement, StoredRow, Target
from earwitness.harness.dialects.reading import read_history
from earwitness.harness.dialects.toml.dialect import GenericTarget
from earwitness.harness.errors import TargetError
from earwitness.harness.probe.misfits import Misfit, Sent, misfits

MESSAGES_EACH = 3
KEPT_BYTES = 8 * 2**20
"""Limit for a user's stored frames and the texts read from them, in bytes and characters; later frames are cut."""
SHORT_CHARS = 1000
KEPT_FRAMES = 10_000
PASSING = (408, 425, 429)
"""Statuses below 500 that do not show a mistake in the request: too early, too slow, too many."""
AWKWARD = ' "quotes" <b>&amp;</b> naïve 🧵'


class Unfit(TargetError):
    """Error for a platform whose answers contradict the target file, so that a load would certainly fail."""


@dataclass(slots=True)
class Frame:
    """Received frame, and the events that the target file finds in it.

    answer  True: it was the answer to a request
    whole   False: `data` is only its beginning, because too much was received before
    """

    person: Person
    data: str | bytes
    heard: tuple[Heard, ...]
    answer: bool = False
    whole: bool = True


@dataclass(slots=True)
class Voice:
    """One of the two users: credentials, socket and all that it received.

    sent      client message id -> text
    received  count of received frames
    frames    the stored frames
    kept      size of the stored frames and of the texts in their events, in bytes and characters
    welcomed  the platform has greeted the connection
    ended     how the connection ended, "" while it is open
    cut       `ended` at the end of the rehearsal, before open connections were closed; "" if it was open then
    """

    person: Person
    credentials: Credentials
    statements: Sequence[Statement] = ()
    socket: AsyncConnection | ManyAsyncConnections | None = None
    welcomed: bool = False
    frames: list[Frame] = field(default_factory=list)
    sent: dict[str, str] = field(default_factory=dict)
    ended: str = ""
    cut: str = ""
    received: int = 0
    kept: int = 0
    news: asyncio.Event = field(default_factory=asyncio.Event)
    _decode: Callable[[str | bytes], Sequence[Heard]] = field(default=lambda data: ())

    # -- what a connection calls (`harness.client.link.Hears`) --------------------------------------------------------

    def connected(self, dialogue: Dialogue, now_ns: int, handshake_ns: int, replica: str | None = None) -> int:
        """Implement `Hears.connected`: decode with `dialogue` from now on; return 1, the number of the connection."""
        self._decode = dialogue.received
        return 1

    def heard(self, now_ns: int, data: str | bytes) -> None:
        """Implement `Hears.heard`: store the frame and its events."""
        self.received += 1
        self._note(data, self._decode(data))

    def happened(self, now_ns: int, events: Sequence[Heard]) -> None:
        """Implement `Hears.happened`: store events that no frame carried, as a frame without text."""
        if events:
            self._note("", events)

    def closed(self, now_ns: int, code: int, own: bool, reason: str = "") -> None:
        """Implement `Hears.closed`: note how the connection ended."""
        assert self.socket is not None
        self.ended = ending(self.socket)
        self.news.set()

    def _note(self, data: str | bytes, events: Sequence[Heard]) -> None:
        self.keep(data, events)
        self.welcomed = self.welcomed or any(event[0] == WELCOME for event in events)
        self.news.set()

    def keep(self, data: str | bytes, heard: Sequence[Heard]) -> None:
        """Store a frame and its events. Beyond KEPT_BYTES a frame is cut to SHORT_CHARS, or not stored.

        The limit is needed because a platform may send any number of frames.
        """
        texts = sum(_weight(event, len(data)) for event in heard)
        whole = self.kept + len(data) + texts <= KEPT_BYTES
        if whole or (texts <= SHORT_CHARS and len(self.frames) < KEPT_FRAMES):
            short = data if whole else data[:SHORT_CHARS]
            self.frames.append(Frame(self.person, short, tuple(heard), whole=whole))
            self.kept += len(short) + texts

    def events(self, what: int) -> list[Heard]:
        """Return the events of type `what` (a constant of `harness.client.events`) in the stored frames."""
        return [heard for frame in self.frames for heard in frame.heard if heard[0] == what]


def _weight(event: Heard, size: int) -> int:
    """Return the number of characters in an event; for OTHER `size`, because it holds its whole frame."""
    if event[0] == OTHER:
        return size
    extra = event[6].values() if isinstance(event[6], dict) else ()
    return sum(len(text) for text in (*event[1:6], *extra) if isinstance(text, str))


@dataclass(slots=True)
class Rehearsal:
    """Result of a rehearsal.

    rows       rows of the history, None if it was not read
    answer_ms  time after the last message until a user had received everything (the later user, if both did); else None
    notes      sentences about what differed from the file
    """

    target: Target
    room: Room
    tag: str
    voices: list[Voice] = field(default_factory=list)
    rows: list[StoredRow] | None = None
    answer_ms: float | None = None
    notes: list[str] = field(default_factory=list)

    def misfits(self) -> list[Misfit]:
        """Return the mistakes in the file that received frames, answers and rows show, fatal ones first."""
        target = self.target
        found = [one for voice in self.voices for one in _statement_misfits(voice)] + self._echo_misfits()
        if isinstance(target, GenericTarget):
            frames = [frame.data for voice in self.voices for frame in voice.frames if frame.whole and not frame.answer]
            found += misfits(target.frame_rules, target.contract, frames, self._sent(target)) if frames else []
            found += self._history_misfits(target)
        else:
            found += [one for voice in self.voices for one in self._unread_misfits(voice)][:1]
        return sorted(dict.fromkeys(found), key=lambda one: not one.fatal)

    def _unread_misfits(self, voice: Voice) -> Iterator[Misfit]:
        """Yield a misfit if frames carry the other user's messages and a dialect in Python reads no message in them."""
        wanted = [text for other in self.voices if other is not voice for text in other.sent.values()]
        raw = [str(frame.data) for frame in voice.frames if not frame.answer]
        carrying = [data for data in raw if any(_head(text) in data for text in wanted)]
        heard = [str(event[2]) for event in own_messages(self, voice)]
        if carrying and not any(_head(text) in one for text in wanted for one in heard):
            count = f"{len(carrying)} frame{'s'[: len(carrying) != 1]}"
            yield Misfit(
                f"what {voice.person.name} was sent came in {count}, and the dialect reads no message in them: a name "
                "or a path in [options] does not fit (earwitness probe shows how each frame is read).",
                True,
            )

    def _echo_misfits(self) -> list[Misfit]:
        """Return a misfit if no user received their own messages and the file does not state `echo`; else []."""
        if not self.target.contract.echo or "echo" in self.target.stated or len(self.voices) < 2:
            return []
        for voice in self.voices:
            raw = [str(frame.data) for frame in voice.frames if not frame.answer]
            own, others = set(voice.sent.values()), [one for one in self.voices if one is not voice]
            theirs = {text for other in others for text in other.sent.values()}
            came = {text for text in own | theirs if any(_head(text) in data for data in raw)}
            if not own or not theirs or came & own or not came >= theirs:
                return []
        return [
            Misfit(
                "nobody received their own messages: write echo = false in [contract] if the platform sends them to "
                "the others only, or echo = true to have their loss judged.",
                True,
            )
        ]

    def _sent(self, target: GenericTarget) -> Sent:
        return Sent(
            tag=self.tag,
            texts=frozenset(text for voice in self.voices for text in voice.sent.values()),
            ids=frozenset(message_id for voice in self.voices for message_id in voice.sent),
            rooms=frozenset({self.room.label, target.platform_room(self.room.label)}),
            users=frozenset(voice.credentials.user_id for voice in self.voices),
        )

    def _history_misfits(self, target: GenericTarget) -> list[Misfit]:
        """Return a misfit for each path of [history] that found no correct value in any row of this rehearsal."""
        rows, sent, mapped = own_rows(self), self._sent(target), target.history_paths
        promised = {"seq": self.target.contract.sequence != "none", "sender": self.target.contract.names_sender}
        fits = {
            "room": any(row.conversation in sent.rooms for row in rows),
            "seq": any(row.seq >= 0 for row in rows),
            "sender": any(row.sender in sent.users for row in rows),
            "id": any(row.message_id in sent.ids for row in rows),
        }
        return [
            Misfit(f"history.{key} finds nothing right in any of {len(rows)} rows of what was sent.", key != "id")
            for key, fit in fits.items()
            if rows and key in mapped and not fit and promised.get(key, True)
        ]


def _statement_misfits(voice: Voice) -> list[Misfit]:
    """Return a misfit for each place whose answer had no user id: the path in the file may be wrong."""
    return [
        Misfit(f"identity.id of place {Place(one.place).name.lower()!r} finds no id in the answer ({one.shape}).", True)
        for one in voice.statements
        if one.user_id is None
    ]


def cast(target: Target, tag: str) -> Room:
    """Return the room of the rehearsal, with the two users who chat in it as its members.

    `tag`: part of new names. Raises TargetError if the file does not provide two such users.
    """
    if target.max_users is not None and target.max_users < 2:
        raise TargetError(f"{target.name}: a probe needs two users, but max_users is {target.max_users}.")
    people = target.parts.people or tuple(_person(number, tag) for number in range(2))
    if (most := target.logins) is not None and most < 2:
        raise TargetError(f"{target.name}: a probe needs two accounts, but the file of accounts has {most}.")
    if (places := target.parts.has_rooms) is None:
        return Room(number=0, label=f"probe-{tag}", members=people[:2])
    for room in places.existing_rooms(people):
        if len(room.members) >= 2:
            return Room(number=room.number, label=room.label, members=room.members[:2])
    raise TargetError(f"{target.name}: a probe needs an existing room with two of the accounts among its members.")


async def rehearse(target: Target, timeout_s: float, *, each: int = MESSAGES_EACH, history: bool = True) -> Rehearsal:
    """Let two users send `each` messages, and read the history if there is one.

    `timeout_s` limits each step. Raises TargetError in one or two sentences if the platform cannot be reached, logged
    in to or connected to; Unfit if its answers contradict the file.
    """
    tag = secrets.token_hex(4)
    room = cast(target, tag)
    people = room.members
    rehearsal = Rehearsal(target=target, room=room, tag=tag)
    async with http_client(target.network, timeout_s=timeout_s) as http:
        await _ask(http, target.reachable(), f"{target.name} was asked whether it responds")
        for person in people:
            credentials = await _ask(http, target.login(person), f"{person.name} tried to log in")
            voice = Voice(person, credentials)
            asked = f"the services were asked who {person.name} is"
            voice.statements = await _ask(http, target.identity(credentials), asked)
            await _ask(http, target.open_room(credentials, room), f"{person.name} tried to open the room {room.label}")
            rehearsal.voices.append(voice)
        await _talk(rehearsal, http, timeout_s, each)
        if target.contract.history and history:
            reader = rehearsal.voices[0].credentials
            with _said("the history of the room was read"):
                rehearsal.rows = await read_history(target, reader, room, http)
    return rehearsal


def _person(number: int, tag: str) -> Person:
    name = f"{('ann', 'bob')[number]}-{number}"
    return Person(number=number, name=name, email=f"{name}.{tag}@people.example", secret=f"probe-{tag}-{number}")


async def _ask(http: httpx.AsyncClient, flow: Flow[T], doing: str) -> T:
    with _said(doing):
        return await run_flow_async(flow, http)


@contextmanager
def _said(doing: str) -> Iterator[None]:
    """Turn errors of a request within this context into a sentence that says what was being done."""
    try:
        yield
    except FlowError as error:
        passing = error.status >= 500 or error.status in PASSING
        raise (TargetError if passing else Unfit)(f"When {doing}, the answer did not fit. {error}") from error
    except Unlisted as error:
        raise Unfit(f"When {doing}: {error}") from error
    except (UnicodeError, httpx.LocalProtocolError, httpx.InvalidURL):
        raise Unfit(f"When {doing}, a header or the address had a character that no request can have.") from None
    except httpx.RemoteProtocolError as error:
        raise TargetError(f"When {doing}, an answer came that cannot be read ({_words(error)}).") from error
    except httpx.HTTPError as error:
        raise TargetError(f"When {doing}, there was no answer ({_words(error)}). Is the platform running?") from error


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".rstrip(": ")


async def _talk(rehearsal: Rehearsal, http: httpx.AsyncClient, timeout_s: float, each: int) -> None:
    try:
        for voice in rehearsal.voices:
            await _enter(rehearsal, voice, timeout_s)
        for k in range(each):
            for voice in rehearsal.voices:
                await _say(rehearsal, voice, http, k + 1)
        begin = time.monotonic()
        for voice in rehearsal.voices:
            await _until(voice, lambda v=voice: _complete(rehearsal, v) or _unread(rehearsal, v), timeout_s)  # type: ignore[misc]
            if _complete(rehearsal, voice):
                rehearsal.answer_ms = (time.monotonic() - begin) * 1000
    finally:
        for voice in rehearsal.voices:
            voice.cut = voice.ended
            if voice.socket is not None:
                await voice.socket.close(timeout_s=timeout_s)
    for voice in rehearsal.voices:
        if voice.cut:
            count = f"{len(voice.sent)} message{'s'[: len(voice.sent) != 1]}"
            rehearsal.notes.append(
                f"{voice.person.name} had sent {count} and received {voice.received} frames when {voice.cut}."
            )


async def _connect(rehearsal: Rehearsal, voice: Voice, timeout_s: float) -> None:
    """Open the voice's socket, and wait for the greeting if there is one."""
    target, person = rehearsal.target, voice.person
    dialogue = target.dialogue(voice.credentials, [rehearsal.room])
    # Counters of its own: these frames are not recorded.
    voice.socket = connect(voice, dialogue, timeout_s=timeout_s, transport=Transport())
    try:
        await voice.socket.open()
    except TargetError as error:  # a header or an address that cannot be sent
        raise Unfit(f"When {person.name} tried to open a socket: {error}") from None
    except Refused as error:
        if voice.socket.wire.opened and voice.socket.wire.refusal is None:
            awaited = f"no {voice.socket.awaited} within {timeout_s:.0f} s"
            missing = f"{person.name} received {awaited}.{_heard_instead(voice)}"
            raise (Unfit if voice.frames else TargetError)(missing) from error
        if not error.code and not error.status:  # a frame refused it
            raise Unfit(_shut_out(dialogue, person, error)) from error
        raise _closed_door(error.status)(_shut_out(dialogue, person, error)) from error
    except (OSError, TimeoutError) as error:
        raise TargetError(_shut_out(dialogue, person, error)) from error


def _shut_out(dialogue: Dialogue, person: Person, error: Exception) -> str:
    said = str(error) if isinstance(error, Refused) else _words(error)
    return f"{person.name} could not open a socket at {shown(dialogue.handshake.url)} ({said})."


def _closed_door(status: int) -> type[TargetError]:
    """Return the class of error for a socket that was refused with `status` (0: no status).

    It is TargetError for a status that does not show a mistake in the file, else Unfit.
    """
    return TargetError if status == 0 or status >= 500 or status in PASSING else Unfit


def ending(socket: AsyncConnection | ManyAsyncConnections) -> str:
    """Return words about how a connection ended: who closed it, with what code and reason."""
    wire = socket.wire
    if wire.close_received is not None:
        return f"the platform closed the connection with {_code(wire.close_received, wire.close_reason)}"
    if wire.close_sent is None:
        return f"the connection ended without a close frame ({NO_CLOSE})"
    key = " (urls.frame_bytes_max)" if wire.close_sent == TOO_BIG else ""
    return f"earwitness closed the connection with {_code(wire.close_sent, wire.close_reason)}{key}"


def _code(code: int, reason: str) -> str:
    return f"{code} {reason!r}" if reason else str(code)


async def _enter(rehearsal: Rehearsal, voice: Voice, timeout_s: float) -> None:
    """Open the socket and join the room, in the order in which the load does it."""
    await _connect(rehearsal, voice, timeout_s)
    if rehearsal.target.says_joined:
        label = rehearsal.room.label

        def joined() -> bool:
            return any(heard[1] == label for heard in voice.events(JOINED))

        if not await _until(voice, joined, timeout_s):
            missing = f"{voice.person.name} received no confirmation that it joined {label}."
            rehearsal.notes.append(missing + _heard_instead(voice))


def _heard_instead(voice: Voice) -> str:
    last = f" The last frame was {str(voice.frames[-1].data)[:200]!r}." if voice.frames else " No frame came at all."
    return f"{last} {voice.ended[:1].upper()}{voice.ended[1:]}." if voice.ended else last


async def _say(rehearsal: Rehearsal, voice: Voice, http: httpx.AsyncClient, counter: int) -> None:
    target, person, label = rehearsal.target, voice.person, rehearsal.room.label
    if voice.ended:
        return
    message_id = f"{rehearsal.tag}-{person.number}-{counter}"
    number = rehearsal.room.number
    text, _ = encode(rehearsal.tag, person.number, number, counter, 1, 1, f"message {counter}{AWKWARD}")
    voice.sent[message_id] = text
    if (streams := target.parts.streams_answers) is not None:
        asking = streams.ask(voice.credentials, label, message_id, text, lambda heard: voice.happened(0, heard))
        voice.happened(0, await _ask(http, asking, f"{person.name} asked a question"))
        return
    if (by_http := target.parts.sends_by_http) is None:
        assert voice.socket is not None
        voice.socket.send(voice.socket.dialogue.send(label, message_id, text))
        return
    heard = await _ask(http, by_http.post(voice.credentials, label, message_id, text), f"{person.name} sent a message")
    voice.frames.append(Frame(person, "(answer to the request)", tuple(heard), answer=True))


async def _until(voice: Voice, condition: Callable[[], bool], timeout_s: float) -> bool:
    """Wait for a condition on what `voice` receives; return False if time or connection ended first."""
    end = time.monotonic() + timeout_s
    while not condition():
        left = end - time.monotonic()
        if left <= 0 or voice.ended:
            return False
        voice.news.clear()
        try:
            await asyncio.wait_for(voice.news.wait(), left)
        except TimeoutError:
            return condition()
    return True


def _complete(rehearsal: Rehearsal, voice: Voice) -> bool:
    """Return whether `voice` received all messages that it should, and an answer to each own message.

    Answers are not awaited if the contract does not promise acknowledgements.
    """
    answers = len(voice.events(ACK)) + len(voice.events(NACK))
    return not unheard(rehearsal, voice) and (not rehearsal.target.contract.acknowledges or answers >= len(voice.sent))


def _unread(rehearsal: Rehearsal, voice: Voice) -> bool:
    """Return whether all messages came in frames, but too few were read from them, so that waiting is useless."""
    echo, raw = rehearsal.target.contract.echo, [str(frame.data) for frame in voice.frames]
    sent = [text for other in rehearsal.voices if other is not voice or echo for text in other.sent.values()]
    came = all(any(_head(text) in data for data in raw) for text in sent)
    return came and len(own_messages(rehearsal, voice)) < len(sent)


def _head(text: str) -> str:
    """Return the beginning of a body, which identifies it and has no character that a frame would quote."""
    return ":".join(text.split(":")[:5]) + ":"


def unheard(rehearsal: Rehearsal, voice: Voice) -> set[str]:
    """Return the texts that `voice` should have received and did not receive unchanged.

    The set is empty for a platform that streams answers and does not promise deliveries.
    """
    echo = rehearsal.target.contract.echo
    if rehearsal.target.parts.streams_answers is not None and not rehearsal.target.contract.delivers:
        return set()  # an agent answers each user alone, and need not repeat the question
    wanted = {text for other in rehearsal.voices if other is not voice or echo for text in other.sent.values()}
    return wanted - {str(heard[2]) for heard in voice.events(MESSAGE)}


def own_messages(rehearsal: Rehearsal, voice: Voice) -> list[Heard]:
    """Return the messages that `voice` received, without those of others in a room that existed before."""
    mark = f"{PREFIX}{rehearsal.tag}:"
    heard = voice.events(MESSAGE)
    return [one for one in heard if mark in str(one[2])] if rehearsal.target.parts.has_rooms else heard


def own_rows(rehearsal: Rehearsal) -> list[StoredRow]:
    """Return the rows of the history that contain this rehearsal's tag."""
    bodies = [(row, decode(row.text)) for row in rehearsal.rows or ()]
    return [row for row, body in bodies if body is not None and body.tag == rehearsal.tag]
