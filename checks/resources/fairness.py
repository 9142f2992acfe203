"""I26: no device is served much worse than other devices with an equal load."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from earwitness.checks.contract import Contract
from earwitness.checks.engine.compiled import helper, kernel
from earwitness.checks.engine.fold import FINDINGS, PENDING, Described, End, Folding
from earwitness.checks.engine.tables import ACKED, INVOKED, PAGE_BITS, REC_BITS, Array, Int
from earwitness.checks.engine.world import View, World, grown, unpack
from earwitness.checks.history.kinds import K_DELIVER, K_FAULT, K_JOIN, K_LEAVE, K_OK
from earwitness.checks.messages.liveness import CONTINUED
from earwitness.checks.roster import Roster
from earwitness.checks.tester.health import longest_lag_ns
from earwitness.checks.verdict import Finding, Verdict

FINEST_BITS = 16
"""Logarithm to base 2 of the shortest wait that has buckets of its own, in ns (65 µs)."""
OCTAVE = 8
BUCKETS = 32 * OCTAVE
"""Number of buckets of waiting times: OCTAVE for each doubling from 65 µs up; a bucket is read as its highest value."""
FLOOR_S = 0.5
"""Wait in seconds up to which nothing is judged: users do not notice it, and a loaded machine causes it by chance."""
LEAST, TAIL = 10, 100
"""Least number of a device's samples for its median, and for its 99th percentile, to be judged."""
CROWD = 5
"""Least number of devices with an equal load for them to be compared."""
OPEN = np.dtype([("client", "<i8"), ("mid", "<i8"), ("t", "<i8"), ("since", "<i8"), ("rec", "<i8")])
"""Delivery of a message whose sending has not been read yet.

`client`: receiver; `mid`: message number; `t`: time of the delivery (ns); `since`: time of joining (ns + 1); `rec`:
record reference of the delivery.
"""
LATE = np.dtype([("client", "<u4"), ("ahead", "<u4"), ("ns", "<i8"), ("mid", "<i8"), ("rec", "<i8")])
"""Wait longer than FLOOR_S.

client  device that waited
ahead   how long (ns) before the sending the device had joined; AHEAD_MOST: this or more, or the wait is for an
        acknowledgement
ns      length of the wait
mid     message number
rec     record reference of the delivery or acknowledgement that ended the wait
"""
AHEAD_MOST = 0xFFFF_FFFF
LATE_MOST = 1 << 21
"""Largest number of LATE rows (64 MB) for deliveries, and for answers; if reached, a FAIL is UNKNOWN instead."""
FLOOR_NS = int(FLOOR_S * 1e9)
MOMENT_BITS = 28
"""Logarithm to base 2 of the length of a moment in ns (0.27 s). Time is divided into moments, which group sendings."""
MOMENT_NS = 1 << MOMENT_BITS
STALLED = 3
"""If one in this number of the waits of a moment, or more, is longer than FLOOR_S, the whole platform stood still."""
SETTLE = 1 << 17
"""Number of open rows above which `Fairness.step` calls `settle`."""


@helper
def bucket_of(ns: Int) -> Int:
    """Return the bucket number, 0 to BUCKETS - 1, of a wait of `ns` nanoseconds.

    A bucket is 2^13 ns wide up to 2^17 ns; then each octave (doubling) has 8 buckets. The last bucket takes all longer
    waits. The octave is found by shifting and not by a logarithm, so compiled and plain Python agree exactly.
    """
    units = np.int64(max(ns, 0)) >> (FINEST_BITS - 3)
    octave = 0
    # Halve until the rest lies within one octave; how often that took is the octave.
    while units >= 2 * OCTAVE:
        units >>= 1
        octave += 1
    return min(octave * OCTAVE + units, BUCKETS - 1)


