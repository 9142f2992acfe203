"""Outbox of a device: records of the messages that it sends and of their answers.

`session.ChatSession` adds the inbox: what the device receives.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import ceil
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

from earwitness.checks.history.record import NOBODY, NONE, Flag, Kind
from earwitness.harness.client.body import encode
from earwitness.harness.client.events import ACK, NACK, Heard
from earwitness.harness.client.streams import Questions
from earwitness.harness.client.tally import ACKNOWLEDGED, ACKNOWLEDGED_FROM_PLAN, FIRST_TOKEN_FROM_PLAN, Tally
from earwitness.harness.described import whole_number
from earwitness.harness.native import HOT

KEPT: Final = 1000
"""Most unanswered messages, and most refused ones, that a session keeps for `retry`; older ones are dropped."""

# Plain integers: an IntEnum member costs more in a call of the journal.
_INVOKE, _OK, _FAIL, _INFO = int(Kind.INVOKE), int(Kind.OK), int(Kind.FAIL), int(Kind.INFO)


class Record(Protocol):
    """Protocol of `harness.record.journal.Journal`, with the methods that a session calls."""

    @property
    def write(self) -> Callable[..., int]:
        """Return the function that appends one record and returns the record's number; see `Journal.write`."""

    def intern(self, text: str) -> int:
        """Return the number that stands for `text` in the records of this journal."""

    def next_connection(self) -> int:
        """Return the epoch of a new connection: 1, 2, …."""


Encode: TypeAlias = Callable[[str, str, str], str | bytes]
"""Encoder of a dialogue: `encode(room label, message id, text)` returns one frame."""

Sent: TypeAlias = tuple[int, int, int, int, str, str, int, int]
"""A message in progress: counter, attempt, conversation, proc, label, payload, sent at, planned at (monotonic ns).

A plain tuple because one is made for every message; the native path makes a sequence that takes less memory.
"""


class NotConnected(ConnectionError):
    """Error for a message that cannot be sent because the device has no connection."""


class PlainCounts:
    """Counts of a session that each message changes; the compiled class of the native path has the same.

    connected_now    the device has an open connection
    counter          number of the last new message
    acked            acknowledged messages; `acked_unnumbered`: those whose answer had no sequence number
    heard_count      messages received and recorded, `own_heard` of them written by this device
    frames_recorded  frames received
    abandoned        how often `proc` was changed so that later messages have no order relative to earlier ones
    refused          refused messages

    It also has `on_answer` and `on_message`, the hooks that each message asks for; `ChatSession` documents them.
    """

    on_answer: Callable[[], None] | None
    on_message: Callable[[Heard], None] | None

    __slots__ = (
        "abandoned",
        "acked",
        "acked_unnumbered",
        "connected_now",
        "counter",
        "frames_recorded",
        "heard_count",
        "on_answer",
        "on_message",
        "own_heard",
        "refused",
    )


if TYPE_CHECKING:
    Counts = PlainCounts
else:
    Counts = PlainCounts if HOT is None else HOT.Counts


