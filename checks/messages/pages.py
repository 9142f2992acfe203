"""Pages of history, for I17: contiguous numbers appear once each and in order.

The first number of a page is the one after the number that the device stated in its request.
"""

from __future__ import annotations

import numpy as np

from earwitness.checks.engine.fold import Suspects
from earwitness.checks.engine.tables import REC_BITS, Array
from earwitness.checks.engine.world import View
from earwitness.checks.history.kinds import CORRUPT, K_READ
from earwitness.checks.history.record import NOBODY, page_digest

HOLE, REPEATED, ORDER, DIGEST = range(1, 5)
"""Faults of a page, compared with all numbers from its first to its last.

HOLE      there are fewer rows than numbers
REPEATED  there are more rows than numbers
ORDER     as many rows as numbers, but other numbers or in another order
DIGEST    the platform's own digest of the page does not fit its rows
"""
WIDEST = 1 << 20
"""Largest number of rows at which the order of a page is compared: no client shows a million messages at once."""


class Pages:
    """Judge of history pages; `examined` counts pages whose beginning was recorded, `suspects` holds the wrong ones.

    `contiguous`: the platform's numbers have no gaps, so the rows of a page must match its numbers. Otherwise only
    pages that are marked as corrupt are violations.
    """

    def __init__(self, contiguous: bool) -> None:
        """Start with no page judged."""
        self._contiguous = contiguous
        self.examined = 0
        self.suspects = Suspects()

    def step(self, view: View) -> None:
        """Judge the pages in the chunk `view` that members of the conversation read and whose beginning is recorded."""
        chosen = (view.records["kind"] == K_READ) & (view.sub >= 0) & (view.records["author"] != NOBODY)
        for read in view.records[chosen]:
            fault = DIGEST if int(read["flags"]) & CORRUPT else fault_of(read) if self._contiguous else 0
            self.examined += 1
            if fault:
                rec = view.journal << REC_BITS | int(read["index"])
                rows, start = int(read["counter"]), int(read["author"])
                row = np.array([[fault, rec, 0, read["client"], -1, -1, read["conv"], start, rows]], np.int64)
                self.suspects.take(row, 1)


def fault_of(read: Array) -> int:
    """Return what is wrong with one page (HOLE, REPEATED or ORDER), 0 if nothing is.

    `read`: READ record of a platform whose numbers are contiguous and begin at 0 or at 1. The order is compared only if
    the record has a digest of the page, and at most WIDEST rows.
    """
    start, rows, last, digest = (int(read[name]) for name in ("author", "counter", "seq", "digest"))
    if not rows:
        return 0
    first = start + 1
    if start == 0 and rows == last + 1:
        first = 0
    wanted = last - first + 1
    if rows != wanted:
        return HOLE if rows < wanted else REPEATED
    if not digest or rows > WIDEST:
        return 0
    return 0 if digest == page_digest(np.arange(first, last + 1)) else ORDER
