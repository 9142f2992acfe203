"""Faults: the schedule that plans them, and the objects that inject them into a running platform.

A schedule is `kill:auth@20s+10s,delay:edge@40s+10s=200ms`, or a file with one fault per line. An entry is
KIND:WHERE@START[+DURATION][=VALUE]. START counts from the moment when all users are connected. A lasting fault without
a duration ends with the load. WHERE is a service. For faults of connections WHERE is a link (CALLER/CALLEE), or a
service, which means every link that leads to the service.

Each fault is a small object, used once: `apply` injects the fault and verifies its effect, `lift` ends the fault. Both
use the control socket of a platform and block (cooperatively where gevent has patched sockets).
"""

from __future__ import annotations

import json
import re
import time
import urllib.request
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import psutil

from earwitness.harness.described import near
from earwitness.harness.errors import PlatformError, SettingsError
from earwitness.harness.platform.control import ControlClient
from earwitness.harness.platform.links import matching

_ALIASES = {"database": "postgres", "redis": "valkey"}
EXAMPLES = {
    "kill": "kill:auth@20s+10s",
    "pause": "pause:auth@20s+5s",
    "restart": "restart:backend-1@20s",
    "crash": "crash:backend-1@20s",
    "replace": "replace:backend-1@20s",
    "wipe": "wipe:redis@20s",
    "skew": "skew:backend-2@10s+10s=-2s",
    "cut": "cut:backend-2@20s",
    "delay": "delay:edge@20s+10s=200ms~50ms",
    "blackhole": "blackhole:backend/auth@20s+5s",
    "bandwidth": "bandwidth:edge@20s+10s=64kB",
    "cut-after": "cut-after:edge@20s+10s=100kB",
}
_OF_LINKS = frozenset({"cut", "delay", "blackhole", "bandwidth", "cut-after"})
_OVER_AT_ONCE = frozenset({"restart", "crash", "replace", "wipe"})
_CLOCK_TOLERANCE_S = 0.5
_ANSWERING_S = 10.0
"""Seconds within which an undisturbed link must answer an exchange."""
_QUICK_S = 0.8
"""Share of the delay that a link should add; an answer after a shorter time shows that the link adds no delay."""
_HERE = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""URL opener without proxies: the services are on this machine, so HTTP_PROXY does not apply."""
_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0}
_UNITS_BYTES = {"B": 1, "kB": 1000, "MB": 1_000_000}
_LONGEST_S = 7 * 86_400.0
_MOST_BYTES = 1e12
_ENTRY = re.compile(r"(?P<what>[^@+=]+)@(?P<start>[^@+=]+)(\+(?P<duration>[^@+=]+))?(=(?P<value>[^@=]+))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """One parsed entry of a schedule.

    text        the entry as it was written
    kind        a key of EXAMPLES; "" for a fault that the target file defines, whose name is `where`
    where       the service or link; for aliases such as "redis" its real name
    start_s     seconds after all users are connected
    duration_s  duration in seconds; None: the fault ends by itself, or with the load
    amount      seconds (delay, skew), bytes (cut-after) or bytes per second (bandwidth); 0.0 for other kinds
    jitter_s    seconds by which a delay varies at most, up and down
    """

    text: str
    kind: str
    where: str
    start_s: float
    duration_s: float | None = None
    amount: float = 0.0
    jitter_s: float = 0.0

    @property
    def name(self) -> str:
        """Return the name that records and reports use for the fault, such as "kill auth"."""
        return f"{self.kind} {self.where}".strip()


def read_schedule(text: str, *, where: str = "--faults", named: bool = False) -> tuple[Planned, ...]:
    """Return the entries of a schedule in the order of their start.

    `text`: entries separated by commas, or the path of a file; `where`: the option, for errors. `named`: the entries
    name faults that the target file defines (NAME@START[+DURATION]). Raises SettingsError with one sentence for each
    invalid entry.
    """
    found, faults = [], []
    for entry in _entries(text.strip(), where):
        try:
            found.append(_read(entry, named))
        except _Mistake as mistake:
            faults.append(f"{entry!r} {mistake}")
    if faults:
        raise SettingsError(where, faults)
    return tuple(sorted(found, key=lambda planned: planned.start_s))


class _Mistake(Exception):
    """Error in an entry of a schedule; its text continues a sentence that begins with the entry."""


def _entries(text: str, where: str) -> list[str]:
    if "@" not in text and text:
        try:
            text = Path(text).read_text(encoding="utf-8")
        except (OSError, ValueError) as error:  # ValueError: not UTF-8, or not a possible file name
            why = error.strerror if isinstance(error, OSError) else "no text"
            raise SettingsError(
                where, [f"{text!r} is neither a fault like {EXAMPLES['kill']} nor a readable file ({why})"]
            ) from None
    lines = [line.partition("#")[0] for line in text.splitlines()]
    return [entry.strip() for line in lines for entry in line.split(",") if entry.strip()]


def _read(entry: str, named: bool) -> Planned:
    match = _ENTRY.fullmatch(entry)
    if match is None:
        raise _Mistake(f"is not KIND:WHERE@START[+DURATION][=VALUE], like {EXAMPLES['delay']}")
    kind, colon, where = match["what"].strip().partition(":")
    start_s, duration_s = _span(match["start"]), _span(match["duration"]) if match["duration"] else None
    if named:
        if match["value"]:
            raise _Mistake("has a value, but a command of the target's file takes none")
        return Planned(text=entry, kind="", where=match["what"].strip(), start_s=start_s, duration_s=duration_s)
    if kind not in EXAMPLES:
        raise _Mistake(f"is of no known kind{near(kind, EXAMPLES)}; write it like {EXAMPLES['kill']}")
    if not colon or not where:
        raise _Mistake(f"does not say where: {EXAMPLES[kind]}")
    if duration_s is not None and kind in _OVER_AT_ONCE:
        raise _Mistake(f"has a duration, but is over when the service is back: {EXAMPLES[kind]}")
    planned: dict[str, Any] = {"start_s": start_s, "duration_s": duration_s}
    where = "/".join(_ALIASES.get(part, part) for part in where.split("/"))
    return Planned(text=entry, kind=kind, where=where, **planned, **_value(kind, match["value"]))


def _value(kind: str, text: str | None) -> dict[str, float]:
    wanted = _VALUES.get(kind)
    if wanted is None:
        if text:
            raise _Mistake(f"has a value, but this kind takes none: {EXAMPLES[kind]}")
        return {}
    if not text:
        raise _Mistake(f"needs a value: {EXAMPLES[kind]}")
    return wanted(text)


def _seconds(text: str) -> float:
    match = re.fullmatch(r"([+-]?\d+(?:\.\d+)?)(ms|s|m)", text.strip())
    if match is None:
        raise _Mistake(f"has {text!r} where a time is needed, like 20s or 200ms")
    seconds = float(match[1]) * _UNITS_S[match[2]]
    if abs(seconds) > _LONGEST_S:
        raise _Mistake(f"has {text!r}, which is more than a week")
    return seconds


def _span(text: str) -> float:
    seconds = _seconds(text)
    if seconds < 0:
        raise _Mistake(f"has {text!r}, but nothing begins or ends before the load")
    return seconds


def _delay(text: str) -> dict[str, float]:
    amount, _, jitter = text.partition("~")
    return {"amount": _span(amount), "jitter_s": _span(jitter) if jitter else 0.0}


def _bytes(text: str) -> dict[str, float]:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(B|kB|MB)", text.strip())
    amount = float(match[1]) * _UNITS_BYTES[match[2]] if match else 0.0
    if not 1 <= amount <= _MOST_BYTES:
        raise _Mistake(f"has {text!r} where a number of bytes is needed, like 64kB")
    return {"amount": amount}


_VALUES: dict[str, Callable[[str], dict[str, float]]] = {
    "delay": _delay,
    "skew": lambda text: {"amount": _seconds(text)},
    "bandwidth": _bytes,
    "cut-after": _bytes,
}


class Fault(Protocol):
    """Protocol of a fault of a platform. `control` reaches the platform's supervisor."""

    @property
    def lasting(self) -> bool:
        """Return True if the fault lasts until `lift`; False if the fault has ended when `apply` returns."""

    def apply(self, control: ControlClient) -> None:
        """Inject the fault. Raises NoEffect if it did not take effect."""
        ...

    def lift(self, control: ControlClient) -> None:
        """End the fault; return when the service serves again.

        Raises PlatformError if that fails, NoEffect if the fault had no effect.
        """
        ...


