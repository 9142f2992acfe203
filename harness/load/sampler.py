"""Memory, CPU and open files of every service and of each load process, once a second, into the run's side table."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import gevent
import psutil

from harness.errors import EarwitnessError

if TYPE_CHECKING:
    from harness.load.under_test import UnderTest

PERIOD_S = 1.0


class SelfSampler:
    """The same of this process, under the name of its journal: what the tester itself takes. Ends with `close`."""

    def __init__(self, path: Path, name: str) -> None:
        self._path, self._name = path, name
        self._process = psutil.Process()
        self._greenlet = gevent.spawn(self._run)

    def _run(self) -> None:
        while True:
            self._sample()
            gevent.sleep(PERIOD_S)

    def _sample(self) -> None:
        process = self._process
        with process.oneshot():
            times, memory = process.cpu_times(), process.memory_info().rss
        row = {
            "t_ns": time.monotonic_ns(),
            "service": self._name,
            "pid": process.pid,
            "rss_mb": round(memory / 1e6, 2),
            "cpu_s": round(times.user + times.system, 2),
            "fds": process.num_fds(),
        }
        with suppress(OSError), self._path.open("a", encoding="utf-8") as file:  # a full disk is the journal's to tell
            file.write(json.dumps(row) + "\n")

    def close(self) -> None:
        self._greenlet.kill()
        self._sample()


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
