"""Delivery duties: for each subscription the time in which its device had to receive every message."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from earwitness.checks.engine.compiled import kernel
from earwitness.checks.engine.fold import End, JournalInfo
from earwitness.checks.engine.tables import REC_BITS, Array, Int
from earwitness.checks.engine.world import View, grown
from earwitness.checks.history.record import Flag, Kind, Phase

K_JOIN = int(Kind.JOIN)
K_LEAVE = int(Kind.LEAVE)
K_DISCONNECT = int(Kind.DISCONNECT)
K_PHASE = int(Kind.PHASE)
CONTINUED = int(Flag.CONTINUED)
OWN = int(Flag.OWN)
TIMEOUT = int(Flag.TIMEOUT)
DRAIN = int(Phase.DRAIN)
DRAINED = int(Phase.DRAINED)
NEVER = np.iinfo(np.int64).max

PERIOD = np.dtype([("joined_t", "<i8"), ("joined_rec", "<i8"), ("left_t", "<i8"), ("state", "u1"), ("continued", "u1")])
"""Membership of one slot (a subscription on one connection) over time.

joined_t, joined_rec   time (ns) and record of the JOIN
left_t                 time (ns) of the LEAVE
state                  0 never joined, 1 joined, 2 left
continued              1: the period began with the slot's first JOIN, and that had CONTINUED: the device missed nothing
                       before
"""

CONN_END = np.dtype([("t", "<i8"), ("how", "u1")])
"""End of one connection; `t` in ns, `how`: 0 not closed, 1 closed by the platform, 2 closed by the tester."""

DUTY = np.dtype(
    [("start", "<i8"), ("end", "<i8"), ("join_rec", "<i8"), ("cut", "<i8"), ("held", "u1"), ("doubt", "u1")]
)
"""Duty of one subscription: its device had to receive the messages sent after `start` and before `end` (ns).