@helper
def waited(
    counts: Array, late: Array, kept: Array, of: Array, client: Int, mid: Int, ns: Int, ahead: Int, rec: Int
) -> None:
    """Count a wait of `ns` nanoseconds of `client` for message `mid`, and store it in `late` if longer than FLOOR_S.

    Output: `counts`, number of waits by (client, bucket); `of`, number of waits by message; `late`, LATE rows, to which
    nothing is added when they are full; `kept[0]`, rows of `late` in use. `ahead`, `rec`: as in LATE.
    """
    # The histogram counts every wait in fixed memory. Rows, which can be shown, are stored of long waits only.
    counts[client, bucket_of(ns)] += 1
    of[mid] += 1
    if ns > FLOOR_NS and kept[0] < len(late):
        row = late[kept[0]]
        kept[0] += 1
        row["client"] = client
        row["ahead"] = min(ahead, AHEAD_MOST)
        row["ns"] = ns
        row["mid"] = mid
        row["rec"] = rec


@kernel
def take_back(counts: Array, late: Array, which: Array) -> None:
    """Subtract from the histograms `counts` the waits in those rows of `late` for which `which` is True."""
    # Each row of `late` was counted when it was stored, and this runs once, so no count falls below zero.
    for i in range(len(late)):
        if which[i]:
            counts[late[i]["client"], bucket_of(late[i]["ns"])] -= 1


@kernel
def settle(open_rows: Array, messages: Array, counts: Array, late: Array, kept: Array, of: Array, used: Array) -> None:
    """Count the waits of those deliveries in `open_rows` whose sending has been read, and remove these rows.

    `open_rows`: OPEN rows, of which the first `used[0]` are in use; those that remain are moved to the front, and
    `used[0]` is lowered. `messages`: MESSAGE by message number. `counts`, `late`, `kept`, `of`: as in `waited`. A
    delivery to a device that joined after the sending is removed and not counted.

    The caller raises its threshold after each call, so that the cost stays linear if many sendings are in a journal
    that is read last.
    """
    left = 0
    for i in range(used[0]):
        row = open_rows[i]
        m = messages[row["mid"]]
        if not m["flags"] & INVOKED:
            # `left` ≤ `i`: only rows that were already read are overwritten.
            open_rows[left] = row
            left += 1
        elif row["since"] < m["invoke_t"] + 1:
            ahead = m["invoke_t"] + 1 - row["since"]
            waited(counts, late, kept, of, row["client"], row["mid"], row["t"] - m["invoke_t"], ahead, row["rec"])
    used[0] = left


@kernel
def waiting_step(
    records: Array, journal: Int, mids: Array, slots: Array, since: Array, messages: Array,
    heard: Array, late_heard: Array, kept_heard: Array, of_heard: Array,
    answered: Array, late_answered: Array, kept_answered: Array, of_answered: Array, open_rows: Array, used: Array,
) -> None:  # fmt: skip
    """Count by device how long deliveries and acknowledgements took, in histograms.

    `records`: a chunk of journal `journal`; `mids`, `slots`: message and slot of each record, -1: none; `messages`:
    MESSAGE by message number.

    Output: `since`, by slot, time of joining + 1 (ns), 0: not joined. `heard`, `late_heard`, `kept_heard`, `of_heard`:
    `counts`, `late`, `kept` and `of` as in `waited`, for deliveries; those with `answered`, for acknowledgements.
    `open_rows`: OPEN rows, in which the caller makes room for `len(records)` more; `used`: (rows of `open_rows` in use,
    number of FAULT records).

    A histogram of 256 buckets by device replaces its list of waits: medians and tails of all devices are needed, with
    the same memory for any number of messages. Counts do not depend on the order of reading. A wait begins at the first
    sending. It counts only if the device had joined before the sending, so a replay after a late join is not counted. A
    delivery whose sending has not been read yet is put in `open_rows` (see `settle`). An acknowledgement is in the
    same journal as its sending and after it, so it needs no such row.
    """
    for i in range(len(records)):
        r = records[i]
        kind = np.int64(r["kind"])
        client = np.int64(r["client"])
        rec = (np.int64(journal) << REC_BITS) | np.int64(r["index"])
        if kind == K_DELIVER:
            if mids[i] < 0 or slots[i] < 0 or since[slots[i]] == 0:
                continue
            m = messages[mids[i]]
            # The sending stands in a journal that is read later; until then the delivery may or may not be a wait.
            if not m["flags"] & INVOKED:
                row = open_rows[used[0]]
                used[0] += 1
                row["client"] = client
                row["mid"] = mids[i]
                row["t"] = r["t"]
                row["since"] = since[slots[i]]
                row["rec"] = rec
            elif since[slots[i]] < m["invoke_t"] + 1:
                ns = r["t"] - m["invoke_t"]
                ahead = m["invoke_t"] + 1 - since[slots[i]]
                waited(heard, late_heard, kept_heard, of_heard, client, mids[i], ns, ahead, rec)
        elif kind == K_OK:
            if mids[i] >= 0 and r["attempt"] <= 1 and client < len(answered) and messages[mids[i]]["flags"] & INVOKED:
                m = messages[mids[i]]
                ns = r["t"] - m["invoke_t"]
                waited(answered, late_answered, kept_answered, of_answered, client, mids[i], ns, AHEAD_MOST, rec)
        elif kind == K_JOIN:
            # A JOIN that continues a subscription leaves its first time: the device was waiting all along.
            if slots[i] >= 0 and (since[slots[i]] == 0 or not r["flags"] & CONTINUED):
                since[slots[i]] = r["t"] + 1
        elif kind == K_LEAVE:
            if slots[i] >= 0:
                since[slots[i]] = 0
        elif kind == K_FAULT:
            used[1] += 1


