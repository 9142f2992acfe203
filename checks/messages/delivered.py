"""I5b: a message that took effect is received by every device that was subscribed from its sending to the end."""

from __future__ import annotations

import numpy as np

from earwitness.checks.contract import Contract
from earwitness.checks.engine.compiled import kernel
from earwitness.checks.engine.duties import Duties
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
from earwitness.checks.engine.tables import ACKED, HEARD, INVOKED, RENUMBERED, SPAN, SPAN_BITS, STORED, Array, Tables
from earwitness.checks.engine.tables import heard as heard_page
from earwitness.checks.engine.world import View, World
from earwitness.checks.history.kinds import LISTENED
from earwitness.checks.roster import Roster
from earwitness.checks.verdict import Doubt, Finding, Verdict

NEVER = np.iinfo(np.int64).max
RECEIVING_NS = 2_000_000_000
"""Time in ns before a deadline cut off the drain: a device that received something in it was still receiving."""


@kernel
def latest_step(records: Array, subs: Array, times: Array, latest: Array) -> None:
    """Store for each client the time (ns) of its last reception, and for each subscription the highest number received.

    `subs`: by record its subscription, -1: none. `times`: by client; `latest`: by subscription; -1 for none. Both only
    grow, so the order of reading does not matter. They show at the end whether a connection was still receiving when
    the tester's deadline ended the run: then what has a higher number may have been on its way. Numbers and times are
    stored for all subscriptions, because it is known only at the end whether the drain was cut.
    """
    for i in range(len(records)):
        r = records[i]
        if not 1 << np.int64(r["kind"]) & LISTENED:
            continue
        # Maxima, so that the order in which journals are read does not matter.
        if r["client"] < len(times):
            times[r["client"]] = max(times[r["client"]], r["t"])
        if subs[i] >= 0:
            latest[subs[i]] = max(latest[subs[i]], r["seq"])


class Latest:
    """Last reception of each device, and the highest number that each subscription received."""

    def __init__(self) -> None:
        """Start with no reception by any device."""
        self._times, self._numbers = np.zeros(0, np.int64), np.zeros(0, np.int64)

    def step(self, view: View) -> None:
        """Store the receptions of the chunk `view`."""
        if not len(self._times):
            self._times, self._numbers = _none(len(view.world.tables.user_of)), _none(view.world.members)
        latest_step(view.records, view.sub, self._times, self._numbers)

    def by_device(self, world: World) -> Array:
        """Return an int64 array (subscription, 2): when its device last received anything; its highest number received.

        The time (ns) is that of any conversation, because messages for a device wait in one queue: a busy conversation
        delays the others. -1: nothing was received.
        """
        clients = world.tables.sub_client
        times = self._times if len(self._times) else _none(len(world.tables.user_of))
        if world.context is not None:  # a part of the conversations: the device may have received in another one
            times = np.maximum(times, world.context.latest)
        numbers = self._numbers if len(self._numbers) else _none(world.members)
        return np.stack([times[clients], numbers], axis=1)


def _none(length: int) -> Array:
    return np.full(length, -1, np.int64)


