"""Streamed answer to one question, as a dialect reads it: it becomes events, and shows whether users are mixed up.

Two things show an answer, or a piece of one, that belongs to another user:

- The id of an answer, where each piece states it. A piece with another id than the first one belongs to that answer.
- A question that an answer repeats. A body names its author and its conversation (`harness.client.body`), so the record
  gets a message with these names, and a check sees a question of somebody else (I12). An agent need not repeat a body
  exactly: its head is enough to know whose it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from earwitness.harness.client.body import Fields, decode_fields
from earwitness.harness.client.events import ACK, AGENT, MESSAGE, OTHER, Heard
from earwitness.harness.client.flow import HIDDEN, FlowError, Unbounded

KEPT_CHARS: Final = 1 << 20
"""Characters of one answer that are searched for questions."""
KEPT_IDS: Final = 10_000
LONGEST_ID: Final = 64


class AnswerIds:
    """Ids of the answers that a process has received lately, and the rooms of their questions."""

    def __init__(self) -> None:
        """Start without ids; of more than KEPT_IDS the oldest are dropped."""
        self._rooms: dict[str, str] = {}

    def room_of(self, answer_id: str, label: str) -> str:
        """Return the label of the room in which the answer with this id was asked for.

        `label`: the room that is stored for an id that is new.
        """
        if answer_id not in self._rooms and len(self._rooms) >= KEPT_IDS:
            del self._rooms[next(iter(self._rooms))]
        return self._rooms.setdefault(answer_id, label)


class StreamedAnswer:
    """Streamed answer to one question. A dialect calls its methods for what the stream says, in the order of arrival.

    Each report goes to the callback `happened` as events (`harness.client.events`).

    accepted  the platform has begun to answer
    lacks     what the answer lacks so far; "" once it is whole
    secrets   texts that no message may show, because a platform may repeat in its answer what it was sent
    """

    def __init__(
        self, letter: tuple[str, str, str], happened: Callable[[Sequence[Heard]], None], ids: AnswerIds, *, lacks: str
    ) -> None:
        """Start before the answer.

        - `letter`: room label, message id and body of the question
        - `happened`: takes the events
        - `lacks`: what an answer lacks that breaks off before its last event, in words such as "no [DONE]"
        """
        self._label, self._run, self._question = letter
        self._happened, self._ids = happened, ids
        self._pieces: dict[str, int] = {}
        self._text, self._length, self._id = list[str](), 0, ""
        self.accepted, self.lacks, self._failed = False, lacks, False
        self.secrets: Sequence[str] = ()

    def opened(self) -> None:
        """Report that the question was accepted, and its answer begins."""
        self.accepted = True
        self._happened([(ACK, self._label, None, -1, None, self._run, None), self._agent("started", None, 0)])

    def piece(self, text: str, answer_id: str | None = None) -> None:
        """Report a piece of the answer; no-op for an empty `text`.

        `answer_id`: the id that the piece states, None if it states none. A piece with another id than the first one is
        reported as a piece of that other answer, in the room of its question.
        """
        if not text:
            return
        self._id = self._id or answer_id or ""
        if not answer_id or answer_id == self._id:
            if answer_id:
                self._ids.room_of(answer_id, self._label)
            self._happened([self._numbered(text, self._run, self._label)])
            if self._length < KEPT_CHARS:
                self._text.append(text)
                self._length += len(text)
        else:
            run = f"{self._run}/{answer_id[:LONGEST_ID]!a}"
            self._happened([self._numbered(text, run, self._ids.room_of(answer_id, self._label))])

    def completed(self) -> None:
        """Report the end of the answer; no-op after an error, which was its end."""
        if not self._failed:
            self.lacks = ""
            self._happened([self._agent("completed", None, 0)])

    def failed(self, error: str) -> None:
        """Report an error inside the stream."""
        said = error
        for secret in self.secrets:
            said = said.replace(secret, HIDDEN)
        self._failed, self.lacks = True, f"an error inside the stream: {said[:200]}"
        self._happened([self._agent("error", error, 0)])

    def unread(self, frame: str) -> None:
        """Report an event of the stream that cannot be understood."""
        self._happened([(OTHER, self._label, None, -1, None, None, frame)])

    def missing(self) -> str:
        """Return what the answer lacks, "" once it is whole. To be used as `StreamedRequest.missing`."""
        return self.lacks

    def ended(self, error: FlowError | None = None, *, exactly: bool) -> None:
        """Report the end of the stream: that the answer was broken off, if so, and the questions that it repeats.

        Call it once, however the stream ended.

        - `error`: the error of its request. If the answer only exceeded a limit of the tester (`Unbounded`), it is not
          reported as broken off
        - `exactly`: the agent promises to repeat its question unchanged; judged only if the answer is whole
        """
        if self.accepted and self.lacks and not self._failed and not isinstance(error, Unbounded):
            self._happened([self._agent("broken", None, 0)])
        exactly = exactly and not self.lacks
        found = list(repeated("".join(self._text), self._question, self._label, self._run, exactly=exactly))
        if found:
            self._happened(found)

    def _numbered(self, text: str, run: str, label: str) -> Heard:
        number = self._pieces[run] = self._pieces.get(run, -1) + 1
        return (AGENT, label, text, -1, None, self._run, (run, "chunk", number))

    def _agent(self, name: str, text: str | None, number: int) -> Heard:
        return (AGENT, self._label, text, -1, None, self._run, (self._run, name, number))


_HEAD: Final = re.compile(
    r"ew1:([^:\s]{1,64}):(\d{1,9}):(\d{1,9}):(\d{1,9}):(\d{1,3})\.(\d{1,3}):([0-9a-f]{8}):", re.ASCII
)
"""Head of a body: tag, author, conversation, counter, proc, attempt, checksum."""


def repeated(answer: str, question: str, label: str, message_id: str, *, exactly: bool) -> Iterator[Heard]:
    """Yield a MESSAGE event for each body in the text `answer`: the question itself, and bodies of other messages.

    - `question`, `label`, `message_id`: body, room and id of the question that is answered
    - `exactly`: the agent promises to repeat the question unchanged; if False, a changed copy of it is skipped

    A body of another message that is changed or incomplete is yielded with the fields that its head states.
    Never raises. Time and results are bounded by the length of `answer`.
    """
    if question and question in answer:
        yield _message(label, question, message_id, None)
        answer = answer.replace(question, " ")
    own = ":".join(question.split(":")[:5]) + ":"
    heads = list(_HEAD.finditer(answer))
    ends = [head.start() for head in heads[1:]]
    for head, end in zip(heads, [*ends, None], strict=False):
        text = answer[head.start() : end].rstrip()
        whole = decode_fields(text)
        sound = whole is not None and whole[7]
        if not text.startswith(own):
            yield _message(label, text, message_id, None if sound else _fields(head))
        elif exactly:
            yield _message(label, text, message_id, None)


def _fields(head: re.Match[str]) -> Fields:
    """Return the fields of a body as its head says them."""
    tag, author, conv, counter, proc, attempt, digest = head.groups()
    return tag, int(author), int(conv), int(counter), int(proc) % 256, int(attempt) % 256, int(digest, 16), True


def _message(label: str, text: str, message_id: str, body: Fields | None) -> Heard:
    return (MESSAGE, label, text, -1, None, message_id, body)


__all__ = ["AnswerIds", "StreamedAnswer", "repeated"]
