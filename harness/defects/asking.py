"""Defects in the stream of an agent's answer (called "run" in frames and in ground truth)."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from earwitness.harness.defects.chance import Chance
from earwitness.harness.defects.declared import defect
from earwitness.harness.defects.pushing import changed, reachable
from earwitness.harness.defects.rooms import strangers
from earwitness.harness.reference.backend.app import Backend
from earwitness.harness.reference.backend.feed import Listener
from earwitness.harness.reference.backend.session import Session
from earwitness.harness.reference.backend.wire import content

TERMINAL = ("completed", "error")
RUNS_REMEMBERED = 100
CHUNKS_BEFORE_THE_CUT = 1


@defect(
    "Z31",
    "agent-terminal",
    breaks="The assistant's answer ends twice, or the dots never stop.",
    opportunity="one run of the agent",
    caught_by=("I24",),
    high=0.5,
    one=0.1,
    needs="questions to the agent",
    also=("chat_journey",),
)
class TerminalTwiceOrNever:
    """Defect that sends the last event of an answer twice or not at all.

    Opportunity: one answer. A firing is manifest at once.
    """

    def __init__(self, backend: Backend, chance: Chance) -> None:
        """Replace `Asking.broadcast`, which sends each event of an answer."""
        self._broadcast, self._chance = backend.asking.broadcast, chance
        backend.asking.broadcast = self.broadcast

    def broadcast(self, conversation_id: int, data: bytes) -> None:
        """Implement `Asking.broadcast`: send a terminal event zero or two times if the defect fires."""
        said = content(data)
        if said["event"] not in TERMINAL or not self._chance.fires():
            self._broadcast(conversation_id, data)
            return
        times = self._chance.random.choice((0, 2))
        for _ in range(times):
            self._broadcast(conversation_id, data)
        self._chance.say(conversation=said["conversation"], run=said["run"], times=times, manifest=True)


@defect(
    "Z32",
    "agent-mixed-runs",
    breaks="Pieces of another answer appear in the assistant's answer to me.",
    opportunity="one piece of an answer while another is being given in the same conversation",
    caught_by=("I24", "I14"),
    high=0.3,
    one=0.05,
    needs="several questions to the agent at once",
    also=("chat_journey",),
)
class MixedRuns:
    """Defect that gives a chunk of an agent's answer the run id of another answer in progress in the same conversation.

    Opportunity: one chunk while another answer of the conversation is in progress on this replica. A firing is manifest
    at once.
    """

    def __init__(self, backend: Backend, chance: Chance) -> None:
        """Replace `Asking.broadcast`, and start with no answer in progress."""
        self._broadcast, self._chance = backend.asking.broadcast, chance
        self._open: OrderedDict[str, str] = OrderedDict()
        backend.asking.broadcast = self.broadcast

    def broadcast(self, conversation_id: int, data: bytes) -> None:
        """Implement `Asking.broadcast`: replace the run id of a chunk if the defect fires."""
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


@defect(
    "Z65",
    "answer-to-stranger",
    breaks="The assistant's answer to somebody else appeared in my app, from a conversation that I am not in.",
    opportunity="one run of the agent that begins while a stranger is connected to the same replica",
    caught_by=("I12",),
    high=0.5,
    one=0.02,
    needs="questions to the agent",
    story="chat_journey",
)
class AnswerToStranger:
    """Defect that also sends a whole answer, from its start to its end, to a user who is no member of the conversation.

    Opportunity: one answer that starts while such a user is connected to this replica. A firing is manifest at once.
    """

    def __init__(self, backend: Backend, chance: Chance) -> None:
        """Replace `Asking.broadcast`; a table holds the session that also gets the events of an answer."""
        self._backend, self._broadcast, self._chance = backend, backend.asking.broadcast, chance
        self._told: dict[str, Session] = {}
        backend.asking.broadcast = self.broadcast

    def broadcast(self, conversation_id: int, data: bytes) -> None:
        """Implement `Asking.broadcast`: also send the frame to the stranger who was chosen for the answer, if any."""
        self._broadcast(conversation_id, data)
        said = content(data)
        run = str(said["run"])
        if said["event"] == "started":
            self._choose(str(said["conversation"]), run)
        if run in self._told:
            self._told[run].push(data)
        if said["event"] in TERMINAL:
            self._told.pop(run, None)

    def _choose(self, key: str, run: str) -> None:
        found = strangers(self._backend, key)
        if found and self._chance.fires():
            stranger = self._told[run] = self._chance.random.choice(found)
            self._chance.say(conversation=key, user=stranger.user_id, run=run, manifest=True)


@dataclass(slots=True)
class Cut:
    """Answer whose last chunks are withheld from one listener.

    `victim` is that listener; `whole` are the listeners that get all chunks. `firing` is 0 until a chunk was withheld.
    """

    victim: Listener
    whole: list[Listener]
    firing: int = 0


@defect(
    "Z68",
    "cut-off-answer",
    breaks="The end of the assistant's answer is missing for me, and the app says that it is complete.",
    opportunity="one run of the agent that at least two connections hear on a replica",
    caught_by=("I24",),
    high=0.5,
    one=0.02,
    needs="questions to the agent",
    story="chat_journey",
)
class CutOffAnswer:
    """Defect that withholds all chunks of an answer but the first from one listener, and still sends it `completed`.

    Opportunity: one answer with at least two listeners on this replica.

    A firing is manifest when `completed` is sent, if the victim and at least one listener that got all chunks are
    connected then.
    """

    def __init__(self, backend: Backend, chance: Chance) -> None:
        """Replace `News._broadcast_here`, which pushes an event to the listeners of this replica."""
        self._feeds, self._push, self._chance = backend.hub.feeds, backend.news._broadcast_here, chance
        self._cuts: OrderedDict[str, Cut] = OrderedDict()
        vars(backend.news)["_broadcast_here"] = self.broadcast_here

    def broadcast_here(self, conversation_id: int, data: bytes) -> None:
        """Override `News._broadcast_here`: withhold the later chunks of a chosen answer from one listener."""
        said, feed = content(data), self._feeds.get(conversation_id)
        run = str(said["run"])
        listeners = list(feed.listeners) if feed is not None else []
        if said["event"] == "started" and len(listeners) > 1 and self._chance.fires():
            self._begin(run, listeners)
        cut = self._cuts.get(run)
        if cut is not None and said["event"] == "chunk" and said["n"] >= CHUNKS_BEFORE_THE_CUT:
            if not cut.firing:
                cut.firing = self._chance.say(conversation=said["conversation"], user=cut.victim.user_id, run=run)
            for listener in listeners:
                if listener is not cut.victim:
                    listener.push(data)
            return
        self._push(conversation_id, data)
        if cut is not None and said["event"] in TERMINAL:
            del self._cuts[run]
            if said["event"] == "completed":
                self._ended(cut, listeners)

    def _begin(self, run: str, listeners: list[Listener]) -> None:
        victim = self._chance.random.choice(listeners)
        self._cuts[run] = Cut(victim, [one for one in listeners if one is not victim])
        if len(self._cuts) > RUNS_REMEMBERED:
            self._cuts.popitem(last=False)

    def _ended(self, cut: Cut, listeners: list[Listener]) -> None:
        there = [one for one in listeners if reachable(one)]
        if cut.firing and cut.victim in there and any(one in there for one in cut.whole):
            self._chance.manifest(cut.firing)
