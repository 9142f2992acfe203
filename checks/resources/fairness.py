"""I26: no device is starved."""

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
"""Buckets of waiting times: eighths of an octave (9 %) from 65 µs up, read by their highest value."""
FLOOR_S = 0.5
"""Wait in seconds below which no user notices a difference, and which on a loaded machine is chance."""
LEAST, TAIL = 10, 100
"""Samples of a device without which a median, or a 99th percentile, says nothing."""
CROWD = 5
"""Devices with an equal load without which there is no usual value."""
OPEN = np.dtype([("client", "<i8"), ("mid", "<i8"), ("t", "<i8"), ("since", "<i8"), ("rec", "<i8")])
"""Delivery whose message's sending has not been read yet; `t` in ns, `since` in ns + 1."""
LATE = np.dtype([("client", "<u4"), ("ahead", "<u4"), ("ns", "<i8"), ("mid", "<i8"), ("rec", "<i8")])
"""Wait longer than FLOOR_S, with its message and the record of its end.

ahead   ns by which the device had joined before the sending; AHEAD_MOST: that or more, or not of interest
"""
AHEAD_MOST = 0xFFFF_FFFF
LATE_MOST = 1 << 21
"""Number of such waits that are kept (64 MB), of deliveries and of answers each; with more the check is UNKNOWN."""
FLOOR_NS = int(FLOOR_S * 1e9)
MOMENT_BITS = 28
"""Logarithm to base 2 of a moment in ns (0.27 s): waits are compared by the moment of their sending."""
MOMENT_NS = 1 << MOMENT_BITS
STALLED = 3
"""If every third wait of a moment is late, or more, the platform as a whole stood still then: nobody was starved."""
SETTLE = 1 << 17
"""Number of open rows from which on `settle` is tried while stepping."""


@helper
def bucket_of(ns: Int) -> Int:
    """Return the bucket number of a wait (ns), in eighths of an octave above 2^16 ns.

    Shifting until fewer than 16 units remain gives the octave; what remains is the eighth. No logarithm is taken, so
    compiled and plain Python agree exactly. The last bucket takes all longer waits.
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
    """Count a wait (ns) of a client for a message, and store it in `late` if it is longer than FLOOR_S.

    `counts`: waits by (client, bucket). `kept`: number of rows of `late`; a full table stays as it is. `of`: number of
    waits by message. `ahead`: as in LATE.
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
    """Count the deliveries whose sending is known by now, and move the others to the front.

    `open_rows`: deliveries that wait for it; `used[0]`: how many. `counts`, `late`, `kept`, `of`: as in `waited`.

    Rows are compacted in place and `left` never passes `i`. The caller raises the threshold after each run, so that the
    cost stays linear if many sendings stand in a journal that is read last. A delivery to a device that joined after
    the sending is dropped: it is no wait.
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

    `since`: by slot, time of joining + 1 (ns), 0: none. `heard`, `answered`: (client, bucket) counts; `late_…`: LATE
    rows, `kept_…` their number; `of_…`: waits by message. `used`: open rows, faults.

    A histogram of 256 buckets by device replaces its list of waits: medians and tails of all devices are needed, with
    the same memory for any number of messages. Counts do not depend on the order of reading. A wait counts from the
    first sending, and only if the device had joined before it, so what is replayed after a late join is no wait. A
    delivery whose sending was not read yet waits in `open_rows` (see `settle`). An acknowledgement stands in the
    journal of its sending, so it needs no such row.
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
        """Return (counts, late, kept, of) as `waited` updates them, with room for `more` waits and `messages` messages.

        `late` does not grow beyond LATE_MOST rows.
        """
        self._late = grown(self._late, min(LATE_MOST, int(self._kept[0]) + more))[:LATE_MOST]
        self._of = grown(self._of, messages)
        return self.counts, self._late, self._kept, self._of

    def sketch(self, messages: Array) -> Sketch:
        """Return these waits by the moments of sending instead of by messages, so that several parts can be added.

        `messages`: MESSAGE by message number.
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
"""Long wait: client, `ahead` as in LATE, how long (ns), the moment of sending, and the records of sending and end."""