class NoEffect(PlatformError):
    """Error for a fault that had no effect, or that could not be injected because its service or link was down."""


@dataclass(frozen=True, slots=True)
class Kill:
    """Fault that sends SIGKILL to a service. The service stays down until `lift` starts it again."""

    service: str
    lasting: bool = True

    def apply(self, control: ControlClient) -> None:
        """Implement `Fault.apply`: send SIGKILL. Raises NoEffect unless the process has ended afterwards."""
        pid = _pid(control, self.service)
        control.kill(self.service)
        _require(not psutil.pid_exists(pid), f"process {pid} of {self.service} still runs after SIGKILL")

    def lift(self, control: ControlClient) -> None:
        """Implement `Fault.lift`: start the service unless it runs already."""
        if control.status()[self.service]["pid"] is None:
            control.start(self.service)


@dataclass(frozen=True, slots=True)
class Pause:
    """Fault that sends SIGSTOP to a service. The service keeps its connections but sends nothing until `lift`."""

    service: str
    lasting: bool = True

    def apply(self, control: ControlClient) -> None:
        """Implement `Fault.apply`: send SIGSTOP. Raises NoEffect unless the process is stopped afterwards."""
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
        """Implement `Fault.apply`: restart the service. Raises NoEffect unless it has a new process afterwards."""
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
        """Implement `Fault.apply`: replace the service. Raises NoEffect unless it has a new process afterwards."""
        pid = _pid(control, self.service)
        control.replace(self.service)
        _require(_pid(control, self.service) != pid, f"{self.service} is still process {pid} after its replacement")

    def lift(self, control: ControlClient) -> None:
        """Implement `Fault.lift` as a no-op: the fault is over when the old process has ended."""


