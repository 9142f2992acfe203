"""I3: causal order; a message has a higher number than those that its sender had received before."""

from __future__ import annotations

import numpy as np

from earwitness.checks.contract import Contract
from earwitness.checks.engine.compiled import kernel
from earwitness.checks.engine.fold import FINDINGS, Described, End, Folding, finding
from earwitness.checks.engine.tables import DISPUTED, NUMBERED, Array
from earwitness.checks.engine.world import View, World, grown
from earwitness.checks.history.kinds import K_INVOKE
from earwitness.checks.roster import Roster
from earwitness.checks.verdict import Finding, Verdict

UNKNOWN = np.iinfo(np.int64).max
"""Value in an array of numbers for a message whose number no record states."""


@kernel
def causes_step(records: Array, mids: Array, causes: Array) -> None:
    """Store for each message the highest number that its sender had received before the first sending, + 1; 0: none.

    `aux` of an INVOKE states that number (see `checks.history.schema.KINDS`), so no earlier record must be searched.
    `causes`: by message; `+ 1` lets a zeroed array mean "none". `mids`: by record its message, -1: none. Retries are
    skipped, because a device may have received more since the first sending. The maximum makes the result independent
    of the order of reading. Whether the message itself got a higher number is known only when that number is; all
    messages are compared at once in `CausalOrder.peek`.
    """
    for i in range(len(records)):
        r = records[i]
        # A retry may state numbers that its device received only after the first sending.
        if r["kind"] != K_INVOKE or mids[i] < 0 or r["attempt"] > 1:
            continue
        causes[mids[i]] = max(causes[mids[i]], r["aux"] + 1)


class CausalOrder(Folding):
    """State of I3: a message gets a higher number than all that its sender had received in its conversation.

    Only what the sender received on the connection that sent the message counts. Not examined: messages whose number is
    not known, or known from replayed history only; messages recorded in several conversations (I8). If a message has
    several numbers (I7), the lowest counts.
    """

    def __init__(self, check: Described, roster: Roster, contract: Contract) -> None:
        """Start with no highest number for any message."""
        super().__init__(check, roster, contract)
        self._causes = np.zeros(1024, np.int64)

    def step(self, view: View) -> None:
        """Implement `Fold.step`: store by message the highest number that its sender had received before."""
        self._causes = grown(self._causes, view.world.mids)
        causes_step(view.records, view.mid, self._causes)

    def peek(self, world: World) -> Verdict:
        """Implement `Fold.peek`: compare each message's number, as far as known, with what its sender had received."""
        messages = world.messages()
        causes = self._causes[: len(messages)] - 1
        numbers = lowest_numbers(world)
        judged = (causes >= 0) & (numbers < UNKNOWN) & ((messages["flags"] & DISPUTED) == 0)
        bad = np.flatnonzero(judged & (numbers <= causes))
        bad = bad[np.argsort(messages["seq_rec"][bad], kind="stable")]
        return self.conclude(
            [_finding(world, int(mid), int(numbers[mid]), int(causes[mid])) for mid in bad[:FINDINGS]],
            examined=int(judged.sum()),
            violations=len(bad),
        )

    def finish(self, end: End) -> Verdict:
        """Implement `Fold.finish`: return the result of `peek`."""
        return self.peek(end.world)


def lowest_numbers(world: World) -> Array:
    """Return by message the lowest number that a record other than a REPLAY states; UNKNOWN if there is none."""
    messages, extra = world.messages(), world.extras()
    numbers: Array = np.where((messages["flags"] & NUMBERED) > 0, messages["seq"], UNKNOWN)
    live = extra[extra[:, 3] == 1]
    np.minimum.at(numbers, live[:, 0], live[:, 1])
    return numbers


def _finding(world: World, mid: int, seq: int, cause: int) -> Finding:
    messages = world.messages()
    m = messages[mid]
    same = np.flatnonzero((messages["conv"] == m["conv"]) & (messages["seq"] == cause))
    other = int(same[np.argmin(messages["seq_rec"][same])]) if len(same) else -1
    row = [0, 0, 0, -1, mid, other, int(m["conv"]), 0, 0]
    records = (int(messages[other]["seq_rec"]) if other >= 0 else 0, int(m["invoke_rec"]), int(m["seq_rec"]))
    return finding(world, "below-cause", row, *records, at=int(m["seq_rec"]), seq=seq, other_seq=cause)


CAUSAL_ORDER = Described(
    id="I3",
    name="causal-order",
    title="Did every reply get a higher number than the messages that its sender had received?",
    unit="messages",
    symptom="Replies got lower numbers than what they reply to",
    fold=CausalOrder,
    when=lambda contract: contract.total_order and contract.sequence != "none",
    tally="{violations} of {examined} messages {have} a number below one that their sender had received",
    sentences={
        "below-cause": "{where} gave {message} the number {seq}, although its sender had received number "
        "{other_seq} before sending it",
    },
)