class Waits:
    """Waits of one kind, for deliveries or for answers: a histogram for each device, and a row for each long wait."""

    def __init__(self, clients: int) -> None:
        """Reserve a histogram for each client."""
        self.counts = np.zeros((clients, BUCKETS), np.uint32)
        self._late, self._kept = np.zeros(64, LATE), np.zeros(1, np.int64)
        self._of = np.zeros(1024, np.uint32)

    def columns(self, more: int, messages: int) -> tuple[Array, Array, Array, Array]:
        """Return (counts, late, kept, of), the arrays that `waited` updates, after making room in them.

        `more`: number of waits for which `late` needs further rows, up to LATE_MOST in all; `messages`: number of
        messages for which `of` needs entries.
        """
        self._late = grown(self._late, min(LATE_MOST, int(self._kept[0]) + more))[:LATE_MOST]
        self._of = grown(self._of, messages)
        return self.counts, self._late, self._kept, self._of

    def sketch(self, messages: Array) -> Sketch:
        """Return these waits grouped by the moment of sending instead of by message, as Sketch.

        Unlike Waits, sketches of several parts of a history can be added. `messages`: MESSAGE by message number.
        """
        late = self._late[: int(self._kept[0])]
        shown = np.zeros(len(late), SHOWN)
        for name in ("client", "ahead", "ns", "rec"):
            shown[name] = late[name]
        shown["moment"] = messages["invoke_t"][late["mid"]] >> MOMENT_BITS
        shown["sent_rec"] = messages["invoke_rec"][late["mid"]]
        of = np.flatnonzero(self._of)
        moments, which = np.unique(messages["invoke_t"][of] >> MOMENT_BITS, return_inverse=True)
        waits = np.bincount(which, self._of[of], len(moments)).astype(np.int64)
        return Sketch(self.counts.copy(), shown, moments, waits, len(late) >= LATE_MOST)


SHOWN = np.dtype(
    [("client", "<i8"), ("ahead", "<i8"), ("ns", "<i8"), ("moment", "<i8"), ("sent_rec", "<i8"), ("rec", "<i8")]
)
"""Wait longer than FLOOR_S. `client`, `ahead`, `ns`, `rec`: as in LATE.

`moment`: number of the moment of sending, which is the time in ns >> MOMENT_BITS; `sent_rec`: record reference of the
sending.
"""


