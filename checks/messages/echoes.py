"""I45: where the platform promises no echo, no sender receives its own message on the connection that sent it."""

from __future__ import annotations

import numpy as np

from earwitness.checks.engine.compiled import kernel
from earwitness.checks.engine.fold import MID, REC, Described, finding, invoked
from earwitness.checks.engine.tables import Array, Int
from earwitness.checks.engine.world import View, World
from earwitness.checks.history.kinds import K_DELIVER, K_INVOKE
from earwitness.checks.messages.heard import PerRecord, note
from earwitness.checks.verdict import Finding


@kernel
def echoes(records: Array, journal: Int, mids: Array, subs: Array, out: Array, totals: Array) -> None:
    """Write a row to `out` for each delivery of a device's own message on the connection that sent it.

    `mids`, `subs`: by record its message and subscription, -1: none. `totals` counts sendings, rows of `out`. The body
    states the number of the sending connection modulo 256 (`proc`), so one comparison with `conn & 255` decides and no
    sending must be found. Connections of one device whose numbers differ by 256 would look the same; such a device
    would have to reconnect 256 times while a message is under way.
    """
    for i in range(len(records)):
        r = records[i]
        if mids[i] < 0 or subs[i] < 0:
            continue
        # Each sending is one opportunity; whether it came back shows in a later delivery.
        if r["kind"] == K_INVOKE:
            totals[0] += 1
        elif r["kind"] == K_DELIVER and r["client"] == r["author"] and r["proc"] == r["conn"] & 255:
            note(out[totals[1]], 0, journal, r, mids[i], r["seq"], np.int64(0))
            totals[1] += 1


class NoEcho(PerRecord):
    """State of I45: a sender is not sent its own message on the connection on which it sent it.

    Not a violation: the message on another device of the same user; the message on a later connection of the device (a
    platform that resumes may send what was missed, own messages included); history replayed on joining. Examined:
    sendings.
    """

    def step(self, view: View) -> None:
        """Implement `Fold.step`: look for echoes. Do nothing if the contract promises echoes."""
        if self.contract.echo:
            return
        echoes(view.records, view.journal, view.mid, view.sub, view.world.out, self.totals)
        self.counted(view.world)

    def describe(self, world: World, row: tuple[int, ...]) -> Finding:
        """Implement `PerRecord.describe`: return the finding of an own message received on its sending connection."""
        return finding(world, "echo", row, invoked(world, row[MID]), row[REC])


NO_ECHO = Described(
    id="I45",
    name="no-echo",
    title="Did no connection receive a message that it had sent itself?",
    unit="sendings",
    symptom="Connections received their own messages",
    fold=NoEcho,
    when=lambda contract: not contract.echo,
    sentences={
        "echo": "{who} received its own {message} in {where} on the connection that sent it",
    },
)
