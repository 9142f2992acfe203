"""Counters for live verdicts: records by kind, and the delays of deliveries."""

from __future__ import annotations

import numpy as np

from earwitness.checks.engine.compiled import kernel
from earwitness.checks.engine.tables import INVOKED, REC_BITS, Array, Int
from earwitness.checks.engine.world import View
from earwitness.checks.history.kinds import K_DELIVER
from earwitness.checks.history.record import Kind
from earwitness.checks.roster import Roster


@kernel
def watch_traffic(
    records: Array, journal: Int, mids: Array, messages: Array, class_of: Array, kinds: Array, delays: Array
) -> Int:
    """Count records by kind and deliveries by delay; return the latest time (ns), 0 without records.

    `class_of`: by conversation, the class of its size. Counts are added to `kinds` (by kind) and `delays` (class,
    bucket).

    A delay is the time from sending to delivery. A bucket is 64 ns wide up to 256 units of 64 ns, then there are 128
    buckets for each octave; the relative error is below 1 %. The last bucket counts all longer delays. Only deliveries
    whose sending was recorded in the same journal count: one clock stamped both, and the result does not depend on how
    far other journals were read.
    """
    latest = np.int64(0)
    for i in range(len(records)):
        r = records[i]
        kinds[r["kind"]] += 1
        latest = max(latest, np.int64(r["t"]))
        if r["kind"] != K_DELIVER or mids[i] < 0 or r["conv"] >= len(class_of):
            continue
        m = messages[mids[i]]
        # Two journals may come from two hosts: a delay needs both times from one clock.
        if not m["flags"] & INVOKED or m["invoke_rec"] >> REC_BITS != journal:
            continue
        units = max(np.int64(0), np.int64(r["t"]) - m["invoke_t"]) >> 6
        shift = 0
        # Long delays end with 128 to 255 units, which are the place within their octave.
        while units >> shift >= 256:
            shift += 1
        bucket = (shift << 7) + (units >> shift)
        delays[class_of[r["conv"]], min(bucket, delays.shape[1] - 1)] += 1
    return latest


class Traffic:
    """Watcher of all records of a judging (see `checks.judge.Watcher`).

    kinds      number of records by kind
    sizes      the different numbers of members of conversations, ascending
    delays     by size (row) and bucket: number of deliveries by the time since the sending. Buckets are 64 ns wide up
               to 16 µs, then 128 to an octave, as in `harness.client.tally`. Only messages sent and received in one
               journal count: their times come from one clock
    latest_ns  the latest time of any record
    """

    def __init__(self, roster: Roster, buckets: int) -> None:
        """Reserve a histogram of `buckets` delays for each size of conversation in `roster`."""
        members = np.array([len(members) for members in roster.conversations], np.int64)
        self.sizes, classes = np.unique(members, return_inverse=True)
        self._class_of = classes.astype(np.int64)
        self.kinds = np.zeros(256, np.int64)
        self.delays = np.zeros((len(self.sizes), buckets), np.int64)
        self.latest_ns = 0

    def step(self, view: View) -> None:
        """Implement `Watcher.step`: count the records of a chunk."""
        latest = watch_traffic(
            view.records, view.journal, view.mid, view.world.tables.messages, self._class_of, self.kinds, self.delays
        )
        self.latest_ns = max(self.latest_ns, int(latest))

    def count(self, *kinds: Kind) -> int:
        """Return the count of records of these kinds."""
        return int(self.kinds[list(kinds)].sum())
