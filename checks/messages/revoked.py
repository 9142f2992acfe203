"""I13: a device that lost a membership receives nothing of the conversation that was sent afterwards."""

from __future__ import annotations

import numpy as np

from earwitness.checks.contract import Contract
from earwitness.checks.engine.compiled import kernel
from earwitness.checks.engine.fault_windows import FaultLog, overlaps, widened
from earwitness.checks.engine.fold import FINDINGS, GROUP, PENDING, Described, End, Folding, finding
from earwitness.checks.engine.tables import INVOKED, REC_BITS, SPAN, SPAN_BITS, Array, Int, Tables, heard
from earwitness.checks.engine.world import View, World, grown
from earwitness.checks.history.kinds import K_DELIVER, K_JOIN, K_KICK, PUSHED
from earwitness.checks.roster import Roster
from earwitness.checks.tester.health import longest_lag_ns
from earwitness.checks.verdict import Finding, Verdict

NEVER = np.iinfo(np.int64).max
CHANGE = np.dtype([("sub", "<i4"), ("t", "<i8"), ("seq", "<i8"), ("rec", "<i8"), ("kick", "u1")])
"""Change of a subscription: a JOIN, or the loss of the membership.

`sub`: number of the subscription. `t`: time in ns. `seq`: head on joining. `rec`: reference of the record. `kick`: 1: a
loss, 0: a JOIN.
"""
KEPT = 1 << 12
"""Most deliveries that are kept for counterexamples."""
PUSH = np.dtype([("sub", "<i8"), ("t", "<i8"), ("rec", "<i8")])
"""Push of something other than a message to a subscription: its number, time in ns, and reference of the record."""
DELIVERY = np.dtype([("sub", "<i4"), ("mid", "<i4"), ("rec", "<i8")])
"""Delivery to a subscription that had lost its membership: numbers of subscription and message, and the record."""


@kernel
def changes_step(records: Array, journal: Int, subs: Array, changes: Array, used: Array) -> None:
    """Store every JOIN and every loss of membership (KICK) as a CHANGE row.

    `subs`: by record its subscription, -1: none. `used[0]`: number of rows of `changes` in use, increased here. Rows
    are unsorted and evaluated at the end: the load process that had a member removed records the KICK, so it may be in
    another journal than the deliveries, and only times compare the two. Both kinds of records are rare, a few for each
    subscription, so a list is smaller than a state for each subscription.
    """
    for i in range(len(records)):
        kind = records[i]["kind"]
        if subs[i] >= 0 and kind in (K_JOIN, K_KICK):
            # Not compared here: the KICK may stand in another journal than the member's JOIN.
            change = changes[used[0]]
            used[0] += 1
            change["sub"] = subs[i]
            change["t"] = records[i]["t"]
            change["seq"] = records[i]["seq"]
            change["rec"] = (np.int64(journal) << REC_BITS) | np.int64(records[i]["index"])
            change["kick"] = 1 if kind == K_KICK else 0


@kernel
def delivered_later(
    records: Array, journal: Int, mids: Array, subs: Array, lost: Array, kept: Array, used: Array
) -> None:
    """Store records for counterexamples: the first deliveries to subscriptions that had lost a membership.

    `mids`, `subs`: by record its message and subscription, -1: none. `lost`: bool by subscription. `kept`: DELIVERY
    rows, `used[1]` of them in use; nothing more is stored when it is full. Which deliveries are violations is found at
    the end from the bits of the shared pass, which have no record references; these rows supply the references. A
    delivery that was read before the loss is not stored, and its finding shows one record less.
    """
    for i in range(len(records)):
        if records[i]["kind"] == K_DELIVER and mids[i] >= 0 and subs[i] >= 0 and lost[subs[i]] and used[1] < len(kept):
            # These rows only illustrate findings, so a full array costs no verdict.
            row = kept[used[1]]
            used[1] += 1
            row["sub"] = subs[i]
            row["mid"] = mids[i]
            row["rec"] = (np.int64(journal) << REC_BITS) | np.int64(records[i]["index"])


@kernel
def was_delivered(w: Tables, sub: Int, mids: Array, result: Array) -> None:
    """Write to `result` bool by message of `mids`: whether it was delivered live to the subscription `sub`.

    Two bits of the subscription's page tell it: delivered on the first slot, or on a later one (see
    `checks.engine.resolve.mark`). Of a span without a page (-1) nothing was received. The first bit of a triple also
    counts replays, which are no deliveries, so it is not read here.
    """
    for k in range(len(mids)):
        pos = np.int64(w.messages[mids[k]]["pos"])
        page = heard(w, sub, pos >> SPAN_BITS)
        word = 3 * ((pos & (SPAN - 1)) >> 6)
        bit = np.uint64(1) << np.uint64(pos & 63)
        # Words 1 and 2 are live deliveries, on the first slot and on later ones; word 0 counts replays too.
        result[k] = page >= 0 and (w.sub_bits[page, word + 1] | w.sub_bits[page, word + 2]) & bit != 0


