"""Samplers of memory, CPU time and open files of services and load processes, once a second, into a side table."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import gevent
import psutil

from earwitness.harness.errors import EarwitnessError

if TYPE_CHECKING:
    from earwitness.harness.run.system import UnderTest

PERIOD_S = 1.0


class SelfSampler:
    """Sampler of this process, which shows the tester's own use of resources. It stops with `close`.

    The rows carry the name of the process's journal.
    """

    def __init__(
        self, path: Path, name: str, more: Callable[[], Mapping[str, object]] = lambda: MappingProxyType({})
    ) -> None:
        """Start sampling into the table at `path`.

        `more` returns further columns for a row, such as recent latencies.
        """
        self._path, self._name, self._more = path, name, more
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
            "service": self._name,
            "pid": process.pid,
            "rss_mb": round(memory / 1e6, 2),
            "cpu_s": round(times.user + times.system, 2),
            "fds": process.num_fds(),
            **self._more(),
        }
        append(self._path, [row])

    def close(self) -> None:
        """Stop sampling, after a last sample."""
        self._greenlet.kill()
        self._sample()


class Sampler:
    """Sampler of the platform's services.

    It stops with `close`. A target whose processes the tester did not start gives no samples.
    """

    def __init__(self, path: Path, under_test: UnderTest) -> None:
        """Start sampling the services of `under_test` into the table at `path`."""
        self._path = path
        self._under_test = under_test
        self._greenlet = gevent.spawn(self._run)

    def _run(self) -> None:
        while True:
            rows: list[dict[str, object]]
            try:
                rows = self._under_test.stats()
            except (EarwitnessError, OSError) as error:
                rows = [{"error": str(error)}]
            append(self._path, rows)
            gevent.sleep(PERIOD_S)

    def close(self) -> None:
        """Stop sampling."""
        self._greenlet.kill()


def append(path: Path, rows: Iterable[Mapping[str, object]]) -> None:
    """Append rows with the present monotonic time to the table at `path`, in one write.

    One write keeps the lines of several processes apart. Errors of the file system are ignored, because the journal
    reports a full disk.
    """
    now = time.monotonic_ns()
    with suppress(OSError), path.open("a", encoding="utf-8") as file:
        file.write("".join(json.dumps({"t_ns": now, **row}) + "\n" for row in rows))
