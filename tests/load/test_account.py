"""Credentials of a user are renewed when they end, once, and before anything is sent with them."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
from types import SimpleNamespace
import gevent
from earwitness import ChatUser
from earwitness.harness.load import account
from earwitness.harness.load.account import HOLDS_S, Account

now = 1_000.0
account.time = lambda: now
logins, order = [], []

class Slow(Account):
    def log_in(self):
        logins.append(now)
        # The new credentials are there before the login is recorded.
        self.user.credentials = SimpleNamespace(expires_at=now + 100.0)
        gevent.sleep(0.1)
        order.append("recorded")

user = object.__new__(ChatUser)
user.credentials, user.unauthorized, user._under_way = SimpleNamespace(expires_at=None), False, 0
user.account = Slow(user)
user.account.hold()
print("without an end:", len(logins))

user.credentials = SimpleNamespace(expires_at=now + 100.0)
now += 99.9 - HOLDS_S
user.account.hold()
print("long before it:", len(logins))

now += 0.2
def second():
    gevent.sleep(0.02)
    user.account.hold()
    order.append("second acts")
gevent.joinall([gevent.spawn(user.account.hold), gevent.spawn(second)])
print("at it, by two at once:", len(logins), *order)

now += 3600.0  # somebody has set the wall clock
user.account.hold()
print("after a step of the clock:", len(logins))

user.unauthorized = True
user.account.hold()
user.account.hold()
print("refused:", len(logins), user.unauthorized)
"""


def test_it_logs_in_again_when_the_credentials_end() -> None:
    """In a process of its own, because Locust patches the one that imports it."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.splitlines() == [
        "without an end: 0",
        "long before it: 0",
        "at it, by two at once: 1 recorded second acts",
        "after a step of the clock: 2",
        "refused: 3 False",
    ], done.stderr
