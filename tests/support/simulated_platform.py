"""Small correct chat platform as a discrete-event simulation, without sockets and threads; time is a number in ns.

Two replicas share one store. Frames between a client and the platform travel on a `Link`, which keeps their order and
delays each; a cut link loses the frames on their way. A replica commits messages one connection at a time, acknowledges
them, and notifies every replica. Each replica pushes to its own links, by position in the log (`hold_back`) or in the
order of the notifications. Every step that a defect may replace is one method.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

MS = 1_000_000
REPLICAS = (0, 1)


class Clock:
    """Simulated clock, which runs callbacks in the order of their times."""

    def __init__(self) -> None:
        self.now = 1_000 * MS
        self._heap: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []
        self._ticket = itertools.count()

    def at(self, t: int, call: Callable[..., None], *args: Any) -> None:
        heapq.heappush(self._heap, (max(t, self.now), next(self._ticket), call, args))

    def run(self) -> None:
        while self._heap:
            self.now, _, call, args = heapq.heappop(self._heap)
            call(*args)


@dataclass(frozen=True)
class Send:
    """A message on its way to the platform."""

    conv: int
    author: int
    counter: int
    attempt: int
    proc: int
    size: int
    digest: int

    @property
    def message(self) -> tuple[int, int]:
        return self.author, self.counter


@dataclass(eq=False)
class Entry:
    """A committed message: its position in the log of its conversation, and the number that the platform gave it."""

    send: Send
    position: int
    seq: int
    aux: int


@dataclass
class Frame:
    """One frame to a client. `what`: joined, left, message, replay, ack, nack or run.

    In a frame `run`, an event of an agent's answer: `run` is the answer's id, `position` the event (1 started … 7
    error), `seq` the number of the piece.
    """

    what: str
    conv: int
    seq: int = -1
    position: int = 0
    entry: Entry | None = None
    send: Send | None = None
    aux: int = -1
    continued: bool = False
    flags: int = 0
    run: int = 0


@dataclass(eq=False)
class Link:
    """One connection. `cursor`: for each subscribed conversation, the position up to which messages were pushed."""

    client: int
    replica: int
    hear: Callable[[Link, Frame], None]
    open: bool = True
    cursor: dict[int, int] = field(default_factory=dict)
    busy_until: int = 0
    to_server: int = 0
    to_client: int = 0
    heard: list[Frame] = field(default_factory=list)
    heard_at: list[int] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Rules:
    """Variants of the platform's behaviour; all of them are correct."""

    sequence: str = "contiguous"
    hold_back: bool = True
    idempotent: bool = True
    resume: str = "live"
    """How missed messages come after a reconnect.

    live: as new messages; history: replayed, after a JOIN at the client's last position; replay: replayed, before a
    JOIN at the platform's present position; none: not at all.
    """
    echo: bool = True
    nack: float = 0.03
    slow: float = 0.06


