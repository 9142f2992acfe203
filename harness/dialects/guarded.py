"""Guard of dialects in Python: a mistake in a dialect becomes a DialectError, and is not blamed on the platform.

If a dialogue raises, or returns something that is no event, the tester ends its connection. In a flow of a target a
mistake becomes a FlowError with the text of the DialectError.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ParamSpec, TypeVar

from earwitness.harness.client.dialogue import Dialogue, ManyDialogues
from earwitness.harness.client.events import AGENT, BEAT, JOINED, NACK, PRESENCE, WELCOME, Handshake, Heard
from earwitness.harness.client.flow import Flow, FlowError, HttpRequest, StreamedRequest
from earwitness.harness.client.wire import Refused
from earwitness.harness.dialects.parts import HasRooms, SendsByHttp, StreamsAnswers
from earwitness.harness.dialects.protocol import Credentials, Person, Room, Statement, StoredRow, Target
from earwitness.harness.errors import EarwitnessError, Exceeded, TargetError
from earwitness.harness.progress import one_line

T = TypeVar("T")
P = ParamSpec("P")
SEQ_LIMIT = 1 << 62
KINDS = frozenset(range(1, BEAT + 1))
TEXTS = ((1, "room"), (2, "text"), (4, "sender"), (5, "id"))
LONGEST_REASON = 200


class DialectError(TargetError):
    """Error for a dialect in Python that raised an exception, or returned something that is no event."""


class GuardedDialogue:
    """Dialogue of a dialect in Python, whose mistakes become a DialectError.

    EarwitnessError, Exceeded and Refused are raised unchanged.
    """

    def __init__(self, dialogue: Dialogue, where: str) -> None:
        """Guard `dialogue`; `where` names the dialect in error messages."""
        self.dialogue, self._where = dialogue, where
        self.handshake: Handshake = dialogue.handshake
        self.beat_s = dialogue.beat_s
        self.out: list[str | bytes] = []

    def opened(self) -> Sequence[Heard]:
        """Implement `Dialogue.opened`: call the dialect's method, and check the events."""
        return self._events("opened", self.dialogue.opened)

    def received(self, data: str | bytes) -> Sequence[Heard]:
        """Implement `Dialogue.received`: call the dialect's method, and check the events."""
        return self._events("received", self.dialogue.received, data)

    def tick(self) -> Sequence[Heard]:
        """Implement `Dialogue.tick`: call the dialect's method, and check the events."""
        return self._events("tick", self.dialogue.tick)

    def closing(self) -> None:
        """Implement `Dialogue.closing`. If the dialect raises, no goodbye is sent, and no error is raised."""
        try:
            self.dialogue.closing()
            self._take_out()
        except Exception:
            self.out.clear()

    def send(self, label: str, message_id: str, text: str) -> str | bytes:
        """Implement `Dialogue.send`: call the dialect's method, and check that it returns text or bytes."""
        try:
            frame = self.dialogue.send(label, message_id, text)
        except Exception as error:
            raise failed(self._where, "send", error) from error
        if not isinstance(frame, str | bytes):
            raise DialectError(f"{self._where}: send returned {shortly(frame)}, which is no text and no bytes.")
        return frame

    def _events(self, name: str, call: Callable[..., Sequence[Heard]], *arguments: str | bytes) -> Sequence[Heard]:
        try:
            events = call(*arguments)
            self._take_out()
        except (EarwitnessError, Exceeded, Refused):
            raise
        except Exception as error:
            raise failed(self._where, name, error) from error
        return checked_events(self._where, name, events)

    def _take_out(self) -> None:
        frames = self.dialogue.out
        for frame in frames:
            if not isinstance(frame, str | bytes):
                raise DialectError(f"{self._where}: out has {shortly(frame)}, which is no text and no bytes.")
        self.out += frames
        frames.clear()


def checked_events(where: str, name: str, events: Any) -> Sequence[Heard]:
    """Return `events`, which the method `name` of a dialect returned. Raises DialectError if they are not events.

    `where`: name of the dialect, for the error.
    """
    if not isinstance(events, list | tuple):
        raise DialectError(f"{where}: {name} returned {shortly(events)}, which is no list of events.")
    for event in events:
        if (fault := event_fault(event)) is not None:
            raise DialectError(f"{where}: {name} returned {shortly(event)}: {fault}.")
    return events


