"""One device of a virtual user across its connections, without I/O: what it said and heard goes into the journal.

The shell (`blocking`, `aio`) calls `connected`, `heard` and `closed`; the user calls `send`, `retry` and `timeouts`.
Every record is written before anybody else sees what it records: before the bytes of a message go out, and before
a hook hears of a frame.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol, TypeAlias

from checks.record import NOBODY, NONE, Flag, Kind, Place
from harness.client.body import PREFIX, decode_fields, encode
from harness.client.events import ACK, AGENT, JOINED, LEFT, MESSAGE, NACK, REPLAYED, WELCOME, Heard
from harness.client.tally import ACKNOWLEDGED, ACKNOWLEDGED_FROM_PLAN, Tally

AGENT_EVENTS: Final = {
    name: number
    for number, name in enumerate(
        ("started", "thinking", "tool_started", "tool_completed", "chunk", "completed", "error"), start=1
    )
}
"""`attempt` of a RUN record by the name of the agent's event; 0 for any other name."""

KEPT: Final = 1000
"""Messages without (or with a refusing) answer that a session keeps for `retry`; older ones are forgotten."""

# Plain integers: an IntEnum member costs more in a call of the journal.
_INVOKE, _OK, _FAIL, _INFO = int(Kind.INVOKE), int(Kind.OK), int(Kind.FAIL), int(Kind.INFO)
_DELIVER, _REPLAY = int(Kind.DELIVER), int(Kind.REPLAY)
_CORRUPT, _MISROUTED, _FOREIGN_RUN = int(Flag.CORRUPT), int(Flag.MISROUTED), int(Flag.FOREIGN_RUN)


class Record(Protocol):
    """The part of `harness.record.journal.Journal` that a session writes to."""

    @property
    def write(self) -> Callable[..., int]: ...
    def intern(self, text: str) -> int: ...
    def next_connection(self) -> int: ...


Sent: TypeAlias = tuple[int, int, int, int, str, str, int, int]
"""A message on its way: counter, attempt, conversation, proc, label, payload, sent at, planned at (ns). A plain tuple
because one is made for every message."""


class NotConnected(ConnectionError):
    """Something was to be said while there is no connection to say it on."""


