"""People who chat for longer than two heartbeat timeouts, are silent for a while, and partly lose the network once.

Users with even numbers keep their connection for the whole run, so heartbeats must keep it open while nobody says
anything. Each of the others is cut once after the silence, and comes back: its session goes on where platform and
target file can resume, else it begins anew. `earwitness conform` runs it.

earwitness run examples/dialects/lasting.py --headless -u 10 -t 12s --target examples/dialects/nats.toml
"""

import time

from locust import task

from earwitness import ChatUser, Cutting, story

SILENT_S = (4.0, 7.0)
"""Seconds after a user's start between which it says nothing."""

story(__file__, judged_by=("I1", "I2", "I4", "I5b", "I6", "I8", "I10", "I12", "I15"), rooms=(2, 10))


class Patient(ChatUser):
    cutting = Cutting()
    think_s = (0.1, 0.5)

    def on_start(self) -> None:
        super().on_start()
        self.began, self.was_cut = time.monotonic(), False

    @task
    def chat(self) -> None:
        age_s = time.monotonic() - self.began
        if SILENT_S[0] <= age_s < SILENT_S[1]:
            return
        if age_s >= SILENT_S[1] and self.number % 2 and not self.was_cut:
            self.was_cut = True
            self.cutting.cut()
        self.say()  # a user whose connection was cut reconnects first
