"""Turns of a user: what Locust promises of tasks, stopping and pausing holds in our task loop too."""

from __future__ import annotations

import subprocess
import sys

PERSON = """
import time
from collections import Counter
from random import Random
from types import SimpleNamespace

import gevent
from gevent.pool import Group
from locust import TaskSet, User, task
from locust.env import Environment

from earwitness import ChatUser
from earwitness.harness.load.pacing import Pace, pause
from earwitness.harness.load.turns import Turns

told, errors = [], []

class Person(ChatUser):
    abstract = True
    think_s = (0.0, 0.0)

    def __init__(self, environment):
        User.__init__(self, environment)
        self.part = SimpleNamespace(arrivals=None, started=lambda: None, draining=True)
        self._late, self._before, self.rng, self.pace, self.number = False, None, Random(1), Pace(), 7
        self.part.attained = SimpleNamespace(acted=set())

    def _start(self):
        return True

    def on_stop(self):
        told.append("stopped")

def started(kind):
    environment = Environment(user_classes=[kind])
    environment.events.user_error.add_listener(lambda exception, **_: errors.append(str(exception)))
    person = kind(environment)
    group = Group()
    person.start(group)
    return person, group
"""

TASKS = """
class Chooser(Person):
    @task(3)
    def often(self): told.append("often")
    @task(1)
    def seldom(self): told.append("seldom")
    @task(4)
    class Within(TaskSet):
        @task
        def inside(self):
            told.append("inside")
            self.interrupt()

person, group = started(Chooser)
while len(told) < 8000:
    gevent.sleep(0)
count, whole = Counter(told), len(told)
shares = [round(8 * count[name] / whole) for name in ("often", "seldom", "inside")]
print(type(person._taskset_instance) is Turns, *shares)

# the web UI changes the tasks of a class while its users run
Chooser.tasks = [one for one in Chooser.tasks if getattr(one, "__name__", "") == "seldom"]
gevent.sleep(0.01)
told.clear()
gevent.sleep(0.05)
print(*set(told))
Chooser.tasks = []
gevent.sleep(0.01)
print(errors[0].partition(".")[0])
person.stop(force=True)
"""

STOPS = """
class Sleeper(Person):
    think_s = (30.0, 30.0)
    @task
    def act(self): told.append("acted")

class Worker(Person):
    @task
    def act(self):
        told.append("begun")
        gevent.sleep(0.2)
        told.append("done")

for kind in (Sleeper, Worker):
    told.clear()
    person, group = started(kind)
    gevent.sleep(0.05)
    begin = time.monotonic()
    at_once = person.stop()
    group.join(5)
    print(kind.__name__, at_once, *told, time.monotonic() - begin < 1)
"""

YIELDS = """
class Busy(Person):
    turns_that_wait = 0
    @task
    def act(self):
        told.append("turn")
        if len(told) <= self.turns_that_wait:
            gevent.sleep(0)
            self.has_waited = True
        if len(told) == 1000:
            self.stop()

seen = []
def other():
    while len(told) < 1000:
        seen.append(len(told))
        gevent.sleep(0)

for Busy.turns_that_wait in (0, 1000, 1):
    told.clear(), seen.clear()
    person, group = started(Busy)
    gevent.spawn(other)
    group.join(10)
    print(1000 // len(seen))
"""

ERRORS = """
class Faulty(Person):
    @task
    def act(self):
        told.append("acted")
        if len(told) < 3:
            raise KeyError("a mistake in the story")
        self.stop()

person, group = started(Faulty)
group.join(5)
print(*told, *errors)
"""

PAUSES = """
def slept(seconds, at_0_1_s=None):
    begin = time.monotonic()
    sleeper = gevent.spawn(pause, seconds)
    if at_0_1_s is not None:
        gevent.sleep(0.1)
        at_0_1_s(sleeper)
    sleeper.join(5)
    return sleeper, time.monotonic() - begin

_, length = slept(0.2)
print(0.2 <= length < 1.0)
_, length = slept(0.3, lambda sleeper: gevent.get_hub().loop.run_callback(sleeper.switch))
print(0.3 <= length < 1.0)
killed, length = slept(30, lambda sleeper: sleeper.kill())
print(length < 5, type(killed.value).__name__)

def disturbed():
    with gevent.Timeout(0.05, False):
        pause(0.15)
    gevent.sleep(0.3)  # would fail if the pause still woke it
    return "undisturbed"
print(gevent.spawn(disturbed).get())

person, same = Person(Environment()), Random(5)
person.think_s, person.rng = (0.5, 2.0), Random(5)
print([person.wait_time() for _ in range(100)] == [same.uniform(0.5, 2.0) for _ in range(100)])
"""


def lines(program: str) -> list[str]:
    """In a process of its own, because Locust patches the one that imports it."""
    done = subprocess.run(
        [sys.executable, "-c", PERSON + program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_tasks_are_chosen_by_weight_also_when_they_change() -> None:
    """Three, one and four of eight, a nested TaskSet among them; without any, Locust says what is missing."""
    assert lines(TASKS) == ["True 3 1 4", "seldom", "No tasks defined on Chooser"]


def test_a_pausing_user_stops_at_once_and_a_busy_one_after_its_task() -> None:
    assert lines(STOPS) == ["Sleeper True acted stopped True", "Worker False begun done stopped True"]


def test_a_user_without_a_pause_gives_way_once_a_turn() -> None:
    """Whether its task has waited, and so has given way already, or not."""
    assert lines(YIELDS) == ["1", "1", "1"]


def test_a_mistake_in_a_task_is_reported_and_the_user_goes_on() -> None:
    assert lines(ERRORS) == ["acted acted acted stopped 'a mistake in the story' 'a mistake in the story'"]


def test_pauses() -> None:
    """They last as long as asked, whoever wakes the greenlet; killing ends them; one seed draws the same ones."""
    assert lines(PAUSES) == ["True", "True", "True GreenletExit", "undisturbed", "True"]