@dataclass(frozen=True, slots=True)
class Wipe:
    """Fault that restarts a database by SIGKILL and without its data, so that all its data is lost."""

    service: str
    lasting: bool = False

    def apply(self, control: ControlClient) -> None:
        """Implement `Fault.apply`: wipe the service. Raises NoEffect unless it has a new process afterwards."""
        pid = _pid(control, self.service)
        control.wipe(self.service)
        _require(_pid(control, self.service) != pid, f"{self.service} is still process {pid} after it was wiped")

    def lift(self, control: ControlClient) -> None:
        """Implement `Fault.lift` as a no-op: the fault is over when the service is ready again."""


@dataclass(frozen=True, slots=True)
class Skew:
    """Fault that restarts a service with a clock that is `offset_s` seconds ahead (negative: behind).

    `lift` restarts the service with the right clock.
    """

    service: str
    url: str
    """Address of the service itself, `http://HOST:PORT`."""
    offset_s: float
    lasting: bool = True

    def apply(self, control: ControlClient) -> None:
        """Implement `Fault.apply`: restart the service with the offset.

        Raises NoEffect unless its `/ready` then shows a clock that is off by `offset_s`, within half a second.
        """
        control.restart(self.service, settings={"clock_offset": self.offset_s})
        with _HERE.open(f"{self.url}/ready", timeout=5) as answer:
            ahead_s = float(json.load(answer)["at"]) - time.time()
        wrong = f"the clock of {self.service} is {ahead_s:+.1f} s off, not {self.offset_s:+g} s"
        _require(abs(ahead_s - self.offset_s) < _CLOCK_TOLERANCE_S, wrong)

    def lift(self, control: ControlClient) -> None:
        """Implement `Fault.lift`: restart the service with the right clock."""
        control.restart(self.service, settings={"clock_offset": 0.0})


@dataclass(frozen=True, slots=True)
class Cut:
    """Fault that resets every connection of the links once."""

    links: tuple[str, ...]
    lasting: bool = False

    def apply(self, control: ControlClient) -> None:
        """Implement `Fault.apply`: reset the connections. Raises NoEffect if there was none."""
        cut = sum(control.cut(link) for link in self.links)
        _require(cut > 0, f"there was no connection to cut on {', '.join(self.links)}")

    def lift(self, control: ControlClient) -> None:
        """Implement `Fault.lift` as a no-op: the fault is over at once."""


