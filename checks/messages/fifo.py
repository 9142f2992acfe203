"""I1: per-sender FIFO; messages that one author sends on one connection keep their order."""

from __future__ import annotations

import numpy as np

from earwitness.checks.contract import Contract
from earwitness.checks.engine.compiled import helper, kernel
from earwitness.checks.engine.fold import (
    CLIENT,
    CONV,
    MID,
    MID2,
    REC,
    REC2,
    WHAT,
    Described,
    End,
    Folding,
    Suspects,
    X,
    Y,
    finding,
    invoked,
)
from earwitness.checks.engine.resolve import AGAIN_HERE
from earwitness.checks.engine.tables import (
    PAGE,
    PAGE_BITS,
    REC_BITS,
    RENUMBERED,
    RETRIED,
    SENT_ON,
    TAG_STREAM,
    USED_PAGES,
    Array,
    Int,
    Tables,
    find,
    put,
)
from earwitness.checks.engine.world import View, World, grown
from earwitness.checks.history.kinds import K_DELIVER
from earwitness.checks.roster import Roster
from earwitness.checks.verdict import Finding, Verdict

UNORDERED = RETRIED | RENUMBERED
"""Flags of messages whose numbers are not compared: they were sent or numbered more than once."""
ENTRY = np.dtype([("slot", "<i4"), ("mid", "<i4"), ("counter", "<u4"), ("index", "<u4")])
"""Delivery with the highest counter so far of one stream to one receiver, on the receiver's latest slot.

A stream is what one author sends on one connection to one conversation. `slot`: number + 1 of the slot (subscription on
one connection), 0: none. `mid`, `counter`: of the message. `index`: of the record in its journal.
"""

STREAM = np.dtype([("proc", "<i4"), ("block", "<i4")])
"""Latest stream of an author in a conversation, by the author's subscription; older ones are in the hash table.

`proc`: number of the author's connection, as message bodies state it; -1: none. `block`: index of the first entry of
the stream's block.
"""

HEARD_EARLIER, NUMBERED_EARLIER = 1, 2
"""Values of WHAT: received in another order than sent, numbered in another order than sent."""


@helper
def stream_block(w: Tables, streams: Array, blocks: Array, limit: Int, author_sub: Int, proc: Int, size: Int) -> Int:
    """Return the index of the first entry of a stream's block, -1 if there is no room for a new block.

    A stream is what one author (`author_sub`: subscription) sends on one connection (`proc`) to one conversation. Its
    block has `size` entries, one for each subscription of the conversation.

    streams  STREAM by subscription of the author
    blocks   `blocks[0]`: number of entries in use, increased for a new block
    limit    number of entries that there is room for

    The author's latest stream is cached in `streams`, since authors seldom reconnect; an older one is found under
    TAG_STREAM | author_sub << 28 | proc. Blocks are contiguous, so the entry of a receiver is one addition away and
    needs no hash of (stream, receiver).
    """
    s = streams[author_sub]
    if s["proc"] == proc:
        return np.int64(s["block"])
    # The author has reconnected, or a message of an earlier connection comes late.
    key = TAG_STREAM | (np.int64(author_sub) << 28) | proc
    block = find(w, key)
    if block < 0:
        block = blocks[0]
        # Nothing was changed yet, so the caller may enlarge `entries` and repeat the record.
        if block + size > limit:
            return -1
        blocks[0] += size
        put(w, key, block)
    s["proc"] = proc
    s["block"] = block
    return block


