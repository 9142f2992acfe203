"""Clients of a simulated run, which send, receive and record, and their journals."""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from simulated_platform import MS, REPLICAS, Clock, Frame, Link, Send
from simulated_services import Reading

from earwitness.checks.history.record import FOREIGN, NOBODY, NONE, RECORD, Flag, Kind

if TYPE_CHECKING:
    from simulator import World

READ, KICK = 21, 22
ATTEMPTS_MAX = 3
TIMEOUT_NS = 80 * MS
ABSENT: dict[str, int] = dict.fromkeys(RECORD.names or (), 0) | {
    "client": NOBODY, "conv": NOBODY, "author": NOBODY, "seq": NONE, "aux": NONE,
}  # fmt: skip


class Journal:
    """Records of one simulated client process."""

    def __init__(self, name: str, clock: Clock) -> None:
        self.name, self.clock, self.connections = name, clock, 0
        self.rows: list[tuple[int, ...]] = []

    def write(self, kind: int, **slots: int) -> None:
        """Append one record at the present time; slots that are not given have their values for "absent"."""
        row = ABSENT | slots | {"t": self.clock.now, "kind": int(kind), "index": len(self.rows) + 1}
        self.rows.append(tuple(int(row[name]) for name in RECORD.names or ()))

    def array(self) -> np.ndarray:
        return np.array(self.rows, dtype=RECORD)


@dataclass(frozen=True, kw_only=True)
class Info:
    """Facts about a journal, with the fields of `checks.judge.JournalInfo`."""

    name: str
    records: int
    footer: Mapping[str, Any] | None
    torn: bool = False
    meta: Mapping[str, Any] = field(default_factory=lambda: {"host": "simulated"})
    gaps: int = 0