class GuardedStreams:
    """Part `streams_answers` of a dialect in Python, whose mistakes become a DialectError."""

    def __init__(self, streams: StreamsAnswers, where: str) -> None:
        """Guard `streams`; `where` names the dialect in error messages."""
        self._streams, self._where = streams, where

    def ask(
        self,
        credentials: Credentials,
        label: str,
        message_id: str,
        text: str,
        happened: Callable[[Sequence[Heard]], None],
    ) -> Flow[Sequence[Heard]]:
        """Implement `StreamsAnswers.ask`: run the dialect's flow and check its events.

        Raises DialectError if the dialect raises an exception, or returns something that is no event. FlowError,
        OSError, Exceeded and EarwitnessError are raised unchanged.
        """

        def told(events: Sequence[Heard]) -> None:
            happened(checked_events(self._where, "ask", events))

        step = self._safely(self._streams.ask)(credentials, label, message_id, text, told)
        send, throw = self._safely(step.send), self._safely(step.throw)
        try:
            request = self._safely(step.__next__)()
            while True:
                try:
                    response = yield self._guarded(request)
                except FlowError as error:
                    request = throw(error)
                else:
                    request = send(response)
        except StopIteration as end:
            return checked_events(self._where, "ask", end.value)

    def _guarded(self, request: HttpRequest) -> HttpRequest:
        if not isinstance(request, StreamedRequest):
            return request
        on_open, on_event = self._safely(request.on_open), self._safely(request.on_event)
        return replace(request, on_open=on_open, on_event=on_event, missing=self._safely(request.missing))

    def _safely(self, call: Callable[P, T]) -> Callable[P, T]:
        def safely(*arguments: P.args, **named: P.kwargs) -> T:
            try:
                return call(*arguments, **named)
            except (EarwitnessError, FlowError, Exceeded, StopIteration, OSError):
                raise
            except Exception as error:
                raise failed(self._where, "ask", error) from error

        return safely


def _flow(where: str, name: str, make: Callable[..., Flow[T]], *arguments: object) -> Flow[T]:
    """Run a flow of a dialect's method `name`; an exception of the dialect becomes a FlowError with its sentence."""
    try:
        result = yield from make(*arguments)
    except (EarwitnessError, FlowError, GeneratorExit, OSError):
        raise
    except Exception as error:
        raise FlowError(name, "an answer of the dialect", detail=str(failed(where, name, error))) from error
    return result


class GuardedPosts:
    """Part `sends_by_http` of a dialect in Python, whose mistakes become errors that name the dialect."""

    def __init__(self, posts: SendsByHttp, where: str) -> None:
        """Guard `posts`; `where` names the dialect in error messages."""
        self._posts, self._where = posts, where

    def post(self, credentials: Credentials, label: str, message_id: str, text: str) -> Flow[Sequence[Heard]]:
        """Implement `SendsByHttp.post`: run the dialect's flow and check its events.

        Raises FlowError if the dialect raises an exception, DialectError if it returns something that is no event.
        """
        events = yield from _flow(self._where, "post", self._posts.post, credentials, label, message_id, text)
        return checked_events(self._where, "post", events)


class GuardedRooms:
    """Part `has_rooms` of a dialect in Python, whose mistakes become a DialectError."""

    def __init__(self, places: HasRooms, where: str) -> None:
        """Guard `places`; `where` names the dialect in error messages."""
        self._places, self._where = places, where

    def existing_rooms(self, people: Sequence[Person]) -> Sequence[Room]:
        """Implement `HasRooms.existing_rooms`: call the dialect's method, and check that it returns rooms."""
        try:
            rooms = list(self._places.existing_rooms(people))
        except EarwitnessError:
            raise
        except Exception as error:
            raise failed(self._where, "existing_rooms", error) from error
        for room in rooms:
            if not isinstance(room, Room):
                raise DialectError(f"{self._where}: existing_rooms returned {shortly(room)}, which is no Room.")
        return rooms


def event_fault(event: object) -> str | None:
    """Return the words for an error message that say what is wrong with an event, None if nothing is."""
    if not isinstance(event, tuple) or len(event) != 7:
        return "an event is a tuple of seven values"
    what, seq, extra = event[0], event[3], event[6]
    if what not in KINDS:
        return f"there is no kind of event {shortly(what)}"
    for place, name in TEXTS:
        if event[place] is not None and not isinstance(event[place], str):
            return f"its {name} is no text"
    if type(seq) is not int or not -1 <= seq < SEQ_LIMIT:
        return "its number is no whole number from -1 to 2^62"
    return _extra_fault(what, extra)


