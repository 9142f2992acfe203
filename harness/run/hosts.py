"""Hosts of a run: which workers share the master's disk and its clock, and how the others send records and time.

Before a run begins, the master writes a mark, a file with a random text, into its folder of runs, and asks each worker
whether it can read the mark, and which clock it uses for its records. A worker that cannot read the mark sends its
records to the master (`harness.run.shipper`). The offset of each other clock is measured by exchanges before the load,
once a second during it, and after it (`harness.record.clocks`). Workers with the same clock count as one host; the plan
spreads the users of a room over the hosts. Contents of the messages: `harness.run.messages`.
"""

from __future__ import annotations

import itertools
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import gevent
from gevent.event import Event

from earwitness.harness.progress import say
from earwitness.harness.record.clocks import KEY, Offset
from earwitness.harness.record.meta import clock_id
from earwitness.harness.record.rundir import RunDirectory, write_whole
from earwitness.harness.record.shipping import Gathering
from earwitness.harness.run.messages import MEET, TIME
from earwitness.harness.run.shipper import Intake

MEET_S: Final = 5.0
"""Seconds that a run waits for the workers to state their disks and clocks."""
EXCHANGES: Final = 16
"""Number of exchanges with each other clock before and after the load; the best of them limits the offset's error."""
EXCHANGE_S: Final = 1.0
"""Seconds between exchanges during the load, and longest wait for one exchange before and after the load."""
STATE_EVERY: Final = 10
"""Number of exchanges after which `run.json` is updated with the offsets, in case the master dies."""

Send = Callable[[str, dict[str, Any], str], None]


