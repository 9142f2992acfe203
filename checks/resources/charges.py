"""Ledger of rate budgets that I36 to I39 share: the requests of each user, and whether they were granted."""

from __future__ import annotations

from typing import Any

import numpy as np

from earwitness.checks.engine.compiled import kernel
from earwitness.checks.engine.tables import ACKED, ATTEMPTS, INVOKED, PAGE_BITS, REC_BITS, Array, Int
from earwitness.checks.engine.world import View, World, grown
from earwitness.checks.history.kinds import K_FAIL, K_JOIN, K_OK, K_READ, K_REQUEST, K_REVOKE, K_SEEN, K_WRITE
from earwitness.checks.history.record import NOBODY, NONE, RECORD, SPOOFED, Kind, Place

K_PROBE, K_IDENTITY = int(Kind.PROBE), int(Kind.IDENTITY)
OTHERS = (
    1 << K_REQUEST | 1 << K_PROBE | 1 << K_READ | 1 << K_WRITE | 1 << K_SEEN | 1 << K_REVOKE | 1 << K_JOIN
    | 1 << K_IDENTITY
)  # fmt: skip
"""Kinds of records, as bits, other than messages, that each stand for a request; JOIN: to open a conversation."""
LIMITED = (429, 4429)
"""HTTP statuses, codes of refused messages and close codes that mean "too many"."""
SERVICES = (int(Place.AUTH), int(Place.BACKEND), int(Place.FRONTEND))
"""Places of which an IDENTITY record without a connection stands for an HTTP request."""
NEVER = np.iinfo(np.int64).max // 4
"""End (ns) of a charge whose answer is not known."""
PAGE_ROWS = 100
"""Messages per request when a history is read: a READ record counts as 1 + messages // PAGE_ROWS possible charges."""

ACK = np.dtype([("t", "<i8"), ("rec", "<i8")])
"""Earliest OK of one message: `t`, its time in ns + 1, 0: none; `rec`, its record reference."""
REFUSAL = np.dtype([("mid", "<i8"), ("t", "<i8"), ("rec", "<i8"), ("wait", "<i8")])
"""Refusal of a message because the rate budget was used up.

`mid`: message number; `t`: time (ns) of the refusal; `rec`: its record reference; `wait`: Retry-After in ms, NONE: not
stated.
"""

CERTAIN, POSSIBLE, REFUSED, DISGUISED, STATES = 1, 2, 4, 8, 16
"""Values of the bits in the column `bits` of CHARGE."""
CHARGE = np.dtype(
    [
        ("user", "<i4"),
        ("bits", "u1"),
        ("start", "<i8"),
        ("end", "<i8"),
        ("rec", "<i8"),
        ("wait", "<i8"),
        ("left", "<i8"),
    ]
)
"""Charge or refusal of one request or message on one user's rate budget.

user        user number
start, end  when it was sent and answered, in ns; `end` is NEVER if the answer is not known
bits        CERTAIN: it was charged, because the message was acknowledged, or the answer states what is left.
            POSSIBLE: it may have been charged; always set with CERTAIN.
            REFUSED: it was refused because the budget was used up, so not charged.
            DISGUISED: it claimed another address, or came with another token than the user's first.
            STATES: it was refused, and the answer has to state when to try again.
rec         record reference
wait        Retry-After in ms, NONE: not stated
left        number of tokens that the answer states are left, NONE: not stated
"""


