"""Checks of joining: I19 session continuity, I20 resume without gap, I21 watermark honesty.

On joining a conversation a device may ask to continue after a number, and the platform may state the number of the
latest message (head). These checks compare the numbers that follow with both.
"""

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
"""Number that the platform stated at the last JOIN of a slot (a subscription on one connection).

seq, rec  the number (head), and the reference of the JOIN; rec 0: nothing to compare with
asked     the number after which the device had asked to continue
"""

REFUSED = int(Flag.REFUSED)

SKIPPED, REPEATED = range(2)
"""Values of WHAT in rows of I20: numbers were skipped; a number came that the device had received before."""


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
    """Compare the first sequence number after a JOIN with CONTINUED with the number that must follow (I20).

    mids, slots  by record its message and slot (subscription on one connection), -1: none
    seen         bits by record, as `checks.engine.resolve` sets them
    echo         whether senders receive their own messages; if not, a skipped number proves nothing
    marks        MARK by slot, updated
    out          rows of violations: SKIPPED or REPEATED
    totals       number of joins examined, number of rows of `out`

    A JOIN sets the slot's mark, the first number that decides clears it, so each JOIN is judged once and one row by
    slot is enough. Lower numbers that the device had not received are skipped: some platforms state their head and then
    replay up to it. A lower number that it had received (HEARD_BEFORE) is a repetition. LEAVE clears the mark.
    """
    for i in range(len(records)):
        if slots[i] < 0:
            continue
        r = records[i]
        kind = np.int64(r["kind"])
        mark = marks[slots[i]]
        if kind == K_JOIN:
            # Without CONTINUED or a number the platform claims nothing; an older claim ends all the same.
            continued = r["flags"] & CONTINUED and r["seq"] >= 0
            mark["rec"] = (np.int64(journal) << REC_BITS) | np.int64(r["index"]) if continued else 0
            mark["seq"] = r["seq"]
        elif kind == K_LEAVE:
            mark["rec"] = 0
        elif mark["rec"] and 1 << kind & LISTENED and r["seq"] >= 0 and not r["flags"] & MISROUTED:
            expected = mark["seq"] + 1
            again = r["seq"] < expected and seen[i] & HEARD_BEFORE
            # History up to the head, which the device had not received: the number that decides is still to come.
            if r["seq"] < expected and not again:
                continue
            totals[0] += 1
            # Without echoes the numbers of own messages are missing rightly, so a skip proves nothing.
            if again or (r["seq"] > expected and echo):
                what = REPEATED if again else SKIPPED
                note(out[totals[1]], what, journal, r, mids[i], r["seq"], expected)
                out[totals[1], REC2] = mark["rec"]
                totals[1] += 1
            mark["rec"] = 0


@kernel
def stale(records: Array, journal: Int, mids: Array, slots: Array, marks: Array, out: Array, totals: Array) -> None:
    """Write a row to `out` for each live delivery at or below the number that the platform stated on joining (I21).

    `mids`, `slots`: by record its message and slot (subscription on one connection), -1: none. `marks`: MARK by slot,
    updated; `totals` counts deliveries examined, rows of `out`. The mark stays until LEAVE or the next JOIN, since the
    stated number holds for the whole subscription: each live delivery is compared with it. Replays are not compared;
    they may have numbers below the head.
    """
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
            # The platform has said on joining which number exists last: a live delivery comes behind it.
            totals[0] += 1
            if r["seq"] <= mark["seq"]:
                note(out[totals[1]], 0, journal, r, mids[i], r["seq"], mark["seq"])
                out[totals[1], REC2] = mark["rec"]
                totals[1] += 1


@kernel
def forgotten(records: Array, journal: Int, mids: Array, slots: Array, marks: Array, out: Array, totals: Array) -> None:
    """Write a row to `out` for each JOIN after which the platform ignored the device's request to continue (I19).

    `mids`, `slots`: by record its message and slot (subscription on one connection), -1: none. `marks`: MARK by slot,
    updated; `totals` counts joins examined, rows of `out`. `aux` of a JOIN is the number after which the device asked
    to continue, negative if it did not ask. The flag CONTINUED or REFUSED, or a head at or below that number, shows at
    once that the request was not ignored. Else the next number decides: one up to the head begins what was missed, a
    higher one shows that the platform ignored the request. The mark is then cleared, so each JOIN is judged once.
    """
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
            # Settled: continued, refused openly, or there was nothing to catch up on.
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
            # The first number decides: behind the head means that what was missed does not come.
            if r["seq"] > mark["seq"]:
                note(out[totals[1]], 0, journal, r, mids[i], mark["seq"], mark["asked"])
                out[totals[1], REC2] = mark["rec"]
                totals[1] += 1
            mark["rec"] = 0


