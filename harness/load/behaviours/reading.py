"""Behaviour `Reading`: reads of a room's newest messages by HTTP during the run."""

from __future__ import annotations

import time

import numpy as np

from earwitness.checks.history.record import FOREIGN, NOBODY, NONE, Flag, Kind, page_digest
from earwitness.harness.client.flow import FlowError
from earwitness.harness.dialects.parts import HistoryPart
from earwitness.harness.dialects.protocol import Room
from earwitness.harness.load.behaviour import Behaviour

OVERLAP = 5
"""Number of known messages that a read repeats, so that a history that lags behind is noticed."""


class Reading(Behaviour):
    """Behaviour that reads histories during the run, for the checks I16 and I17. Method for tasks: `read`.

    On a target without `harness.dialects.parts.ReadsHistoryAfter` nothing is read, and these checks are not exercised.
    """

    def read(self, room: Room) -> None:
        """Read the newest part of a room's history to its end, and record sequence numbers, digest and duration.

        A refusal or a missing answer leaves no record.
        """
        self.user.begin_action()
        reads = self.part.target.parts.reads_history_after
        if reads is None or self.user.session is None:
            return
        known = max(
            self._known(points, room)
            for points in (self.user.session.resume_points(), self.user.session.acked_points())
        )
        after = max(0, known - OVERLAP)
        asked_ns = time.monotonic_ns()
        try:
            part: HistoryPart = self.user.flow(reads.history_after(self.user.own_credentials(), room, after))
        except FlowError:
            return
        took_us = -(-(time.monotonic_ns() - asked_ns) // 1000)
        numbers = [row.seq for row in part.rows]
        self.part.note(
            Kind.READ,
            self.user.number,
            conv=room.number,
            counter=len(numbers),
            seq=max(numbers, default=after or NONE),
            aux=took_us + 1,
            author=after if after < FOREIGN else NOBODY,
            digest=page_digest(np.array(numbers, np.int64)) if numbers else 0,
            flags=0 if part.fits else int(Flag.CORRUPT),
        )

    @staticmethod
    def _known(points: dict[str, int], room: Room) -> int:
        return points.get(room.label, 0)
