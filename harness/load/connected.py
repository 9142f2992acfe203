"""Connection of a virtual user: one session over all its sockets, with reconnecting, resending and HTTP requests."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from random import Random
from typing import Any, TypeVar

import gevent
from locust import User
from locust.env import Environment
from locust.exception import LocustError

from earwitness.harness.client.bell import Bell
from earwitness.harness.client.dialogue import Dialogue
from earwitness.harness.client.events import Heard
from earwitness.harness.client.flow import Flow, FlowError
from earwitness.harness.client.gevent_shell import Connection, ManyConnections, Refused, connect
from earwitness.harness.client.http_gevent import run_flow_gevent
from earwitness.harness.client.http_sender import Happened, Poster, StreamPoster
from earwitness.harness.client.outbox import Encode
from earwitness.harness.client.session import ChatSession
from earwitness.harness.client.try_connect import OPENED
from earwitness.harness.dialects.parts import StreamsAnswers
from earwitness.harness.dialects.protocol import Credentials, Room
from earwitness.harness.errors import TargetError
from earwitness.harness.load.account import Account
from earwitness.harness.load.behaviour import Behaviour
from earwitness.harness.load.soundness import OURS
from earwitness.harness.load.worker import Part

T = TypeVar("T")

ANSWER_S = 10.0
"""Seconds that a user waits for an answer at least; longer where the contract gives the platform more time (I43)."""
LONGER_S = 2.0
UNAUTHORIZED, TOO_MANY = 401, 429
RECONNECT_TRIES = 8
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 2.0
"""Pauses in seconds between tries to reconnect: the first one, and the longest one; each is twice the one before.

