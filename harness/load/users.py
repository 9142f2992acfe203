"""The virtual user of a chat platform: logs in, opens rooms, connects, says and hears; every frame is recorded."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from random import Random
from typing import Any

import gevent
from gevent.event import Event
from locust import User
from locust.exception import LocustError, StopUser

from checks.record import NONE, Kind, Place
from harness.client.blocking import Connection, Refused
from harness.client.events import Handshake
from harness.client.flow import FlowError
from harness.client.http_gevent import run_flow_gevent
from harness.client.posting import Poster
from harness.load.pacing import Paced
from harness.load.part import CROWD_WAIT_S, Part
from harness.target.protocol import Credentials, Room

ANSWER_S = 10.0
RECONNECT_TRIES = 8
BURST_SLICE_S = 0.01


class ChatUser(Paced, User):
    """Subclass it in a locustfile. In tasks: `say`, `burst`, `probe`; `rooms` are this user's, in the story's order.

    carried  what another user object takes over who goes on as the same person, after a shape has stopped this one
    """

    abstract = True
    carried: tuple[str, ...] = ("person", "rooms", "rng", "credentials", "session", "_poster")

    def __init__(self, environment: Any) -> None:
        super().__init__(environment)
        self.part: Part = environment.earwitness.part
        self.number, self._before = self.part.take_place(type(self))
        self.session: Any = None
        self.rooms: tuple[Room, ...] = ()
        self.credentials: Credentials | None = None
        self._connection: Connection | None = None
        self._poster: Poster | None = None
        self._answered = Event()
        self.ready = False
        self._reconnecting: gevent.Greenlet | None = None

    def on_start(self) -> None:
        try:
            self.ready = self._start() if self._before is None else self._go_on_as(self._before)
        finally:
            self.part.started()
        arrivals = self.part.arrivals
        if arrivals is not None and self.ready:
            self.begin_arrivals(arrivals, self.number, self.part.plan.users, self.part.arrivals_begin_ns())

    def on_stop(self) -> None:
        """A shape may stop users before the end; at the end the part does what is to be done."""
        if self.ready and not self.part.draining:
            self.ready = False
            self.stay_away()
            self._await_answers(0)
            self._hang_up()
            self.part.left(self)

    def _start(self) -> bool:
        """Log in, open the rooms, connect. False: it is not this user's run, or it failed and Locust knows why."""
        plan = self.part.plan
        if self.number >= plan.users:
            return False
        self.person = plan.people[self.number]
        self.rooms = plan.rooms_of[self.number]
        self.rng: Random = plan.rng(self.number)
        self.part.users.append(self)
        try:
            self._log_in()
            for room in dict.fromkeys(self.rooms):
                self._flow(self.part.target.open_room(self._credentials(), room))
            self.connect()
        except (FlowError, Refused, OSError) as error:
            self._failed("START", "user could not start", error)
            return False
        return True

    def _go_on_as(self, before: ChatUser) -> bool:
        """Take the place of one whom a shape has stopped: the same person with the same credentials and counters."""
        for name in self.carried:
            setattr(self, name, getattr(before, name))
        self.part.users[self.part.users.index(before)] = self
        self.session.on_answer, self.session.on_closed = self._answered.set, self._lost
        self.ready = True
        return self._back_online()

    # -- what a story can do --------------------------------------------------------------------------------------

    def say(self, room: Room | None = None) -> None:
        """Say one numbered message in `room` (one of the user's own by chance) and wait for its answer; with arrivals
        that are planned, do not wait."""
        self._go_on_or_stop()
        if not self.online and not self._back_online():
            return
        self._say(room or self.rng.choice(self.rooms), self.planned_ns)
        if self.open:
            self.session.timeouts(time.monotonic_ns(), int(ANSWER_S * 1e9))
        else:
            self._await_answers(0)

    def burst(self, room: Room, count: int, within_s: float = 1.0) -> None:
        """Say `count` messages evenly within `within_s`, then wait for all answers; waits for the crowd first. By HTTP
        each waits for the answer to the one before, and they take as long as that takes."""
        self.part.everyone_here.wait(CROWD_WAIT_S)
        self._go_on_or_stop()
        if not self.online and not self._back_online():
            return
        first = self.session.counter + 1
        sent = self._pour(room, count, within_s)
        self.part.environment.earwitness.table(
            "bursts", {"client": self.number, "first": first, "count": sent, "room": room.number}
        )
        self._await_answers(0, timeout_s=30.0)

    def probe(self) -> None:
        """One cheap authenticated request: is the platform still responsive beside the load?"""
        self._go_on_or_stop()
        begin = time.monotonic_ns()
        status = 0
        try:
            status = self._flow(self.part.target.probe(self._credentials()))
        except FlowError as error:
            status = error.status
        name = self.part.journal.intern("probe")
        self.part.note(Kind.PROBE, self.number, author=name, counter=status, aux=(time.monotonic_ns() - begin) // 1000)

    # -- connection -------------------------------------------------------------------------------------------------

    @property
    def online(self) -> bool:
        return self._connection is not None and self._connection.open_now

    def connect(self) -> None:
        """Open the socket; from the second time on resume where the last one ended, if the platform promises it."""
        target = self.part.target
        resume = None
        if self.session is None:
            if getattr(target, "sends_by_http", False):
                post: Any = target.post  # type: ignore[attr-defined]
                self._poster = Poster(lambda *letter: self._flow(post(self._credentials(), *letter)))
            self.session = self.part.session(
                self._credentials,
                client=self.number,
                tag=self.part.plan.tag,
                hear=target.hear,
                encode=target.encode if self._poster is None else self._poster.encode,
                rooms={room.label: room.number for room in self.part.plan.rooms},
                tally=self.part.tally,
                ack_by_echo=not target.contract.acknowledges and target.contract.echo,
                by_http=self._poster is not None,
                strangers=self._strangers(),
                agents=getattr(target, "agents", ()),
            )
            if self._poster is not None:
                self._poster.session = self.session
            self.session.on_answer = self._answered.set
            self.session.on_closed = self._lost
        elif target.contract.resume:
            resume = self.session.resume_points()
        self.session.asked = dict(resume or {})
        handshake = self._handshake(resume)
        connection = Connection(self.session, handshake, timeout_s=ANSWER_S)
        connection.open()
        self._connection = connection
        for frame in target.rooms_on_connect(self._credentials(), tuple(dict.fromkeys(self.rooms))):
            connection.send(frame)

    def _handshake(self, resume: Mapping[str, int] | None) -> Handshake:
        return self.part.target.handshake(self._credentials(), resume)

    @property
    def busy(self) -> bool:
        """A reconnection, or something else that will be recorded, is under way: whoever ends a run waits for it, or
        calls it off."""
        return self._reconnecting is not None and not self._reconnecting.dead

    def stay_away(self) -> None:
        """Call off what is under way, as if it had never begun."""
        if self._reconnecting is not None:
            self._reconnecting.kill()

    def disconnect(self) -> None:
        if self._poster is not None:
            self._poster.close()
        self._hang_up()

    def _hang_up(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _lost(self) -> None:
        """Called inside the io callback when the socket ended: hand over, never block."""
        self._answered.set()
        if not self.part.draining and self.ready:
            self._reconnection()

    def _back_online(self) -> bool:
        """Wait until reconnected, or until that was given up."""
        self._reconnection().join()
        return self.online

    def _reconnection(self) -> gevent.Greenlet:
        """The reconnecting that is under way, or a new one: never two at once."""
        if self._reconnecting is None or self._reconnecting.dead:
            self._reconnecting = gevent.spawn(self._reconnect)
        return self._reconnecting

    def _reconnect(self) -> None:
        """With growing pauses; the pause is the reconnecting client's back-off, drawn from the seed."""
        pause_s = 0.05
        for _ in range(RECONNECT_TRIES):
            if self.online or self.part.draining:
                return
            try:
                self.connect()
                self._resend()
                return
            except (Refused, FlowError, OSError) as error:
                self._failed("WS", "reconnect", error)
                gevent.sleep(pause_s * self.rng.uniform(0.5, 1.5))
                pause_s = min(2.0, pause_s * 2)

    def _resend(self) -> None:
        if self.part.target.contract.idempotent:
            for message_id in self.session.unanswered():
                if self._poster is not None:
                    self._poster.again(message_id)
                else:
                    self._send(self.session.retry(time.monotonic_ns(), message_id))

    # -- helpers ------------------------------------------------------------------------------------------------------

    def _log_in(self) -> None:
        begin_ns = time.monotonic_ns()
        self.credentials = self._flow(self.part.target.login(self.person))
        self._logged_in(self.credentials, begin_ns)

    def _logged_in(self, credentials: Credentials, begin_ns: int) -> None:
        """Write down a login, and who each place says that this is."""
        spent_us = (time.monotonic_ns() - begin_ns) // 1000
        journal = self.part.journal
        journal.identity(self.number, credentials.user_id)
        self.part.note(Kind.LOGIN, self.number, counter=200, aux=spent_us)
        for statement in self._flow(self.part.target.identity(credentials)):
            said = NONE if statement.user_id is None else journal.intern(statement.user_id)
            self.part.note(Kind.IDENTITY, self.number, counter=int(Place(statement.place)), aux=said)

    def _credentials(self) -> Credentials:
        assert self.credentials is not None
        return self.credentials

    def _flow(self, flow: Any) -> Any:
        return run_flow_gevent(flow, on_request=self._requested)

    def _requested(self, name: str, method: str, ms: float, status: int, length: int, error: Exception | None) -> None:
        if error is None and status >= 400:
            error = LocustError(f"HTTP {status}")
        self.environment.events.request.fire(
            request_type=method,
            name=name,
            response_time=ms,
            response_length=length,
            exception=error,
            context={},
            response=None,
        )

    def _failed(self, kind: str, name: str, error: Exception) -> None:
        self.environment.events.request.fire(
            request_type=kind, name=name, response_time=None, response_length=0, exception=error, context={}
        )

    def _strangers(self) -> Callable[[str | None], bool] | None:
        """Where messages that are not of this run are nobody's fault: in rooms that were there before, and for
        accounts that were there before in rooms that are not the run's. Nowhere on what the run made itself."""
        target, mine = self.part.target, {room.label for room in self.part.plan.rooms}
        if getattr(target, "rooms_exist", False):
            return lambda label: True
        if self.part.plan.people_given:
            return lambda label: label is not None and label not in mine
        return None

    def _say(self, room: Room, planned_ns: int | None = None, *, soon: bool = False) -> None:
        session = self.session
        payload = self.part.plan.payload(self.number, session.counter + 1)
        if self._poster is not None:
            self._poster.say(room.label, payload, planned_ns)
        else:
            self._send(session.send(time.monotonic_ns(), room.label, payload, planned_ns), soon=soon)

    def _pour(self, room: Room, count: int, within_s: float) -> int:
        """Say `count` messages evenly within `within_s`, or fewer if the connection ends; returns how many."""
        first = self.session.counter + 1
        begin = time.monotonic()
        sent = 0
        while sent < count and self.online and not self.part.draining:
            due = min(count, int((time.monotonic() - begin) / within_s * count) + 1)
            while sent < due and not self.part.draining:
                self._say(room, int((begin + sent / count * within_s) * 1e9), soon=True)
                sent = self.session.counter - first + 1
                if not self.session.connected_now:
                    break
            gevent.sleep(BURST_SLICE_S)
        return sent

    def _send(self, frame: str | bytes, *, soon: bool = False) -> None:
        connection = self._connection
        if connection is None:
            return
        send: Callable[[str | bytes], None] = connection.send_soon if soon else connection.send
        send(frame)

    def _await_answers(self, most: int, timeout_s: float = ANSWER_S) -> None:
        end = time.monotonic() + timeout_s
        while self.session.pending > most and self.online:
            left = end - time.monotonic()
            if left <= 0:
                self.session.timeouts(time.monotonic_ns(), int(timeout_s * 1e9))
                return
            self._answered.clear()
            if self.session.pending > most:
                self._answered.wait(left)

    def _go_on_or_stop(self) -> None:
        if self.part.draining or not self.ready:
            raise StopUser  # not from on_start: Locust would print a traceback there
