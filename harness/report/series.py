"""Series of a run over time, for drift within a run and comparison of runs.

All times are of one host's clock.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from earwitness.checks.history.record import Kind, Phase
from earwitness.harness.report.figures import Records, read_table, since_sending
from earwitness.harness.report.measures import Times, joined
from earwitness.harness.report.streams import Streamed

Series = tuple[Times, Times]
"""Times in nanoseconds and values, of equal length."""


def latency_series(views: Sequence[Records], room_sizes: Sequence[int]) -> dict[str, Series]:
    """Return name -> (times of sending in ns, latencies in ms). Empty series are left out."""
    delay_ms, heard, sent_ns = since_sending(list(views), Kind.DELIVER)
    sizes = np.asarray([*room_sizes, 0])[np.minimum(heard["conv"], len(room_sizes))]
    found = {f"fan-out of {n}": (sent_ns[sizes == n], delay_ms[sizes == n]) for n in np.unique(sizes) if n}
    ack_ms, _, said_ns = since_sending(list(views), Kind.OK)
    found["ack"] = said_ns, ack_ms
    times: Mapping[str, tuple[Kind, Callable[[Records], Times]]] = {
        "probe": (Kind.PROBE, lambda r: r["aux"] / 1e3),
        "login": (Kind.LOGIN, lambda r: r["aux"] / 1e3),
        "connect": (Kind.CONNECT, lambda r: r["size"] / 1e3),
    }
    for name, (kind, ms) in times.items():
        rows = [view[view["kind"] == kind] for view in views]
        found[name] = joined([r["t"] for r in rows]), joined([ms(r) for r in rows])
    return {name: (t, values) for name, (t, values) in found.items() if len(values)}


def stream_series(streams: Streamed) -> dict[str, Series]:
    """Return "first token" and "token gap" -> (times in ns, ms) of streamed answers. Empty series are left out."""
    found = {
        "first token": (streams.first_at, streams.first_ns / 1e6),
        "token gap": (streams.gaps_at, streams.gaps_ns / 1e6),
    }
    return {name: (t, values) for name, (t, values) in found.items() if len(values)}


def memory_series(services: Path) -> dict[str, Series]:
    """Return name -> (times in ns, resident memory in MB) of each service process; replicas are separate."""
    rows: dict[str, list[tuple[int, float]]] = {}
    for row in read_table(services):
        if row.keys() >= {"service", "t_ns", "rss_mb"} and re.fullmatch(r"[\w-]+", row["service"]):
            rows.setdefault(row["service"], []).append((row["t_ns"], row["rss_mb"]))
    columns = {name: np.asarray(values, dtype=float).T for name, values in rows.items()}
    return {f"memory of {name}": (t.astype(np.int64), mb) for name, (t, mb) in sorted(columns.items())}


def load_span_ns(views: Sequence[Records]) -> tuple[int, int]:
    """Return the times (ns) of the first message sent and of DRAIN; (0, 0) if no message was sent."""
    said = joined([view["t"][view["kind"] == Kind.INVOKE] for view in views])
    drain = joined([view["t"][(view["kind"] == Kind.PHASE) & (view["counter"] == Phase.DRAIN)] for view in views])
    if not len(said):
        return 0, 0
    return int(said.min()), int(drain.min()) if len(drain) else int(said.max())
