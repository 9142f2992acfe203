"""I2: total order. A sequence number names one message, and one order fits all deliveries.

Whether one order fits is judged where numbers may have gaps or are missing; contiguous numbers are judged by I4.
"""

from __future__ import annotations

import numpy as np

from earwitness.checks.contract import Contract
from earwitness.checks.engine.compiled import kernel
from earwitness.checks.engine.fold import FINDINGS, GROUP, Described, End, Folding, finding
from earwitness.checks.engine.graph import cycles
from earwitness.checks.engine.resolve import AGAIN_HERE
from earwitness.checks.engine.tables import REC_BITS, Array, Int, place
from earwitness.checks.engine.world import View, World, grown
from earwitness.checks.history.kinds import K_DELIVER
from earwitness.checks.roster import Roster
from earwitness.checks.verdict import Finding, Verdict

EDGE = np.dtype([("before", "<i4"), ("after", "<i4"), ("before_rec", "<i8"), ("after_rec", "<i8")])
"""Pair of messages that some slot received directly one after the other.

`before`, `after`: numbers of the two messages. `before_rec`, `after_rec`: references of the first such two deliveries.
"""
LAST = np.dtype([("mid", "<i4"), ("rec", "<i8")])
"""Latest message that a slot received, not counting repetitions: its number and its record; `rec` 0: none."""


@kernel
def order_step(
    records: Array,
    journal: Int,
    mids: Array,
    slots: Array,
    seen: Array,
    all_deliveries: bool,
    retries: bool,
    last: Array,
    edges: Array,
    keys: Array,
    used: Array,
) -> None:
    """Store each pair of messages that were delivered directly one after the other on a slot, once for all slots.

    A slot is a subscription on one connection. `mids`, `slots` (-1: none) and `seen` (bits) belong to the records.
    Updated are `last` (LAST by slot), `edges` (EDGE rows), `keys` (hash set of the edges) and `used`, which counts
    edges, pairs seen, and records with a number. `all_deliveries` false: a delivery with a number is skipped, as its
    order follows from the number (I4). `retries` true: retries count too, because the platform promises idempotence.

    Only neighbours become edges: the order of a slot is a chain, and all other pairs follow from its neighbours. So the
    number of edges grows with the messages where members agree, not with members × messages; a hash set of (before <<
    32 | after) drops the repetitions. The set has keys only and the layout of `tables.place`: linear probing, a power
    of two, at most half full. `last` holds the chain's end for each slot, so that order is never derived across
    connections.
    """
    for i in range(len(records)):
        r = records[i]
        if r["seq"] >= 0 and mids[i] >= 0:
            used[2] += 1
        if r["kind"] != K_DELIVER or mids[i] < 0 or slots[i] < 0 or seen[i] & AGAIN_HERE:
            continue
        # Contiguous numbers order a message already; a retry that takes effect anew has no place of its own.
        if (not all_deliveries and r["seq"] >= 0) or (r["attempt"] > 1 and not retries):
            continue
        previous = last[slots[i]]
        rec = (np.int64(journal) << REC_BITS) | np.int64(r["index"])
        if previous["rec"] > 0:
            used[1] += 1
            key = (np.int64(previous["mid"]) << 32) | np.int64(mids[i])
            at = place(keys, key)
            # Most members see the same neighbours, and only the first of them adds an edge.
            if keys[at] != key:
                keys[at] = key
                e = edges[used[0]]
                used[0] += 1
                e["before"] = previous["mid"]
                e["after"] = mids[i]
                e["before_rec"] = previous["rec"]
                e["after_rec"] = rec
        # The chain moves on also over a pair that is known already.
        previous["mid"] = mids[i]
        previous["rec"] = rec


@kernel
def refill(old: Array, keys: Array) -> None:
    """Copy all keys of the hash set `old` into the larger set `keys`, which is empty (-1 everywhere).

    The rows of `edges` do not move: the set only knows which pairs exist. As in `checks.engine.tables.rehash`, each key
    is inserted once, since none occurs twice.
    """
    for i in range(len(old)):
        if old[i] != -1:
            # Where a key belongs depends on the length of the set.
            keys[place(keys, old[i])] = old[i]


