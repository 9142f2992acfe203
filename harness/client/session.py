"""Session of one device of a virtual user across its connections, without I/O; it records what is sent and received.

The shell (`asyncio_shell`, `gevent_shell`) calls `connected`, `heard` and `closed`; the user calls `send`, `retry` and
`timeouts`. Every record is written before its effect is visible: before the bytes of a message are written to the
socket, and before a hook is called with a frame.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import Final
from zlib import crc32

from earwitness.checks.history.record import AGENT as AN_AGENT
from earwitness.checks.history.record import NOBODY, NONE, Flag, Kind, Place, State
from earwitness.harness.client.body import PREFIX, decode_fields
from earwitness.harness.client.dialogue import Dialogue
from earwitness.harness.client.envelope import Envelope
from earwitness.harness.client.events import (
    ACK,
    AGENT,
    BEAT,
    JOINED,
    LEFT,
    MESSAGE,
    NACK,
    PROFILE,
    REPLAYED,
    WELCOME,
    Heard,
)  # fmt: skip
from earwitness.harness.client.outbox import NotConnected, Record, Speaker
from earwitness.harness.client.sharing import Shown
from earwitness.harness.client.statements import digest_of, write_seen
from earwitness.harness.client.streams import Streams
from earwitness.harness.client.tally import Tally
from earwitness.harness.errors import Exceeded
from earwitness.harness.native import HOT, Core
from earwitness.harness.record.journal import Journal, PlainPen

TAG_MAX: Final = 64
"""Longest tag of a run, in characters, that the native core supports."""
AGENT_EVENTS: Final = {
    name: number
    for number, name in enumerate(
        ("started", "thinking", "tool_started", "tool_completed", "chunk", "completed", "error", "broken"), start=1
    )
}
"""Field `attempt` of a RUN record by the name of the agent's event; 0 for any other name."""

# Plain integers: an IntEnum member costs more in a call of the journal.
_DELIVER, _REPLAY = int(Kind.DELIVER), int(Kind.REPLAY)
_CORRUPT, _MISROUTED, _FOREIGN_RUN = int(Flag.CORRUPT), int(Flag.MISROUTED), int(Flag.FOREIGN_RUN)


