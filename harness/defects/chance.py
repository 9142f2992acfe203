"""When a defect fires, and the lines that say so."""

from __future__ import annotations

import json
import math
import random
import sys
import time
from collections.abc import Iterator
from typing import Any


class Chance:
    """Fires with a fixed probability at each opportunity; the same service and defect draw the same numbers.

    `defect` is what the lines call it, `name` how people do.
    """

    def __init__(self, defect: str, service: str, probability: float, name: str = "") -> None:
        self.defect, self.service, self.probability = defect, service, probability
        self.name = name or defect
        self.random = random.Random(f"{service}:{defect}")
        self.firings = 0
        self._skip = self._distance()

    def among(self, opportunities: int) -> Iterator[int]:
        """Which of the next so many opportunities fire; must be taken to its end. What does not fire costs nothing."""
        at = self._skip
        while at < opportunities:
            yield int(at)
            at += 1 + self._distance()
        self._skip = at - opportunities

    def fires(self) -> bool:
        return bool(list(self.among(1)))

    def say(self, *, manifest: bool = False, **what: Any) -> int:
        """The ground truth of one firing, in one write; returns its number. `manifest`: its effect is out already."""
        self.firings += 1
        self._write({"defect": self.defect, "name": self.name}, self.firings, what)
        if manifest:
            self.manifest(self.firings)
        return self.firings

    def manifest(self, firing: int, **what: Any) -> None:
        """The effect of a firing has reached some client or the database."""
        self._write({"manifest": self.defect}, firing, what)

    def _write(self, head: dict[str, Any], firing: int, what: dict[str, Any]) -> None:
        line = {**head, "service": self.service, "firing": firing, "at": time.time(), **what}
        sys.stderr.write(json.dumps(line) + "\n")
        sys.stderr.flush()

    def _distance(self) -> float:
        """Opportunities until the next firing: geometric."""
        if self.probability >= 1:
            return 0
        if self.probability <= 0:
            return math.inf
        return math.floor(math.log(1.0 - self.random.random()) / math.log(1.0 - self.probability))
