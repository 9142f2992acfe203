"""Users who chat for longer than two heartbeat timeouts, with a silent time; half of them lose the network once.

Users with even numbers keep their connection for the whole run, so heartbeats must keep it open while no user sends
anything. Each user with an odd number is cut once after the silent time and reconnects. Its session continues where
platform and target file can resume; elsewhere a new session begins. `earwitness conform` runs this story.

earwitness run examples/dialects/lasting.py --headless -u 10 -t 12s --target examples/dialects/nats.toml
"""

import time

from locust import task

from earwitness import ChatUser, Cutting, story

SILENT_S = (4.0, 7.0)
"""Seconds after a user's start between which the user sends nothing."""

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
