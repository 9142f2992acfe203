"""I4: the sequence numbers that a connection receives of a conversation have no gap."""

from __future__ import annotations

import numpy as np

from earwitness.checks.contract import Contract
from earwitness.checks.engine.compiled import helper, kernel
from earwitness.checks.engine.fold import FINDINGS, Described, End, Folding, finding
from earwitness.checks.engine.resolve import AGAIN_HERE
from earwitness.checks.engine.tables import INVOKED, REC_BITS, Array, Int, Tables
from earwitness.checks.engine.world import View, World, grown
from earwitness.checks.history.kinds import K_DELIVER, K_REPLAY, LISTENED, MISROUTED
from earwitness.checks.history.record import Flag, Kind
from earwitness.checks.roster import Roster
from earwitness.checks.verdict import Doubt, Finding, Verdict

K_JOIN = int(Kind.JOIN)
K_LEAVE = int(Kind.LEAVE)
CONTINUED = int(Flag.CONTINUED)

STATE = np.dtype([("last", "<i8"), ("rec", "<i8"), ("newest", "<i4"), ("started", "u1"), ("continued", "u1")])
"""Progress of one slot (a subscription on one connection).

last, rec  highest number received, and the reference of its record
newest     index + 1 in the list of gaps of the slot's latest gap, 0: none
started    1: the starting point is known, so numbers are compared
continued  1: the slot's JOIN had the flag CONTINUED
"""

GAP = np.dtype(
    [
        ("low", "<i8"),
        ("high", "<i8"),
        ("left", "<i8"),
        ("slot", "<i4"),
        ("older", "<i4"),
        ("before", "<i8"),
        ("after", "<i8"),
        ("fill", "<i8"),
    ]
)
"""Numbers `low` … `high` that were skipped on a slot; `left` counts those of them that have not come since.

older          index + 1 of the gap of the same slot before this one, 0: none
before, after  references of the records on both sides of the jump
fill           reference of the latest record with a number of the gap, 0: none came
"""


@helper
def fill(states: Array, gaps: Array, slot: Int, seq: Int, rec: Int) -> None:
    """Count the late sequence number `seq` as filling the gap of its slot that contains it, if there is one.

    states  STATE rows by slot; only read
    gaps    GAP rows of all slots; the row found is updated
    slot    number of a subscription on one connection
    seq     at or below the highest number received on the slot
    rec     reference of the record that carries `seq`

    Gaps of a slot form a linked list from the newest to the oldest, with descending ranges. Late numbers mostly belong
    to the newest gap, so the walk is short, and it ends at the first gap that begins at or below the number.
    """
    g = np.int64(states[slot]["newest"]) - 1
    # Gaps of a slot descend, so only the first one that begins at or below the number can contain it.
    while g >= 0:
        gap = gaps[g]
        if gap["low"] <= seq:
            if seq <= gap["high"] and gap["left"] > 0:
                gap["left"] -= 1
                gap["fill"] = rec
            return
        g = np.int64(gap["older"]) - 1


@helper
def jump(states: Array, gaps: Array, slot: Int, seq: Int, rec: Int, used: Array) -> None:
    """Append a gap between the slot's highest number and `seq`, as the newest of its slot.

    `states`: STATE rows by slot. `gaps`: GAP rows with room for one more; `used[0]`: their number. `rec`: reference of
    the record with `seq`.

    The caller then sets the slot's highest number to `seq`, so gaps of a slot never overlap. Gaps of all slots share
    one array; `older` links those of one slot, because most slots have none and a list for each would waste memory.
    """
    s = states[slot]
    gap = gaps[used[0]]
    used[0] += 1
    gap["low"] = s["last"] + 1
    gap["high"] = seq - 1
    gap["left"] = seq - 1 - s["last"]
    gap["slot"] = slot
    gap["older"] = s["newest"]
    gap["before"] = s["rec"]
    gap["after"] = rec
    # Index + 1: in a zeroed array 0 means none.
    s["newest"] = used[0]


