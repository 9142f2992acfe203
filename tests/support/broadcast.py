"""Second simulator, independent of the first: total-order broadcast over a log, ten kinds of fault, and an oracle.

This module shares nothing with `simulator` and the other oracles: no clock, no clients, no sockets. People submit
messages, a log orders them, and each subscriber reads along the log. A run is a trace of small tuples. The oracle reads
only the trace and judges properties of a broadcast from textbooks; `records` translates the trace for the checks.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from literal import Told

from earwitness.checks.history.record import Kind

FAULTS = (
    "drop",  # a subscriber skips an entry of the log
    "dup",  # a subscriber is given an entry twice
    "swap-at-receiver",  # a subscriber is given an entry before the one in front of it
    "swap-at-log",  # the log takes the second message of a sender before the first
    "lost-ack",  # the log takes a message and does not say so
    "ghost",  # an entry that nobody handed in
    "corruption",  # a subscriber is given another content
    "leak",  # somebody else's entry is given to a stranger
    "lost-row",  # the final state lacks an entry
    "stale-read",  # a read ends before what was acknowledged or shown
)


class Event(NamedTuple):
    """One event of a trace.

    what    say: a message is submitted; ack: it is acknowledged; get: a member receives it; read; keep: it is stored
    number  position in the log of the room, from 1; of a read: that of the last message shown, 0 if none was
    since   of a read: the index of the last event before the request
    """

    what: str
    who: int
    room: int
    author: int = -1
    n: int = 0
    content: int = 0
    number: int = -1
    rows: int = 0
    since: int = 0


@dataclass
class Broadcast:
    """A finished run: the members of each room, its events, and how often each fault happened."""

    people: int
    rooms: tuple[tuple[int, ...], ...]
    trace: list[Event] = field(default_factory=list)
    fired: Counter[str] = field(default_factory=Counter)


class Entry(NamedTuple):
    author: int
    n: int
    content: int


class _Run:
    """One run in progress, which chooses the next action at random among the possible ones."""

    def __init__(self, seed: int, fault: str | None, rate: float, messages: int) -> None:
        self.rng = random.Random(seed)
        self.fault, self.rate, self.left = fault, rate, messages
        people = self.rng.randint(3, 6)
        rooms = tuple(tuple(sorted(self.rng.sample(range(people), self.rng.randint(2, people - 1)))) for _ in range(2))
        self.run = Broadcast(people, rooms)
        self.counters: Counter[int] = Counter()
        self.handed_in: defaultdict[tuple[int, int], list[Entry]] = defaultdict(list)
        self.log: list[list[Entry]] = [[], []]
        self.place: Counter[tuple[int, int]] = Counter()
        self.acks: list[tuple[int, Entry, int]] = []
        self.asked: dict[int, tuple[int, int]] = {}

    def takes(self, fault: str) -> bool:
        """Return whether the fault happens at this opportunity, and count it if so."""
        if self.fault != fault or self.rng.random() >= self.rate:
            return False
        self.run.fired[fault] += 1
        return True

    def tell(self, what: str, who: int, room: int, **more: int) -> None:
        self.run.trace.append(Event(what, who, room, **more))

    def acts(self) -> list[Any]:
        """Return the actions that are possible next; messages and reads only while messages are left to be sent."""
        acts: list[Any] = [self.ack] if self.acks else []
        acts += [self.answer] if self.asked else []
        acts += [self.order] if any(self.handed_in.values()) else []
        acts += [self.give] if self.behind() else []
        return [*acts, self.say, self.say, self.ask] if self.left else acts

    def behind(self) -> list[tuple[int, int]]:
        rooms = self.run.rooms
        return [(who, r) for r, m in enumerate(rooms) for who in m if self.place[who, r] < len(self.log[r])]

    def say(self) -> None:
        room = self.rng.randrange(2)
        who = self.rng.choice(self.run.rooms[room])
        self.counters[who] += 1
        self.left -= 1
        entry = Entry(who, self.counters[who], self.rng.getrandbits(30))
        self.handed_in[who, room].append(entry)
        self.tell("say", who, room, author=who, n=entry.n, content=entry.content)

    def order(self) -> None:
        """Append one submitted message to the log, and note that its sender has to be acknowledged."""
        who, room = self.rng.choice([key for key, waiting in self.handed_in.items() if waiting])
        waiting = self.handed_in[who, room]
        first = len(waiting) > 1 and self.takes("swap-at-log")
        entry = waiting.pop(1 if first else 0)
        self.log[room].append(entry)
        if not self.takes("lost-ack"):
            self.acks.append((room, entry, len(self.log[room])))
        if self.takes("ghost"):
            self.log[room].append(Entry(who, 900 + self.run.fired["ghost"], self.rng.getrandbits(30)))

    def ack(self) -> None:
        room, entry, number = self.acks.pop(self.rng.randrange(len(self.acks)))
        self.tell("ack", entry.author, room, author=entry.author, n=entry.n, number=number)

    def give(self) -> None:
        """Deliver the next entry of the log to one subscriber; a fault may drop, reorder, duplicate or change it."""
        who, room = self.rng.choice(self.behind())
        at = self.place[who, room]
        if self.takes("drop"):
            self.place[who, room] += 1
            return
        if at + 1 < len(self.log[room]) and self.takes("swap-at-receiver"):
            self.get(who, room, at + 1)
            self.get(who, room, at)
            self.place[who, room] += 2
            return
        self.get(who, room, at)
        self.place[who, room] += 1
        if self.takes("dup"):
            self.get(who, room, at)
        strangers = [p for p in range(self.run.people) if p not in self.run.rooms[room]]
        if strangers and self.takes("leak"):
            self.get(self.rng.choice(strangers), room, at)

    def get(self, who: int, room: int, at: int) -> None:
        author, n, content = self.log[room][at]
        content ^= self.takes("corruption")
        self.tell("get", who, room, author=author, n=n, content=content, number=at + 1)

    def ask(self) -> None:
        room = self.rng.randrange(2)
        who = self.rng.choice(self.run.rooms[room])
        self.asked.setdefault(who, (room, len(self.run.trace)))

    def answer(self) -> None:
        who = self.rng.choice(list(self.asked))
        room, since = self.asked.pop(who)
        last = len(self.log[room])
        if last and self.takes("stale-read"):
            last -= self.rng.randint(1, min(3, last))
        self.tell("read", who, room, number=last, rows=last, since=since)

    def finish(self) -> Broadcast:
        while acts := self.acts():
            self.rng.choice(acts)()
        for room, entries in enumerate(self.log):
            for number, (author, n, content) in enumerate(entries, start=1):
                if not self.takes("lost-row"):
                    self.tell("keep", -1, room, author=author, n=n, content=content, number=number)
        return self.run


RATE, RARE = 0.15, {"stale-read": 0.6}
"""Probability of a fault at each opportunity; RARE has higher ones for faults with few opportunities."""


def broadcast(seed: int, fault: str | None = None, *, messages: int = 24) -> Broadcast:
    """Return one run; `fault`: the fault that happens at some of its opportunities, None for none."""
    return _Run(seed, fault, RARE.get(fault or "", RATE), messages).finish()


# -- the oracle -------------------------------------------------------------------------------------------------------

Name = tuple[int, int]


def broken(run: Broadcast) -> dict[str, int]:
    """Return the properties of a broadcast that the trace violates → number of violations."""
    found = {
        "agreement": _agreement(run),
        "at most once": _at_most_once(run),
        "sender's order": _senders_order(run),
        "no hole": _no_hole(run),
        "no invention": _no_invention(run),
        "content": _content(run),
        "secrecy": sum(e.what == "get" and e.who not in run.rooms[e.room] for e in run.trace),
        "kept": _kept(run),
        "answered": sum(e.what == "say" for e in run.trace) - sum(e.what == "ack" for e in run.trace),
        "own reads": _reads(run, lambda event, who: event.what == "ack" and event.who == who),
        "reads go on": _reads(run, lambda event, who: event.what in ("get", "read") and event.who == who),
        "reads are recent": _reads(run, lambda event, who: event.what == "ack"),
    }
    return {name: count for name, count in found.items() if count}


CHECK_OF = {
    "agreement": "I5b",
    "at most once": "I6",
    "sender's order": "I1",
    "no hole": "I4",
    "no invention": "I8",
    "content": "I10",
    "secrecy": "I12",
    "kept": "I5a",
    "answered": "I43",
    "own reads": "I16",
    "reads go on": "I17",
    "reads are recent": "I44",
}
"""Property of a broadcast → id of the check that judges it."""

EXPLAINED = {
    ("ghost", "I1"): "I1 takes the body's word for who wrote a message and when; the oracle only orders what was said",
    ("corruption", "I5b"): "I5b asks whether a message came; that its content is another one is I10's",
    ("leak", "I6"): "I6 counts what members receive; what a stranger receives twice is I12's, twice",
}
"""(Fault, check) → why the check and the oracle may differ for this fault."""


def _said(run: Broadcast) -> dict[Name, Event]:
    return {(e.author, e.n): e for e in run.trace if e.what == "say"}


def _gets(run: Broadcast) -> dict[tuple[int, int], list[Event]]:
    """Return (member, room) → the messages that the member received there, in order."""
    gets: defaultdict[tuple[int, int], list[Event]] = defaultdict(list)
    for e in run.trace:
        if e.what == "get" and e.who in run.rooms[e.room]:
            gets[e.who, e.room].append(e)
    return gets


def _agreement(run: Broadcast) -> int:
    """Return the number of (message, member) pairs without a delivery, for messages that took effect.

    A message takes effect if it is acknowledged, stored, or received by a member. A delivery with a changed content
    does not count.
    """
    said, got = _said(run), set()
    took_effect: set[Name] = set()
    for e in run.trace:
        name = e.author, e.n
        if name not in said or e.what == "say":
            continue
        took_effect.add(name)
        if e.what == "get" and e.content == said[name].content:
            got.add((e.who, name))
    return sum((who, name) not in got for name in took_effect for who in run.rooms[said[name].room])


def _at_most_once(run: Broadcast) -> int:
    given = Counter((e.who, e.author, e.n) for e in run.trace if e.what == "get")
    return sum(count - 1 for count in given.values())


def _senders_order(run: Broadcast) -> int:
    """Return how often a member first received an earlier message of a sender after a later one."""
    count, said = 0, _said(run)
    for events in _gets(run).values():
        highest: dict[int, int] = {}
        seen: set[Name] = set()
        for e in events:
            if (e.author, e.n) in said and (e.author, e.n) not in seen:
                count += e.n < highest.get(e.author, 0)
                highest[e.author] = max(e.n, highest.get(e.author, 0))
            seen.add((e.author, e.n))
    return count


def _no_hole(run: Broadcast) -> int:
    """Return how often a delivery skipped entries of the log: it must be the next entry, or one that came before."""
    count = 0
    for events in _gets(run).values():
        reached = 0
        for e in events:
            count += e.number > reached + 1
            reached = max(reached, e.number)
    return count


def _no_invention(run: Broadcast) -> int:
    said = _said(run)
    return sum(e.what in ("get", "keep") and (e.author, e.n) not in said for e in run.trace)


def _content(run: Broadcast) -> int:
    said = _said(run)
    return sum(
        e.what in ("get", "keep") and (e.author, e.n) in said and e.content != said[e.author, e.n].content
        for e in run.trace
    )


def _kept(run: Broadcast) -> int:
    kept = {(e.author, e.n) for e in run.trace if e.what == "keep"}
    return sum(e.what == "ack" and (e.author, e.n) not in kept for e in run.trace)


def _reads(run: Broadcast, known: Any) -> int:
    """Return the number of reads that end before a message that the reader had to see.

    `known(event, reader)`: whether the event, if it came before the request, shows that the reader had to see its
    message.
    """
    count = 0
    for e in run.trace:
        if e.what == "read":
            before = (o.number for o in run.trace[: e.since] if o.room == e.room and known(o, e.who))
            count += e.number < max(before, default=0)
    return count


# -- the same to our checks -------------------------------------------------------------------------------------------


def records(run: Broadcast, **promises: Any) -> Any:
    """Return the trace as a history of one journal; every member is connected and joined from its beginning on."""
    promises = {"history": True, "sequence": "contiguous", "idempotent": True, "recent_reads": True, **promises}
    told = Told(run.people, run.rooms, **promises)
    for who in range(run.people):
        told.write(Kind.CONNECT, client=who, conn=who + 1)
    for room, members in enumerate(run.rooms):
        for who in members:
            told.write(Kind.JOIN, client=who, conn=who + 1, conv=room, seq=0)
    places = []  # by event the number of records before it
    drained = False
    for e in run.trace:
        places.append(len(told.rows))
        if e.what == "keep" and not drained:
            _wait_and_drain(told)
            drained = True
        _record(told, e, places)
    if not drained:
        _wait_and_drain(told)
    kept = Counter(e.room for e in run.trace if e.what == "keep")
    for room in range(len(run.rooms)):
        told.write(Kind.READ_END, conv=room, counter=kept[room], seq=kept[room])
    return told.run()


def _wait_and_drain(told: Told) -> None:
    """Record the end of the load, and let 11 s pass, because this broadcast promises no time limit for answers."""
    told.drained()
    told.rows[-1]["t"] += 11_000_000_000


def _record(told: Told, e: Event, places: list[int]) -> None:
    if e.what == "say":
        told.invoke(e.who, e.who + 1, e.n, conv=e.room, digest=e.content)
    elif e.what == "ack":
        told.ok(e.who, e.who + 1, e.n, conv=e.room, seq=e.number)
    elif e.what == "get":
        told.deliver(e.who, e.who + 1, e.author, e.n, conv=e.room, seq=e.number, digest=e.content)
    elif e.what == "keep":
        told.stored(e.author, e.n, conv=e.room, seq=e.number, digest=e.content)
    else:
        # A record's time is its place in microseconds; it was asked for when `since` events were on record.
        asked = places[e.since] if e.since < len(places) else len(told.rows)
        told.write(
            Kind.READ, client=e.who, conv=e.room, counter=e.rows, seq=e.number or -1, aux=len(told.rows) + 1 - asked
        )