@dataclass(slots=True)
class Sketch:
    """Waits for deliveries, or for acknowledgements; sketches of several parts of a history can be added.

    counts   number of waits by (client, bucket)
    late     SHOWN rows of the waits longer than FLOOR_S
    moments  numbers of the moments of sending, ascending
    waits    number of waits by entry of `moments`
    full     True: rows may be missing from `late`, because it was full
    """

    counts: Array
    late: Array
    moments: Array
    waits: Array
    full: bool = False

    def merged(self, other: Sketch) -> Sketch:
        """Return the waits of this sketch and of `other` together."""
        moments, which = np.unique(np.concatenate([self.moments, other.moments]), return_inverse=True)
        waits = np.bincount(which, np.concatenate([self.waits, other.waits]), len(moments)).astype(np.int64)
        late = np.concatenate([self.late, other.late])
        return Sketch(self.counts + other.counts, late, moments, waits, self.full or other.full)

    def leave_out_early(self, clock_bound_ns: int) -> None:
        """Remove the waits longer than FLOOR_S whose message may have been sent before the device had joined.

        `clock_bound_ns`: by how many ns the clocks of sender and device may differ.
        """
        early = self.late["ahead"] <= clock_bound_ns
        take_back(self.counts, self.late, early)
        np.subtract.at(self.waits, np.searchsorted(self.moments, self.late["moment"][early]), 1)
        self.late = self.late[~early]

    def leave_out_stalls(self) -> None:
        """Remove from the histograms the waits that began at moments in which the platform as a whole stood still.

        These are moments in which a third of the waits or more were longer than FLOOR_S; only such long waits are
        removed. If more than half of all moments are of this kind, nothing is removed, because that is the usual state.
        """
        if not len(self.late):
            return
        at = np.searchsorted(self.moments, self.late["moment"])
        stalled = STALLED * np.bincount(at, minlength=len(self.moments)) >= self.waits
        if 2 * np.count_nonzero(stalled) <= len(self.moments):
            take_back(self.counts, self.late, stalled[at])
            self.late["ns"][stalled[at]] = 0  # nothing to show

    def longest(self, client: int) -> tuple[int, int] | None:
        """Return (sending, end) of the longest wait of device `client`, as record references.

        Of equally long waits the one with the lowest reference of its end. None if the device has no wait longer than
        FLOOR_S.
        """
        own = self.late[self.late["client"] == client]
        if not len(own):
            return None
        row = own[np.lexsort((own["rec"], -own["ns"]))[0]]
        return int(row["sent_rec"]), int(row["rec"])


