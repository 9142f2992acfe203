"""Histograms of latencies in a journal's footer: hdrhistogram, in microseconds. They can be summed over processes.

The load processes count acknowledgements in `harness.client.tally` (at a tenth of the cost). Here the counts are
converted to a format that other tools read too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from hdrh.histogram import HdrHistogram

LOWEST_US, HIGHEST_US, DIGITS = 1, 120_000_000, 2
"""Range of a histogram in µs, up to two minutes, and its significant digits: at most 1 % error."""
FOOTER_KEY = "latencies_us"


def histogram() -> HdrHistogram:
    """Return an empty histogram of latencies in µs, from LOWEST_US to HIGHEST_US."""
    return HdrHistogram(LOWEST_US, HIGHEST_US, DIGITS)


def encoded(counts_ns: Iterable[tuple[int, int]]) -> str:
    """Return a histogram as hdrhistogram's own compressed text.

    `counts_ns`: pairs (value in ns, how often it occurred).
    """
    found = histogram()
    for ns, count in counts_ns:
        found.record_value(min(max(round(ns / 1e3), LOWEST_US), HIGHEST_US), count)
    return str(found.encode().decode())


def fault_of_latencies(footer: Mapping[str, Any]) -> str:
    """Return a sentence about what is wrong with the histograms of a footer, "" if they can be read."""
    try:
        read_latencies([footer])
    except Exception:  # the library's decoder raises errors of many types for a text that is not a histogram
        return f"{FOOTER_KEY!r} is no object of histograms as hdrhistogram writes them"
    return ""


def read_latencies(footers: Iterable[Mapping[str, Any]]) -> dict[str, HdrHistogram]:
    """Return name -> sum of the histograms of all footers. Call `fault_of_latencies` first: damaged ones raise."""
    found: dict[str, HdrHistogram] = {}
    for footer in footers:
        for name, text in (footer.get(FOOTER_KEY) or {}).items():
            found.setdefault(name, histogram()).decode_and_add(text)
    return found
