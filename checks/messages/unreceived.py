"""I47: a device that stays a member gets each message in the end, live, by a replay, or by reading the history itself.

I5b requires this only of uninterrupted subscriptions; here the time between two connections counts too. For each device
in each conversation the check stores when it had to receive messages (`checks.engine.duties`), what it received (bits
of `checks.engine.resolve`), and which numbers its own reads of the history covered.
"""

from __future__ import annotations

import numpy as np

from earwitness.checks.contract import Contract
from earwitness.checks.engine.compiled import kernel
from earwitness.checks.engine.duties import CONTINUED, NEVER, Duties
from earwitness.checks.engine.fold import (
    CLIENT,
    CONV,
    FINDINGS,
    MID,
    MID2,
    PENDING,
    REC,
    REC2,
    WHAT,
    Described,
    End,
    Folding,
    X,
    Y,
)
from earwitness.checks.engine.fold import finding as make_finding
from earwitness.checks.engine.tables import SPAN, SPAN_BITS, Array, Tables, heard
from earwitness.checks.engine.world import View, World, grown
from earwitness.checks.history.kinds import CORRUPT, K_JOIN, K_LEAVE, K_READ
from earwitness.checks.history.record import NOBODY, Flag, Kind
from earwitness.checks.messages.delivered import NOT_READ, RECEIVING_NS, Latest, by_conversation, unread
from earwitness.checks.messages.pages import fault_of
from earwitness.checks.roster import Roster
from earwitness.checks.verdict import Doubt, Finding, Verdict

REFUSED = int(Flag.REFUSED)

STAY = np.dtype([("since", "<i8"), ("told", "<i8"), ("left", "<i8")])
"""Membership of one device in one conversation, as its JOINs and LEAVEs show it; times are ns + 1, 0 is none.

since  time of its first JOIN
told   time of the last JOIN at which the device knew that it had to read the history
left   1 after a LEAVE, until the next JOIN
"""

PAGE_READ = np.dtype([("sub", "<i8"), ("low", "<i8"), ("high", "<i8"), ("t", "<i8"), ("whole", "<i8")])
"""Read of the history by a device: it covered the numbers `low` … `high`, and ended at `t` (ns).

`sub`: number of the subscription. `whole`: 1: all of these numbers were shown, 0: some of them may not have been.
"""

EXAMINED, MISSED, UNDRAINED, CUT, UNREAD, UNSURE = range(6)
"""Columns of the totals that `misses_step` counts. Except for the first, they count messages that did not come.

EXAMINED   messages that a subscription had to get
MISSED     violations
UNDRAINED  the end of the run is not on record
CUT        the tester's deadline ended the drain while the device still received
UNREAD     the device should have read it from the history and did not
UNSURE     a page that the device read may have shown it or not
"""


@kernel
def stays_step(records: Array, subs: Array, stays: Array) -> None:
    """Store when devices joined, and when they learned that they have to read the history themselves.

    `subs`: by record its subscription, -1: none. `stays`: STAY by subscription, updated. A refused JOIN, or a JOIN
    after LEAVE that is not CONTINUED, tells a device that it has to read. Minimum and maximum make `since` and `told`
    independent of the order of journals; `left` needs the order of records, which one device has in its journal. One
    row for each subscription is enough, since only the first and the last of these times decide.
    """
    for i in range(len(records)):
        r = records[i]
        if subs[i] < 0:
            continue
        stay = stays[subs[i]]
        if r["kind"] == K_LEAVE:
            stay["left"] = 1
        elif r["kind"] == K_JOIN:
            if stay["since"] == 0 or r["t"] + 1 < stay["since"]:
                stay["since"] = r["t"] + 1
            # From here on the device knows that something is missing, and may be expected to read the history.
            if r["flags"] & REFUSED or (stay["left"] and not r["flags"] & CONTINUED):
                stay["told"] = max(stay["told"], r["t"] + 1)
            stay["left"] = 0


