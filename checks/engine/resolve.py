"""Shared pass: finds the message, connection, subscription and slot of each record.

It also updates the message's entry, and sets bits that show whether the device had received the message before.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from earwitness.checks.engine.compiled import helper, kernel
from earwitness.checks.engine.learn import learn, learn_content, learn_sequence
from earwitness.checks.engine.tables import (
    COUNTER_MAX,
    DISPUTED,
    MISPLACED,
    PAGE,
    PAGE_BITS,
    REC_BITS,
    SPAN,
    SPAN_BITS,
    TAG_SLOT,
    TAG_SLOT_PAGE,
    TAG_SUB_PAGE,
    USED_CONNS,
    USED_PAGES,
    USED_SLOT_PAGES,
    USED_SLOTS,
    USED_STRAYS,
    USED_SUB_PAGES,
    Array,
    Int,
    Tables,
    attempt_bit,
    find,
    put,
    subscription,
)
from earwitness.checks.history.kinds import (
    ANSWERS,
    CONTENT,
    K_DELIVER,
    K_INVOKE,
    K_READ_END,
    K_REPLAY,
    K_WRITE,
    LISTENED,
    MISROUTED,
    OF_MESSAGES,
    UNTRUSTED,
)
from earwitness.checks.history.record import CONN_MAX

AGAIN_HERE = 1
"""Bit of `seen`: this message was already delivered on this connection."""
AGAIN_ON_DEVICE = 2
"""Bit of `seen`: this message was already delivered to this client, on any connection."""

ANSWERED_AGAIN = 4
"""Bit of `seen`: this attempt had been answered by OK or FAIL before."""
HEARD_BEFORE = 8
"""Bit of `seen`: this client had received the message before, live or replayed, on any connection."""

NO_ROOM = -2
"""Result of `message_of` if a table must grow before the record can be resolved."""


@helper
def slot_of(w: Tables, sub: Int, conn: Int) -> Int:
    """Return the slot of a subscription on a connection; a new one if there is none yet.

    The subscription's row caches its latest connection and slot. A device uses one connection at a time, so nearly
    every call ends at the first comparison; the hash table is probed only after a reconnect. Key: TAG_SLOT | sub << 28
    | conn. The first slot of a subscription is marked in its row, because its bits live in the subscription's own pages
    (see `mark`): most subscriptions never get a second slot.
    """
    s = w.subs[sub]
    if s["conn"] == conn:
        return np.int64(s["slot"])
    # The device has reconnected, or records of two of its connections interleave.
    slot = find(w, TAG_SLOT | (sub << 28) | conn)
    if slot < 0:
        slot = np.int64(w.used[USED_SLOTS])
        w.used[USED_SLOTS] += 1
        put(w, TAG_SLOT | (sub << 28) | conn, slot)
        new = w.slots[slot]
        new["sub"] = sub
        new["conn"] = conn
        new["page_no"] = -1
        if s["first"] < 0:
            s["first"] = slot
    s["conn"] = conn
    s["slot"] = slot
    return slot


@helper
def message_of(w: Tables, author: Int, counter: Int, conv: Int, sending: bool) -> Int:
    """Return the message number of a record, -1 for none, NO_ROOM if tables must grow first.

    -1 for an author or a counter that cannot be one of this run, for a conversation `conv` that is not in the roster,
    and for a `conv` that differs from the conversation of the message's entry, unless the record is the INVOKE
    (`sending`).

    A message number is page << PAGE_BITS | counter & (PAGE - 1). Pages of 64 counters are given out as authors reach
    them: an author counts up from 1, so a page fills before the next one begins, and neighbours share cache lines. The
    directory lists the pages of each author, which makes the look-up two array reads without hashing.

    Invariant: `conv` is -1 for counters of a page that no record has named. `pos` is given when a message gets its
    conversation; it is a dense index for bits, not an order. If two conversations are stated, the entry is DISPUTED and
    follows the INVOKE, since only the sender knows where the message belongs; `pos` is then given anew.
    """
    if author >= len(w.user_of) or counter <= 0 or counter >= COUNTER_MAX or conv >= len(w.conv_next):
        return -1
    number = counter >> PAGE_BITS
    # Compiled loops cannot enlarge a table: the caller does, and repeats the record.
    if number >= w.directory_room[author]:
        return NO_ROOM
    at = w.directory_base[author] + number
    page = np.int64(w.directory[at])
    if page < 0:
        page = np.int64(w.used[USED_PAGES])
        if page >= len(w.page_author):
            return NO_ROOM
        w.used[USED_PAGES] += 1
        w.directory[at] = page
        w.page_author[page] = author
        w.page_number[page] = number
        # Mark the rows of a new page as empty, since 0 is a valid conversation and a valid number.
        for k in range(page * PAGE, (page + 1) * PAGE):
            w.messages[k]["conv"] = -1
            w.messages[k]["seq"] = -1
    mid = page * PAGE + (counter & (PAGE - 1))
    m = w.messages[mid]
    if m["conv"] != conv:
        if m["conv"] >= 0:
            m["flags"] |= DISPUTED
            if not sending:  # only the sender's record decides the conversation
                return -1
        # New here, or moved by its sender: the position indexes the bits of this conversation only.
        m["conv"] = conv
        m["pos"] = w.conv_next[conv]
        m["author_sub"] = subscription(w, author, conv)
        w.conv_next[conv] += 1
    return mid


@helper
def page_for(w: Tables, pages: Any, at: Int, key: Int, counter: Int, number: Int) -> Int:
    """Return the bit page of row `at` of `pages` (SUB or SLOT rows) for the span `number`; a new page if there is none.

    `key`: key of the page in the hash table. `counter`: index in `w.used` of the number of pages. Span n covers the
    positions from n << SPAN_BITS on.

    The row caches its latest page. Positions grow with time, so a device mostly receives messages of one span, and the
    hash table is rarely read. Pages are given out in order; they come zeroed.
    """
    row = pages[at]
    if row["page_no"] == number:
        return np.int64(row["page"])
    # A new span begins, or rarely one that was left is read again.
    page = find(w, key)
    if page < 0:
        page = np.int64(w.used[counter])
        w.used[counter] += 1
        put(w, key, page)
    row["page_no"] = number
    row["page"] = page
    return page


@helper
def mark(w: Tables, sub: Int, slot: Int, pos: Int, live: bool) -> Int:
    """Set the bits for the reception of the message at the position `pos` of its conversation.

    Return the bits of `seen` for what had been received before. `live`: it was delivered live, not replayed.

    One page covers SPAN = 256 positions of one subscription, as four triples of 64-bit words: received at all (live or
    replayed), delivered live on the first slot, delivered live on a later slot. The three words of a position lie side
    by side, so one cache line answers all questions. Pages are sparse: a device that joins late or leaves early has
    none for what it did not receive.

    Only later slots need bits by slot (`slot_bits`), for AGAIN_HERE. A device that never reconnects thus costs three
    bits a message and no further page. A replay (`live` false) sets only the first word: it is no delivery, and its
    repetition is no duplicate.
    """
    number = pos >> SPAN_BITS
    word = (pos & (SPAN - 1)) >> 6
    bit = np.uint64(1) << np.uint64(pos & 63)
    page = page_for(w, w.subs, sub, TAG_SUB_PAGE | (sub << 28) | number, USED_SUB_PAGES, number)
    bits = w.sub_bits[page]
    # The answer is about earlier records, so each bit is read before it is set.
    again = HEARD_BEFORE if bits[3 * word] & bit else 0
    bits[3 * word] |= bit
    if not live:
        return again
    if (bits[3 * word + 1] | bits[3 * word + 2]) & bit:
        again |= AGAIN_ON_DEVICE
    # On the first slot the subscription's page also answers whether this connection had the message before.
    if w.subs[sub]["first"] == slot:
        if bits[3 * word + 1] & bit:
            again |= AGAIN_HERE
        bits[3 * word + 1] |= bit
        return again
    bits[3 * word + 2] |= bit
    # All later slots share the third word, so each needs a page of its own for the same question.
    page = page_for(w, w.slots, slot, TAG_SLOT_PAGE | (slot << 28) | number, USED_SLOT_PAGES, number)
    if w.slot_bits[page, word] & bit:
        again |= AGAIN_HERE
    w.slot_bits[page, word] |= bit
    return again


@helper
def connection_of(w: Tables, connections: Array, number: Int, journal: Int, client: Int) -> Int:
    """Return the global number of connection `number` of a journal; a new number if there is none yet.

    `connections` maps the numbers of one journal, which count up from 1, so it is an array and no hash.
    """
    conn = np.int64(connections[number])
    if conn < 0:
        # Numbers grow in the order of first records, so a device's later connection has a higher one (see I14).
        conn = np.int64(w.used[USED_CONNS])
        w.used[USED_CONNS] += 1
        connections[number] = conn
        w.conns[conn]["journal"] = journal
        w.conns[conn]["client"] = client if client < len(w.user_of) else -1
    return conn


@helper
def keep_stray(w: Tables, r: Any, conn: Int, rec: Int) -> None:
    """Store an OK or FAIL that names no attempt or no conversation, for the checks of answers."""
    # There is room: `World` has reserved a row for each record of the chunk.
    s = w.strays[w.used[USED_STRAYS]]
    w.used[USED_STRAYS] += 1
    s["author"] = r["author"]
    s["counter"] = r["counter"]
    s["client"] = r["client"]
    s["conn"] = conn
    s["rec"] = rec
    s["kind"] = r["kind"]


@kernel
def resolve(
    records: Array,
    start: Int,
    journal: Int,
    connections: Array,
    w: Tables,
    mids: Array,
    subs: Array,
    slots: Array,
    conns: Array,
    seen: Array,
) -> Int:
    """Resolve records from `start` on and fill their columns; return the number of records done.

    Columns hold -1 where a record has no message, subscription, slot or connection; `seen` holds the bits above. The
    result is less than `len(records)` if a table must grow first (`connections`, message pages, or the directory of the
    record's author). The caller grows it and calls again from that record: compiled loops cannot allocate, and a check
    before each chunk would have to reserve for the worst case. A record must therefore change nothing before its last
    possible return, or only in ways that can be repeated: `connection_of` and `slot_of` find what they made.

    The order of the steps matters. `answered` is read before `learn` sets it, and `mark` comes after `message_of`,
    which gives the message its position. Bodies that cannot be trusted (corrupt, of another run) resolve to no message.
    A misrouted copy counts as received, so that the message is not reported as missing too. It does not count as a
    delivery, a repetition or a stored row: I12 judges it. A replay may be misrouted because history is older than the
    run. WRITE records have no connection here: their `conn` slot holds the version that an edit is based on.
    """
    for i in range(start, len(records)):
        r = records[i]
        kind = np.int64(r["kind"])
        client = np.int64(r["client"])
        conv = np.int64(r["conv"])
        mids[i] = subs[i] = slots[i] = conns[i] = -1
        seen[i] = 0
        if 0 < r["conn"] < CONN_MAX and kind != K_WRITE:
            # The caller enlarges the array and repeats this record, for which no table was changed yet.
            if r["conn"] >= len(connections):
                return i
            conns[i] = connection_of(w, connections, np.int64(r["conn"]), journal, client)
        if conv < len(w.conv_next) and client < len(w.user_of):
            sub = subscription(w, client, conv)
            subs[i] = sub
            if sub >= 0 and conns[i] >= 0:
                slots[i] = slot_of(w, sub, np.int64(conns[i]))
        if kind == K_READ_END and conv < len(w.reads):
            w.reads[conv] += 1
        listened = (1 << kind & LISTENED) != 0
        # A body that is corrupt or of another run does not reliably name its message.
        if not 1 << kind & OF_MESSAGES or r["flags"] & UNTRUSTED:
            continue
        answer = (1 << kind & ANSWERS) != 0
        mid = message_of(w, np.int64(r["author"]), np.int64(r["counter"]), conv, kind == K_INVOKE)
        if mid == NO_ROOM:
            return i
        rec = (np.int64(journal) << REC_BITS) | np.int64(r["index"])
        if answer and (r["attempt"] == 0 or conv >= len(w.conv_next)):
            keep_stray(w, r, conns[i], rec)
        if mid < 0:
            continue
        if r["flags"] & MISROUTED:
            if kind != K_REPLAY:  # history may be older than the run
                w.messages[mid]["flags"] |= MISPLACED
                if w.messages[mid]["first_rec"] == 0:
                    w.messages[mid]["first_rec"] = rec
            if listened and slots[i] >= 0:  # received, but no delivery, repetition or row: I12 judges it
                mark(w, np.int64(subs[i]), np.int64(slots[i]), np.int64(w.messages[mid]["pos"]), False)
            continue
        mids[i] = mid
        # `learn` sets this bit below, so it is read before.
        if answer and w.messages[mid]["answered"] & attempt_bit(np.int64(r["attempt"])):
            seen[i] = ANSWERED_AGAIN
        learn(w, mid, r, rec)
        if 1 << kind & CONTENT:
            learn_content(w, mid, r, rec)
        if kind != K_INVOKE and r["seq"] >= 0:
            learn_sequence(w, mid, r, rec)
        if listened and slots[i] >= 0:
            seen[i] = mark(
                w, np.int64(subs[i]), np.int64(slots[i]), np.int64(w.messages[mid]["pos"]), kind == K_DELIVER
            )
    return len(records)
