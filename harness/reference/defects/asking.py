"""Defects of the stream of an agent's run."""

from __future__ import annotations

from collections import OrderedDict

from harness.reference.backend.app import Backend
from harness.reference.backend.wire import content
from harness.reference.defects.chance import Chance
from harness.reference.defects.frames import changed

TERMINAL = ("completed", "error")
RUNS_REMEMBERED = 100


class TerminalTwiceOrNever:
    """The last event of a run comes twice, or not at all. An opportunity is one run."""

    def __init__(self, backend: Backend, chance: Chance) -> None:
        self._broadcast, self._chance = backend.asking.broadcast, chance
        backend.asking.broadcast = self.broadcast

    def broadcast(self, conversation_id: int, data: bytes) -> None:
        said = content(data)
        if said["event"] not in TERMINAL or not self._chance.fires():
            self._broadcast(conversation_id, data)
            return
        times = self._chance.random.choice((0, 2))
        for _ in range(times):
            self._broadcast(conversation_id, data)
        self._chance.say(conversation=said["conversation"], run=said["run"], times=times, manifest=True)


class MixedRuns:
    """A chunk carries the id of another run of the conversation. An opportunity is one chunk beside another run."""

    def __init__(self, backend: Backend, chance: Chance) -> None:
        self._broadcast, self._chance = backend.asking.broadcast, chance
        self._open: OrderedDict[str, str] = OrderedDict()
        backend.asking.broadcast = self.broadcast

    def broadcast(self, conversation_id: int, data: bytes) -> None:
        said = content(data)
        run, key = str(said["run"]), str(said["conversation"])
        if said["event"] in TERMINAL:
            self._open.pop(run, None)
        else:
            self._open[run] = key
            if len(self._open) > RUNS_REMEMBERED:
                self._open.popitem(last=False)
        others = [other for other, where in self._open.items() if where == key and other != run]
        if said["event"] == "chunk" and others and self._chance.fires():
            data = changed(data, run=others[-1])
            self._chance.say(conversation=key, run=run, told_as=others[-1], manifest=True)
        self._broadcast(conversation_id, data)
