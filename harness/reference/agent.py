"""The agent, which answers a message with a question to it.

Its answer depends only on the text; it never uses the network. The shape of its stream is fixed: one `started`,
`thinking`, one tool call with its completion, chunks numbered from 0 without a gap, one terminal event.
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
    """One event of an agent's answer.

    `name`: its name in the protocol; `n`: number of the chunk, in `completed` and `error` the count of chunks, else 0;
    `text`: of the chunk; the whole answer in `completed`, the reason in `error`.
    """

    name: str
    n: int
    text: str


def answer(question: str) -> str:
    """Return the text of the whole answer to `question`.

    It states the counts of words and characters, the first eight digits of the question's SHA-256, and the beginning
    of the question.
    """
    words = question.split()
    mark = hashlib.sha256(question.encode()).hexdigest()[:8]
    quoted = " ".join(words[:QUOTED_WORDS]) or "nothing"
    return f"You asked in {len(words)} words and {len(question)} characters (mark {mark}): {quoted}"


def stream(question: str) -> Iterator[AgentEvent]:
    """Yield all events of an answer except the last. The caller adds `completed` when the answer is stored."""
    yield AgentEvent("started", 0, "")
    yield AgentEvent("thinking", 0, "Reading the question.")
    yield AgentEvent("tool_started", 0, "count_words")
    yield AgentEvent("tool_completed", 0, str(len(question.split())))
    words = answer(question).split(" ")
    for n, start in enumerate(range(0, len(words), WORDS_PER_CHUNK)):
        text = " ".join(words[start : start + WORDS_PER_CHUNK])
        yield AgentEvent("chunk", n, text if start == 0 else " " + text)
