"""Answers that an agent streams, as one device receives them.

`Streams` computes size and digest of each whole answer, for I24. `Questions` finds the question of the device that an
answer belongs to. The record of an answer's end carries size and digest of the whole answer. If the connection received
the answer from its beginning, they are computed from its chunks; otherwise from the text that the platform sends at the
end.
"""

from __future__ import annotations

from dataclasses import dataclass
from zlib import crc32

from earwitness.checks.history.record import NONE, Flag
from earwitness.harness.client.tally import Histogram

STARTED, CHUNK, COMPLETED, ERROR = 1, 5, 6, 7
OPEN_MAX = 1000
"""Most answers, and most questions, in progress that are stored; beyond that the oldest is dropped."""


class Streams:
    """Agent's answers in progress on one connection."""

    def __init__(self) -> None:
        """Start without answers. Each connection has its own object."""
        self._open: dict[str, tuple[int, int, int]] = {}  # run → digest, bytes, number of the next piece

    def said(self, run: str, event: int, number: int, text: str) -> tuple[int, int, int]:
        """Process one event of an agent's answer; return (bytes, CRC-32, flags) for its record.

        `run`: the platform's id of the answer; `event`: a number of `session.AGENT_EVENTS`; `number`: number of the
        chunk. Bytes and CRC-32 are those of `text`, except at the end of an answer that was received from its
        beginning: then they are those of all chunks together. The flag CORRUPT means that the text sent with the end
        differs from the chunks.
        """
        data = text.encode("utf-8", "surrogatepass")
        size, digest = len(data), crc32(data) if data else 0
        if event == STARTED:
            self._begin(run)
        elif event == CHUNK:
            self._piece(run, number, data)
        elif event == ERROR:
            self._open.pop(run, None)
        elif event == COMPLETED and (whole := self._open.pop(run, None)) is not None and whole[2]:
            flags = int(Flag.CORRUPT) if data and (size, digest) != (whole[1], whole[0]) else 0
            return whole[1], whole[0], flags
        return size, digest, 0

    def _begin(self, run: str) -> None:
        self._open[run] = 0, 0, 0
        if len(self._open) > OPEN_MAX:
            del self._open[next(iter(self._open))]

    def _piece(self, run: str, number: int, data: bytes) -> None:
        digest, size, expected = self._open.get(run, (0, 0, -1))
        if number == expected:
            self._open[run] = crc32(data, digest), size + len(data), number + 1
        else:
            self._open.pop(run, None)


@dataclass(slots=True)
class Answer:
    """Answer in progress, as stored by the device that may have sent its question.

    question    counter of the question, NONE while it is not known
    planned_ns  planned start of the question, monotonic ns; 0 while the question is not known
    first_ns    monotonic ns of the first token, None before it
    timed       the time to the first token has been counted
    """

    question: int = NONE
    planned_ns: int = 0
    first_ns: int | None = None
    timed: bool = False


class Questions:
    """Questions of one device to the agent, and the answers in progress that may belong to them.

    The platform may name a question by the client's id of the message, or by its number in the conversation. The number
    is known only from the acknowledgement, so the question of an event that arrives earlier is not known yet.

    open  message id → (counter, planned start in ns) of the questions whose answers have not begun, oldest first
    """

    __slots__ = ("_answers", "_by_number", "_from_plan", "open")

    def __init__(self, from_plan: Histogram) -> None:
        """Start without questions.

        `from_plan`: histogram of the times from the planned start of a question to its first token, ns.
        """
        self._from_plan = from_plan
        self.open: dict[str, tuple[int, int]] = {}
        self._by_number: dict[tuple[str, int], str] = {}  # room label, number → message id
        self._answers: dict[str, Answer] = {}  # by run

    def asked(self, message_id: str, counter: int, planned_ns: int) -> None:
        """Note a question that is sent: its counter, and its planned start in monotonic ns."""
        self.open[message_id] = counter, planned_ns
        if len(self.open) > OPEN_MAX:
            del self.open[next(iter(self.open))]

    def numbered(self, message_id: str | None, label: str, seq: int) -> None:
        """Note that an acknowledgement gave the question `message_id` the number `seq` in the room `label`.

        No-op for a message that is no open question, and for an acknowledgement without a number.
        """
        if message_id is not None and message_id in self.open and seq != NONE:
            self._by_number[label, seq] = message_id
            if len(self._by_number) > OPEN_MAX:
                del self._by_number[next(iter(self._by_number))]

    def answered(self, now_ns: int, run: str, event: int, text: str, named: tuple[str | None, str | None, int]) -> int:
        """Process an event of the answer `run`; return the counter of the question that it answers, or NONE.

        `named`: message id, room label and number of the question, None and NONE where the platform does not state
        them. The time to the first token is counted as soon as both the token and the question are known. `now_ns`:
        monotonic ns.
        """
        answer = self._answers.get(run)
        if answer is None:
            if not self.open:
                return NONE
            answer = self._answers[run] = Answer()
            if len(self._answers) > OPEN_MAX:
                del self._answers[next(iter(self._answers))]
        if answer.question == NONE:
            self._find(answer, *named)
        if event == CHUNK and text and answer.first_ns is None:
            answer.first_ns = now_ns
        if answer.first_ns is not None and answer.question != NONE and not answer.timed:
            answer.timed = True
            self._from_plan.add(answer.first_ns - answer.planned_ns)
        if event in (COMPLETED, ERROR):
            del self._answers[run]
        return answer.question

    def _find(self, answer: Answer, message_id: str | None, label: str | None, seq: int) -> None:
        if message_id is None and label is not None:
            message_id = self._by_number.pop((label, seq), None)
        found = self.open.pop(message_id, None) if message_id is not None else None
        if found is not None:
            answer.question, answer.planned_ns = found
