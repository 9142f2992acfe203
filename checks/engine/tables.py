"""The tables that all checks share: messages, connections, slots, who heard what.

mid    message number: (author, counter) through pages of 64 counters, so neighbours share cache lines.
conn   connection number over all journals.
sub    subscription: one client (device) that belongs in one conversation; dense from the roster, the
       subscriptions of a conversation are neighbours.
slot   a subscription on one connection, the unit of order; numbered as they appear.
pos    position of a message in its conversation in the order the judge met them: only an index for bits.
rec    record reference: journal << 40 | index; 0 is none.

Compiled loops never allocate; `World.reserve` grows the arrays before each chunk.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from earwitness.checks.engine.compiled import helper, kernel

Array: TypeAlias = NDArray[Any]
Int: TypeAlias = Any
"""A 64-bit integer: compiled, or numpy's own in plain Python."""

PAGE_BITS = 6
PAGE = 1 << PAGE_BITS
COUNTER_MAX = 1 << 28
"""Counters from here on are nobody's: a stray number must not make the directory grow without bound."""

REC_BITS = 40
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
"""What is known of one message, 80 bytes. seq: the first one stated; further ones are in `extra`.
first_rec: the record that `digest` is of; without one, a misplaced one. agreed: heard records of the first attempt
with that digest and size, agreed_retries: of further attempts with that digest. rows: STORED records (at most 255).
sent, answered, refused: bits of attempts with INVOKE, OK or FAIL, FAIL; see `attempt_bit`."""

ATTEMPTS = 15
"""Attempts that are told apart. INVOKE sets the next bit for all further ones, so they never count as answered."""

INVOKED = 1
ACKED = 2
REFUSED = 4
UNANSWERED = 8
HEARD = 16
STORED = 32
DELIVERED = 64
RETRIED = 128
NUMBERED = 256
"""`seq` was stated by something else than a REPLAY."""
RENUMBERED = 512
"""More than one number was stated for it."""
DISPUTED = 1024
"""Seen under another conversation too."""
SIZED = 2048
DIGESTED = 4096
SENT_ON = 8192
"""`proc` is known."""

MISPLACED = 16384
"""A copy was seen under another conversation's name."""

SUB = np.dtype([("conn", "<i4"), ("slot", "<i4"), ("first", "<i4"), ("page_no", "<i4"), ("page", "<i4")])
SLOT = np.dtype([("sub", "<i4"), ("conn", "<i4"), ("page_no", "<i4"), ("page", "<i4")])
CONN = np.dtype([("journal", "<i4"), ("client", "<i4")])

STRAY = np.dtype(
    [("author", "<u4"), ("counter", "<u4"), ("client", "<u4"), ("conn", "<i4"), ("rec", "<i8"), ("kind", "<i8")]
)
"""An OK or FAIL of no attempt or of no conversation: the message it names, who heard it on which connection."""

SPAN_BITS = 8
SPAN = 1 << SPAN_BITS
SUB_WORDS = 3 * SPAN // 64
SLOT_WORDS = SPAN // 64

TAG_SLOT = 0
TAG_SUB_PAGE = 1 << 60
TAG_SLOT_PAGE = 2 << 60
TAG_STREAM = 3 << 60
TAG_ATTEMPT = 4 << 60

USED_PAGES = 0
USED_SLOTS = 1
USED_SUB_PAGES = 2
USED_SLOT_PAGES = 3
USED_HASH = 4
USED_EXTRA = 5
USED_DIRECTORY = 6
USED_CONNS = 7
USED_STRAYS = 8


class Tables(NamedTuple):
    """Arrays by name, for compiled loops. Growing makes a new tuple of the same counters `used`."""

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
    sub_bits: Array  # u8 (page, SUB_WORDS): word triples heard, delivered on the first slot, on later slots
    slot_bits: Array  # u8 (page, SLOT_WORDS): delivered on this (later) slot
    hash_keys: Array  # i8, -1 empty
    hash_values: Array  # i4
    extra: Array  # i8 (n, 4): mid, another seq, rec, 1 unless from a REPLAY
    strays: Array  # STRAY: answers that no sending waits for
    used: Array  # i8


@helper
def place(keys: Array, key: Int) -> Int:
    """Where `key` is in the hash table, or the empty place where it belongs."""
    mask = len(keys) - 1
    mixed = (key >> 28) * 40503 + (key & 0xFFFFFFF) * 34283  # no product overflows: plain Python must agree
    at = (mixed ^ (mixed >> 17)) & mask
    while keys[at] != -1 and keys[at] != key:
        at = (at + 1) & mask
    return at


@helper
def find(w: Tables, key: Int) -> Int:
    """The value of `key`, or -1."""
    at = place(w.hash_keys, key)
    if w.hash_keys[at] == -1:
        return -1
    return np.int64(w.hash_values[at])


@helper
def put(w: Tables, key: Int, value: Int) -> None:
    """Add a key that is not there yet."""
    at = place(w.hash_keys, key)
    w.hash_keys[at] = key
    w.hash_values[at] = value
    w.used[USED_HASH] += 1


@kernel
def rehash(old_keys: Array, old_values: Array, keys: Array, values: Array) -> None:
    for i in range(len(old_keys)):
        if old_keys[i] != -1:
            at = place(keys, old_keys[i])
            keys[at] = old_keys[i]
            values[at] = old_values[i]


@helper
def subscription(w: Tables, client: Int, conv: Int) -> Int:
    """The subscription number, or -1 if the client does not belong in the conversation."""
    low = np.int64(w.client_base[client])
    high = np.int64(w.client_base[client + 1])
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
    """Its bit in `sent`; 0 where it has none of its own in `answered` and `refused`."""
    return 1 << (attempt - 1) if 1 <= attempt <= ATTEMPTS else 0


@helper
def heard(w: Tables, sub: Int, number: Int) -> Int:
    """The page of bits of a subscription for positions from `number` << SPAN_BITS, or -1."""
    if w.subs[sub]["page_no"] == number:
        return np.int64(w.subs[sub]["page"])
    return find(w, TAG_SUB_PAGE | (sub << 28) | number)
