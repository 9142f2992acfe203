"""Correct simulated histories with a few records changed, so that they are just outside of what is legal."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from rough import rough
from simulated_clients import KICK, READ
from simulator import SimulatedRun, simulate

from earwitness.checks.history.record import NONE, Flag, Kind

Change = Callable[[random.Random, np.ndarray, int], np.ndarray]

MESSAGE = ("conv", "author", "counter", "attempt", "proc", "size", "digest", "seq", "aux", "flags")
RECEIPTS = (Kind.DELIVER, Kind.DELIVER, Kind.REPLAY, Kind.STORED)


def drop(rng: random.Random, journal: np.ndarray, place: int) -> np.ndarray:
    return np.delete(journal, place)


def repeat(rng: random.Random, journal: np.ndarray, place: int) -> np.ndarray:
    """Insert a copy of the record at `place`, at once or up to five records later; return the journal."""
    later = min(len(journal), place + rng.choice((1, 1, 5)))
    again = journal[place].copy()
    again["t"] = journal["t"][later - 1]
    return np.insert(journal, later, again)


def swap(rng: random.Random, journal: np.ndarray, place: int) -> np.ndarray:
    """Exchange the message of the record at `place` with that of the next record of its kind on its connection."""
    one = journal[place]
    same = (journal["kind"] == one["kind"]) & (journal["conn"] == one["conn"])
    others = np.flatnonzero(same)[np.flatnonzero(same) > place]
    if len(others):
        other = int(others[0])
        for name in MESSAGE:
            journal[name][[place, other]] = journal[name][[other, place]]
    return journal


def renumber(rng: random.Random, journal: np.ndarray, place: int) -> np.ndarray:
    if journal["seq"][place] != NONE:
        journal["seq"][place] = max(1, journal["seq"][place] + rng.choice((-2, -1, 1, 2, 9)))
    return journal


def flag(rng: random.Random, journal: np.ndarray, place: int) -> np.ndarray:
    journal["flags"][place] |= rng.choice((Flag.CORRUPT, Flag.MISROUTED, Flag.FOREIGN_RUN))
    return journal


def spoil(rng: random.Random, journal: np.ndarray, place: int) -> np.ndarray:
    journal[rng.choice(("digest", "size"))][place] += 1
    return journal


def impersonate(rng: random.Random, journal: np.ndarray, place: int) -> np.ndarray:
    journal["aux"][place] = rng.choice((-2, NONE, 0, 1, 2))
    return journal


def invent(rng: random.Random, journal: np.ndarray, place: int) -> np.ndarray:
    journal["counter"][place] += 10_000
    return journal


def readdress(rng: random.Random, journal: np.ndarray, place: int) -> np.ndarray:
    """Change the receiver of the record at `place` to another client of this journal; return the journal."""
    clients = journal[journal["kind"] == Kind.CONNECT]
    if len(clients) and journal["kind"][place] != Kind.STORED:
        other = clients[rng.randrange(len(clients))]
        journal["client"][place], journal["conn"][place] = other["client"], other["conn"]
    return journal


def renew_cause(rng: random.Random, journal: np.ndarray, place: int) -> np.ndarray:
    """Raise the highest number that the sender had received, as the record at `place` states it; return the journal."""
    if journal["aux"][place] != NONE:
        journal["aux"][place] += rng.choice((1, 2, 3, 9))
    return journal


def recount(rng: random.Random, journal: np.ndarray, place: int) -> np.ndarray:
    """Change the event of an agent's answer, or the number of the piece; return the journal."""
    journal[rng.choice(("attempt", "counter"))][place] = rng.randint(1, 7)
    return journal


def pause(rng: random.Random, journal: np.ndarray, place: int) -> np.ndarray:
    """Delay all records from `place` on by 100 or 300 ms; return the journal."""
    journal["t"][place:] += rng.choice((100_000_000, 300_000_000))
    return journal


def move(rng: random.Random, journal: np.ndarray, place: int) -> np.ndarray:
    """Move the record to the next connection of its client, or to another client's if there is none.

    Return the journal.
    """
    connects = journal[journal["kind"] == Kind.CONNECT]
    same = connects[(connects["client"] == journal["client"][place]) & (connects["conn"] > journal["conn"][place])]
    if len(connects):
        journal[["client", "conn"]][place] = (same if len(same) else connects)[0][["client", "conn"]]
    return journal


CHANGES: tuple[tuple[Change, tuple[int, ...]], ...] = (
    (drop, (*RECEIPTS, Kind.OK, Kind.JOIN, Kind.INVOKE, Kind.LEAVE, Kind.READ_END, Kind.INFO)),
    (repeat, RECEIPTS),
    (swap, (Kind.DELIVER, Kind.DELIVER, Kind.STORED)),
    (renumber, (*RECEIPTS, Kind.OK, Kind.JOIN)),
    (flag, RECEIPTS),
    (spoil, RECEIPTS),
    (impersonate, (*RECEIPTS, Kind.IDENTITY)),
    (invent, RECEIPTS),
    (readdress, (Kind.DELIVER, Kind.REPLAY)),
    (repeat, (Kind.OK, Kind.FAIL, Kind.RUN)),
    (drop, (Kind.RUN, Kind.FAIL, KICK, READ)),
    (move, (Kind.OK, Kind.FAIL, Kind.RUN)),
    (swap, (Kind.RUN,)),
    (recount, (Kind.RUN,)),
    (renew_cause, (Kind.INVOKE,)),
    (renumber, (READ,)),
    (pause, (Kind.DELIVER, Kind.OK, KICK)),
)


def mutant(seed: int, *, changes: int = 2, torn: bool = False) -> tuple[SimulatedRun, list[str]]:
    """Return (a small correct run with `changes` records changed, the names of the changes).

    `torn`: a journal also loses its end.
    """
    rng = random.Random(seed)
    run = simulate(seed, **rough(seed), messages=rng.choice((10, 30)))
    journals, done = [journal.copy() for journal in run.journals], []
    for _ in range(changes):
        change, kinds = rng.choice(CHANGES)
        kind = rng.choice(kinds)
        places = [(j, int(i)) for j, rows in enumerate(journals) for i in np.flatnonzero(rows["kind"] == kind)]
        if places:
            number, place = rng.choice(places)
            done.append(f"{change.__name__} {int(kind)} {number}:{place + 1}")
            journals[number] = change(rng, journals[number], place)
    infos = list(run.infos)
    if torn:
        number = rng.randrange(len(journals))
        journals[number] = journals[number][: rng.randint(0, len(journals[number]))]
        infos[number] = replace(infos[number], torn=True, footer=None)
        done.append(f"torn {number}")
    for number, journal in enumerate(journals):
        journal["index"] = np.arange(1, len(journal) + 1)
        infos[number] = replace(infos[number], records=len(journal))
    return replace(run, journals=journals, infos=infos), done
