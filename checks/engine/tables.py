"""Tables that all checks share: messages, connections, slots, and bits of which device received what.

mid    message number: (author, counter) through pages of 64 counters, so neighbours share cache lines.
conn   connection number over all journals.
sub    subscription: one client (device) that belongs to one conversation; dense from the roster, the subscriptions of a
       conversation are neighbours.
slot   a subscription on one connection, the unit of order; numbered as they appear.
pos    position of a message in its conversation, in the order in which the judge met the messages; an index for bits.
rec    record reference: journal << 40 | index; 0 is none.

Compiled loops never allocate; `World` grows the arrays before each chunk.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from earwitness.checks.engine.compiled import helper, kernel

Array: TypeAlias = NDArray[Any]
Int: TypeAlias = Any
"""Type of a 64-bit integer: compiled, or numpy's own in plain Python."""

PAGE_BITS = 6
PAGE = 1 << PAGE_BITS
"""Counters in a page of messages: 64 entries of 80 bytes, 5 KiB."""
COUNTER_MAX = 1 << 28
"""Limit of counters; those from it on are ignored: a wrong number must not make the directory grow without bound."""

REC_BITS = 40
"""Bits of a record's index in a reference; the journal number stands above them."""
REC_MASK = (1 << REC_BITS) - 1

MESSAGE = np.dtype(
    [
        ("conv", "<i4"),
        ("pos", "<i4"),
        ("author_sub", "<i4"),
        ("flags", "<u2"),
        ("proc", "u1"),
        ("rows", "u1"),
        ("digest", "<u4"),
        ("size", "<u4"),
        ("invoke_t", "<i8"),
        ("seq", "<i8"),
        ("seq_rec", "<i8"),
        ("first_rec", "<i8"),
        ("invoke_rec", "<i8"),
        ("agreed", "<u4"),
        ("agreed_retries", "<u4"),
        ("sent", "<u2"),
        ("answered", "<u2"),
        ("refused", "<u2"),
        ("spare", "<u2"),
    ]
)
"""State of one message, 80 bytes.

conv, pos, author_sub   conversation (-1: no record named it), position in it, the author's own subscription (-1: none)
proc                    the author's connection epoch modulo 256, from the first attempt
rows                    STORED records, at most 255
digest, size            CRC-32 and bytes of the body, with which other records are compared
invoke_t, invoke_rec    time (ns) and record of the earliest sending
seq, seq_rec            the first number stated and its record; further ones are in `extra`
first_rec               the record that `digest` is from; without one, a misplaced copy
agreed                  received records of the first attempt with that digest and size
agreed_retries          received records of further attempts with that digest
sent, answered, refused bits of attempts with INVOKE, with OK or FAIL, with FAIL; see `attempt_bit`
"""

ATTEMPTS = 15
"""Number of attempts with a bit of their own in `sent`, `answered` and `refused` of MESSAGE.

All further attempts share one more bit of `sent`, so they never count as answered.
"""

INVOKED = 1
ACKED = 2
REFUSED = 4
UNANSWERED = 8
HEARD = 16
STORED = 32
DELIVERED = 64
RETRIED = 128
NUMBERED = 256
"""Flag: a record other than a REPLAY stated `seq`."""
RENUMBERED = 512
"""Flag: more than one number was stated for the message."""
DISPUTED = 1024
"""Flag: the message was recorded under another conversation too."""
SIZED = 2048
DIGESTED = 4096
SENT_ON = 8192
"""Flag: `proc` is known."""

MISPLACED = 16384
"""Flag: a copy was recorded under another conversation's name."""

SUB = np.dtype([("conn", "<i4"), ("slot", "<i4"), ("first", "<i4"), ("page_no", "<i4"), ("page", "<i4")])
"""State of one subscription: its latest connection and slot (a cache), its first slot, and its latest bit page."""
SLOT = np.dtype([("sub", "<i4"), ("conn", "<i4"), ("page_no", "<i4"), ("page", "<i4")])
"""State of one slot: subscription, connection, and its latest bit page (a cache, see `resolve.page_for`)."""
CONN = np.dtype([("journal", "<i4"), ("client", "<i4")])
"""Journal and client of one connection; client -1: not of the roster."""

STRAY = np.dtype(
    [("author", "<u4"), ("counter", "<u4"), ("client", "<u4"), ("conn", "<i4"), ("rec", "<i8"), ("kind", "<i8")]
)
"""OK or FAIL without attempt or conversation: the message that it names, and the client and connection it came to."""

SPAN_BITS = 8
"""Bits of a position inside a bit page: a page covers SPAN = 256 messages of a conversation."""
SPAN = 1 << SPAN_BITS
SUB_WORDS = 3 * SPAN // 64
"""Words of a subscription's bit page, in triples: received, delivered on the first slot, delivered on a later one."""
SLOT_WORDS = SPAN // 64
"""Words of a slot's bit page: delivered on this slot."""

TAG_SLOT = 0
"""Tags in bits 60 to 62 of hash keys, so that one table serves five kinds of keys.

Keys of slots, of bit pages of subscriptions and of slots, of agents' streams, and of attempts.
"""
TAG_SUB_PAGE = 1 << 60
TAG_SLOT_PAGE = 2 << 60
TAG_STREAM = 3 << 60
TAG_ATTEMPT = 4 << 60

USED_PAGES = 0
"""Indexes of `Tables.used`: the number of entries in use of each table, from USED_PAGES to USED_STRAYS."""
USED_SLOTS = 1
USED_SUB_PAGES = 2
USED_SLOT_PAGES = 3
USED_HASH = 4
USED_EXTRA = 5
USED_DIRECTORY = 6
USED_CONNS = 7
USED_STRAYS = 8