class Fairness(Folding):
    """State of I26: no device waits `fairness_factor` times longer than usual, nor is answered so much more rarely.

    - Compared are devices with an equal load: those that received (or sent) at most twice as much as the median device,
      and at least ten messages. A smaller load than the median is no reason to leave a device out, because a device
      that is served badly receives less.
    - Compared are the median and the 99th percentile of each device's waits, where it has enough samples, and the share
      of its messages that were acknowledged. A wait runs from the first sending of a message to its delivery on a
      connection that had joined before the sending, or to its acknowledgement.
    - Not a violation: a median or percentile of at most half a second. Not compared: waits longer than half a second
      that began in a moment (0.27 s) in which at least a third of the waits of all devices were so long, because then
      the whole platform stood still. If more than half of the moments are like that, these waits are compared too.
    - The clocks of several hosts may differ by a known bound. A wait for a delivery counts only as far as it is proven
      for any difference within the bound. Where no bound is known, only the shares of acknowledged messages are
      compared.
    - UNKNOWN instead of FAIL if a fault was on (it may put some devices at a disadvantage on purpose), a journal is
      incomplete or missing, a load process stood still for more than half a second, or there were too many long waits.

    Examined: devices compared.
    """

    def __init__(self, check: Described, roster: Roster, contract: Contract) -> None:
        """Reserve two histograms of waits for each client, if the contract has a `fairness_factor`."""
        super().__init__(check, roster, contract)
        clients = len(roster.user_of) if contract.fairness_factor is not None else 0
        self._waits = {"hears": Waits(clients), "answered": Waits(clients)}
        self._since = np.zeros(1024, np.int64)
        self._open = np.zeros(64, OPEN)
        self._used = np.zeros(2, np.int64)
        self._settle_at = SETTLE
        self._parts: list[Sketch] = []

    def step(self, view: View) -> None:
        """Implement `Fold.step`: count waiting times. No-op if the contract does not promise fairness."""
        if self.contract.fairness_factor is None:
            return
        messages = view.world.tables.messages
        if self._used[0] > self._settle_at:
            self._settle(messages)
            self._settle_at = SETTLE + 2 * int(self._used[0])
        self._since = grown(self._since, view.world.slots)
        self._open = grown(self._open, int(self._used[0]) + len(view.records))
        hears, answered = (waits.columns(len(view.records), len(messages)) for waits in self._waits.values())
        columns = view.mid, view.slot, self._since, messages
        waiting_step(view.records, view.journal, *columns, *hears, *answered, self._open, self._used)

    def heard(self, world: World) -> Sketch:
        """Return the waits for deliveries, those that were added by `add_heard` included."""
        self._settle(world.tables.messages)
        found = self._waits["hears"].sketch(world.tables.messages)
        for part in self._parts:
            found = found.merged(part)
        return found

    def add_heard(self, part: Sketch) -> None:
        """Add the waits for deliveries from records that another judge process read."""
        self._parts.append(part)

    def _settle(self, messages: Array) -> None:
        counts, late, kept, of = self._waits["hears"].columns(int(self._used[0]), len(messages))
        settle(self._open, messages, counts, late, kept, of, self._used)

    def peek(self, world: World) -> Verdict:
        """Implement `Fold.peek`: always UNKNOWN, because devices are compared at the end."""
        return self.conclude(unknown=PENDING)

    def finish(self, end: End) -> Verdict:
        """Implement `Fold.finish`: compare devices with an equal load. The fact `jain` is Jain's index of fairness."""
        factor = self.contract.fairness_factor
        if factor is None:
            return self.conclude(unknown="the contract promises no fairness")
        clocks = end.clock_bound_ns()
        sketches = {
            "hears": self.heard(end.world),
            "answered": self._waits["answered"].sketch(end.world.tables.messages),
        }
        judged: set[int] = set()
        starved: dict[int, Finding] = {}
        apart = _apart(clocks)
        for what, sketch in sketches.items() if not apart else ():
            bound = clocks or 0 if what == "hears" else 0  # an answer stands in the journal of its sending
            for client, facts in _waiting(sketch, factor, bound, judged).items():
                records = tuple(unpack(rec) for rec in sketch.longest(client) or () if rec)
                starved.setdefault(client, Finding(what=what, records=records, facts=facts))
        clients = len(self._waits["answered"].counts)
        sent, acked = (_count(end.world, flags, clients) for flags in (INVOKED, INVOKED | ACKED))
        share, few = _completed(sent, acked, factor, judged)
        for client in few:
            facts = {"client": client, "low": int(acked[client]), "high": int(sent[client])}
            starved.setdefault(client, Finding(what="unanswered", facts=facts))
        found = [starved[client] for client in sorted(starved)][:FINDINGS]
        facts_of_all = {"jain": round(jain(share), 4)} if len(share) else {}
        if starved and (excuse := self._excuse(end, any(one.full for one in sketches.values()))):
            why = f"{excuse}, and {len(starved)} devices were served much worse than others"
            return self.conclude(examined=len(judged), unknown=why, facts=facts_of_all)
        total = len(starved)
        return self.conclude(found, examined=len(judged), violations=total, unknown=apart, facts=facts_of_all)

    def _excuse(self, end: End, full: bool) -> str:
        """Return why a device may have been served worse although the platform is fair; "" if there is no such reason.

        `full`: some waits longer than FLOOR_S may not have been stored.
        """
        if self._used[1]:
            return "a fault was on"
        if end.incomplete() or end.missing:
            return "a load process ended early, or its record is missing"
        if longest_lag_ns(end) > FLOOR_S * 1e9:
            return f"a load process stalled for {longest_lag_ns(end) / 1e9:.1f} s"
        if full:
            return f"more than {LATE_MOST:,} waits were longer than {FLOOR_S:g} s"
        return ""


def _apart(clock_bound_ns: int | None) -> str:
    """Return why waits of several hosts cannot be compared; "" if they can.

    `clock_bound_ns`: by how many ns the hosts' clocks may differ, None: not known.
    """
    if clock_bound_ns is None:
        return "the journals come from several hosts, and their clocks were not compared"
    if clock_bound_ns > MOMENT_NS:  # the moments of the hosts are others
        return f"the journals come from several hosts, and their clocks may differ by {clock_bound_ns / 1e9:.2f} s"
    return ""


