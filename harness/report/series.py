"""Series of a run over time, for drift within a run and comparison of runs.

All times are of one host's clock.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from earwitness.checks.history.record import Kind, Phase
from earwitness.harness.report.figures import FanOut, read_table
from earwitness.harness.report.histograms import Array
from earwitness.harness.report.measures import Times, joined
from earwitness.harness.report.recorded import Recorded, Records, Since

Series = tuple[Times, Times]
"""Times in nanoseconds and values, of equal length."""


RARE: Mapping[str, tuple[Kind, Callable[[Records], Times]]] = {
    "probe": (Kind.PROBE, lambda r: r["aux"] / 1e3),
    "login": (Kind.LOGIN, lambda r: r["aux"] / 1e3),
    "connect": (Kind.CONNECT, lambda r: r["size"] / 1e3),
}
"""Name → (kind of record, function from its records to latencies in ms)."""
ACK: Final = "ack"


def rare_series(recorded: Recorded) -> dict[str, Series]:
    """Return name → (times in ns, latencies in ms) for each name in RARE; empty series are left out."""
    found = {}
    for name, (kind, ms) in RARE.items():
        rows = recorded.of_kind(kind)
        found[name] = joined([r["t"] for r in rows]), joined([ms(r) for r in rows])
    return {name: (t, values) for name, (t, values) in found.items() if len(values)}


class Named:
    """Assignment of deliveries and acknowledgements to series: "fan-out of 10", by room size, and "ack"."""

    def __init__(self, room_sizes: Sequence[int]) -> None:
        """Name a series for each room size; `room_sizes`: members by conversation number."""
        self._fan_out = FanOut(room_sizes)
        self.names = [*(f"fan-out of {size}" for size in self._fan_out.sizes), ACK]

    def counted(self, kind: Kind, since: Since) -> tuple[Array, Array, Array]:
        """Return (index in `names`, time of sending in ns, latency in ns) of each record of a chunk, as three arrays.

        Deliveries in conversations that the roster lacks, or that have no members, are left out.
        """
        if kind is Kind.OK:
            return np.full(len(since.at), len(self.names) - 1), since.sent_ns, since.took_ns
        convs = since.slot("conv")
        took, which = self._fan_out.counted(since)
        sent = since.sent_ns[convs < self._fan_out.conversations]
        there = self._fan_out.sizes[which] > 0 if len(which) else np.zeros(0, bool)
        return which[there], sent[there], took[there]


def memory_series(services: Path) -> dict[str, Series]:
    """Return "memory of NAME" → (times in ns, resident memory in MB) for each service; replicas are separate."""
    rows: dict[str, list[tuple[int, float]]] = {}
    for row in read_table(services):
        if row.keys() >= {"service", "t_ns", "rss_mb"} and re.fullmatch(r"[\w-]+", row["service"]):
            rows.setdefault(row["service"], []).append((row["t_ns"], row["rss_mb"]))
    columns = {name: np.asarray(values, dtype=float).T for name, values in rows.items()}
    return {f"memory of {name}": (t.astype(np.int64), mb) for name, (t, mb) in sorted(columns.items())}


def load_span_ns(recorded: Recorded) -> tuple[int, int]:
    """Return (begin, end) of the load in ns: first message sent, and phase DRAIN or, without it, the last message sent.

    (0, 0) if no message was sent.
    """
    said = [one for one in recorded.said_ns if one is not None]
    drain = joined([phases["t"][phases["counter"] == Phase.DRAIN] for phases in recorded.of_kind(Kind.PHASE)])
    if not said:
        return 0, 0
    return min(one[1] for one in said), int(drain.min()) if len(drain) else max(one[2] for one in said)
