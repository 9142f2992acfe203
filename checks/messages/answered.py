"""I43: a platform that acknowledges answers every message sent on a connection that stays open.

For each message the check keeps the sending that waits for an answer. If there were several (retries), this is the
earliest one on a connection that was not cut meanwhile. Any answer to the message ends the wait; the client's own
timeout does not.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from earwitness.checks.contract import Contract
from earwitness.checks.engine.compiled import kernel
from earwitness.checks.engine.duties import Duties
from earwitness.checks.engine.fault_windows import FaultLog, overlaps, widened
from earwitness.checks.engine.fold import FINDINGS, LACKS_FAULTS, PENDING, Described, End, Folding, finding
from earwitness.checks.engine.tables import REC_BITS, Array, Int
from earwitness.checks.engine.world import View, World, grown
from earwitness.checks.history.kinds import ANSWERS, K_INFO, K_INVOKE, K_PHASE
from earwitness.checks.history.record import Flag, Kind, Phase
from earwitness.checks.roster import Roster
from earwitness.checks.tester.health import held_up_ns, longest_lag_ns
from earwitness.checks.verdict import Doubt, Finding, Verdict

TIMEOUT = int(Flag.TIMEOUT)
DRAINED = int(Phase.DRAINED)
ASKING = 1 << K_INVOKE | ANSWERS | 1 << K_INFO
"""Kinds, as bits, that begin or end the wait for an answer."""
SEVERAL = -1
"""Value of `home` in WAIT for a message that several journals recorded."""

WAIT = np.dtype([("t", "<i8"), ("rec", "<i8"), ("slot", "<i4"), ("home", "<i4"), ("good", "<i8")])
"""Sending of one message that waits for an answer; one row for each message.

t, rec, slot  time (ns), record and slot (subscription on one connection) of the sending; rec 0: none waits
good          number of sendings of the message that were answered in time
home          number + 1 of the journal that recorded the message, 0: none yet; SEVERAL: it is not judged
"""
LATE = np.dtype([("mid", "<i8"), ("t", "<i8"), ("rec", "<i8"), ("answer", "<i8"), ("answer_t", "<i8"), ("slot", "<i4")])
"""Sending of a message that was not answered in time.

