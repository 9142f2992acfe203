"""I46: the longest body that the platform accepts is as long as the contract states."""

from __future__ import annotations

import numpy as np

from earwitness.checks.contract import Contract
from earwitness.checks.engine.fold import FINDINGS, PENDING, Described, End, Folding, finding, invoked
from earwitness.checks.engine.tables import ACKED, INVOKED, REC_BITS, Array
from earwitness.checks.engine.world import View, World
from earwitness.checks.history.kinds import K_FAIL
from earwitness.checks.roster import Roster
from earwitness.checks.verdict import Verdict

TOO_LONG = 413
"""Code (`aux` of FAIL) of a refusal because of the length, as in HTTP."""
NEAR = 0.9
"""Share of the limit from which on an answered message is examined: a shorter one says nothing about the limit."""


class SizeLimit(Folding):
    """State of I46: a message within the limit is not refused as too long (413), and a longer one is not acknowledged.

    The limit is `message_bytes_max`, in bytes of the body. Judged are refusals of first attempts, and acknowledgements
    of messages that were sent once: the size on record is that of the first attempt, and a retry may be longer.
    """

    def __init__(self, check: Described, roster: Roster, contract: Contract) -> None:
        """Start without refusals."""
        super().__init__(check, roster, contract)
        self._refused: dict[int, int] = {}

    def step(self, view: View) -> None:
        """Implement `Fold.step`: store refusals of first attempts because of their length."""
        records: Array = view.records
        chosen = (
            (records["kind"] == K_FAIL) & (records["aux"] == TOO_LONG) & (records["attempt"] == 1) & (view.mid >= 0)
        )
        for at in np.flatnonzero(chosen):
            rec = view.journal << REC_BITS | int(records["index"][at])
            mid = int(view.mid[at])
            self._refused[mid] = min(rec, self._refused.get(mid, rec))

    def peek(self, world: World) -> Verdict:
        """Implement `Fold.peek`: always UNKNOWN, because sizes are compared at the end."""
        return self.conclude(unknown=PENDING)

    def finish(self, end: End) -> Verdict:
        """Implement `Fold.finish`: compare sizes (bytes) with the contract's limit."""
        most = self.contract.message_bytes_max
        if most is None:
            return self.conclude(unknown="the contract states no limit")
        world, messages = end.world, end.world.messages()
        known, size = (messages["flags"] & INVOKED) > 0, messages["size"]
        refused = np.zeros(len(messages), bool)
        refused[list(self._refused)] = True
        long = known & (size > most) & ((messages["flags"] & ACKED) > 0) & (messages["sent"] == 1)
        bad = [("refused", mid) for mid in np.flatnonzero(known & (size <= most) & refused)]
        bad += [("accepted", mid) for mid in np.flatnonzero(long)]
        bad.sort(key=lambda one: invoked(world, int(one[1])))
        answered = ((messages["flags"] & ACKED) > 0) | refused
        findings = []
        for what, mid in bad[:FINDINGS]:
            row = [0, 0, 0, -1, int(mid), -1, int(messages["conv"][mid]), 0, 0]
            records = invoked(world, int(mid)), self._refused.get(int(mid), 0)
            findings.append(finding(world, what, row, *records, low=int(size[mid]), high=most))
        examined = int((known & answered & ((size >= NEAR * most) | refused)).sum())
        return self.conclude(findings, examined=examined, violations=len(bad))


SIZE_LIMIT = Described(
    id="I46",
    name="size-limit",
    title="Is the longest body that is accepted as long as stated?",
    unit="bodies near the limit",
    symptom="The longest permitted message is not as long as stated",
    fold=SizeLimit,
    when=lambda contract: contract.message_bytes_max is not None,
    sentences={
        "refused": "{message}, {low} bytes long, was refused as too long in {where}; up to {high} are promised",
        "accepted": "{message}, {low} bytes long, was accepted in {where}; at most {high} are promised",
    },
)
