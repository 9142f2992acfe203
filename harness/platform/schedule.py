"""Schedule of faults: `kill:auth@20s+10s,delay:edge@40s+10s=200ms`, or a file with one fault per line.

An entry is KIND:WHERE@START[+DURATION][=VALUE]. START counts from the moment when all users are connected. A lasting
fault without a duration ends with the load. WHERE is a service; for faults of a connection it is a link (CALLER/CALLEE)
or a service, which means every link that leads to it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from earwitness.harness.described import near
from earwitness.harness.errors import SettingsError

ALIASES = {"database": "postgres", "redis": "valkey"}
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
OF_LINKS = frozenset({"cut", "delay", "blackhole", "bandwidth", "cut-after"})
OVER_AT_ONCE = frozenset({"restart", "crash", "replace", "wipe"})
_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0}
_UNITS_BYTES = {"B": 1, "kB": 1000, "MB": 1_000_000}
_LONGEST_S = 7 * 86_400.0
_MOST_BYTES = 1e12
_ENTRY = re.compile(r"(?P<what>[^@+=]+)@(?P<start>[^@+=]+)(\+(?P<duration>[^@+=]+))?(=(?P<value>[^@=]+))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """One parsed entry of a schedule.

    kind        a key of EXAMPLES; "" for a fault of the target's own file, whose name is `where`
    start_s     seconds after all users are connected
    duration_s  None: as long as the fault lasts by itself, or until the load ends
    amount      seconds (delay, skew) or bytes (cut-after) or bytes per second (bandwidth)
    jitter_s    variation of a delay
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
        """Return the name that records and reports use for the fault."""
        return f"{self.kind} {self.where}".strip()


def read_schedule(text: str, *, where: str = "--faults", named: bool = False) -> tuple[Planned, ...]:
    """Return the entries of a schedule in the order of their start.

    `text`: entries separated by commas, or the path of a file. `named`: entries are names of a target's own faults.
    Raises SettingsError with one sentence for each invalid entry.
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
    """Error of an entry; its text continues a sentence that begins with the entry."""


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
    if duration_s is not None and kind in OVER_AT_ONCE:
        raise _Mistake(f"has a duration, but is over when the service is back: {EXAMPLES[kind]}")
    planned: dict[str, Any] = {"start_s": start_s, "duration_s": duration_s}
    where = "/".join(ALIASES.get(part, part) for part in where.split("/"))
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
