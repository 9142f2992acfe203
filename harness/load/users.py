"""`ChatUser`, virtual user of a chat platform: logs in, opens rooms, connects, sends and receives.

Every frame is recorded.
"""

from __future__ import annotations

import functools
import time
from random import Random
from typing import Any

import gevent
from locust.exception import StopUser
from locust.user.task import LOCUST_STATE_STOPPING

from earwitness.checks.history.record import NOBODY, NONE, Kind, Place
from earwitness.harness.client.flow import FlowError
from earwitness.harness.client.gevent_shell import Refused
from earwitness.harness.dialects.protocol import Credentials, Room
from earwitness.harness.load.account import Account
from earwitness.harness.load.behaviour import bound
from earwitness.harness.load.connected import ConnectedUser, may_pass, unauthorized
from earwitness.harness.load.pacing import Pace
from earwitness.harness.load.turns import Turns
from earwitness.harness.load.wallet import Wallet
from earwitness.harness.load.worker import CROWD_WAIT_S, Part

BURST_SLICE_S = 0.01


CARRIED = ("person", "rooms", "rng", "credentials", "session", "poster")
"""Attributes that another user object takes over when it continues as a person whom a shape has stopped."""


class ChatUser(ConnectedUser):
    """Base class of the virtual users of a chat platform; a locustfile subclasses it.

    Methods for tasks: `say`, `burst`, `probe`, `ask_who_i_am`, and the methods of behaviours that the class declares as
    its attributes (`harness.load.behaviour`).

    rooms    conversations of this user, in the story's order
    number   this client's number in the run: the user's number if each user has one device
    think_s  bounds of the pause after an action, in seconds, drawn from the user's own `rng`
    pace     times at which the user acts
    wallet   tokens and other artefacts of the user, numbered as in the record
    """

    abstract = True
    tasks: list[Any]
    think_s: tuple[float, float] = (0.5, 2.0)

    def __init_subclass__(cls, **options: object) -> None:
        """Wrap each task of the class: a call counts the user as active (H4), and a FlowError ends only that task."""
        super().__init_subclass__(**options)
        forgiving = {task: _forgiving(task) for task in cls.tasks}  # a weighted task is listed several times
        cls.tasks = [forgiving[task] for task in cls.tasks]

    def __init__(self, environment: Any) -> None:
        """Take the next user number of this process, or continue as a user whom a shape has stopped."""
        super().__init__(environment)
        self.part: Part = environment.earwitness.latest_part
        # A run that is ending accepts no users, although Locust may still be starting some.
        self._late = self.part.draining
        self._before: ChatUser | None = None
        self.number = NOBODY
        if not self._late:
            self.number, self._before = self.part.take_place(type(self))
        self.rooms: tuple[Room, ...] = ()
        self.ready = False
        self.pace = Pace()
        self.wallet = Wallet(self.part.journal, self.number)
        self.account = Account(self)
        bound(self)

    def wait_time(self) -> float:
        """Return the seconds until the next action, ≥ 0. Locust calls this method after each task."""
        pace = self.pace
        if pace.open:
            return pace.wait_s()
        least, most = self.think_s
        return least + (most - least) * self.rng.random()  # as `rng.uniform`: the same pauses from the same seed

    def on_start(self) -> None:
        """Log in, open the rooms and connect; a user for whom that fails runs no task. Locust calls this method.

        A story that overrides this method must call it first.
        """
        if not self._late:
            try:
                self.ready = self._start() if self._before is None else self._go_on_as(self._before)
            finally:
                self.part.started()
        if not self.ready:
            self._state = LOCUST_STATE_STOPPING  # Locust then runs no task; to raise StopUser here prints a traceback
            return
        self._taskset_instance = Turns(self)  # instead of the one that Locust runs next
        arrivals = self.part.arrivals
        if arrivals is not None:
            begin_ns = self.part.arrivals_begin_ns()
            self.pace.begin_arrivals(arrivals, self.number, self.part.crowd, begin_ns, self.rng)

    def on_stop(self) -> None:
        """Disconnect a user whom a shape stops before the end of the run. Locust calls it.

        No-op at the end of the run, when `harness.load.worker.Part` closes all connections.
        """
        if self.ready and not self.part.draining:
            self.ready = False
            self.stay_away()
            self.await_answers(0)
            self.hang_up()
            self.part.left(self)

    def _start(self) -> bool:
        """Log in, open the rooms and connect; return whether that succeeded.

        False if the plan has no user of this number, or if a step failed, which Locust's statistics then show.
        """
        plan = self.part.plan
        if self.number >= plan.clients:
            self.part.attained.beyond_plan += 1
            return False
        self.person = plan.person_of(self.number)
        self.rooms = plan.rooms_of[self.person.number]
        self.rng: Random = plan.rng(self.number)
        self.part.users.append(self)
        try:
            self.account.log_in()
            for room in dict.fromkeys(self.rooms):
                self.flow(self.part.target.open_room(self.account.valid(), room))
        except (FlowError, OSError) as error:
            self.failed("START", "user could not start", error)
            return False
        return self._first_online()

    def _first_online(self) -> bool:
        """Open the first socket, with as many tries as for later ones unless the platform refuses it for good.

        Returns whether the user is online.
        """
        try:
            self.connect()
        except (FlowError, Refused, OSError) as error:
            self.failed("START", "user could not start", error)
            self.unauthorized = unauthorized(error)
            return may_pass(error) and self.come_back()
        return True

    def _go_on_as(self, before: ChatUser) -> bool:
        """Continue as the user `before`, which a shape has stopped, with the same person, credentials and counters.

        Returns whether the user is online.
        """
        for name in CARRIED:
            vars(self)[name] = vars(before)[name]
        self.wallet = before.wallet
        for mine, old in zip(self.behaviours, before.behaviours, strict=True):
            vars(mine).update({name: vars(old)[name] for name in mine.carried})
        self.part.users[self.part.users.index(before)] = self
        self._listen()
        self.ready = True
        return self.come_back()

    # -- what a story can do --------------------------------------------------------------------------------------

    def say(self, room: Room | None = None) -> None:
        """Send one numbered message and block until it is answered, or `answer_s` seconds have passed.

        `room`: None chooses one of the user's own rooms at random. With planned arrivals (`--arrivals`) the method does
        not wait for the answer. If the user is offline and cannot reconnect, the message is counted as unsent.
        """
        self.begin_action()
        if not self.online and not self.come_back():
            self.part.unsaid += 1
            return
        pace = self.pace
        self._say(room or self.rng.choice(self.rooms), pace.planned_ns)
        if pace.open:
            self.session.timeouts(time.monotonic_ns(), int(self.answer_s * 1e9))
        else:
            self.await_answers(0)

    def burst(self, room: Room, count: int, within_s: float = 1.0) -> None:
        """Send `count` messages evenly within `within_s` seconds, then block until all are answered.

        First it waits until all users have started, at most CROWD_WAIT_S seconds. Answers that have not come after 30 s
        (`answer_s`, if that is longer) are recorded as timed out. Over HTTP each message waits for the answer to the
        one before, so the burst lasts as long as that takes.
        """
        self.part.everyone_here.wait(CROWD_WAIT_S)
        self.begin_action()
        if not self.online and not self.come_back():
            self.part.unsaid += count
            return
        first = self.session.counter + 1
        sent = self.pour(room, count, within_s)
        self.part.environment.earwitness.table(
            "bursts", {"client": self.number, "first": first, "count": sent, "room": room.number}
        )
        self.await_answers(0, timeout_s=30.0)

    def probe(self) -> None:
        """Send one cheap authenticated request, and record its status and duration.

        The records show whether the platform still responds under the load.
        """
        self.begin_action()
        begin = time.monotonic_ns()
        status = 0
        try:
            status = self.flow(self.part.target.probe(self.own_credentials()))
        except FlowError as error:
            status = error.status
        name = self.part.journal.intern("probe")
        self.part.note(Kind.PROBE, self.number, author=name, counter=status, aux=(time.monotonic_ns() - begin) // 1000)

    def ask_who_i_am(self) -> None:
        """Ask every service for the user's identity during the run, and record the answers.

        A shared connection or cache of the platform may mix up users.
        """
        self.begin_action()
        with self.recording():
            places = self._ask_who_i_am(self.account.valid())
        if Place.FRONTEND in places:
            self.part.occurred["frontend-identity"] += 1

    # -- helpers ------------------------------------------------------------------------------------------------------

    def logged_in(self, credentials: Credentials, begin_ns: int) -> None:
        """Record a login that began at `begin_ns` (monotonic ns), and the identity that each service states.

        Raises FlowError.
        """
        spent_us = (time.monotonic_ns() - begin_ns) // 1000
        journal = self.part.journal
        journal.identity(self.number, credentials.user_id)
        self.part.note(Kind.LOGIN, self.number, counter=200, aux=spent_us)
        self._ask_who_i_am(credentials)

    def _ask_who_i_am(self, credentials: Credentials) -> set[int]:
        """Record the identity that each service states; return the numbers (`Place`) of those services."""
        statements = self.flow(self.part.target.identity(credentials))
        for statement in statements:
            said = NONE if statement.user_id is None else self.part.journal.intern(statement.user_id)
            self.part.note(Kind.IDENTITY, self.number, counter=int(Place(statement.place)), aux=said)
        return {int(statement.place) for statement in statements}

    def _say(self, room: Room, planned_ns: int | None = None, *, soon: bool = False) -> None:
        session = self.session
        payload = self.part.plan.payload(self.number, session.counter + 1)
        if self.poster is not None:
            self.poster.say(room.label, payload, planned_ns)
            return
        now_ns = time.monotonic_ns()
        if self.connection is None or not self.connection.say(now_ns, room.label, payload, planned_ns, soon=soon):
            self.send(session.send(now_ns, room.label, payload, planned_ns), soon=soon)

    def pour(self, room: Room, count: int, within_s: float) -> int:
        """Send up to `count` messages evenly within `within_s` seconds; return how many were sent.

        Fewer are sent if the connection ends or the run is ending.
        """
        first = self.session.counter + 1
        begin = time.monotonic()
        sent = 0
        while sent < count and self.online and not self.part.draining:
            due = min(count, int((time.monotonic() - begin) / within_s * count) + 1)
            self._say_planned(room, [int((begin + k / count * within_s) * 1e9) for k in range(sent, due)])
            sent = self.session.counter - first + 1
            gevent.sleep(BURST_SLICE_S)
        return sent

    def _say_planned(self, room: Room, starts: list[int]) -> None:
        """Send a message for each planned start (monotonic ns) now, in as few writes as possible.

        Fewer are sent if the connection ends or the run is ending.
        """
        session, connection, done = self.session, self.connection, 0
        payloads: list[str] = []
        if self.poster is None and connection is not None:
            first = session.counter + 1
            payloads = [self.part.plan.payload(self.number, first + k) for k in range(len(starts))]
        while done < len(starts) and session.connected_now and not self.part.draining:
            if payloads and connection is not None:
                sent = connection.say_many(room.label, payloads[done:], starts[done:], joined=True)
                done += sent
                if not sent:
                    payloads = []  # this connection takes them one by one
            if done < len(starts) and session.connected_now:
                self._say(room, starts[done], soon=True)
                done += 1

    def begin_action(self) -> None:
        """Prepare an action: renew the credentials if necessary. Every action of a task calls it first.

        Raises StopUser if the run is over or the user is not ready, FlowError if no credentials could be obtained.
        """
        part = self.part
        if part.draining or not self.ready:
            raise StopUser  # not from on_start: Locust would print a traceback there
        self.account.hold()
        if part.draining or not self.ready:  # renewing may have taken long
            raise StopUser


def _forgiving(task: Any) -> Any:
    """Wrap a task so that a FlowError counts as a failure of the task.

    Without the wrapper Locust would print a traceback, but requests that fail in an outage are no error of the story.
    """
    if isinstance(task, type) or hasattr(task, "forgiving"):
        return task

    @functools.wraps(task)
    def act(user: ChatUser) -> None:
        user.part.attained.acted.add(user.number)
        try:
            task(user)
        except FlowError as error:
            user.failed("TASK", task.__name__, error)

    act.forgiving = True  # type: ignore[attr-defined]
    return act
