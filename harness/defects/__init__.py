"""Defects of the reference platform, each a small object that takes the place of one healthy part.

Loaded only by a process that was started with `--defect NAME:PROBABILITY`; the healthy code knows nothing of them.
`catalogue` lists them. The probability is per opportunity, which each defect defines. Each firing writes one line of
JSON to stderr, the ground truth: `{"defect": id, "name", "service", "firing": n, "at": epoch seconds, …}`, and when
its effect has reached a client or the database another one: `{"manifest": id, "service", "firing": n, "at"}`. An
effect of which the service cannot know whether it got anywhere has no second line.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

from earwitness.harness.defects.catalogue import BY_NAME, CATALOGUE
from earwitness.harness.defects.chance import Chance
from earwitness.harness.errors import SettingsError

if TYPE_CHECKING:
    from earwitness.harness.reference.service import DefectOrder, Service

#: Which module knows the defects of which service. Each has `DEFECTS: dict[id, Callable[[service, Chance], object]]`.
MODULES = {kind: f"earwitness.harness.defects.{kind}" for kind in ("auth", "backend", "frontend", "provider")}


def known(kind: str) -> dict[str, Any]:
    """Defects of a kind of service (`backend`, `auth`, …) by id."""
    module = MODULES.get(kind)
    return dict(import_module(module).DEFECTS) if module else {}


def install(service: Service, orders: Sequence[DefectOrder]) -> None:
    """Replace parts of a service. SettingsError names every defect that this kind of service does not have."""
    kind = type(service).__module__.removeprefix("earwitness.harness.reference.").split(".")[0]
    defects = known(kind)
    names = ", ".join(f"{one.id} {one.name}" for one in CATALOGUE if one.id in defects)
    faults = [
        f"{order.name!r} is no defect of {kind} (it has: {names or 'none'})"
        for order in orders
        if order.name not in BY_NAME or BY_NAME[order.name].id not in defects
    ]
    if faults:
        raise SettingsError("--defect", faults)
    for order in orders:
        one = BY_NAME[order.name]
        defects[one.id](service, Chance(one.id, service.name, order.probability, one.name))