@dataclass(frozen=True, slots=True)
class Disturb:
    """Fault that makes links delay, hold or throttle data, refuse connections, or reset them after some bytes.

    `links`: names of the links. `conditions`: fields of `harness.platform.links.Conditions`. `cutting`: also reset the
    connections that are open at the start.
    """

    links: tuple[str, ...]
    conditions: Mapping[str, Any]
    cutting: bool = False
    lasting: bool = True
    _cuts_before: dict[str, int] = field(default_factory=dict, compare=False)

    def apply(self, control: ControlClient) -> None:
        """Implement `Fault.apply`: set the conditions of each link, and verify them by an exchange through it.

        Raises NoEffect if the exchange shows no disturbance, or if a link does not answer within ten seconds even
        before it is disturbed. An exchange cannot show the effect of `cut_after`, which `lift` verifies.
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
        """Return in words why the exchange `tried` shows that the link is not disturbed; "" if it does not show that.

        `tried`: result of `ControlClient.try_out`.
        """
        conditions = self.conditions
        answered = "error" not in tried
        if conditions.get("held") or conditions.get("refusing"):
            return "it still answers" if answered else ""
        least_s = conditions.get("delay_s", 0.0) - conditions.get("jitter_s", 0.0)
        if conditions.get("bytes_per_s") and answered:
            least_s = tried["bytes"] / conditions["bytes_per_s"]
        if answered and tried["seconds"] < _QUICK_S * least_s:
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
    """Wait until an exchange through the link succeeds, because a broken link could not show a disturbance.

    Raises NoEffect after ten seconds.
    """
    end = time.monotonic() + _ANSWERING_S
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


def links_needed(plan: Iterable[Planned]) -> tuple[str, ...]:
    """Return the links that a platform must be started with so that the faults of `plan` can disturb them."""
    return tuple(dict.fromkeys(planned.where for planned in plan if planned.kind in _OF_LINKS))


def faults_of(
    plan: Sequence[Planned], services: Iterable[str], endpoints: Mapping[str, Any], where: str = "--faults"
) -> list[Fault]:
    """Return the fault of each entry of `plan`, in order.

    `services`: names of the platform's services; `endpoints`: as `earwitness up --json` prints them; `where`: the
    option, for errors. Raises SettingsError, which lists every entry whose service or link does not exist, or the first
    `wipe` or `skew` of a service that does not permit it.
    """
    known, links = sorted(set(services) - {"links"}), endpoints.get("links", [])
    made, faults = [], []
    for planned in plan:
        if planned.kind in _OF_LINKS:
            ways = tuple(matching(planned.where, links))
            if not ways:
                faults.append(
                    f"{planned.text!r}: this platform has no link {planned.where}; start it with "
                    f"`earwitness up --link {planned.where}`, or let the run start its own"
                )
                continue
            made.append(_of_links(planned, ways))
        elif planned.where not in known:
            faults.append(f"{planned.text!r}: there is no service {planned.where}; there are {', '.join(known)}")
        else:
            made.append(_of_service(planned, endpoints))
    if faults:
        raise SettingsError(where, faults)
    return made


def _of_service(planned: Planned, endpoints: Mapping[str, Any]) -> Fault:
    service = planned.where
    if planned.kind == "kill":
        return Kill(service)
    if planned.kind == "pause":
        return Pause(service)
    if planned.kind == "replace":
        return Replace(service)
    if planned.kind == "wipe":
        if service != "valkey":
            raise SettingsError("--faults", [f"{planned.text!r}: only redis can lose its file and be right without it"])
        return Wipe(service)
    if planned.kind == "skew":
        url = endpoints["backends"].get(service) or (endpoints["auth"] if service == "auth" else None)
        if url is None:
            raise SettingsError("--faults", [f"{planned.text!r}: only auth and backends have a clock of their own"])
        return Skew(service, url, planned.amount)
    return Restart(service, graceful=planned.kind == "restart")


def _of_links(planned: Planned, ways: tuple[str, ...]) -> Fault:
    if planned.kind == "delay":
        return Disturb(ways, {"delay_s": planned.amount, "jitter_s": planned.jitter_s})
    if planned.kind == "blackhole":
        return Disturb(ways, {"held": True})
    if planned.kind == "bandwidth":
        return Disturb(ways, {"bytes_per_s": planned.amount})
    if planned.kind == "cut-after":
        return Disturb(ways, {"cut_after": int(planned.amount)})
    if planned.duration_s is not None:
        return Disturb(ways, {"refusing": True}, cutting=True)
    return Cut(ways)
