"""Faults, each a small object: `apply` injects it and verifies its effect, `lift` ends it.

All use a platform's control socket and block (cooperatively where gevent has patched sockets). Each object is used
once.
"""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import psutil

from earwitness.harness.errors import PlatformError
from earwitness.harness.platform.control import ControlClient

CLOCK_TOLERANCE_S = 0.5
ANSWERING_S = 10.0
QUICK_S = 0.8
"""Share of the delay that a link should add; an answer sooner than this shows that it adds nothing."""


_HERE = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""URL opener without proxies: our services are on this machine, so HTTP_PROXY does not apply."""


class Fault(Protocol):
    """Protocol of a fault of a platform. `control` reaches the platform's supervisor."""

    @property
    def lasting(self) -> bool:
        """Return True if the fault lasts until `lift`; False if it is over when `apply` returns."""

    def apply(self, control: ControlClient) -> None:
        """Inject the fault. Raises PlatformError if it did not take effect."""
        ...

    def lift(self, control: ControlClient) -> None:
        """End the fault; return when the service serves again.

        Raises PlatformError if that fails, or if the fault had no effect.
        """
        ...


class NoEffect(PlatformError):
    """Error for a fault that was injected and showed no effect."""


@dataclass(frozen=True, slots=True)
class Kill:
    """Fault that sends a service SIGKILL. It stays down until `lift` starts it again."""

    service: str
    lasting: bool = True

    def apply(self, control: ControlClient) -> None:
        """Implement `Fault.apply`: send SIGKILL. Raises PlatformError unless the process has ended afterwards."""
        pid = _pid(control, self.service)
        control.kill(self.service)
        _require(not psutil.pid_exists(pid), f"process {pid} of {self.service} still runs after SIGKILL")

    def lift(self, control: ControlClient) -> None:
        """Implement `Fault.lift`: start the service unless it runs already."""
        if control.status()[self.service]["pid"] is None:
            control.start(self.service)


@dataclass(frozen=True, slots=True)
class Pause:
    """Fault that sends a service SIGSTOP. The service keeps its connections and sends nothing until `lift`."""

    service: str
    lasting: bool = True

    def apply(self, control: ControlClient) -> None:
        """Implement `Fault.apply`: send SIGSTOP. Raises PlatformError unless the process is stopped afterwards."""
        pid = _pid(control, self.service)
        control.pause(self.service)
        state = psutil.Process(pid).status()
        _require(state == psutil.STATUS_STOPPED, f"process {pid} of {self.service} is {state} after SIGSTOP")

    def lift(self, control: ControlClient) -> None:
        """Implement `Fault.lift`: send SIGCONT if the service is still paused."""
        if control.status()[self.service]["state"] == "paused":
            control.resume(self.service)


@dataclass(frozen=True, slots=True)
class Restart:
    """Fault that stops a service, gracefully or by SIGKILL, and starts it again at once."""

    service: str
    graceful: bool = True
    lasting: bool = False

    def apply(self, control: ControlClient) -> None:
        """Implement `Fault.apply`: restart the service. Raises PlatformError unless it has a new process afterwards."""
        pid = _pid(control, self.service)
        control.restart(self.service, graceful=self.graceful)
        _require(_pid(control, self.service) != pid, f"{self.service} is still process {pid} after a restart")

    def lift(self, control: ControlClient) -> None:
        """Implement `Fault.lift` as a no-op: the fault is over when the service is ready again."""


@dataclass(frozen=True, slots=True)
class Replace:
    """Fault that does one step of a rolling deployment.

    A new process takes over the listening socket; the old one drains and ends.
    """

    service: str
    lasting: bool = False

    def apply(self, control: ControlClient) -> None:
        """Implement `Fault.apply`: replace the service. Raises PlatformError unless it has a new process afterwards."""
        pid = _pid(control, self.service)
        control.replace(self.service)
        _require(_pid(control, self.service) != pid, f"{self.service} is still process {pid} after its replacement")

    def lift(self, control: ControlClient) -> None:
        """Implement `Fault.lift` as a no-op: the fault is over when the old process has ended."""


@dataclass(frozen=True, slots=True)
class Wipe:
    """Fault that restarts a store by SIGKILL and without its file, so that it has lost all its data."""

    service: str
    lasting: bool = False

    def apply(self, control: ControlClient) -> None:
        """Implement `Fault.apply`: wipe the service. Raises PlatformError unless it has a new process afterwards."""
        pid = _pid(control, self.service)
        control.wipe(self.service)
        _require(_pid(control, self.service) != pid, f"{self.service} is still process {pid} after it was wiped")

    def lift(self, control: ControlClient) -> None:
        """Implement `Fault.lift` as a no-op: the fault is over when the service is ready again."""