class Speaker(Counts):
    """Outbox of a session: messages in progress, their answers, retries.

    `ChatSession` documents the attributes and the hooks.
    """

    __slots__ = (
        "_acked_seq",
        "_by_http",
        "_due",
        "_encode",
        "_from_plan",
        "_intern",
        "_journal",
        "_latency",
        "_pending",
        "_posted",
        "_refused",
        "_rooms",
        "_seen",
        "_tally",
        "_unanswered",
        "_write",
        "client",
        "conn",
        "on_refused",
        "questions",
        "tag",
        "under_way",
    )

    def __init__(
        self,
        *,
        client: int,
        tag: str,
        journal: Record,
        rooms: Mapping[str, int],
        tally: Tally,
        by_http: bool = False,
    ) -> None:
        """Start without messages. Answers are counted and timed in `tally`; `ChatSession` describes the parameters."""
        self._by_http, self.abandoned = by_http, 0
        self.client, self.tag = client, tag
        self._journal, self._write, self._intern = journal, journal.write, journal.intern
        self._encode: Encode
        self._rooms, self._tally = rooms, tally
        self._latency = tally.histogram(ACKNOWLEDGED)
        self._from_plan = tally.histogram(ACKNOWLEDGED_FROM_PLAN)
        self.under_way = self._pending = dict[str, Sent]()
        self._posted: set[str] = set()  # ids of pending messages that were sent as requests, not on the socket
        self._unanswered: dict[str, Sent] = {}
        self._refused: dict[str, Sent] = {}
        self._seen: dict[str, int] = {}  # highest sequence received on this connection, by label
        self._acked_seq: dict[str, int] = {}
        self.questions = Questions(tally.histogram(FIRST_TOKEN_FROM_PLAN))
        self._due: int | None = None  # a CONNECT that is not written yet: how long its handshake took, ns
        self.conn = self.counter = self.acked = self.acked_unnumbered = self.refused = 0
        self.heard_count = self.frames_recorded = self.own_heard = 0
        self.connected_now = False
        self.on_answer = None
        self.on_refused: Callable[[str, int, float | None], None] | None = None

    def send(
        self,
        now_ns: int,
        label: str,
        payload: str,
        planned_ns: int | None = None,
        encode: Encode | None = None,
        *,
        message_id: str = "",
        posted: bool = False,
        asks: bool = False,
    ) -> str | bytes:
        """Record the next message to the room `label` as INVOKE, and return its frame.

        - `planned_ns`: planned start of the message, monotonic ns; None means `now_ns`
        - `encode`: encodes the frame instead of the dialogue, e.g. as a question
        - `message_id`: the client's id of the message; by default one that is unique in the run
        - `asks`: the message is a question to the platform's agent
        - `posted`: the message is sent as an HTTP request, whose answer is passed to `answered` or `abandon`

        Raises NotConnected; KeyError if the room is not planned.
        """
        counter, proc = self.counter + 1, self.proc
        sent = (counter, 1, self._rooms[label], proc, label, payload, now_ns, planned_ns or now_ns)
        message_id = message_id or f"{self.tag}-{self.client}-{counter}"
        frame = self._invoke(now_ns, message_id, sent, encode, int(Flag.OWN) if asks else 0)
        if asks:
            self.questions.asked(message_id, counter, planned_ns or now_ns)
        if posted:
            self._posted.add(message_id)
        self.counter = counter
        return frame

    def retry(self, now_ns: int, message_id: str, encode: Encode | None = None) -> str | bytes:
        """Record a message of `unanswered()`, or a refused one, as sent again (INVOKE), and return its frame.

        Id and counter stay the same; the attempt increases by one. `encode`: as of `send`. Raises NotConnected;
        KeyError if the message is unknown or no longer kept.
        """
        if not self.connected_now:
            raise NotConnected(f"client {self.client} is not connected")
        sent = self._unanswered.pop(message_id, None) or self._refused.pop(message_id)
        counter, attempt, conv, _, label, payload, _, _ = sent
        again = (counter, min(attempt + 1, 255), conv, self.proc, label, payload, now_ns, now_ns)
        return self._invoke(now_ns, message_id, again, encode)

    def _invoke(
        self, now_ns: int, message_id: str, sent: Sent, put: Encode | None = None, flags: int = 0
    ) -> str | bytes:
        if not self.connected_now:
            raise NotConnected(f"client {self.client} is not connected")
        if self._due is not None:
            self._begin(now_ns, None)
        counter, attempt, conv, proc, label, payload, _, _ = sent
        client = self.client
        text, digest = encode(self.tag, client, conv, counter, proc, attempt, payload)
        frame = (put or self._encode)(label, message_id, text)
        size = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
        seen = self._seen.get(label, NONE)
        self._write(
            now_ns, _INVOKE, flags, attempt, proc, client, self.conn, conv, client, counter, NONE, seen, size, digest
        )
        self._pending[message_id] = sent
        return frame

    def timeouts(self, now_ns: int, limit_ns: int) -> list[str]:
        """Record INFO for every message that has waited longer than `limit_ns` ns for its answer; return their ids.

        Messages sent as requests are left out: `abandon` ends them.
        """
        overdue = []
        for message_id, sent in self._pending.items():
            if now_ns - sent[6] <= limit_ns:
                break
            if message_id not in self._posted:  # a request has a deadline of its own
                overdue.append(message_id)
        for message_id in overdue:
            self._no_answer(now_ns, message_id, int(Flag.TIMEOUT))
        if overdue:
            self._tally.count("no answer in time", len(overdue))
        return overdue

    def answered(self, now_ns: int, answers: Sequence[Heard]) -> None:
        """Record the answer to a message that was sent as a request: ACK or NACK.

        The answer does not count as a received frame.
        """
        for what, label, _, seq, _, message_id, extra in answers:
            if what == ACK:
                self._acknowledged(now_ns, label, seq, message_id)
            elif what == NACK:
                self._not_accepted(now_ns, message_id, extra)

    def abandon(self, now_ns: int, message_id: str) -> None:
        """Record INFO for a message whose request got no answer that states whether it was accepted.

        The next message may overtake this one on the platform, so later messages have no order relative to it: they get
        another `proc`.
        """
        if message_id in self._pending:
            self._no_answer(now_ns, message_id, 0)
            self._tally.count("no answer to the request")
            self.abandoned += 1

    def forget_order(self) -> None:
        """Change `proc`, so that later messages have no order relative to earlier ones.

        Call it before a message is sent while a request is in progress.
        """
        self.abandoned += 1

    @property
    def proc(self) -> int:
        """Return the `proc` of the next message, 0 to 255.

        Only messages with equal `proc` have an order among themselves.
        """
        return (self.conn + self.abandoned) & 255

    def unanswered(self) -> list[str]:
        """Return the ids of messages whose outcome is unknown (connection cut, or no answer in time), oldest first."""
        return list(self._unanswered)

    @property
    def pending(self) -> int:
        """Return the number of messages that wait for an answer."""
        return len(self._pending)

    def acked_points(self) -> dict[str, int]:
        """Return room label -> highest known sequence number of the device's own messages.

        The numbers come from acknowledgements and echoes.
        """
        return dict(self._acked_seq)

    # -- records ----------------------------------------------------------------------------------------------------

    def _answer_conn(self, message_id: str | None) -> int:
        """Return the connection number for an answer's record: 0 for the answer to a request.

        The socket may have changed between the request and its answer.
        """
        return 0 if self._by_http or message_id in self._posted else self.conn

    def _acknowledged(self, now_ns: int, label: str | None, seq: int, message_id: str | None) -> None:
        sent = self._take(message_id)
        if sent is None:
            self._stray(now_ns, _OK, message_id, seq=seq)
            return
        counter, attempt, conv, proc, own_label, _, sent_ns, planned_ns = sent
        client = self.client
        conn = self._answer_conn(message_id)
        self._write(now_ns, _OK, 0, attempt, proc, client, conn, conv, client, counter, seq, NONE, 0, 0)
        if self._posted:
            self._posted.discard(message_id or "")
        if self.questions.open:
            self.questions.numbered(message_id, own_label, seq)
        self._latency.add(now_ns - sent_ns)
        self._from_plan.add(now_ns - planned_ns)
        self.acked += 1
        if seq == NONE:
            self.acked_unnumbered += 1
        if seq > self._acked_seq.get(own_label, NONE):
            self._acked_seq[own_label] = seq
        if self.on_answer is not None:
            self.on_answer()

    def _not_accepted(self, now_ns: int, message_id: str | None, answer: tuple[int, float | None]) -> None:
        code, retry_after_s = answer
        if message_id is None and self._pending:
            message_id = next(iter(self._pending))
        sent = self._take(message_id)
        if sent is None or message_id is None:
            self._stray(now_ns, _FAIL, message_id, aux=code)
            return
        wait_ms = 0 if retry_after_s is None else min(max(1, ceil(1000 * retry_after_s)), 0xFFFF_FFFF)
        self._result(now_ns, _FAIL, message_id, sent, aux=code, size=wait_ms)
        self._posted.discard(message_id)
        _keep(self._refused, message_id, sent)
        self.refused += 1
        self._tally.count(f"refused with {code}")
        if self.on_refused is not None:
            self.on_refused(message_id, code, retry_after_s)
        if self.on_answer is not None:
            self.on_answer()

    def _take(self, message_id: str | None) -> Sent | None:
        """Return the message that an answer belongs to, and forget it; None if there is none.

        An answer without a message id belongs to the oldest message in progress.
        """
        if message_id is None:
            return self._pending.pop(next(iter(self._pending))) if self._pending else None
        return self._pending.pop(message_id, None) or self._unanswered.pop(message_id, None)

    def _stray(self, now_ns: int, kind: int, message_id: str | None, *, seq: int = NONE, aux: int = NONE) -> None:
        """Record an answer that matches no message in progress (a second answer, or that of another device).

        The answer is recorded only if its id names a message of the run.
        """
        tag, _, rest = (message_id or "").rpartition("-")
        tag, _, author = tag.rpartition("-")
        self._tally.count("answers to nothing asked")
        writer, counter = whole_number(author, NOBODY - 1), whole_number(rest, NOBODY - 1)
        if tag == self.tag and writer is not None and counter is not None:
            self._write(
                now_ns,
                kind,
                0,
                0,
                0,
                self.client,
                self._answer_conn(message_id),
                NOBODY,
                writer,
                counter,
                seq,
                aux,
                0,
                0,
            )

    def _no_answer(self, now_ns: int, message_id: str, flags: int) -> None:
        sent = self._pending.pop(message_id)
        self._result(now_ns, _INFO, message_id, sent, flags=flags)
        self._posted.discard(message_id)
        _keep(self._unanswered, message_id, sent)

    def _result(
        self, now_ns: int, kind: int, message_id: str, sent: Sent, *, flags: int = 0, aux: int = NONE, size: int = 0
    ) -> None:
        counter, attempt, conv, proc, *_ = sent
        client, conn = self.client, self._answer_conn(message_id)
        self._write(now_ns, kind, flags, attempt, proc, client, conn, conv, client, counter, NONE, aux, size, 0)

    def _begin(self, now_ns: int, replica: str | None) -> None:
        # Stamped when it is written: the times of a journal do not go backward.
        assert self._due is not None
        handshake_ns, self._due = self._due, None
        author = NOBODY if replica is None else self._intern(replica)
        self._event(now_ns, Kind.CONNECT, author=author, size=min(handshake_ns // 1000, 0xFFFF_FFFF))

    def _event(
        self,
        now_ns: int,
        kind: Kind,
        *,
        flags: int = 0,
        attempt: int = 0,
        conv: int = NOBODY,
        author: int = NOBODY,
        counter: int = 0,
        seq: int = NONE,
        aux: int = NONE,
        size: int = 0,
        digest: int = 0,
    ) -> None:
        self._write(
            now_ns, int(kind), flags, attempt, 0, self.client, self.conn, conv, author, counter, seq, aux, size, digest
        )


def _keep(kept: dict[str, Sent], message_id: str, sent: Sent) -> None:
    kept[message_id] = sent
    if len(kept) > KEPT:
        del kept[next(iter(kept))]