@kernel
def misses_step(
    w: Tables, first: Array, due: Array, author: Array, mids: Array, duties: Array, told: Array, reads: Array,
    read_from: Array, latest: Array, out: Array, by_sub: Array, totals: Array,
) -> None:  # fmt: skip
    """Find for each subscription the messages that it had to get in the end and did not.

    `first`, `due`, `author`, `mids`, `duties`, `latest`, `out`: as in `checks.messages.delivered.absences`, whose loop
    this one repeats with reads added. `told`: by subscription, the time (ns) up to which its device had to read the
    history itself, -1: never. `reads`: PAGE_READ sorted by subscription; `read_from`: by subscription, the index of its
    first read, and a last entry with the number of reads. Results are `by_sub` (number of misses by subscription) and
    `totals` (number of messages by the columns EXAMINED … UNSURE).

    Bits are tested first, because most messages came; only for the others the device's few reads are searched. A read
    is `sure` if the number lies in a whole page, `perhaps` if the page may have shown it or the message has no number.
    Then the reasons for doubt follow in a fixed order, and only the first that applies counts. So a message that did
    not come and was not surely read is in one column besides EXAMINED.
    """
    for sub in range(len(duties)):
        duty = duties[sub]
        if duty["held"] == 0:
            continue
        conv = w.sub_conv[sub]
        client = w.sub_client[sub]
        page = -1
        receiving = duty["cut"] < NEVER and latest[sub, 0] > duty["cut"] - RECEIVING_NS
        begin = first[conv]
        for k in range(begin, first[conv + 1]):
            pos = k - begin
            # Positions ascend by one from 0, so each page is looked up once, at its first position.
            if pos & (SPAN - 1) == 0:
                page = heard(w, sub, pos >> SPAN_BITS)
            if due[k] <= duty["start"] or due[k] >= duty["end"] or author[k] == client:
                continue
            totals[EXAMINED] += 1
            bit = np.uint64(1) << np.uint64(pos & 63)
            if page >= 0 and w.sub_bits[page, 3 * ((pos & (SPAN - 1)) >> 6)] & bit:
                continue
            seq = w.messages[mids[k]]["seq"]
            sure, perhaps = False, False
            # It came on no connection; a page of history that the device read may have shown it.
            for n in range(read_from[sub], read_from[sub + 1]):
                read = reads[n]
                if seq < 0:
                    perhaps |= read["t"] > due[k]
                elif read["low"] <= seq <= read["high"]:
                    sure |= read["whole"] != 0
                    perhaps = True
            if sure:
                continue
            # Reasons for doubt come before the violation, and the first that applies counts alone.
            if duty["doubt"]:
                totals[UNDRAINED] += 1
            elif receiving and (seq < 0 or seq > latest[sub, 1]):
                totals[CUT] += 1
            elif perhaps:
                totals[UNSURE] += 1
            elif due[k] <= told[sub]:
                totals[UNREAD] += 1
            else:
                by_sub[sub] += 1
                if totals[MISSED] < len(out):
                    row = out[totals[MISSED]]
                    row[WHAT] = 0
                    row[REC] = w.messages[mids[k]]["invoke_rec"]
                    row[REC2] = duty["join_rec"]
                    row[CLIENT] = client
                    row[MID] = mids[k]
                    row[MID2] = -1
                    row[CONV] = conv
                    row[X] = seq
                    row[Y] = -1
                totals[MISSED] += 1


