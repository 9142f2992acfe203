"""Behaviour `Cutting`: connections that break, as when a phone loses its network."""

from __future__ import annotations

import time

import gevent

from earwitness.harness.client.http_sender import Poster, StreamPoster
from earwitness.harness.dialects.protocol import Room
from earwitness.harness.load.behaviour import Behaviour


class Cutting(Behaviour):
    """Behaviour that aborts the user's connection, even while messages are in flight.

    Methods for tasks: `cut`, `say_quickly`.

    away_s  bounds of the time that the user stays offline, in seconds; drawn from the user's own `rng`
    """

    def __init__(self, *, away_s: tuple[float, float] = (0.0, 0.6)) -> None:
        """Set the bounds of the time offline in seconds; (0, 0) reconnects at once."""
        self.away_s = away_s

    def begin(self) -> None:
        """Implement `Behaviour.begin`: start without a scheduled end of a time offline."""
        self._back_at = 0.0

    def cut(self, away_s: float | None = None) -> None:
        """Abort the connection as a lost network does, and stay offline for a while in which others continue to send.

        `away_s`: seconds; None draws them from the behaviour's `away_s`. A user that is offline already stays so for at
        least that long. If the run ends before that, the user does not reconnect. No-op while the run is ending.
        """
        if self.user.connection is not None and not self.part.draining:
            away_s = self.user.rng.uniform(*self.away_s) if away_s is None else away_s
            self._back_at = max(self._back_at, time.monotonic() + away_s)
            self.user.connection.abort()

    def say_quickly(self, room: Room, count: int, *, cut: bool = False) -> None:
        """Send `count` messages without waiting between them, then wait for their answers.

        Messages that are sent as requests are sent one after the other, unless their answers are streamed.

        `cut`: end the connection before the answers arrive.
        """
        self.user.begin_action()
        if not self.user.online and not self.user.come_back():
            return
        waits = isinstance(self.user.poster, Poster)
        for _ in range(count - (cut and waits)):
            self._put(room)
        last = None
        if cut and waits:  # its request is under way while the connection is cut
            last = gevent.spawn(self._put, room)
            gevent.sleep(0)
        if cut:
            self.part.occurred["cut-in-mid-send"] += self.user.session.pending > 0
            self.cut()
        if last is not None:
            last.get()
        self.user.await_answers(0)

    def _put(self, room: Room) -> None:
        """Send a message on the socket or as a request.

        A request blocks until its answer has come, unless the answer is streamed.
        """
        payload = self.part.plan.payload(self.user.number, self.user.session.counter + 1)
        poster = self.user.poster
        if isinstance(poster, StreamPoster):
            poster.begin(room.label, payload, None)
        elif poster is not None:
            poster.say(room.label, payload, None)
        else:
            self.user.utter(room.label, payload)

    def be_away(self) -> None:
        """Implement `Behaviour.be_away`: block until the time offline is over or the run ends."""
        while (left_s := self._back_at - time.monotonic()) > 0 and not self.part.over.wait(left_s):
            pass  # a further cut may have extended the time meanwhile

    def after_connect(self) -> None:
        """Implement `Behaviour.after_connect`: abort a connection that was being opened when `cut` was called."""
        if self.user.connection is not None and time.monotonic() < self._back_at:
            self.user.connection.abort()