def _count(world: World, flags: int, clients: int) -> Array:
    """Return an array by client: how many messages that it sent have all of the bits `flags`."""
    which = np.flatnonzero((world.messages()["flags"] & flags) == flags)
    result: Array = np.bincount(world.tables.page_author[which >> PAGE_BITS], minlength=clients)
    return result


def _completed(sent: Array, acked: Array, factor: float, judged: set[int]) -> tuple[Array, list[int]]:
    """Return (share of messages that were acknowledged at any attempt, by compared device; starved devices).

    Starved are those whose share is less than the median share / `factor`. `sent`, `acked`: number of messages by
    device. The compared devices are added to `judged`; with fewer than CROWD none are compared.
    """
    equal = _equal(sent)
    share = acked[equal] / sent[equal]
    if len(equal) < CROWD:
        return share[:0], []
    judged.update(int(client) for client in equal)
    return share, [int(client) for client in equal[share < np.median(share) / factor]]


def _equal(loads: Array) -> Array:
    """Return the devices with at least LEAST samples, and at most twice as many as the median of these devices.

    `loads`: number of samples by device.
    """
    enough = np.flatnonzero(loads >= LEAST)
    if not len(enough):
        return enough
    result: Array = enough[loads[enough] <= 2 * np.median(loads[enough])]
    return result


def _waiting(sketch: Sketch, factor: float, clock_bound_ns: int, judged: set[int]) -> dict[int, dict[str, int]]:
    """Return client -> facts, for devices whose median or 99th percentile is more than `factor` times the usual one.

    The usual one is the median of the compared devices, which are added to `judged`. `clock_bound_ns`: by how many ns
    each wait may really be shorter or longer. Removes early and stalled waits from `sketch`.
    """
    sketch.leave_out_early(clock_bound_ns)
    sketch.leave_out_stalls()
    counts = sketch.counts
    loads = counts.sum(axis=1)
    equal = _equal(loads)
    found: dict[int, dict[str, int]] = {}
    for share, least in ((0.5, LEAST), (0.99, TAIL)):
        those = equal[loads[equal] >= least]
        if len(those) < CROWD:
            continue
        judged.update(int(client) for client in those)
        figures = np.array([_quantile_ns(counts[client], share) for client in those])
        usual = np.median(figures)
        least_ns = figures - clock_bound_ns
        for k in np.flatnonzero((least_ns > factor * (usual + clock_bound_ns)) & (least_ns > FLOOR_NS)):
            client = int(those[k])
            found[client] = {"client": client, "ms": int(figures[k] / 1e6), "usual_ms": int(usual / 1e6)}
    return found


def _quantile_ns(counts: Array, share: float) -> int:
    """Return the highest value (ns) of the bucket in which the share `share` (0 to 1) of the samples is reached."""
    bucket = int(np.searchsorted(np.cumsum(counts), share * counts.sum()))
    octave = max(bucket // OCTAVE - 1, 0)
    return (bucket - octave * OCTAVE + 1) << octave << (FINEST_BITS - 3)


def jain(shares: Array) -> float:
    """Return Jain's index of fairness: 1 if all `shares` are equal, 1/n if one of n is positive and the others are 0.

    1 too if all are 0, or there are none.
    """
    squares = float((shares**2).sum())
    return float(shares.sum()) ** 2 / (len(shares) * squares) if squares else 1.0


FAIRNESS = Described(
    id="I26",
    name="fairness",
    title="Was no device with an equal load served much worse than the others?",
    unit="devices compared",
    symptom="Some devices were served much worse than others",
    fold=Fairness,
    when=lambda contract: contract.fairness_factor is not None,
    sentences={
        "hears": "{who} received messages up to {ms} ms after they were sent, where {usual_ms} ms are usual",
        "answered": "{who} was answered after up to {ms} ms, where {usual_ms} ms are usual",
        "unanswered": "{who} had {low} of {high} messages acknowledged, far fewer than others",
    },
)