def _extra_fault(what: int, extra: Any) -> str | None:
    """Return what is wrong with `extra`, the last value of an event of the kind `what`; None if nothing is."""
    if what == NACK and not (isinstance(extra, tuple) and len(extra) == 2 and type(extra[0]) is int):
        return "a refusal ends with (code, seconds to wait or None)"
    if what == JOINED and not (extra is None or isinstance(extra, bool)):
        return "joining ends with True, False or None"
    if what == AGENT and not (isinstance(extra, tuple) and len(extra) == 3 and type(extra[2]) is int):
        return "an agent's event ends with (run, name, number)"
    if what == WELCOME and not (extra is None or isinstance(extra, Mapping)):
        return "a greeting ends with a table or None"
    if what == PRESENCE and not isinstance(extra, Mapping):
        return "presence ends with a table of user ids"
    return None


class GuardedDialect:
    """Target of a dialect in Python, with guards.

    A mistake of the dialect becomes a FlowError in the flows of `Target`, and a DialectError in `dialogue`, in the
    dialogue itself, and in the parts `streams_answers`, `sends_by_http` and `has_rooms`. Other parts have no guard.
    """

    def __init__(self, target: Target, where: str) -> None:
        """Guard `target`; `where` names the dialect in error messages."""
        self.target, self._where = target, where
        self.name, self.contract, self.network = target.name, target.contract, target.network
        streams, posts, places = target.parts.streams_answers, target.parts.sends_by_http, target.parts.has_rooms
        self.parts = replace(
            target.parts,
            streams_answers=None if streams is None else GuardedStreams(streams, where),
            sends_by_http=None if posts is None else GuardedPosts(posts, where),
            has_rooms=None if places is None else GuardedRooms(places, where),
        )
        self.allow_load, self.max_users = target.allow_load, target.max_users
        self.says_joined, self.logins, self.addresses = target.says_joined, target.logins, target.addresses
        self.stated = target.stated

    def reachable(self) -> Flow[None]:
        """Implement `Target.reachable`: run the dialect's flow with a guard."""
        return _flow(self._where, "reachable", self.target.reachable)

    def login(self, person: Person) -> Flow[Credentials]:
        """Implement `Target.login`: run the dialect's flow with a guard."""
        return _flow(self._where, "login", self.target.login, person)

    def identity(self, credentials: Credentials) -> Flow[Sequence[Statement]]:
        """Implement `Target.identity`: run the dialect's flow with a guard."""
        return _flow(self._where, "identity", self.target.identity, credentials)

    def open_room(self, credentials: Credentials, room: Room) -> Flow[None]:
        """Implement `Target.open_room`: run the dialect's flow with a guard."""
        return _flow(self._where, "open_room", self.target.open_room, credentials, room)

    def probe(self, credentials: Credentials) -> Flow[int]:
        """Implement `Target.probe`: run the dialect's flow with a guard."""
        return _flow(self._where, "probe", self.target.probe, credentials)

    def history(self, credentials: Credentials, room: Room) -> Flow[list[StoredRow]]:
        """Implement `Target.history`: run the dialect's flow with a guard."""
        return _flow(self._where, "history", self.target.history, credentials, room)

    def dialogue(
        self,
        credentials: Credentials,
        rooms: Sequence[Room],
        resume: Mapping[str, int] | None = None,
        previous: Dialogue | None = None,
    ) -> Dialogue:
        """Implement `Target.dialogue`: return the dialect's dialogue with a guard."""
        before = _unguarded(previous)
        try:
            return _guarded(self.target.dialogue(credentials, rooms, resume, before), self._where)
        except EarwitnessError:
            raise
        except Exception as error:
            raise failed(self._where, "dialogue", error) from error


def _guarded(dialogue: Dialogue, where: str) -> Dialogue:
    """Return the dialogue in a GuardedDialogue; if it has several sockets, one for the dialogue of each socket."""
    if isinstance(dialogue, ManyDialogues):
        return ManyDialogues({label: GuardedDialogue(one, where) for label, one in dialogue.by_room.items()})
    return GuardedDialogue(dialogue, where)


def _unguarded(dialogue: Dialogue | None) -> Dialogue | None:
    """Return the dialogue inside a guard; `dialogue` itself if it has no guard."""
    if isinstance(dialogue, GuardedDialogue):
        return dialogue.dialogue
    if isinstance(dialogue, ManyDialogues):
        inside = {label: _unguarded(one) for label, one in dialogue.by_room.items()}
        return ManyDialogues({label: one for label, one in inside.items() if one is not None})
    return dialogue


def failed(where: str, name: str, error: Exception) -> DialectError:
    """Return the error for an exception that the method `name` of a dialect raised."""
    said = one_line(f"{type(error).__name__}: {error}")[:LONGEST_REASON].rstrip(": ")
    return DialectError(f"{where}: {name} failed with {said}.")


def shortly(value: object) -> str:
    """Return the beginning of a value as text on one line, for an error."""
    text = one_line(repr(value))
    return text if len(text) <= LONGEST_REASON else f"{text[:LONGEST_REASON]} …"
