"""The connection of a virtual user: its session over all sockets, reconnecting, resending; requests beside it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from random import Random
from typing import Any

import gevent
from gevent.event import Event
from gevent.lock import RLock
from locust.exception import LocustError

from earwitness.harness.client.events import Handshake
from earwitness.harness.client.flow import FlowError
from earwitness.harness.client.gevent_shell import Connection, Refused
from earwitness.harness.client.http_gevent import run_flow_gevent
from earwitness.harness.client.http_sender import Poster
from earwitness.harness.client.session import ChatSession
from earwitness.harness.dialects.protocol import Credentials, Room
from earwitness.harness.load.behaviours.recording import Recording
from earwitness.harness.load.soundness import OURS
from earwitness.harness.load.worker import Part

ANSWER_S = 10.0
"""So long a user waits for an answer, or longer where the contract gives the platform longer (I43)."""
LONGER_S = 2.0
HOLDS_S = 5.0
"""Credentials that end sooner are not begun with."""
UNAUTHORIZED, TOO_MANY = 401, 429
RECONNECT_TRIES = 8


class Connected(Recording):
    """Part of `ChatUser`: `connect` once; it reconnects by itself while `ready`, and resends what nobody answered."""

    environment: Any
    part: Part
    number: int
    rooms: tuple[Room, ...]
    rng: Random
    ready = False

    def __init__(self, environment: Any) -> None:
        super().__init__(environment)  # type: ignore[call-arg]
        self.session: Any = None
        self.credentials: Credentials | None = None
        self._connection: Connection | None = None
        self._poster: Poster | None = None
        self._answered = Event()
        self._reconnecting: gevent.Greenlet | None = None
        self._unauthorized = False
        self._renewing = RLock()
        self._never_again: set[str] = set()  # ids of messages that must not be sent again, because a retry is longer

    @property
    def online(self) -> bool:
        return self._connection is not None and self._connection.open_now

    @property
    def answer_s(self) -> float:
        """Longer than the platform may take, so that what is given up was surely too late."""
        return max(ANSWER_S, self.part.target.contract.answer_bound_s + LONGER_S)

    def connect(self) -> None:
        """Open the socket; from the second time on resume where the last one ended, if the platform promises it."""
        target = self.part.target
        resume = None
        if self.session is None:
            self.session = self._new_session()
            self._listen()
        elif target.contract.resume:
            resume = self.session.resume_points()
        self.session.asked = dict(resume or {})
        handshake = self._handshake(resume)
        connection = Connection(self.session, handshake, timeout_s=ANSWER_S)
        connection.open()
        self._connection = connection
        self.part.attained.connected.add(self.number)
        for frame in target.rooms_on_connect(self._credentials(), tuple(dict.fromkeys(self.rooms))):
            connection.send(frame)

    def _new_session(self) -> ChatSession:
        target = self.part.target
        if getattr(target, "sends_by_http", False):
            post: Any = target.post  # type: ignore[attr-defined]
            self._poster = Poster(lambda *letter: self._flow(post(self._credentials(), *letter)))
        session = self.part.session(
            self._credentials,
            client=self.number,
            tag=self.part.plan.tag,
            hear=self.part.hear,
            encode=target.encode if self._poster is None else self._poster.encode,
            rooms=self.part.plan.numbers,
            tally=self.part.tally,
            echo=target.contract.echo,
            ack_by_echo=not target.contract.acknowledges and target.contract.echo,
            by_http=self._poster is not None,
            strangers=self._strangers(),
            agents=getattr(target, "agents", ()),
        )
        if self._poster is not None:
            self._poster.session = session
        return session

    def _listen(self) -> None:
        """Hooks of a new session, or of one that is taken over."""
        self.session.on_answer, self.session.on_closed = self._answered.set, self._lost

    def _hold_credentials(self) -> None:
        """Log in anew if the credentials have ended, or soon will, as people do in a long run. Raises FlowError."""
        with self._renewing:
            ends = self._credentials().expires_at
            if self._unauthorized or (ends is not None and ends - time.time() < HOLDS_S):
                with self._recording():
                    self._log_in()
                self._unauthorized = False

    def _log_in(self) -> None:
        raise NotImplementedError

    def _valid_credentials(self) -> Credentials:
        """Such as will hold for a while. Raises FlowError."""
        self._hold_credentials()
        return self._credentials()

    def _handshake(self, resume: Mapping[str, int] | None) -> Handshake:
        return self.part.target.handshake(self._valid_credentials(), resume)

    @property
    def busy(self) -> bool:
        """A reconnection, or something else that will be recorded, is under way: whoever ends a run waits for it, or
        calls it off."""
        return self._under_way > 0 or (self._reconnecting is not None and not self._reconnecting.dead)

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
            self._be_away()
            if self.online or self.part.draining:
                return
            try:
                if self._came_back():
                    return
            except (Refused, FlowError, OSError) as error:
                self._unauthorized = unauthorized(error)
                self._failed("WS", "reconnect", error)
                gevent.sleep(pause_s * self.rng.uniform(0.5, 1.5))
                pause_s = min(2.0, pause_s * 2)

    def _came_back(self) -> bool:
        """False: the connection was cut as soon as it was open."""
        self.connect()
        if self.online:
            self._resend()
        return self.online

    def _be_away(self) -> None:
        """Before each try: wait for as long as the user does not want to be there."""

    def _resend(self) -> None:
        if self.part.target.contract.idempotent:
            for message_id in self.session.unanswered():
                if message_id in self._never_again:
                    continue
                if self._poster is not None:
                    self._poster.again(message_id)
                else:
                    self._send(self.session.retry(time.monotonic_ns(), message_id))

    # -- helpers ------------------------------------------------------------------------------------------------------

    def _send(self, frame: str | bytes, *, soon: bool = False) -> None:
        connection = self._connection
        if connection is None:
            return
        send: Callable[[str | bytes], None] = connection.send_soon if soon else connection.send
        send(frame)

    def _await_answers(self, most: int, timeout_s: float = 0.0) -> None:
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

    def _credentials(self) -> Credentials:
        assert self.credentials is not None
        return self.credentials

    def _flow(self, flow: Any) -> Any:
        return run_flow_gevent(flow, pool=self.part.http, on_request=self._requested)

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

    def _failed(self, kind: str, name: str, error: Exception) -> None:
        self.environment.events.request.fire(
            request_type=kind, name=name, response_time=None, response_length=0, exception=error, context=OURS
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


def unauthorized(error: Exception) -> bool:
    """The platform does not know our token, or not any more."""
    return isinstance(error, Refused) and error.status == UNAUTHORIZED


def may_pass(error: Exception) -> bool:
    """A client tries again after this; the other refusals of a socket are the platform's last word."""
    return not (isinstance(error, Refused) and 400 <= error.status < 500) or error.status in (UNAUTHORIZED, TOO_MANY)