@dataclass(slots=True)
class Sketch:
    """Waits of one kind; those of several parts of a history can be added.

    counts   by client and bucket
    late     SHOWN rows of the long ones
    moments  moments of sending in ascending order, with `waits`, how many began at each
    full     long waits may be missing
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
        """Take the long waits out whose message may have been sent before the device had joined.

        `clock_bound_ns`: by how much the clocks of sender and device may differ.
        """
        early = self.late["ahead"] <= clock_bound_ns
        take_back(self.counts, self.late, early)
        np.subtract.at(self.waits, np.searchsorted(self.moments, self.late["moment"][early]), 1)
        self.late = self.late[~early]

    def leave_out_stalls(self) -> None:
        """Remove from the histograms the waits that began at moments in which the platform as a whole stood still.

        At these moments a third of the waits or more were long. Does nothing if more than half of all moments are such:
        that is then the usual state, and devices are compared in it.
        """
        if not len(self.late):
            return
        at = np.searchsorted(self.moments, self.late["moment"])
        stalled = STALLED * np.bincount(at, minlength=len(self.moments)) >= self.waits
        if 2 * np.count_nonzero(stalled) <= len(self.moments):
            take_back(self.counts, self.late, stalled[at])
            self.late["ns"][stalled[at]] = 0  # nothing to show

    def longest(self, client: int) -> tuple[int, int] | None:
        """Return the records (sending, end) of a device's longest wait, of equally long ones the first.

        None if the device has no wait longer than FLOOR_S.
        """
        own = self.late[self.late["client"] == client]
        if not len(own):
            return None
        row = own[np.lexsort((own["rec"], -own["ns"]))[0]]
        return int(row["sent_rec"]), int(row["rec"])


class Fairness(Folding):
    """State of I26: no device waits `fairness_factor` times longer than usual, nor is answered so much more rarely.

    - Compared are devices with an equal load: those that received (or sent) at most twice as much as the median device.
      A smaller load is no reason to leave a device out, because that is how starving shows.
    - Waiting times run from the first sending to its delivery on a connection that had joined before, and to the
      acknowledgement; of each device the median and the 99th percentile, where it has enough samples.
    - Not a violation: a median or percentile below half a second. Not compared: waits that began in a moment (0.27 s)
      in which every third wait of all devices was longer than that. The platform as a whole stood still then, and that
      starves nobody. If more than half of the moments are like that, it is the usual state, and these waits are
      compared too.
    - Waits for deliveries may be wrong by the bound of the hosts' clocks, and so may the order of joining and sending:
      only what is proven in spite of it counts. Where no bound is known, only shares of answers are compared.
    - UNKNOWN where a fault was on (it may put some devices at a disadvantage on purpose), a journal is torn or missing,
      or a load process stood still.

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
        """Return the waits for deliveries, those of `add_heard` included."""
        self._settle(world.tables.messages)
        found = self._waits["hears"].sketch(world.tables.messages)
        for part in self._parts:
            found = found.merged(part)
        return found

    def add_heard(self, part: Sketch) -> None:
        """Add the waits for deliveries whose records are judged elsewhere."""
        self._parts.append(part)

    def _settle(self, messages: Array) -> None:
        counts, late, kept, of = self._waits["hears"].columns(int(self._used[0]), len(messages))
        settle(self._open, messages, counts, late, kept, of, self._used)

    def peek(self, world: World) -> Verdict:
        """Implement `Fold.peek`: always UNKNOWN, because devices are compared at the end."""
        return self.conclude(unknown=PENDING)

    def finish(self, end: End) -> Verdict:
        """Implement `Fold.finish`: compare devices with an equal load."""
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
        """Return why a device may be worse off although the platform is fair; "" if nothing excuses it.

        `full`: long waits may be missing.
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
    """Return why waits of several hosts cannot be compared; "" if they can."""
    if clock_bound_ns is None:
        return "the journals come from several hosts, and their clocks were not compared"
    if clock_bound_ns > MOMENT_NS:  # the moments of the hosts are others
        return f"the journals come from several hosts, and their clocks may differ by {clock_bound_ns / 1e9:.2f} s"
    return ""


def _count(world: World, flags: int, clients: int) -> Array:
    """Return by client how many of its messages have all of these flags."""
    which = np.flatnonzero((world.messages()["flags"] & flags) == flags)
    result: Array = np.bincount(world.tables.page_author[which >> PAGE_BITS], minlength=clients)
    return result


def _completed(sent: Array, acked: Array, factor: float, judged: set[int]) -> tuple[Array, list[int]]:
    """Return (shares of messages that were acknowledged at any attempt, devices that had far fewer of theirs)."""
    equal = _equal(sent)
    share = acked[equal] / sent[equal]
    if len(equal) < CROWD:
        return share[:0], []
    judged.update(int(client) for client in equal)
    return share, [int(client) for client in equal[share < np.median(share) / factor]]


def _equal(loads: Array) -> Array:
    """Return the devices that have enough samples, and at most twice as many as the median device."""
    enough = np.flatnonzero(loads >= LEAST)
    if not len(enough):
        return enough
    result: Array = enough[loads[enough] <= 2 * np.median(loads[enough])]
    return result


def _waiting(sketch: Sketch, factor: float, clock_bound_ns: int, judged: set[int]) -> dict[int, dict[str, int]]:
    """Return client -> facts of the devices whose median or tail is far above the usual one.

    `clock_bound_ns`: by how much each wait may be shorter or longer in truth.
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
    """Return the highest value (ns) of the bucket in which that share of the samples is reached."""
    bucket = int(np.searchsorted(np.cumsum(counts), share * counts.sum()))
    octave = max(bucket // OCTAVE - 1, 0)
    return (bucket - octave * OCTAVE + 1) << octave << (FINEST_BITS - 3)


def jain(shares: Array) -> float:
    """Return Jain's index of fairness: 1 where all have the same, 1/n where one has everything."""
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
