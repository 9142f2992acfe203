"""Declaration of a defect: the decorator `defect` above the class or function that installs it.

    @defect("Z5", "drop-push", breaks="A message is there for everybody but me …", opportunity=PUSH,
            caught_by=("I4", "I5b"), high=0.005, one=0.0002, through=per_listener)
    class DropPush(PerListener): ...

The declaration is all that there is to say of a defect: the catalogue and the services read it from here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from earwitness.harness.defects.chance import Chance
from earwitness.harness.platform.defect import Defect

Install = Callable[[Any, Chance], object]
"""Called with a service and the chance, before the service starts: replaces a part of it."""
Declared = TypeVar("Declared")
PYTEST_SUITE = "pytest_suite"


@dataclass(frozen=True, slots=True)
class Declaration:
    """A defect, the kinds of service that can have it, and what installs it in one."""

    defect: Defect
    kinds: tuple[str, ...]
    install: Install


DECLARED: dict[str, Declaration] = {}
"""By id. Complete when every module of the package is imported (`harness.defects.catalogue`)."""


def defect(
    id: str,
    name: str,
    *,
    kinds: tuple[str, ...] = (),
    through: Callable[[Any], Install] | None = None,
    **described: Any,
) -> Callable[[Declared], Declared]:
    """Declare the decorated class or function as a defect.

    `kinds` are the kinds of service that can have it, by default that of `service`; `through` makes of the decorated
    class what installs it. All else are fields of `harness.platform.defect.Defect`.
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
    """Declare a defect that a person meets, not a load story: a test of `pytest_suite` names it.

    No check of a recorded history is meant for it, so `caught_by` is empty and the matrix leaves it out.
    """
    return defect(
        id, name, service=service, breaks=breaks, opportunity=opportunity,
        caught_by=(), high=1.0, one=0.1, story=PYTEST_SUITE,
    )  # fmt: skip


def kind_of(service: str) -> str:
    """Return the kind of a service: `backend` for `backend-2`."""
    return re.sub(r"-\d+$", "", service)