@dataclass(frozen=True, slots=True)
class Skew:
    """Fault that restarts a service with a clock that is `offset_s` seconds ahead.

    `lift` restarts it with the right one.
    """

    service: str
    url: str
    """The service's own address."""
    offset_s: float
    lasting: bool = True

    def apply(self, control: ControlClient) -> None:
        """Implement `Fault.apply`: restart the service with the offset.

        Raises PlatformError unless its `/ready` then shows a clock that is off by `offset_s`, within CLOCK_TOLERANCE_S.
        """
        control.restart(self.service, settings={"clock_offset": self.offset_s})
        with _HERE.open(f"{self.url}/ready", timeout=5) as answer:
            ahead_s = float(json.load(answer)["at"]) - time.time()
        wrong = f"the clock of {self.service} is {ahead_s:+.1f} s off, not {self.offset_s:+g} s"
        _require(abs(ahead_s - self.offset_s) < CLOCK_TOLERANCE_S, wrong)

    def lift(self, control: ControlClient) -> None:
        """Implement `Fault.lift`: restart the service with the right clock."""
        control.restart(self.service, settings={"clock_offset": 0.0})


@dataclass(frozen=True, slots=True)
class Cut:
    """Fault that resets every connection of the links once."""

    links: tuple[str, ...]
    lasting: bool = False

    def apply(self, control: ControlClient) -> None:
        """Implement `Fault.apply`: reset the connections. Raises PlatformError if there was none."""
        cut = sum(control.cut(link) for link in self.links)
        _require(cut > 0, f"there was no connection to cut on {', '.join(self.links)}")

    def lift(self, control: ControlClient) -> None:
        """Implement `Fault.lift` as a no-op: the fault is over at once."""


@dataclass(frozen=True, slots=True)
class Disturb:
    """Fault of links: they delay, hold, throttle or refuse data, or reset each connection after a number of bytes.

    `conditions`: fields of `harness.platform.links.Conditions`. `cutting`: also reset the connections that are open at
    the start.
    """

    links: tuple[str, ...]
    conditions: Mapping[str, Any]
    cutting: bool = False
    lasting: bool = True
    _cuts_before: dict[str, int] = field(default_factory=dict, compare=False)

    def apply(self, control: ControlClient) -> None:
        """Implement `Fault.apply`: set the conditions of each link, and verify them by an exchange through it.

        Raises NoEffect if the exchange shows no disturbance, or if a link does not answer within ANSWERING_S even
        before it is disturbed.
        """
        for link in self.links:
            self._cuts_before[link] = control.links()[link]["cut"]
            _answering(control, link)
            control.disturb(link, **self.conditions)
            if self.cutting:
                control.cut(link)
            wrong = self._without_effect(control.try_out(link))
            if wrong:
                control.disturb(link)
                raise NoEffect(f"{link} is not disturbed: {wrong}.")

    def _without_effect(self, tried: Mapping[str, Any]) -> str:
        """Return why an exchange through the link shows no effect; "" if it does, or if it cannot show one yet."""
        conditions = self.conditions
        answered = "error" not in tried
        if conditions.get("held") or conditions.get("refusing"):
            return "it still answers" if answered else ""
        least_s = conditions.get("delay_s", 0.0) - conditions.get("jitter_s", 0.0)
        if conditions.get("bytes_per_s") and answered:
            least_s = tried["bytes"] / conditions["bytes_per_s"]
        if answered and tried["seconds"] < QUICK_S * least_s:
            return f"it answers within {tried['seconds'] * 1e3:.0f} ms"
        return ""

    def lift(self, control: ControlClient) -> None:
        """Implement `Fault.lift`: end the disturbance of the links.

        Raises NoEffect if connections were to be reset after a number of bytes, and none was.
        """
        for link in self.links:
            control.disturb(link)
        if self.conditions.get("cut_after"):
            now = control.links()
            cut = sum(now[link]["cut"] - self._cuts_before[link] for link in self.links if link in self._cuts_before)
            _require(cut > 0, f"no connection of {', '.join(self.links)} came to that many bytes")


def _answering(control: ControlClient, link: str) -> None:
    """Wait until an exchange through the link succeeds: a link that does not work anyway shows no disturbance."""
    end = time.monotonic() + ANSWERING_S
    while "error" in (tried := control.try_out(link)):
        if time.monotonic() > end:
            raise NoEffect(f"{link} does not answer ({tried['error']}) even before it is disturbed.")
        time.sleep(0.1)


def _pid(control: ControlClient, service: str) -> int:
    pid = control.status()[service]["pid"]
    if pid is None:
        raise NoEffect(f"{service} does not run, so the fault cannot be injected.")
    return int(pid)


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise NoEffect(f"The fault had no effect: {otherwise}.")
