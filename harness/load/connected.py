"""The connection of a virtual user: its session over all sockets, reconnecting, resending; requests beside it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random
from typing import Any

import gevent
from gevent.event import Event
from gevent.lock import RLock
from locust import User
from locust.exception import LocustError

from earwitness.harness.client.flow import FlowError
from earwitness.harness.client.gevent_shell import Connection, Refused
from earwitness.harness.client.http_gevent import run_flow_gevent
from earwitness.harness.client.http_sender import Poster
from earwitness.harness.client.session import ChatSession
from earwitness.harness.client.try_connect import OPENED
from earwitness.harness.dialects.protocol import Credentials, Room
from earwitness.harness.load.account import Account
from earwitness.harness.load.behaviour import Behaviour
from earwitness.harness.load.soundness import OURS
from earwitness.harness.load.worker import Part

ANSWER_S = 10.0
"""So long a user waits for an answer, or longer where the contract gives the platform longer (I43)."""
LONGER_S = 2.0
UNAUTHORIZED, TOO_MANY = 401, 429
RECONNECT_TRIES = 8


class ConnectedUser(User):
    """User with a connection: `connect` once; it reconnects by itself while `ready`, and resends what was not answered.

    behaviours  what the user does beside chatting, see `harness.load.behaviour`
    account     how it logs in and shows its credentials
    """

    abstract = True

    part: Part
    number: int
    rooms: tuple[Room, ...]
    rng: Random
    ready = False

    def __init__(self, environment: Any) -> None:
        super().__init__(environment)
        self.session: Any = None
        self.credentials: Credentials | None = None
        self.connection: Connection | None = None
        self.poster: Poster | None = None
        self.behaviours: list[Behaviour] = []
        self.account: Account
        self._answered = Event()
        self._reconnecting: gevent.Greenlet | None = None
        self.unauthorized = False
        self.renewing = RLock()
        self.never_resend: set[str] = set()  # ids of messages of which a retry would be longer than permitted
        self._under_way = 0

    @property
    def online(self) -> bool:
        """Whether the socket is open."""
        return self.connection is not None and self.connection.open_now

    @property
    def answer_s(self) -> float:
        """Longer than the platform may take, so that what is given up was surely too late."""
        return max(ANSWER_S, self.part.target.contract.answer_bound_s + LONGER_S)

    def connect(self) -> None:
        """Open the socket; from the second time on resume where the last one ended, if the platform promises it.

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
        connection = Connection(self.session, self.account.handshake(resume), timeout_s=ANSWER_S)
        connection.open()
        self.connection = connection
        self.part.attained.connected.add(self.number)
        for frame in target.rooms_on_connect(self.own_credentials(), tuple(dict.fromkeys(self.rooms))):
            connection.send(frame)

    def _new_session(self) -> ChatSession:
        target = self.part.target
        by_http = target.parts.sends_by_http
        if by_http is not None:
            post = by_http.post
            self.poster = Poster(lambda *letter: self.flow(post(self.own_credentials(), *letter)))
        session = self.part.session(
            self.own_credentials,
            client=self.number,
            tag=self.part.plan.tag,
            hear=self.part.hear,
            encode=target.encode if self.poster is None else self.poster.encode,
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

    def _listen(self) -> None:
        """Set hooks of a new session, or of one that is taken over."""
        self.session.on_answer, self.session.on_closed = self._answered.set, self._lost
        for behaviour in self.behaviours:
            behaviour.listen()

    @property
    def busy(self) -> bool:
        """Whether a reconnection, or something else that will be recorded, is under way.

        The end of a run waits for it, or cancels it.
        """
        reconnecting = self._reconnecting is not None and not self._reconnecting.dead
        return self._under_way > 0 or reconnecting or any(behaviour.busy for behaviour in self.behaviours)

    def stay_away(self) -> None:
        """Cancel what is under way, as if it had never begun."""
        if self._reconnecting is not None:
            self._reconnecting.kill()
        for behaviour in self.behaviours:
            behaviour.stay_away()

    def disconnect(self) -> None:
        """Close the socket, and the HTTP sender where messages go by HTTP."""
        if self.poster is not None:
            self.poster.close()
        self.hang_up()

    def hang_up(self) -> None:
        """Close the socket, if there is one."""
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.close()

    def _lost(self) -> None:
        """Called inside the io callback when the socket ended: hand over, never block."""
        self._answered.set()
        if not self.part.draining and self.ready:
            self._reconnection()

    def come_back(self) -> bool:
        """Wait until reconnected, or until that was given up; return whether the user is online."""
        self._reconnection().join()
        return self.online

    def _reconnection(self) -> gevent.Greenlet:
        """The reconnecting that is under way, or a new one: never two at once."""
        if self._reconnecting is None or self._reconnecting.dead:
            self._reconnecting = gevent.spawn(self._reconnect)
        return self._reconnecting

    def _reconnect(self) -> None:
        """Connect with growing pauses: the back-off of a reconnecting client, drawn from the seed."""
        for behaviour in self.behaviours:
            behaviour.before_reconnect()
        pause_s = 0.05
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
                gevent.sleep(pause_s * self.rng.uniform(0.5, 1.5))
                pause_s = min(2.0, pause_s * 2)

    def _came_back(self) -> bool:
        """False: the connection was cut as soon as it was open."""
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
                else:
                    self.send(self.session.retry(time.monotonic_ns(), message_id))

    # -- helpers ------------------------------------------------------------------------------------------------------

    def send(self, frame: str | bytes, *, soon: bool = False) -> None:
        """Send a frame on the open socket, or drop it; `soon`: together with others of this turn of the loop."""
        connection = self.connection
        if connection is None:
            return
        send: Callable[[str | bytes], None] = connection.send_soon if soon else connection.send
        send(frame)

    def await_answers(self, most: int, timeout_s: float = 0.0) -> None:
        """Wait until at most so many messages are not answered; `timeout_s`: at least `answer_s`."""
        timeout_s = max(timeout_s, self.answer_s)
        end = time.monotonic() + timeout_s
        while self.session.pending > most and self.online:
            left = end - time.monotonic()
            if left <= 0:
                self.session.timeouts(time.monotonic_ns(), int(timeout_s * 1e9))
                return
            self._answered.clear()
            if self.session.pending > most:
                self._answered.wait(left)

    def own_credentials(self) -> Credentials:
        """Return the present credentials, whether they still hold or not."""
        assert self.credentials is not None
        return self.credentials

    def flow(self, flow: Any) -> Any:
        """Run an HTTP flow and return its result; each request is in Locust's statistics. Raises FlowError."""
        return run_flow_gevent(flow, pool=self.part.http, on_request=self._requested)

    def quietly(self, flow: Any) -> Any:
        """Run an HTTP flow whose refusal was asked for: it is no failure in Locust's statistics. Raises FlowError."""

        def requested(name: str, method: str, ms: float, status: int, length: int, error: Exception | None) -> None:
            self._requested(name, method, ms, min(status, 399), length, error)

        return run_flow_gevent(flow, pool=self.part.http, on_request=requested)

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Mark that something is under way that will be recorded: the end of the run waits for it."""
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
        """Count a failure in Locust's statistics."""
        self.environment.events.request.fire(
            request_type=kind, name=name, response_time=None, response_length=0, exception=error, context=OURS
        )

    def _strangers(self) -> Callable[[str | None], bool] | None:
        """Where messages that are not of this run are nobody's fault: in rooms that were there before, and for
        accounts that were there before in rooms that are not the run's. Nowhere on what the run made itself."""
        target, mine = self.part.target, {room.label for room in self.part.plan.rooms}
        if target.parts.has_rooms is not None:
            return lambda label: True
        if self.part.plan.people_given:
            return lambda label: label is not None and label not in mine
        return None


def unauthorized(error: Exception) -> bool:
    """The platform does not know our token, or not any more."""
    return isinstance(error, Refused) and error.status == UNAUTHORIZED


def may_pass(error: Exception) -> bool:
    """A client tries again after this; the other refusals of a socket are the platform's last word."""
    return not (isinstance(error, Refused) and 400 <= error.status < 500) or error.status in (UNAUTHORIZED, TOO_MANY)
