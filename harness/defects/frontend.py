"""The defects of the frontend by id, and how each takes its place."""

from __future__ import annotations

from collections.abc import Callable

from earwitness.harness.defects import outages
from earwitness.harness.defects.chance import Chance
from earwitness.harness.reference.frontend.app import Frontend

DEFECTS: dict[str, Callable[[Frontend, Chance], object]] = {
    "Z53": outages.StuckOpen,
    "Z53b": outages.HalfOpenForAll,
}
