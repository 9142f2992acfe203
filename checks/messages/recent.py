"""I44: a read shows every message that was acknowledged to any device before the read was requested.

Messages of other devices may be recorded in other journals. So reads and acknowledgements are compared at the end, by
time, with the bound of the hosts' clocks.
"""

from __future__ import annotations

import numpy as np

from earwitness.checks.contract import Contract
from earwitness.checks.engine.compiled import kernel
from earwitness.checks.engine.fold import FINDINGS, PENDING, Described, End, Folding, finding
from earwitness.checks.engine.tables import REC_BITS, Array, Int
from earwitness.checks.engine.world import View, World, grown
from earwitness.checks.history.kinds import K_OK, K_READ
from earwitness.checks.roster import Roster
from earwitness.checks.verdict import Finding, Verdict

ACKED = np.dtype([("t", "<i8"), ("seq", "<i8"), ("rec", "<i8")])
"""First acknowledgement of a message that states its number.

`t`: time in ns + 1, 0: none. `seq`: the number. `rec`: reference of the record.
"""
LOOKED = np.dtype([("t", "<i8"), ("seq", "<i8"), ("rec", "<i8"), ("sub", "<i8")])
"""Read of a history.

`t`: when it was requested (ns). `seq`: the highest number that it showed. `rec`: reference of the record. `sub`: number
of the subscription of the device in the conversation.
"""


@kernel
def recent_step(
    records: Array, journal: Int, mids: Array, subs: Array, acked: Array, looked: Array, used: Array
) -> None:
    """Store for each message its first acknowledgement with a number, and store all reads.

    `mids`, `subs`: by record its message and subscription, -1: none. `acked`: ACKED by message, whose times are ns + 1.
    `looked`: LOOKED rows (ns), `used[0]` of them in use. `aux` of a READ is its duration in µs.

    Acknowledgements and reads of one conversation are in several journals, which are read in any order, so nothing can
    be compared here. One row for each message is the least that a later comparison needs: `finish` sorts the rows by
    time and takes the running maximum of numbers, so each read costs one binary search. Of two acknowledgements at the
    same time the lower number is kept, which makes the result independent of the order of reading.
    """
    for i in range(len(records)):
        r = records[i]
        kind = r["kind"]
        rec = (np.int64(journal) << REC_BITS) | np.int64(r["index"])
        if kind == K_OK and mids[i] >= 0 and r["seq"] >= 0:
            a = acked[mids[i]]
            # Time + 1, so that 0 means none. Ties go to the lower number, whatever the order of reading.
            t = r["t"] + 1
            if a["t"] == 0 or t < a["t"] or (t == a["t"] and r["seq"] < a["seq"]):
                a["t"] = t
                a["seq"] = r["seq"]
                a["rec"] = rec
        elif kind == K_READ and subs[i] >= 0:
            row = looked[used[0]]
            used[0] += 1
            # The time of asking: only what was acknowledged before must be shown.
            row["t"] = r["t"] - (1000 * r["aux"] if r["aux"] > 0 else 0)
            row["seq"] = r["seq"]
            row["rec"] = rec
            row["sub"] = subs[i]


class RecentReads(Folding):
    """State of I44: a history read shows every message acknowledged to any device before the read was requested.

    Not a violation: an acknowledgement that came later, or not surely earlier by the bound of the hosts' clocks; one
    without a number. Examined: reads before which something had been acknowledged.
    """

    def __init__(self, check: Described, roster: Roster, contract: Contract) -> None:
        """Start without acknowledgements and reads."""
        super().__init__(check, roster, contract)
        self._acked = np.zeros(64, ACKED)
        self._looked = np.zeros(64, LOOKED)
        self._used = np.zeros(1, np.int64)

    def step(self, view: View) -> None:
        """Implement `Fold.step`: store acknowledgements and reads."""
        self._acked = grown(self._acked, view.world.mids)
        self._looked = grown(self._looked, int(self._used[0]) + len(view.records))
        recent_step(view.records, view.journal, view.mid, view.sub, self._acked, self._looked, self._used)

    def peek(self, world: World) -> Verdict:
        """Implement `Fold.peek`: always UNKNOWN, because reads are compared at the end."""
        return self.conclude(unknown=PENDING)

    def finish(self, end: End) -> Verdict:
        """Implement `Fold.finish`: compare the reads of each conversation with the acknowledgements before them."""
        bound = end.clock_bound_ns()
        if bound is None:
            return self.conclude(unknown="the journals come from several hosts, and their clocks were not compared")
        world = end.world
        messages = world.messages()
        acked = self._acked[: len(messages)]
        told = np.flatnonzero((acked["t"] > 0) & (messages["conv"] >= 0))
        told = told[np.lexsort((acked["seq"][told], acked["t"][told], messages["conv"][told]))]
        looked = self._looked[: int(self._used[0])]
        convs = world.tables.sub_conv[looked["sub"]]
        examined = 0
        bad: list[tuple[int, int, int, int]] = []
        for conv in np.unique(convs):
            begin, end_ = np.searchsorted(messages["conv"][told], (conv, conv + 1))
            reads, mids = looked[convs == conv], told[begin:end_]
            before = np.searchsorted(acked["t"][mids], reads["t"] + 1 - bound, side="right")
            reads, before = reads[before > 0], before[before > 0]
            examined += len(reads)
            bad += _behind(reads, before, acked[mids], mids)
        findings = [self._finding(world, row) for row in sorted(bad)[:FINDINGS]]
        return self.conclude(findings, examined=examined, violations=len(bad))

    def _finding(self, world: World, bad: tuple[int, int, int, int]) -> Finding:
        rec, mid, seq, sub = bad
        w, a = world.tables, self._acked[mid]
        row = [0, 0, 0, int(w.sub_client[sub]), mid, -1, int(w.sub_conv[sub]), 0, 0]
        return finding(world, "old", row, int(a["rec"]), rec, at=rec, seq=seq, other_seq=int(a["seq"]))


def _behind(reads: Array, before: Array, acked: Array, mids: Array) -> list[tuple[int, int, int, int]]:
    """Return (record, message, number shown, subscription) of reads that show less than was acknowledged before.

    `reads`: LOOKED rows. `acked`, `mids`: ACKED rows of the conversation sorted by time, and their messages. `before`:
    for each read, how many of these rows precede it (1 or more). The message is the first in `mids` whose
    acknowledgement stated the number that was to be shown.
    """
    highest = np.maximum.accumulate(acked["seq"])
    wanted = highest[before - 1] if len(before) else before
    return [
        (
            int(reads[at]["rec"]),
            int(mids[np.searchsorted(highest, wanted[at])]),
            int(reads[at]["seq"]),
            int(reads[at]["sub"]),
        )
        for at in np.flatnonzero(reads["seq"] < wanted)
    ]


RECENT_READS = Described(
    id="I44",
    name="recent-reads",
    title="Did every read show all messages acknowledged before it?",
    unit="reads after an acknowledgement",
    symptom="Reads lacked messages that had been acknowledged before",
    fold=RecentReads,
    when=lambda contract: contract.recent_reads and contract.history and contract.sequence != "none",
    sentences={
        "old": "{who} read {where} up to number {seq}; number {other_seq}, {message}, had been acknowledged before",
    },
)
