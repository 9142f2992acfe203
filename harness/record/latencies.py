"""Histograms of latencies in a journal's footer: hdrhistogram, in microseconds; any number of them can be added.

The load processes count acknowledgements in `harness.client.tally` (which costs a tenth); here the counts become a
format that other tools read too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from hdrh.histogram import HdrHistogram

LOWEST_US, HIGHEST_US, DIGITS = 1, 120_000_000, 2
"""From a microsecond to two minutes with at most 1 % error."""
FOOTER_KEY = "latencies_us"


def histogram() -> Any:
    """An empty one."""
    return HdrHistogram(LOWEST_US, HIGHEST_US, DIGITS)


def encoded(counts_ns: Iterable[tuple[int, int]]) -> str:
    """(nanoseconds, how often) as hdrhistogram's own compressed text."""
    found = histogram()
    for ns, count in counts_ns:
        found.record_value(min(max(round(ns / 1e3), LOWEST_US), HIGHEST_US), count)
    return str(found.encode().decode())


def fault_of_latencies(footer: Mapping[str, Any]) -> str:
    """What is wrong with the histograms of a footer in words, "" if they can be read."""
    try:
        read_latencies([footer])
    except Exception:  # whatever the decoder of another library raises for a text that is none
        return f"{FOOTER_KEY!r} is no object of histograms as hdrhistogram writes them"
    return ""


def read_latencies(footers: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """By name, the sum of all footers' histograms."""
    found: dict[str, Any] = {}
    for footer in footers:
        for name, text in (footer.get(FOOTER_KEY) or {}).items():
            found.setdefault(name, histogram()).decode_and_add(text)
    return found
