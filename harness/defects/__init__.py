"""Defects of the reference platform, each a small object that replaces one healthy part.

A process loads this package only if it was started with `--defect NAME:PROBABILITY`; the healthy code does not refer to
the defects. Each is declared where it is written (`declared.defect`), and `catalogue` lists them. The probability
applies to each opportunity, which each defect defines.

Each firing writes one line of JSON to stderr, the ground truth: `{"defect": id, "name", "service", "firing": n, "at":
epoch seconds, …}`. A firing is manifest when its effect has reached a client or the database; then a second line
follows: `{"manifest": id, "service", "firing": n, "at"}`. The second line is missing where the service cannot know
whether the effect has reached anything.

The docstrings of the defects use these terms. "Manifest at once" means that both lines are written together. Most
constructors get the service, before it starts, and the defect's `Chance`. "Replace X" names the healthy part that the
constructor replaces, "Override X" and "Implement X" the part whose place the defect's method takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from earwitness.harness.errors import SettingsError

if TYPE_CHECKING:
    from earwitness.harness.reference.service import DefectOrder, Service


def install(service: Service, orders: Sequence[DefectOrder]) -> None:
    """Install the ordered defects in a service: each replaces parts of it. The service has not started yet.

    Raises SettingsError, which names every defect that this kind of service does not have.
    """
    from earwitness.harness.defects.catalogue import BY_NAME, CATALOGUE
    from earwitness.harness.defects.chance import Chance

    kind = type(service).__module__.removeprefix("earwitness.harness.reference.").split(".")[0]
    names = ", ".join(f"{one.defect.id} {one.defect.name}" for one in CATALOGUE if kind in one.kinds)
    faults = [
        f"{order.name!r} is no defect of {kind} (it has: {names or 'none'})"
        for order in orders
        if order.name not in BY_NAME or kind not in BY_NAME[order.name].kinds
    ]
    if faults:
        raise SettingsError("--defect", faults)
    for order in orders:
        one = BY_NAME[order.name]
        one.install(service, Chance(one.defect.id, service.name, order.probability, one.defect.name))
