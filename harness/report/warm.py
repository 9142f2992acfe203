"""Warm-up: load every check before a run needs it, and report if checks must be compiled first.

python -m earwitness.harness.report.warm    compiles the checks now, so that no run has to wait
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

import numpy as np
from numba.core import event

from earwitness.checks import ALL
from earwitness.checks.contract import Contract
from earwitness.checks.engine.fold import JournalInfo
from earwitness.checks.engine.tables import Array
from earwitness.checks.engine.traffic import Traffic
from earwitness.checks.history.record import NONE, Artefact, Flag, Kind, Place, empty
from earwitness.checks.judge import Batch, Judge
from earwitness.checks.roster import Roster
from earwitness.harness.client.tally import BUCKETS
from earwitness.harness.progress import say
from earwitness.harness.report.figures import FanOut
from earwitness.harness.report.recorded import Recorded

_BOUNDS: dict[str, Any] = {field.name: 1 for field in fields(Contract) if field.default is None}
EVERYTHING = Contract(**_BOUNDS, sequence="contiguous", idempotent=True, resume=True, retry_after=True)
"""Contract with all promises, so that every check runs."""
LONG_AFTER_NS = 10**13
COMPILING = "compiling the checks; once on this machine, about half a minute ..."


def warm_up(say: Callable[[str], None]) -> None:
    """Load all compiled loops, which takes about a second; compile those that are new on this machine or have changed.

    `say` gets one line if something has to be compiled.
    """
    roster, records = Roster(user_of=(0, 1), conversations=((0, 1),)), _a_bit_of_everything()
    info = JournalInfo(name="warm", records=len(records), footer={"records": len(records)}, torn=False, meta={})
    with compiling_is_said(say):
        for contract in (EVERYTHING, Contract(echo=False)):
            judge = Judge(roster, contract, ALL, [Traffic(roster, BUCKETS)])
            judge.step(Batch(0, records))
            judge.peek()
            judge.finish([info])
        Recorded([records]).deliver([FanOut([2])])


def _a_bit_of_everything() -> Array:
    """Return records that make every check run.

    Two clients join and receive two messages in different orders; then follows one record of every kind; then one
    client sends and receives a message on a connection whose token has expired.
    """
    told = [Kind.CONNECT, Kind.JOIN, Kind.INVOKE, Kind.INVOKE, Kind.OK, Kind.OK, Kind.DELIVER, Kind.DELIVER]
    late = [Kind.TOKEN, Kind.REQUEST, Kind.INVOKE, Kind.DELIVER]
    kinds = [kind for kind in told for _ in (0, 1)] + list(Kind) + late
    records = empty(len(kinds))
    place = np.arange(len(kinds))
    records["kind"], records["t"] = kinds, place
    records["client"] = place % 2
    records["conn"] = records["client"] + 1
    records["conv"], records["author"], records["attempt"] = 0, 0, 1
    records["counter"] = records["seq"] = 1 + (place // 2 + place) % 2
    end = records[-len(late) :]
    end["client"], end["conn"], end["counter"] = 0, 3, (1, 1, 3, 3)
    end["t"], end["seq"] = LONG_AFTER_NS, (1, 0, NONE, 3)
    end["attempt"], end["flags"] = (Artefact.ACCESS, Place.SOCKET, 1, 1), (0, Flag.ACCEPTED, 0, 0)
    return records


class _Once(event.Listener):
    """Listener for numba's compile events that reports the first one only."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say: Callable[[str], None] | None = say

    def on_start(self, event: object) -> None:
        if self._say is not None:
            say, self._say = self._say, None
            say(COMPILING)

    def on_end(self, event: object) -> None:
        pass


@contextmanager
def compiling_is_said(say: Callable[[str], None]) -> Iterator[None]:
    """Call `say` when the first check is compiled within this context, and only then: compiling takes long."""
    with event.install_listener("numba:compile", _Once(say)):
        yield


if __name__ == "__main__":
    warm_up(say)
