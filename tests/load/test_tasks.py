"""Tasks of a story, without a platform; in a process of their own, because Locust patches the one that imports it."""

from __future__ import annotations

import subprocess
import sys

STORY = """
from locust import task
from harness.client.flow import FlowError
from harness.load import ChatUser

class Base(ChatUser):
    abstract = True

    @task(3)
    def asks(self):
        raise FlowError("login", "tokens", detail="status 503")

class Person(Base):
    @task
    def errs(self):
        raise KeyError("a mistake in the story")

person = object.__new__(Person)
person._failed = lambda *told: print("failed", *told)
assert sorted(task.__name__ for task in Person.tasks) == ["asks"] * 3 + ["errs"]
for act in dict.fromkeys(Person.tasks):
    try:
        act(person)
    except KeyError as error:
        print("raised", error)
"""


def test_a_request_that_fails_is_a_failed_task() -> None:
    """It is counted and no error of the program; a mistake in the story stays one."""
    ran = subprocess.run([sys.executable, "-c", STORY], capture_output=True, text=True, timeout=60, check=True)
    failed, raised = sorted(ran.stdout.splitlines())
    assert failed.startswith("failed TASK asks")
    assert raised == "raised 'a mistake in the story'"


RACE = """
from types import SimpleNamespace
from checks.record import Kind
from harness.load import Racer

told = []

class Person(Racer):
    def _log_in_again(self):
        self.login = SimpleNamespace(credentials=SimpleNamespace(user_id="an id"))
        self.credentials = self.login.credentials

journal = SimpleNamespace(intern=lambda name: name, identity=lambda *said: told.append("the identity"))
person = object.__new__(Person)
person.part = SimpleNamespace(
    journal=journal, note=lambda kind, *_, **said: told.append(kind.name), target=SimpleNamespace(identity=lambda _: ())
)
person._tokens, person.number, person._flow = True, 0, lambda flow: flow
person._log_in()
print(*told, sep="\\n")
"""


def test_who_a_racing_user_is_stands_before_anything_about_it() -> None:
    """Else the judge beside the run, which reads what is there so far, takes them for strangers."""
    ran = subprocess.run([sys.executable, "-c", RACE], capture_output=True, text=True, timeout=60, check=True)
    told = ran.stdout.splitlines()
    assert told.count("IDENTITY") == 3
    assert told.index("the identity") < told.index("IDENTITY")
