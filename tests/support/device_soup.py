"""Generator of random histories without a plot, like `auth_soup`: edits, read marks and presence of devices."""

from __future__ import annotations

import random

from simulated_clients import Info
from soup import Soup, _Journal

from earwitness.checks.contract import Contract
from earwitness.checks.history.record import FOREIGN, NOBODY, NONE, FaultKind, Flag, Kind, Phase, Place, State
from earwitness.checks.roster import Roster

FLAGS = (int(Flag.ACCEPTED), int(Flag.ACCEPTED), int(Flag.ACCEPTED), int(Flag.REFUSED), 0)
FAULTS = (FaultKind.KILL, FaultKind.PAUSE)


class _Cook:
    def __init__(self, seed: int) -> None:
        self.rng = rng = random.Random(f"devices:{seed}")
        self.clients = rng.randint(2, 5)
        self.user_of = [rng.randrange(2) for _ in range(self.clients)]
        self.roster = Roster(user_of=tuple(self.user_of), conversations=((0, 1), (0, 1)))
        self.contract = Contract(
            history=False,
            shared_state_s=rng.choice((None, 1e-8, 1e-8, 3e-8)),
            presence_s=rng.choice((None, 8e-9, 8e-9, 2e-8, 4e-8)),
        )
        count = rng.randint(1, 2)
        self.journals = [_Journal(n, []) for n in range(count)]
        self.home = [self.journals[c % count] for c in range(self.clients)]
        self.tame = rng.random() < 0.6
        self.marks: dict[tuple[int, int], int] = {}
        self.versions: dict[tuple[int, int], int] = {}
        self.shown: dict[tuple[int, int, int, int], int] = {}
        self.t = 1_000

    def tick(self) -> int:
        self.t += self.rng.randint(1, 4)
        return self.t

    def step(self) -> None:
        rng, client = self.rng, self.rng.randrange(self.clients)
        acts = (self.connection, self.write, self.see, self.presence, self.fault, self.kick)
        rng.choices(acts, (3, 3, 8, 5, 0.3, 0.1))[0](self.home[client], self.tick(), client)

    def connection(self, journal: _Journal, t: int, client: int) -> None:
        conn = journal.open.pop(client, None)
        if conn is None:
            journal.connections += 1
            journal.open[client] = journal.connections
            journal.write(Kind.CONNECT, t, client=client, conn=journal.connections)
        elif self.rng.random() < 0.5:
            journal.write(Kind.DISCONNECT, t, client=client, conn=conn, counter=1000)
        else:
            journal.open[client] = conn

    def about(self, client: int) -> dict[str, int]:
        """Return the slots for a random shared state: a read mark of the client's user, an edit, or another state."""
        rng = self.rng
        if rng.random() < 0.2:
            state = rng.choice((State.MEMBERSHIP, State.PERMISSIONS, State.TITLE))
            return {"proc": int(state), "author": rng.randrange(self.clients), "conv": rng.randrange(2)}
        if rng.random() < 0.5:
            return {"proc": int(State.READ_MARK), "author": client, "conv": rng.randrange(2)}
        return {"proc": int(State.EDIT), "author": rng.choice((0, 0, 0, NOBODY)), "counter": 1, "conv": 0}

    def write(self, journal: _Journal, t: int, client: int) -> None:
        rng, about = self.rng, self.about(client)
        flags, value = rng.choice(FLAGS), rng.randint(0, 5)
        if about["proc"] == State.EDIT:
            key = (about["author"], 1)
            again = not self.tame and rng.random() < 0.1
            self.versions[key] = value = self.versions.get(key, 1) + (not again)
            about["conn"] = rng.choice((0, value - 1, value - 1 if self.tame else max(0, value - 2)))
        elif about["proc"] != State.READ_MARK:
            value = rng.randint(1, 3)
        elif self.tame and not flags & Flag.REFUSED:
            mark = (self.user_of[client], about["conv"])
            self.marks[mark] = max(self.marks.get(mark, 0), value)
        asked = t - rng.choice((0, 1, 9))
        journal.write(Kind.WRITE, t, client=client, aux=value, digest=value, seq=asked, flags=flags, **about)

    def see(self, journal: _Journal, t: int, client: int) -> None:
        rng, about = self.rng, self.about(client)
        value = rng.randint(0, 5)
        if self.tame and about["proc"] == State.EDIT:
            value = self.versions.get((about["author"], 1), 1)
        elif about["proc"] not in (State.READ_MARK, State.EDIT):
            value = rng.randint(1, 3)
        elif self.tame:
            value = self.marks.get((self.user_of[client], about["conv"]), 0)
        conn = journal.open.get(client, 0) if rng.random() < 0.7 else 0
        asked = NONE if conn else t - rng.choice((0, 3, 12))
        watcher = client if rng.random() < 0.95 else NOBODY
        digest = 0 if about["proc"] == State.READ_MARK else value
        journal.write(Kind.SEEN, t, client=watcher, conn=conn, aux=value, digest=digest, seq=asked, **about)

    def presence(self, journal: _Journal, t: int, client: int) -> None:
        """Record that a client was shown a user's presence.

        On a platform without violations (`tame`) only true changes are shown, once each.
        """
        rng, conn = self.rng, journal.open.get(client)
        about, conv = rng.randrange(self.clients), rng.randrange(2)
        if conn is None:
            return
        online = rng.randrange(2)
        if self.tame:
            user, place = self.user_of[about], (journal.number, conn, self.user_of[about], conv)
            live = {self.user_of[c] for j in self.journals for c in j.open}
            online = int(user in live)
            if self.shown.get(place) == online:
                return
            self.shown[place] = online
        about = about if rng.random() < 0.97 else NOBODY
        journal.write(Kind.PRESENCE, t, client=client, conn=conn, author=about, conv=conv, counter=online)

    def fault(self, journal: _Journal, t: int, client: int) -> None:
        rng = self.rng
        what = {"counter": int(rng.choice(FAULTS)), "attempt": rng.choice((0, int(Place.BACKEND)))}
        journal.write(Kind.FAULT, t, author=FOREIGN + rng.randint(0, 1), flags=rng.choice((0, int(Flag.OWN))), **what)

    def kick(self, journal: _Journal, t: int, client: int) -> None:
        kind = self.rng.choice((Kind.KICK, Kind.LEAVE))
        journal.write(kind, t, client=client, conn=journal.open.get(client, 0), conv=self.rng.randrange(2))

    def cook(self, steps: int) -> Soup:
        rng = self.rng
        for _ in range(steps):
            self.step()
        for journal in self.journals:
            journal.write(Kind.PHASE, self.tick(), counter=int(Phase.DRAIN))
        self.t += rng.choice((0, 20, 60))
        if rng.random() < 0.9:
            for journal in self.journals:
                journal.write(Kind.PHASE, self.tick(), counter=int(Phase.DRAINED))
            for journal in self.journals:
                for client, conn in journal.open.items():
                    flags = int(Flag.OWN)
                    journal.write(Kind.DISCONNECT, self.tick(), client=client, conn=conn, counter=1000, flags=flags)
        torn = rng.random() < 0.1
        infos = [
            Info(name=f"j{j.number}", records=len(j.rows), footer=None if torn else {"records": len(j.rows)}, torn=torn)
            for j in self.journals
        ]
        return Soup(self.roster, self.contract, [j.array() for j in self.journals], infos)


def device_soup(seed: int, steps: int = 80) -> Soup:
    """Return a random history of about `steps` actions."""
    return _Cook(seed).cook(steps)
