"""Forms of `run.json` and of the footers and metadata of journals: which values the reading code accepts.

A run writes these files. People write them too: by hand, or as headers of a history to import. Values that no code
reads may have any form.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from earwitness.checks.contract import Contract, ContractError

WHOLE_MAX: Final = 2**63 - 1
"""Largest number that a field of a record can hold."""


class Form(Protocol):
    """Protocol of a form that a JSON value must have."""

    def fault(self, name: str, value: object) -> str:
        """Return a sentence about what is wrong with `value`, "" if it has the form.

        `name`: name of the value in the sentence.
        """


@dataclass(frozen=True, slots=True)
class Plain:
    """Form of a single value of the type `kind`. `words`: its description in error messages."""

    kind: type
    words: str

    def fault(self, name: str, value: object) -> str:
        """Implement `Form.fault`: require a value of the type `kind`. A bool does not count as an int."""
        fits = isinstance(value, self.kind) and not (isinstance(value, bool) and self.kind is not bool)
        return "" if fits else f"{name!r} is {value!r}: expected {self.words}"


@dataclass(frozen=True, slots=True)
class Number:
    """Form of a finite number. `whole`: only integers."""

    whole: bool = False

    def fault(self, name: str, value: object) -> str:
        """Implement `Form.fault`: require a number from -`WHOLE_MAX` to `WHOLE_MAX`; an integer if `whole`."""
        kinds = int if self.whole else (int, float)
        if isinstance(value, kinds) and not isinstance(value, bool) and abs(value) <= WHOLE_MAX:
            return ""
        return f"{name!r} is {value!r}: expected a {'whole ' if self.whole else ''}number"


@dataclass(frozen=True, slots=True)
class OneOf:
    """Form of a text that is one of `texts`."""

    texts: tuple[str, ...]

    def fault(self, name: str, value: object) -> str:
        """Implement `Form.fault`: require one of the texts."""
        fits = isinstance(value, str) and value in self.texts
        return "" if fits else f"{name!r} is {value!r}: expected one of {', '.join(self.texts)}"


@dataclass(frozen=True, slots=True)
class Listed:
    """Form of a list whose items all have the form `item`. `words`: its description in error messages."""

    item: Form
    words: str = "a list"

    def fault(self, name: str, value: object) -> str:
        """Implement `Form.fault`: require a list, and report its first item that does not have the form."""
        if not isinstance(value, list | tuple):
            return f"{name!r} is {value!r}: expected {self.words}"
        return next((fault for one in value if (fault := self.item.fault(name, one))), "")


@dataclass(frozen=True, slots=True)
class Every:
    """Form of an object whose values all have the form `value`, under any keys.

    `words`: its description in error messages; `absent`: True if values may be null.
    """

    value: Form
    words: str = "an object"
    absent: bool = False

    def fault(self, name: str, value: object) -> str:
        """Implement `Form.fault`: require an object, and report its first value that does not have the form."""
        if not isinstance(value, Mapping):
            return f"{name!r} is {value!r}: expected {self.words}"
        given = ((f"{name}.{key}", one) for key, one in value.items() if not (one is None and self.absent))
        return next((fault for key, one in given if (fault := self.value.fault(key, one))), "")


@dataclass(frozen=True, slots=True)
class Keys:
    """Form of an object: `keys` are the forms of the keys that are read. Other keys may have any value.

    `needed`: keys that must be present. Null counts as absent.
    """

    keys: Mapping[str, Form]
    needed: tuple[str, ...] = ()

    def fault(self, name: str, value: object) -> str:
        """Implement `Form.fault`: require an object, and report the first key that is missing or lacks its form."""
        if not isinstance(value, Mapping):
            return f"{name!r} is {value!r}: expected an object"
        return self.inside(value, f"{name}.")

    def inside(self, value: Mapping[str, object], prefix: str = "") -> str:
        """Return a sentence about the first wrong key of `value`, "" without one. Names in it begin with `prefix`."""
        for key in self.needed:
            if value.get(key) is None:
                return f"{prefix + key!r} is missing"
        for key, form in self.keys.items():
            if value.get(key) is not None and (fault := form.fault(prefix + key, value[key])):
                return fault
        return ""


@dataclass(frozen=True, slots=True)
class Either:
    """Form of a list of names, or of a number: how many names there are."""

    def fault(self, name: str, value: object) -> str:
        """Implement `Form.fault`: require a list of texts or a whole number."""
        form: Form = Listed(TEXT) if isinstance(value, list | tuple) else WHOLE
        return f"{name!r} is {value!r}: expected a list of names or a number" if form.fault(name, value) else ""


@dataclass(frozen=True, slots=True)
class Promises:
    """Form of a contract, as `Contract.from_dict` accepts it."""

    def fault(self, name: str, value: object) -> str:
        """Implement `Form.fault`: require an object that `Contract.from_dict` accepts."""
        if not isinstance(value, Mapping):
            return f"{name!r} is {value!r}: expected an object"
        try:
            Contract.from_dict(value)
        except ContractError as error:
            return f"{name!r} is not understood: {error}"
        return ""


TEXT, WHOLE, NUMBER = Plain(str, "a text"), Number(whole=True), Number()
TEXTS, ANYTHING = Listed(TEXT, "a list of texts"), Keys({})
_COUNTED = Keys({"where": TEXT, "error": TEXT, "count": WHOLE}, ("where", "error", "count"))
STORY: Final = Keys(
    {"errors": Listed(_COUNTED), "failed_requests": Listed(_COUNTED), "requests": WHOLE},
    ("errors", "failed_requests", "requests"),
)
_OWN_CHECK = Keys(dict.fromkeys(("name", "promise", "file"), TEXT), ("name", "promise", "file"))
_CLAIM = Keys({"records": WHOLE, "blocks": WHOLE, "begin": TEXT, "end": TEXT}, ("records", "blocks", "begin", "end"))

_CLOCK: Final = Keys(
    dict.fromkeys(("offset_ns", "drift_ppb", "since_ns", "until_ns"), WHOLE)
    | {"bound_ns": WHOLE},  # null: the clock jumped
    ("offset_ns", "drift_ppb", "since_ns", "until_ns"),
)
RUN: Final = Keys(
    {
        "story": TEXT,
        "seed": WHOLE,
        "tag": TEXT,
        "state": TEXT,
        "judged_by": Listed(TEXT, "a list of ids of checks"),
        "thresholds": TEXTS,
        "warnings": TEXTS,
        "opportunities": TEXTS,
        "own_checks": Listed(_OWN_CHECK, "a list of checks"),
        "planned_faults": TEXTS,
        "faults_without_effect": TEXTS,
        "contract": Promises(),
        "planned": Keys({"users": WHOLE, "seconds": NUMBER}),
        "plan": ANYTHING,
        "target": Keys({"kind": TEXT}),
        "roster": Keys({"origin": TEXT}),
        "journals": Either(),
        "process": WHOLE,
        "process_started": NUMBER,
        "interrupted": Keys(
            {"after_s": NUMBER, "of_s": NUMBER, "by": OneOf(("SIGINT", "SIGTERM", ""))}, ("after_s", "of_s")
        ),
        "story_errors": STORY,
        "evidence": Keys({"journals": Every(_CLAIM, absent=True), "files": Every(TEXT)}),
        "clocks": Keys({"master": TEXT, "others": Every(_CLOCK)}, ("master", "others")),
    }
)
FOOTER: Final = Keys(
    {
        "lag_ms": Every(NUMBER, 'an object of numbers, like {"p99": 0.2}'),
        **dict.fromkeys(
            ("records", "frames_in", "recorded_frames_in", "messages_sent", "messages_unsaid", "heartbeats", "pings"),
            WHOLE,
        ),
        "load": Every(NUMBER, "an object of numbers", absent=True),
        "story": STORY,
        "opportunities": Every(WHOLE),
        "latencies_us": Every(TEXT),
    }
)
META: Final = Keys(
    {
        "host": TEXT,
        "boot_id": TEXT,
        "clock": TEXT,
        "roster": TEXT,
        "wall_minus_monotonic_ns": WHOLE,
        "clock_offset_ms": NUMBER,
    }
)
JOURNAL: Final = Keys({"name": TEXT, "footer": FOOTER, "meta": META, "names": TEXTS}, ("name",))


def fault_of_run(run: object) -> str:
    """Return a sentence about what is wrong with the content of a `run.json`, "" if a judge can read it."""
    if not isinstance(run, dict):
        return f"the run is {run!r}: expected an object"
    return RUN.inside(run)