@kernel
def fifo_step(
    records: Array,
    start: Int,
    journal: Int,
    mids: Array,
    slots: Array,
    seen: Array,
    w: Tables,
    streams: Array,
    entries: Array,
    blocks: Array,
    out: Array,
) -> Int:
    """Compare counters of consecutive deliveries of a stream on a slot; return the index of the first record not done.

    A stream is what one author sends on one connection to one conversation; a slot is a subscription on one connection.
    The result is `len(records)` if all are done. It is less if `entries` has no room for a new stream; the caller
    enlarges `entries` and calls again with the result as `start`. `mids`, `slots` (-1: none) and `seen` (bits) belong
    to the records. `blocks`: entries in use, pairs examined, rows written to `out`.

    Invariant: an entry holds the highest counter of its stream delivered on the receiver's latest slot. A lower counter
    is a violation, shown with that highest delivery, and does not change the entry; so one message that comes late is
    one violation and not two. A delivery on another slot replaces the entry, because order does not hold across
    connections. Repeated deliveries (AGAIN_HERE) and retries are skipped. The check is linear: it needs no list of what
    was received.
    """
    for i in range(start, len(records)):
        r = records[i]
        if r["kind"] != K_DELIVER or mids[i] < 0 or slots[i] < 0 or seen[i] & AGAIN_HERE:
            continue
        # A retry may rightly overtake what was sent after the first attempt.
        if r["attempt"] > 1:
            continue
        author_sub = np.int64(w.messages[mids[i]]["author_sub"])
        if author_sub < 0:
            continue
        conv = np.int64(r["conv"])
        base = np.int64(w.conv_base[conv])
        size = np.int64(w.conv_base[conv + 1]) - base
        block = stream_block(w, streams, blocks, len(entries), author_sub, np.int64(r["proc"]), size)
        if block < 0:
            return i
        e = entries[block + np.int64(w.slots[slots[i]]["sub"]) - base]
        # Only deliveries on one connection are ordered; the first one on another slot begins anew.
        if e["slot"] == slots[i] + 1:
            blocks[1] += 1
            if r["counter"] < e["counter"]:
                row = out[blocks[2]]
                blocks[2] += 1
                row[WHAT] = HEARD_EARLIER
                row[REC] = (np.int64(journal) << REC_BITS) | np.int64(r["index"])
                row[REC2] = (np.int64(journal) << REC_BITS) | np.int64(e["index"])
                row[CLIENT] = r["client"]
                row[MID] = mids[i]
                row[MID2] = e["mid"]
                row[CONV] = conv
                row[X] = row[Y] = -1
                continue
        # The highest counter on this slot so far: a lower one was reported above and does not get here.
        e["slot"] = slots[i] + 1
        e["mid"] = mids[i]
        e["counter"] = r["counter"]
        e["index"] = np.int64(r["index"]) & 0xFFFFFFFF
    return len(records)


@helper
def author_sequences(w: Tables, highest: Array, author: Int, out: Array, totals: Array) -> None:
    """Check the sequence numbers of one author's messages in the order of their counters.

    Numbers must ascend inside one conversation and one connection of the author (`proc`). `highest`: by conversation
    three integers, (author + 1, proc, message) of the highest number so far; updated. `totals` counts pairs examined,
    and violations; `out` gets a row for each violation, as many as fit.

    The directory lists an author's pages in the order of counters, and a page holds 64 counters in order, so no sorting
    is needed. `author + 1` marks rows of `highest` as this author's, which saves clearing the array for each author. A
    message whose number is too low does not replace the highest one.
    """
    base = w.directory_base[author]
    for k in range(w.directory_room[author]):
        page = np.int64(w.directory[base + k])
        if page < 0:
            continue
        for mid in range(page * PAGE, (page + 1) * PAGE):
            m = w.messages[mid]
            # Without a certain number, or a certain connection of the sender, a message has no place in the order.
            if m["conv"] < 0 or m["seq"] < 0 or m["flags"] & UNORDERED or not m["flags"] & SENT_ON:
                continue
            top = highest[m["conv"]]
            # Only a row of this author and connection is a predecessor; any other is left from before, and replaced.
            if top[0] == author + 1 and top[1] == m["proc"]:
                totals[0] += 1
                if m["seq"] < w.messages[top[2]]["seq"]:
                    if totals[1] < len(out):
                        row = out[totals[1]]
                        row[WHAT] = NUMBERED_EARLIER
                        row[REC] = m["seq_rec"]
                        row[REC2] = w.messages[top[2]]["seq_rec"]
                        row[CLIENT] = -1
                        row[MID] = mid
                        row[MID2] = top[2]
                        row[CONV] = m["conv"]
                        row[X] = m["seq"]
                        row[Y] = w.messages[top[2]]["seq"]
                    totals[1] += 1
                    continue
            top[0] = author + 1
            top[1] = m["proc"]
            top[2] = mid


