"""Circuit breaker: when a dependency is down or overloaded, its callers stop calling it for a while.

CLOSED: calls pass; `failures` consecutive failures open the breaker. OPEN: calls are refused at once, for `open_s`.
HALF_OPEN: one call at a time is let through as a probe; its success closes the breaker, its failure opens it again. A
probe waits at most `probe_s` seconds, so that its caller does not wait long on behalf of all others.

Each call is logged as a line `call {…}`: its begin and end (monotonic ns), the breaker's state then, whether the
dependency was called, and whether it answered.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable
from enum import Enum
from typing import TypeVar

T = TypeVar("T")
FAILURES = 3
OPEN_S = 2.0
PROBE_S = 0.8
log = logging.getLogger(__name__)


class State(Enum):
    """States of a breaker; the module explains them."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class CircuitOpen(Exception):
    """Error for a call that was not made, or for a probe that took too long.

    `retry_after_s`: seconds until a call may be made.
    """

    def __init__(self, name: str, retry_after_s: float) -> None:
        """Make the message about the dependency `name`, which is called again after `retry_after_s` seconds."""
        self.retry_after_s = retry_after_s
        super().__init__(f"{name} has failed again and again; it is asked again in {retry_after_s:.1f} s.")


class CircuitBreaker:
    """Circuit breaker for one dependency.

    `fails`: exceptions that count as a failure; any other exception is an answer and counts as success. The module
    explains `failures`, `open_s` and `probe_s`; `clock` returns seconds.
    """

    def __init__(
        self,
        name: str,
        fails: tuple[type[Exception], ...],
        *,
        failures: int = FAILURES,
        open_s: float = OPEN_S,
        probe_s: float = PROBE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start closed, with no failure counted."""
        self.name, self.fails, self.failures, self.open_s, self.clock = name, fails, failures, open_s, clock
        self.probe_s = probe_s
        self.state = State.CLOSED
        self._in_a_row = 0
        self.opened_at = float("-inf")
        self.probing = False

    async def call(self, work: Callable[[], Awaitable[T]]) -> T:
        """Call `work`, if the breaker permits it, and return its result.

        Raises CircuitOpen if `work` was not called, or for a probe that took longer than `probe_s` seconds.
        """
        begun_ns = time.monotonic_ns()
        try:
            probe = self.admit()
        except CircuitOpen:
            self._tell(begun_ns, self.state, called=False, answered=False)
            raise
        state = self.state
        answered: bool | None = None
        patience = asyncio.timeout(self.probe_s if probe else None)
        try:
            async with patience:
                result = await work()
        except Exception as error:
            late = patience.expired()
            answered = not late and not isinstance(error, self.fails)
            (self._succeeded if answered else self._failed)(probe)
            if late:
                raise CircuitOpen(self.name, self.open_s) from None
            raise
        else:
            answered = True
            self._succeeded(probe)
            return result
        finally:
            if probe:
                self.probing = False
            if answered is not None:  # a cancelled call says nothing about the dependency
                self._tell(begun_ns, state, called=True, answered=answered)

    def _tell(self, begun_ns: int, state: State, *, called: bool, answered: bool) -> None:
        told = {
            "dependency": self.name,
            "begun_ns": begun_ns,
            "ended_ns": time.monotonic_ns(),
            "state": state.value,
            "called": called,
            "answered": answered,
        }
        log.info("call %s", json.dumps(told))

    def admit(self) -> bool:
        """Register a call that is about to be made; return True if the call is the probe.

        Raises CircuitOpen if the call must not be made.
        """
        left_s = self.opened_at + self.open_s - self.clock()
        if self.state is State.OPEN and left_s <= 0:
            self._become(State.HALF_OPEN)
        if self.state is State.CLOSED:
            return False
        if self.state is State.OPEN or self.probing:
            raise CircuitOpen(self.name, max(left_s, 0.1))
        self.probing = True
        return True

    def _failed(self, probe: bool) -> None:
        """Count a failure, unless the call began before the breaker opened."""
        if probe or self.state is State.CLOSED:
            self._in_a_row += 1
            if probe or self._in_a_row >= self.failures:
                self.opened_at = self.clock()
                self._become(State.OPEN)

    def _succeeded(self, probe: bool) -> None:
        if probe or self.state is State.CLOSED:
            self._in_a_row = 0
            self._become(State.CLOSED)

    def _become(self, state: State) -> None:
        if state is not self.state:
            log.warning("circuit breaker of %s: %s to %s", self.name, self.state.value, state.value)
            self.state = state
