"""Tokens and their forgeries, while the wall clock of this process is stepped.

A test cannot set the machine's clock. What this process reads of it is replaced instead, at the one place where all of
its code does: `time.time` and `time.time_ns`. The platform's clock stays right.
"""

import time
from contextlib import suppress

import gevent
from locust import events, task
from locust.exception import StopUser

from earwitness import Attacks, ChatUser, Tokens, story
from earwitness.harness.client.flow import FlowError

story(__file__, judged_by=("I5b", "I29", "I31", "I35"), rooms=(5,))

BEFORE_S = 2.0
NOW, NOW_NS = time.time, time.time_ns


@events.init_command_line_parser.add_listener
def _(parser):
    parser.add_argument("--step-s", type=float, default=0.0)


def step(by_s):
    """From now on the wall clock is `by_s` ahead of the machine's."""
    time.time, time.time_ns = lambda: NOW() + by_s, lambda: NOW_NS() + int(by_s * 1e9)


class Forger(ChatUser):
    """Presents each forgery beside a control."""

    tokens = Tokens()
    attacks = Attacks()
    think_s = (0.2, 0.5)

    def on_start(self):
        super().on_start()
        if self.number == 0:
            gevent.spawn(self.step_in_time)

    def step_in_time(self):
        self.part.everyone_here.wait()
        with suppress(StopUser, FlowError):
            self.forge_all()
            if not self.part.over.wait(BEFORE_S):
                step(self.environment.parsed_options.step_s)
                self.forge_all()  # at once: on a busy machine little of the run is left

    @task(3)
    def chat(self):
        self.say()

    @task(2)
    def show_it_everywhere(self):
        self.tokens.present_everywhere()

    @task
    def forge_all(self):
        self.attacks.forge(count=len(self.tokens.ability.forgeries(self.attacks.signing_key())))
