"""Runs of the agent that other replicas tell: a replica that dies tells no end, so its listeners are told one here."""

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
    """Where it is told, how many chunks were, and when something of it was heard last."""

    conversation_id: int
    key: str
    chunks: int
    heard_at: float


class OpenRuns:
    """`say(conversation id, key, run, event)` tells our own listeners."""

    def __init__(self, say: Callable[[int, str, str, AgentEvent], None], silence_s: float) -> None:
        self._say, self._silence_s = say, silence_s
        self._open: dict[str, OpenRun] = {}
        self._ended: OrderedDict[str, None] = OrderedDict()

    def heard(self, conversation_id: int, key: str, run: str, event: str) -> bool:
        """Whether our listeners may hear it: nothing comes after the end that they were told."""
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
        """End the runs of which nothing was heard for too long."""
        now = time.monotonic()
        for run, one in list(self._open.items()):
            if now - one.heard_at > self._silence_s:
                del self._open[run]
                self._ended[run] = None
                if len(self._ended) > ENDED_KEPT:
                    self._ended.popitem(last=False)
                self._say(one.conversation_id, one.key, run, AgentEvent("error", one.chunks, INTERRUPTED))
