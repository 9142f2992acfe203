"""What follows on joining: I19 session continuity, I20 resume without gap, I21 watermark honesty."""

from __future__ import annotations

import numpy as np

from earwitness.checks.contract import Contract
from earwitness.checks.engine.compiled import kernel
from earwitness.checks.engine.fold import REC, REC2, WHAT, Described, X, Y, finding
from earwitness.checks.engine.resolve import HEARD_BEFORE
from earwitness.checks.engine.tables import REC_BITS, Array, Int
from earwitness.checks.engine.world import View, World, grown
from earwitness.checks.history.kinds import K_DELIVER, LISTENED, MISROUTED, UNTRUSTED
from earwitness.checks.history.record import Flag
from earwitness.checks.messages.gaps import CONTINUED, K_JOIN, K_LEAVE
from earwitness.checks.messages.heard import PerRecord, note
from earwitness.checks.roster import Roster
from earwitness.checks.verdict import Finding

MARK = np.dtype([("seq", "<i8"), ("rec", "<i8"), ("asked", "<i8")])
"""Of one slot: the number told on joining, and that record; no record: nothing to keep to. asked: behind which number
the device had asked to go on."""

REFUSED = int(Flag.REFUSED)

SKIPPED, REPEATED = range(2)


@kernel
def resumes(
    records: Array,
    journal: Int,
    mids: Array,
    slots: Array,
    seen: Array,
    echo: bool,
    marks: Array,
    out: Array,
    totals: Array,
) -> None:
    for i in range(len(records)):
        if slots[i] < 0:
            continue
        r = records[i]
        kind = np.int64(r["kind"])
        mark = marks[slots[i]]
        if kind == K_JOIN:
            continued = r["flags"] & CONTINUED and r["seq"] >= 0
            mark["rec"] = (np.int64(journal) << REC_BITS) | np.int64(r["index"]) if continued else 0
            mark["seq"] = r["seq"]
        elif kind == K_LEAVE:
            mark["rec"] = 0
        elif mark["rec"] and 1 << kind & LISTENED and r["seq"] >= 0 and not r["flags"] & MISROUTED:
            expected = mark["seq"] + 1
            again = r["seq"] < expected and seen[i] & HEARD_BEFORE
            if r["seq"] < expected and not again:
                continue
            totals[0] += 1
            if again or (r["seq"] > expected and echo):
                what = REPEATED if again else SKIPPED
                note(out[totals[1]], what, journal, r, mids[i], r["seq"], expected)
                out[totals[1], REC2] = mark["rec"]
                totals[1] += 1
            mark["rec"] = 0


@kernel
def stale(records: Array, journal: Int, mids: Array, slots: Array, marks: Array, out: Array, totals: Array) -> None:
    for i in range(len(records)):
        if slots[i] < 0:
            continue
        r = records[i]
        mark = marks[slots[i]]
        if r["kind"] == K_JOIN:
            mark["rec"] = (np.int64(journal) << REC_BITS) | np.int64(r["index"]) if r["seq"] >= 0 else 0
            mark["seq"] = r["seq"]
        elif r["kind"] == K_LEAVE:
            mark["rec"] = 0
        elif mark["rec"] and r["kind"] == K_DELIVER and r["seq"] >= 0 and not r["flags"] & (MISROUTED | UNTRUSTED):
            totals[0] += 1
            if r["seq"] <= mark["seq"]:
                note(out[totals[1]], 0, journal, r, mids[i], r["seq"], mark["seq"])
                out[totals[1], REC2] = mark["rec"]
                totals[1] += 1


