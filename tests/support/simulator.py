"""Random histories of a simulated chat platform, correct or with known defects.

`simulate(seed, …)` runs clients against a `Platform` and returns what their journals would hold. Without
defects the platform keeps every promise of the contract, however rough the run: cut connections, replicas that
die, timeouts, refusals, sends whose fate nobody knows, retries, evictions, history on joining.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from simulated_defects import Defective, Fired
from simulated_platform import MS, REPLICAS, Clock, Frame, Link, Platform, Rules, Send

from checks.contract import Contract
from checks.record import NOBODY, NONE, RECORD, Flag, Kind, Phase, Place
from checks.roster import Roster

ATTEMPTS_MAX = 3
TIMEOUT_NS = 80 * MS
LOAD_NS = 700 * MS


class Journal:
    """Records of one client process."""

    def __init__(self, name: str, clock: Clock) -> None:
        self.name, self.clock, self.connections = name, clock, 0
        self.rows: list[tuple[int, ...]] = []

    def write(
        self, kind: Kind, *, flags=0, attempt=0, proc=0, client=NOBODY, conn=0, conv=NOBODY, author=NOBODY, counter=0,
        seq=NONE, aux=NONE, size=0, digest=0,
    ) -> None:  # fmt: skip
        head = self.clock.now, int(kind), int(flags), attempt, proc, client, conn
        self.rows.append((*head, conv, author, counter, seq, aux, size, digest, len(self.rows) + 1))

    def array(self) -> np.ndarray:
        return np.array(self.rows, dtype=RECORD)


@dataclass(frozen=True, kw_only=True)
class Info:
    """As `checks.judge.JournalInfo`."""

    name: str
    records: int
    footer: Mapping[str, Any] | None
    torn: bool = False
    meta: Mapping[str, Any] = field(default_factory=dict)
    gaps: int = 0


@dataclass(frozen=True)
class SimulatedRun:
    roster: Roster
    contract: Contract
    journals: list[np.ndarray]
    infos: list[Info]
    fired: list[Fired]
    platform: Platform

    @property
    def expected(self) -> set[str]:
        """Checks that must fail because an effect of a defect reached a witness."""
        return set().union(*(fired.expected() for fired in self.fired))


class Client:
    """A device: sends, hears, writes down; reconnects and, if told to, retries."""

    def __init__(self, world: World, number: int, journal: Journal) -> None:
        self.world, self.number, self.journal = world, number, journal
        self.link: Link | None = None
        self.conn = self.counter = 0
        self.last: dict[int, int] = {}  # conversation → last position heard
        self.since: dict[int, int] = {}  # conversation → start of the unbroken subscription
        self.pending: dict[int, Send] = {}
        self.again: list[Send] = []
        self.heard: set[tuple[int, int]] = set()
        self.acknowledged: set[tuple[int, int]] = set()

    def write(self, kind: Kind, **slots: int) -> None:
        self.journal.write(kind, client=self.number, conn=self.conn, **slots)

    def connect(self) -> None:
        world = self.world
        self.journal.connections += 1
        self.conn = self.journal.connections
        self.write(Kind.CONNECT, size=900)
        self.link = Link(self.number, world.rng.choice(REPLICAS), self.hear)
        resume = dict(self.last) if world.rules.resume != "none" and world.rng.random() < 0.9 else {}
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
        self.write(Kind.INVOKE, **_message(send), aux=NONE)
        world.sent_at.setdefault(send.message, world.clock.now)
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
        self.again.append(send)

    def retry(self) -> None:
        again, self.again = self.again, []
        for send in again:
            if self.link is None:
                self.again.append(send)
            elif self.world.retries and send.attempt < ATTEMPTS_MAX:
                slots = {**send.__dict__, "attempt": send.attempt + 1, "proc": self.conn % 256}
                self.invoke(Send(**slots))

    def hear(self, link: Link, frame: Frame) -> None:
        if link is not self.link or not link.open:
            return
        link.heard.append(frame)
        if frame.what == "joined":
            self.write(Kind.JOIN, conv=frame.conv, seq=frame.seq, flags=Flag.CONTINUED if frame.continued else 0)
            if not frame.continued or frame.conv not in self.since:
                self.since[frame.conv] = self.world.clock.now
            self.last[frame.conv] = frame.position
            self.retry()
        elif frame.what == "left":
            self.write(Kind.LEAVE, conv=frame.conv)
            self.last.pop(frame.conv, None)
            self.since.pop(frame.conv, None)
        elif frame.what in ("ack", "nack"):
            self.answered(frame)
        else:
            self.message(frame)

    def answered(self, frame: Frame) -> None:
        send = frame.send
        assert send is not None
        pending = self.pending.get(send.counter)
        if pending is None or (frame.what == "nack" and pending != send):
            return
        del self.pending[send.counter]
        if frame.what == "ack":
            self.acknowledged.add(send.message)
            self.write(Kind.OK, **_name(pending), seq=frame.seq)
            return
        self.write(Kind.FAIL, **_name(pending), aux=429)
        if self.world.retries and self.world.rng.random() < 0.5:
            self.again.append(pending)
            self.retry()

    def message(self, frame: Frame) -> None:
        send = frame.send
        assert send is not None
        if not frame.flags:
            self.last[send.conv] = max(self.last.get(send.conv, 0), frame.position)
            self.heard.add(send.message)
        kind = Kind.DELIVER if frame.what == "message" else Kind.REPLAY
        self.write(kind, **_message(send), seq=frame.seq, aux=frame.aux, flags=frame.flags)

    def cut(self) -> None:
        """The connection dies; the client notices a little later and comes back."""
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
        """Subscribed without a break from before the message was sent until the end."""
        sent, since = self.world.sent_at.get(message), self.since.get(conv)
        ours = self.link is not None and self.link.open
        return ours and sent is not None and since is not None and since < sent


def _name(send: Send) -> dict[str, int]:
    return {"conv": send.conv, "author": send.author, "counter": send.counter, "attempt": send.attempt}


def _message(send: Send) -> dict[str, int]:
    return {**_name(send), "proc": send.proc, "size": send.size, "digest": send.digest}


class World:
    """Everybody who takes part in one run."""

    def __init__(self, seed: int, rules: Rules, shape: Mapping[str, int], *, retries: bool, history: bool) -> None:
        self.rng, self.clock = random.Random(seed), Clock()
        self.rules, self.retries, self.history = rules, retries, history
        users, rng = shape["users"], self.rng
        self.user_of = list(range(users)) + [rng.randrange(users) for _ in range(rng.randint(0, 2))]
        self.rooms = [set(rng.sample(range(users), rng.randint(2, users - 1))) for _ in range(shape["rooms"])]
        self.journals = [Journal(f"worker-{n}", self.clock) for n in range(shape["journals"] - 1)]
        self.collector = Journal("collector", self.clock)
        self.sent_at: dict[tuple[int, int], int] = {}
        self.clients = [Client(self, n, self.journals[n % len(self.journals)]) for n in range(len(self.user_of))]
        self.platform: Platform

    def phase(self, journal: Journal, phase: Phase) -> None:
        journal.write(Kind.PHASE, counter=phase)

    def burst(self) -> None:
        """One client says one to four things without waiting."""
        client = self.rng.choice(self.clients)
        rooms = [conv for conv, members in enumerate(self.rooms) if self.user_of[client.number] in members]
        if rooms:
            conv = self.rng.choice(rooms)
            for _ in range(self.rng.choice((1, 1, 2, 3, 4))):
                client.say(conv if self.rng.random() < 0.8 else self.rng.choice(rooms))

    def restart(self) -> None:
        replica = self.rng.choice(REPLICAS)
        for link in self.platform.kill(replica):
            client = self.clients[link.client]
            if client.link is link:
                client.cut()

    def evict(self) -> None:
        client = self.rng.choice(self.clients)
        if client.link is not None and client.since:
            self.platform.evict(client.link, self.rng.choice(sorted(client.since)))

    def plan(self, *, messages: int, cuts: bool, restarts: int) -> None:
        rng, clock, start = self.rng, self.clock, self.clock.now
        end = start + LOAD_NS
        for journal in self.journals:
            clock.at(start + rng.randrange(MS), self.phase, journal, Phase.LOAD)
            clock.at(end + rng.randrange(MS), self.phase, journal, Phase.DRAIN)
        for client in self.clients:
            client.write(Kind.IDENTITY, counter=int(Place.SOCKET), aux=client.number)
            late = rng.random() < 0.2
            clock.at(start + rng.randrange(LOAD_NS // 2 if late else 5 * MS), client.connect)
        for _ in range(max(1, messages // 2)):
            clock.at(start + rng.randrange(20 * MS, LOAD_NS), self.burst)
        for _ in range(rng.randint(1, 6) if cuts else 0):
            clock.at(start + rng.randrange(LOAD_NS + 20 * MS), lambda: rng.choice(self.clients).cut())
        for _ in range(rng.randint(0, 2) if cuts else 0):
            clock.at(start + rng.randrange(LOAD_NS), self.evict)
        for _ in range(restarts):
            clock.at(start + rng.randrange(LOAD_NS // 4, LOAD_NS), self.restart)

    def finish(self) -> None:
        """All is quiet: end the drain, close the sockets (in either order), read the final state."""
        for journal in self.journals:
            closes_first = self.rng.random() < 0.5
            if not closes_first:
                self.phase(journal, Phase.DRAINED)
            self.clock.now += MS
            for client in self.clients:
                if client.journal is journal and client.link is not None:
                    client.write(Kind.DISCONNECT, counter=1000, flags=Flag.OWN)
            self.clock.now += MS
            if closes_first:
                self.phase(journal, Phase.DRAINED)
        for conv in range(len(self.rooms)) if self.history else ():
            rows = self.platform.stored[conv]
            for entry in rows:
                self.collector.write(Kind.STORED, **_message(entry.send), seq=entry.seq, aux=entry.aux)
            last = rows[-1].seq if rows else 0
            self.collector.write(Kind.READ_END, conv=conv, counter=len(rows), seq=last)


def simulate(
    seed: int,
    *,
    users: int = 4,
    rooms: int = 2,
    messages: int = 60,
    defects: Sequence[str] = (),
    rate: float = 0.1,
    cuts: bool = True,
    retries: bool = True,
    restarts: int = 1,
    history: bool = True,
    sequence: str = "contiguous",
    resume: str = "live",
    hold_back: bool = True,
    idempotent: bool = True,
    journals: int = 3,
) -> SimulatedRun:
    """One run. `rate`: probability of each defect per opportunity. The last journal is the collector's."""
    rules = Rules(sequence=sequence, hold_back=hold_back, idempotent=idempotent, resume=resume if hold_back else "none")
    world = World(seed, rules, {"users": users, "rooms": rooms, "journals": journals}, retries=retries, history=history)
    platform = world.platform = Defective(world, defects, rate)
    world.plan(messages=messages, cuts=cuts, restarts=restarts)
    world.clock.run()
    world.finish()
    contract = Contract(
        name="simulated",
        sequence=sequence,
        total_order=hold_back,
        idempotent=idempotent,
        history=history,
        at_most_once="device" if rules.resume == "live" else "connection",
        resume=rules.resume != "none",
    )
    roster = Roster(user_of=tuple(world.user_of), conversations=tuple(tuple(sorted(r)) for r in world.rooms))
    everything = [*world.journals, world.collector]
    infos = [Info(name=j.name, records=len(j.rows), footer={"records": len(j.rows)}) for j in everything]
    return SimulatedRun(roster, contract, [j.array() for j in everything], infos, platform.fired, platform)
