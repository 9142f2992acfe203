"""Reads during the run: I16 read your writes, I17 monotonic reads.

Both compare a read of the history with the numbers that the same device knew before. What a device knew is kept across
its reconnects.
"""

from __future__ import annotations

import numpy as np

from earwitness.checks.contract import Contract
from earwitness.checks.engine.compiled import helper, kernel
from earwitness.checks.engine.fold import REC, REC2, WHAT, Described, X, Y, finding
from earwitness.checks.engine.tables import REC_BITS, Array, Int
from earwitness.checks.engine.world import View, World, grown
from earwitness.checks.history.kinds import K_DELIVER, K_OK, K_READ, MISROUTED, UNTRUSTED
from earwitness.checks.messages.heard import PerRecord, note
from earwitness.checks.messages.pages import DIGEST, HOLE, ORDER, REPEATED, Pages
from earwitness.checks.roster import Roster
from earwitness.checks.verdict import Finding, Verdict

STEPS = 16
"""Number of TOLD steps that are kept for each device and conversation."""

TOLD = np.dtype([("t", "<i8"), ("seq", "<i8"), ("rec", "<i8"), ("begun", "<i8")])
"""Step of a device's knowledge: from time `t` (ns) on it knew the number `seq`.

`rec`: reference of the record that stated `seq`. `begun`: time (ns) of the first number that was merged into the step.
"""


@helper
def learn_number(told: Array, newest: Array, row: Int, t: Int, seq: Int, rec: Int, pace: Int) -> None:
    """Add a sequence number that a device learnt at `t` (ns) from record `rec`, if it is the highest so far.

    `told`: by row a ring of STEPS steps; `newest`: by row, number of steps begun so far; `row`: the row of the device
    and conversation. A number within `pace` ns of the beginning of the latest step replaces the number of that step; a
    later one begins a new step. So a full ring always covers (STEPS - 1) × `pace` ns or more, however many numbers
    come. Merging makes a number seem known later than it was, which may hide a violation but never makes one.
    """
    steps = newest[row]
    last = told[row, (steps - 1) % STEPS]
    # Numbers in the ring must ascend: `known_at` stops at the first step that is old enough.
    if steps > 0 and seq <= last["seq"]:
        return
    # Else the step is overwritten: its old number seems known later than it was, which can hide a violation but not
    # make one.
    if steps == 0 or t - last["begun"] > pace:
        newest[row] += 1
        last = told[row, steps % STEPS]
        last["begun"] = t
    last["t"] = t
    last["seq"] = seq
    last["rec"] = rec


@helper
def known_at(told: Array, newest: Array, row: Int, t: Int) -> Int:
    """Return the index in `told[row]` of the highest number known at `t` (ns), -1 if no step of the ring is that old.

    `told`, `newest`: as in `learn_number`. Steps ascend in time and number, so the search goes back from the newest
    step, and the first one not later than `t` is the result.
    """
    steps = newest[row]
    for back in range(1, STEPS + 1):
        # The ring is not full yet, and no earlier number has been forgotten.
        if back > steps:
            break
        at = (steps - back) % STEPS
        if told[row, at]["t"] <= t:
            return at
    return -1