@kernel
def charges_step(
    records: Array, journal: Int, mids: Array, acks: Array, refusals: Array, others: Array, used: Array
) -> None:
    """Store the earliest OK of each message, all refusals for the budget, and the indexes of other requests.

    `records`: a chunk of journal `journal`; `mids`: message of each record, -1: none. Output: `acks`, ACK by message;
    `refusals`, REFUSAL rows; `others`, indexes into `records`; `used`, (rows of `refusals` in use, entries of `others`
    in use). The caller makes room for `len(records)` more in both. Times are ns.

    Messages are most of the records and follow from `w.messages` at the end, except for the time of the answer: hence
    one ACK by message. Its minimum makes the result independent of the order of reading. Refusals have a row each,
    since every attempt may be refused. Other requests are rare and of eight kinds with different slots; numpy evaluates
    them better, so the loop only picks their indexes and `Ledger.take` copies the records.
    """
    for i in range(len(records)):
        r = records[i]
        kind = np.int64(r["kind"])
        rec = (np.int64(journal) << REC_BITS) | np.int64(r["index"])
        if kind == K_OK:
            if mids[i] >= 0:
                # The minimum, so that it does not matter which of several answers is read first.
                ack = acks[mids[i]]
                if ack["t"] == 0 or r["t"] + 1 < ack["t"]:
                    ack["t"] = r["t"] + 1
                    ack["rec"] = rec
        elif kind == K_FAIL:
            if mids[i] >= 0 and (r["aux"] == 429 or r["aux"] == 4429):
                row = refusals[used[0]]
                used[0] += 1
                row["mid"] = mids[i]
                row["t"] = r["t"]
                row["rec"] = rec
                row["wait"] = np.int64(r["size"]) if r["size"] > 0 else NONE
        elif 1 << kind & OTHERS:
            # Only the index: `Ledger.take` copies the whole records, whose slots mean different things.
            others[used[1]] = i
            used[1] += 1


