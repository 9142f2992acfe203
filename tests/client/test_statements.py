"""Records of credentials, requests and shared state."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from earwitness.checks.history.record import (
    CONTROL,
    NOBODY,
    NONE,
    RECORD,
    Artefact,
    Flag,
    Kind,
    Place,
    State,
    Way,
)
from earwitness.checks.history.schema import KINDS
from earwitness.harness.client import statements
from earwitness.harness.client.exchange import Exchange
from earwitness.harness.client.flow import HttpRequest

FIELDS = "t kind flags attempt proc client conn conv author counter seq aux size digest".split()


class Written:
    """A journal that keeps what is written."""

    def __init__(self) -> None:
        self.records: list[dict[str, int]] = []

    def write(self, *record: Any) -> int:
        assert np.array([(*record, len(self.records) + 1)], RECORD)[0]["t"] == record[0], "it fits the layout"
        self.records.append({k: int(v) for k, v in zip(FIELDS, record, strict=True)})
        return len(self.records)


@pytest.fixture
def journal() -> Written:
    return Written()


@pytest.mark.parametrize(
    ("status", "flags"),
    [(200, Flag.ACCEPTED), (101, Flag.ACCEPTED), (302, Flag.ACCEPTED), (401, Flag.REFUSED), (429, Flag.REFUSED),
     (4401, Flag.REFUSED), (1008, Flag.REFUSED), (0, 0), (408, 0), (500, 0), (503, 0), (1006, 0), (1012, 0)],
)  # fmt: skip
def test_only_a_clear_answer_is_an_answer(status: int, flags: int) -> None:
    """2xx and 3xx are accepted, reasoned refusals refused; errors, restarts and silence leave it open."""
    assert statements.outcome(status) == int(flags)


def test_a_request_says_what_its_exchange_was(journal: Written) -> None:
    """Send and answer times, place, way, artefact, status, Retry-After and the remaining budget, each in its slot."""
    headers = {"retry-after": "3", "x-ratelimit-remaining": "0"}
    exchange = Exchange(HttpRequest("GET", "/"), 5, 9, 429, headers)
    statements.write_exchange(journal, 4, Place.BACKEND, exchange, way=Way.HEADER, name=(4, 2), bits=CONTROL)
    [record] = journal.records
    assert record["kind"] == Kind.REQUEST
    assert (record["seq"], record["t"], record["size"], record["flags"]) == (5, 9, 429, int(Flag.REFUSED))
    assert (record["author"], record["counter"], record["attempt"]) == (4, 2, Place.BACKEND)
    assert record["proc"] == Way.HEADER | CONTROL
    assert (record["aux"], record["digest"]) == (3000, 0)


def test_who_is_shown_as_online(journal: Written) -> None:
    """PRESENCE: to whom on which connection, about whom, where."""
    statements.write_presence(journal, 4, 2, told_ns=9, conv=3, about=1 << 31, online=True)
    [record] = journal.records
    assert (record["kind"], record["t"], record["client"], record["conn"]) == (Kind.PRESENCE, 9, 4, 2)
    assert (record["author"], record["conv"], record["counter"], record["aux"]) == (1 << 31, 3, 1, NONE)


def test_what_an_answer_does_not_state_is_not_made_up(journal: Written) -> None:
    """Without headers, or with ones that are no numbers, there is neither a Retry-After nor a budget."""
    assert statements.stated_budget({}) == (NONE, NOBODY)
    assert statements.stated_budget({"retry-after": "soon", "x-ratelimit-remaining": "-1"}) == (NONE, NOBODY)


def test_every_writer_fills_the_slots_of_its_kind(journal: Written) -> None:
    """Tokens, revocations, changes and what was seen stand where the vocabulary says."""
    statements.write_token(journal, Artefact.REFRESH, 3, 2, deadline_ns=70, belongs_to=1, digest=8, forged=5)
    statements.write_revoke(journal, 1, Place.AUTH, sent_ns=5, received_ns=6, status=200, name=(3, 0))
    times = {"sent_ns": 5, "received_ns": 6, "status": 503}
    statements.write_change(journal, 1, Place.AUTH, State.ACTIVE, **times, of=3, digest=9, value=0)
    statements.write_seen(journal, 1, Place.SOCKET, State.PROFILE, asked_ns=NONE, seen_ns=8, of=3, digest=9, conn=2)
    token, revoke, change, seen = journal.records
    assert [r["kind"] for r in journal.records] == [Kind.TOKEN, Kind.REVOKE, Kind.WRITE, Kind.SEEN]
    assert all(Kind(r["kind"]) in KINDS for r in journal.records)
    assert (token["client"], token["counter"], token["attempt"], token["proc"]) == (3, 2, Artefact.REFRESH, 5)
    assert (token["seq"], token["aux"], token["digest"]) == (70, 1, 8)
    assert (revoke["author"], revoke["counter"], revoke["seq"], revoke["t"], revoke["size"]) == (3, 0, 5, 6, 200)
    assert (change["proc"], change["author"], change["aux"], change["flags"]) == (State.ACTIVE, 3, 0, 0)
    assert (seen["conn"], seen["seq"], seen["t"], seen["digest"]) == (2, NONE, 8, 9)
