"""I25: a message is delivered within a bounded time after its acknowledgement.

There are two ways to break the bound. *Late*: a device received the message after its deadline, on the connection on
which the device was waiting (counted while records are read). *Missed*: a connection was open until the deadline and
the message did not come on it (found at the end, `checks.messages.missed`). What happens to the connection after the
deadline excuses nothing.
"""

from __future__ import annotations

import numpy as np

from earwitness.checks.contract import Contract
from earwitness.checks.engine.compiled import helper, kernel
from earwitness.checks.engine.duties import Duties
from earwitness.checks.engine.fault_windows import FaultLog, Window, overlaps, widened
from earwitness.checks.engine.fold import FINDINGS, GROUP, LACKS_FAULTS, Described, End, Folding, finding
from earwitness.checks.engine.resolve import HEARD_BEFORE
from earwitness.checks.engine.tables import INVOKED, REC_BITS, Array, Int
from earwitness.checks.engine.world import View, World, grown
from earwitness.checks.history.kinds import K_JOIN, K_LEAVE, K_OK, K_PHASE, LISTENED
from earwitness.checks.history.record import Flag, Phase
from earwitness.checks.messages.missed import Missed, Resumed, missed_by_slot
from earwitness.checks.roster import Roster
from earwitness.checks.tester.health import LAG_BOUND_MS, held_up_ns, lag_p99_ms, longest_lag_ns
from earwitness.checks.verdict import Doubt, Finding, Verdict

NEVER = np.iinfo(np.int64).max
CONTINUED = int(Flag.CONTINUED)
DRAIN = int(Phase.DRAIN)

HEARING = np.dtype([("acked", "<i8"), ("earliest", "<i8"), ("t", "<i8"), ("rec", "<i8"), ("since", "<i8")])
"""Acknowledgement and deliveries of one message; times in ns + 1, 0 is none.

acked     time of the message's first OK
earliest  earliest JOIN of the devices that received the message
t, rec    time and record of its latest delivery to a device that had joined before the sending
since     when that device had joined
"""

WAITING = np.dtype([("mid", "<i8"), ("t", "<i8"), ("since", "<i8"), ("rec", "<i8")])
"""Delivery of a message whose sending has not been read yet; times in ns + 1.

`mid`: number of the message. `t`, `rec`: time and record of the delivery. `since`: when the device had joined.
"""
SETTLE = 1 << 17
"""Number of deliveries in the list of WAITING rows from which on `step` calls `settle` to shorten it."""


@helper
def heard_at(h: Array, t: Int, rec: Int, since: Int) -> None:
    """Set the latest delivery in `h`, a message's HEARING row, to one at `t` if that is later than the one in `h`.

    `rec`: reference of the delivery's record. `since`: when the device had joined. Times are ns + 1. Of two deliveries
    at the same time the one with the higher record reference is stored.
    """
    # The order of reading must not show in the verdict: the journals of a run come in batches, in any order.
    if t > h["t"] or (t == h["t"] and rec > h["rec"]):
        h["t"] = t
        h["rec"] = rec
        h["since"] = since


@kernel
def settle(waiting: Array, messages: Array, hearings: Array, used: Array) -> None:
    """Move the deliveries in `waiting` whose sending has been read by now into `hearings`, and the others to the front.

    A delivery to a device that joined after the sending is dropped. `waiting`: WAITING rows, `used[0]` of them in use
    before and after. `messages`: MESSAGE rows. `hearings`: HEARING by message.

    The array is compacted in place: `left` never passes `i`, so a row is copied only to a place that was already read.
    `LivenessBound.step` calls this when the list has grown past a threshold, and sets that to SETTLE plus twice
    what remained. So the cost stays linear even if many sendings are in a journal that is read last.
    """
    left = 0
    for i in range(used[0]):
        row = waiting[i]
        m = messages[row["mid"]]
        if not m["flags"] & INVOKED:
            # `left` ≤ `i`: only rows that were already read are overwritten.
            waiting[left] = row
            left += 1
        elif row["since"] < m["invoke_t"] + 1:
            heard_at(hearings[row["mid"]], row["t"], row["rec"], row["since"])
    used[0] = left