class ChatSession(Speaker):
    """Session of one device. All times are `time.monotonic_ns()`.

    client       number of the device in the records
    tag          tag of the run: a body with another tag belongs to another run
    rooms        conversation numbers by the platform's label, shared by all sessions of the process
    ack_by_echo  the platform acknowledges nothing: receiving the own message counts as its acknowledgement
    echo         the platform sends a device its own messages too (for `settled`)
    by_http      messages are sent as requests, whose answers are passed to `answered` or `abandon`
    agents       sender ids of the platform's own agents; their messages come from no user of the run
    strangers    function of a room label: whether users outside the run write in that room; their messages are not
                 recorded

    connected_now, welcomed   state of the connection
    asked                     room label -> sequence number after which the next connection continues; set it before
                              `connected`
    outside                   labels of the rooms that the user has left or was removed from
    counter                   number of the last new message
    pending                   number of messages of this connection without answer
    under_way                 these messages by their ids; only this object changes it
    acked, refused            numbers of acknowledged and of refused messages so far
    heard_count               messages received and recorded
    frames_recorded           frames received
    shown                     recorder of pushed state that devices share, None if that is not recorded
    beats                     number of heartbeats of the platform, and of its answers to heartbeats of the client

    Hooks are called inside the I/O callback, after the record is written: they must not block. `heard`: one event.

    on_answer()               an own message was acknowledged or refused, or its streamed answer has ended
    on_refused(message id, code, retry after s)
                              an own message was refused; None: no wait was stated
    on_message(heard)         a message was received, live or replayed
    on_agent(heard)           an event of an agent's answer was received
    on_welcome(info)          the platform greeted the connection; `info`: `extra` of the event
    on_joined(label)          the platform has stated that this room is joined
    on_left(label)            the user has left this room, or was removed from it
    on_closed()               the connection has ended
    """

    __slots__ = (
        "_agents",
        "_hear",
        "_last",
        "_own_prefix",
        "_resumed",
        "_strangers",
        "_streams",
        "ack_by_echo",
        "asked",
        "beats",
        "echo",
        "on_agent",
        "on_closed",
        "on_joined",
        "on_left",
        "on_welcome",
        "outside",
        "shown",
        "welcomed",
    )

    def __init__(
        self,
        *,
        client: int,
        tag: str,
        journal: Record,
        rooms: Mapping[str, int],
        tally: Tally,
        echo: bool = True,
        ack_by_echo: bool = False,
        by_http: bool = False,
        strangers: Callable[[str | None], bool] | None = None,
        agents: Collection[str] = (),
    ) -> None:
        """Start without a connection. The class describes the parameters."""
        super().__init__(client=client, tag=tag, journal=journal, rooms=rooms, tally=tally, by_http=by_http)
        self._strangers, self._agents = strangers, frozenset(agents)
        self.asked: dict[str, int] = {}
        self.outside: set[str] = set()
        self.echo, self.ack_by_echo = echo, ack_by_echo
        self._hear: Callable[[str | bytes], Sequence[Heard]]
        self._own_prefix = f"{PREFIX}{tag}:"
        self._last: dict[str, int] = {}  # highest sequence received on earlier connections, by label
        self._resumed: dict[str, int] = {}
        self.welcomed = False
        self.beats = 0
        self.on_closed: Callable[[], None] | None = None
        self.on_welcome: Callable[[Mapping[str, object]], None] | None = None
        self.on_message = None
        self.on_agent: Callable[[Heard], None] | None = None
        self.on_joined: Callable[[str], None] | None = None
        self.on_left: Callable[[str], None] | None = None
        self.shown: Shown | None = None

    @property
    def settled(self) -> bool:
        """Return whether every own message is answered and every acknowledged one was echoed.

        The echo counts only where the platform sends one (`echo`).
        """
        return not self._pending and (not self.echo or self.own_heard >= self.acked)

    @property
    def awaits_echo(self) -> bool:
        """Return whether some acknowledgement had no sequence number, and an echo is missing that would state it."""
        return self.echo and self.acked_unnumbered > 0 and self.own_heard < self.acked

    def resume_points(self) -> dict[str, int]:
        """Return the highest sequence number received so far, by room label; for `Target.dialogue(resume=…)`."""
        points = dict(self._last)
        for label, seq in self._seen.items():
            if seq > points.get(label, NONE):
                points[label] = seq
        return points

    def core(self, envelope: Envelope | None, frame_bytes: int) -> Core | None:
        """Return a native core for the present connection; None if Python must do all of its work.

        `envelope`: that of the dialogue; `frame_bytes`: most bytes of a frame. The core changes the same counts and
        tables as this object. A session of a subclass has no core, because the core does only what this class does.
        """
        journal, rooms = self._journal, self._rooms
        if HOT is None or envelope is None or type(self) is not ChatSession or self._by_http:
            return None
        if not (isinstance(journal, Journal) and type(rooms) is dict) or isinstance(journal.pen, PlainPen):
            return None
        compiled = envelope.compiled()
        if compiled is None or not self.tag.isascii() or ":" in self.tag or len(self.tag) > TAG_MAX:
            return None
        core: Core = HOT.Core(
            self, journal.pen, compiled, self._latency, self._from_plan, self.tag, rooms, self._seen, self._acked_seq,
            self._pending, self._posted, self.questions.open, journal.ids, self._agents, self.client, self.conn,
            self.ack_by_echo, self._strangers is not None, frame_bytes,
        )  # fmt: skip
        return core

    # -- called by the shell ----------------------------------------------------------------------------------------

    def connected(self, dialogue: Dialogue, now_ns: int, handshake_ns: int, replica: str | None = None) -> int:
        """Record an open connection and return its number in the journal (epoch).

        `dialogue`: decoder and encoder of its frames; `handshake_ns`: duration of the handshake in ns; `replica`: name
        of the platform's replica, if known. If the connection will be greeted, CONNECT is written with its first event,
        because the greeting may name the replica. Raises RuntimeError if there is a connection already: messages could
        not be assigned to one of two connections.
        """
        if self.connected_now:
            raise RuntimeError(f"client {self.client} is connected already: close that connection first")
        self._hear, self._encode = dialogue.received, dialogue.send
        self._last = self.resume_points()
        self._resumed = self._last
        self._seen = {}
        self.conn = self._journal.next_connection()
        self.connected_now, self.welcomed = True, False
        self._streams = Streams()
        self._due = handshake_ns
        if not dialogue.handshake.welcome:
            self._begin(now_ns, replica)
        return self.conn

    def heard(self, now_ns: int, data: str | bytes) -> None:
        """Record the events of one received frame. Any exception means that the frame could not be recorded."""
        self.happened(now_ns, self._hear(data))
        self.frames_recorded += 1

    def happened(self, now_ns: int, events: Sequence[Heard]) -> None:
        """Record events: those of a frame, or those that opening or a heartbeat of the dialogue returned."""
        if self._due is not None and any(event[0] != BEAT for event in events):
            self._begin(now_ns, _replica(events))
        for event in events:
            what = event[0]
            if what == MESSAGE:
                self._message(now_ns, _DELIVER, event)
            elif what == ACK:
                self._acknowledged(now_ns, event[1], event[3], event[5])
            else:
                self._rare(now_ns, event)

    def closed(self, now_ns: int, code: int, own: bool, reason: str = "") -> None:
        """Record the end of the connection, and INFO for messages without answer; no-op if it is recorded already.

        `code`, `reason`: of the close; `own`: the tester closed the connection. Otherwise messages that were sent as
        requests still wait for their answers.
        """
        if not self.connected_now:
            return
        if self._due is not None:
            self._begin(now_ns, None)
        if not self._by_http or own:
            # The answer to a request does not come on this connection; it is awaited unless the run is over.
            cut = [message_id for message_id in self._pending if own or message_id not in self._posted]
            if cut:
                self._tally.count("connection cut before the answer", len(cut))
            for message_id in cut:
                self._no_answer(now_ns, message_id, 0)
        self.connected_now = self.welcomed = False
        flags = int(Flag.OWN) if own else 0
        said = NOBODY
        with suppress(Exceeded):  # too many names: the end must be recorded even without its reason
            said = self._intern(reason) if reason else NOBODY
        self._event(now_ns, Kind.DISCONNECT, flags=flags, author=said, counter=code)
        if self.on_closed is not None:
            self.on_closed()

    # -- records ----------------------------------------------------------------------------------------------------

    def _message(self, now_ns: int, kind: int, event: Heard) -> None:
        _, label, text, seq, sender, _, body = event
        text = text or ""
        body = body or decode_fields(text)
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
            if sender in self._agents and not flags & _CORRUPT:
                author, digest = AN_AGENT, crc32(text.encode("utf-8", "surrogatepass"))
        if flags & _FOREIGN_RUN and self._strangers is not None and self._strangers(label):
            self._tally.count("messages of strangers")
            self._note_seen(label, seq)
            return
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
            self._note_seen(label, seq)
        if author == self.client and not flags:
            self.own_heard += 1
            if label is not None and seq > self._acked_seq.get(label, NONE):
                self._acked_seq[label] = seq
            if self.ack_by_echo:
                self._echoed(now_ns, label, seq, counter)
        if self.on_message is not None:
            self.on_message(event)

    def _note_seen(self, label: str | None, seq: int) -> None:
        """Store `seq` if it is the highest of its room on this connection, for resuming.

        Only planned rooms are stored, because a platform may name any number of others.
        """
        if label is not None and label in self._rooms and seq > self._seen.get(label, NONE):
            self._seen[label] = seq

    def _echoed(self, now_ns: int, label: str | None, seq: int, counter: int) -> None:
        message_id = f"{self.tag}-{self.client}-{counter}"
        if message_id in self._pending or message_id in self._unanswered:
            self._acknowledged(now_ns, label, seq, message_id)

    def _rare(self, now_ns: int, event: Heard) -> None:
        what, label, _, seq, _, message_id, extra = event
        conv = NOBODY if label is None else self._rooms.get(label, NOBODY)
        if what == NACK:
            self._not_accepted(now_ns, message_id, extra)
        elif what == BEAT:
            self.beats += 1
        elif what == REPLAYED:
            self._message(now_ns, _REPLAY, event)
        elif what == WELCOME:
            self._welcome(now_ns, extra or {})
        elif what == JOINED:
            self._joined(now_ns, label or "", conv, seq, extra)
        elif what == LEFT:
            self._event(now_ns, Kind.LEAVE, conv=conv, seq=seq)
            self._forget(label or "")
        elif what == AGENT:
            run, name, chunk = extra
            number = AGENT_EVENTS.get(name, 0)
            text = event[2] or ""
            size, digest, flags = self._streams.said(run, number, chunk, text)
            question = self.questions.answered(now_ns, run, number, text, (message_id, label, seq))
            self._event(
                now_ns, Kind.RUN, attempt=number, conv=conv, author=self._intern(run), counter=chunk, seq=question,
                aux=crc32(run.encode("utf-8", "surrogatepass")), size=size, digest=digest, flags=flags,
            )  # fmt: skip
            if self.on_agent is not None:
                self.on_agent(event)
        elif what == PROFILE:
            write_seen(
                self._journal, self.client, Place.SOCKET, State.PROFILE, asked_ns=NONE, seen_ns=now_ns,
                of=self._intern(extra[0]), digest=digest_of(*extra), conn=self.conn,
            )  # fmt: skip
        if self.shown is not None:
            self.shown.hear(now_ns, event, self.conn)
        if what == JOINED and self.on_joined is not None:
            self.on_joined(label or "")

    def _joined(self, now_ns: int, label: str, conv: int, head: int, continued: object) -> None:
        self.outside.discard(label)
        asked = self.asked.pop(label, NONE)
        if continued is True:
            start = self._resumed.get(label, head)
            self._event(now_ns, Kind.JOIN, flags=int(Flag.CONTINUED), conv=conv, seq=start, aux=asked)
            return
        flags = int(Flag.REFUSED) if continued is False else 0
        self._event(now_ns, Kind.JOIN, flags=flags, conv=conv, seq=head, aux=asked)
        if label in self._rooms and head > self._last.get(label, NONE):
            self._last[label] = head  # later messages must arrive, even if the connection ends before they do

    def _forget(self, label: str) -> None:
        if label in self._rooms:
            self.outside.add(label)
        for points in (self._seen, self._last, self.asked):
            points.pop(label, None)
        if self.on_left is not None:
            self.on_left(label)

    def _welcome(self, now_ns: int, info: Mapping[str, object]) -> None:
        user = info.get("user")
        if user is not None:
            self._event(now_ns, Kind.IDENTITY, counter=int(Place.SOCKET), aux=self._intern(str(user)))
        self.welcomed = True
        if self.on_welcome is not None:
            self.on_welcome(info)


def _replica(events: Sequence[Heard]) -> str | None:
    """Return the replica that the greeting among `events` names; None without a greeting or a name."""
    for event in events:
        if event[0] == WELCOME and event[6]:
            replica = event[6].get("replica")
            return None if replica is None else str(replica)
    return None


__all__ = ["AGENT_EVENTS", "ChatSession", "NotConnected", "Record"]
