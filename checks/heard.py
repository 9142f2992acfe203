"""Checks of each heard message by itself: I6 duplication, I10 integrity, I12 isolation, I15 identity."""

from __future__ import annotations

import numpy as np

from checks.compiled import kernel
from checks.contract import Contract
from checks.fold import CLIENT, CONV, MID, MID2, REC, REC2, WHAT, Described, End, Folding, X, Y, finding, invoked
from checks.record import Flag, Kind
from checks.resolve import AGAIN_HERE, AGAIN_ON_DEVICE, K_DELIVER, K_INVOKE, K_REPLAY, K_STORED, MISROUTED, UNTRUSTED
from checks.roster import Roster
from checks.tables import CHANGED, INVOKED, REC_BITS, SIZED, Array, Tables
from checks.verdict import Finding, Verdict
from checks.world import View, World

K_IDENTITY = int(Kind.IDENTITY)
CORRUPT = int(Flag.CORRUPT)
STRANGER = -2


@kernel
def note(row: Array, what: int, journal: int, r: Array, mid: int, x: int, y: int) -> None:
    row[WHAT] = what
    row[REC] = (np.int64(journal) << REC_BITS) | np.int64(r["index"])
    row[REC2] = 0
    row[CLIENT] = r["client"]
    row[MID] = mid
    row[MID2] = -1
    row[CONV] = r["conv"]
    row[X] = x
    row[Y] = y


@kernel
def repeats(
    records: Array, journal: int, mids: Array, slots: Array, seen: Array, bit: int, out: Array, totals: Array
) -> None:
    """totals: examined, rows."""
    for i in range(len(records)):
        r = records[i]
        if r["kind"] != K_DELIVER or mids[i] < 0 or slots[i] < 0:
            continue
        totals[0] += 1
        if seen[i] & bit:
            note(out[totals[1]], 0, journal, r, mids[i], r["seq"], -1)
            totals[1] += 1


@kernel
def changes(records: Array, journal: int, mids: Array, w: Tables, out: Array, totals: Array) -> None:
    """totals: examined, corrupt rows in the first half of `out`, changed rows in the second half."""
    half = len(out) >> 1
    for i in range(len(records)):
        r = records[i]
        kind = r["kind"]
        if not (kind == K_DELIVER or kind == K_REPLAY or kind == K_STORED or kind == K_INVOKE):
            continue
        if kind != K_INVOKE:
            totals[0] += 1
            if r["flags"] & CORRUPT:
                note(out[totals[1]], 0, journal, r, -1, -1, -1)
                totals[1] += 1
                continue
        if mids[i] < 0:
            continue
        m = w.messages[mids[i]]
        other_size = m["flags"] & SIZED and r["attempt"] <= 1 and m["size"] != r["size"]
        if (m["digest"] != r["digest"] or other_size) and not m["flags"] & CHANGED:
            m["flags"] |= CHANGED
            row = out[half + totals[2]]
            note(row, 1, journal, r, mids[i], m["size"], r["size"])
            row[REC2] = m["first_rec"]
            totals[2] += 1


@kernel
def strays(records: Array, journal: int, mids: Array, subs: Array, clients: int, out: Array, totals: Array) -> None:
    for i in range(len(records)):
        r = records[i]
        kind = r["kind"]
        if not (kind == K_DELIVER or kind == K_REPLAY) or r["flags"] & UNTRUSTED or r["client"] >= clients:
            continue
        totals[0] += 1
        if subs[i] < 0 or r["flags"] & MISROUTED:
            note(out[totals[1]], 0 if subs[i] < 0 else 1, journal, r, mids[i], r["author"], r["counter"])
            totals[1] += 1


@kernel
def statements(records: Array, journal: int, mids: Array, user_of: Array, out: Array, totals: Array) -> None:
    for i in range(len(records)):
        r = records[i]
        kind = r["kind"]
        if kind == K_IDENTITY:
            truth = np.int64(r["client"])
        elif kind == K_DELIVER or kind == K_REPLAY or kind == K_STORED:
            truth = np.int64(r["author"])
            if r["flags"] & UNTRUSTED:
                continue
        else:
            continue
        said = r["aux"]
        if said == -1 or truth >= len(user_of):
            continue
        totals[0] += 1
        if said < 0 or said >= len(user_of) or user_of[said] != user_of[truth]:
            note(out[totals[1]], 1 if kind == K_IDENTITY else 0, journal, r, mids[i], said, r["counter"])
            totals[1] += 1


