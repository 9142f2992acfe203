"""Users exchange messages with an echo server, in two rooms each, as fast as the answers come.

BENCHMARK_PAUSE_S sets a pause between messages. `python -m benchmarks.through_story story` writes the target file and
runs the story.
"""

import os

import gevent
from locust import task

from benchmarks.through_story.meter import IDLE_S, Meter
from earwitness import ChatUser, story
from earwitness.harness.client.link import TRANSPORT
from earwitness.harness.native import described
from earwitness.harness.planning.plan import PAYLOADS

METER = Meter()
TEXT = "x" * 5
"""Text of each message: with this text a frame has 128 bytes, like the frames of the other programs."""
PAUSE_S = float(os.environ.get("BENCHMARK_PAUSE_S", "0"))

story(__file__, judged_by=("I1", "I6", "I8", "I10", "I12"), rooms=(1, 1))


class Chatter(ChatUser):
    """User who sends a message, waits for its echo, and sends the next one."""

    think_s = (0.5 * PAUSE_S, 1.5 * PAUSE_S)

    def on_start(self):
        super().on_start()
        part = self.part
        vars(part.plan)["payloads"] = (TEXT,) * PAYLOADS
        METER.begin(part.everyone_here, lambda: sum(user.session.acked for user in part.users), _more)

    @task(3)
    def chat_here(self):
        self.say(self.rooms[0])
        if METER.over:
            gevent.sleep(IDLE_S)

    @task(1)
    def chat_there(self):
        self.say(self.rooms[1])
        if METER.over:
            gevent.sleep(IDLE_S)


def _more():
    moved = TRANSPORT.snapshot()
    return {
        "native": described()["native"],
        "native_share": moved["frames_native"] / (moved["frames_in"] + moved["frames_out"]),
        "bytes_a_message": moved["bytes_out"] / moved["frames_out"],
    }
