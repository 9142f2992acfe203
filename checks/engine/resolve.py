"""The one pass that all checks share: which message, connection, subscription and slot each record is about,
what is known of the message so far, and whether it was delivered here before."""

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
"""Bit of `seen`: … to this client, on whatever connection."""

ANSWERED_AGAIN = 4
"""Bit of `seen`: this attempt had been answered by OK or FAIL before."""
HEARD_BEFORE = 8
"""Bit of `seen`: this client had heard the message before, live or replayed, on whatever connection."""

NO_ROOM = -2


@helper
def slot_of(w: Tables, sub: Int, conn: Int) -> Int:
    """The slot of a subscription on a connection; a new one if it was never met."""
    s = w.subs[sub]
    if s["conn"] == conn:
        return np.int64(s["slot"])
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
    """The message number, -1 if it cannot be one of ours, NO_ROOM if tables must grow first."""
    if author >= len(w.user_of) or counter <= 0 or counter >= COUNTER_MAX or conv >= len(w.conv_next):
        return -1
    number = counter >> PAGE_BITS
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
        for k in range(page * PAGE, (page + 1) * PAGE):
            w.messages[k]["conv"] = -1
            w.messages[k]["seq"] = -1
    mid = page * PAGE + (counter & (PAGE - 1))
    m = w.messages[mid]
    if m["conv"] != conv:
        if m["conv"] >= 0:
            m["flags"] |= DISPUTED
            if not sending:  # only the sender knows where it belongs
                return -1
        m["conv"] = conv
        m["pos"] = w.conv_next[conv]
        m["author_sub"] = subscription(w, author, conv)
        w.conv_next[conv] += 1
    return mid


@helper
def page_for(w: Tables, pages: Any, at: Int, key: Int, counter: Int, number: Int) -> Int:
    """The page of bits in the row `at` of `pages` (SUB or SLOT), made if it is new."""
    row = pages[at]
    if row["page_no"] == number:
        return np.int64(row["page"])
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
    """Note that the message at `pos` was heard here; the bits of `seen` if it had been delivered before."""
    number = pos >> SPAN_BITS
    word = (pos & (SPAN - 1)) >> 6
    bit = np.uint64(1) << np.uint64(pos & 63)
    page = page_for(w, w.subs, sub, TAG_SUB_PAGE | (sub << 28) | number, USED_SUB_PAGES, number)
    bits = w.sub_bits[page]
    again = HEARD_BEFORE if bits[3 * word] & bit else 0
    bits[3 * word] |= bit
    if not live:
        return again
    if (bits[3 * word + 1] | bits[3 * word + 2]) & bit:
        again |= AGAIN_ON_DEVICE
    if w.subs[sub]["first"] == slot:
        if bits[3 * word + 1] & bit:
            again |= AGAIN_HERE
        bits[3 * word + 1] |= bit
        return again
    bits[3 * word + 2] |= bit
    page = page_for(w, w.slots, slot, TAG_SLOT_PAGE | (slot << 28) | number, USED_SLOT_PAGES, number)
    if w.slot_bits[page, word] & bit:
        again |= AGAIN_HERE
    w.slot_bits[page, word] |= bit
    return again


@helper
def connection_of(w: Tables, connections: Array, number: Int, journal: Int, client: Int) -> Int:
    conn = np.int64(connections[number])
    if conn < 0:
        conn = np.int64(w.used[USED_CONNS])
        w.used[USED_CONNS] += 1
        connections[number] = conn
        w.conns[conn]["journal"] = journal
        w.conns[conn]["client"] = client if client < len(w.user_of) else -1
    return conn


@helper
def keep_stray(w: Tables, r: Any, conn: Int, rec: Int) -> None:
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
    """Fill the columns from record `start` on. Returns how many records are done: fewer than all if a table
    (`connections`, messages, or the directory of the record's author) must grow first."""
    for i in range(start, len(records)):
        r = records[i]
        kind = np.int64(r["kind"])
        client = np.int64(r["client"])
        conv = np.int64(r["conv"])
        mids[i] = subs[i] = slots[i] = conns[i] = -1
        seen[i] = 0
        if 0 < r["conn"] < CONN_MAX and kind != K_WRITE:
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
            if listened and slots[i] >= 0:  # heard all the same, but no delivery, repetition or row: I12 judges it
                mark(w, np.int64(subs[i]), np.int64(slots[i]), np.int64(w.messages[mid]["pos"]), False)
            continue
        mids[i] = mid
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
