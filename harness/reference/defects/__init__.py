"""Defects of the reference platform, each a small object that takes the place of one healthy part.

Loaded only by a process that was started with `--defect NAME:PROBABILITY`; the healthy code knows nothing of them.
The probability is per opportunity, which each defect defines. Each firing writes one line of JSON to stderr, the
ground truth: `{"defect": NAME, "service": …, "at": epoch seconds, …}`.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

from harness.errors import SettingsError
from harness.reference.defects.chance import Chance

if TYPE_CHECKING:
    from harness.reference.service import DefectOrder, Service

#: Which module knows the defects of which service. Each has `DEFECTS: dict[str, Callable[[service, Chance], None]]`.
MODULES = {"backend": "harness.reference.defects.backend"}


def known(kind: str) -> dict[str, Any]:
    """Defects of a kind of service (`backend`, `auth`, …) by name."""
    module = MODULES.get(kind)
    return dict(import_module(module).DEFECTS) if module else {}


def install(service: Service, orders: Sequence[DefectOrder]) -> None:
    """Replace parts of a service. SettingsError names every defect that this kind of service does not have."""
    kind = type(service).__module__.split(".")[2]
    defects = known(kind)
    faults = [
        f"{order.name!r} is no defect of {kind} (it has: {', '.join(sorted(defects)) or 'none'})"
        for order in orders
        if order.name not in defects
    ]
    if faults:
        raise SettingsError("--defect", faults)
    for order in orders:
        defects[order.name](service, Chance(order.name, service.name, order.probability))