class PerRecord(Folding):
    """Base: violations are certain at once."""

    def __init__(self, check: Described, roster: Roster, contract: Contract) -> None:
        super().__init__(check, roster, contract)
        self.totals = np.zeros(3, np.int64)

    def peek(self, world: World) -> Verdict:
        return self.conclude([self.describe(world, row) for row in self.suspects.rows])

    def finish(self, end: End) -> Verdict:
        return self.peek(end.world)

    def counted(self, world: World) -> None:
        self.suspects.take(world.out, int(self.totals[1]))
        self.totals[1] = 0
        self.examined = int(self.totals[0])

    def describe(self, world: World, row: tuple[int, ...]) -> Finding:
        raise NotImplementedError


class NoDuplication(PerRecord):
    """One message is delivered at most once on a connection, or to a device where the contract says so.

    Not a violation: history replayed on joining; another attempt stored as another message (I7); a delivery to
    somebody who does not belong there (I12)."""

    def step(self, view: View) -> None:
        bit = AGAIN_ON_DEVICE if self.contract.at_most_once == "device" else AGAIN_HERE
        repeats(view.records, view.journal, view.mid, view.slot, view.seen, bit, view.world.out, self.totals)
        self.counted(view.world)

    def describe(self, world: World, row: tuple[int, ...]) -> Finding:
        return finding(world, "repeated", row, invoked(world, row[MID]), row[REC], seq=row[X])


class Integrity(PerRecord):
    """Bodies arrive as they were sent: the body's own checksum fits, and digest and size are the sender's.

    Not a violation: another size of a retry, whose body states its attempt. A message counts once however many
    heard it changed; a body whose checksum does not fit counts each time, because nobody knows which it was."""

    def __init__(self, check: Described, roster: Roster, contract: Contract) -> None:
        super().__init__(check, roster, contract)
        self._changed: list[tuple[int, ...]] = []

    def step(self, view: View) -> None:
        world = view.world
        changes(view.records, view.journal, view.mid, world.tables, world.out, self.totals)
        half = len(world.out) // 2
        self._changed += [tuple(map(int, row)) for row in world.out[half : half + int(self.totals[2])]]
        del self._changed[1000:]
        self.totals[2] = 0
        self.counted(world)

    def peek(self, world: World) -> Verdict:
        flags = world.messages()["flags"]
        wanted = CHANGED | INVOKED
        changed = int(((flags & wanted) == wanted).sum())
        rows = [row for row in self._changed if world.messages()[row[MID]]["flags"] & INVOKED]
        rows = sorted([*self.suspects.rows, *rows], key=lambda row: row[REC])[:8]
        return self.conclude([self.describe(world, row) for row in rows], violations=self.suspects.total + changed)

    def describe(self, world: World, row: tuple[int, ...]) -> Finding:
        if row[MID] < 0:
            return finding(world, "corrupt", row, row[REC])
        records = invoked(world, row[MID]), row[REC2], row[REC]
        return finding(world, "changed", row, *records, size=row[X], other_size=row[Y])


class Isolation(PerRecord):
    """Nobody hears a conversation that they do not belong to, and no message appears in another conversation.

    Membership is the tester's own roster. Not looked at: bodies that are corrupt (I10) or of another run (I8),
    because they do not say where they belong."""

    def step(self, view: View) -> None:
        world = view.world
        clients = len(world.tables.user_of)
        strays(view.records, view.journal, view.mid, view.sub, clients, world.out, self.totals)
        self.counted(world)

    def describe(self, world: World, row: tuple[int, ...]) -> Finding:
        what = "misrouted" if row[WHAT] else "stranger"
        return finding(world, what, row, invoked(world, row[MID]), row[REC], author=row[X], counter=row[Y])


class Identity(PerRecord):
    """The platform names the true sender with every message, and the true user wherever it states an identity.

    Not looked at: places that state nobody."""

    def step(self, view: View) -> None:
        world = view.world
        statements(view.records, view.journal, view.mid, world.tables.user_of, world.out, self.totals)
        self.counted(world)

    def describe(self, world: World, row: tuple[int, ...]) -> Finding:
        if row[WHAT]:
            return finding(world, "identity", row, row[REC], stated=row[X], place=row[Y])
        return finding(world, "sender", row, invoked(world, row[MID]), row[REC], stated=row[X])


NO_DUPLICATION = Described(
    id="I6",
    name="no-duplication",
    title="Did everyone hear each message at most once?",
    fold=NoDuplication,
    when=lambda contract: contract.at_most_once != "no",
)
INTEGRITY = Described(
    id="I10",
    name="integrity",
    title="Did every message arrive unchanged?",
    fold=Integrity,
    when=lambda contract: contract.unchanged,
)
ISOLATION = Described(
    id="I12",
    name="isolation",
    title="Did only members hear a conversation's messages?",
    fold=Isolation,
)
IDENTITY = Described(
    id="I15",
    name="identity",
    title="Did the platform name the true sender everywhere?",
    fold=Identity,
    when=lambda contract: contract.names_sender,
)
