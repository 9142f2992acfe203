"""Whom an attacker takes for somebody else."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import random
from types import SimpleNamespace
from earwitness import Attacks

def user(number, there=True):
    person = SimpleNamespace(number=number)
    return SimpleNamespace(person=person, credentials=SimpleNamespace(person=person) if there else None)

def chosen(*others):
    attacks = object.__new__(Attacks)
    me = user(1)
    me.rng = random.Random(1)
    me.part = SimpleNamespace(users=[me, *others])
    attacks.user = me
    found = [attacks._somebody_else() for _ in range(50)]
    return sorted({one.person.number if one else -1 for one in found})

print(chosen(user(1)), chosen(user(1), user(2), user(3), user(4, there=False)))
"""


def test_another_device_of_the_same_person_is_nobody_else() -> None:
    """A token forged for the same person would be the right one, and its acceptance no broken promise."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout == "[-1] [2, 3]\n", done.stderr
