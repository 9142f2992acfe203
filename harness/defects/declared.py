"""Declaration of a defect: the decorator `defect` above the class or function that installs it.

    @defect("Z5", "drop-push", breaks="A message is there for everybody but me …", opportunity=PUSH,
            caught_by=("I4", "I5b"), high=0.005, one=0.0002, through=per_listener)
    class DropPush(PerListener): ...

The declaration is the only place that describes a defect: the catalogue and the services read it from here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from earwitness.harness.defects.chance import Chance
from earwitness.harness.evidence.defect import Defect

Install = Callable[[Any, Chance], object]
"""Function that replaces a part of a service; called with the service and the chance before the service starts."""
Declared = TypeVar("Declared")
PYTEST_SUITE = "pytest_suite"


@dataclass(frozen=True, slots=True)
class Declaration:
    """Declared defect, with the kinds of service that can have it, and the function or class that installs it."""

    defect: Defect
    kinds: tuple[str, ...]
    install: Install


DECLARED: dict[str, Declaration] = {}
"""Declarations by id, complete when every module of the package is imported (`harness.defects.catalogue`)."""


def defect(
    id: str,
    name: str,
    *,
    kinds: tuple[str, ...] = (),
    through: Callable[[Any], Install] | None = None,
    **described: Any,
) -> Callable[[Declared], Declared]:
    """Return a decorator that declares a class or function as a defect.

    `kinds` are the kinds of service that can have it, by default the kind of `service`. `through` turns the decorated
    class into the function that installs it. All other arguments are fields of `harness.evidence.defect.Defect`. The
    decorator raises ValueError if the id or the name is declared already.
    """
    one = Defect(id=id, name=name, **described)

    def declare(thing: Declared) -> Declared:
        install: Any = through(thing) if through is not None else thing
        if id in DECLARED or any(other.defect.name == name for other in DECLARED.values()):
            raise ValueError(f"the defect {id} {name} is declared twice")
        DECLARED[id] = Declaration(one, kinds or (kind_of(one.service),), install)
        return thing

    return declare


def found_by_tests(
    id: str, name: str, service: str, *, breaks: str, opportunity: str
) -> Callable[[Declared], Declared]:
    """Return a decorator that declares a defect that a test of `pytest_suite` finds, and no load story.

    No check is designed for such a defect, so `caught_by` is empty and the matrix leaves the defect out. The arguments
    are fields of `harness.evidence.defect.Defect`.
    """
    return defect(
        id, name, service=service, breaks=breaks, opportunity=opportunity,
        caught_by=(), high=1.0, one=0.1, story=PYTEST_SUITE,
    )  # fmt: skip


def kind_of(service: str) -> str:
    """Return the kind of a service: `backend` for `backend-2`."""
    return re.sub(r"-\d+$", "", service)
