"""Thresholds such as `fan-out p99 < 250 ms`, `errors < 1 %`, `memory of backend < 400 MB`.

A missed threshold, and one that was not measured, is exit code 4. The form is METRIC [of WHAT] [STATISTIC] < LIMIT
UNIT. Statistics are p50, p99.9, … and max; `<=` means the same as `<`. A rate has a lower limit: `token rate p1 > 20
/s`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NotRequired, TypedDict

from earwitness.harness.described import Faults, Table, near, read_toml, whole_number
from earwitness.harness.errors import SettingsError
from earwitness.harness.settings import DEFAULT_FILE, read_thresholds

if TYPE_CHECKING:  # load processes read thresholds, and must not load the compiler behind what is measured
    from earwitness.harness.report.measures import Measured

TIMES = {"us": 1e-3, "ms": 1.0, "s": 1e3, "min": 6e4}
SIZES = {"kB": 1e-3, "MB": 1.0, "GB": 1e3}
SHARES = {"%": 1.0}
RATES = {"/s": 1.0, "/min": 1 / 60}
UNITS = {"time": TIMES, "size": SIZES, "share": SHARES, "rate": RATES}
KINDS = {"time": "a time", "size": "a size", "share": "a share", "rate": "a rate"}

METRICS: dict[str, tuple[str, str]] = {
    "fan-out": ("time", "from a message's sending to its receipt by each member; of N: in rooms of N"),
    "ack": ("time", "from a message's sending to its acknowledgement; one that never came took longer than any"),
    "planned ack": ("time", "from when a message was to be sent to its acknowledgement; as ack"),
    "probe": ("time", "the cheap request sent during the load"),
    "login": ("time", "everything a user does to log in"),
    "connect": ("time", "the handshake of a socket"),
    "reconnect": ("time", "from the loss of a connection to the next one of the same device"),
    "request": ("time", "recorded requests: tokens presented, budgets tried"),
    "lag": ("time", "how late the load generator's own loop wakes; only p50, p99, max"),
    "errors": (
        "share",
        "messages refused or not answered, probes not 200, requests without a clear answer, outside of faults; and "
        "failed requests of the story itself",
    ),
    "first token": (
        "time",
        "from sending a question to the first piece of its streamed answer that has text; one that never came took "
        "longer than any",
    ),
    "planned first token": ("time", "from when a question was to be sent; as first token"),
    "token gap": ("time", "between two pieces of a streamed answer that follow each other on a connection"),
    "token rate": (
        "rate",
        "pieces a second of each streamed answer, after its first; a lower limit, like p1 > 20 /s",
    ),
    "streams failed": ("share", "streamed answers that ended by an error"),
    "streams broken": ("share", "streamed answers without an end, although nothing of the tester kept it from coming"),
    "streams stalled": ("share", "streamed answers with a silence longer than 10 s"),
    "streams cut": ("share", "streamed answers that lack an end or pieces which another listener of the same one got"),
    "streams differing": ("share", "streamed answers whose text is not what is stored, or stated at the end"),
    "probe errors": ("share", "probes not answered 200; outside of faults"),
    "memory": ("size", "highest resident memory; of backend, auth, frontend, load, …"),
}
"""Name of a metric → (kind of its unit, description)."""

FORM = re.compile(
    r"(?P<metric>[a-z][a-z -]*?)(?: of (?P<of>[\w-]+))?(?: (?P<statistic>p\d{1,2}(?:\.\d+)?|max))?"
    r"\s*(?P<sign>[<>])=?\s*(?P<limit>\d+(?:\.\d+)?)\s*(?P<unit>[A-Za-z%/]+)"
)
LIMIT_MOST = 1e12
EXAMPLE = "fan-out p99 < 250 ms"


@dataclass(frozen=True, slots=True)
class Threshold:
    """Parsed threshold.

    text       as the user wrote it
    metric     a name in METRICS
    of         the room size or the service, "" for all or where there is none
    statistic  p50, p99, … or max; "" for metrics that are a single figure (shares, memory)
    limit      a number in `unit`
    """

    text: str
    metric: str
    of: str
    statistic: str
    limit: float
    unit: str

    @property
    def name(self) -> str:
        """Return the name of the limited figure. If two thresholds have the same name, the later one is used."""
        return " ".join(filter(None, (self.metric, self.of and f"of {self.of}", self.statistic)))


def parse(text: str) -> Threshold:
    """Return the threshold that `text` states.

    Raises ValueError with one sentence that names the mistake and the correct form.
    """
    found = FORM.fullmatch(text.strip())
    if found is None or (found["sign"] == ">" and METRICS.get(found["metric"], ("rate",))[0] != "rate"):
        raise ValueError(f"{text!r} is no threshold; write METRIC [of WHAT] [p99] < LIMIT UNIT, like {EXAMPLE}")
    metric, of, statistic, limit, unit = (found[name] or "" for name in ("metric", "of", "statistic", "limit", "unit"))
    if metric not in METRICS:
        raise ValueError(f"{text!r}: there is no metric {metric!r}{near(metric, METRICS)}")
    kind = METRICS[metric][0]
    if unit not in UNITS[kind]:
        raise ValueError(f"{text!r}: {metric} is {KINDS[kind]}; give it in {', '.join(UNITS[kind])}, not in {unit}")
    _refuse_form(text, found)
    if float(limit) > LIMIT_MOST:
        raise ValueError(f"{text!r}: every run is below that; give a limit like {EXAMPLE}")
    return Threshold(text.strip(), metric, of, statistic, float(limit), unit)


def _refuse_form(text: str, found: re.Match[str]) -> None:
    """Raise ValueError if the statistic, the sign or the "of" part does not fit the metric, which exists."""
    metric, of, statistic, limit, unit = (found[name] or "" for name in ("metric", "of", "statistic", "limit", "unit"))
    kind = METRICS[metric][0]
    if kind == "rate" and (found["sign"] == "<" or not statistic.startswith("p")):
        raise ValueError(f"{text!r}: {metric} is many rates, with a lower limit; write {metric} p1 > {limit} {unit}")
    if kind == "time" and not statistic:
        raise ValueError(f"{text!r}: {metric} is many times; name one, like {metric} p99 < {limit} {unit}")
    if kind not in ("time", "rate") and statistic:
        raise ValueError(f"{text!r}: {metric} is one figure; leave {statistic} out")
    if bool(of) != (metric == "memory") and metric != "fan-out":
        what = "name a service, like memory of backend" if metric == "memory" else f"leave out of {of}"
        raise ValueError(f"{text!r}: {what}")
    if metric == "fan-out" and of and whole_number(of, 10**9) is None:
        raise ValueError(f"{text!r}: {of} is no room size; write fan-out of 100 p99, or fan-out p99 for all rooms")
    if metric == "lag" and statistic not in ("p50", "p99", "max"):
        raise ValueError(f"{text!r}: of lag there are only p50, p99 and max")


def parse_all(where: str, texts: Iterable[str]) -> list[Threshold]:
    """Return the thresholds in `texts`; `where`: name of their source for the error.

    Raises SettingsError, which names the mistakes of all texts.
    """
    parsed, faults = [], []
    for text in texts:
        try:
            parsed.append(parse(text))
        except ValueError as error:
            faults.append(str(error))
    if faults:
        raise SettingsError(where, faults)
    return parsed


def read_given(options: Iterable[str]) -> list[list[Threshold]]:
    """Return three lists of thresholds: from pyproject.toml, from earwitness.toml, and from `options`.

    The files are those in the working directory; a missing file gives an empty list. Raises SettingsError, which names
    the mistakes of all three sources.
    """
    sources: tuple[Callable[[], list[Threshold]], ...] = (
        lambda: _in_file("pyproject.toml", "tool", "earwitness"),
        lambda: _in_file(DEFAULT_FILE),
        lambda: parse_all("--threshold", options),
    )
    given, errors = [], []
    for source in sources:
        try:
            given.append(source())
        except SettingsError as error:
            errors.append(error)
    if len(errors) > 1:
        raise SettingsError("thresholds", [f"{one.where}: {fault}" for one in errors for fault in one.faults])
    if errors:
        raise errors[0]
    return given


def _in_file(name: str, *path: str) -> list[Threshold]:
    """Return the thresholds of the table at `path` in the TOML file `name`; [] if there is no such file or table.

    Raises SettingsError for invalid thresholds and for unknown keys.
    """
    if not Path(name).exists():
        return []
    faults = Faults(name)
    table: Table | None = Table(read_toml(Path(name)), faults)
    for step in path:
        table = table.table(step, example="{}") if table else None
    texts = read_thresholds(table) if table else []
    if table:
        if not path:
            table.has("test_environment")  # read when the platform starts
        table.finish()
    for text in texts:
        try:
            parse(text)
        except ValueError as error:
            faults.found.append(str(error))
    faults.raise_any()
    return [parse(text) for text in texts]


def merged(*sources: Iterable[Threshold]) -> list[str]:
    """Return the texts of all thresholds; if two limit the same figure, only the one from the later source."""
    chosen = {one.name: one.text for source in sources for one in source}
    return list(chosen.values())


class Judged(TypedDict):
    """Threshold and its measured value.

    `limit` and `measured` are in `unit`. Without samples, `measured` and `met` are None. If so many answers never came
    that the statistic is infinite, `measured` is None, `met` is False, and `unanswered` is the number of these answers.
    The key `unanswered` is absent in other cases. `at_least` is True for a lower limit, and absent for an upper one.
    """

    name: str
    limit: float
    unit: str
    measured: float | None
    samples: int
    met: bool | None
    unanswered: NotRequired[int]
    at_least: NotRequired[bool]


def judge_thresholds(wanted: Iterable[Threshold], measured: Measured) -> list[Judged]:
    """Return one row for each threshold, in order; see `Judged`.

    A threshold without a measurement does not count as met.
    """
    return [_judged(one, measured) for one in wanted]


def missed(rows: Iterable[Judged]) -> str:
    """Return one sentence that names the thresholds that were not met or not measured, "" if all were met."""
    over = [row["name"] for row in rows if row["met"] is False]
    unseen = [row["name"] for row in rows if row["met"] is None]
    told = [f"missed: {', '.join(over)}"] if over else []
    return "; ".join([*told, *([f"not measured: {', '.join(unseen)}"] if unseen else [])])


def _judged(one: Threshold, measured: Measured) -> Judged:
    kind = METRICS[one.metric][0]
    value, samples = measured.figure(one.metric, one.of, one.statistic)
    value = None if value is None or not samples else round(value / UNITS[kind][one.unit], 3)
    lower = kind == "rate"
    met = None if value is None else value >= one.limit if lower else value <= one.limit
    never = value is not None and math.isinf(value)
    row: Judged = {
        "name": one.name,
        "limit": one.limit,
        "unit": one.unit,
        "measured": None if never else value,
        "samples": samples,
        "met": met,
    }
    if never:
        row["unanswered"] = measured.never(one.metric)
    if lower:
        row["at_least"] = True
    return row
