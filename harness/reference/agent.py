"""The agent, which answers a message that asks it.

It depends only on the text and never uses the network. Tests need the shape of its stream: one `started`, `thinking`,
one tool call with its completion, chunks numbered from 0 without a gap, one terminal event.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import NamedTuple

AGENT_ID = "agent"
"""Sender id of the agent. Users' ids are UUIDs, so none can be equal to it."""

WORDS_PER_CHUNK = 4
QUOTED_WORDS = 24


class AgentEvent(NamedTuple):
    """One event of an agent's run.

    `name` as in the protocol; `n` counts the chunks, and is the number of chunks in `completed`.
    """

    name: str
    n: int
    text: str


def answer(question: str) -> str:
    """Return the whole answer: the number of words and characters, a mark of the question's hash, and the question."""
    words = question.split()
    mark = hashlib.sha256(question.encode()).hexdigest()[:8]
    quoted = " ".join(words[:QUOTED_WORDS]) or "nothing"
    return f"You asked in {len(words)} words and {len(question)} characters (mark {mark}): {quoted}"


def stream(question: str) -> Iterator[AgentEvent]:
    """Yield all events of a run except the last; `completed` follows when the answer is stored."""
    yield AgentEvent("started", 0, "")
    yield AgentEvent("thinking", 0, "Reading the question.")
    yield AgentEvent("tool_started", 0, "count_words")
    yield AgentEvent("tool_completed", 0, str(len(question.split())))
    words = answer(question).split(" ")
    for n, start in enumerate(range(0, len(words), WORDS_PER_CHUNK)):
        text = " ".join(words[start : start + WORDS_PER_CHUNK])
        yield AgentEvent("chunk", n, text if start == 0 else " " + text)