class Hosts:
    """Hosts of one run, in its master.

    away    node ids of the workers that do not share the master's disk
    intake  receiver that writes the records of these workers into the run's directory; None before `begin`
    parts   writer for each of these workers, by the worker's number
    stated  callback that is called when `run.json` was changed during the load
    """

    def __init__(self, indexes: Mapping[str, int], send: Send) -> None:
        """Prepare for the workers in `indexes` (node id → number). `send(type, data, worker)` sends a message."""
        self.stated: Callable[[], None] = lambda: None
        self._indexes, self._send = dict(indexes), send
        self._numbers = itertools.count(1)
        self._asked: dict[int, tuple[str, int]] = {}
        self._clock_of: dict[str, str] = {}
        self._offsets: dict[str, Offset] = {}
        self._here = clock_id()
        self._came = Event()
        self._greenlet: gevent.Greenlet | None = None
        self._run: RunDirectory | None = None
        self.away: set[str] = set()
        self.parts: dict[int, Gathering] = {}
        self.intake: Intake | None = None

    def meet(self, runs: Path) -> tuple[int, ...]:
        """Ask all workers for their disks and clocks, and measure the clocks; return the number of each worker's host.

        The result is in the order of the workers' numbers. `runs`: the master's folder of runs. Blocks for at most
        MEET_S seconds, plus the time of the exchanges. A worker that does not answer counts as one on the master's
        host. If that is wrong, its journal is missing and its clock unknown, and the verdict says so. Raises
        RecordError if the folder cannot be written.
        """
        mark, text = runs.resolve() / f".meeting-{secrets.token_hex(8)}", secrets.token_hex(16)
        write_whole(mark, text.encode())
        try:
            for worker in self._indexes:
                self._ask(MEET, {"mark": str(mark), "text": text}, worker)
            self._await(MEET_S)
        finally:
            mark.unlink(missing_ok=True)
        self._asked.clear()
        for worker in self._indexes.keys() - self._clock_of.keys():
            say(f"load process {worker} did not say in {MEET_S:.0f} s where it is; taken as one on this host")
        self._measure()
        clocks = [
            self._clock_of.get(worker, self._here) for worker in sorted(self._indexes, key=self._indexes.__getitem__)
        ]
        numbers = {name: number for number, name in enumerate(dict.fromkeys(clocks))}
        return tuple(numbers[name] for name in clocks)

    def begin(self, run: RunDirectory) -> None:
        """State the clocks in `run.json`, and begin to receive the records of the workers in `away`."""
        self._run = run
        clocks = self.clocks()
        offsets = {name: stated["offset_ns"] for name, stated in clocks["others"].items()}
        parts = {
            worker: Gathering(run.path, f"load-{self._indexes[worker]}", offsets.get(self._clock_of[worker], 0))
            for worker in self.away
        }
        self.parts = {self._indexes[worker]: part for worker, part in parts.items()}
        self.intake = Intake(run.path, parts)
        if clocks["others"] or self.away:
            run.update(**{KEY: clocks})
            bounds = [stated["bound_ns"] for stated in clocks["others"].values() if stated["bound_ns"] is not None]
            worst = f" ± {max(bounds) / 1e6:.1f} ms" if bounds else ""
            away = f"{len(self.away)} of {len(self._indexes)} load processes send their records"
            say(f"{away}; {len(clocks['others'])} other clocks measured{worst}")
        if self._offsets:
            self._greenlet = gevent.spawn(self._keep_time, run)

    def met(self, worker: str, data: Mapping[str, Any]) -> None:
        """Process a worker's answer to MEET.

        Store its clock, add it to `away` if it does not share the master's disk, and use its time as a sample of the
        clock's offset. `worker`: node id; `data`: as in `harness.run.messages`.
        """
        told = time.monotonic_ns()
        self._clock_of[worker] = str(data["clock"])
        if not data["shares"]:
            self.away.add(worker)
        if data["clock"] != self._here:
            self._offsets.setdefault(str(data["clock"]), Offset())
        self._took(worker, data, told)

    def told(self, worker: str, data: Mapping[str, Any]) -> None:
        """Process a worker's answer to TIME: use its time as a sample of its clock's offset. Parameters as of `met`."""
        self._took(worker, data, time.monotonic_ns())

    def clocks(self) -> dict[str, Any]:
        """Return the present offsets of the other clocks, as in `run.json`: {"master": clock id, "others": …}."""
        known = {name: offset.summary() for name, offset in self._offsets.items() if len(offset)}
        return {"master": self._here, "others": known}

    def close(self, live: Iterable[str]) -> None:
        """Measure the clocks a last time, through the workers in `live` (node ids), and state them in `run.json`."""
        if self._greenlet is not None:
            self._greenlet.kill()
        if self._offsets:
            self._indexes = {worker: self._indexes[worker] for worker in live if worker in self._indexes}
            self._measure()
            if self._run is not None:
                self._run.update(**{KEY: self.clocks()})

    def _measure(self) -> None:
        for _ in range(EXCHANGES if self._offsets else 0):
            self._exchange()
            self._await(EXCHANGE_S)
            if self._asked:  # its host is gone
                self._indexes = {name: n for name, n in self._indexes.items() if name not in self._silent()}

    def _silent(self) -> set[str]:
        return {worker for worker, _ in self._asked.values()}

    def _exchange(self) -> None:
        """Request the time from one worker of each other clock; prefer workers that answered the last request."""
        for worker in self._silent() & self._indexes.keys():
            self._indexes[worker] = self._indexes.pop(worker)
        self._asked.clear()
        for name in self._offsets:
            for worker in [one for one in self._indexes if self._clock_of.get(one) == name][:1]:
                self._ask(TIME, {}, worker)

    def _ask(self, question: str, data: Mapping[str, Any], worker: str) -> None:
        number = next(self._numbers)
        self._asked[number] = worker, time.monotonic_ns()
        self._send(question, {"n": number, **data}, worker)

    def _took(self, worker: str, data: Mapping[str, Any], told: int) -> None:
        asked = self._asked.pop(data["n"], None)
        offset = self._offsets.get(self._clock_of.get(worker, ""))
        if asked is not None and asked[0] == worker and offset is not None:
            offset.add(asked[1], int(data["t"]), told)
        self._came.set()

    def _await(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while self._asked and (left := end - time.monotonic()) > 0:
            self._came.clear()
            self._came.wait(left)

    def _keep_time(self, run: RunDirectory) -> None:
        for number in itertools.count(1):
            gevent.sleep(EXCHANGE_S)
            self._exchange()
            if number % STATE_EVERY == 0:
                run.update(**{KEY: self.clocks()})
                self.stated()