The first try comes at once, as fast as any client could. All tries together last about seven seconds.
"""
PAUSE_SPREAD = (0.5, 1.5)
"""Bounds of the random factor of a pause, so that users who were cut together reconnect at different times."""


class ConnectedUser(User):
    """User that reconnects by itself while `ready` is set, and resends messages that were not answered.

    Call `connect` once; reconnections follow by themselves.

    part          state of this load process in the current run
    number        number of the user's device in the plan
    rng           generator of its random choices, from the seed of the run
    session       its ChatSession, over all connections; None before the first one
    poster        its HTTP sender; None if messages are sent on the socket
    has_waited    the user has waited for an answer since its last task ended (`harness.load.turns`)
    behaviours    what the user does besides chatting, see `harness.load.behaviour`
    account       its `Account`: how it logs in and presents its credentials
    unauthorized  the platform refused the credentials with 401
    """

    abstract = True

    part: Part
    number: int
    rooms: tuple[Room, ...]
    rng: Random
    ready = False
    has_waited = False
    poster: Poster | StreamPoster | None = None

    def __init__(self, environment: Environment) -> None:
        """Start without a connection. Locust makes users and passes its `environment`."""
        super().__init__(environment)
        self.session: Any = None
        self.credentials: Credentials | None = None
        self.connection: Connection | ManyConnections | None = None
        self.poster = None
        self.behaviours: list[Behaviour] = []
        self.account: Account
        self._answered = Bell()
        self._reconnecting: gevent.Greenlet | None = None
        self.unauthorized = False
        self.never_resend: set[str] = set()  # ids of messages whose retry would be longer than permitted
        self._under_way = 0
        self._dialogue: Dialogue | None = None  # of the last connection that opened

    @property
    def online(self) -> bool:
        """Return whether the socket is open."""
        return self.connection is not None and self.connection.open_now

    @cached_property
    def answer_s(self) -> float:
        """Return how long the user waits for an answer, in seconds.

        It is longer than the contract allows the platform, so an answer that has not come by then is too late in any
        case.
        """
        return max(ANSWER_S, self.part.target.contract.answer_bound_s + LONGER_S)

    def connect(self) -> None:
        """Open the socket. Later calls resume where the previous socket ended, if the platform promises resumption.

        Raises Refused, FlowError or OSError.
        """
        for behaviour in self.behaviours:
            behaviour.before_connect()
        try:
            self._open()
        except Refused as refused:
            self.account.opened(refused.status or refused.code)
            raise
        except OSError:
            self.account.opened(0)
            raise
        self.account.opened(OPENED)
        for behaviour in self.behaviours:
            behaviour.after_connect()

    def _open(self) -> None:
        target = self.part.target
        resume = None
        if self.session is None:
            self.session = self._new_session()
            self._listen()
        elif target.contract.resume:
            resume = self.session.resume_points()
        self.session.asked = dict(resume or {})
        dialogue = self.account.dialogue(resume, self._dialogue if resume is not None else None)
        connection = connect(self.session, dialogue, timeout_s=ANSWER_S)
        connection.open()
        self.connection, self._dialogue = connection, dialogue
        self.part.attained.connected.add(self.number)

    def _new_session(self) -> ChatSession:
        target = self.part.target
        by_http, streams = target.parts.sends_by_http, target.parts.streams_answers
        if streams is not None:
            self.poster = StreamPoster(partial(self._ask_streamed, streams))
        elif by_http is not None:
            post = by_http.post
            self.poster = Poster(lambda *letter: self.flow(post(self.own_credentials(), *letter)))
        session = self.part.session(
            self.own_credentials,
            client=self.number,
            tag=self.part.plan.tag,
            rooms=self.part.plan.numbers,
            tally=self.part.tally,
            echo=target.contract.echo,
            ack_by_echo=not target.contract.acknowledges and target.contract.echo,
            by_http=self.poster is not None,
            strangers=self._strangers(),
            agents=target.parts.agents,
        )
        if self.poster is not None:
            self.poster.session = session
        return session

    def _ask_streamed(
        self, streams: StreamsAnswers, label: str, message_id: str, text: str, happened: Happened
    ) -> Sequence[Heard]:
        """Send a question as a request and report its streamed answer to `happened`; return further events.

        Raises FlowError; TargetError if the dialect is wrong.
        """
        try:
            return self.flow(streams.ask(self.own_credentials(), label, message_id, text, happened))
        except TargetError as error:
            self.failed("STREAM", "mistake of the dialect", error)
            raise

    def _listen(self) -> None:
        """Set the hooks of the session, which is new or was taken over from another user object."""
        self.session.on_answer, self.session.on_closed = self._answered.set, self._lost
        for behaviour in self.behaviours:
            behaviour.listen()

    @property
    def busy(self) -> bool:
        """Return whether a reconnection, or another step that will be recorded, is in progress.

        The end of a run waits for such a step, or cancels it.
        """
        reconnecting = self._reconnecting is not None and not self._reconnecting.dead
        streaming = self.poster is not None and self.poster.busy
        return self._under_way > 0 or reconnecting or streaming or any(one.busy for one in self.behaviours)

    def stay_away(self) -> None:
        """Stop reconnecting, and cancel what the behaviours have in progress, so that nothing of it is recorded."""
        if self._reconnecting is not None:
            self._reconnecting.kill()
        for behaviour in self.behaviours:
            behaviour.stay_away()

    def disconnect(self) -> None:
        """Close the HTTP sender, if messages are sent by HTTP, and the socket."""
        if self.poster is not None:
            self.poster.close()
        self.hang_up()

    def hang_up(self) -> None:
        """Close the socket, if there is one."""
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.close()

    def _lost(self) -> None:
        """Start a reconnection after the socket has ended. Called in the I/O callback: it must not block."""
        self._answered.set()
        if self.poster is not None:
            self.poster.cut()
        if not self.part.draining and self.ready:
            self._reconnection()

    def come_back(self) -> bool:
        """Block until the user has reconnected or given up; return whether it is online.

        Starts a reconnection if none is in progress.
        """
        self._reconnection().join()
        return self.online

    def _reconnection(self) -> gevent.Greenlet:
        """Return the greenlet of the reconnection in progress; start one if there is none."""
        if self._reconnecting is None or self._reconnecting.dead:
            self._reconnecting = gevent.spawn(self._reconnect)
        return self._reconnecting

    def _reconnect(self) -> None:
        """Try to connect at most `RECONNECT_TRIES` times, with growing random pauses, until the user is online."""
        for behaviour in self.behaviours:
            behaviour.before_reconnect()
        pause_s = FIRST_PAUSE_S
        for _ in range(RECONNECT_TRIES):
            for behaviour in self.behaviours:
                behaviour.be_away()
            if self.online or self.part.draining:
                return
            try:
                if self._came_back():
                    return
            except (Refused, FlowError, OSError) as error:
                self.unauthorized = unauthorized(error)
                self.failed("WS", "reconnect", error)
                gevent.sleep(pause_s * self.rng.uniform(*PAUSE_SPREAD))
                pause_s = min(LONGEST_PAUSE_S, pause_s * 2)

    def _came_back(self) -> bool:
        """Connect, and resend unanswered messages; return False if the connection ended as soon as it was open."""
        self.connect()
        if self.online:
            self._resend()
        return self.online

    def _resend(self) -> None:
        if self.part.target.contract.idempotent:
            for message_id in self.session.unanswered():
                if message_id in self.never_resend:
                    continue
                if self.poster is not None:
                    self.poster.again(message_id)
                elif self.connection is None or not self.connection.say_again(time.monotonic_ns(), message_id):
                    self.send(self.session.retry(time.monotonic_ns(), message_id))

    # -- helpers ------------------------------------------------------------------------------------------------------

    def send(self, frame: str | bytes, *, soon: bool = False) -> None:
        """Send a frame on the open socket; drop it if there is none.

        `soon`: write the frame together with other frames of this iteration of the event loop.
        """
        connection = self.connection
        if connection is None:
            return
        send: Callable[[str | bytes], None] = connection.send_soon if soon else connection.send
        send(frame)

    def request(self, frame: str | bytes) -> None:
        """Send a frame without recording it, such as a subscription; drop it if there is no open socket."""
        if isinstance(self.connection, Connection):
            self.connection.request(frame)
        else:
            self.send(frame)

    def utter(self, label: str, payload: str, planned_ns: int | None = None, ask: Encode | None = None) -> None:
        """Record a message to the room `label` and send it at once.

        `payload`: text of the message; `planned_ns`: planned start in monotonic ns, None if it was not planned; `ask`:
        encoder for a question to the agent, None for an ordinary message.
        """
        now_ns, asks = time.monotonic_ns(), ask is not None
        connection = self.connection
        if connection is None or not connection.say(now_ns, label, payload, planned_ns, asks=asks):
            self.send(self.session.send(now_ns, label, payload, planned_ns, ask, asks=asks))

    def await_answers(self, most: int, timeout_s: float = 0.0) -> None:
        """Block until at most `most` messages are unanswered, or the connection has ended.

        `timeout_s`: seconds, at least `answer_s`. Messages that are still unanswered then are recorded as timed out.
        """
        session, answered, under_way = self.session, self._answered, self.session.under_way
        if timeout_s < self.answer_s:
            timeout_s = self.answer_s
        end = time.monotonic() + timeout_s
        while len(under_way) > most and self.online:
            left = end - time.monotonic()
            if left <= 0:
                session.timeouts(time.monotonic_ns(), int(timeout_s * 1e9))
                return
            answered.clear()
            answered.wait(left)  # nothing can have been answered since `under_way` was read
            self.has_waited = True

    def own_credentials(self) -> Credentials:
        """Return the current credentials, whether they are still valid or not. The user must have logged in."""
        assert self.credentials is not None
        return self.credentials

    def flow(self, flow: Flow[T]) -> T:
        """Run an HTTP flow and return its result; each request appears in Locust's statistics. Raises FlowError."""
        return run_flow_gevent(flow, pool=self.part.http, on_request=self._requested)

    def quietly(self, flow: Flow[T]) -> T:
        """Run an HTTP flow and return its result. Raises FlowError.

        A refusal (status 400 or more) does not count as a failure in Locust's statistics.
        """

        def requested(name: str, method: str, ms: float, status: int, length: int, error: Exception | None) -> None:
            self._requested(name, method, ms, min(status, 399), length, error)

        return run_flow_gevent(flow, pool=self.part.http, on_request=requested)

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Mark an action that will be recorded as in progress within this context: the end of the run waits for it."""
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1

    def _requested(self, name: str, method: str, ms: float, status: int, length: int, error: Exception | None) -> None:
        if error is None and status >= 400:
            error = LocustError(f"HTTP {status}")
        self.environment.events.request.fire(
            request_type=method,
            name=name,
            response_time=ms,
            response_length=length,
            exception=error,
            context=OURS,
            response=None,
        )

    def failed(self, kind: str, name: str, error: Exception) -> None:
        """Count a failure of request type `kind` under `name` in Locust's statistics."""
        self.environment.events.request.fire(
            request_type=kind, name=name, response_time=None, response_length=0, exception=error, context=OURS
        )

    def _strangers(self) -> Callable[[str | None], bool] | None:
        """Return a function of a room label: whether messages from outside the run are allowed in the room.

        Returns None if they are allowed in no room. They are allowed in all rooms if the rooms existed before the run.
        If only the accounts existed before, they are allowed in rooms that are not part of the run. They are allowed
        nowhere if the run made both rooms and accounts.
        """
        target, mine = self.part.target, {room.label for room in self.part.plan.rooms}
        if target.parts.has_rooms is not None:
            return lambda label: True
        if self.part.plan.people_given:
            return lambda label: label is not None and label not in mine
        return None


def unauthorized(error: Exception) -> bool:
    """Return whether the platform refused the socket with status 401, so that the user has to log in again."""
    return isinstance(error, Refused) and error.status == UNAUTHORIZED


def may_pass(error: Exception) -> bool:
    """Return whether a client should try to connect again after this error.

    A socket that was refused with a 4xx status other than 401 and 429 is not tried again.
    """
    return not (isinstance(error, Refused) and 400 <= error.status < 500) or error.status in (UNAUTHORIZED, TOO_MANY)
