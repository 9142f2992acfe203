"""Behaviours combine freely: each pair of them, and all at once on the real platform."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

PAIRS = """
import itertools, json
from types import SimpleNamespace
import earwitness
from earwitness import Behaviour, ChatUser
from earwitness.harness.load.account import Account
from earwitness.harness.dialects.parts import Parts
from earwitness.harness.load.behaviour import bound

OTHERS = ("Behaviour", "ChatUser", "History", "Story", "check", "story")
kinds = sorted(
    (getattr(earwitness, name) for name in {*earwitness.__all__} - set(OTHERS)),
    key=lambda kind: kind.__name__,
)
assert all(issubclass(kind, Behaviour) for kind in kinds)


class Session:
    \"\"\"Notes who sets a hook.\"\"\"

    def __init__(self):
        vars(self)["hooks"] = []

    def __setattr__(self, name, value):
        self.hooks.append((name, type(getattr(value, "__self__", None)).__name__))


def made(*declared):
    person = object.__new__(type("Person", (ChatUser,), {kind.__name__.lower(): kind() for kind in declared}))
    plan = SimpleNamespace(devices=1, tag="tag", numbers={})
    target = SimpleNamespace(parts=Parts(tokens=SimpleNamespace(places=())), contract=SimpleNamespace())
    person.part = SimpleNamespace(target=target, plan=plan, journal=None, draining=False)
    person.number, person.session, person._reconnecting, person._under_way = 0, Session(), None, 0
    person.connection, person.unauthorized, person.account = None, False, Account(person)
    person._answered = SimpleNamespace(set=None)
    bound(person)
    return person


wrong = []
for pair in itertools.permutations(kinds, 2):
    person = made(*pair)
    for kind in pair:
        own = vars(person)[kind.__name__.lower()]
        if own.user is not person or sum(isinstance(one, kind) for one in person.behaviours) != 1:
            wrong.append(f"{pair}: {kind.__name__} is not there once")
        needed = [one for one in person.behaviours if isinstance(one, kind.needs)]
        at = person.behaviours.index
        if len(needed) < len(kind.needs) or any(at(one) > at(own) for one in needed):
            wrong.append(f"{pair}: {kind.__name__} lacks what it needs")
    person._listen()
    names = [name for name, _ in person.session.hooks]
    if len(set(names)) != len(names):
        wrong.append(f"{pair}: a hook is set twice: {person.session.hooks}")
    for behaviour in person.behaviours:
        behaviour.before_connect()
        behaviour.before_reconnect()
    if person.busy:
        wrong.append(f"{pair}: busy before anything was done")
    person.stay_away()
print(json.dumps([len(kinds), wrong]))
"""


def test_any_two_work_together() -> None:
    """In both orders each is there once, behind what it needs, and neither takes a hook from the other."""
    ran = subprocess.run([sys.executable, "-c", PAIRS], capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    count, wrong = json.loads(ran.stdout)
    assert count == 14
    assert wrong == []


def test_all_at_once(locust: Callable[..., Any]) -> None:
    """Users with every behaviour break no promise of a right platform, and their story is sound (H7)."""
    run = locust("-u", "12", "-r", "12", "-t", "12s", "--seed", "3", story="tests/load/stories/everything.py")
    assert run.broken == [], run.out
    assert run.check("H7")["outcome"] == "PASS"
    assert run.code in (0, 3), run.out  # in so short a run not every check need have looked at something
    for kind in ("READ", "KICK", "RUN", "TOKEN", "REVOKE", "WRITE", "SEEN", "PRESENCE", "REQUEST"):
        assert run.recorded(kind) > 0, kind
    streams, latency = run.verdict["streams"], run.verdict["latency_ms"]
    assert streams["judged"] > 0
    assert {streams[what] for what in ("failed", "broken", "stalled", "cut", "differing", "unanswered")} == {0}, streams
    assert latency["first token"]["samples"] == latency["planned first token"]["samples"] > 0