class Client:
    """Simulated device: sends, receives and records; reconnects after a loss and, by option, sends again."""

    def __init__(self, world: World, number: int, journal: Journal) -> None:
        self.world, self.number, self.journal = world, number, journal
        self.link: Link | None = None
        self.conn = self.counter = 0
        self.last: dict[int, int] = {}  # conversation → last position heard
        self.numbers: dict[int, int] = {}  # … and its number
        self.asked: dict[int, int] = {}  # conversation → number behind which this connection asked to go on
        self.since: dict[int, int] = {}  # conversation → start of the unbroken subscription
        self.pending: dict[int, Send] = {}
        self.unanswered: dict[int, Send] = {}  # sent, and whether it took effect is not known
        self.again: list[Send] = []
        self.seen: dict[int, int] = {}  # conversation → highest number heard on this connection
        self.known: dict[int, int] = {}  # … → highest number heard or read on any
        self.own: dict[int, int] = {}  # … → highest number of an acknowledged own message
        self.sendings: dict[int, int] = defaultdict(int)
        self.refusals: dict[int, int] = defaultdict(int)
        self.answers: dict[int, int] = defaultdict(int)
        self.heard: set[tuple[int, int]] = set()
        self.acknowledged: set[tuple[int, int]] = set()

    def write(self, kind: Kind, **slots: int) -> None:
        self.journal.write(kind, client=self.number, conn=self.conn, **slots)

    def connect(self) -> None:
        world = self.world
        self.journal.connections += 1
        self.conn = self.journal.connections
        self.seen = {}
        self.write(Kind.CONNECT, size=900)
        self.link = Link(self.number, world.rng.choice(REPLICAS), self.hear)
        resume = dict(self.last) if world.rules.resume != "none" and world.rng.random() < 0.9 else {}
        self.asked = {conv: self.numbers[conv] for conv in resume}
        world.platform.to_server(self.link, world.platform.connect, resume)

    def say(self, conv: int) -> None:
        if self.link is not None and conv in self.since:
            self.counter += 1
            size = self.world.rng.randint(20, 400)
            send = Send(conv, self.number, self.counter, 1, self.conn % 256, size, self.world.rng.getrandbits(32))
            self.invoke(send)

    def invoke(self, send: Send) -> None:
        world = self.world
        assert self.link is not None
        cause = self.seen.get(send.conv, NONE)
        self.write(Kind.INVOKE, **message_slots(send), aux=cause)
        self.sendings[send.counter] += 1
        world.sent_at.setdefault(send.message, world.clock.now)
        world.caused_by.setdefault(send.message, cause)
        self.pending[send.counter] = send
        world.platform.to_server(self.link, world.platform.receive, send)
        world.clock.at(world.clock.now + TIMEOUT_NS, self.timed_out, send)

    def timed_out(self, send: Send) -> None:
        if self.pending.get(send.counter) is send:
            self.indeterminate(send, Flag.TIMEOUT)
            self.retry()

    def indeterminate(self, send: Send, flags: int) -> None:
        del self.pending[send.counter]
        self.write(Kind.INFO, flags=flags, **_name(send))
        self.unanswered[send.counter] = send
        self.again.append(send)

    def retry(self) -> None:
        again, self.again = self.again, []
        for send in again:
            if self.link is None:
                self.again.append(send)
            elif self.world.retries and send.attempt < ATTEMPTS_MAX:
                self.unanswered.pop(send.counter, None)
                slots = {**send.__dict__, "attempt": send.attempt + 1, "proc": self.conn % 256}
                self.invoke(Send(**slots))

    def hear(self, link: Link, frame: Frame) -> None:
        if link is not self.link or not link.open:
            return
        link.heard.append(frame)
        link.heard_at.append(self.world.clock.now)
        if frame.what == "joined":
            asked = self.asked.pop(frame.conv, NONE)
            flags = Flag.CONTINUED if frame.continued else 0
            self.write(Kind.JOIN, conv=frame.conv, seq=frame.seq, aux=asked, flags=flags)
            if not frame.continued or frame.conv not in self.since:
                self.since[frame.conv] = self.world.clock.now
            if not frame.continued:  # else what was missed is still to come
                self.last[frame.conv], self.numbers[frame.conv] = frame.position, frame.seq
            self.retry()
        elif frame.what == "left":
            self.write(Kind.LEAVE, conv=frame.conv)
            for points in (self.last, self.since, self.asked):
                points.pop(frame.conv, None)
        elif frame.what == "run":
            self.write(Kind.RUN, conv=frame.conv, author=FOREIGN + frame.run, attempt=frame.position, counter=frame.seq)
        elif frame.what in ("ack", "nack"):
            self.answered(frame)
        else:
            self.message(frame)

    def answered(self, frame: Frame) -> None:
        """Record an answer, for the latest attempt at the message that it names.

        An answer names a message, not an attempt. One that no attempt waits for is recorded without an attempt.
        """
        send = frame.send
        assert send is not None
        taken = None
        if send.author == self.number:
            self.answers[send.counter] += 1
            taken = self.pending.pop(send.counter, None) or self.unanswered.pop(send.counter, None)
        if taken is None:
            kind = Kind.OK if frame.what == "ack" else Kind.FAIL
            self.write(kind, author=send.author, counter=send.counter, seq=frame.seq)
            return
        self.again = [other for other in self.again if other is not taken]
        if frame.what == "ack":
            self.acknowledged.add(send.message)
            self.world.acknowledged_at.setdefault(send.message, self.world.clock.now)
            self.own[send.conv] = max(frame.seq, self.own.get(send.conv, NONE))
            self.write(Kind.OK, **_name(taken), seq=frame.seq)
            return
        self.write(Kind.FAIL, **_name(taken), aux=429)
        self.refusals[send.counter] += 1
        if self.world.retries and self.world.rng.random() < 0.5:
            self.again.append(taken)
            self.retry()

    def ask(self, conv: int) -> None:
        if self.link is not None and conv in self.since:
            for _ in range(self.world.rng.choice((1, 1, 2))):
                self.world.platform.to_server(self.link, self.world.platform.ask, conv)

    def read(self, conv: int) -> None:
        """Request the newest messages over HTTP; the answer is recorded with the time that it took."""
        own, known = self.own.get(conv, NONE), self.known.get(conv, NONE)
        reading = Reading(self.number, conv, self.world.clock.now, own, known, self.has_read)
        self.world.clock.at(self.world.clock.now + self.world.platform.delay(), self.world.platform.read, reading)

    def has_read(self, reading: Reading) -> None:
        reading.answered = True
        self.known[reading.conv] = max(reading.seq, self.known.get(reading.conv, NONE))
        took_us = -(-(self.world.clock.now - reading.asked_ns) // 1000)
        page = {}
        if reading.numbers is not None:
            shown = np.array(reading.numbers, "<i8").tobytes()
            page = {"author": 0, "counter": len(reading.numbers), "digest": zlib.crc32(shown) if shown else 0}
        self.journal.write(READ, client=self.number, conv=reading.conv, seq=reading.seq, aux=took_us, **page)

    def message(self, frame: Frame) -> None:
        send = frame.send
        assert send is not None
        if not frame.flags:
            if frame.position >= self.last.get(send.conv, 0):
                self.last[send.conv], self.numbers[send.conv] = frame.position, frame.seq
            self.seen[send.conv] = max(self.seen.get(send.conv, NONE), frame.seq)
            if frame.what == "message":
                self.known[send.conv] = max(self.known.get(send.conv, NONE), frame.seq)
            self.heard.add(send.message)
        kind = Kind.DELIVER if frame.what == "message" else Kind.REPLAY
        self.write(kind, **message_slots(send), seq=frame.seq, aux=frame.aux, flags=frame.flags)

    def cut(self) -> None:
        """Break the connection; the client notices it a little later and reconnects."""
        if self.link is not None and self.link.open:
            self.link.open = False
            self.world.clock.at(self.world.clock.now + self.world.platform.delay(), self.lost, self.link)

    def lost(self, link: Link) -> None:
        for send in list(self.pending.values()):
            self.indeterminate(send, 0)
        self.write(Kind.DISCONNECT, counter=1006)
        if self.world.rules.resume == "none":
            self.last.clear()
        self.link = None
        if link in self.world.platform.links[link.replica]:
            self.world.platform.links[link.replica].remove(link)
        self.world.clock.at(self.world.clock.now + self.world.platform.delay(30), self.connect)

    def owed(self, message: tuple[int, int], conv: int) -> bool:
        """Return whether the client was subscribed without a break from before a message was sent until now."""
        sent, since = self.world.sent_at.get(message), self.since.get(conv)
        ours = self.link is not None and self.link.open and (self.world.rules.echo or message[0] != self.number)
        ours = ours and self.world.platform.admits(self.number, conv)
        return ours and sent is not None and since is not None and since < sent


def _name(send: Send) -> dict[str, int]:
    return {"conv": send.conv, "author": send.author, "counter": send.counter, "attempt": send.attempt}


def message_slots(send: Send) -> dict[str, int]:
    return {**_name(send), "proc": send.proc, "size": send.size, "digest": send.digest}
