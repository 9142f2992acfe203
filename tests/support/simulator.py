"""Random histories of a simulated chat platform, correct or with known defects.

`simulate(seed, …)` runs clients against a `Platform` and returns the records of their journals. Without defects the
platform keeps every promise of the contract, whatever happens in the run: cut connections, killed replicas, timeouts,
refusals, sendings of unknown outcome, retries, evictions, history on joining.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from simulated_clients import KICK, Client, Info, Journal, message_slots
from simulated_defects import Defective
from simulated_platform import MS, REPLICAS, Clock, Platform, Rules
from simulated_services import Services
from simulated_session_defects import Fired

from earwitness.checks.contract import Contract
from earwitness.checks.history.record import FOREIGN, Flag, Kind, Phase, Place
from earwitness.checks.roster import Roster

LOAD_NS = 700 * MS
OUTAGE_NS = 30 * MS
BOUND_S = 0.15
ANSWER_BOUND_S = 1.0
Sequencing = Literal["contiguous", "increasing", "none"]


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
        """Return the ids of the checks that must fail: an effect of a defect reached a client or the final read."""
        return set().union(*(fired.expected() for fired in self.fired))


class World:
    """All participants of one run: clock, platform, clients and their journals."""

    def __init__(self, seed: int, rules: Rules, shape: Mapping[str, int], *, retries: bool, history: bool) -> None:
        self.rng, self.clock = random.Random(seed), Clock()
        self.rules, self.retries, self.history = rules, retries, history
        users, rng = shape["users"], self.rng
        self.user_of = list(range(users)) + [rng.randrange(users) for _ in range(rng.randint(0, 2))]
        self.rooms = [set(rng.sample(range(users), rng.randint(2, users - 1))) for _ in range(shape["rooms"])]
        self.journals = [Journal(f"worker-{n}", self.clock) for n in range(shape["journals"] - 1)]
        self.collector = Journal("collector", self.clock)
        self.sent_at: dict[tuple[int, int], int] = {}
        self.caused_by: dict[tuple[int, int], int] = {}
        self.acknowledged_at: dict[tuple[int, int], int] = {}
        self.drain_ns = 0
        self.outages: list[tuple[int, int]] = []
        self.clients = [Client(self, n, self.journals[n % len(self.journals)]) for n in range(len(self.user_of))]
        self.platform: Services

    def phase(self, journal: Journal, phase: Phase) -> None:
        journal.write(Kind.PHASE, counter=phase)

    def burst(self) -> None:
        """Let one client send one to four messages without waiting."""
        client = self.rng.choice(self.clients)
        rooms = [conv for conv, members in enumerate(self.rooms) if self.user_of[client.number] in members]
        if rooms:
            conv = self.rng.choice(rooms)
            for _ in range(self.rng.choice((1, 1, 2, 3, 4))):
                client.say(conv if self.rng.random() < 0.8 else self.rng.choice(rooms))

    def restart(self) -> None:
        """Kill a replica; the collector's journal has a fault for the time of the outage."""
        replica, now = self.rng.choice(REPLICAS), self.clock.now
        self.collector.write(Kind.FAULT, author=FOREIGN, flags=Flag.OWN)
        self.clock.at(now + OUTAGE_NS, lambda: self.collector.write(Kind.FAULT, author=FOREIGN))
        self.outages.append((now, now + OUTAGE_NS))
        for link in self.platform.kill(replica):
            client = self.clients[link.client]
            if client.link is link:
                client.cut()

    def evict(self) -> None:
        client = self.rng.choice(self.clients)
        if client.link is not None and client.since:
            self.platform.evict(client.link, self.rng.choice(sorted(client.since)))

    def kick(self) -> None:
        """Let one member remove another; later, with a probability of 0.7, the member is added again."""
        rng = self.rng
        conv = rng.randrange(len(self.rooms))
        user, other = rng.sample(sorted(self.rooms[conv]), 2)
        if (user, conv) in self.platform.barred:
            return
        journal = self.clients[other].journal
        self.platform.kick(user, conv, lambda: self.kicked(journal, user, conv))
        if rng.random() < 0.7:
            later = self.clock.now + rng.randrange(60 * MS, 200 * MS)
            self.clock.at(later, self.platform.admit, user, conv)

    def kicked(self, journal: Journal, user: int, conv: int) -> None:
        for client in self.clients:
            if self.user_of[client.number] == user:
                journal.write(KICK, client=client.number, conv=conv)

    def aside(self, act: Callable[[Client, int], None]) -> None:
        """Call `act` for a random client and one of its rooms."""
        client = self.rng.choice(self.clients)
        rooms = [conv for conv, members in enumerate(self.rooms) if self.user_of[client.number] in members]
        if rooms:
            act(client, self.rng.choice(rooms))

    def plan(self, *, messages: int, cuts: bool, restarts: int) -> None:
        rng, clock, start = self.rng, self.clock, self.clock.now
        end = self.drain_ns = start + LOAD_NS
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
        for _ in range(rng.randint(0, 2) if cuts else 0):
            clock.at(start + rng.randrange(20 * MS, LOAD_NS), self.kick)
        for _ in range(rng.randint(2, 10)):
            clock.at(start + rng.randrange(20 * MS, LOAD_NS), self.aside, Client.ask)
        for _ in range(rng.randint(5, 20)):
            clock.at(start + rng.randrange(20 * MS, LOAD_NS), self.aside, Client.read)
        for _ in range(restarts):
            clock.at(start + rng.randrange(LOAD_NS // 4, LOAD_NS), self.restart)

    def finish(self, waits: bool) -> None:
        """End the run: end the drain, close the sockets (in either order), read the final state.

        `waits`: let the bound of answers pass before; else the run ends before the time limits of checks are over.
        """
        if waits:
            self.clock.now += int(ANSWER_BOUND_S * 1e9) + MS
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
                self.collector.write(Kind.STORED, **message_slots(entry.send), seq=entry.seq, aux=entry.aux)
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
    sequence: Sequencing = "contiguous",
    resume: str = "live",
    hold_back: bool = True,
    idempotent: bool = True,
    echo: bool = True,
    journals: int = 3,
    waits: bool = True,
    recent: bool = False,
) -> SimulatedRun:
    """Return one run. `rate`: probability of each defect at each opportunity.

    The last journal is that of the collector, which records faults and the final state.
    """
    resume = resume if hold_back else "none"
    rules = Rules(sequence=sequence, hold_back=hold_back, idempotent=idempotent, resume=resume, echo=echo)
    world = World(seed, rules, {"users": users, "rooms": rooms, "journals": journals}, retries=retries, history=history)
    platform = world.platform = Defective(world, defects, rate)
    world.plan(messages=messages, cuts=cuts, restarts=restarts)
    world.clock.run()
    world.finish(waits)
    contract = Contract(
        name="simulated",
        sequence=sequence,
        total_order=hold_back,
        idempotent=idempotent,
        echo=echo,
        history=history,
        at_most_once="device" if rules.resume == "live" else "connection",
        resume=rules.resume != "none",
        delivery_bound_s=BOUND_S,
        answer_bound_s=ANSWER_BOUND_S,
        recent_reads=recent,
    )
    roster = Roster(user_of=tuple(world.user_of), conversations=tuple(tuple(sorted(r)) for r in world.rooms))
    everything = [*world.journals, world.collector]
    infos = [Info(name=j.name, records=len(j.rows), footer={"records": len(j.rows)}) for j in everything]
    return SimulatedRun(roster, contract, [j.array() for j in everything], infos, platform.fired, platform)
