"""Histograms of latencies in a journal's footer, in µs, in the format of hdrhistogram.

Histograms of several processes can be summed. The load processes count acknowledgements in `harness.client.tally`,
which costs a tenth. This module converts these counts to a format that other tools read too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from hdrh.histogram import HdrHistogram

LOWEST_US, HIGHEST_US, DIGITS = 1, 120_000_000, 2
"""Range of a histogram in µs, up to two minutes, and its number of significant digits: the error is at most 1 %."""
FOOTER_KEY = "latencies_us"


def histogram() -> HdrHistogram:
    """Return an empty histogram of latencies in µs, from LOWEST_US to HIGHEST_US."""
    return HdrHistogram(LOWEST_US, HIGHEST_US, DIGITS)


def encoded(counts_ns: Iterable[tuple[int, int]]) -> str:
    """Return a histogram in µs as hdrhistogram's compressed text.

    `counts_ns`: pairs (value in ns, how often it occurred). Values are rounded to µs; those outside of LOWEST_US to
    HIGHEST_US count as the nearest of the two.
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
    """Return name -> sum of the histograms of all footers. Raises for damaged ones: call `fault_of_latencies` first."""
    found: dict[str, HdrHistogram] = {}
    for footer in footers:
        for name, text in (footer.get(FOOTER_KEY) or {}).items():
            found.setdefault(name, histogram()).decode_and_add(text)
    return found
