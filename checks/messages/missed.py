"""Messages that a connection missed: it was open until their deadline, and did not receive them.

Each slot (a subscription on one connection) is compared with the messages of its conversation. The bit pages of
`checks.engine.resolve` say which message came on which slot, but not when. The time matters only where a device
reconnected: a message that came on its later connection, after the deadline, was missed by the earlier connection. So
the times of such deliveries are kept here.
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
"""Row of a message that a slot missed.

slot, mid  numbers of the slot and of the message
rec        reference of a delivery on a later connection, after the deadline; 0: none came
"""

RESUMED = np.dtype([("sub", "<i8"), ("mid", "<i8"), ("t", "<i8"), ("rec", "<i8")])
"""First delivery of a message to a device, on another connection than the device's first one.

`sub`, `mid`: numbers of the subscription and of the message. `t`: time in ns. `rec`: reference of the delivery.
"""


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
    """Append to `kept` a RESUMED row for each message that reached a device for the first time, on a later slot.

    `records`: a chunk of the journal `journal`; `mids`, `subs`, `slots` (-1: none) and `seen` (bits) belong to its
    records, as `checks.engine.resolve` sets them. `firsts`: SUB rows; a later slot is any other than the subscription's
    `first`. `used[0]`: number of rows of `kept` in use, increased here. The caller makes sure that `kept` has room for
    `len(records)` more.

    The bit pages say that a message came, not when. The time matters only for a device with a second connection, where
    a message may have come too late on a later one. So times are kept only there, as an unsorted list of at most one
    row for each message and device (HEARD_BEFORE skips the others); `Resumed.by_key` sorts the list once.
    """
    for i in range(len(records)):
        r = records[i]
        if not 1 << np.int64(r["kind"]) & LISTENED or mids[i] < 0 or slots[i] < 0 or seen[i] & HEARD_BEFORE:
            continue
        # Nothing was resumed on a device's first connection, so bits are enough there.
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
    """Return the position of `key` in ascending `keys`, -1 if it is not in them."""
    low, high = np.int64(0), np.int64(len(keys))
    # Keys before `low` are smaller than `key`, those from `high` on are not.
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
    """Return whether the message at position `pos` of its conversation was delivered live on the slot `slot`.

    `sub` is the slot's subscription. The bits of a subscription's first slot are in the subscription's page, those of
    later slots in pages of their own (see `checks.engine.resolve.mark`).
    """
    number = pos >> SPAN_BITS
    word = (pos & (SPAN - 1)) >> 6
    bit = np.uint64(1) << np.uint64(pos & 63)
    if w.subs[sub]["first"] == slot:
        page = heard(w, sub, number)
        return page >= 0 and w.sub_bits[page, 3 * word + 1] & bit != 0
    # A later slot; without a page (-1) nothing of this span came on it.
    page = find(w, TAG_SLOT_PAGE | (slot << 28) | number)
    return page >= 0 and w.slot_bits[page, word] & bit != 0


@kernel
def missed_step(
    w: Tables, first: Array, mids: Array, deadlines: Array, order: Array, times: Array, keys: Array, kept: Array,
    owed: Array, out: Array, found: Array, totals: Array,
) -> None:  # fmt: skip
    """Compare each slot with the messages of its conversation, and record those that it had to receive and did not.

    Read are `first` and `mids` (as in `checks.messages.delivered.absences`), `deadlines` (by message in ns, 0: no slot
    had to receive it), `order` (slot numbers sorted by subscription), `times` (by slot its begin and end in ns), and
    `keys`, `kept` (as `Resumed.by_key` returns them). Written are `owed` (bool by message: some slot had to receive
    it), `found` (bool by message: some slot missed it), `totals[0]` (number of misses of all slots) and `out` (MISSED
    rows, as many as fit).

    A slot had to receive a message that was sent after the slot joined and whose deadline is before the slot's end. The
    cheap tests come first: times, then the slot's bit, then the time of a delivery on a later slot by binary search in
    the sorted keys, then the device's bit (a replay, or a parallel connection). Results are bits by message, since the
    contract is about messages, and many slots may miss the same one.
    """
    for slot in order:
        begin, end = times[slot, 0], times[slot, 1]
        if end <= begin:
            continue
        sub = np.int64(w.slots[slot]["sub"])
        conv, client = w.sub_conv[sub], w.sub_client[sub]
        for k in range(first[conv], first[conv + 1]):
            mid = mids[k]
            # Owed only if sent after this slot joined, and due before it ended.
            if mid < 0 or deadlines[mid] == 0 or deadlines[mid] >= end or w.messages[mid]["invoke_t"] <= begin:
                continue
            author = w.messages[mid]["author_sub"]
            # The author's own device has the message; whether it gets an echo is not judged here.
            if author >= 0 and w.sub_client[author] == client:
                continue
            owed[mid] = True
            pos = np.int64(w.messages[mid]["pos"])
            if came_on(w, slot, sub, pos):
                continue
            at = where_of(keys, (sub << 32) | mid)
            rec: Any = np.int64(0)
            # It came on a later connection: in time it excuses this slot, after the deadline it does not.
            if at >= 0:
                if kept[at]["t"] <= deadlines[mid]:
                    continue
                rec = kept[at]["rec"]
            else:
                page = heard(w, sub, pos >> SPAN_BITS)
                bit = np.uint64(1) << np.uint64(pos & 63)
                if page >= 0 and w.sub_bits[page, 3 * ((pos & (SPAN - 1)) >> 6)] & bit != 0:
                    continue  # it came to this device by a replay, or on a parallel connection
            found[mid] = True
            if totals[0] < len(out):
                row = out[totals[0]]
                row["slot"] = slot
                row["mid"] = mid
                row["rec"] = rec
            totals[0] += 1


class Resumed:
    """Collector of the deliveries by which a message first reaches a device, on a later connection of that device."""

    def __init__(self) -> None:
        """Start without deliveries."""
        self._kept = np.zeros(256, RESUMED)
        self._used = np.zeros(1, np.int64)

    def step(self, view: View) -> None:
        """Store the first deliveries in the chunk `view` that came on a later connection of their device."""
        self._kept = grown(self._kept, int(self._used[0]) + len(view.records))
        columns = view.mid, view.sub, view.slot, view.seen, view.world.tables.subs
        resumed_step(view.records, view.journal, *columns, self._kept, self._used)

    def by_key(self) -> tuple[Array, Array]:
        """Return (keys, rows): the keys (sub << 32 | mid) in ascending order as int64, and the RESUMED row of each."""
        kept = self._kept[: int(self._used[0])]
        keys = (kept["sub"] << 32) | kept["mid"]
        order = np.argsort(keys, kind="stable")
        return keys[order], kept[order]


@dataclass(frozen=True, slots=True)
class Missed:
    """Result of `missed_by_slot`.

    owed   bool by message: some connection had to receive it
    mids   ascending numbers of the messages that at least one connection missed
    rows   MISSED rows of the first misses found, at most FINDINGS
    total  number of misses; a message that two slots missed counts twice
    """

    owed: Array
    mids: Array
    rows: Array
    total: int


def missed_by_slot(world: World, times: Array, resumed: Resumed, deadlines: Array) -> Missed:
    """Return the messages that each slot (a subscription on one connection) had to receive and did not.

    `times`: int64 array (slot, 2) of begin and end in ns. `resumed`: collector that has read all records. `deadlines`:
    by message the time in ns until which it had to come, 0 if no slot had to receive it.
    """
    w, messages = world.tables, world.messages()
    first = np.concatenate([[0], np.cumsum(w.conv_next)]).astype(np.int64)
    known = np.flatnonzero(messages["conv"] >= 0)
    mids = np.full(int(first[-1]), -1, np.int64)
    mids[first[messages["conv"][known]] + messages["pos"][known]] = known
    owed, found = np.zeros(len(messages), bool), np.zeros(len(messages), bool)
    out, totals = np.zeros(FINDINGS, MISSED), np.zeros(1, np.int64)
    order = np.argsort(w.slots["sub"][: len(times)], kind="stable")
    missed_step(w, first, mids, deadlines, order, times, *resumed.by_key(), owed, out, found, totals)
    count = int(totals[0])
    return Missed(owed, np.flatnonzero(found), out[: min(count, FINDINGS)], count)
