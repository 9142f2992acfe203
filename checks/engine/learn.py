"""Updates of a message's entry (a MESSAGE row) from each record about the message, made in the shared pass."""

from __future__ import annotations

from typing import Any

import numpy as np

from earwitness.checks.engine.compiled import helper
from earwitness.checks.engine.tables import (
    ACKED,
    ATTEMPTS,
    DELIVERED,
    DIGESTED,
    HEARD,
    INVOKED,
    NUMBERED,
    REFUSED,
    RENUMBERED,
    RETRIED,
    SENT_ON,
    SIZED,
    STORED,
    UNANSWERED,
    USED_EXTRA,
    Int,
    Tables,
    attempt_bit,
)
from earwitness.checks.history.kinds import K_DELIVER, K_FAIL, K_INFO, K_INVOKE, K_OK, K_REPLAY, K_STORED


@helper
def learn(w: Tables, mid: Int, r: Any, rec: Int) -> None:
    """Add the state that this record proves to the message's entry: sent, acknowledged, refused, stored, delivered.

    `mid`: message number; `r`: a record about it; `rec`: its reference.

    Every update is monotonic: a flag or attempt bit is only set, `rows` only grows (to 255), `invoke_t` (ns) only
    decreases. So these fields do not depend on the order in which journals are read. `proc` is taken from the first
    attempt only, since program order holds for first sendings; until the INVOKE is read, `proc` is taken from a
    delivery. Attempts beyond `ATTEMPTS` share one bit of `sent` that no answer ever sets: they never count as answered.
    """
    m = w.messages[mid]
    kind = np.int64(r["kind"])
    flags = np.int64(m["flags"])
    first = r["attempt"] <= 1
    # A retry may overtake what was sent after the first attempt, so checks of order skip such messages.
    if not first:
        flags |= RETRIED
    if kind == K_INVOKE:
        # The earliest sending counts, whichever was read first: a device may have sent the message on several
        # connections.
        if not flags & INVOKED or r["t"] < m["invoke_t"]:
            m["invoke_t"] = r["t"]
            m["invoke_rec"] = rec
        if first:
            m["proc"] = r["proc"]
            flags |= SENT_ON
        flags |= INVOKED
        attempt = np.int64(r["attempt"])
        m["sent"] |= 1 << ATTEMPTS if attempt > ATTEMPTS else attempt_bit(attempt)
    elif kind == K_OK:
        flags |= ACKED
        m["answered"] |= attempt_bit(np.int64(r["attempt"]))
    elif kind == K_FAIL:
        flags |= REFUSED
        bit = attempt_bit(np.int64(r["attempt"]))
        m["answered"] |= bit
        m["refused"] |= bit
    elif kind == K_INFO:
        flags |= UNANSWERED
    elif kind == K_STORED:
        flags |= STORED
        if m["rows"] < 255:
            m["rows"] += 1
    else:
        flags |= HEARD
        if kind == K_DELIVER:
            flags |= DELIVERED
            # The sending was not read yet; the body names the connection on which it was sent.
            if first and not flags & (INVOKED | SENT_ON):
                m["proc"] = r["proc"]
                flags |= SENT_ON
    m["flags"] = flags


@helper
def learn_content(w: Tables, mid: Int, r: Any, rec: Int) -> None:
    """Store the digest (CRC-32) and size (bytes) with which later records of the message are compared.

    The first record with content supplies both, whichever journal it comes from. If the INVOKE has other content,
    `checks.messages.heard` corrects the comparison at the end. Sizes differ between attempts, because the body states
    its attempt, so only the first attempt's size counts.
    """
    m = w.messages[mid]
    flags = np.int64(m["flags"])
    # The record that is read first is the reference, whatever its kind; the end exchanges it if the sending differs.
    if not flags & DIGESTED:
        m["digest"] = r["digest"]
        m["first_rec"] = rec
        flags |= DIGESTED
    if not flags & SIZED and r["attempt"] <= 1:
        m["size"] = r["size"]
        flags |= SIZED
    m["flags"] = flags


@helper
def learn_sequence(w: Tables, mid: Int, r: Any, rec: Int) -> None:
    """Store the sequence numbers that records state for a message.

    The first number stays in the entry; each statement of another one becomes a row of `extra`. Rows of `extra` may
    repeat a number: finding duplicates here would need a hash, so `World.extras` removes them later. `NUMBERED`
    separates numbers stated live from those of a REPLAY, which some platforms number differently. `World` reserves one
    row for each record before a chunk, so `extra` cannot overflow.
    """
    m = w.messages[mid]
    seq = r["seq"]
    live = r["kind"] != K_REPLAY
    if m["seq"] < 0:
        m["seq"] = seq
        m["seq_rec"] = rec
    # The first number stays: another one is evidence of a fault (I7) and replaces nothing.
    if m["seq"] != seq:
        m["flags"] |= RENUMBERED
        row = w.extra[w.used[USED_EXTRA]]
        row[0] = mid
        row[1] = seq
        row[2] = rec
        row[3] = 1 if live else 0
        w.used[USED_EXTRA] += 1
    elif live:
        # Only numbers stated live can be compared between messages; a replay may count anew.
        m["flags"] |= NUMBERED