join_rec   record of the JOIN of the last slot
cut        time (ns) at which the tester's deadline ended the drain while messages still arrived; NEVER: it did not
held       1: the subscription lasted until the end of the run, so there is a duty
doubt      1: the end of the run is not on record, so a message that was not received proves nothing
"""


@kernel
def keep_times(
    records: Array, journal: Int, slots: Array, conns: Array, periods: Array, ends: Array, phases: Array
) -> None:
    """Store when slots joined and left, when connections ended, and when this journal was drained.

    `slots` and `conns` belong to the records (-1: none). The other arrays are updated: `periods` (PERIOD by slot) and
    `ends` (CONN_END by connection), which the caller has made large enough, and `phases`. `phases` holds three times in
    ns (NEVER: not seen): the first DRAIN, the first DRAINED, and the first DRAINED with TIMEOUT, at which messages were
    still arriving.

    One slot belongs to one connection, which one journal records in order. So only later records of the same journal
    overwrite a row of `periods`, and no times of two hosts are compared here. A repeated JOIN with CONTINUED does not
    change `joined_t`: the device has missed nothing since the first JOIN. A JOIN without CONTINUED starts a new period
    in the same row, because only the last period can last until the end.
    """
    for i in range(len(records)):
        r = records[i]
        kind = r["kind"]
        if kind == K_JOIN and slots[i] >= 0:
            p = periods[slots[i]]
            continued = r["flags"] & CONTINUED != 0
            # Stated again while joined: the device has missed nothing since the JOIN that the row has.
            if p["state"] == 1 and continued:
                continue
            # Only the first JOIN of a slot can continue the slot before; after a LEAVE something may be missing.
            p["continued"] = 1 if continued and p["state"] == 0 else 0
            p["joined_t"] = r["t"]
            p["joined_rec"] = (np.int64(journal) << REC_BITS) | np.int64(r["index"])
            p["state"] = 1
        elif kind == K_LEAVE and slots[i] >= 0:
            periods[slots[i]]["state"] = 2
            periods[slots[i]]["left_t"] = r["t"]
        elif kind == K_DISCONNECT and conns[i] >= 0:
            # 2: closed by the tester, which keeps the duty if it was after DRAIN; 1: lost, or closed by the platform.
            ends[conns[i]]["t"] = r["t"]
            ends[conns[i]]["how"] = 2 if r["flags"] & OWN else 1
        elif kind == K_PHASE:
            if r["counter"] == DRAIN:
                phases[0] = min(phases[0], r["t"])
            elif r["counter"] == DRAINED:
                phases[1] = min(phases[1], r["t"])
                if r["flags"] & TIMEOUT:
                    phases[2] = min(phases[2], r["t"])


@kernel
def chain(
    order: Array, slots: Array, conns: Array, periods: Array, ends: Array, phases: Array, resume: bool, duties: Array
) -> None:
    """Join the slots of each subscription into one unbroken duty, and write the duty of the last slot to `duties`.

    `slots`, `conns`: SLOT and CONN rows. `periods`, `ends`: as in `keep_times`. `duties`: DUTY by subscription, the
    output.

    `order` lists the joined slots sorted by subscription, then by `joined_t` (ns). So one pass with three variables
    (`sub_before`, `start`, `unbroken`) sees every reconnection of a device in time, without a table by device.

    Invariant: at each slot `start` is the earliest time since which the device missed nothing. A slot continues the
    slot before it only if the platform promises `resume`, the slot's JOIN has CONTINUED, and the slot before was still
    joined when its connection ended. Otherwise `start` is the slot's own JOIN.

    `phases` is indexed by journal, with the times of `keep_times`; NEVER: not on record. A slot has a duty until its
    end if it left or lost its connection after DRAINED, or if the tester closed the connection after DRAIN. A slot that
    never ended has a duty too. Later slots overwrite `duties[sub]`.
    """
    sub_before = -1
    start = 0
    unbroken = False
    for slot in order:
        p = periods[slot]
        conn = slots[slot]["conn"]
        sub = slots[slot]["sub"]
        e = ends[conn]
        # If all four hold, `start` stays: the platform says that nothing was missed since the slot before.
        if not (sub == sub_before and unbroken and p["continued"] and resume):
            start = p["joined_t"]
        sub_before = sub
        # A slot that the device left, or whose connection never ended, cannot be continued by the next one.
        unbroken = p["state"] == 1 and e["how"] != 0
        drain = phases[conns[conn]["journal"], 0]
        drained = phases[conns[conn]["journal"], 1]
        # Neither left nor disconnected: the slot holds its duty to the end of the record.
        until = NEVER
        held = True
        if p["state"] == 2:
            until = p["left_t"]
            held = until >= drained
        elif e["how"] != 0:
            until = e["t"]
            held = until >= drained or (e["how"] == 2 and until >= drain)
        if held:
            d = duties[sub]
            d["start"] = start
            d["end"] = until
            d["join_rec"] = p["joined_rec"]
            d["held"] = 1
            d["doubt"] = 1 if drained == NEVER else 0
            d["cut"] = phases[conns[conn]["journal"], 2]


class Duties:
    """Collector of the times of subscriptions and connections, from which the duties follow at the end."""

    def __init__(self) -> None:
        """Start without periods; the tables grow with the slots, connections and journals on record."""
        self.periods: Array = np.zeros(1024, PERIOD)
        self.ends: Array = np.zeros(1024, CONN_END)
        self._phases: dict[int, Array] = {}

    def step(self, view: View) -> None:
        """Store when the slots and connections of a chunk of records began and ended, and when its phases began."""
        self.periods = grown(self.periods, view.world.slots)
        self.ends = grown(self.ends, len(view.world.tables.conns))
        columns = view.slot, view.conn, self.periods, self.ends
        keep_times(view.records, view.journal, *columns, self.phases_of(view.journal))

    def open_until(self, end: End, clock_bound_ns: int) -> Array:
        """Return for each slot (begin, end) in ns: the time in which it was joined, on an open connection, by a member.

        An int64 array (slots, 2). (0, 0) where the time is unknown: the slot was never joined, its journal lacks
        records, or neither the end of its connection nor DRAINED is on record. All times are those of the slot's own
        journal. A loss of membership ends the time already `clock_bound_ns` before its record, because another host may
        have recorded it.
        """
        world = end.world
        w, count = world.tables, world.slots
        periods = self._ended_by_kicks(end, clock_bound_ns)
        conns = w.slots["conn"][:count]
        ends = self.ends[conns]
        drained = self._all_phases(end)[w.conns["journal"][conns], 1]
        until = np.where(ends["how"] != 0, np.minimum(ends["t"], drained), drained)
        until = np.where(periods["state"] == 2, np.minimum(until, periods["left_t"]), until)
        times = np.stack([periods["joined_t"], until], axis=1)
        torn = np.isin(w.conns["journal"][conns], list(end.incomplete()))
        times[(periods["joined_rec"] == 0) | torn | (until == NEVER)] = 0
        return times

    def _ended_by_kicks(self, end: End, clock_bound_ns: int) -> Array:
        """Return a copy of `periods` in which a loss of membership also ends the periods of all the user's devices.

        A loss ends every period that may have begun before it, at the earliest time at which the loss may have
        happened.
        """
        world = end.world
        w = world.tables
        periods = self.periods[: world.slots].copy()
        kicks, _ = world.kept.of(Kind.KICK)
        for kick in kicks:
            if kick["client"] >= len(w.user_of):
                continue
            user = w.user_of[int(kick["client"])]
            subs = np.flatnonzero((w.sub_conv == int(kick["conv"])) & (w.user_of[w.sub_client] == user))
            held = np.isin(w.slots["sub"][: world.slots], subs) & (periods["state"] > 0)
            first, last = kick["t"] - clock_bound_ns, kick["t"] + clock_bound_ns
            cut = held & (periods["joined_t"] < last) & ((periods["state"] == 1) | (periods["left_t"] > first))
            periods["state"][cut] = 2
            periods["left_t"][cut] = first
        result: Array = periods
        return result

    def phases_of(self, journal: int) -> Array:
        """Return a journal's times of phases, as the array `phases` of `keep_times`, which updates it."""
        if journal not in self._phases:
            self._phases[journal] = np.full(3, NEVER, np.int64)
        return self._phases[journal]

    def of(self, end: End, resume: bool, clock_bound_ns: int) -> Array:
        """Return the DUTY row of each subscription.

        A complete journal that records no phases gets the earliest times of the other journals. `resume`: whether the
        platform promises to continue across reconnects. `clock_bound_ns`: by how many ns clocks of journals may differ;
        duties start that much later, and end that much earlier.
        """
        world = end.world
        w, count = world.tables, world.slots
        duties = np.zeros(world.members, DUTY)
        periods = self._ended_by_kicks(end, clock_bound_ns)
        joined = np.flatnonzero(periods["state"][:count] > 0)
        order = joined[np.lexsort((periods["joined_t"][joined], w.slots["sub"][joined]))]
        chain(order, w.slots, w.conns, periods, self.ends, self._all_phases(end), resume, duties)
        duties["start"] += clock_bound_ns
        duties["end"][duties["end"] < NEVER] -= clock_bound_ns
        return duties

    def drained_after_s(self, end: End) -> float:
        """Return the longest time in seconds from DRAIN to a deadline that cut the drain short; 0 if none did."""
        phases = self._all_phases(end)
        cut = phases[phases[:, 2] < NEVER]
        return float((cut[:, 2] - cut[:, 0]).max()) / 1e9 if len(cut) else 0.0

    def lasting(self, end: End) -> Array:
        """Return for each connection whether it lasted until DRAINED, or the tester closed it after DRAIN."""
        conns = end.world.tables.conns[: len(self.ends)]
        phases = self._all_phases(end)[conns["journal"]]
        ends = self.ends[: len(conns)]
        late = (ends["t"] >= phases[:, 1]) | ((ends["how"] == 2) & (ends["t"] >= phases[:, 0]))
        result: Array = (phases[:, 1] < NEVER) & ((ends["how"] == 0) | late)
        return result

    def _all_phases(self, end: End) -> Array:
        number = max([len(end.journals), *(journal + 1 for journal in self._phases), 1])
        phases = np.full((number, 3), NEVER, np.int64)
        for journal, times in self._phases.items():
            phases[journal] = times
        left = [number for number, journal in enumerate(end.journals) if _left(journal)]
        phases[left] = NEVER
        earliest = phases.min(axis=0)
        for journal in range(number) if end.clock_bound_ns() is not None else ():  # else no times can be borrowed
            complete = journal < len(end.journals) and end.journals[journal].complete and journal not in left
            for which in range(2):  # phases[2] is left: a journal states only of itself that its deadline cut it off
                if phases[journal, which] == NEVER and complete:
                    phases[journal, which] = earliest[which]
        result: Array = phases
        return result


def _left(journal: JournalInfo) -> bool:
    """Return whether a load process ended before the run did.

    It closed connections while other processes were still sending, so its phases do not limit what they had to receive.
    """
    load = (journal.footer or {}).get("load")
    return isinstance(load, Mapping) and load.get("left_s") is not None
