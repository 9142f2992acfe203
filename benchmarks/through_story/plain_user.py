"""Plain user of Locust with websocket-client, without Earwitness: sends a frame and waits for its echo.

The user compares the number in the echo and reports the message to Locust's statistics, unless
BENCHMARK_STATISTICS=off. `python -m benchmarks.through_story locust` runs it.
"""

import json
import os
import time

import gevent
import websocket
from gevent.event import Event
from locust import User, constant, events, task

from benchmarks.through_story.meter import IDLE_S, Meter

try:
    from wsaccel.xormask import XorMaskerSimple
except ImportError:
    XorMaskerSimple = None

FRAME_BYTES = 128
METER = Meter()
ALL_HERE = Event()
USERS = []
PAUSE_S = float(os.environ.get("BENCHMARK_PAUSE_S", "0"))
STATISTICS = os.environ.get("BENCHMARK_STATISTICS") != "off"


class Plain(User):
    """User with one socket, which records nothing."""

    wait_time = constant(PAUSE_S)
    host = ""

    def on_start(self):
        self.socket = websocket.create_connection(os.environ["BENCHMARK_URL"])
        self.number = self.heard = 0
        USERS.append(self)
        METER.begin(ALL_HERE, lambda: sum(user.heard for user in USERS), lambda: {"wsaccel": bool(XorMaskerSimple)})
        if len(USERS) == int(os.environ["BENCHMARK_USERS"]):
            ALL_HERE.set()

    def on_stop(self):
        self.socket.close()

    @task
    def chat(self):
        self.number += 1
        begin = time.perf_counter()
        head = f'{{"type":"send","conversation":"room","seq":7,"id":"bench-{self.number}","text":"'
        self.socket.send(head + "x" * (FRAME_BYTES - len(head) - 2) + '"}')
        answer = self.socket.recv()
        assert json.loads(answer)["id"] == f"bench-{self.number}", answer
        self.heard += 1
        if STATISTICS:
            events.request.fire(
                request_type="WS", name="chat", response_time=(time.perf_counter() - begin) * 1000,
                response_length=len(answer), exception=None, context={},
            )  # fmt: skip
        if METER.over:
            gevent.sleep(IDLE_S)
