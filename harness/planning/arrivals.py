"""Times of a run: planned arrivals of actions, and the number of users over time. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random

from earwitness.harness.described import near
from earwitness.harness.errors import SettingsError

RATE = re.compile(r"(?P<poisson>poisson\s+)?(?P<rate>\d+(?:\.\d+)?)\s*/\s*s", re.ASCII)
RATE_LEAST, RATE_MOST = 0.001, 100_000.0
"""Bounds of a rate in actions per second: one action in a quarter of an hour, and more than a machine can start."""
RAMP_END, SOAK_RAMP = 0.8, 0.1


@dataclass(frozen=True, slots=True)
class Arrivals:
    """Rate of the actions of all planned users together: `per_s` a second, evenly spaced or as a Poisson process."""

    per_s: float
    poisson: bool = False

    @classmethod
    def parse(cls, text: str) -> Arrivals | None:
        """Return the rate that `text` names ("50/s", "poisson 50/s"), None for an empty text.

        Raises SettingsError for another text or an impossible rate.
        """
        if not text.strip():
            return None
        found = RATE.fullmatch(text.strip())
        if found is None:
            raise SettingsError("--arrivals", [f'{text!r} is no rate; write 50/s, or "poisson 50/s"'])
        rate = float(found["rate"])
        if not RATE_LEAST <= rate <= RATE_MOST:
            bounds = f"from {RATE_LEAST:g} to {RATE_MOST:,.0f} actions a second"
            raise SettingsError("--arrivals", [f"{text!r} is not possible; write a rate {bounds}, like 50/s"])
        return cls(rate, bool(found["poisson"]))

    def times_s(self, number: int, users: int, rng: Random) -> Iterator[float]:
        """Yield the planned starts of the user `number` of `users`, in seconds from the beginning, without end.

        Evenly spaced: the starts of all users together are evenly spaced too. Poisson: they are a Poisson process
        together.
        """
        at = 0.0 if self.poisson else number / self.per_s
        while True:
            if self.poisson:
                at += rng.expovariate(self.per_s / users)
                yield at
            else:
                yield at
                at += users / self.per_s


def _ramp(x: float, _: float) -> float:
    return min(1.0, x / RAMP_END)


def _steps(x: float, count: float) -> float:
    return min(count, int(x * count) + 1) / count


def _spike(x: float, base: float) -> float:
    return 1.0 if 1 / 3 <= x < 2 / 3 else base


def _soak(x: float, _: float) -> float:
    return min(1.0, x / SOAK_RAMP)


@dataclass(frozen=True, slots=True)
class Form:
    """Form of the number of users over time, such as a ramp.

    share    function of (x, value): share of all users (0 to 1) that run when the share x of the time has passed
    text     what the form does, for messages and help
    default  value that is used if the option states none
    bounds   lowest and highest value; None: the form takes no value
    """

    share: Callable[[float, float], float]
    text: str
    default: float = 0.0
    bounds: tuple[float, float] | None = None


FORMS = {
    "ramp": Form(_ramp, "rises evenly for four fifths of the time"),
    "steps": Form(_steps, "rises in N equal steps (steps:N; 5)", 5.0, (1.0, 100.0)),
    "spike": Form(_spike, "all in the middle third of the time, a share before and after (spike:0.2)", 0.2, (0.0, 1.0)),
    "soak": Form(_soak, "rises for a tenth of the time and stays"),
}


@dataclass(frozen=True, slots=True)
class Shape:
    """Form of a load together with its value (`--shape NAME:VALUE`)."""

    form: Form
    value: float

    @classmethod
    def parse(cls, text: str) -> Shape | None:
        """Return the shape of `NAME` or `NAME:VALUE`, None for an empty text.

        Raises SettingsError for an unknown name or a wrong value.
        """
        name, colon, value = text.strip().partition(":")
        if not name and not colon:
            return None
        form = FORMS.get(name)
        if form is None:
            raise SettingsError("--shape", [f"there is no shape {name!r}{near(name, FORMS)}"])
        return cls(form, _value(name, form, value) if colon else form.default)

    def users_at(self, passed_s: float, peak: int, length_s: float) -> int | None:
        """Return the number of users when `passed_s` of `length_s` seconds have passed, None at the end.

        It is at least 1 and at most `peak`.
        """
        if passed_s >= length_s:
            return None
        return max(1, round(peak * self.form.share(passed_s / length_s, self.value)))


def _value(name: str, form: Form, text: str) -> float:
    if form.bounds is None:
        raise SettingsError("--shape", [f"{name} takes no number; write --shape {name}"])
    low, high = form.bounds
    try:
        value = float(text)
    except ValueError:
        value = low - 1
    if not low <= value <= high or (name == "steps" and value % 1):
        raise SettingsError("--shape", [f"{name}:{text} is not possible; {form.text}, from {low:g} to {high:g}"])
    return value
