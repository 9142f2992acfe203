"""Meter inside a Locust process: measures its CPU time, and how many messages it exchanged meanwhile."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import gevent
from gevent.event import Event

OUT: Final = "BENCHMARK_OUT"
"""Name of the environment variable with the path of the file for the meter's result."""
SECONDS: Final = "BENCHMARK_SECONDS"
"""Name of the environment variable with the length of the measurement in seconds."""
WARM_UP_S: Final = 0.5
IDLE_S: Final = 0.05
"""Pause in seconds of users after the measurement has ended."""


class Meter:
    """Meter that measures this process once, from WARM_UP_S seconds after all users have started.

    over  the measurement has ended: users need not send any more
    """

    def __init__(self) -> None:
        """Start without a measurement."""
        self.over = False
        self._begun = False

    def begin(self, all_here: Event, count: Callable[[], int], more: Callable[[], Mapping[str, object]]) -> None:
        """Start the measurement as soon as `all_here` is set; later calls change nothing.

        `count` returns the number of messages so far; `more` returns further entries of the result, at the end.
        """
        if not self._begun:
            self._begun = True
            gevent.spawn(self._measure, all_here, count, more)

    def _measure(self, all_here: Event, count: Callable[[], int], more: Callable[[], Mapping[str, object]]) -> None:
        all_here.wait()
        gevent.sleep(WARM_UP_S)
        first, begin_cpu, begin = count(), time.process_time(), time.monotonic()
        gevent.sleep(float(os.environ[SECONDS]))
        messages, cpu_s, wall_s = count() - first, time.process_time() - begin_cpu, time.monotonic() - begin
        self.over = True
        found = {"messages": messages, "cpu_s": cpu_s, "wall_s": wall_s, "per_cpu_s": messages / cpu_s}
        Path(os.environ[OUT]).write_text(json.dumps({**found, **more()}), encoding="utf-8")