class Platform:
    def __init__(
        self, clock: Clock, rng: random.Random, rules: Rules, rooms: list[set[int]], user_of: list[int]
    ) -> None:
        self.clock, self.rng, self.rules, self.rooms, self.user_of = clock, rng, rules, rooms, user_of
        self.log: dict[int, list[Entry]] = defaultdict(list)
        self.stored: dict[int, list[Entry]] = defaultdict(list)
        self.known: dict[tuple[int, int], Entry] = {}
        self.links: dict[int, list[Link]] = {replica: [] for replica in REPLICAS}
        self.life = dict.fromkeys(REPLICAS, 0)
        self.channel: dict[tuple[int, int], int] = defaultdict(int)

    def delay(self, mean_ms: float = 2.0) -> int:
        return int(self.rng.expovariate(1 / mean_ms) * MS) + MS // 10

    def to_client(self, link: Link, frame: Frame) -> None:
        link.to_client = max(link.to_client + 1, self.clock.now + self.delay())
        self.clock.at(link.to_client, link.hear, link, frame)

    def to_server(self, link: Link, call: Callable[..., None], *args: Any) -> None:
        link.to_server = max(link.to_server + 1, self.clock.now + self.delay())
        self.clock.at(link.to_server, lambda: call(link, *args) if link.open else None)

    # connections

    def connect(self, link: Link, resume: dict[int, int]) -> None:
        """Subscribe the link to its user's conversations. `resume`: last position received in each conversation."""
        self.links[link.replica].append(link)
        for conv, members in enumerate(self.rooms):
            if self.admits(link.client, conv) and self.user_of[link.client] in members:
                self.join(link, conv, resume.get(conv))
            elif conv in resume:
                self.to_client(link, Frame("left", conv))

    def admits(self, client: int, conv: int) -> bool:
        """Return whether the client may subscribe: always here; `Services` overrides it for removed members."""
        return True

    def join(self, link: Link, conv: int, last: int | None) -> None:
        head = len(self.log[conv])
        link.cursor[conv] = head
        live, from_now = self.rules.resume == "live", self.rules.resume == "replay"
        if last is None or self.rules.resume == "none":
            self.say_joined(link, conv, head, continued=False)
            for position in range(max(1, head - self.rng.choice((0, 0, 3))) + 1, head + 1):
                self.push(link, self.seen_by(link.replica, conv, position), "replay")
            return
        self.say_joined(link, conv, head if from_now else last, continued=True)
        for position in range(self.resume_point(link, conv, last) + 1, head + 1):
            self.push(link, self.seen_by(link.replica, conv, position), "message" if live else "replay")

    def resume_point(self, link: Link, conv: int, last: int) -> int:
        return last

    def say_joined(self, link: Link, conv: int, position: int, *, continued: bool) -> None:
        frame = Frame("joined", conv, self.number_at(conv, position), position, continued=continued)
        self.to_client(link, frame)

    def number_at(self, conv: int, position: int) -> int:
        """Return the sequence number of a position, 0 for position 0; -1 if the platform has no numbers."""
        if self.rules.sequence == "none":
            return -1
        return self.log[conv][position - 1].seq if position else 0

    def evict(self, link: Link, conv: int) -> None:
        """End a link's subscription, and subscribe the link again a little later: the platform has lost continuity."""
        if link.open and link.cursor.pop(conv, None) is not None:
            self.to_client(link, Frame("left", conv))
            self.clock.at(self.clock.now + self.delay(20), lambda: self.join(link, conv, None) if link.open else None)

    def kill(self, replica: int) -> list[Link]:
        """Kill a replica, which loses its memory and restarts at once; return the links that it had."""
        self.life[replica] += 1
        cut, self.links[replica] = self.links[replica], []
        return cut

    # messages

    def receive(self, link: Link, send: Send) -> None:
        slow = 60 if self.rng.random() < self.rules.slow else 1
        link.busy_until = max(link.busy_until + 1, self.clock.now + self.delay(slow))
        self.clock.at(link.busy_until, self.process, link, send, self.life[link.replica])

    def process(self, link: Link, send: Send, life: int) -> None:
        if life != self.life[link.replica]:
            return
        if self.rng.random() < self.rules.nack and send.message not in self.known:
            self.to_client(link, Frame("nack", send.conv, send=send))
            return
        self.accept(link, send)

    def accept(self, link: Link, send: Send) -> None:
        entry = self.recognise(send)
        if entry is None:
            entry = self.commit(send, link.replica)
        self.acknowledge(link, send, entry)

    def recognise(self, send: Send) -> Entry | None:
        return self.known.get(send.message) if self.rules.idempotent else None

    def commit(self, send: Send, replica: int) -> Entry:
        log = self.log[send.conv]
        entry = Entry(send, len(log) + 1, self.next_number(send.conv, replica), send.author)
        log.append(entry)
        self.known[send.message] = entry
        self.stored[send.conv].append(entry)
        self.announce(entry, replica)
        return entry

    def next_number(self, conv: int, replica: int) -> int:
        if self.rules.sequence == "none":
            return -1
        step = 1 if self.rules.sequence == "contiguous" else self.rng.randint(1, 4)
        return self.number_at(conv, len(self.log[conv])) + step

    def acknowledge(self, link: Link, send: Send, entry: Entry) -> None:
        self.to_client(link, Frame("ack", send.conv, entry.seq, entry=entry, send=send))

    def announce(self, entry: Entry, source: int) -> None:
        for replica in REPLICAS:
            t = self.channel[source, replica] = max(
                self.channel[source, replica] + 1, self.clock.now + self.delay(0.2 if replica == source else 3)
            )
            self.clock.at(t, self.notify, replica, self.life[replica], entry)

    def notify(self, replica: int, life: int, entry: Entry) -> None:
        """Push to the replica's subscribed links all messages up to `entry` that they have not been pushed yet.

        Without `hold_back` only `entry` is pushed. `life`: the start of the replica that was notified; ignored after a
        restart.
        """
        if life != self.life[replica]:
            return
        conv = entry.send.conv
        for link in self.links[replica]:
            cursor = link.cursor.get(conv)
            if cursor is None:
                continue
            if not self.rules.hold_back:
                if entry.position > cursor:
                    self.push(link, self.frame(entry), "message")
                continue
            for position in range(cursor + 1, entry.position + 1):
                self.push(link, self.seen_by(replica, conv, position), "message")
            link.cursor[conv] = max(cursor, entry.position)

    def seen_by(self, replica: int, conv: int, position: int) -> Frame:
        return self.frame(self.log[conv][position - 1])

    def frame(self, entry: Entry) -> Frame:
        return Frame("message", entry.send.conv, entry.seq, entry.position, entry, entry.send, entry.aux)

    def push(self, link: Link, frame: Frame, what: str) -> None:
        frame.what = what
        if self.rules.echo or frame.send is None or frame.send.author != link.client:
            self.to_client(link, frame)
