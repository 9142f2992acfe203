"""A rough evening on the platform under test: connections are cut, messages are sent again, strangers knock, a backend
is restarted. Whoever finds fault with a healthy platform here would cry wolf on a real one."""

from __future__ import annotations

import time

import gevent
from locust import task

from harness.load import ChatUser, story
from harness.platform.launch import offered

# Not by I25: in a run of a few seconds nobody is connected for as long as the platform may take to deliver.
JUDGED_BY = "I1 I2 I3 I4 I5a I5b I6 I7 I8 I9 I10 I11 I12 I14 I15 I20 I21"
SMALL = 0
BEFORE_RESTART = 15
story(__file__, judged_by=JUDGED_BY.split(), rooms=(4, 16))


class Rough(ChatUser):
    """Every third user never sends anything again; the others do it as soon as they are back."""

    think_s = (0.02, 0.2)
    away_s = 0.0
    restarted = False

    @task(10)
    def talk(self) -> None:
        self.say()
        if self.number == 0 and self.session.counter >= BEFORE_RESTART and not self.restarted:
            self.restarted = True
            self.restart_a_backend()

    @task(6)
    def talk_quickly(self, count: int = 4, cut: bool = False) -> None:
        """Several messages on their way at once; with `cut` the connection ends before their answers."""
        self._go_on_or_stop()
        if not self.online and not self._back_online():
            return
        for _ in range(count):
            self._write(self.rooms[SMALL].label)
        if cut:
            self.cut()
        self._await_answers(0)

    @task(2)
    def talk_and_lose_the_connection(self) -> None:
        self.talk_quickly(2, cut=True)

    @task(1)
    def knock(self) -> None:
        """A message to a conversation of others; it must be refused."""
        self._go_on_or_stop()
        others = [room for room in self.part.plan.rooms if room not in self.rooms]
        if others and self.online:
            self._write(self.rng.choice(others).label)
            self._await_answers(0)

    def restart_a_backend(self) -> None:
        """Once a run, by the first user, when there is something to be lost; gracefully or not."""
        platform = offered()
        if platform is not None:
            platform.control.restart(self.rng.choice(("backend-1", "backend-2")), graceful=self.rng.random() < 0.5)

    def cut(self) -> None:
        """As a lost network would; back after a while in which others go on talking."""
        if self._connection is not None and not self.part.draining:
            self.away_s = self.rng.uniform(0.0, 0.6)
            self._connection.abort()

    def _write(self, label: str) -> None:
        payload = self.part.plan.payload(self.number, self.session.counter + 1)
        self._send(self.session.send(time.monotonic_ns(), label, payload))

    def _reconnect(self) -> None:
        away_s, self.away_s = self.away_s, 0.0
        gevent.sleep(away_s)
        super()._reconnect()

    def _resend(self) -> None:
        if self.number % 3:
            super()._resend()
