"""Random histories with faults: deployments, outages, users who chat and are cut, tokens, logins, calls.

Each slot is drawn from few values near the bounds, so that every promise is broken about as often as it is kept.
"""

from __future__ import annotations

import random

import numpy as np
from simulated_clients import Info
from soup import Soup

from earwitness.checks.contract import Contract
from earwitness.checks.history.record import (
    CONTROL,
    NOBODY,
    NONE,
    RECORD,
    Artefact,
    FaultKind,
    Flag,
    Kind,
    Phase,
    Place,
    State,
)
from earwitness.checks.roster import Roster

S = 1_000_000_000
FAULT_NAMES, BREAKERS = (1 << 31, (1 << 31) + 1), ((1 << 31) + 5, (1 << 31) + 6)
STATUSES = (200, 302, 401, 403, 429, 500, 503, 504, 0, 4401)


class _Cook:
    def __init__(self, seed: int) -> None:
        self.rng = rng = random.Random(seed)
        self.clients = rng.randint(1, 3)
        self.contract = Contract(
            history=False,
            unavailable_s=rng.choice((None, 1.0, 2.0)),
            reconnect_s=rng.choice((None, 0.5, 1.0)),
            deploy_error_ratio=rng.choice((0.0, 0.3, 0.8)),
            outage_answer_s=rng.choice((None, 0.3, 1.0)),
            outage_notice_s=rng.choice((0.5, 1.0)),
            outage_session_s=rng.choice((1.0, 100.0)),
            recovery_s=rng.choice((0.5, 2.0)),
            token_leeway_s=0.5,
            breaker_failures=rng.choice((None, 1, 2, 3)),
            breaker_open_s=rng.choice((0.5, 1.0)),
            breaker_probes=rng.choice((1, 2)),
            breaker_successes=rng.choice((1, 2)),
        )
        self.calm = rng.random() < 0.4
        self.t = S
        self.rows: list[list[dict[str, int]]] = [[], []]
        self.counter = 0
        self.calls = 0
        self.stepping = rng.random() < 0.3
        self.stepped = [0, 0]

    def cook(self, count: int) -> Soup:
        weights = {
            self.fault: 1, self.talk: 6, self.connection: 3, self.request: 0 if self.calm else 4, self.token: 2,
            self.call: 3, self.probe: 2, self.clock_step: 0.5 if self.stepping else 0,
        }  # fmt: skip
        for _ in range(count):
            self.t += self.rng.choice((1, 10**7, 10**8, 3 * 10**8))
            self.rng.choices(list(weights), list(weights.values()))[0]()
        if self.rng.random() < 0.7:
            self.write(0, Kind.PHASE, counter=int(Phase.DRAIN))
        journals = []
        for rows in self.rows:
            rows.sort(key=lambda row: row["t"])
            for index, row in enumerate(rows):
                row["index"] = index + 1
            journals.append(np.array([tuple(row.get(n, 0) for n in RECORD.names or ()) for row in rows], dtype=RECORD))
        roster = Roster(user_of=tuple(range(self.clients)), conversations=(tuple(range(self.clients)),))
        infos = [
            Info(name=f"j{n}", records=len(rows), footer={"records": len(rows)}) for n, rows in enumerate(self.rows)
        ]
        return Soup(roster, self.contract, journals, infos)

    def write(self, journal: int, kind: Kind, **slots: int) -> None:
        blank = {"client": NOBODY, "conv": NOBODY, "author": NOBODY, "seq": NONE, "aux": NONE, "t": self.t}
        self.rows[journal].append(blank | slots | {"kind": int(kind)})

    def fault(self) -> None:
        kind = self.rng.choice((FaultKind.RESTART, FaultKind.REPLACE, FaultKind.REPLACE, FaultKind.KILL, 0))
        place = self.rng.choice((Place.AUTH, Place.AUTH, Place.BACKEND, 0))
        flags = self.rng.choice((0, int(Flag.OWN)))
        name = self.rng.choice(FAULT_NAMES[: 1 if self.calm else 2])
        self.write(1, Kind.FAULT, author=name, flags=flags, counter=int(kind), attempt=int(place))

    def talk(self) -> None:
        client = self.rng.randrange(self.clients)
        kind = self.rng.choice((Kind.INVOKE, Kind.INVOKE, Kind.OK, Kind.OK, Kind.FAIL, Kind.INFO))
        self.counter += 1
        aux = self.rng.choice((403, 429, 500, 503, 4429)) if kind == Kind.FAIL else NONE
        about = {"author": client, "counter": self.counter, "attempt": 1, "conv": 0, "conn": client + 1}
        self.write(client % 2, kind, client=client, aux=aux, **about)

    def connection(self) -> None:
        client = self.rng.randrange(self.clients)
        if self.rng.random() < 0.5:
            self.write(client % 2, Kind.CONNECT, client=client, conn=client + 1)
        else:
            code, flags = self.rng.choice((0, 1000, 1006, 1011, 1012, 4401)), self.rng.choice((0, 0, int(Flag.OWN)))
            self.write(client % 2, Kind.DISCONNECT, client=client, conn=client + 1, counter=code, flags=flags)

    def probe(self) -> None:
        self.write(0, Kind.PROBE, client=0, counter=self.rng.choice((200, 200, 200, 404, 500, 0)))

    def request(self) -> None:
        rng = self.rng
        status, counter = rng.choice(STATUSES), rng.choice((0, 0, 1, 2))
        refused = 400 <= status < 500 or status > 4000
        flags = int(Flag.REFUSED) if refused else int(Flag.ACCEPTED) if 0 < status < 400 else 0
        place = rng.choice((Place.AUTH, Place.BACKEND, Place.SOCKET, Place.FRONTEND))
        way = rng.choice((0, 1)) if not counter else rng.choice((1, 2)) | rng.choice((0, 0, CONTROL))
        sent = self.t - rng.choice((10, S // 5, S // 2, 3 * S // 2))
        who = {
            "client": 0,
            "author": rng.randrange(self.clients),
            "counter": counter,
            "attempt": int(place),
            "proc": way,
        }
        self.write(0, Kind.REQUEST, flags=flags, seq=sent, size=status, aux=rng.choice((NONE, 0, 1000)), **who)

    def token(self) -> None:
        rng, owner = self.rng, self.rng.randrange(self.clients)
        which = rng.random()
        if which < 0.7:
            deadline = rng.choice((NONE, self.t + S, self.t + 100 * S))
            kind, forged = rng.choice((Artefact.ACCESS, Artefact.ACCESS, Artefact.REFRESH)), rng.choice((0, 0, 0, 2))
            number = rng.choice((1, 2))
            flags = int(rng.choice((0, 0, Flag.OWN, Flag.ACCEPTED)))
            known = {"counter": number, "attempt": int(kind), "proc": forged, "seq": deadline, "flags": flags}
            self.write(0, Kind.TOKEN, client=owner, **known)
        elif which < 0.9:
            flags = rng.choice((0, int(Flag.ACCEPTED), int(Flag.REFUSED)))
            self.write(
                1, Kind.REVOKE, client=0, author=owner, counter=rng.choice((0, 1, 1, 2)), seq=self.t - 5, flags=flags
            )
        else:
            state = rng.choice((State.ACTIVE, State.PROFILE))
            self.write(1, Kind.WRITE, client=0, author=owner, proc=int(state), seq=self.t - 5)

    def clock_step(self) -> None:
        """Record a step of the wall clock of one of the two processes; steps of one process do not overlap."""
        rng, journal = self.rng, self.rng.randrange(2)
        begun = max(self.stepped[journal] + 1, self.t - rng.choice((0, S // 10)))
        self.stepped[journal] = self.t
        by = int(rng.choice((-3600, -0.4, 0.4, 90, 3600)) * S)
        self.write(journal, Kind.PHASE, counter=int(Phase.CLOCK_STEP), seq=min(begun, self.t), aux=by)

    def call(self) -> None:
        if self.calls >= 16:
            return
        self.calls += 1
        rng = self.rng
        called, good = rng.random() < 0.6, rng.random() < 0.4
        took = rng.choice((1, S // 10, S // 2)) if called else 0
        flags = rng.choice((int(Flag.ACCEPTED), int(Flag.REFUSED))) if called and good else 0
        begun, self.t = self.t, self.t + took
        slots = {"author": rng.choice(BREAKERS[: 1 if self.calm else 2]), "counter": rng.choice((0, 1, 1, 2, 3))}
        self.write(1, Kind.CALL, seq=begun, aux=int(called), flags=flags, **slots)


def soup_of_faults(seed: int, count: int) -> Soup:
    """Return a random history with faults of about `count` records; the same for the same seed."""
    return _Cook(seed).cook(count)