@kernel
def hearings_step(
    records: Array,
    journal: Int,
    mids: Array,
    slots: Array,
    seen: Array,
    bound: Int,
    since: Array,
    messages: Array,
    hearings: Array,
    waiting: Array,
    used: Array,
    drain: Array,
) -> None:
    """Store by message the time of its acknowledgement and of its latest delivery to a device that had joined before.

    `mids`, `slots` (-1: none) and `seen` (bits) belong to the records; a slot is a subscription on one connection.
    `bound`: the contract's, in ns. `messages`: MESSAGE rows. Updated are `since` (by slot, time of joining + 1, 0: not
    subscribed), `hearings` (HEARING by message), `waiting` with `used[0]` rows (see `settle`), and `drain` (earliest
    time of DRAIN). All times are ns + 1 except `drain`, so that 0 means none in zeroed arrays.

    Only the latest delivery matters: if it is in time, all are. So a message costs one row of 40 bytes, whatever the
    number of its receivers. A delivery within `bound` of the device's joining cannot be late, because the device joined
    before the sending, which was before the acknowledgement; it needs no row. Whether the device had joined before the
    sending is known only when the sending was read, possibly in another journal; until then the delivery is a row of
    `waiting`. Repetitions (HEARD_BEFORE) and the author's own device are skipped.
    """
    for i in range(len(records)):
        r = records[i]
        kind = np.int64(r["kind"])
        t = r["t"] + 1
        if 1 << kind & LISTENED:
            if mids[i] < 0 or slots[i] < 0 or seen[i] & HEARD_BEFORE or r["client"] == r["author"]:
                continue
            joined = since[slots[i]]
            if joined == 0:
                continue
            h = hearings[mids[i]]
            if h["earliest"] == 0 or joined < h["earliest"]:
                h["earliest"] = joined
            rec = (np.int64(journal) << REC_BITS) | np.int64(r["index"])
            # In time if the device was waiting at all: then sending and acknowledgement came after its joining.
            if t - joined <= bound:
                continue
            m = messages[mids[i]]
            # Whether the device had joined before the sending is not known until that is read.
            if not m["flags"] & INVOKED:
                row = waiting[used[0]]
                used[0] += 1
                row["mid"] = mids[i]
                row["t"] = t
                row["since"] = joined
                row["rec"] = rec
            elif joined < m["invoke_t"] + 1:
                heard_at(h, t, rec, joined)
        elif kind == K_OK:
            if mids[i] >= 0:
                h = hearings[mids[i]]
                if h["acked"] == 0 or t < h["acked"]:
                    h["acked"] = t
        elif kind == K_JOIN:
            # A JOIN that continues a subscription leaves its first time: the device was waiting all along.
            if slots[i] >= 0 and (since[slots[i]] == 0 or not r["flags"] & CONTINUED):
                since[slots[i]] = t
        elif kind == K_LEAVE:
            if slots[i] >= 0:
                since[slots[i]] = 0
        elif kind == K_PHASE and r["counter"] == DRAIN:
            drain[0] = min(drain[0], r["t"])


