"""Answers in progress ("runs") of the agents on other replicas.

A replica that dies sends no terminal event, so this replica sends one to its own listeners.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from earwitness.harness.reference.agent import AgentEvent

ENDED_KEPT = 1000
TERMINAL = ("completed", "error")
INTERRUPTED = "The agent was interrupted."


@dataclass(slots=True)
class OpenRun:
    """State of an agent's answer: its conversation, the count of chunks, the monotonic time (s) of its last event."""

    conversation_id: int
    key: str
    chunks: int
    heard_at: float


class OpenRuns:
    """Answers in progress of the agents on other replicas.

    `say(conversation id, key, run, event)` sends an event to the listeners here. After `silence_s` seconds without an
    event an answer counts as ended.
    """

    def __init__(self, say: Callable[[int, str, str, AgentEvent], None], silence_s: float) -> None:
        """Start without answers. `say` gets the terminal event of an answer that counts as ended."""
        self._say, self._silence_s = say, silence_s
        self._open: dict[str, OpenRun] = {}
        self._ended: OrderedDict[str, None] = OrderedDict()

    def heard(self, conversation_id: int, key: str, run: str, event: str) -> bool:
        """Record an event of an answer; return whether the listeners here may get it.

        False after `check` has ended the answer: nothing may follow a terminal event.
        """
        if run in self._ended:
            return False
        if event in TERMINAL:
            self._open.pop(run, None)
            return True
        one = self._open.setdefault(run, OpenRun(conversation_id, key, 0, 0.0))
        one.chunks += event == "chunk"
        one.heard_at = time.monotonic()
        return True

    async def check(self) -> None:
        """End the answers that had no event for `silence_s` seconds, by an `error` event."""
        now = time.monotonic()
        for run, one in list(self._open.items()):
            if now - one.heard_at > self._silence_s:
                del self._open[run]
                self._ended[run] = None
                if len(self._ended) > ENDED_KEPT:
                    self._ended.popitem(last=False)
                self._say(one.conversation_id, one.key, run, AgentEvent("error", one.chunks, INTERRUPTED))
