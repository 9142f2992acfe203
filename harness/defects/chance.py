"""Chance of a defect to fire, and the lines of ground truth about its firings."""

from __future__ import annotations

import json
import math
import random
import sys
import time
from collections.abc import Iterator
from typing import Any


class Chance:
    """Random source of one defect in one service, with a fixed probability for each opportunity.

    The random numbers depend only on the service and the defect, so each start draws the same ones. `defect` is the id
    in the lines of ground truth, `name` the readable name.
    """

    def __init__(self, defect: str, service: str, probability: float, name: str = "") -> None:
        """Seed the generator with service and defect, and draw how many opportunities pass before the first firing."""
        self.defect, self.service, self.probability = defect, service, probability
        self.name = name or defect
        self.random = random.Random(f"{service}:{defect}")
        self.firings = 0
        self._skip = self._distance()

    def among(self, opportunities: int) -> Iterator[int]:
        """Yield the indices of those of the next `opportunities` that fire.

        The iterator must be exhausted: its end saves the distance to the next firing. Opportunities that do not fire
        cost no time.
        """
        at = self._skip
        while at < opportunities:
            yield int(at)
            at += 1 + self._distance()
        self._skip = at - opportunities

    def fires(self) -> bool:
        """Return whether the next opportunity fires."""
        return bool(list(self.among(1)))

    def say(self, *, manifest: bool = False, **what: Any) -> int:
        """Write the line of ground truth about a firing; return the number of the firing.

        `manifest`: the second line follows at once, because the effect is visible already. `what`: further fields of
        the line.
        """
        self.firings += 1
        self._write({"defect": self.defect, "name": self.name}, self.firings, what)
        if manifest:
            self.manifest(self.firings)
        return self.firings

    def manifest(self, firing: int, **what: Any) -> None:
        """Write the second line of a firing: its effect has reached a client or the database.

        `what`: further fields.
        """
        self._write({"manifest": self.defect}, firing, what)

    def _write(self, head: dict[str, Any], firing: int, what: dict[str, Any]) -> None:
        line = {**head, "service": self.service, "firing": firing, "at": time.time(), **what}
        sys.stderr.write(json.dumps(line) + "\n")
        sys.stderr.flush()

    def _distance(self) -> float:
        """Return the number of opportunities until the next firing, from a geometric distribution."""
        if self.probability >= 1:
            return 0
        if self.probability <= 0:
            return math.inf
        return math.floor(math.log(1.0 - self.random.random()) / math.log(1.0 - self.probability))