class Ledger:
    """Charges of all users, from all records of a judge process. Get the shared object by `ledger_of`."""

    def __init__(self) -> None:
        """Start without charges; `take` adds those of each chunk."""
        self._acks = np.zeros(64, ACK)
        self._refusals = np.zeros(64, REFUSAL)
        self._indexes = np.zeros(64, np.int64)
        self._used = np.zeros(2, np.int64)
        self._others: list[tuple[int, Array]] = []
        self._taken: View | None = None
        self._charges: Array | None = None

    def take(self, view: View) -> None:
        """Add the charges of a chunk. Further calls with the same chunk change nothing, so every check may call it."""
        if view is self._taken:
            return
        self._taken, self._charges = view, None
        n = len(view.records)
        self._acks = grown(self._acks, view.world.mids)
        self._refusals = grown(self._refusals, int(self._used[0]) + n)
        self._indexes = grown(self._indexes, n)
        self._used[1] = 0
        state = self._acks, self._refusals, self._indexes, self._used
        charges_step(view.records, view.journal, view.mid, *state)
        if self._used[1]:
            self._others.append((view.journal, view.records[self._indexes[: self._used[1]]].copy()))

    def charges(self, world: World, clock_bound_ns: int) -> Array:
        """Return all CHARGE rows, sorted by user and start.

        `clock_bound_ns`: by how many ns the clocks of several hosts may differ; `start` is earlier and `end` later by
        this. The result is cached until `take` is called with another chunk.
        """
        if self._charges is None:
            found = np.concatenate([self._messages(world), self._refused_messages(world), self._requests(world)])
            found["start"] -= clock_bound_ns
            found["end"] = np.maximum(found["end"], found["start"]) + clock_bound_ns
            self._charges = found[np.lexsort((found["rec"], found["start"], found["user"]))]
        return self._charges

    def _messages(self, world: World) -> Array:
        messages = world.messages()
        n429 = np.bincount(self._refusals["mid"][: self._used[0]], minlength=len(messages))
        attempts = np.zeros(len(messages), np.int64)
        for bit in range(ATTEMPTS + 1):
            attempts += messages["sent"] >> bit & 1
        known = ((messages["flags"] & INVOKED) > 0) & (messages["conv"] >= 0)
        acked = np.flatnonzero(known & ((messages["flags"] & ACKED) > 0) & (self._acks["t"][: len(messages)] > 0))
        ack = self._acks[acked]
        certain = self._of_messages(world, acked, CERTAIN | POSSIBLE, ack["t"] - 1, ack["rec"])
        open_ones = attempts - n429
        open_ones[acked] -= 1
        unsure = np.repeat(np.flatnonzero(known), np.maximum(open_ones[known], 0))
        recs = messages["invoke_rec"][unsure]
        return np.concatenate([certain, self._of_messages(world, unsure, POSSIBLE, np.full(len(unsure), NEVER), recs)])

    def _refused_messages(self, world: World) -> Array:
        rows = self._refusals[: self._used[0]]
        rows = rows[(world.messages()["flags"][rows["mid"]] & INVOKED) > 0]
        charges = self._of_messages(world, rows["mid"], REFUSED | STATES, rows["t"], rows["rec"])
        charges["wait"] = rows["wait"]
        return charges

    def _of_messages(self, world: World, mids: Array, bits: int, end: Array, recs: Array) -> Array:
        charges = _blank(len(mids))
        charges["user"] = world.tables.user_of[world.tables.page_author[mids >> PAGE_BITS]]
        charges["start"] = world.messages()["invoke_t"][mids]
        charges["bits"], charges["end"], charges["rec"] = bits, end, recs
        return charges

    def _requests(self, world: World) -> Array:
        user_of = world.tables.user_of
        records: Array = np.concatenate([np.zeros(0, RECORD), *(part for _, part in self._others)])
        journals = np.repeat([n for n, _ in self._others], [len(part) for _, part in self._others]).astype(np.int64)
        request = records["kind"] == K_REQUEST
        owner = np.where(request & (records["counter"] > 0), records["author"], records["client"])
        ours = owner < len(user_of)
        records, journals, request = records[ours], journals[ours], request[ours]
        charges = _blank(len(records))
        charges["user"] = user_of[owner[ours]]
        charges["rec"] = journals << REC_BITS | records["index"].astype(np.int64)
        _fill(charges, records)
        spoofed = request & ((records["proc"] & SPOOFED) > 0)
        named = np.flatnonzero(request & (records["counter"] > 0) & ((charges["bits"] & (CERTAIN | REFUSED)) > 0))
        token = records["author"][named].astype(np.int64) << 32 | records["counter"][named]
        charges["bits"] |= spoofed * np.uint8(DISGUISED)
        charges["bits"][named] |= _other_than_first(charges["user"][named], charges["start"][named], token) * DISGUISED
        pages = np.where(records["kind"] == K_READ, 1 + records["counter"] // PAGE_ROWS, 1)
        pages[(charges["bits"] & (POSSIBLE | REFUSED)) == 0] = 0
        result: Array = np.repeat(charges, pages)
        return result


def ledger_of(world: World) -> Ledger:
    """Return the ledger that all checks of `world` share; the first call makes it."""
    found: Any = world.shared.setdefault("ledger", Ledger())
    return found  # type: ignore[no-any-return]


def _fill(charges: Array, records: Array) -> None:
    """Fill `bits`, `start`, `end`, `wait` and `left` of `charges` from `records`, row by row.

    `records`: of the kinds in OTHERS.
    """
    kind, size, t = records["kind"], records["size"], records["t"]
    request = kind == K_REQUEST
    asked = request | (kind == K_WRITE) | (kind == K_REVOKE) | ((kind == K_SEEN) & (records["seq"] != NONE))
    timed = (kind == K_PROBE) | (kind == K_READ)
    by_http = (kind == K_IDENTITY) & (records["conn"] == 0) & np.isin(records["counter"], SERVICES)
    limited = request & np.isin(size, LIMITED) | (kind == K_PROBE) & np.isin(records["counter"], LIMITED)
    stated = request & (records["digest"] != NOBODY)
    possible = (asked | timed | by_http | (kind == K_JOIN)) & ~limited
    charges["bits"] = possible * POSSIBLE | (possible & stated) * CERTAIN | limited * REFUSED
    charges["bits"] |= (request & (size == 429)) * np.uint8(STATES)
    charges["start"] = np.where(asked, records["seq"], np.where(timed, t - records["aux"] * 1000, t))
    charges["end"] = np.where(request & (size == 0), NEVER, t)
    charges["wait"] = np.where(request, records["aux"], NONE)
    charges["left"] = np.where(stated, records["digest"].astype(np.int64), NONE)


def _blank(n: int) -> Array:
    charges = np.zeros(n, CHARGE)
    charges["wait"] = charges["left"] = NONE
    return charges


def _other_than_first(users: Array, start: Array, thing: Array) -> Array:
    """Return an array of 1 and 0 by row: 1 if `thing` differs from that of the user's row with the lowest `start`."""
    order = np.lexsort((thing, start, users))
    _, at, back = np.unique(users[order], return_index=True, return_inverse=True)
    result: Array = np.zeros(len(users), np.uint8)
    result[order] = thing[order] != thing[order][at][back]
    return result
