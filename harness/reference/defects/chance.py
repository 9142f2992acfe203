"""When a defect fires, and the line that says so."""

from __future__ import annotations

import json
import math
import random
import sys
import time
from collections.abc import Iterator
from typing import Any


class Chance:
    """Fires with a fixed probability at each opportunity; the same service and defect draw the same numbers."""

    def __init__(self, defect: str, service: str, probability: float) -> None:
        self.defect, self.service, self.probability = defect, service, probability
        self.random = random.Random(f"{service}:{defect}")
        self._skip = self._distance()

    def among(self, opportunities: int) -> Iterator[int]:
        """Which of the next so many opportunities fire. Costs nothing for those that do not."""
        at = self._skip
        while at < opportunities:
            yield int(at)
            at += 1 + self._distance()
        self._skip = at - opportunities

    def fires(self) -> bool:
        return any(True for _ in self.among(1))

    def say(self, **what: Any) -> None:
        """The ground truth of one firing, in one write."""
        line = {"defect": self.defect, "service": self.service, "at": time.time(), **what}
        sys.stderr.write(json.dumps(line) + "\n")
        sys.stderr.flush()

    def _distance(self) -> float:
        """Opportunities until the next firing: geometric."""
        if self.probability >= 1:
            return 0
        if self.probability <= 0:
            return math.inf
        return math.floor(math.log(1.0 - self.random.random()) / math.log(1.0 - self.probability))
