"""Connections that break, as they do in trains and lifts."""

from __future__ import annotations

import time

from earwitness.harness.dialects.protocol import Room
from earwitness.harness.load.users import ChatUser


class Cutting(ChatUser):
    """A user whose connection is lost now and then, also with messages on their way."""

    abstract = True
    away_s: tuple[float, float] = (0.0, 0.6)
    _back_at = 0.0

    def cut(self, away_s: float | None = None) -> None:
        """As a lost network would; back after a while in which others go on talking (`away_s` of the class, or so
        many seconds), or not at all if the run ends before. Who is away already stays away for so long at least."""
        if self._connection is not None and not self.part.draining:
            away_s = self.rng.uniform(*self.away_s) if away_s is None else away_s
            self._back_at = max(self._back_at, time.monotonic() + away_s)
            self._connection.abort()

    def say_quickly(self, room: Room, count: int, *, cut: bool = False) -> None:
        """Several messages on their way at once; with `cut` the connection ends before their answers."""
        self._go_on_or_stop()
        if not self.online and not self._back_online():
            return
        for _ in range(count):
            payload = self.part.plan.payload(self.number, self.session.counter + 1)
            self._send(self.session.send(time.monotonic_ns(), room.label, payload))
        if cut:
            self.part.occurred["cut-in-mid-send"] += self.session.pending > 0
            self.cut()
        self._await_answers(0)

    def _be_away(self) -> None:
        while (left_s := self._back_at - time.monotonic()) > 0 and not self.part.over.wait(left_s):
            pass  # it may have become longer meanwhile

    def connect(self) -> None:
        super().connect()
        if self._connection is not None and time.monotonic() < self._back_at:
            self._connection.abort()  # cut while it was being opened