class Joining(PerRecord):
    """Base class of the checks that store one MARK for each slot. Subclasses implement `step` and `describe`."""

    def __init__(self, check: Described, roster: Roster, contract: Contract) -> None:
        """Start without marks: `rec` is 0 for each slot."""
        super().__init__(check, roster, contract)
        self.marks = np.zeros(1024, MARK)


class SessionContinuity(Joining):
    """State of I19: a device that asks to continue after a number gets what follows that number, or is refused.

    The platform does not silently begin at the conversation's head, as for a new client. The first number that arrives
    decides: a number up to the head is taken for the beginning of what was missed. Not examined: joins without a head,
    and platforms without echo, where what was missed may be the device's own messages.
    """

    def step(self, view: View) -> None:
        """Implement `Fold.step`: look for joins whose request to continue was ignored. Do nothing without echo."""
        if not self.contract.echo:
            return
        self.marks = grown(self.marks, view.world.slots)
        columns = view.mid, view.slot
        forgotten(view.records, view.journal, *columns, self.marks, view.world.out, self.totals)
        self.counted(view.world)

    def describe(self, world: World, row: tuple[int, ...]) -> Finding:
        """Implement `PerRecord.describe`: return the finding of an ignored request to continue."""
        return finding(world, "forgotten", row, row[REC2], row[REC], seq=row[X], low=row[Y] + 1, high=row[X])


class ResumeWithoutGap(Joining):
    """State of I20: if a JOIN with CONTINUED states the number q, the first number received after it is q + 1.

    Not examined: lower numbers that this device had not received yet; some platforms state their head on joining and
    then replay what was missed up to it. Not a violation: a higher number where the platform does not echo, because the
    numbers between may be the device's own messages (I4 judges them).
    """

    def step(self, view: View) -> None:
        """Implement `Fold.step`: check the first number after each join with CONTINUED.

        Do nothing unless the contract promises contiguous numbers.
        """
        if self.contract.sequence != "contiguous":
            return
        self.marks = grown(self.marks, view.world.slots)
        columns = view.mid, view.slot, view.seen
        resumes(view.records, view.journal, *columns, self.contract.echo, self.marks, view.world.out, self.totals)
        self.counted(view.world)

    def describe(self, world: World, row: tuple[int, ...]) -> Finding:
        """Implement `PerRecord.describe`: return the finding of a repeated or skipped number."""
        what = "repeated" if row[WHAT] == REPEATED else "skipped"
        return finding(world, what, row, row[REC2], row[REC], seq=row[X], low=row[Y], high=max(row[Y], row[X] - 1))


class WatermarkHonesty(Joining):
    """State of I21: nothing is delivered live at or below the number that the platform stated when the device joined.

    Not a violation: replayed history. Not examined: deliveries without a number, and those after a joining for which
    the platform stated none; corrupt bodies (I10); bodies of another run (I8); those in another conversation (I12).
    """

    def step(self, view: View) -> None:
        """Implement `Fold.step`: compare live deliveries with the number that the platform stated on joining."""
        self.marks = grown(self.marks, view.world.slots)
        columns = view.mid, view.slot
        stale(view.records, view.journal, *columns, self.marks, view.world.out, self.totals)
        self.counted(view.world)

    def describe(self, world: World, row: tuple[int, ...]) -> Finding:
        """Implement `PerRecord.describe`: return the finding of a live delivery at or below the stated number."""
        return finding(world, "stale", row, row[REC2], row[REC], seq=row[X], other_seq=row[Y])


SESSION_CONTINUITY = Described(
    id="I19",
    name="session-continuity",
    title="Did every request to resume learn whether messages were missed?",
    unit="requests to resume",
    symptom="Devices that resumed were not told that they had missed messages",
    fold=SessionContinuity,
    when=lambda contract: contract.resume and contract.sequence != "none" and contract.echo,
    sentences={
        "forgotten": "{who} asked to resume {where}, was not refused, and received nothing of {range}",
    },
)
RESUME_WITHOUT_GAP = Described(
    id="I20",
    name="resume-without-gap",
    title="Did every resumed conversation continue with the next number?",
    unit="resumed conversations",
    symptom="Devices that resumed did not get the next message first",
    fold=ResumeWithoutGap,
    when=lambda contract: contract.resume and contract.sequence == "contiguous",
    sentences={
        "skipped": "{who} resumed {where} as if nothing was missed, but received number {seq} first: {range} "
        "did not come before it",
        "repeated": "{who} resumed {where} and received number {seq} first, although the next one was number {low}",
    },
)
WATERMARK_HONESTY = Described(
    id="I21",
    name="watermark-honesty",
    title="Did no message come live that the platform had stated as past?",
    unit="live deliveries",
    symptom="Messages came live that were stated as past",
    fold=WatermarkHonesty,
    when=lambda contract: contract.sequence != "none",
    sentences={
        "stale": "{who} joined {where} at number {other_seq} and then received number {seq} live",
    },
)
