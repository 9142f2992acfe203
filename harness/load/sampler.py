"""Memory and CPU of every service, once a second, into the run's side table."""

from __future__ import annotations

import json
import time
from pathlib import Path

import gevent

from harness.errors import EarwitnessError
from harness.load.under_test import UnderTest

PERIOD_S = 1.0


class Sampler:
    """A greenlet that ends with `close`. A target whose processes we do not own gives no samples."""

    def __init__(self, path: Path, under_test: UnderTest) -> None:
        self._file = path.open("a", encoding="utf-8")
        self._under_test = under_test
        self._greenlet = gevent.spawn(self._run)

    def _run(self) -> None:
        while True:
            try:
                stats = self._under_test.stats()
            except (EarwitnessError, OSError) as error:
                self._file.write(json.dumps({"t_ns": time.monotonic_ns(), "error": str(error)}) + "\n")
                stats = []
            now = time.monotonic_ns()
            for row in stats:
                self._file.write(json.dumps({"t_ns": now, **row}) + "\n")
            self._file.flush()
            gevent.sleep(PERIOD_S)

    def close(self) -> None:
        self._greenlet.kill()
        self._file.close()