class LivenessBound(Folding):
    """State of I25: a subscribed device receives a message within the contract's bound after its acknowledgement.

    The device must have been subscribed from before the sending. Counted are messages. Not judged:

    - A message, if a fault was on between its sending and its deadline.
    - A message on its author's own device.
    - A late delivery, if DRAIN came before the deadline.
    - A missing delivery, if the connection ended or the device left the conversation before the deadline, or if the
      device's journal lacks its end.
    """

    def __init__(self, check: Described, roster: Roster, contract: Contract) -> None:
        """Read the bound (ns) from `contract.delivery_bound_s`. Nothing is judged if that is None."""
        super().__init__(check, roster, contract)
        self.judged = np.zeros(0, np.int64)
        """Numbers of the messages that were examined; empty before `finish`."""
        bound_s = contract.delivery_bound_s
        self._bound = None if bound_s is None else int(bound_s * 1e9)
        self._since = np.zeros(1024, np.int64)
        self._hearings = np.zeros(64, HEARING)
        self._waiting = np.zeros(64, WAITING)
        self._used = np.zeros(1, np.int64)
        self._settle_at = SETTLE
        self._drain = np.array([NEVER], np.int64)
        self._faults = FaultLog()
        self._times = Duties()
        self._resumed = Resumed()

    def step(self, view: View) -> None:
        """Implement `Fold.step`: store acknowledgements, deliveries, faults, connection times and resumed messages."""
        if self._bound is None:
            return
        self._since = grown(self._since, view.world.slots)
        self._hearings = grown(self._hearings, view.world.mids)
        columns = view.mid, view.slot, view.seen
        messages = view.world.tables.messages
        if self._used[0] > self._settle_at:
            settle(self._waiting, messages, self._hearings, self._used)
            self._settle_at = SETTLE + 2 * int(self._used[0])
        self._waiting = grown(self._waiting, int(self._used[0]) + len(view.records))
        state = self._since, messages, self._hearings, self._waiting, self._used, self._drain
        hearings_step(view.records, view.journal, *columns, self._bound, *state)
        self._faults.step(view)
        self._times.step(view)
        self._resumed.step(view)

    def peek(self, world: World) -> Verdict:
        """Implement `Fold.peek`: always UNKNOWN, because lateness is decided at the end."""
        return self.conclude(unknown="lateness is decided at the end")

    def finish(self, end: End) -> Verdict:
        """Implement `Fold.finish`: look for late and missed messages.

        UNKNOWN without a bound, if clocks were not compared, or if faults are missing from the record. UNKNOWN also if
        messages seem late and the tester itself may be the cause: its loop lag was above the bound, or it was behind in
        reading.
        """
        if self._bound is None:
            return self.conclude(unknown="the contract states no bound")
        clocks, lag = end.clock_bound_ns(), lag_p99_ms(end)
        if clocks is None:
            return self.conclude(unknown="the journals come from several hosts, and their clocks were not compared")
        if end.lacks_faults:
            return self.conclude(unknown=LACKS_FAULTS.format("what seems late"))
        world, bound = end.world, self._bound + clocks
        faults = widened(self._faults.windows(), clocks)
        seeming, judged = self._late(world, bound, clocks, faults)
        late, missed, doubt = self._proven(end, bound, clocks, faults, seeming)
        lag_bound = float(end.facts.get("lag_bound_ms", LAG_BOUND_MS))
        if lag is not None and lag > lag_bound:
            late = late[:0]
            text = f"loop lag p99 was {lag:.0f} ms (bound {lag_bound:.0f} ms); {{n}} messages seem late"
            doubt = Doubt(text, len(seeming), doubt)
        findings = [self._finding(world, int(mid)) for mid in late[:FINDINGS]]
        findings += [_missed(world, row) for row in missed.rows]
        self.judged = np.flatnonzero(judged | missed.owed)
        return self.conclude(
            findings[:FINDINGS],
            examined=len(self.judged),
            violations=len(np.unique(np.concatenate([late, missed.mids]))),
            unknown=doubt,
        )

    def _proven(
        self, end: End, bound: int, clocks: int, faults: list[Window], seeming: Array
    ) -> tuple[Array, Missed, Doubt]:
        """Return (numbers of late messages, missed messages, doubt about others that seem late).

        What may have been late only because the tester was behind in reading is in doubt. `bound`, `clocks`: in ns.
        `faults`: when faults may have been on. `seeming`: numbers of the messages that were recorded late.
        """
        world, held = end.world, held_up_ns(end)
        times = self._times.open_until(end, clocks)
        deadlines = self._deadlines(world, bound, longest_lag_ns(end), faults)
        times[times[:, 1] > 0] += (clocks, -clocks)  # what certainly was after the beginning and before the end
        h = self._hearings
        late = seeming[h["t"][seeming] > h["acked"][seeming] + bound + held]
        missed = missed_by_slot(world, times, self._resumed, deadlines)
        doubtful = len(seeming) - len(late)
        if held and missed.total:
            proven = missed_by_slot(world, times, self._resumed, np.where(deadlines > 0, deadlines + held, 0))
            doubtful += len(missed.mids) - len(proven.mids)
            missed = proven
        behind = f"a load process had more to read than it had read for {held / 1e9:.2f} s in all"
        return late, missed, Doubt(f"{behind}; {{n:,}} messages seem late", doubtful)

    def _deadlines(self, world: World, bound: int, lag_ns: int, faults: list[Window]) -> Array:
        """Return by message the time (ns) until which it had to be delivered, 0 where this is not judged.

        That is where it was not acknowledged, its sending is not on record, or a fault was on. `lag_ns`: how late the
        tester itself may have recorded a delivery.
        """
        messages = world.messages()
        acked = self._hearings[: len(messages)]["acked"]
        deadlines = np.where((acked > 0) & ((messages["flags"] & INVOKED) > 0), acked - 1 + bound + lag_ns, 0)
        which = np.flatnonzero(deadlines)
        disturbed = overlaps(faults, messages["invoke_t"][which], deadlines[which])
        deadlines[which[disturbed]] = 0
        result: Array = deadlines
        return result

    def _late(self, world: World, bound: int, clocks: int, faults: list[Window]) -> tuple[Array, Array]:
        """Return (numbers of late messages, sorted by the record of the delivery; bool by message: it was judged)."""
        messages = world.messages()
        settle(self._waiting, world.tables.messages, self._hearings, self._used)
        h = self._hearings[: len(messages)]
        invoked = messages["invoke_t"] + 1
        deadline = h["acked"] + bound
        judged = (h["acked"] > 0) & (h["earliest"] > 0) & (h["earliest"] + clocks < invoked)
        judged &= (messages["flags"] & INVOKED) > 0
        judged &= deadline - 1 < self._drain[0]
        which = np.flatnonzero(judged)
        which = which[~overlaps(faults, messages["invoke_t"][which], deadline[which] - 1)]
        judged[:] = False
        judged[which] = True
        late = which[(h["t"][which] > deadline[which]) & (h["since"][which] + clocks < invoked[which])]
        return late[np.argsort(h["rec"][late], kind="stable")], judged

    def _finding(self, world: World, mid: int) -> Finding:
        m, h = world.tables.messages[mid], self._hearings[mid]
        row = [0, 0, 0, -1, mid, -1, int(m["conv"]), 0, 0]
        late_ms = int(h["t"] - h["acked"]) // 1_000_000
        rec = int(h["rec"])
        return finding(world, "late", row, int(m["invoke_rec"]), rec, at=rec, low=late_ms, seq=int(m["seq"]))


