"""Conversion of an agent's streamed answer into events, and detection of text in it that belongs to another user.

Two things show that an answer, or a piece of one, belongs to another user:

- The id of an answer, where each piece states it. A piece with another id than the first piece belongs to that other
  answer.
- A question that an answer repeats. A message body names its author and its conversation (`harness.client.body`), so
  the record states both, and a check finds the question of another user (I12). The head of a body is enough for that,
  because an agent need not repeat the whole body unchanged.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from earwitness.harness.client.body import Fields, decode_fields
from earwitness.harness.client.events import ACK, AGENT, MESSAGE, OTHER, Heard
from earwitness.harness.client.flow import HIDDEN, FlowError, Unbounded

KEPT_CHARS: Final = 1 << 20
"""Number of characters of one answer after which later text is not searched for questions."""
KEPT_IDS: Final = 10_000
LONGEST_ID: Final = 64


class AnswerIds:
    """Room labels by the ids of answers, for the KEPT_IDS answers that this process received last."""

    def __init__(self) -> None:
        """Start empty. With more than KEPT_IDS ids, the oldest is dropped."""
        self._rooms: dict[str, str] = {}

    def room_of(self, answer_id: str, label: str) -> str:
        """Return the room label that is stored for `answer_id`; for a new id, store `label` and return it."""
        if answer_id not in self._rooms and len(self._rooms) >= KEPT_IDS:
            del self._rooms[next(iter(self._rooms))]
        return self._rooms.setdefault(answer_id, label)


class StreamedAnswer:
    """Streamed answer to one question. A dialect calls its methods as the parts of the stream arrive.

    Each call reports events (`harness.client.events`) to the callback `happened`.

    accepted  the platform has begun to answer
    lacks     what is missing from the answer, in words; "" once the answer is complete
    secrets   texts that `lacks` must not show, because a platform may repeat in its answer what it was sent
    """

    def __init__(
        self, letter: tuple[str, str, str], happened: Callable[[Sequence[Heard]], None], ids: AnswerIds, *, lacks: str
    ) -> None:
        """Prepare for an answer of which nothing has arrived.

        - `letter`: room label, message id and body of the question
        - `happened`: takes the events
        - `ids`: the ids of answers of this process
        - `lacks`: words for what is missing if the answer ends before its last event, such as "no [DONE]"
        """
        self._label, self._run, self._question = letter
        self._happened, self._ids = happened, ids
        self._pieces: dict[str, int] = {}
        self._text, self._length, self._id = list[str](), 0, ""
        self.accepted, self.lacks, self._failed = False, lacks, False
        self.secrets: Sequence[str] = ()

    def opened(self) -> None:
        """Report that the platform accepted the question and begins its answer: the events ACK and AGENT "started"."""
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
        """Report the regular end of the answer; no-op after `failed`, which was its end."""
        if not self._failed:
            self.lacks = ""
            self._happened([self._agent("completed", None, 0)])

    def failed(self, error: str) -> None:
        """Report an error that the stream states, and store the text `error` in `lacks` with the `secrets` hidden."""
        said = error
        for secret in self.secrets:
            said = said.replace(secret, HIDDEN)
        self._failed, self.lacks = True, f"an error inside the stream: {said[:200]}"
        self._happened([self._agent("error", error, 0)])

    def unread(self, frame: str) -> None:
        """Report a part of the stream that the dialect cannot decode, as the event OTHER."""
        self._happened([(OTHER, self._label, None, -1, None, None, frame)])

    def missing(self) -> str:
        """Return `lacks`, for use as `StreamedRequest.missing`."""
        return self.lacks

    def ended(self, error: FlowError | None = None, *, exactly: bool) -> None:
        """Report the end of the stream: "broken" for an incomplete answer, and the questions that the answer repeats.

        Call it once, however the stream ended.

        - `error`: the error of its request. If the answer only exceeded a limit of the tester (`Unbounded`), it is not
          reported as broken
        - `exactly`: the agent promises to repeat its question unchanged; ignored for an incomplete answer
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
"""Pattern of the head of a message body: tag, author, conversation, counter, proc, attempt, checksum."""


def repeated(answer: str, question: str, label: str, message_id: str, *, exactly: bool) -> Iterator[Heard]:
    """Yield a MESSAGE event for each message body in the text `answer`: the question's own body, and bodies of others.

    - `question`, `label`, `message_id`: body, room and id of the question that is answered
    - `exactly`: the agent promises to repeat the question unchanged; if False, a changed copy of the question is
      skipped

    A body of another message that is changed or incomplete is yielded with the fields that its head states. Never
    raises. Run time and number of events are bounded by the length of `answer`.
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
    """Return the fields that the head of a body states, marked as `sound`, with the stated checksum as `digest`."""
    tag, author, conv, counter, proc, attempt, digest = head.groups()
    return tag, int(author), int(conv), int(counter), int(proc) % 256, int(attempt) % 256, int(digest, 16), True


def _message(label: str, text: str, message_id: str, body: Fields | None) -> Heard:
    return (MESSAGE, label, text, -1, None, message_id, body)


__all__ = ["AnswerIds", "StreamedAnswer", "repeated"]