class TotalOrder(Folding):
    """State of I2: a sequence number names one message, and one order fits the deliveries of all members.

    Deliveries are compared where numbers may have gaps or are missing. Contiguous numbers state the order themselves,
    and I4 judges whether each member received the messages in that order.

    Not a violation: messages that only some devices have received; another order of retries where each attempt may take
    effect; another order across a reconnect of the receiver; a repeated delivery (I6); history replayed on joining. Not
    examined: a number that another conversation uses too.
    """

    def __init__(self, check: Described, roster: Roster, contract: Contract) -> None:
        """Start without pairs of deliveries. Where numbers are contiguous, only deliveries without one form pairs."""
        super().__init__(check, roster, contract)
        self._numbered = contract.sequence != "none"
        self._all_deliveries = contract.sequence != "contiguous"  # where numbers are contiguous, I4 judges the order
        self._last = np.zeros(1024, LAST)
        self._edges = np.zeros(1024, EDGE)
        self._keys = np.full(16, -1, np.int64)  # so small that a warm-up makes it grow and compiles `refill`
        self._used = np.zeros(3, np.int64)

    def step(self, view: View) -> None:
        """Implement `Fold.step`: store pairs of messages that a connection delivered one after the other."""
        n = len(view.records)
        self._last = grown(self._last, view.world.slots)
        self._edges = grown(self._edges, int(self._used[0]) + n)
        while 2 * (int(self._used[0]) + n) > len(self._keys):
            keys = np.full(2 * len(self._keys), -1, np.int64)
            refill(self._keys, keys)
            self._keys = keys
        order_step(
            view.records,
            view.journal,
            view.mid,
            view.slot,
            view.seen,
            self._all_deliveries,
            self.contract.idempotent,
            self._last,
            self._edges,
            self._keys,
            self._used,
        )

    @property
    def pairs(self) -> int:
        """Return the number of different pairs of messages that a connection delivered one right after the other."""
        return int(self._used[0])

    def peek(self, world: World) -> Verdict:
        """Implement `Fold.peek`: return the verdict so far; later records cannot undo a violation."""
        return self._judge(world)

    def finish(self, end: End) -> Verdict:
        """Implement `Fold.finish`: return the verdict on all records."""
        return self._judge(end.world)

    def _judge(self, world: World) -> Verdict:
        findings: list[Finding] = []
        violations, examined = 0, int(self._used[1])
        if self._numbered:
            examined += int(self._used[2])
            pairs = contested(world)
            violations += len(pairs)
            findings += [_contested_finding(world, pair) for pair in pairs[:FINDINGS]]
        edges = self._edges[: int(self._used[0])]
        found, total = cycles(edges, world.mids)
        violations += total
        findings += [_cycle_finding(world, cycle, first) for first, cycle in found]
        return self.conclude(findings[:FINDINGS], examined=examined, violations=violations)


def contested(world: World) -> list[tuple[int, ...]]:
    """Return (conv, seq, mid, rec, other mid, other rec) for every number of a conversation that names two messages.

    Integers: conversation, sequence number, then message number and record reference of both messages. Sorted by the
    later of the two references.
    """
    messages, extra = world.messages(), world.extras()
    numbered = np.flatnonzero(messages["seq"] >= 0)
    mid = np.concatenate([numbered, extra[:, 0]])
    seq = np.concatenate([messages["seq"][numbered], extra[:, 1]])
    rec = np.concatenate([messages["seq_rec"][numbered], extra[:, 2]])
    conv = messages["conv"][mid].astype(np.int64)
    key = conv << 40 | seq  # numbers above 2^40 may collide; the exact comparison below decides
    key.sort()
    if not (key[1:] == key[:-1]).any():  # the common case: sorting one key is cheaper than lexsort
        return []
    order = np.lexsort((rec, seq, conv))
    conv, seq, mid, rec = conv[order], seq[order], mid[order], rec[order]
    same = (conv[1:] == conv[:-1]) & (seq[1:] == seq[:-1]) & (mid[1:] != mid[:-1])
    result: list[tuple[int, ...]] = []
    for k in np.flatnonzero(same):
        if result and result[-1][:2] == (int(conv[k]), int(seq[k])):
            continue
        columns = (conv[k], seq[k], mid[k], rec[k], mid[k + 1], rec[k + 1])
        result.append(tuple(int(value) for value in columns))
    result.sort(key=lambda pair: max(pair[3], pair[5]))
    return result


def _row(mid: int, other: int, conv: int) -> list[int]:
    return [0, 0, 0, -1, mid, other, conv, 0, 0]


def _contested_finding(world: World, pair: tuple[int, ...]) -> Finding:
    conv, seq, mid, rec, other, other_rec = pair
    return finding(world, "number", _row(mid, other, conv), rec, other_rec, at=max(rec, other_rec), seq=seq)


def _cycle_finding(world: World, cycle: Array, at: int) -> Finding:
    """Return the finding of a cycle of EDGEs, each leading to the next and the last one to the first.

    `at`: record reference by which the finding is sorted, as `checks.engine.graph.cycles` returns it.
    """
    mid, other = int(cycle["before"][0]), int(cycle["after"][0])
    conv = int(world.tables.messages[mid]["conv"])
    records = [int(rec) for edge in cycle[:3] for rec in (edge["before_rec"], edge["after_rec"])]
    return finding(world, "cycle", _row(mid, other, conv), *records, at=GROUP + at, length=len(cycle))


TOTAL_ORDER = Described(
    id="I2",
    name="total-order",
    title="Does each number name one message, and do deliveries without contiguous numbers (I4) agree on one order?",
    unit="numbers and deliveries",
    symptom="Devices saw one conversation in different orders",
    fold=TotalOrder,
    when=lambda contract: contract.total_order,
    tally="{violations} of {examined} numbers and deliveries contradict the one order of their conversation",
    sentences={
        "number": "number {seq} of {where} names two messages: {message} and {other}",
        "cycle": "members received the messages of {where} in orders that contradict each other: some "
        "received {message} before {other}, others after it",
    },
)
