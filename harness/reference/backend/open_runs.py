"""Open runs of other replicas' agents.

A replica that dies sends no end, so this one sends it to its listeners.
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
    """State of a run: its conversation, the number of chunks, and the monotonic time (s) of its last event."""

    conversation_id: int
    key: str
    chunks: int
    heard_at: float


class OpenRuns:
    """Open runs of other replicas' agents.

    `say(conversation id, key, run, event)` sends an event to our own listeners. `silence_s`: seconds without an event
    after which a run has ended.
    """

    def __init__(self, say: Callable[[int, str, str, AgentEvent], None], silence_s: float) -> None:
        """Start without runs; `say` gets the terminal event of a run that fell silent."""
        self._say, self._silence_s = say, silence_s
        self._open: dict[str, OpenRun] = {}
        self._ended: OrderedDict[str, None] = OrderedDict()

    def heard(self, conversation_id: int, key: str, run: str, event: str) -> bool:
        """Note an event; return whether our listeners may get it, as nothing follows an end that was sent to them."""
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
        """End the runs that had no event for too long."""
        now = time.monotonic()
        for run, one in list(self._open.items()):
            if now - one.heard_at > self._silence_s:
                del self._open[run]
                self._ended[run] = None
                if len(self._ended) > ENDED_KEPT:
                    self._ended.popitem(last=False)
                self._say(one.conversation_id, one.key, run, AgentEvent("error", one.chunks, INTERRUPTED))
