"""When all users of all load processes are there."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
from types import SimpleNamespace
import locust
from earwitness import ChatUser
from earwitness.harness.load.coordinator import Conductor

class Other(locust.User):
    pass

def told(*reports, classes=(ChatUser,), planned=20, target=20):
    sent = []
    runner = SimpleNamespace(target_user_count=target, send_message=lambda *words: sent.append(words[1:]))
    conductor = object.__new__(Conductor)
    conductor.life = SimpleNamespace(environment=SimpleNamespace(user_classes=list(classes)), runner=runner)
    conductor._expected, conductor._here, conductor._crowd_is_here = {"a", "b"}, {}, False
    conductor._planned, began = planned, []
    conductor._faults = SimpleNamespace(begin=lambda: began.append(len(sent)))
    for worker, users in reports:
        conductor.part_is_here(worker, users)
    return [message["users"] for message, _ in sent], len(began)

early = (("a", 1), ("b", 1))
print(told(*early), told(*early, ("a", 10), ("b", 10)), told(("a", 10)), told(*early, ("a", 10), ("b", 10), ("b", 11)))
print(told(*early, planned=0), told(*early, classes=(ChatUser, Other)), told(*early, planned=2, target=30))
"""


def test_everyone_is_counted() -> None:
    """Locust says too early that all are spawned: a rate shared by two users instead of twenty would be ten times as
    high. With a growing number, or with users of other classes, its word is all there is."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout.splitlines() == [
        "([], 0) ([20, 20], 1) ([], 0) ([20, 20], 1)",
        "([2, 2], 1) ([2, 2], 1) ([2, 2], 1)",
    ], done.stderr
