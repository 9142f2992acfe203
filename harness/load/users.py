"""The virtual user of a chat platform: logs in, opens rooms, connects, says and hears; every frame is recorded."""

from __future__ import annotations

import functools
import time
from random import Random
from typing import Any

import gevent
from locust import User
from locust.exception import StopUser
from locust.user.task import LOCUST_STATE_STOPPING

from earwitness.checks.history.record import NOBODY, NONE, Kind, Place
from earwitness.harness.client.flow import FlowError
from earwitness.harness.client.gevent_shell import Refused
from earwitness.harness.dialects.protocol import Credentials, Room
from earwitness.harness.load.behaviours.saying import Saying
from earwitness.harness.load.connected import may_pass, unauthorized
from earwitness.harness.load.pacing import Paced
from earwitness.harness.load.worker import CROWD_WAIT_S, Part

BURST_SLICE_S = 0.01


class ChatUser(Paced, Saying, User):
    """Subclass it in a locustfile. In tasks: `say`, `burst`, `probe`, `ask_who_i_am`, and those of
    `harness.load.behaviours.saying`; `rooms` are this user's, in the story's order.

    carried  what another user object takes over who goes on as the same person, after a shape has stopped this one
    """

    abstract = True
    tasks: list[Any]
    carried: tuple[str, ...] = ("person", "rooms", "rng", "credentials", "session", "_poster")

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        forgiving = {task: _forgiving(task) for task in cls.tasks}  # a heavy one is there more than once
        cls.tasks = [forgiving[task] for task in cls.tasks]

    def __init__(self, environment: Any) -> None:
        super().__init__(environment)
        self.part: Part = environment.earwitness.latest_part
        # A run that is ending takes nobody in, although Locust may still be starting users.
        self._late = self.part.draining
        self._before: ChatUser | None = None
        self.number = NOBODY
        if not self._late:
            self.number, self._before = self.part.take_place(type(self))
        self.rooms: tuple[Room, ...] = ()
        self.ready = False

    def on_start(self) -> None:
        if not self._late:
            try:
                self.ready = self._start() if self._before is None else self._go_on_as(self._before)
            finally:
                self.part.started()
        if not self.ready:
            self._state = LOCUST_STATE_STOPPING  # Locust then runs no task; to raise StopUser here prints a traceback
            return
        arrivals = self.part.arrivals
        if arrivals is not None:
            begin_ns = self.part.arrivals_begin_ns()
            self.begin_arrivals(arrivals, self.number, self.part.crowd, begin_ns)

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
        if self.number >= plan.clients:
            self.part.attained.beyond_plan += 1
            return False
        self.person = plan.person_of(self.number)
        self.rooms = plan.rooms_of[self.person.number]
        self.rng: Random = plan.rng(self.number)
        self.part.users.append(self)
        try:
            self._log_in()
            for room in dict.fromkeys(self.rooms):
                self._flow(self.part.target.open_room(self._valid_credentials(), room))
        except (FlowError, OSError) as error:
            self._failed("START", "user could not start", error)
            return False
        return self._first_online()

    def _first_online(self) -> bool:
        """The first socket has as many tries as every later one, unless it is refused for good."""
        try:
            self.connect()
        except (FlowError, Refused, OSError) as error:
            self._failed("START", "user could not start", error)
            self._unauthorized = unauthorized(error)
            return may_pass(error) and self._back_online()
        return True

    def _go_on_as(self, before: ChatUser) -> bool:
        """Take the place of one whom a shape has stopped: the same person with the same credentials and counters."""
        for name in self.carried:
            setattr(self, name, getattr(before, name))
        self.part.users[self.part.users.index(before)] = self
        self._listen()
        self.ready = True
        return self._back_online()

    # -- what a story can do --------------------------------------------------------------------------------------

    def say(self, room: Room | None = None) -> None:
        """Say one numbered message in `room` (one of the user's own by chance) and wait for its answer; with arrivals
        that are planned, do not wait."""
        self._go_on_or_stop()
        if not self.online and not self._back_online():
            self.part.unsaid += 1
            return
        self._say(room or self.rng.choice(self.rooms), self.planned_ns)
        if self.open:
            self.session.timeouts(time.monotonic_ns(), int(self.answer_s * 1e9))
        else:
            self._await_answers(0)

    def burst(self, room: Room, count: int, within_s: float = 1.0) -> None:
        """Say `count` messages evenly within `within_s`, then wait for all answers; waits for the crowd first. By HTTP
        each waits for the answer to the one before, and they take as long as that takes."""
        self.part.everyone_here.wait(CROWD_WAIT_S)
        self._go_on_or_stop()
        if not self.online and not self._back_online():
            self.part.unsaid += count
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

    def ask_who_i_am(self) -> None:
        """Ask every service again, in mid-run, who this is: a shared connection or cache may mix users up."""
        self._go_on_or_stop()
        with self._recording():
            places = self._ask_who_i_am(self._valid_credentials())
        if Place.FRONTEND in places:
            self.part.occurred["frontend-identity"] += 1

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
        self._ask_who_i_am(credentials)

    def _ask_who_i_am(self, credentials: Credentials) -> set[int]:
        """Record who each place says that this is; return the places that said it."""
        statements = self._flow(self.part.target.identity(credentials))
        for statement in statements:
            said = NONE if statement.user_id is None else self.part.journal.intern(statement.user_id)
            self.part.note(Kind.IDENTITY, self.number, counter=int(Place(statement.place)), aux=said)
        return {int(statement.place) for statement in statements}

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

    def _go_on_or_stop(self) -> None:
        self._stop_if_over()
        self._hold_credentials()
        self._stop_if_over()  # that may have taken its time

    def _stop_if_over(self) -> None:
        if self.part.draining or not self.ready:
            raise StopUser  # not from on_start: Locust would print a traceback there


def _forgiving(task: Any) -> Any:
    """A task that was refused what it asked for has failed, as requests fail in an outage; it is no error of the story,
    for which Locust would print a traceback."""
    if isinstance(task, type) or hasattr(task, "forgiving"):
        return task

    @functools.wraps(task)
    def act(user: ChatUser) -> None:
        user.part.attained.acted.add(user.number)
        try:
            task(user)
        except FlowError as error:
            user._failed("TASK", task.__name__, error)

    act.forgiving = True  # type: ignore[attr-defined]
    return act
