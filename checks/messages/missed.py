"""Messages that a connection missed: it stood open until their deadline, and they never came on it.

Each subscription on each connection (slot) is compared with the messages of its conversation. Bits of what came on
which slot are kept by `checks.engine.resolve`; only a device that reconnects needs more: the time at which it received
a message that had been sent before it joined again, because a resumed message that comes after its deadline was missed
while the earlier connection stood open.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from earwitness.checks.engine.compiled import helper, kernel
from earwitness.checks.engine.fold import FINDINGS
from earwitness.checks.engine.resolve import HEARD_BEFORE
from earwitness.checks.engine.tables import REC_BITS, SPAN, SPAN_BITS, TAG_SLOT_PAGE, Array, Int, Tables, find, heard
from earwitness.checks.engine.world import View, World, grown
from earwitness.checks.history.kinds import LISTENED

MISSED = np.dtype([("slot", "<i8"), ("mid", "<i8"), ("rec", "<i8")])
"""rec: the record of a delivery that came after the deadline on a later connection, 0: none came."""

RESUMED = np.dtype([("sub", "<i8"), ("mid", "<i8"), ("t", "<i8"), ("rec", "<i8")])


@kernel
def resumed_step(
    records: Array,
    journal: Int,
    mids: Array,
    subs: Array,
    slots: Array,
    seen: Array,
    firsts: Array,
    kept: Array,
    used: Array,
) -> None:
    """Keep first deliveries to a device on another than its first connection. firsts: SUB rows with first slots."""
    for i in range(len(records)):
        r = records[i]
        if not 1 << np.int64(r["kind"]) & LISTENED or mids[i] < 0 or slots[i] < 0 or seen[i] & HEARD_BEFORE:
            continue
        if firsts[subs[i]]["first"] == slots[i]:
            continue
        row = kept[used[0]]
        used[0] += 1
        row["sub"] = subs[i]
        row["mid"] = mids[i]
        row["t"] = r["t"]
        row["rec"] = (np.int64(journal) << REC_BITS) | np.int64(r["index"])


@helper
def where_of(keys: Array, key: Int) -> Int:
    """Place of `key` in ascending `keys`, -1 if it is not there."""
    low, high = np.int64(0), np.int64(len(keys))
    while low < high:
        middle = (low + high) >> 1
        if keys[middle] < key:
            low = middle + 1
        else:
            high = middle
    if low < len(keys) and keys[low] == key:
        return low
    return -1


@helper
def came_on(w: Tables, slot: Int, sub: Int, pos: Int) -> Any:
    """The message at `pos` was delivered live on this slot."""
    number = pos >> SPAN_BITS
    word = (pos & (SPAN - 1)) >> 6
    bit = np.uint64(1) << np.uint64(pos & 63)
    if w.subs[sub]["first"] == slot:
        page = heard(w, sub, number)
        return page >= 0 and w.sub_bits[page, 3 * word + 1] & bit != 0
    page = find(w, TAG_SLOT_PAGE | (slot << 28) | number)
    return page >= 0 and w.slot_bits[page, word] & bit != 0


@kernel
def missed_step(
    w: Tables, first: Array, mids: Array, deadlines: Array, times: Array, keys: Array, kept: Array, owed: Array,
    out: Array, found: Array, totals: Array,
) -> None:  # fmt: skip
    """Compare slots with messages. first: by conversation, + 1, where its messages stand in `mids`.

    deadlines: by message, 0: nothing is owed. times: by slot (begin, end). keys, kept: RESUMED rows by sub << 32 | mid.
    owed, found: bool by message. totals[0]: rows of `out` that were needed; only as many as fit are written."""
    for slot in range(len(times)):
        begin, end = times[slot, 0], times[slot, 1]
        if end <= begin:
            continue
        sub = np.int64(w.slots[slot]["sub"])
        conv, client = w.sub_conv[sub], w.sub_client[sub]
        for k in range(first[conv], first[conv + 1]):
            mid = mids[k]
            if mid < 0 or deadlines[mid] == 0 or deadlines[mid] >= end or w.messages[mid]["invoke_t"] <= begin:
                continue
            author = w.messages[mid]["author_sub"]
            if author >= 0 and w.sub_client[author] == client:
                continue
            owed[mid] = True
            pos = np.int64(w.messages[mid]["pos"])
            if came_on(w, slot, sub, pos):
                continue
            at = where_of(keys, (sub << 32) | mid)
            rec: Any = np.int64(0)
            if at >= 0:
                if kept[at]["t"] <= deadlines[mid]:
                    continue
                rec = kept[at]["rec"]
            else:
                page = heard(w, sub, pos >> SPAN_BITS)
                bit = np.uint64(1) << np.uint64(pos & 63)
                if page >= 0 and w.sub_bits[page, 3 * ((pos & (SPAN - 1)) >> 6)] & bit != 0:
                    continue  # it came to this device otherwise: by a replay, or on a connection beside this one
            found[mid] = True
            if totals[0] < len(out):
                row = out[totals[0]]
                row["slot"] = slot
                row["mid"] = mid
                row["rec"] = rec
            totals[0] += 1


class Resumed:
    """First deliveries to devices on further connections, kept while stepping."""

    def __init__(self) -> None:
        self._kept = np.zeros(256, RESUMED)
        self._used = np.zeros(1, np.int64)

    def step(self, view: View) -> None:
        """Keep those of a chunk."""
        self._kept = grown(self._kept, int(self._used[0]) + len(view.records))
        columns = view.mid, view.sub, view.slot, view.seen, view.world.tables.subs
        resumed_step(view.records, view.journal, *columns, self._kept, self._used)

    def by_key(self) -> tuple[Array, Array]:
        """Return the keys (sub << 32 | mid) in ascending order, and their rows."""
        kept = self._kept[: int(self._used[0])]
        keys = (kept["sub"] << 32) | kept["mid"]
        order = np.argsort(keys, kind="stable")
        return keys[order], kept[order]


@dataclass(frozen=True, slots=True)
class Missed:
    """owed: bool by message. mids: the messages that a connection missed. rows: the first few, as MISSED."""

    owed: Array
    mids: Array
    rows: Array
    total: int


def missed_by_slot(world: World, times: Array, resumed: Resumed, deadlines: Array) -> Missed:
    """Compare what each connection owed with what came on it. times: by slot (begin, end); deadlines: by message."""
    w, messages = world.tables, world.messages()
    first = np.concatenate([[0], np.cumsum(w.conv_next)]).astype(np.int64)
    known = np.flatnonzero(messages["conv"] >= 0)
    mids = np.full(int(first[-1]), -1, np.int64)
    mids[first[messages["conv"][known]] + messages["pos"][known]] = known
    owed, found = np.zeros(len(messages), bool), np.zeros(len(messages), bool)
    out, totals = np.zeros(FINDINGS, MISSED), np.zeros(1, np.int64)
    missed_step(w, first, mids, deadlines, times, *resumed.by_key(), owed, out, found, totals)
    count = int(totals[0])
    return Missed(owed, np.flatnonzero(found), out[: min(count, FINDINGS)], count)
