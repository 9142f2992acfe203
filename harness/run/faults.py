"""Faults of a run: injected and ended at their planned times, recorded, and reported if they had no effect."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import gevent
from gevent.event import Event
from gevent.lock import BoundedSemaphore

from earwitness.checks.history.record import FaultKind, Flag, Kind, Place
from earwitness.harness.errors import EarwitnessError
from earwitness.harness.platform.control import ControlClient
from earwitness.harness.platform.faults import Fault, Planned
from earwitness.harness.progress import say
from earwitness.harness.record.journal import Journal
from earwitness.harness.record.meta import process_meta
from earwitness.harness.record.named import write_record
from earwitness.harness.record.rundir import RunDirectory
from earwitness.harness.run import breaker_log as calls
from earwitness.harness.run.breaker_log import CallLog

JOURNAL = "conductor"
JOURNALS = (JOURNAL, calls.JOURNAL)
"""Names of the additional journals of a run with faults."""
PATIENCE_S = 60.0
"""Seconds after which the schedule starts even if not all users are connected."""
END_S = 90.0
_STORES = ("postgres", "valkey")
_PLACES = {"auth": Place.AUTH, "provider": Place.AUTH, "frontend": Place.FRONTEND, "edge": Place.BACKEND}


def place_of(where: str) -> int:
    """Return the number of the Place that a fault in `where` affects; 0 if there is no single place.

    `where`: a service, or a link CALLER/CALLEE. The place of a link is the callee, or the caller if the callee is a
    database.
    """
    caller, _, callee = where.rpartition("/")
    name = caller if callee in _STORES and caller else callee
    return int(_PLACES.get(name, Place.BACKEND if name.startswith("backend") else 0))


def kind_of(planned: Planned) -> int:
    """Return the number of the fault's kind in FAULT records; 0 for a fault that the target file defines."""
    return int(FaultKind[planned.kind.upper().replace("-", "_")]) if planned.kind else 0


class Switch(Protocol):
    """Protocol of a fault that can be switched on and off, on any platform."""

    @property
    def lasting(self) -> bool:
        """Return True if the fault lasts until `lift`; False if the fault has ended when `apply` returns."""

    def apply(self) -> None:
        """Inject the fault. Raises EarwitnessError if it did not take effect."""

    def lift(self) -> None:
        """End the fault. Raises EarwitnessError if that fails, or if the fault had no effect."""


@dataclass(frozen=True, slots=True)
class PlatformFault:
    """Fault of the reference platform as a `Switch`; `control` reaches the platform's supervisor."""

    fault: Fault
    control: ControlClient

    @property
    def lasting(self) -> bool:
        """Implement `Switch.lasting`: return whether the fault lasts until `lift` is called."""
        return self.fault.lasting

    def apply(self) -> None:
        """Implement `Switch.apply`: inject the fault through the supervisor."""
        self.fault.apply(self.control)

    def lift(self) -> None:
        """Implement `Switch.lift`: end the fault through the supervisor."""
        self.fault.lift(self.control)


@dataclass(slots=True)
class FaultCount:
    """Counts of all faults of one name in one run.

    kind, where  kind of the fault, and the service or link that it affects
    active       number of these faults that are on now
    injections   number of these faults that have begun
    failures     number of errors: a fault had no effect, or could not be ended
    began_at_s   Unix time in seconds at which the latest of them began; 0.0: none has begun
    """

    kind: str
    where: str
    active: int = 0
    injections: int = 0
    failures: int = 0
    began_at_s: float = 0.0


class Faults:
    """Faults of one run.

    `failures`: a sentence for each fault that did not take effect or could not be ended. `counts`: counts by the
    faults' names, from the start of the run.
    """

    def __init__(
        self, run: RunDirectory, plan: Sequence[Planned], faults: Sequence[Switch], control: ControlClient | None
    ) -> None:
        """Start one greenlet for each fault. The schedule starts with `begin`, or PATIENCE_S seconds later without it.

        plan     the faults with their times
        faults   the switch of each entry of `plan`
        control  client of the reference platform, for the paths of its logs; None for another platform
        """
        self._journal = Journal.create(run.journals, JOURNAL, meta=process_meta())
        self._run_dir = run
        status = {} if control is None else control.status()
        self._calls = CallLog({name: Path(service["log"]) for name, service in status.items()})
        self._ending = Event()
        self._everyone = Event()
        self._turn = BoundedSemaphore()
        self.failures: list[str] = []
        self.counts = {one.name: FaultCount(one.kind, one.where) for one in plan}
        self._greenlets = [gevent.spawn(self._run, one, fault) for one, fault in zip(plan, faults, strict=True)]

    def begin(self) -> None:
        """Start the schedule. Call it when all users are connected: planned times count from this moment."""
        self._everyone.set()

    def end(self) -> list[str]:
        """End the faults that are still on, start no others, and return `failures`.

        Blocks for at most END_S seconds. Call it once, because it closes the journal of faults.
        """
        self._ending.set()
        self._everyone.set()
        gevent.joinall(self._greenlets, timeout=END_S)
        for greenlet in self._greenlets:
            if not greenlet.dead:
                greenlet.kill(block=False)
                self.failures.append("a fault could not be ended in time")
        self._journal.close({})
        self._calls.write(self._run_dir)
        return self.failures

    def _run(self, planned: Planned, fault: Switch) -> None:
        self._everyone.wait(PATIENCE_S)
        if self._ending.wait(planned.start_s):
            return  # the load ended first; H2 reports the fault as missing
        if fault.lasting:
            self._happen(planned, fault)
            return
        with self._turn:  # a deployment continues with the next service when the last one serves
            if not self._ending.is_set():
                self._happen(planned, fault)

    def _happen(self, planned: Planned, fault: Switch) -> None:
        self._note(planned, on=True)
        try:
            fault.apply()
            self._tell(f"{planned.name} {'is on' if fault.lasting else 'is done'}")
            if fault.lasting:
                self._ending.wait(planned.duration_s)
        except EarwitnessError as error:
            self._failed(planned, error)
        if fault.lasting:
            self._lift(planned, fault)
        self._note(planned, on=False)

    def _lift(self, planned: Planned, fault: Switch) -> None:
        try:
            fault.lift()
            self._tell(f"{planned.name} is over")
        except EarwitnessError as error:
            self._failed(planned, error)

    def _note(self, planned: Planned, *, on: bool) -> None:
        count = self.counts[planned.name]
        count.active += 1 if on else -1
        if on:
            count.injections, count.began_at_s = count.injections + 1, time.time()
        name = self._journal.intern(planned.name)
        write_record(
            self._journal, time.monotonic_ns(), Kind.FAULT, flags=int(Flag.OWN) if on else 0,
            attempt=place_of(planned.where), author=name, counter=kind_of(planned),
        )  # fmt: skip

    def _failed(self, planned: Planned, error: Exception) -> None:
        self.failures.append(f"{planned.text}: {error}")
        self.counts[planned.name].failures += 1
        self._tell(f"{planned.text}: {error}")

    @staticmethod
    def _tell(words: str) -> None:
        say(f"fault {words}")