@kernel
def reads_step(
    records: Array,
    journal: Int,
    mids: Array,
    subs: Array,
    pushes: bool,
    rows: Array,
    told: Array,
    newest: Array,
    paces: Array,
    used: Array,
    out: Array,
    totals: Array,
) -> None:
    """Compare each history read with the highest number that its device knew when it requested the page.

    A read that shows only lower numbers becomes a row of `out`. A read states how long it took (`aux`, µs), so it was
    requested at `t` - 1000 × `aux` (ns).

    - `mids`, `subs`: by record its message and subscription, -1: none
    - `pushes`: numbers received live or read before count (I17); else own acknowledged ones (I16)
    - `rows`: by subscription, its row in `told` and `newest` (see `learn_number`) for this journal, -1 for none
    - `paces`: by row, the least time (ns) between two of its steps
    - `used`: number of rows given to subscriptions so far
    - `totals`: counts reads examined, and rows of `out`

    A row is a ring of STEPS numbers, because knowledge is needed only as far back as the longest read. Once a ring has
    overflowed, its pace is at least a twelfth (STEPS - 4) of that device's longest read there so far, so the ring still
    covers that read. So memory is fixed for each device and conversation; a subscription gets a row when it learns its
    first number. Order holds inside one journal only, so each journal has its own rows.
    """
    for i in range(len(records)):
        sub = np.int64(subs[i])
        if sub < 0:
            continue
        r = records[i]
        kind = r["kind"]
        row = np.int64(rows[sub])
        if kind == K_READ and row >= 0:
            took = 1000 * r["aux"] if r["aux"] > 0 else 0
            # A coarser pace is needed only where the ring has begun to forget.
            paces[row] = max(paces[row], took // (STEPS - 4) if newest[row] > STEPS else 0)
            # Compare with what the device knew when it asked: what came meanwhile may be missing in the page.
            at = known_at(told, newest, row, r["t"] - took)
            if at >= 0:
                totals[0] += 1
                if r["seq"] < told[row, at]["seq"]:
                    note(out[totals[1]], 0, journal, r, -1, r["seq"], told[row, at]["seq"])
                    out[totals[1], REC2] = told[row, at]["rec"]
                    totals[1] += 1
        if r["seq"] < 0:
            continue
        # Only now, behind the comparison: a read must not be compared with itself.
        if pushes:
            telling = kind == K_READ or (kind == K_DELIVER and not r["flags"] & (MISROUTED | UNTRUSTED))
        else:
            telling = kind == K_OK and mids[i] >= 0 and r["client"] == r["author"]
        if telling:
            if row < 0:
                row = np.int64(used[0])
                used[0] += 1
                rows[sub] = row
            rec = (np.int64(journal) << REC_BITS) | np.int64(r["index"])
            learn_number(told, newest, row, r["t"], r["seq"], rec, paces[row])


class Reads(PerRecord):
    """Base class of I16 and I17: compares reads with the numbers that each device knew of each conversation.

    The numbers are stored by journal, because order holds inside one journal only. `pushes` of the subclass says which
    numbers count: if true those received live or read, else those acknowledged to the device for its own messages.
    """

    pushes = False

    def __init__(self, check: Described, roster: Roster, contract: Contract) -> None:
        """Start with nothing known by any device."""
        super().__init__(check, roster, contract)
        self._rows: dict[int, Array] = {}
        self._told = np.zeros((64, STEPS), TOLD)
        self._newest, self._paces = np.zeros(64, np.int64), np.zeros(64, np.int64)
        self._used = np.zeros(1, np.int64)

    def step(self, view: View) -> None:
        """Implement `Fold.step`: compare each read with the highest number that its device knew."""
        world, journal = view.world, view.journal
        rows = self._rows.setdefault(journal, np.full(world.members, -1, np.int32))
        wanted = int(self._used[0]) + min(world.members, len(view.records))
        self._told, self._newest = grown(self._told, wanted), grown(self._newest, wanted)
        self._paces = grown(self._paces, wanted)
        columns = view.mid, view.sub, self.pushes
        state = rows, self._told, self._newest, self._paces, self._used
        reads_step(view.records, journal, *columns, *state, world.out, self.totals)
        self.counted(world)

    def describe(self, world: World, row: tuple[int, ...]) -> Finding:
        """Implement `PerRecord.describe`: return the finding of a read that shows less than its device knew."""
        return finding(world, "behind", row, row[REC2], row[REC], seq=row[X], other_seq=row[Y])


class ReadYourWrites(Reads):
    """State of I16: a history read shows the messages acknowledged to the same device before the read was requested.

    Not a violation: an acknowledgement that came while the read was under way; a message that was never acknowledged. A
    number acknowledged shortly before the request may stay unjudged, because steps are merged (see `learn_number`).
    """


class MonotonicReads(Reads):
    """State of I17: a history read shows all numbers that the same device had read or received live before its request.

    Where numbers are contiguous, a page also shows each number once and in order, from the number on at which it begins
    (`checks.messages.pages`). If the platform states a digest of a page, the page fits it.

    Not a violation: what was received while the read was under way; history replayed on joining; the order in a page
    whose beginning is not on record.
    """

    pushes = True

    def __init__(self, check: Described, roster: Roster, contract: Contract) -> None:
        """Start with nothing known by any device. Pages are judged too, by their numbers if these are contiguous."""
        super().__init__(check, roster, contract)
        self._pages = Pages(contract.sequence == "contiguous")

    def step(self, view: View) -> None:
        """Implement `Fold.step`: compare reads with what their devices knew, and judge their pages."""
        super().step(view)
        self._pages.step(view)

    def peek(self, world: World) -> Verdict:
        """Implement `Fold.peek`: return the violations of reads and pages so far."""
        both = self.suspects.merged(self._pages.suspects)
        return self.conclude(
            [self.describe(world, row) for row in both.rows],
            examined=self.examined + self._pages.examined,
            violations=both.total,
        )

    def describe(self, world: World, row: tuple[int, ...]) -> Finding:
        """Implement `PerRecord.describe`: return the finding of a read that shows too little, or of a wrong page."""
        if not row[WHAT]:
            return super().describe(world, row)
        what = {HOLE: "hole", REPEATED: "repeated", ORDER: "order", DIGEST: "digest"}[row[WHAT]]
        return finding(world, what, row, row[REC], low=row[X] + 1, rows=row[Y])


READ_YOUR_WRITES = Described(
    id="I16",
    name="read-your-writes",
    title="Did every read show the messages acknowledged to its reader before?",
    unit="reads after an acknowledgement",
    symptom="Readers did not see messages that had been acknowledged to them",
    fold=ReadYourWrites,
    when=lambda contract: contract.history and contract.sequence != "none",
    sentences={
        "behind": "{who} read {where} up to number {seq} after number {other_seq}, an own message, had been "
        "acknowledged",
    },
)
MONOTONIC_READS = Described(
    id="I17",
    name="monotonic-reads",
    title="Did no read lack what its reader had already seen?",
    unit="reads of a history",
    symptom="Reads lacked what their readers had seen before",
    fold=MonotonicReads,
    when=lambda contract: contract.history and contract.sequence != "none",
    sentences={
        "behind": "{who} read {where} up to number {seq} after having seen number {other_seq}",
        "hole": "{who} read {where} from number {low} on, and numbers were missing between the {rows} messages shown",
        "repeated": "{who} read {where} from number {low} on, and the {rows} messages shown are more than "
        "there are numbers",
        "order": "{who} read {where} from number {low} on, and the {rows} messages shown do not follow each other",
        "digest": "{who} read {where} from number {low} on, and the {rows} messages shown do not fit the "
        "digest that the platform gave of them",
    },
)