@kernel
def absences(
    w: Tables,
    first: Array,
    due: Array,
    author: Array,
    mids: Array,
    duties: Array,
    echo: bool,
    latest: Array,
    out: Array,
    totals: Array,
) -> None:
    """Find for each subscription the messages of its conversation that it had to receive and did not.

    `first`: by conversation, the index of its first message, and a last entry with the number of all messages. It is an
    index of `due` (time of sending in ns, NEVER: no effect), `author` (client, -1: none) and `mids` (message numbers).
    `duties`: DUTY by subscription. `echo`: senders receive their own messages. `latest`: as `Latest.by_device` returns
    it. `out`: a row for each miss. `totals` counts: examined, missing, missing where the end of the run is not on
    record, missing where the tester's deadline cut off what still arrived.

    The loop visits members × messages of each conversation. So messages are sorted by conversation and position
    beforehand; positions of one subscription then go through its bit pages in order, and a page is looked up once for
    SPAN = 256 messages (`pos & (SPAN - 1) == 0`). Of a span without a page (`page` -1) nothing was received.
    `totals[1]` counts all violations, but only as many rows as fit into `out` are written.
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
                page = heard_page(w, sub, pos >> SPAN_BITS)
            if due[k] <= duty["start"] or due[k] >= duty["end"] or (author[k] == client and not echo):
                continue
            totals[0] += 1
            bit = np.uint64(1) << np.uint64(pos & 63)
            if page >= 0 and w.sub_bits[page, 3 * ((pos & (SPAN - 1)) >> 6)] & bit:
                continue
            # The end of this device's run is not on record: the delivery may be missing with it.
            if duty["doubt"]:
                totals[2] += 1
                continue
            seq = w.messages[mids[k]]["seq"]
            # Our own deadline cut off a connection that was still receiving: higher numbers were on their way.
            if receiving and (seq < 0 or seq > latest[sub, 1]):
                totals[3] += 1
                continue
            if totals[1] < len(out):
                row = out[totals[1]]
                row[WHAT] = 0
                row[REC] = w.messages[mids[k]]["invoke_rec"]
                row[REC2] = duty["join_rec"]
                row[CLIENT] = client
                row[MID] = mids[k]
                row[MID2] = -1
                row[CONV] = conv
                row[X] = w.messages[mids[k]]["seq"]
                row[Y] = -1
            totals[1] += 1


NOT_READ = "whether {n} acknowledged messages are stored was not read"


class Delivered(Folding):
    """State of I5b: a message that took effect is received on every device that was subscribed throughout.

    The device must have been subscribed from before the sending until the end of the run: until the run was drained, or
    until the tester itself closed the connection after DRAIN.

    A message took effect:

    - if it is stored;
    - where the contract has no history, if it was acknowledged;
    - where it has no acknowledgements either, if any device received the message.

    A message that is stored and was never acknowledged may have been stored after all devices had gone. It counts if
    its number is below an acknowledged one of its conversation (the drain waits for those), or without numbers if any
    device received it.

    If the deadline of the drain passed while messages still arrived, it is UNKNOWN whether a device that was still
    receiving (in any conversation) lost messages with a higher number than its latest in the conversation: they may
    have been on their way. A device that had received nothing in the last seconds has lost them.

    Not a violation:

    - Anything on a subscription that the platform cut, unless it promises to resume and said that nothing was missed.
    - Absences in a run whose end is not on record (UNKNOWN).
    - A message that came only under another conversation's name (I12).
    - A missing message on its author's own device, where the platform does not echo.
    """

    def __init__(self, check: Described, roster: Roster, contract: Contract) -> None:
        """Start without connection times and deliveries."""
        super().__init__(check, roster, contract)
        self._duties = Duties()
        self._latest = Latest()

    def step(self, view: View) -> None:
        """Implement `Fold.step`: store the times of connections and subscriptions, and the latest deliveries."""
        self._duties.step(view)
        self._latest.step(view)

    def peek(self, world: World) -> Verdict:
        """Implement `Fold.peek`: always UNKNOWN, because missing deliveries are decided at the end."""
        return self.conclude(unknown=PENDING)

    def finish(self, end: End) -> Verdict:
        """Implement `Fold.finish`: look for messages that a device had to receive and did not."""
        bound = end.clock_bound_ns()
        if bound is None:
            return self.conclude(unknown="the journals come from several hosts, and their clocks were not compared")
        world = end.world
        duties = self._duties.of(end, self.contract.resume, bound)
        first, mids, due, author = by_conversation(world, self.contract)
        w = world.tables
        totals = np.zeros(4, np.int64)
        latest = self._latest.by_device(world)
        absences(w, first, due, author, mids, duties, self.contract.echo, latest, world.out, totals)
        self.suspects.take(world.out, min(int(totals[1]), len(world.out)), int(totals[1]))
        return self.conclude(
            [_absence(world, row) for row in self.suspects.rows[:FINDINGS]],
            examined=int(totals[0]),
            unknown=[*self._doubts(end, int(totals[2])), self._cut(end, int(totals[3]))],
        )

    def _cut(self, end: End, missing: int) -> Doubt:
        """Return the doubt about `missing` deliveries that the deadline of the drain cut off."""
        after = f"the drain ended after {self._duties.drained_after_s(end):.0f} s while messages still arrived"
        return Doubt(f"{{n}} deliveries had not come: {after}; raise --drain-s", missing)

    def _doubts(self, end: End, pending: int) -> list[Doubt]:
        return [
            Doubt("", 0, "a journal lacks its end" if end.incomplete() or end.missing else ""),
            Doubt("{n} deliveries had not come when the record ends before the run was drained", pending),
            Doubt(NOT_READ, unread(end.world) if self.contract.history else 0),
        ]


def by_conversation(world: World, contract: Contract) -> tuple[Array, Array, Array, Array]:
    """Return (first, mids, due, author) as `absences` reads them: messages ordered by conversation and position."""
    messages, w = world.messages(), world.tables
    first = np.concatenate([[0], np.cumsum(w.conv_next)]).astype(np.int64)
    known = np.flatnonzero(messages["conv"] >= 0)
    mids = np.full(int(first[-1]), -1, np.int64)
    mids[first[messages["conv"][known]] + messages["pos"][known]] = known
    # Field by field: a copy of whole rows would be as large as the table of messages.
    due = np.where(_effective(messages, contract)[mids], messages["invoke_t"][mids], NEVER)
    due[mids < 0] = NEVER
    own = messages["author_sub"][mids]
    author = np.where(own >= 0, w.sub_client[np.maximum(own, 0)], -1) if len(w.sub_client) else own
    return first, mids, due, author


def _effective(messages: Array, contract: Contract) -> Array:
    """Return bool by message: whether it took effect, as `Delivered` defines it."""
    flags = messages["flags"]
    acked = (flags & ACKED) > 0
    if not contract.history:
        result: Array = acked if contract.acknowledges else (flags & HEARD) > 0
    elif not contract.acknowledges:
        result = (flags & STORED) > 0
    elif contract.sequence == "none":
        result = ((flags & STORED) > 0) & (acked | ((flags & HEARD) > 0))
    else:
        result = ((flags & STORED) > 0) & (acked | below_acked(messages))
    return result & ((flags & INVOKED) > 0)


def unread(world: World) -> int:
    """Return how many acknowledged messages without STORED are in conversations without a complete final read.

    It is unknown whether they are stored.
    """
    messages = world.messages()
    acked = (messages["flags"] & (ACKED | STORED)) == ACKED
    whole = world.read_completely()[np.maximum(0, messages["conv"])] if len(messages) else ~acked
    return int((acked & ~whole).sum())


def below_acked(messages: Array) -> Array:
    """Return bool by message: whether its number is below the highest acknowledged number of its conversation.

    A message with two numbers counts as having none.
    """
    convs = np.maximum(messages["conv"], 0)
    seqs = np.where(messages["flags"] & RENUMBERED, -1, messages["seq"])
    highest = np.full(int(convs.max(initial=0)) + 1, -1, np.int64)
    acked = (messages["flags"] & ACKED) > 0
    np.maximum.at(highest, convs[acked], seqs[acked])
    result: Array = (seqs >= 0) & (seqs < highest[convs])
    return result


def _absence(world: World, row: tuple[int, ...]) -> Finding:
    m = world.tables.messages[row[MID]]
    return make_finding(world, "absent", row, row[REC2], row[REC], int(m["seq_rec"]), seq=row[X])


DELIVERED_CHECK = Described(
    id="I5b",
    name="delivered",
    title="Did every member who was subscribed throughout receive every message?",
    unit="deliveries that were due",
    symptom="Subscribed devices never received messages",
    fold=Delivered,
    when=lambda contract: contract.delivers,
    tally="{violations} of {examined} deliveries that were due never came",
    sentences={
        "absent": "{who} was subscribed to {where} from before {message} was sent until the end, and never received it",
    },
)
