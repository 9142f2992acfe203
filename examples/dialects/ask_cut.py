"""People ask an assistant; half of them lose the network while an answer arrives, come back, and ask again.

The answer that was cut stays without an end on the record: the tester ended it, so no check misses its end.
`earwitness conform` runs it.

earwitness run examples/dialects/ask_cut.py --headless -u 10 -t 12s --target examples/dialects/sse_chat.toml
"""

import time

from locust import task

from earwitness import Asking, ChatUser, Cutting, story

CUT_S = 4.0
"""Seconds after a user's start at which it loses the network."""

story(__file__, judged_by=("I8", "I12", "I24", "I43"), rooms=(1,))


class Interrupted(ChatUser):
    asking, cutting = Asking(), Cutting()
    think_s = (0.1, 0.5)

    def on_start(self) -> None:
        super().on_start()
        self.began, self.was_cut = time.monotonic(), False

    @task
    def ask_and_read(self) -> None:
        if not self.number % 2 or self.was_cut or time.monotonic() - self.began < CUT_S:
            self.say()  # a user whose connection was cut comes back first
            return
        self.asking.ask(self.rooms[0])  # its answer has begun, and is still under way
        self.was_cut = self.poster is None or self.poster.busy
        self.cutting.cut()
