"""Connections that break, as they do in trains and lifts."""

from __future__ import annotations

import time

from earwitness.harness.dialects.protocol import Room
from earwitness.harness.load.behaviour import Behaviour


class Cutting(Behaviour):
    """Connections that are lost now and then, also with messages on their way. In tasks: `cut`, `say_quickly`.

    away_s  bounds of how long the user stays away, in seconds, drawn from the user's own `rng`
    """

    def __init__(self, *, away_s: tuple[float, float] = (0.0, 0.6)) -> None:
        self.away_s = away_s

    def begin(self) -> None:
        """Nothing was cut yet."""
        self._back_at = 0.0

    def cut(self, away_s: float | None = None) -> None:
        """As a lost network would; back after a while in which others go on talking (`away_s` of the class, or so
        many seconds), or not at all if the run ends before. Who is away already stays away for so long at least."""
        if self.user.connection is not None and not self.part.draining:
            away_s = self.user.rng.uniform(*self.away_s) if away_s is None else away_s
            self._back_at = max(self._back_at, time.monotonic() + away_s)
            self.user.connection.abort()

    def say_quickly(self, room: Room, count: int, *, cut: bool = False) -> None:
        """Several messages on their way at once; with `cut` the connection ends before their answers."""
        self.user.begin_action()
        if not self.user.online and not self.user.come_back():
            return
        for _ in range(count):
            payload = self.part.plan.payload(self.user.number, self.user.session.counter + 1)
            self.user.send(self.user.session.send(time.monotonic_ns(), room.label, payload))
        if cut:
            self.part.occurred["cut-in-mid-send"] += self.user.session.pending > 0
            self.cut()
        self.user.await_answers(0)

    def be_away(self) -> None:
        """Wait until the time for which the connection is lost is over, or the run is."""
        while (left_s := self._back_at - time.monotonic()) > 0 and not self.part.over.wait(left_s):
            pass  # it may have become longer meanwhile

    def after_connect(self) -> None:
        """Cut again what was cut while it was being opened."""
        if self.user.connection is not None and time.monotonic() < self._back_at:
            self.user.connection.abort()  # cut while it was being opened