@kernel
def forgotten(records: Array, journal: Int, mids: Array, slots: Array, marks: Array, out: Array, totals: Array) -> None:
    for i in range(len(records)):
        if slots[i] < 0:
            continue
        r = records[i]
        kind = np.int64(r["kind"])
        mark = marks[slots[i]]
        if kind == K_JOIN:
            mark["rec"] = 0
            if r["aux"] < 0:
                continue
            if r["flags"] & (CONTINUED | REFUSED) or (r["seq"] >= 0 and r["seq"] <= r["aux"]):
                totals[0] += 1
            elif r["seq"] >= 0:
                mark["rec"] = (np.int64(journal) << REC_BITS) | np.int64(r["index"])
                mark["seq"] = r["seq"]
                mark["asked"] = r["aux"]
        elif kind == K_LEAVE:
            mark["rec"] = 0
        elif mark["rec"] and 1 << kind & LISTENED and r["seq"] >= 0 and not r["flags"] & MISROUTED:
            totals[0] += 1
            if r["seq"] > mark["seq"]:
                note(out[totals[1]], 0, journal, r, mids[i], mark["seq"], mark["asked"])
                out[totals[1], REC2] = mark["rec"]
                totals[1] += 1
            mark["rec"] = 0


class Joining(PerRecord):
    """Base: a mark for each slot."""

    def __init__(self, check: Described, roster: Roster, contract: Contract) -> None:
        super().__init__(check, roster, contract)
        self.marks = np.zeros(1024, MARK)


class SessionContinuity(Joining):
    """Who asks to go on behind a number goes on there, or is told that it cannot be: a conversation does not silently
    begin at its head, as for a new client.

    Decided by what comes first: a number up to the head is taken for the beginning of what was missed. Not looked at:
    joins without a head, and platforms without echo, where what was missed may be the listener's own."""

    def step(self, view: View) -> None:
        if not self.contract.echo:
            return
        self.marks = grown(self.marks, view.world.slots)
        columns = view.mid, view.slot
        forgotten(view.records, view.journal, *columns, self.marks, view.world.out, self.totals)
        self.counted(view.world)

    def describe(self, world: World, row: tuple[int, ...]) -> Finding:
        return finding(world, "forgotten", row, row[REC2], row[REC], seq=row[X], low=row[Y] + 1, high=row[X])


class ResumeWithoutGap(Joining):
    """After joining with CONTINUED at q the first number heard of the conversation on that connection is q + 1.

    Not looked at: lower numbers that this device had not heard yet (some platforms tell their head on joining and
    then replay what was missed up to it). Not a violation: a higher number where the platform does not echo, because
    the numbers between may be the listener's own (I4 knows)."""

    def step(self, view: View) -> None:
        if self.contract.sequence != "contiguous":
            return
        self.marks = grown(self.marks, view.world.slots)
        columns = view.mid, view.slot, view.seen
        resumes(view.records, view.journal, *columns, self.contract.echo, self.marks, view.world.out, self.totals)
        self.counted(view.world)

    def describe(self, world: World, row: tuple[int, ...]) -> Finding:
        what = "repeated" if row[WHAT] == REPEATED else "skipped"
        return finding(world, what, row, row[REC2], row[REC], seq=row[X], low=row[Y], high=max(row[Y], row[X] - 1))


class WatermarkHonesty(Joining):
    """After joining at a number nothing at or below it is delivered live in that conversation on that connection.

    Not a violation: replayed history. Not looked at: corrupt bodies (I10) and those of another run (I8)."""

    def step(self, view: View) -> None:
        self.marks = grown(self.marks, view.world.slots)
        columns = view.mid, view.slot
        stale(view.records, view.journal, *columns, self.marks, view.world.out, self.totals)
        self.counted(view.world)

    def describe(self, world: World, row: tuple[int, ...]) -> Finding:
        return finding(world, "stale", row, row[REC2], row[REC], seq=row[X], other_seq=row[Y])


SESSION_CONTINUITY = Described(
    id="I19",
    name="session-continuity",
    title="Did every request to resume learn whether messages were missed?",
    fold=SessionContinuity,
    when=lambda contract: contract.resume and contract.sequence != "none" and contract.echo,
)
RESUME_WITHOUT_GAP = Described(
    id="I20",
    name="resume-without-gap",
    title="Did every resumed conversation continue with the next number?",
    fold=ResumeWithoutGap,
    when=lambda contract: contract.resume and contract.sequence == "contiguous",
)
WATERMARK_HONESTY = Described(
    id="I21",
    name="watermark-honesty",
    title="Did no message come live that the platform had stated as past?",
    fold=WatermarkHonesty,
    when=lambda contract: contract.sequence != "none",
)
