"""Histories written by hand: one line of code for each record."""

from __future__ import annotations

from typing import Any

import numpy as np
from simulated_clients import ABSENT, Info
from soup import Soup

from earwitness.checks.contract import Contract
from earwitness.checks.history.record import RECORD, Kind, Phase
from earwitness.checks.roster import Roster


class Told:
    """Builder of one journal with records at times 1, 2, 3 … µs: `told.deliver(client, conn, author, counter, seq=3)`.

    A message's digest and size are derived from (author, counter). Default are conversation 0 and attempt 1. Each
    client is a user.
    """

    def __init__(self, users: int = 3, rooms: tuple[tuple[int, ...], ...] = (), **promises: Any) -> None:
        self.roster = Roster(user_of=tuple(range(users)), conversations=rooms or (tuple(range(users)),))
        self.contract = Contract(**({"history": False} | promises))
        self.rows: list[dict[str, int]] = []

    def write(self, kind: Kind, **slots: int) -> None:
        place = len(self.rows) + 1
        self.rows.append(ABSENT | slots | {"kind": int(kind), "t": place * 1000, "index": place})

    def about(self, kind: Kind, client: int, conn: int, author: int, counter: int, **slots: int) -> None:
        content = {"conv": 0, "attempt": 1, "proc": 1, "digest": author * 1000 + counter, "size": 30}
        self.write(kind, **content | {"client": client, "conn": conn, "author": author, "counter": counter} | slots)

    def join(self, client: int, conn: int, head: int = 0, **slots: int) -> None:
        self.write(Kind.CONNECT, client=client, conn=conn)
        self.write(Kind.JOIN, **{"client": client, "conn": conn, "conv": 0, "seq": head} | slots)

    def invoke(self, author: int, conn: int, counter: int, **slots: int) -> None:
        self.about(Kind.INVOKE, author, conn, author, counter, **slots)

    def ok(self, author: int, conn: int, counter: int, **slots: int) -> None:
        self.about(Kind.OK, author, conn, author, counter, **slots)

    def deliver(self, client: int, conn: int, author: int, counter: int, **slots: int) -> None:
        self.about(Kind.DELIVER, client, conn, author, counter, **{"aux": author} | slots)

    def stored(self, author: int, counter: int, **slots: int) -> None:
        self.about(Kind.STORED, ABSENT["client"], 0, author, counter, **{"aux": author} | slots)

    def drained(self) -> None:
        self.write(Kind.PHASE, counter=int(Phase.DRAIN))
        self.write(Kind.PHASE, counter=int(Phase.DRAINED))

    def run(self) -> Soup:
        rows = [tuple(row[name] for name in RECORD.names or ()) for row in self.rows]
        info = Info(name="told", records=len(rows), footer={"records": len(rows)})
        return Soup(self.roster, self.contract, [np.array(rows, dtype=RECORD)], [info])


def figure(wait_ns: int) -> int:
    """Return the value (ns) to which I26 rounds a wait of 65 µs or more: the upper end of its eighth of an octave."""
    octave = 1 << (wait_ns.bit_length() - 1)
    eighth = octave // 8
    return octave + ((wait_ns - octave) // eighth + 1) * eighth
