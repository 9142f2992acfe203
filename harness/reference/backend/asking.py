"""Answers of the agent: their events are sent to the members of the conversation, and the whole answer is stored."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from earwitness.harness.reference.agent import AGENT_ID, AgentEvent, answer, stream
from earwitness.harness.reference.backend.commit import Committer, Fresh, Item
from earwitness.harness.reference.backend.wire import agent_frame
from earwitness.harness.reference.limits import Decision

RUNS_MAX = 1000
log = logging.getLogger(__name__)


class AgentReply:
    """Future of whether the agent's answer was stored; implements `commit.Answer`."""

    def __init__(self) -> None:
        """Make the future; requires a running event loop."""
        self.done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    def stored(self, item: Item, seq: int, decision: Decision | None) -> None:
        """Implement `Answer.stored`: set the future to True."""
        self.done.set_result(True)

    def refused(self, item: Item, code: int, reason: str, decision: Decision | None) -> None:
        """Implement `Answer.refused`: set the future to False."""
        self.done.set_result(False)

    def unknown(self, item: Item) -> None:
        """Implement `Answer.unknown`: set the future to False."""
        self.done.set_result(False)


class Asking:
    """The agent: it streams an answer to each question and stores the answer as a message.

    Each answer ends with exactly one terminal event: `completed` or `error`. `broadcast(conversation id, frame)` sends
    an event to the members on every replica. `pace_s`: seconds between two events of an answer.
    """

    def __init__(self, committer: Committer, broadcast: Callable[[int, bytes], None], pace_s: float) -> None:
        """Keep the functions that store answers and send their events; start without answers in progress."""
        self._committer, self.broadcast, self._pace_s = committer, broadcast, pace_s
        self._runs: set[asyncio.Task[None]] = set()

    def start(self, asked: Fresh) -> None:
        """Start an answer to a stored message that is a question.

        It ends with `error` at once if RUNS_MAX are in progress.
        """
        conversation_id, run = asked.item.conversation_id or 0, f"{asked.item.key}#{asked.seq}"
        if len(self._runs) >= RUNS_MAX:
            self._say(conversation_id, asked.item.key, run, AgentEvent("started", 0, ""))
            self._say(conversation_id, asked.item.key, run, AgentEvent("error", 0, "The agent is busy."))
            return
        task = asyncio.create_task(self._run(conversation_id, run, asked))
        self._runs.add(task)
        task.add_done_callback(self._runs.discard)

    async def finish(self) -> None:
        """Wait until all answers in progress have ended."""
        await asyncio.gather(*self._runs, return_exceptions=True)

    async def _run(self, conversation_id: int, run: str, asked: Fresh) -> None:
        key, question = asked.item.key, asked.item.text
        chunks = 0
        for event in self.stream(question):
            self._say(conversation_id, key, run, event)
            chunks += event.name == "chunk"
            # Users see the answer grow; tests see that it is a stream.
            await asyncio.sleep(self._pace_s)
        reply = AgentReply()
        # No question is answered twice: its number is part of the answer's id.
        item = Item(reply, AGENT_ID, "", key, f"answer-{asked.seq}", answer(question), metered=False)
        item.conversation_id, item.removals = conversation_id, asked.item.removals
        self._committer.submit(item)
        if await reply.done:
            self._say(conversation_id, key, run, AgentEvent("completed", chunks, answer(question)))
        else:
            self._say(conversation_id, key, run, AgentEvent("error", chunks, "The answer could not be stored."))

    stream = staticmethod(stream)

    def _say(self, conversation_id: int, key: str, run: str, event: AgentEvent) -> None:
        self.broadcast(conversation_id, agent_frame(key, run, event))