def _missed(world: World, row: Array) -> Finding:
    w, slot, mid = world.tables, int(row["slot"]), int(row["mid"])
    sub = int(w.slots[slot]["sub"])
    m = w.messages[mid]
    told = [0, 0, 0, int(w.sub_client[sub]), mid, -1, int(w.sub_conv[sub]), 0, 0]
    records = int(m["invoke_rec"]), int(m["seq_rec"]), int(row["rec"])
    # Slots are compared by subscription, so this is the order in which misses are found.
    what = "missed-then" if row["rec"] else "missed"
    return finding(world, what, told, *records, at=GROUP + sub, seq=int(m["seq"]))


LIVENESS_BOUND = Described(
    id="I25",
    name="liveness-bound",
    title="Did every subscribed member receive each message in time?",
    unit="messages",
    symptom="Messages reached waiting devices later than promised, or never",
    fold=LivenessBound,
    when=lambda contract: contract.delivery_bound_s is not None,
    tally="{violations} of {examined} messages came later than promised, or never",
    sentences={
        "late": "{message} was delivered in {where} {low} ms after it was acknowledged, later than promised",
        "missed": "{who} was connected to {where} until after the deadline of {message}, and never received it",
        "missed-then": "{who} was connected to {where} until after the deadline of {message}, and received it "
        "only later, on another connection",
    },
)