class Unreceived(Folding):
    """State of I47: a message that took effect (as in I5b) reaches every device that is a member all the time.

    The device had joined before the message was sent, stays a member, and is connected at the end; in between its
    connections may have been lost. A message has reached it by a delivery, by a replay, or by a page of the history
    that the device itself read and that covers its number.

    - Not a violation: the author's own device.
    - UNKNOWN: a message sent before a JOIN at which the device learned that it must read the history (REFUSED, or a
      LEAVE before), because reading is the tester's part.
    - UNKNOWN: a message that a page may have shown or not.
    - UNKNOWN: a message that may have been on its way when the tester's deadline ended the drain, or when the record
      ended.
    """

    def __init__(self, check: Described, roster: Roster, contract: Contract) -> None:
        """Start without memberships and reads."""
        super().__init__(check, roster, contract)
        self._duties = Duties()
        self._latest = Latest()
        self._stays = np.zeros(0, STAY)
        self._reads = np.zeros(64, PAGE_READ)
        self._used = 0

    def step(self, view: View) -> None:
        """Implement `Fold.step`: store connection times, latest deliveries, joins, and reads of the history."""
        self._duties.step(view)
        if not len(self._stays):
            self._stays = np.zeros(view.world.members, STAY)
        self._latest.step(view)
        stays_step(view.records, view.sub, self._stays)
        self._keep_reads(view)

    def _keep_reads(self, view: View) -> None:
        chosen = (view.records["kind"] == K_READ) & (view.sub >= 0)
        for read, sub in zip(view.records[chosen], view.sub[chosen], strict=True):
            begun, start = int(read["author"]) != NOBODY, int(read["author"])
            whole = begun and not int(read["flags"]) & CORRUPT
            if self.contract.sequence == "contiguous":
                whole = whole and not fault_of(read)
            self._reads = grown(self._reads, self._used + 1)
            low = start + 1 if begun and start else 0
            high = int(read["seq"]) if int(read["counter"]) else -1
            self._reads[self._used] = (sub, low, high, int(read["t"]), whole)
            self._used += 1

    def peek(self, world: World) -> Verdict:
        """Implement `Fold.peek`: always UNKNOWN, because missing messages are decided at the end."""
        return self.conclude(unknown=PENDING)

    def finish(self, end: End) -> Verdict:
        """Implement `Fold.finish`: look for messages that a member neither received nor read in the history."""
        bound = end.clock_bound_ns()
        if bound is None:
            return self.conclude(unknown="the journals come from several hosts, and their clocks were not compared")
        world = end.world
        first, mids, due, author = by_conversation(world, self.contract)
        duties, told = self._belonging(end, bound)
        reads = self._reads[: self._used]
        reads = reads[np.argsort(reads["sub"], kind="stable")]
        read_from = np.searchsorted(reads["sub"], np.arange(world.members + 1))
        by_sub, totals = np.zeros(world.members, np.int64), np.zeros(6, np.int64)
        latest = self._latest.by_device(world)
        columns = first, due, author, mids, duties, told, reads, read_from, latest
        misses_step(world.tables, *columns, world.out, by_sub, totals)
        count = int(totals[MISSED])
        self.suspects.take(world.out, min(count, len(world.out)), count)
        devices = np.unique(world.tables.sub_client[by_sub > 0]).tolist()
        return self.conclude(
            [_miss(world, row) for row in self.suspects.rows[:FINDINGS]],
            examined=int(totals[EXAMINED]),
            unknown=self._doubts(end, totals),
            facts={"devices": len(devices), "not_known": int(totals[UNDRAINED:].sum())},
            devices=devices,
        )

    def _belonging(self, end: End, bound: int) -> tuple[Array, Array]:
        """Return two arrays by subscription: DUTY; the time (ns) up to which it had to read the history, -1: never.

        A duty starts with the first JOIN; after a loss of the membership, with the first JOIN that certainly came after
        the loss. `bound` (ns): how far clocks of journals may differ.
        """
        world = end.world
        w = world.tables
        duties = self._duties.of(end, self.contract.resume, bound)
        stays = self._stays if len(self._stays) else np.zeros(world.members, STAY)
        start = stays["since"] - 1
        kicks, _ = world.kept.of(Kind.KICK)
        joined = self._duties.periods[: world.slots]["joined_t"]  # 0: never, which is after no loss
        for kick in kicks[kicks["client"] < len(w.user_of)]:
            lost = int(kick["t"]) + bound
            same = (w.sub_conv == int(kick["conv"])) & (w.user_of[w.sub_client] == w.user_of[int(kick["client"])])
            for sub in np.flatnonzero(same & (start <= lost)):
                later = joined[(w.slots["sub"][: world.slots] == sub) & (joined > lost)]
                start[sub] = later.min(initial=NEVER - bound)
        duties["start"] = start + bound
        return duties, np.where(stays["told"] > 0, stays["told"] - 1 + bound, -1)

    def _doubts(self, end: End, totals: Array) -> list[Doubt]:
        after = f"the drain ended after {self._duties.drained_after_s(end):.0f} s while messages still arrived"
        counted = (
            ("{n} deliveries had not come when the record ends before the run was drained", UNDRAINED),
            (f"{{n}} deliveries had not come: {after}; raise --drain-s", CUT),
            ("{n} messages were available from the history only, and were not read there", UNREAD),
            ("whether {n} messages were in the pages that their devices read is not known", UNSURE),
        )
        return [
            Doubt("", 0, "a journal lacks its end" if end.incomplete() or end.missing else ""),
            *(Doubt(text, int(totals[column])) for text, column in counted),
            Doubt(NOT_READ, unread(end.world) if self.contract.history else 0),
        ]


def _miss(world: World, row: tuple[int, ...]) -> Finding:
    m = world.tables.messages[row[MID]]
    return make_finding(world, "missed", row, row[REC], row[REC2], int(m["seq_rec"]), seq=row[X])


MISSES_NOTHING = Described(
    id="I47",
    name="misses-nothing",
    title="Did every device that stayed a member get each message in the end?",
    unit="messages due to devices",
    symptom="Devices of members lack messages in the end, however they asked",
    fold=Unreceived,
    when=lambda contract: contract.misses_nothing,
    tally="{violations} of {examined} messages due to devices of members never came",
    sentences={
        "missed": "{who} belonged to {where} from before {message} was sent until the end, and never "
        "received it: neither live, nor by a replay, nor by reading the history",
    },
)