@kernel
def gaps_step(records: Array, journal: Int, slots: Array, seen: Array, states: Array, gaps: Array, used: Array) -> None:
    """Compare each number on a slot with the highest one before, and append a GAP row where numbers are skipped.

    `slots` (-1: none) and `seen` (bits) belong to the records, as `checks.engine.resolve` sets them. Updated are
    `states` (STATE by slot), `gaps` and `used` (number of gaps, number of deliveries examined). Numbers are those that
    the platform gives inside one conversation.

    Invariant: `last` is the highest number received on the slot since its starting point, and every number between
    start and `last` was received or lies in a gap of the slot, except across a replay without CONTINUED. So a delivery
    is compared with one number only; no set of received numbers is kept. The starting point is the head stated on JOIN,
    or without one the first live delivery; replays before it are not compared. A jump by REPLAY counts only after
    CONTINUED, since elsewhere history may be shown in part. A number that came on this slot before (AGAIN_HERE) fills
    no gap. After JOIN and LEAVE old gaps stay recorded, but are not filled any more.
    """
    for i in range(len(records)):
        slot = np.int64(slots[i])
        if slot < 0:
            continue
        r = records[i]
        kind = r["kind"]
        s = states[slot]
        seq = r["seq"]
        rec = (np.int64(journal) << REC_BITS) | np.int64(r["index"])
        if 1 << np.int64(kind) & LISTENED:
            if seq < 0 or r["flags"] & MISROUTED:
                continue
            # No head was stated on JOIN: the first live number is the starting point, and history before it says
            # nothing.
            if s["started"] == 0:
                if kind == K_REPLAY:
                    continue
                s["started"] = 1
            else:
                used[1] += 1
                if seq <= s["last"]:
                    # A number that came on this slot before fills nothing: its place in a gap is counted only once.
                    if not seen[i] & AGAIN_HERE:
                        fill(states, gaps, slot, seq, rec)
                    continue
                if seq > s["last"] + 1 and (kind == K_DELIVER or s["continued"]):
                    jump(states, gaps, slot, seq, rec, used)
            s["last"] = seq
            s["rec"] = rec
        elif kind == K_JOIN:
            # A new starting point. Older gaps stay on record as they are; nothing fills them any more.
            s["started"] = 1 if seq >= 0 else 0
            s["continued"] = 1 if r["flags"] & CONTINUED else 0
            s["last"] = seq
            s["rec"] = rec
            s["newest"] = 0
        elif kind == K_LEAVE:
            s["started"] = 0
            s["continued"] = 0
            s["newest"] = 0


class GapFree(Folding):
    """State of I4: the sequence numbers of a conversation have no gap on each connection.

    Where the platform states a number on joining (the head), the numbers after it are checked; else those after the
    first live delivery.

    Not a violation: numbers from before the joining; a gap across LEAVE or another connection; a repeated number (I6);
    missing numbers of the device's own messages where the platform does not echo them. A jump counts once: *reorder* if
    all of its numbers came later, *open* if some of them never came.
    """

    def __init__(self, check: Described, roster: Roster, contract: Contract) -> None:
        """Start without gaps. The check judges only where `contract.sequence` is "contiguous"."""
        super().__init__(check, roster, contract)
        self._states = np.zeros(1024, STATE)
        self._gaps = np.zeros(1024, GAP)
        self._used = np.zeros(2, np.int64)
        self._judged = contract.sequence == "contiguous"

    def step(self, view: View) -> None:
        """Implement `Fold.step`: record jumps of numbers. Do nothing unless they are promised to be contiguous."""
        if not self._judged:
            return
        self._states = grown(self._states, view.world.slots)
        self._gaps = grown(self._gaps, int(self._used[0]) + len(view.records))
        gaps_step(view.records, view.journal, view.slot, view.seen, self._states, self._gaps, self._used)

    def peek(self, world: World) -> Verdict:
        """Implement `Fold.peek`: return the jumps so far.

        Each is a violation whether its gap is filled later or not. Where the platform does not echo, gaps that the
        receiver's own messages explain are left out.
        """
        return self._judge(world)

    def finish(self, end: End) -> Verdict:
        """Implement `Fold.finish`: return the jumps as `peek` does.

        Where a part of the record is missing and the platform does not echo, the receiver's own messages may have had
        numbers that are not on record. Gaps that those may explain are left out too, and make the verdict UNKNOWN.
        """
        return self._judge(end.world, partial=end.partial)

    def _judge(self, world: World, partial: bool = False) -> Verdict:
        if not self._judged:
            return self.conclude(unknown="the platform's numbers need not be contiguous")
        gaps = self._gaps[: int(self._used[0])]
        unsure = 0
        if not self.contract.echo and len(gaps):
            gaps = gaps[~_explained_by_own(world, gaps)]
            if partial:  # a missing journal may state further numbers of own messages
                unsure = len(gaps)
                gaps = gaps[~_explained_by_own(world, gaps, numbers_unknown=True)]
                unsure -= len(gaps)
        first = gaps[np.argsort(gaps["after"])[:FINDINGS]]
        still_open = int((gaps["left"] > 0).sum())
        return self.conclude(
            [_gap_finding(world, gap) for gap in first],
            examined=int(self._used[1]),
            violations=len(gaps),
            unknown=Doubt("{n} holes may be own messages whose numbers are not on record", unsure),
            facts={"open": still_open, "reorder": len(gaps) - still_open} if len(gaps) else None,
        )