@kernel
def fifo_sequences(w: Tables, highest: Array, authors: Array, out: Array, totals: Array) -> None:
    """Run `author_sequences` for each client number in `authors`.

    One call for all authors, because unpacking the arrays of `Tables` for each call from Python is slow.
    """
    # `out` and `totals` are shared: each author writes behind what the author before has found.
    for i in range(len(authors)):
        author_sequences(w, highest, authors[i], out, totals)


class Fifo(Folding):
    """State of I1: messages of one author on one connection to one conversation keep their order.

    Every device receives them in the order of sending, and the platform numbers them in that order.

    Not a violation: a repeated delivery (I6); another order of messages sent on different connections of the author;
    anything about a message that was sent more than once, because a retry may overtake; messages never received (I4,
    I5b). Not examined: the number of a message that has several (I7).
    """

    def __init__(self, check: Described, roster: Roster, contract: Contract) -> None:
        """Start without streams."""
        super().__init__(check, roster, contract)
        self._streams = np.zeros(0, STREAM)
        self._entries = np.zeros(1024, ENTRY)
        self._blocks = np.zeros(3, np.int64)

    def step(self, view: View) -> None:
        """Implement `Fold.step`: compare the order of deliveries with the order of sending."""
        world, done = view.world, 0
        if not len(self._streams):
            self._streams = np.zeros(world.members, STREAM)
            self._streams["proc"] = -1
        self._blocks[2] = 0
        while True:
            world.reserve_hash(len(view.records))
            done = fifo_step(
                view.records,
                done,
                view.journal,
                view.mid,
                view.slot,
                view.seen,
                world.tables,
                self._streams,
                self._entries,
                self._blocks,
                world.out,
            )
            if done == len(view.records):
                break
            self._entries = grown(self._entries, len(self._entries) + world.members)  # no stream needs more
        self.suspects.take(world.out, int(self._blocks[2]))
        self.examined = int(self._blocks[1])

    def peek(self, world: World) -> Verdict:
        """Implement `Fold.peek`: return the verdict so far; later records cannot undo a violation."""
        return self._judge(world)

    def finish(self, end: End) -> Verdict:
        """Implement `Fold.finish`: return the verdict on all records."""
        return self._judge(end.world)

    def _judge(self, world: World) -> Verdict:
        w, totals = world.tables, np.zeros(2, np.int64)
        numbered = Suspects()
        if w.used[USED_PAGES] and self.contract.sequence != "none":
            highest = np.zeros((len(w.conv_next), 3), np.int64)
            authors = np.unique(w.page_author[: int(w.used[USED_PAGES])])
            fifo_sequences(w, highest, authors, world.out, totals)
            numbered.take(world.out, min(int(totals[1]), len(world.out)), int(totals[1]))
        both = self.suspects.merged(numbered)
        return self.conclude(
            [self._finding(world, row) for row in both.rows],
            examined=self.examined + int(totals[0]),
            violations=both.total,
        )

    def _finding(self, world: World, row: tuple[int, ...]) -> Finding:
        sent = invoked(world, row[MID]), invoked(world, row[MID2])
        if row[WHAT] == HEARD_EARLIER:
            return finding(world, "heard", row, *sent, row[REC2], row[REC])
        return finding(world, "numbered", row, *sent, row[REC2], row[REC], seq=row[X], other_seq=row[Y])


FIFO = Described(
    id="I1",
    name="per-sender-fifo",
    title="Did everyone receive each sender's messages in the order in which they were sent?",
    unit="pairs of consecutive messages",
    symptom="Messages of one sender came in another order than they were sent",
    fold=Fifo,
    when=lambda contract: contract.ordered,
    tally="{violations} of {examined} pairs of consecutive messages of one sender {are} in the wrong order",
    sentences={
        "heard": "{who} received {other} before {message} in {where}, although {author} sent #{counter} "
        "first on the same connection",
        "numbered": "{where} gave {message} the number {seq}, below number {other_seq} of {other}, although "
        "{author} sent #{counter} later on the same connection",
    },
)

assert PAGE == 1 << PAGE_BITS
