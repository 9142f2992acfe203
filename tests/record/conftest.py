"""A run directory to record into, and records that can be told apart."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from earwitness.checks.history.record import NOBODY, NONE, Kind
from earwitness.checks.roster import Roster
from earwitness.harness.record.rundir import RunDirectory

Record = tuple[int, ...]


@pytest.fixture
def roster() -> Roster:
    return Roster(
        user_of=(0, 1, 1),
        conversations=((0, 1),),
        user_names=("ann", "bob"),
        conversation_names=("general",),
    )


@pytest.fixture
def run(tmp_path: Path, roster: Roster) -> RunDirectory:
    """A run directory with a roster of three clients, not one journal yet."""
    directory = RunDirectory.create(tmp_path / "runs", "story", 7)
    directory.write_roster(roster)
    return directory


@pytest.fixture
def record() -> Callable[..., Record]:
    """Arguments of `Journal.write`: a delivery to client 0, unless said otherwise."""

    def make(t: int = 1, kind: int = Kind.DELIVER, *, client: int = 0, seq: int = NONE, aux: int = NONE) -> Record:
        return (t, kind, 0, 1, 1, client, 1, 0, 0 if kind == Kind.DELIVER else NOBODY, t, seq, aux, 128, 0xDEADBEEF)

    return make
