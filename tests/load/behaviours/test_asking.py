"""Questions to agents, without a platform; in a process of its own, because Locust patches the one that imports it."""

from __future__ import annotations

import subprocess
import sys

BUSY = """
from types import SimpleNamespace
from earwitness import Asking, ChatUser
from earwitness.harness.client.events import AGENT
from earwitness.harness.client.http_sender import StreamPoster
from earwitness.harness.load.behaviour import bound

class Person(ChatUser):
    asking = Asking()

person = object.__new__(Person)
person.connection, person.poster = SimpleNamespace(open_now=True), None
bound(person)
person.asking._told((AGENT, "a", None, -1, None, None, ("run", "started", 0)))
print(person.asking.busy)
person.poster = StreamPoster(lambda *letter: ())
print(person.asking.busy)
"""


def test_what_the_end_of_the_run_waits_for() -> None:
    """An answer without end on a socket; of answers to requests their sender knows whether they still come."""
    ran = subprocess.run([sys.executable, "-c", BUSY], capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout.split() == ["True", "False"]