class Tables(NamedTuple):
    """Arrays by name, for compiled loops.

    A NamedTuple, because numba takes it as one argument with arrays of different types. Growing an array makes a new
    tuple with the same counters `used`, so callers read `World.tables` anew for each call.
    """

    user_of: Array  # i4 by client
    conv_base: Array  # i4 by conv, + 1: first subscription of each conversation
    sub_client: Array  # i4 by sub
    sub_conv: Array  # i4 by sub
    client_base: Array  # i4 by client, + 1: its subscriptions in `joined_conv`, `joined_sub`
    joined_conv: Array  # i4, ascending for each client
    joined_sub: Array  # i4
    directory_base: Array  # i8 by client: where its pages are listed in `directory`
    directory_room: Array  # i4 by client: how many pages may be listed there
    directory: Array  # i4: page number, -1 none
    page_author: Array  # i4 by page
    page_number: Array  # i4 by page: counter >> PAGE_BITS
    messages: Array  # MESSAGE by mid
    conv_next: Array  # i4 by conv: messages met so far
    reads: Array  # i8 by conv: final reads that came to their end
    conns: Array  # CONN
    subs: Array  # SUB
    slots: Array  # SLOT
    sub_bits: Array  # u8 (page, SUB_WORDS): word triples received, delivered on the first slot, on later slots
    slot_bits: Array  # u8 (page, SLOT_WORDS): delivered on this (later) slot
    hash_keys: Array  # i8, -1 empty
    hash_values: Array  # i4
    extra: Array  # i8 (n, 4): mid, another seq, rec, 1 unless from a REPLAY
    strays: Array  # STRAY: answers that no sending waits for
    used: Array  # i8


@helper
def place(keys: Array, key: Int) -> Int:
    """Return the position of `key` in the hash table `keys`, or the empty position where it belongs.

    Open addressing with linear probing: two flat arrays, no allocation, neighbours in one cache line. The length is a
    power of two and the table at most half full (`World.reserve_hash`), so the loop ends and chains stay short. Keys
    are never removed; -1 is empty, and no key is negative.

    The two halves of a key (subscription and connection or page) are multiplied separately and mixed by a shift. Both
    factors are small: no product overflows 64 bits, since plain Python, whose integers do not wrap, must agree.
    """
    mask = len(keys) - 1
    mixed = (key >> 28) * 40503 + (key & 0xFFFFFFF) * 34283  # no product overflows: plain Python must agree
    at = (mixed ^ (mixed >> 17)) & mask
    # At least half of the places are empty (-1), so the walk ends also for a key that is missing.
    while keys[at] != -1 and keys[at] != key:
        at = (at + 1) & mask
    return at


@helper
def find(w: Tables, key: Int) -> Int:
    """Return the value of `key` in the hash table, -1 if it has none."""
    # `place` ends at the key or at the first free place (-1), so one comparison decides.
    at = place(w.hash_keys, key)
    if w.hash_keys[at] == -1:
        return -1
    return np.int64(w.hash_values[at])


@helper
def put(w: Tables, key: Int, value: Int) -> None:
    """Add a key to the hash table. The key must not be in the table yet, and the caller must have reserved room."""
    # Nothing is ever removed: a search may end at the first free place, and `used` only grows.
    at = place(w.hash_keys, key)
    w.hash_keys[at] = key
    w.hash_values[at] = value
    w.used[USED_HASH] += 1


@kernel
def rehash(old_keys: Array, old_values: Array, keys: Array, values: Array) -> None:
    """Copy all entries of a hash table into the larger arrays `keys` and `values`.

    The caller fills `keys` with -1 (empty). Each key is placed anew, because its place depends on the length of the
    table. The function is compiled because it walks the whole table.
    """
    for i in range(len(old_keys)):
        if old_keys[i] != -1:
            # Where a key belongs depends on the length of the table.
            at = place(keys, old_keys[i])
            keys[at] = old_keys[i]
            values[at] = old_values[i]


@helper
def subscription(w: Tables, client: Int, conv: Int) -> Int:
    """Return the subscription number of a client in a conversation, -1 if the client does not belong to it.

    Binary search in the client's own ascending range of `joined_conv`. A client has few conversations, so this takes
    few comparisons in one or two cache lines and needs no hash over all pairs.
    """
    low = np.int64(w.client_base[client])
    high = np.int64(w.client_base[client + 1])
    # Entries before `low` are below `conv`, those from `high` on are not.
    while low < high:
        middle = (low + high) >> 1
        if w.joined_conv[middle] < conv:
            low = middle + 1
        else:
            high = middle
    if low < w.client_base[client + 1] and w.joined_conv[low] == conv:
        return np.int64(w.joined_sub[low])
    return -1


@helper
def attempt_bit(attempt: Int) -> Int:
    """Return the bit of an attempt in `sent`, `answered` and `refused` of MESSAGE.

    0 for attempt 0 (not stated), and beyond ATTEMPTS: those share a bit of `sent`, and have none in the other two.
    """
    # A message has 16 bits in `sent`: the highest stands for all attempts beyond ATTEMPTS, which `learn` sets.
    return 1 << (attempt - 1) if 1 <= attempt <= ATTEMPTS else 0


@helper
def heard(w: Tables, sub: Int, number: Int) -> Int:
    """Return the bit page of a subscription for positions from `number` << SPAN_BITS, -1 if there is none.

    No page is made: a span in which the device received nothing has no page.
    """
    # The row caches the latest page, and most questions are about that one.
    if w.subs[sub]["page_no"] == number:
        return np.int64(w.subs[sub]["page"])
    return find(w, TAG_SUB_PAGE | (sub << 28) | number)