t, rec, slot      as in WAIT
answer, answer_t  record and time (ns) of an answer that came too late; answer 0: none came
"""


@kernel
def answers_step(
    records: Array, journal: Int, mids: Array, slots: Array, bound: Int, waits: Array, late: Array, used: Array,
    state: Array,
) -> None:  # fmt: skip
    """Measure for each message the time from its sending to its answer.

    `mids` and `slots` belong to the records (-1: none). Updated are `waits` (WAIT by message), `late` (a LATE row for
    each answer that came more than `bound` ns after the sending; `used[0]` rows are in use) and `state[0]`: 1 once this
    journal was drained. From then on the tester itself closes connections, so an INFO no longer ends a wait.

    Invariant: at most one sending waits for each message, the earliest one whose connection was not cut. A second
    INVOKE does not change it, an INFO without TIMEOUT (the connection was cut before the drain) clears it, an answer
    clears it and counts as `good` or `late`. So one row of fixed size for each message is enough, and nothing is
    searched. The kernel decides by the order of records, which exists only inside one journal; a message that a second
    journal names becomes SEVERAL and is not judged.
    """
    for i in range(len(records)):
        r = records[i]
        kind = np.int64(r["kind"])
        if kind == K_PHASE and r["counter"] == DRAINED:
            state[0] = 1
        if mids[i] < 0 or not 1 << kind & ASKING:
            continue
        wait = waits[mids[i]]
        # Records of two journals have no order, so a message that both name is not judged.
        if wait["home"] != 0 and wait["home"] != journal + 1:
            wait["home"] = SEVERAL
            continue
        wait["home"] = journal + 1
        if kind == K_INVOKE:
            # A sending that waits already stays: a retry gives the platform no more time.
            if wait["rec"] == 0 and slots[i] >= 0:
                wait["t"] = r["t"]
                wait["slot"] = slots[i]
                wait["rec"] = (np.int64(journal) << REC_BITS) | np.int64(r["index"])
        elif kind == K_INFO:
            # The connection was cut, and no answer can come on it. A client that gave up (TIMEOUT) excuses nothing.
            if not r["flags"] & TIMEOUT and state[0] == 0:
                wait["rec"] = 0
        else:
            if wait["rec"] != 0 and r["t"] > wait["t"] + bound:
                row = late[used[0]]
                used[0] += 1
                row["mid"] = mids[i]
                row["t"] = wait["t"]
                row["rec"] = wait["rec"]
                row["slot"] = wait["slot"]
                row["answer"] = (np.int64(journal) << REC_BITS) | np.int64(r["index"])
                row["answer_t"] = r["t"]
            else:
                wait["good"] += 1
            wait["rec"] = 0


class Answered(Folding):
    """State of I43: each message on a connection that stayed open is answered within the contract's bound.

    Not judged:

    - A message whose connection ended, or whose sender left the conversation or lost the membership, before the bound
      had passed.
    - A message with a fault between its sending and its deadline. The fault and a loss of membership may be recorded in
      another host's journal; they excuse the message if they may have come in time, by the bound of the hosts' clocks.
    - A message whose journal lacks its end, or that several journals recorded.

    UNKNOWN:

    - An answer is missing or late, and the tester was behind in reading. The bound is then longer by all the time in
      which the tester had more to read than it had read; an answer that is missing or late by less is in doubt.
    - The run was drained before the bound had passed, and there was no answer yet.
    """

    def __init__(self, check: Described, roster: Roster, contract: Contract) -> None:
        """Read the bound (ns) from `contract.answer_bound_s`, and start without sendings."""
        super().__init__(check, roster, contract)
        self._bound = int(contract.answer_bound_s * 1e9)
        self._waits = np.zeros(64, WAIT)
        self._late = np.zeros(64, LATE)
        self._used = np.zeros(1, np.int64)
        self._states: dict[int, Array] = {}
        self._faults = FaultLog()
        self._times = Duties()

    def step(self, view: View) -> None:
        """Implement `Fold.step`: match answers with sendings, and store faults and connection times."""
        self._waits = grown(self._waits, view.world.mids)
        self._late = grown(self._late, int(self._used[0]) + len(view.records))
        state = self._states.setdefault(view.journal, np.zeros(1, np.int64))
        tables = self._waits, self._late, self._used, state
        answers_step(view.records, view.journal, view.mid, view.slot, self._bound, *tables)
        self._faults.step(view)
        self._times.step(view)

    def peek(self, world: World) -> Verdict:
        """Implement `Fold.peek`: always UNKNOWN, because missing answers are decided at the end."""
        return self.conclude(unknown=PENDING)

    def finish(self, end: End) -> Verdict:
        """Implement `Fold.finish`: judge the sendings that were answered late or never."""
        if end.lacks_faults:
            return self.conclude(unknown=LACKS_FAULTS.format("what seems unanswered"))
        kicks, _ = end.world.kept.of(Kind.KICK)
        if end.clock_bound_ns() is None and (self._faults.windows() or len(kicks)):
            return self.conclude(unknown="the journals come from several hosts, and their clocks were not compared")
        rows, deadlines, until = self._unanswered(end)
        held = held_up_ns(end)
        # Until when nothing had come: the answer that came too late, or the end of the connection.
        without = np.where(rows["answer"] > 0, rows["answer_t"], until)
        overdue = deadlines < until
        owed, unread = rows[overdue & (deadlines + held < without)], rows[overdue & (deadlines + held >= without)]
        owed = owed[np.argsort(owed["rec"], kind="stable")]
        owed = owed[np.sort(np.unique(owed["mid"], return_index=True)[1])]
        cut = (deadlines >= until) & (rows["answer"] == 0) & self._lasting(end, rows)
        good = int(self._waits["good"][self._waits["home"] > 0].sum())
        unasked = Doubt("{n} messages had not been answered when the run ended", int(cut.sum()))
        return self.conclude(
            [self._finding(end.world, row) for row in owed[:FINDINGS]],
            examined=good + len(owed),
            violations=len(owed),
            unknown=replace(_behind(held, len(unread)), otherwise=unasked),
        )

    def _unanswered(self, end: End) -> tuple[Array, Array, Array]:
        """Return (LATE rows of sendings not answered in time, their deadlines, end of their connections); times in ns.

        Deadlines include the tester's own longest lag, because it may have recorded an answer that much later. Sendings
        with a fault in between, and those that several journals recorded, are left out.
        """
        open_ones = np.flatnonzero(self._waits["rec"] > 0)
        waiting = np.zeros(len(open_ones), LATE)
        waiting["mid"] = open_ones
        for name in ("t", "rec", "slot"):
            waiting[name] = self._waits[name][open_ones]
        rows = np.concatenate([self._late[: int(self._used[0])], waiting])
        strays = end.world.strays()  # an answer without conversation or attempt is an answer too
        named = [end.world.mid_of(int(stray["author"]), int(stray["counter"])) for stray in strays]
        rows = rows[(self._waits["home"][rows["mid"]] > 0) & ~np.isin(rows["mid"], named)]
        deadlines = rows["t"] + self._bound + longest_lag_ns(end)
        clocks = end.clock_bound_ns() or 0
        faults = widened(self._faults.windows(), clocks)
        begin, until = self._times.open_until(end, clocks)[rows["slot"]].T
        fair = (until > 0) & (begin <= rows["t"]) & ~overlaps(faults, rows["t"], deadlines)
        fair &= (rows["answer"] == 0) | (rows["answer_t"] > deadlines)
        return rows[fair], deadlines[fair], until[fair]

    def _lasting(self, end: End, rows: Array) -> Array:
        """Return bool by row of `rows`: whether its connection was open until the run was drained."""
        result: Array = self._times.lasting(end)[end.world.tables.slots["conn"][rows["slot"]]]
        return result

    def _finding(self, world: World, wait: Array) -> Finding:
        mid, slot = int(wait["mid"]), int(wait["slot"])
        m, sub = world.tables.messages[mid], int(world.tables.slots[slot]["sub"])
        row = [0, 0, 0, int(world.tables.sub_client[sub]), mid, -1, int(m["conv"]), 0, 0]
        what = "late" if wait["answer"] else "unanswered"
        low = self._bound // 1_000_000
        return finding(world, what, row, int(wait["rec"]), int(wait["answer"]), at=int(wait["rec"]), low=low)


def _behind(held_ns: int, count: int) -> Doubt:
    """Return the reason for doubt about `count` answers that the tester may have read late.

    `held_ns`: total time in which a load process had more to read than it had read.
    """
    late = f"a load process had more to read than it had read for {held_ns / 1e9:.2f} s in all"
    return Doubt(f"{late}, so it is not known whether {{n:,}} answers came in time", count)


ANSWERED = Described(
    id="I43",
    name="answered",
    title="Was every message answered that was sent on a connection that stayed open?",
    unit="messages sent",
    symptom="Sendings on open connections were not answered, or too late",
    fold=Answered,
    when=lambda contract: contract.acknowledges,
    sentences={
        "unanswered": "{message}, sent in {where}, was never answered, although its connection stayed open for "
        "more than {low} ms",
        "late": "{message}, sent in {where}, was answered later than {low} ms after it was sent, although "
        "its connection stayed open",
    },
)
