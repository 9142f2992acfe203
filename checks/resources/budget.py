"""Bounds of what a rate budget may have granted and must grant.

Only the times of sending and of answers are known, not when the limiter decided. So a window certainly holds what was
sent and answered inside it, and possibly whatever was not answered before it and not sent after it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from earwitness.checks.contract import Contract
from earwitness.checks.engine.tables import Array
from earwitness.checks.history.record import NONE
from earwitness.checks.resources.charges import NEVER, POSSIBLE

CLOCK_RATE = 1e-3
"""Largest relative difference between the rates of the limiter's clock and ours."""
ROUNDING = 0.01
"""Largest error, in tokens, of limiters that round the contents of a bucket."""


@dataclass(frozen=True, slots=True)
class Budget:
    """Rate budget: a token bucket of `burst` tokens that gets `per_ns` tokens per ns.

    With `window_ns` it is a limit of `burst` within any window of that length instead.
    """

    per_ns: float
    burst: float
    window_ns: int | None = None

    @property
    def refill_ns(self) -> int:
        """Return the ns after which an empty bucket is full, or a window has passed; NEVER for no refill."""
        if self.window_ns is not None:
            return self.window_ns
        return math.ceil(self.burst / self.per_ns) if self.per_ns else NEVER

    @classmethod
    def of(cls, contract: Contract) -> Budget | None:
        """Return the budget that the contract promises, None if it promises none."""
        if contract.rate_burst is None or (contract.rate_window_s is None and contract.rate_per_s is None):
            return None
        if contract.rate_window_s is not None:
            return cls(0.0, contract.rate_burst, int(contract.rate_window_s * 1e9 * (1 - CLOCK_RATE)))
        return cls(float(contract.rate_per_s or 0) / 1e9, max(1.0, float(int(contract.rate_burst))))

    def excess(self, start: Array, end: Array) -> tuple[Array, Array]:
        """Return (excess, first) for each charge: by how much the fullest window that ends with it exceeds the budget.

        `start`, `end`: times (ns) of sending and answer of one user's certain charges. The excess is in tokens, and a
        lower bound: it is never too high. One that is not positive is no violation. `first`: index of the charge with
        which the window begins.
        """
        by_start, by_end = np.argsort(start, kind="stable"), np.argsort(end, kind="stable")
        sent, answered = start[by_start], end[by_end]
        done = np.arange(1, len(end) + 1)
        excess = np.empty(len(end))
        first = np.empty(len(end), np.int64)
        if self.window_ns is not None:
            begin = np.searchsorted(sent, answered - self.window_ns, "left")
            excess[by_end] = done - begin - self.burst
        else:
            fast = self.per_ns * (1 + CLOCK_RATE)
            best, begin = _running_maximum(fast * (sent - sent[:1]) - np.arange(len(sent)))
            at = np.searchsorted(sent, answered, "right") - 1
            excess[by_end] = done - fast * (answered - sent[:1]) + best[at] - self.burst - ROUNDING
            begin = begin[at]
        first[by_end] = by_start[np.minimum(begin, len(by_start) - 1)]
        return excess, first

    def most_left(self, start: Array, end: Array, sent: Array, answered: Array) -> Array:
        """Return for each request the most tokens that can have been left of the budget when it was decided.

        `sent`, `answered`: times of the requests; `start`, `end`: times of all certain charges. All times are ns.
        """
        s, e = np.sort(start), np.sort(end)
        done = np.searchsorted(e, sent, "left")
        if self.window_ns is not None:
            inside = done - np.searchsorted(s, answered - self.window_ns, "left")
            return self._left(np.maximum(inside, 0))
        fast = self.per_ns * (1 + CLOCK_RATE)
        best, _ = _running_maximum(np.concatenate([[-np.inf], fast * (s - s[:1]) - np.arange(len(s))]))
        spent = done - fast * (answered - (s[0] if len(s) else 0)) + best[np.searchsorted(s, sent, "right")]
        return self._left(np.maximum(spent, 0.0) - ROUNDING)

    def least_left(self, uses: Uses, sent: Array, answered: Array) -> Array:
        """Return for each request the least tokens that must have been left whenever it was decided.

        It was decided between `sent` and `answered` (ns). `uses`: all possible charges. The result is valid only for
        requests that were sent after the anchor's answer.
        """
        started = np.searchsorted(uses.start, answered, "right")
        if self.window_ns is not None:
            spent = (started - np.searchsorted(uses.end, sent - self.window_ns, "left")).astype(float)
            return self._left(np.where(sent - self.window_ns > uses.anchor_ns, spent, spent + uses.missing))
        slow = self.per_ns * (1 - CLOCK_RATE)
        ends = np.concatenate([[np.iinfo(np.int64).min // 4], uses.end[uses.end < NEVER]])
        best, _ = _running_maximum(slow * (ends - uses.anchor_ns) - np.searchsorted(uses.end, ends, "left"))
        before = started - slow * (sent - uses.anchor_ns) + best[np.searchsorted(ends, sent, "right") - 1]
        now = started - np.searchsorted(uses.end, sent, "left")
        since = uses.missing + started - np.searchsorted(uses.end, uses.sent_ns, "left")
        since = since - slow * np.maximum(sent - uses.anchor_ns, 0)
        return self._left(np.maximum(np.maximum(before, now), since) + ROUNDING)

    def _left(self, spent: Array) -> Array:
        left: Array = self.burst - spent
        return left


@dataclass(frozen=True, slots=True)
class Uses:
    """Everything for which one user may have been charged; `start` and `end` each ascending, in ns.

    The anchor is the request from `sent_ns` to `anchor_ns` by whose answer the state of the budget is first known:
    `missing` tokens had been used up by then, by all earlier requests.
    """

    start: Array
    end: Array
    sent_ns: int
    anchor_ns: int
    missing: float

    @classmethod
    def of(cls, possible: Array, charges: Array, budget: Budget) -> Uses:
        """Return the possible charges of one user with their anchor.

        `possible`: charges that may have been made; `charges`: all of the user's, at least one. The anchor is the first
        answer that states the rest of the budget. Without one it is the user's first request, before which the whole
        budget may have been used up.
        """
        start, end = np.sort(possible["start"]), np.sort(possible["end"])
        said = charges[(charges["left"] != NONE) & (charges["end"] < NEVER)]
        if len(said):
            first = said[np.argmin(said["end"])]
            itself = bool(first["bits"] & POSSIBLE)  # the anchor's own request is among the uses too
            missing = budget.burst - float(first["left"]) - itself
            return cls(start, end, int(first["start"]), int(first["end"]), missing)
        begin = int(charges["start"].min())
        return cls(start, end, begin, begin, budget.burst)


def _running_maximum(values: Array) -> tuple[Array, Array]:
    """Return (the highest of the values so far, its index)."""
    best = np.maximum.accumulate(values)
    fresh = np.r_[True, values[1:] > best[:-1]] if len(values) else np.zeros(0, bool)
    return best, np.maximum.accumulate(np.where(fresh, np.arange(len(values)), 0))