def _explained_by_own(world: World, gaps: Array, *, numbers_unknown: bool = False) -> Array:
    """Return bool by gap: whether the receiver's own messages explain all of its missing numbers.

    The explained numbers are those of the receiver's own messages that lie in the gap, plus one for each own message
    without a number on record. `numbers_unknown`: count each own message as one without a number too, because another
    number of it may be missing from the record.
    """
    messages, tables = world.messages(), world.tables
    own = messages["author_sub"].astype(np.int64)
    numbered = (own >= 0) & (messages["seq"] >= 0)
    extra = world.extras()
    again = extra[own[extra[:, 0]] >= 0]
    keys = np.concatenate([own[numbered] << 40 | messages["seq"][numbered], own[again[:, 0]] << 40 | again[:, 1]])
    keys = np.unique(keys)
    unnumbered = (own >= 0) & ((messages["seq"] < 0) | numbers_unknown) & ((messages["flags"] & INVOKED) > 0)
    possible = np.bincount(own[unnumbered], minlength=world.members)
    sub = tables.slots["sub"][gaps["slot"]].astype(np.int64)
    inside = np.searchsorted(keys, sub << 40 | gaps["high"], "right") - np.searchsorted(keys, sub << 40 | gaps["low"])
    result: Array = gaps["high"] - gaps["low"] < inside + possible[sub]
    return result


def _gap_finding(world: World, gap: Array) -> Finding:
    tables: Tables = world.tables
    sub = int(tables.slots["sub"][gap["slot"]])
    row = [0, 0, 0, int(tables.sub_client[sub]), -1, -1, int(tables.sub_conv[sub]), 0, 0]
    what = "open" if gap["left"] else "reorder"
    records = int(gap["before"]), int(gap["after"]), int(gap["fill"])
    numbers = {"low": int(gap["low"]), "high": int(gap["high"]), "left": int(gap["left"])}
    return finding(world, what, row, *records, at=int(gap["after"]), **numbers)


GAP_FREE = Described(
    id="I4",
    name="gap-free",
    title="Did every connection receive each conversation's numbers without a gap?",
    unit="deliveries",
    symptom="Connections jumped over numbers of a conversation",
    fold=GapFree,
    when=lambda contract: contract.sequence == "contiguous",
    tally="{violations} of {examined} deliveries jumped over numbers: "
    "{reorder} jumps whose numbers came late, {open} whose numbers never came",
    sentences={
        "open": "{who} never received {range} of {where} on this connection: {left} missing after a jump",
        "reorder": "{who} received {range} of {where} only after later numbers",
    },
)
