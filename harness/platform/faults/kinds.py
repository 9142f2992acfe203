"""The faults, each a small object: `apply` makes it happen and looks whether it did, `lift` ends it.

All act through a platform's control socket, blocking (cooperative where gevent has patched sockets), and are
used once.
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
"""An answer that is sooner than this part of what a link should add says that it adds nothing."""


_HERE = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Our services are on this machine: HTTP_PROXY is not for them."""


class Fault(Protocol):
    """One fault. `lasting`: it is on until it is lifted; else `apply` is all of it."""

    @property
    def lasting(self) -> bool: ...

    def apply(self, control: ControlClient) -> None:
        """Make it happen. PlatformError if it did not take effect."""
        ...

    def lift(self, control: ControlClient) -> None:
        """Undo it; returns when the service serves again. PlatformError if that fails or it had shown no effect."""
        ...


class NoEffect(PlatformError):
    """A fault was ordered, and nothing of it was to be seen."""


@dataclass(frozen=True, slots=True)
class Kill:
    """SIGKILL; the service stays away until it is started again."""

    service: str
    lasting: bool = True

    def apply(self, control: ControlClient) -> None:
        pid = _pid(control, self.service)
        control.kill(self.service)
        _require(not psutil.pid_exists(pid), f"process {pid} of {self.service} still runs after SIGKILL")

    def lift(self, control: ControlClient) -> None:
        if control.status()[self.service]["pid"] is None:
            control.start(self.service)


@dataclass(frozen=True, slots=True)
class Pause:
    """SIGSTOP: it keeps its connections and says nothing until SIGCONT."""

    service: str
    lasting: bool = True

    def apply(self, control: ControlClient) -> None:
        pid = _pid(control, self.service)
        control.pause(self.service)
        state = psutil.Process(pid).status()
        _require(state == psutil.STATUS_STOPPED, f"process {pid} of {self.service} is {state} after SIGSTOP")

    def lift(self, control: ControlClient) -> None:
        if control.status()[self.service]["state"] == "paused":
            control.resume(self.service)


@dataclass(frozen=True, slots=True)
class Restart:
    """Ended (gracefully or by SIGKILL) and started again at once."""

    service: str
    graceful: bool = True
    lasting: bool = False

    def apply(self, control: ControlClient) -> None:
        pid = _pid(control, self.service)
        control.restart(self.service, graceful=self.graceful)
        _require(_pid(control, self.service) != pid, f"{self.service} is still process {pid} after a restart")

    def lift(self, control: ControlClient) -> None:
        """It is over by itself."""


@dataclass(frozen=True, slots=True)
class Replace:
    """A rolling deployment's step: a new process takes the listening socket over, the old one drains and ends."""

    service: str
    lasting: bool = False

    def apply(self, control: ControlClient) -> None:
        pid = _pid(control, self.service)
        control.replace(self.service)
        _require(_pid(control, self.service) != pid, f"{self.service} is still process {pid} after its replacement")

    def lift(self, control: ControlClient) -> None:
        """It is over by itself."""


@dataclass(frozen=True, slots=True)
class Wipe:
    """Killed and started again without its file: a store that has lost all that it was told."""

    service: str
    lasting: bool = False

    def apply(self, control: ControlClient) -> None:
        pid = _pid(control, self.service)
        control.wipe(self.service)
        _require(_pid(control, self.service) != pid, f"{self.service} is still process {pid} after it was wiped")

    def lift(self, control: ControlClient) -> None:
        """No-op: it is over when the service is back."""


@dataclass(frozen=True, slots=True)
class Skew:
    """A service whose clock is wrong: restarted with that clock, and with the right one at the end."""

    service: str
    url: str
    """Its own address."""
    offset_s: float
    lasting: bool = True

    def apply(self, control: ControlClient) -> None:
        control.restart(self.service, settings={"clock_offset": self.offset_s})
        with _HERE.open(f"{self.url}/ready", timeout=5) as answer:
            ahead_s = float(json.load(answer)["at"]) - time.time()
        wrong = f"the clock of {self.service} is {ahead_s:+.1f} s off, not {self.offset_s:+g} s"
        _require(abs(ahead_s - self.offset_s) < CLOCK_TOLERANCE_S, wrong)

    def lift(self, control: ControlClient) -> None:
        control.restart(self.service, settings={"clock_offset": 0.0})


@dataclass(frozen=True, slots=True)
class Cut:
    """Every connection of these links is reset, once."""

    links: tuple[str, ...]
    lasting: bool = False

    def apply(self, control: ControlClient) -> None:
        cut = sum(control.cut(link) for link in self.links)
        _require(cut > 0, f"there was no connection to cut on {', '.join(self.links)}")

    def lift(self, control: ControlClient) -> None:
        """It is over by itself."""


@dataclass(frozen=True, slots=True)
class Disturb:
    """Links that delay, hold, throttle or refuse what passes, or reset each connection after so many bytes; with
    `cutting` those that are there at once.

    `conditions`: as `harness.platform.links.Conditions`.
    """

    links: tuple[str, ...]
    conditions: Mapping[str, Any]
    cutting: bool = False
    lasting: bool = True
    _cuts_before: dict[str, int] = field(default_factory=dict, compare=False)

    def apply(self, control: ControlClient) -> None:
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
        """Why an exchange through the link shows nothing of it; "" if it does, or if only time can tell."""
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
        for link in self.links:
            control.disturb(link)
        if self.conditions.get("cut_after"):
            now = control.links()
            cut = sum(now[link]["cut"] - self._cuts_before[link] for link in self.links if link in self._cuts_before)
            _require(cut > 0, f"no connection of {', '.join(self.links)} came to that many bytes")


def _answering(control: ControlClient, link: str) -> None:
    """Until an exchange through the link succeeds: what does not work anyway shows no disturbance."""
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
