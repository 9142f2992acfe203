"""Generator of random histories whose records are valid one by one: any behaviour of a platform, legal or not.

Numbers are drawn from tiny ranges, so that repeats, gaps, reorderings and collisions are frequent. The guarantees of a
recorder hold: times ascend in a journal, connections open and close, a client is recorded in one journal and numbers
its messages, a message has one conversation and its attempts ascend, an answer to an attempt comes at most once
(answers without an attempt any number of times), phases come in order.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from simulated_clients import KICK, READ, Info

from earwitness.checks.contract import Contract
from earwitness.checks.history.record import FOREIGN, NOBODY, NONE, RECORD, Flag, Kind, Phase, Place
from earwitness.checks.roster import Roster

SEQUENCES: tuple[Literal["contiguous", "increasing", "none"], ...] = ("contiguous", "increasing", "none")
SCOPES: tuple[Literal["connection", "device", "no"], ...] = ("connection", "device", "no")


@dataclass
class Soup:
    """Random history, with the fields of `SimulatedRun` but without ground truth."""

    roster: Roster
    contract: Contract
    journals: list[np.ndarray]
    infos: list[Info]


@dataclass
class _Journal:
    """Rows of one journal. `open`: client → its open connection; `joined`: (client, conversation)."""

    number: int
    clients: list[int]
    rows: list[dict[str, int]] = field(default_factory=list)
    connections: int = 0
    open: dict[int, int] = field(default_factory=dict)
    joined: set[tuple[int, int]] = field(default_factory=set)

    def write(self, kind: int, t: int, **slots: int) -> None:
        blank = {"client": NOBODY, "conv": NOBODY, "author": NOBODY, "seq": NONE, "aux": NONE}
        self.rows.append(blank | slots | {"kind": int(kind), "t": t, "index": len(self.rows) + 1})

    def array(self) -> np.ndarray:
        rows = [tuple(row.get(name, 0) for name in RECORD.names or ()) for row in self.rows]
        return np.array(rows, dtype=RECORD)


class _Cook:
    def __init__(self, seed: int) -> None:
        self.rng = rng = random.Random(seed)
        users, self.clients = rng.randint(2, 4), rng.randint(2, 5)
        self.user_of = [rng.randrange(users) for _ in range(self.clients)]
        self.convs = rng.randint(1, 3)
        self.members = [sorted(rng.sample(range(users), rng.randint(1, users))) for _ in range(self.convs)]
        sequence = rng.choice(SEQUENCES)
        self.contract = Contract(
            sequence=sequence,
            at_most_once=rng.choice(SCOPES),
            history=rng.random() < 0.7,
            ordered=rng.random() < 0.7,
            total_order=rng.random() < 0.7,
            idempotent=rng.random() < 0.7,
            echo=rng.random() < 0.7 or sequence == "contiguous",  # which own number excuses which gap is guesswork
            resume=rng.random() < 0.7,
            durable=rng.random() < 0.7,
            delivers=rng.random() < 0.7,
            recent_reads=seed % 2 == 0,
            misses_nothing=seed % 3 == 0,
            answer_bound_s=1e-7 * (seed % 3 + 1),
            unchanged=rng.random() < 0.7,
            delivery_bound_s=rng.choice((None, 1e-8, 1e-7)),
            resume_answers=rng.random() < 0.7,
        )
        count = rng.randint(1, 3)
        self.journals = [_Journal(n, [c for c in range(self.clients) if c % count == n]) for n in range(count)]
        self.counters, self.seqs = rng.choice((2, 4, 9)), rng.choice((3, 6, 20))
        self.clean = rng.random() < 0.5
        self.t = 1_000
        self.runs = {run: [(1, 0), (3, 0), (4, 0), (5, 0), (5, 1), (rng.choice((6, 7)), 0)] for run in range(5, 9)}
        self.sent: dict[tuple[int, int], list[dict[str, int]]] = {}
        self.unanswered: dict[tuple[int, int], dict[str, int]] = {}

    def tick(self) -> int:
        self.t += self.rng.randint(1, 9)
        return self.t

    def message(self) -> dict[str, int]:
        """Return the slots of a random message, mostly one that was sent."""
        rng = self.rng
        if self.sent and rng.random() < 0.97:
            return dict(rng.choice(rng.choice(sorted(self.sent.items()))[1]))
        return self.invent(rng.randrange(self.clients), self.counters + rng.randint(1, 3), 1)

    def invent(self, author: int, counter: int, attempt: int) -> dict[str, int]:
        conv = (author * 7 + counter) % self.convs
        size, digest = 20 + counter, author * 100 + counter
        return {
            "author": author, "counter": counter, "attempt": attempt, "conv": conv, "size": size, "digest": digest,
            "proc": 0,
        }  # fmt: skip

    def heard(self) -> dict[str, int]:
        """Return the slots of a message as a platform may deliver it: mostly unchanged, sometimes changed."""
        rng, slots = self.rng, self.message()
        if self.contract.sequence != "none":
            slots["seq"] = rng.randint(1, self.seqs) if rng.random() < 0.5 else min(self.seqs, 2 * slots["counter"])
        slots["aux"] = slots["author"]
        if self.clean or rng.random() < 0.8:
            return slots
        spoil = rng.randrange(6)
        if spoil == 0:
            return slots | {"flags": int(Flag.CORRUPT)}
        if spoil == 1:
            return slots | {"flags": int(Flag.MISROUTED)}
        if spoil == 2:
            nobody = {"author": NOBODY, "counter": 0, "attempt": 0, "aux": NONE}
            return slots | nobody | {"flags": int(Flag.FOREIGN_RUN)}
        if spoil == 3:
            return slots | {"aux": rng.choice((-2, NONE, rng.randrange(self.clients)))}
        if spoil == 4:
            return slots | {"digest": slots["digest"] + 1}
        return slots | {"size": 3}

    def step(self, journal: _Journal) -> None:
        """Add one random record to a journal."""
        rng, client = self.rng, self.rng.choice(journal.clients)
        t, conn = self.tick(), journal.open.get(client)
        if conn is None:
            journal.connections += 1
            journal.open[client] = journal.connections
            journal.write(Kind.CONNECT, t, client=client, conn=journal.connections)
            return
        place = {"client": client, "conn": conn}
        what = rng.random()
        if what < 0.5:
            journal.write(Kind.DELIVER, t, **place, **self.heard())
        elif what < 0.54:
            journal.write(Kind.REPLAY, t, **place, **self.heard())
        elif what < 0.7:
            self.invoke(journal, t, place, client)
        elif what < 0.81:
            self.answer(journal, t, place, client)
        elif what < 0.88:
            self.membership(journal, t, place)
        elif what < 0.95:
            self.aside(journal, t, place)
        elif what < 0.965:
            aux = rng.choice((client, client, rng.randrange(self.clients), -2))
            journal.write(Kind.IDENTITY, t, **place, counter=int(Place.SOCKET), aux=aux)
        else:
            journal.write(Kind.DISCONNECT, t, **place, counter=1006, flags=rng.choice((0, 0, int(Flag.OWN))))
            self.closed(journal, client)

    def closed(self, journal: _Journal, client: int) -> None:
        conn = journal.open.pop(client)
        journal.joined = {(c, v) for c, v in journal.joined if c != conn}

    def invoke(self, journal: _Journal, t: int, place: Mapping[str, int], client: int) -> None:
        said = sum(author == client for author, _ in self.sent)
        counter = min(said + 1, self.counters) if self.rng.random() < 0.6 else self.rng.randint(1, max(1, said))
        if (client, counter) in self.unanswered:
            return
        attempts = self.sent.setdefault((client, counter), [])
        if len(attempts) < 3:
            slots = self.invent(client, counter, len(attempts) + 1) | {"proc": place["conn"] % 256}
            attempts.append(slots)
            self.unanswered[client, counter] = slots
            heard = self.rng.randint(1, self.seqs) if self.contract.sequence != "none" else NONE
            asks = int(Flag.OWN) * (t % 5 == 0)  # a question: no check judges it otherwise than another message
            journal.write(Kind.INVOKE, t, **place, **slots, aux=self.rng.choice((NONE, NONE, heard)), flags=asks)

    def aside(self, journal: _Journal, t: int, place: Mapping[str, int]) -> None:
        """Add a random record that is no delivery: a read, a removal …, or an answer that no sending waits for."""
        rng, conv, what = self.rng, self.rng.randrange(self.convs), self.rng.random()
        if what < 0.2:
            slots = self.message()
            author = rng.choice((slots["author"], place["client"]))
            kind = rng.choice((Kind.OK, Kind.FAIL))
            journal.write(
                kind, t, **self.by_request(place), author=author, counter=slots["counter"], seq=rng.choice((NONE, 3))
            )
        elif what < 0.35:
            page = {}
            if rng.random() < 0.5:
                flags = int(Flag.CORRUPT) if rng.random() < 0.1 else 0
                page = {"author": rng.randint(0, 2), "counter": rng.randint(0, self.seqs), "flags": flags}
            journal.write(READ, t, client=place["client"], conv=conv, seq=rng.randint(0, self.seqs), aux=0, **page)
        elif what < 0.5:
            journal.write(KICK, t, client=rng.randrange(self.clients), conv=conv)
        elif what < 0.55:
            journal.write(Kind.FAULT, t, author=FOREIGN + rng.randint(0, 1), flags=rng.choice((0, int(Flag.OWN))))
        else:
            run, events = rng.choice(list(self.runs.items()))
            event, number = events.pop(0) if events and rng.random() < 0.9 else (rng.randint(1, 8), rng.randint(0, 2))
            journal.write(
                Kind.RUN, t, **place, author=FOREIGN + run, attempt=event, counter=number, conv=conv, seq=t % 9 - 1
            )

    def answer(self, journal: _Journal, t: int, place: Mapping[str, int], client: int) -> None:
        waiting = [m for m in self.unanswered if m[0] == client]
        if waiting:
            slots = self.unanswered.pop(self.rng.choice(waiting))
            named = {name: slots[name] for name in ("author", "counter", "attempt", "conv")}
            kind = self.rng.choice((Kind.OK, Kind.OK, Kind.OK, Kind.FAIL, Kind.INFO))
            if kind == Kind.OK and self.contract.sequence != "none":
                named["seq"] = self.rng.choice((NONE, 2 * slots["counter"], self.rng.randint(1, self.seqs)))
            journal.write(kind, t, **self.by_request(place), **named)

    def by_request(self, place: Mapping[str, int]) -> Mapping[str, int]:
        """Return `place`, sometimes with connection 0, as for an answer that comes by HTTP."""
        return {**place, "conn": 0} if self.rng.random() < 0.15 else place

    def membership(self, journal: _Journal, t: int, place: Mapping[str, int]) -> None:
        rng, conv = self.rng, self.rng.randrange(self.convs)
        key = place["conn"], conv
        if key in journal.joined:
            journal.joined.discard(key)
            journal.write(Kind.LEAVE, t, **place, conv=conv)
            return
        journal.joined.add(key)
        head = rng.choice((NONE, 0, 1, rng.randint(0, self.seqs))) if self.contract.sequence != "none" else NONE
        asked = rng.choice((NONE, NONE, 0, rng.randint(0, self.seqs))) if self.contract.sequence != "none" else NONE
        flags = int(rng.choice((Flag(0), Flag(0), Flag.CONTINUED, Flag.CONTINUED, Flag.REFUSED)))
        journal.write(Kind.JOIN, t, **place, conv=conv, seq=head, aux=asked, flags=flags)

    def cook(self, steps: int) -> Soup:
        rng, phases = self.rng, self.rng.random() < 0.85
        late = rng.randint(0, steps)
        for journal in self.journals:
            for client in journal.clients:
                self.step(journal) if client % 2 else None
            journal.write(Kind.PHASE, self.tick(), counter=int(Phase.LOAD))
        for step in range(steps):
            if step == late and phases:
                for journal in self.journals:
                    journal.write(Kind.PHASE, self.tick(), counter=int(Phase.DRAIN))
            self.step(rng.choice([j for j in self.journals if j.clients]))
        for journal in self.journals if phases else ():
            journal.write(Kind.PHASE, self.tick(), counter=int(Phase.DRAINED))
            for client in list(journal.open) if rng.random() < 0.5 else ():
                conn = journal.open[client]
                journal.write(Kind.DISCONNECT, self.tick(), client=client, conn=conn, flags=int(Flag.OWN))
        self.final_read()
        roster = Roster(user_of=tuple(self.user_of), conversations=tuple(tuple(m) for m in self.members))
        infos = [
            Info(name=f"journal-{j.number}", records=len(j.rows), footer={"records": len(j.rows)})
            for j in self.journals
        ]
        return Soup(roster, self.contract, [j.array() for j in self.journals], infos)

    def final_read(self) -> None:
        journal = self.journals[-1]
        rows: dict[int, list[dict[str, int]]] = {conv: [] for conv in range(self.convs)}
        for _ in range(self.rng.randint(0, 2 * self.counters * self.clients)):
            slots = self.heard()
            rows[slots["conv"]].append(slots)
        for conv in rows if self.contract.history else ():
            for slots in rows[conv]:
                journal.write(Kind.STORED, self.tick(), **slots)
            journal.write(Kind.READ_END, self.tick(), conv=conv, counter=len(rows[conv]), seq=self.seqs)


def soup(seed: int, steps: int = 80) -> Soup:
    """Return a random history of about `steps` records."""
    cook = _Cook(seed)
    while not all(journal.clients for journal in cook.journals):
        seed += 1_000_003
        cook = _Cook(seed)
    return cook.cook(steps)
