"""Bounds of how many requests a rate budget may grant at most, and must grant at least.

The record has the times of sending and of answers, but not the time at which the platform decided. So a window of time
certainly contains the decisions on requests that were sent and answered inside it. It possibly contains those on all
requests that were sent before its end and answered after its begin.
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
"""Largest relative difference between the rates of the platform's clock and the tester's."""
ROUNDING = 0.01
"""Largest error, in tokens, of platforms that round the contents of a token bucket."""


@dataclass(frozen=True, slots=True)
class Budget:
    """Rate budget of a user: a token bucket of `burst` tokens that gets `per_ns` tokens per ns.

    If `window_ns` is not None, it is a limit of `burst` requests within any window of that length (ns) instead.
    """

    per_ns: float
    burst: float
    window_ns: int | None = None

    @property
    def refill_ns(self) -> int:
        """Return the time (ns) that an empty bucket needs to be full, or the length of the window; NEVER: no refill."""
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
        """Return (excess, first), two arrays by charge.

        `excess`: the largest number of tokens by which the charges in a window that ends with this charge exceed the
        budget. It is a lower bound, never too high; zero or less is no violation. `first`: index of the charge with
        which this window begins. `start`, `end`: times (ns) of sending and answer of one user's certain charges.
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
        """Return for each request the most tokens that the budget can have had left when the platform decided on it.

        `sent`, `answered`: when the requests were sent and answered; `start`, `end`: when all certain charges of the
        user were sent and answered. All times are ns.
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
        """Return for each request the least tokens that the budget must have had left when the platform decided on it.

        `sent`, `answered`: when the requests were sent and answered (ns); the decision may have been made at any time
        between. `uses`: all possible charges of the user. Valid only for requests sent after `uses.anchor_ns`.
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
    """All possible charges of one user, and the first known state of the user's budget.

    start, end          times (ns) of sending and of answer, each array sorted ascending by itself
    sent_ns, anchor_ns  when the anchor was sent and answered: the request whose answer is the first that states how
                        much is left of the budget
    missing             tokens that had been used up by earlier requests when the platform decided on the anchor
    """

    start: Array
    end: Array
    sent_ns: int
    anchor_ns: int
    missing: float

    @classmethod
    def of(cls, possible: Array, charges: Array, budget: Budget) -> Uses:
        """Return the possible charges of one user with their anchor.

        `possible`: the CHARGE rows of the user with POSSIBLE; `charges`: all CHARGE rows of the user, at least one. If
        no answer states what is left of the budget, the anchor is the sending of the user's first request, and the
        whole budget (`burst`) counts as used up by then.
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
    """Return for each index (the highest of the values up to this index, the index of that value)."""
    best = np.maximum.accumulate(values)
    fresh = np.r_[True, values[1:] > best[:-1]] if len(values) else np.zeros(0, bool)
    return best, np.maximum.accumulate(np.where(fresh, np.arange(len(values)), 0))
