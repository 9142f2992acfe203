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