@kernel
def pushes_step(records: Array, journal: Int, subs: Array, pushed: Array, used: Array) -> None:
    """Store pushes of something other than messages: agents' answers, presence, shared state.

    `subs`: by record its subscription, -1: none. `pushed`: PUSH rows, `used[0]` of them in use. Only pushes on a
    connection (`conn` > 0) to members by the roster count; I12 judges those to others. Whether a membership was lost by
    then is known at the end, so all are stored, with the three fields that are read then: the subscription and the time
    decide, the record is for the finding. The loop runs only if the contract has a delivery bound, without which no
    push can be judged.
    """
    for i in range(len(records)):
        r = records[i]
        if 1 << np.int64(r["kind"]) & PUSHED and subs[i] >= 0 and r["conn"] > 0:
            # Whether the membership was lost by then is known only when all journals were read.
            row = pushed[used[0]]
            used[0] += 1
            row["sub"] = subs[i]
            row["t"] = r["t"]
            row["rec"] = (np.int64(journal) << REC_BITS) | np.int64(r["index"])


class Revoked(Folding):
    """State of I13: a device that lost a membership gets no delivery of later messages, until it joins again.

    - The time of sending decides, not that of receiving: what was sent before the loss was confirmed may come later.
    - Between the confirmation and a later JOIN only messages with a number up to that JOIN's head are judged. Others
      may have been delivered after it, and which came first depends on the order of reading.
    - A JOIN that may have come after the loss, by the bound of the hosts' clocks, ends it.
    - Examined are the messages sent while a device had no membership, counted for each device.

    For agents' answers, presence and shared state the time of sending is not known. Where the platform promises a
    delivery bound they are judged too: a push that comes later after the confirmation than that bound must have been
    sent after the confirmation. Not a violation: a push with a fault between the confirmation and its arrival, because
    the fault may have delayed it.
    """

    def __init__(self, check: Described, roster: Roster, contract: Contract) -> None:
        """Start without changes of membership, deliveries and pushes."""
        super().__init__(check, roster, contract)
        self._changes = np.zeros(1024, CHANGE)
        self._kept = np.zeros(KEPT, DELIVERY)
        self._used = np.zeros(2, np.int64)
        self._lost = np.zeros(0, bool)
        self._kicks = 0
        self._pushed = np.zeros(64, PUSH)
        self._pushes = np.zeros(1, np.int64)
        self._faults = FaultLog()

    def step(self, view: View) -> None:
        """Implement `Fold.step`: store changes of membership, pushes, and deliveries for counterexamples."""
        before = int(self._used[0])
        self._changes = grown(self._changes, before + len(view.records))
        changes_step(view.records, view.journal, view.sub, self._changes, self._used)
        if self.contract.delivery_bound_s is not None:
            self._faults.step(view)
            self._pushed = grown(self._pushed, int(self._pushes[0]) + len(view.records))
            pushes_step(view.records, view.journal, view.sub, self._pushed, self._pushes)
        new = self._changes[before : int(self._used[0])]
        kicked = new["sub"][new["kick"] > 0]
        if not len(self._lost):
            self._lost = np.zeros(view.world.members, bool)
        self._lost[kicked] = True
        self._kicks += len(kicked)
        if self._kicks:
            delivered_later(view.records, view.journal, view.mid, view.sub, self._lost, self._kept, self._used)

    def peek(self, world: World) -> Verdict:
        """Implement `Fold.peek`: always UNKNOWN, because losses and deliveries are compared at the end."""
        return self.conclude(unknown=PENDING)

    def finish(self, end: End) -> Verdict:
        """Implement `Fold.finish`: look for deliveries of what was sent while a device had no membership."""
        bound = end.clock_bound_ns()
        if bound is None and self._kicks:
            return self.conclude(unknown="the journals come from several hosts, and their clocks were not compared")
        world, messages = end.world, end.world.messages()
        examined, found = 0, []
        numbers = _lowest_numbers(world)
        for sub in np.flatnonzero(self._lost):
            conv = int(world.tables.sub_conv[sub])
            mids = np.flatnonzero((messages["conv"] == conv) & ((messages["flags"] & INVOKED) > 0))
            cause = self._causes(int(sub), messages[mids], numbers[mids], bound or 0)
            while_out = np.flatnonzero(cause)
            examined += len(while_out)
            delivered = np.zeros(len(while_out), bool)
            was_delivered(world.tables, int(sub), mids[while_out], delivered)
            found += [(int(sub), int(mids[k]), int(cause[k])) for k in while_out[delivered]]
        found.sort(key=lambda item: int(messages["invoke_rec"][item[1]]))
        pushes, late = self._pushed_later(end, bound or 0)
        findings = [self._finding(world, *item) for item in found[:FINDINGS]]
        findings += [self._push(world, *item) for item in late[:FINDINGS]]
        return self.conclude(findings[:FINDINGS], examined=examined + pushes, violations=len(found) + len(late))

    def _pushed_later(self, end: End, clocks: int) -> tuple[int, list[tuple[int, int, int]]]:
        """Return (number of pushes that came too late after a loss of membership, these pushes).

        Each push is (subscription, record of the push, record of the loss). All are violations. `clocks`: bound of the
        hosts' clocks in ns.
        """
        bound_s = self.contract.delivery_bound_s
        if bound_s is None or end.lacks_faults:
            return 0, []
        pushed = self._pushed[: int(self._pushes[0])]
        pushed = pushed[self._lost[pushed["sub"]]] if len(self._lost) else pushed[:0]
        changes = self._changes[: int(self._used[0])]
        margin, windows = int(bound_s * 1e9) + clocks + longest_lag_ns(end), widened(self._faults.windows(), clocks)
        late = []
        for push in pushed[np.argsort(pushed["rec"], kind="stable")]:
            before = changes[(changes["sub"] == push["sub"]) & (changes["t"] <= push["t"])]
            last = before[np.lexsort((before["rec"], before["t"]))][-1:]
            if not len(last) or not last["kick"][0] or push["t"] <= last["t"][0] + margin:
                continue
            if ((before["kick"] == 0) & (before["t"] > last["t"][0] - clocks)).any():
                continue  # this JOIN may have come after the loss, by the clock of another host
            if not overlaps(windows, last["t"], np.array([push["t"]]))[0]:
                late.append((int(push["sub"]), int(push["rec"]), int(last["rec"][0])))
        return len(late), late

    def _push(self, world: World, sub: int, push: int, kick: int) -> Finding:
        w = world.tables
        row = [0, 0, 0, int(w.sub_client[sub]), -1, -1, int(w.sub_conv[sub]), 0, 0]
        return finding(world, "told", row, kick, push, at=GROUP + push)

    def _causes(self, sub: int, messages: Array, numbers: Array, bound: int) -> Array:
        """Return by message the record of the loss of membership that forbids its delivery, 0 if there is none.

        `messages`: MESSAGE rows of the conversation of `sub`; `numbers`: the lowest number of each, -1: none; `bound`:
        bound of the hosts' clocks in ns.
        """
        changes = self._changes[: int(self._used[0])]
        changes = changes[changes["sub"] == sub]
        joins = changes[changes["kick"] == 0]
        cause: Array = np.zeros(len(messages), np.int64)
        for kick in changes[changes["kick"] > 0]:
            later = joins[joins["t"] > kick["t"] - bound]  # perhaps later, by the clock of another host
            out = messages["invoke_t"] > kick["t"] + bound
            if len(later):
                again = later[np.argmin(later["t"])]
                below = (numbers >= 0) & (numbers <= again["seq"])
                out &= (messages["invoke_t"] < again["t"] - bound) & below
            cause[out & (cause == 0)] = kick["rec"]
        return cause

    def _finding(self, world: World, sub: int, mid: int, kick: int) -> Finding:
        w, m = world.tables, world.tables.messages[mid]
        kept = self._kept[: int(self._used[1])]
        delivered = kept["rec"][(kept["sub"] == sub) & (kept["mid"] == mid)][:1].tolist()
        row = [0, 0, 0, int(w.sub_client[sub]), mid, -1, int(m["conv"]), 0, 0]
        return finding(world, "kicked", row, kick, int(m["invoke_rec"]), *delivered, seq=int(m["seq"]))


def _lowest_numbers(world: World) -> Array:
    """Return by message the lowest sequence number that any record states for it, -1 if none does."""
    extra = world.extras()
    numbers: Array = world.messages()["seq"].copy()
    np.minimum.at(numbers, extra[:, 0], extra[:, 1])
    return numbers


REVOKED = Described(
    id="I13",
    name="isolation-after-revocation",
    title="Did removed members receive nothing that was sent afterwards?",
    unit="messages to removed members",
    symptom="Removed members still received messages",
    fold=Revoked,
    sentences={
        "kicked": "{who} had lost the membership of {where}, and then received {message}, which was sent afterwards",
        "told": "{who} had lost the membership of {where}, and was then sent other events of it",
    },
)
