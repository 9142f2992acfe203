"""Defects that make a test fail: the marker `fails_with` of each critical test, and the defects that it names.

@pytest.mark.fails_with("Z49")                       # service as in the catalogue, probability 1
@pytest.mark.fails_with("Z1:0.01", "backend=Z55")    # two defects, so two runs: a probability, a service
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from earwitness.harness.evidence.defect import Defect

HERE = Path(__file__).resolve().parent
MARKER = "fails_with"
AWAITED = {f"Z{n}": "backend" for n in (*range(39, 52), *range(54, 63))}
AWAITED |= dict.fromkeys(("Z46", "Z47", "Z48", "Z48b", "Z49", "Z60", "Z61", "Z62"), "auth") | {"Z41": "backend-2"}
"""Defects of auth, limits and sync that a test may name before the catalogue has them. Their rows are then skipped."""


@dataclass(frozen=True, slots=True, order=True)
class Order:
    """Defect, the service to start with it, and its probability, in the form that `--defect` accepts."""

    service: str
    id: str
    probability: float

    def __str__(self) -> str:
        return f"{self.service}={self.id}:{self.probability:g}"

    @classmethod
    def of(cls, text: str, catalogue: Mapping[str, Defect]) -> Order:
        """Return the order for the text of a marker. Raises ValueError with one sentence if there is no such defect.

        `catalogue`: defects by id.
        """
        service, _, named = text.rpartition("=")
        id, _, chance = named.partition(":")
        if id not in catalogue and id in AWAITED:
            return cls(service or AWAITED[id], id, float(chance or 1))
        if id not in catalogue:
            raise ValueError(f"{text!r} is no defect of the catalogue (`earwitness defects` lists it)")
        return cls(service or catalogue[id].service, id, float(chance or 1))


class Collected:
    """Plugin of pytest that stores the collected tests: (file, name) → cases, in the order of the files."""

    def __init__(self) -> None:
        self.tests: dict[tuple[str, str], list[pytest.Function]] = {}

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Store the collected cases."""
        for item in session.items:
            assert isinstance(item, pytest.Function)
            self.tests.setdefault((item.path.name, item.originalname), []).append(item)


def collect() -> dict[tuple[str, str], list[pytest.Function]]:
    """Return all tests of the suite by (file, name), without starting anything."""
    collected = Collected()
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        code = pytest.main(["--collect-only", "-q", "-p", "no:randomly", str(HERE)], plugins=[collected])
    if code != pytest.ExitCode.OK:
        raise SystemExit(f"The suite could not be collected:\n{said.getvalue()}")
    return dict(sorted(collected.tests.items(), key=lambda pair: pair[0][0]))


def orders_of(item: pytest.Function, catalogue: Mapping[str, Defect]) -> Iterator[Order]:
    """Yield the defects that the markers of a test name. Raises ValueError for a defect that does not exist."""
    for marker in item.iter_markers(MARKER):
        for text in marker.args:
            yield Order.of(text, catalogue)


def faults(tests: Mapping[tuple[str, str], Sequence[pytest.Function]], catalogue: Mapping[str, Defect]) -> list[str]:
    """Return a sentence for each critical test that names no defect, and for each that names an unknown one."""
    found = []
    for (file, name), (item, *_) in tests.items():
        try:
            if item.get_closest_marker("critical") and not list(orders_of(item, catalogue)):
                found.append(f"{file}::{name} names no defect that turns it red (@pytest.mark.{MARKER})")
        except ValueError as error:
            found.append(f"{file}::{name}: {error}")
    return found