class ChatSession:
    """One device. All times are `time.monotonic_ns()`.

    rooms        conversation numbers by the platform's label, shared by all sessions of the process
    ack_by_echo  the platform acknowledges nothing: hearing the own message back counts as its acknowledgement
    echo         the sender hears its own messages (for `settled`)

    connected_now, welcomed   state of the connection
    counter                   number of the last new message
    pending                   messages of this connection without answer
    acked, refused            answers so far; `heard_count` messages heard; `frames_recorded` frames heard
    on_answer(), on_closed(), on_welcome(info), on_refused(message id, code, retry after s), on_message(heard),
    on_agent(heard)           hooks, called inside the io callback after the record is written: they must not block
    """

    __slots__ = (
        "_acked_seq",
        "_due",
        "_encode",
        "_from_plan",
        "_hear",
        "_intern",
        "_journal",
        "_last",
        "_latency",
        "_own_heard",
        "_own_prefix",
        "_pending",
        "_refused",
        "_resumed",
        "_rooms",
        "_seen",
        "_tally",
        "_unanswered",
        "_write",
        "ack_by_echo",
        "acked",
        "client",
        "conn",
        "connected_now",
        "counter",
        "echo",
        "frames_recorded",
        "heard_count",
        "on_agent",
        "on_answer",
        "on_closed",
        "on_message",
        "on_refused",
        "on_welcome",
        "refused",
        "tag",
        "welcomed",
    )

    def __init__(
        self,
        *,
        client: int,
        tag: str,
        journal: Record,
        hear: Callable[[str | bytes], Sequence[Heard]],
        encode: Callable[[str, str, str], str | bytes],
        rooms: Mapping[str, int],
        tally: Tally,
        echo: bool = True,
        ack_by_echo: bool = False,
    ) -> None:
        self.client, self.tag = client, tag
        self.echo, self.ack_by_echo = echo, ack_by_echo
        self._journal, self._write, self._intern = journal, journal.write, journal.intern
        self._hear, self._encode, self._rooms = hear, encode, rooms
        self._tally = tally
        self._latency = tally.histogram(ACKNOWLEDGED)
        self._from_plan = tally.histogram(ACKNOWLEDGED_FROM_PLAN)
        self._own_prefix = f"{PREFIX}{tag}:"
        self._pending: dict[str, Sent] = {}
        self._unanswered: dict[str, Sent] = {}
        self._refused: dict[str, Sent] = {}
        self._seen: dict[str, int] = {}  # highest sequence heard on this connection, by label
        self._last: dict[str, int] = {}  # and on the ones before
        self._resumed: dict[str, int] = {}
        self._acked_seq: dict[str, int] = {}
        self._due: tuple[int, int] | None = None
        self.conn = 0
        self.counter = self.acked = self.refused = self.heard_count = self.frames_recorded = self._own_heard = 0
        self.connected_now = self.welcomed = False
        self.on_answer: Callable[[], None] | None = None
        self.on_closed: Callable[[], None] | None = None
        self.on_welcome: Callable[[Mapping[str, Any]], None] | None = None
        self.on_refused: Callable[[str, int, float | None], None] | None = None
        self.on_message: Callable[[Heard], None] | None = None
        self.on_agent: Callable[[Heard], None] | None = None

    # -- what the user does -----------------------------------------------------------------------------------------

    def send(self, now_ns: int, label: str, payload: str, planned_ns: int | None = None) -> str | bytes:
        """The frame of the next message to the room `label`; its INVOKE is written. Raises NotConnected; KeyError if
        the room is not planned."""
        counter = self.counter + 1
        sent = (counter, 1, self._rooms[label], self.conn & 255, label, payload, now_ns, planned_ns or now_ns)
        frame = self._invoke(now_ns, f"{self.tag}-{self.client}-{counter}", sent)
        self.counter = counter
        return frame

    def retry(self, now_ns: int, message_id: str) -> str | bytes:
        """The frame that sends a message of `unanswered()` (or a refused one) again: same id and counter, next
        attempt. KeyError if it is not known (any more)."""
        if not self.connected_now:
            raise NotConnected(f"client {self.client} is not connected")
        sent = self._unanswered.pop(message_id, None) or self._refused.pop(message_id)
        counter, attempt, conv, _, label, payload, _, _ = sent
        again = (counter, min(attempt + 1, 255), conv, self.conn & 255, label, payload, now_ns, now_ns)
        return self._invoke(now_ns, message_id, again)

    def _invoke(self, now_ns: int, message_id: str, sent: Sent) -> str | bytes:
        if not self.connected_now:
            raise NotConnected(f"client {self.client} is not connected")
        if self._due is not None:
            self._begin(None)
        counter, attempt, conv, proc, label, payload, _, _ = sent
        client = self.client
        text, digest = encode(self.tag, client, conv, counter, proc, attempt, payload)
        frame = self._encode(label, message_id, text)
        size = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
        seen = self._seen.get(label, NONE)
        self._write(
            now_ns, _INVOKE, 0, attempt, proc, client, self.conn, conv, client, counter, NONE, seen, size, digest
        )
        self._pending[message_id] = sent
        return frame

    def timeouts(self, now_ns: int, limit_ns: int) -> list[str]:
        """Write INFO for every message that waits longer than `limit_ns` for its answer; returns their ids."""
        overdue = []
        for message_id, sent in self._pending.items():
            if now_ns - sent[6] <= limit_ns:
                break
            overdue.append(message_id)
        for message_id in overdue:
            self._no_answer(now_ns, message_id, int(Flag.TIMEOUT))
        if overdue:
            self._tally.count("no answer in time", len(overdue))
        return overdue

    def unanswered(self) -> list[str]:
        """Ids of messages whose fate is unknown (connection cut, or no answer in time), oldest first."""
        return list(self._unanswered)

    @property
    def pending(self) -> int:
        return len(self._pending)

    @property
    def settled(self) -> bool:
        """Every own message is answered and, where the platform echoes, every acknowledged one was heard back."""
        return not self._pending and (not self.echo or self._own_heard >= self.acked)

    def resume_points(self) -> dict[str, int]:
        """Highest sequence number heard so far, by room label; for `Target.handshake(resume=…)`."""
        points = dict(self._last)
        for label, seq in self._seen.items():
            if seq > points.get(label, NONE):
                points[label] = seq
        return points

    def acked_points(self) -> dict[str, int]:
        """Highest acknowledged sequence number of the own messages, by room label."""
        return dict(self._acked_seq)

    # -- what the shell tells ---------------------------------------------------------------------------------------

    def connected(self, now_ns: int, handshake_ns: int, replica: str | None = None, *, greeted: bool = False) -> int:
        """A connection is open; returns its epoch. If it will be `greeted`, CONNECT waits for the first event of the
        epoch, because the greeting may name the replica. RuntimeError if there is a connection already: what is heard
        on two at once could not be told apart."""
        if self.connected_now:
            raise RuntimeError(f"client {self.client} is connected already: close that connection first")
        self._last = self.resume_points()
        self._resumed = self._last
        self._seen = {}
        self.conn = self._journal.next_connection()
        self.connected_now, self.welcomed = True, False
        self._due = (now_ns, handshake_ns)
        if not greeted:
            self._begin(replica)
        return self.conn

    def heard(self, now_ns: int, data: str | bytes) -> None:
        """Record one frame. Exceptions mean that it could not be recorded."""
        events = self._hear(data)
        if self._due is not None:
            self._begin(_replica(events))
        for event in events:
            what = event[0]
            if what == MESSAGE:
                self._message(now_ns, _DELIVER, event)
            elif what == ACK:
                self._acknowledged(now_ns, event[1], event[3], event[5])
            else:
                self._rare(now_ns, event)
        self.frames_recorded += 1

    def closed(self, now_ns: int, code: int, own: bool) -> None:
        """The connection is over: messages without answer become INFO. Nothing if it was over already."""
        if not self.connected_now:
            return
        if self._due is not None:
            self._begin(None)
        if self._pending:
            self._tally.count("connection cut before the answer", len(self._pending))
        for message_id in list(self._pending):
            self._no_answer(now_ns, message_id, 0)
        self.connected_now = self.welcomed = False
        flags = int(Flag.OWN) if own else 0
        self._event(now_ns, Kind.DISCONNECT, flags=flags, counter=code)
        if self.on_closed is not None:
            self.on_closed()

    # -- records ----------------------------------------------------------------------------------------------------

    def _message(self, now_ns: int, kind: int, event: Heard) -> None:
        _, label, text, seq, sender, _, _ = event
        text = text or ""
        body = decode_fields(text)
        flags = 0
        if body is not None:
            tag, author, conv, counter, proc, attempt, digest, sound = body
            if not sound:
                flags = _CORRUPT
            elif tag != self.tag:
                flags, author = _FOREIGN_RUN, NOBODY
            if label is not None and self._rooms.get(label) != conv:
                flags |= _MISROUTED
        else:
            flags = _CORRUPT if text.startswith(self._own_prefix) else _FOREIGN_RUN
            author = NOBODY
            conv = self._rooms.get(label, NOBODY) if label is not None else NOBODY
            counter = proc = attempt = digest = 0
        self._write(
            now_ns,
            kind,
            flags,
            attempt,
            proc,
            self.client,
            self.conn,
            conv,
            author,
            counter,
            seq,
            NONE if sender is None else self._intern(sender),
            len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass")),
            digest,
        )
        self.heard_count += 1
        if label is not None and seq > self._seen.get(label, NONE):
            self._seen[label] = seq
        if author == self.client and not flags:
            self._own_heard += 1
            if self.ack_by_echo:
                self._echoed(now_ns, label, seq, counter)
        if self.on_message is not None:
            self.on_message(event)

    def _echoed(self, now_ns: int, label: str | None, seq: int, counter: int) -> None:
        message_id = f"{self.tag}-{self.client}-{counter}"
        if message_id in self._pending or message_id in self._unanswered:
            self._acknowledged(now_ns, label, seq, message_id)

    def _acknowledged(self, now_ns: int, label: str | None, seq: int, message_id: str | None) -> None:
        sent = self._take(message_id)
        if sent is None:
            self._stray(now_ns, _OK, message_id, seq=seq)
            return
        counter, attempt, conv, proc, own_label, _, sent_ns, planned_ns = sent
        client = self.client
        self._write(now_ns, _OK, 0, attempt, proc, client, self.conn, conv, client, counter, seq, NONE, 0, 0)
        self._latency.add(now_ns - sent_ns)
        self._from_plan.add(now_ns - planned_ns)
        self.acked += 1
        if seq > self._acked_seq.get(own_label, NONE):
            self._acked_seq[own_label] = seq
        if self.on_answer is not None:
            self.on_answer()

    def _not_accepted(self, now_ns: int, message_id: str | None, extra: Any) -> None:
        code, retry_after_s = extra
        if message_id is None and self._pending:
            message_id = next(iter(self._pending))
        sent = self._take(message_id)
        if sent is None or message_id is None:
            self._stray(now_ns, _FAIL, message_id, aux=code)
            return
        self._result(now_ns, _FAIL, sent, aux=code)
        _keep(self._refused, message_id, sent)
        self.refused += 1
        self._tally.count(f"refused with {code}")
        if self.on_refused is not None:
            self.on_refused(message_id, code, retry_after_s)
        if self.on_answer is not None:
            self.on_answer()

    def _take(self, message_id: str | None) -> Sent | None:
        """The message that an answer is for; an answer without id is for the oldest."""
        if message_id is None:
            return self._pending.pop(next(iter(self._pending))) if self._pending else None
        return self._pending.pop(message_id, None) or self._unanswered.pop(message_id, None)

    def _stray(self, now_ns: int, kind: int, message_id: str | None, *, seq: int = NONE, aux: int = NONE) -> None:
        """An answer that we do not wait for (a second one, or another's): recorded if it names a message of the run."""
        tag, _, rest = (message_id or "").rpartition("-")
        tag, _, author = tag.rpartition("-")
        self._tally.count("answers to nothing asked")
        if tag == self.tag and author.isdecimal() and rest.isdecimal() and int(rest) < NOBODY and int(author) < NOBODY:
            self._write(now_ns, kind, 0, 0, 0, self.client, self.conn, NOBODY, int(author), int(rest), seq, aux, 0, 0)

    def _no_answer(self, now_ns: int, message_id: str, flags: int) -> None:
        sent = self._pending.pop(message_id)
        self._result(now_ns, _INFO, sent, flags=flags)
        _keep(self._unanswered, message_id, sent)

    def _result(self, now_ns: int, kind: int, sent: Sent, *, flags: int = 0, aux: int = NONE) -> None:
        counter, attempt, conv, proc, *_ = sent
        client = self.client
        self._write(now_ns, kind, flags, attempt, proc, client, self.conn, conv, client, counter, NONE, aux, 0, 0)

    def _rare(self, now_ns: int, event: Heard) -> None:
        what, label, _, seq, _, message_id, extra = event
        conv = NOBODY if label is None else self._rooms.get(label, NOBODY)
        if what == NACK:
            self._not_accepted(now_ns, message_id, extra)
        elif what == REPLAYED:
            self._message(now_ns, _REPLAY, event)
        elif what == WELCOME:
            self._welcome(now_ns, extra or {})
        elif what == JOINED:
            start = self._resumed.get(label or "", seq) if extra is True else seq
            self._event(now_ns, Kind.JOIN, flags=int(Flag.CONTINUED) if extra is True else 0, conv=conv, seq=start)
        elif what == LEFT:
            self._event(now_ns, Kind.LEAVE, conv=conv, seq=seq)
        elif what == AGENT:
            run, name, chunk = extra
            number = AGENT_EVENTS.get(name, 0)
            self._event(now_ns, Kind.RUN, attempt=number, conv=conv, author=self._intern(run), counter=chunk)
            if self.on_agent is not None:
                self.on_agent(event)

    def _welcome(self, now_ns: int, info: Mapping[str, Any]) -> None:
        user = info.get("user")
        if user is not None:
            self._event(now_ns, Kind.IDENTITY, counter=int(Place.SOCKET), aux=self._intern(str(user)))
        self.welcomed = True
        if self.on_welcome is not None:
            self.on_welcome(info)

    def _begin(self, replica: str | None) -> None:
        assert self._due is not None
        (now_ns, handshake_ns), self._due = self._due, None
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
    ) -> None:
        self._write(
            now_ns, int(kind), flags, attempt, 0, self.client, self.conn, conv, author, counter, seq, aux, size, 0
        )


def _replica(events: Sequence[Heard]) -> str | None:
    """The replica's name if the platform greets with it."""
    for event in events:
        if event[0] == WELCOME and event[6]:
            replica = event[6].get("replica")
            return None if replica is None else str(replica)
    return None


def _keep(kept: dict[str, Sent], message_id: str, sent: Sent) -> None:
    kept[message_id] = sent
    if len(kept) > KEPT:
        del kept[next(iter(kept))]
