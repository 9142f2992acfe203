"""The gate: no check may be taken away. Each has a history that it alone rejects."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from compare import fold
from golden_auth import GOLDEN_AUTH, PROMISES
from literal import Told
from rough import rate, rough
from seeds import rest
from simulator import SimulatedRun, simulate

from earwitness.checks.catalogue import ALL
from earwitness.checks.history.record import CONTROL, FaultKind, Flag, Kind, Place, State, Way
from earwitness.checks.verdict import Outcome

ONLY: dict[str, str] = {
    "I1": "Z2",
    "I2": "Z3",
    "I3": "Z4",
    "I4": "Z28",
    "I5a": "Z6",
    "I5b": "Z33",
    "I6": "Z8",
    "I7": "Z9",
    "I8": "Z10",
    "I9": "Z11",
    "I10": "Z12",
    "I11": "Z13",
    "I12": "Z15",
    "I13": "Z16",
    "I15": "Z18",
    "I16": "Z20",
    "I17": "Z21",
    "I19": "Z23",
    "I20": "Z25",
    "I21": "Z27",
    "I24": "Z31",
    "I25": "Z34",
    "I43": "Z70",
    "I44": "Z71",
}
"""Check → a defect that in some runs only this check finds."""

PLATFORM: dict[str, dict[str, Any]] = {
    "I5b": {"waits": False},
    "I3": {"sequence": "increasing", "hold_back": True},
    "I4": {"sequence": "contiguous"},
    "I7": {"history": True, "idempotent": True, "retries": True},
    "I16": {"sequence": "contiguous", "history": True, "echo": False, "recent": False},
    "I17": {"sequence": "contiguous", "history": True, "recent": False},
    "I44": {"sequence": "increasing", "history": True, "recent": True},
    "I19": {"sequence": "contiguous", "resume": "live", "echo": True},
    "I20": {"sequence": "contiguous", "resume": "history"},
}
"""What sort of platform shows it, where that matters."""


def _rejecting(run: Any, checks: Any = ALL) -> set[str]:
    return {id for id, v in fold(run, checks=checks).items() if v.promised and v.outcome == Outcome.FAIL}


@pytest.mark.parametrize("wanted", [1, rest(2)])
@pytest.mark.parametrize("check", ONLY)
def test_a_defect_that_only_this_check_finds(check: str, wanted: int) -> None:
    """Among the runs with its defect there are some that only this check rejects; without it they would pass."""
    without = [c for c in ALL if c.id != check]
    alone = 0
    for seed in range(40):
        options = rough(seed, **PLATFORM.get(check, {}))
        run = simulate(seed, **options, defects=(ONLY[check],), rate=rate(ONLY[check], seed))
        if _rejecting(run) == {check}:
            assert _rejecting(run, without) == set()
            alone += 1
        if alone == wanted:
            return
    pytest.fail(f"{alone} of 40 runs with {ONLY[check]} are rejected by {check} alone")


def _answer_on_a_later_connection(told: Told) -> None:
    """A platform that answers a user: a connection was cut, and the next one gets the answer."""
    told.join(0, 1)
    told.invoke(0, 1, 1)
    told.write(Kind.INFO, client=0, conn=1, author=0, counter=1, attempt=1, conv=0)
    told.write(Kind.DISCONNECT, client=0, conn=1, counter=1006)
    told.join(0, 2)
    told.ok(0, 2, 1)


def _request(told: Told, status: int, *, left: int, token: int = 1, wait: int = 1000) -> None:
    """Of device 0, answered at once."""
    told.write(
        Kind.REQUEST, client=0, author=0, counter=token, seq=len(told.rows) * 1000 + 999, size=status, digest=left,
        aux=wait if status == 429 else -1, attempt=2,
    )  # fmt: skip


def _more_than_the_budget(told: Told) -> None:
    """Four are granted where three are promised."""
    for left in (2, 1, 0, 0):
        _request(told, 200, left=left)


def _less_than_the_budget(told: Told) -> None:
    """The second of three is refused."""
    _request(told, 200, left=2)
    _request(told, 429, left=0)


def _no_word_about_coming_back(told: Told) -> None:
    """A right refusal without Retry-After."""
    for left in (2, 1, 0):
        _request(told, 200, left=left)
    _request(told, 429, left=0, wait=-1)


def _more_with_another_token(told: Told) -> None:
    """Three are granted to the first token, and another to the second."""
    for left, token in ((2, 1), (1, 1), (0, 1), (0, 2)):
        _request(told, 200, left=left, token=token)


def _one_hears_much_later(told: Told) -> None:
    """Seven hear a hundred messages at once, the eighth four seconds later; the platform promised no bound."""
    for client in range(8):
        told.join(client, client + 1, -1)
    for counter in range(1, 101):
        told.invoke(0, 1, counter)
    for client in range(8):
        for counter in range(1, 101):
            told.deliver(client, client + 1, 0, counter)
            told.rows[-1]["t"] += 4_000_000_000 * (client == 7)


def _cut_without_a_word(told: Told) -> None:
    """A replica is replaced, and drops its sockets."""
    replaced = {"author": 1 << 31, "counter": int(FaultKind.REPLACE), "attempt": int(Place.BACKEND)}
    told.join(0, 1)
    told.write(Kind.FAULT, flags=int(Flag.OWN), **replaced)
    told.write(Kind.DISCONNECT, client=0, conn=1, counter=1006)
    told.join(0, 2)
    told.write(Kind.FAULT, **replaced)


def _control_refused(told: Told) -> None:
    """A token that holds is refused beside a forgery."""
    told.write(
        Kind.REQUEST, client=0, author=0, counter=1, attempt=int(Place.BACKEND), proc=int(Way.HEADER) | CONTROL,
        seq=1, size=401, flags=int(Flag.REFUSED),
    )  # fmt: skip


def _breaker_that_never_opens(told: Told) -> None:
    """A dependency is called again and again although it fails."""
    for at in range(1, 6):
        told.write(Kind.CALL, author=1 << 31, counter=1, seq=at * 1000 - 500, aux=1)


def _asked(told: Told, kind: Kind, **slots: int) -> None:
    """Of device 0 about its user's mark in conversation 0, answered at once."""
    now = 1000 * (len(told.rows) + 1)
    told.write(
        kind, client=0, author=0, conv=0, proc=int(State.READ_MARK), attempt=int(Place.BACKEND), seq=now, **slots
    )


def _mark_that_went_back(told: Told) -> None:
    """A read mark was accepted, and is not there."""
    _asked(told, Kind.WRITE, aux=9, flags=int(Flag.ACCEPTED))
    _asked(told, Kind.SEEN, aux=4)


def _devices_that_differ(told: Told) -> None:
    """Two devices of one person are shown two marks, and no other one any more."""
    told.roster = replace(told.roster, user_of=(0, 0, *told.roster.user_of[2:]), conversations=((0, *range(2, 8)),))
    for client in (0, 1):
        told.join(client, client + 1)
        told.write(
            Kind.SEEN, client=client, conn=client + 1, author=0, conv=0, proc=int(State.READ_MARK), aux=4 + client
        )
    told.drained()


def _shown_as_online(told: Told) -> None:
    """Somebody who never connected."""
    told.join(0, 1)
    told.write(Kind.PRESENCE, client=0, conn=1, author=1, conv=0, counter=1)


def _heard_by_its_sender(told: Told) -> None:
    """The sender hears its own message where no echo is promised."""
    told.join(0, 1)
    told.invoke(0, 1, 1)
    told.ok(0, 1, 1)
    told.deliver(0, 1, 0, 1)


def _refused_as_too_long(told: Told) -> None:
    """A message that is as long as promised."""
    told.join(0, 1)
    told.invoke(0, 1, 1, size=1000)
    told.about(Kind.FAIL, 0, 1, 0, 1, aux=413, size=0)


def _never_came_again(told: Told) -> None:
    """A message was sent between two connections of a listener, and nothing brings it."""
    told.join(0, 1)
    told.join(1, 2)
    told.write(Kind.DISCONNECT, client=1, conn=2, counter=1000)
    told.invoke(0, 1, 1)
    told.ok(0, 1, 1)
    told.deliver(0, 1, 0, 1)
    told.join(1, 3, head=1)
    told.drained()


GOLDEN: dict[str, Callable[[Told], None]] = {
    "I47": _never_came_again,
    "I45": _heard_by_its_sender,
    "I46": _refused_as_too_long,
    "I14": _answer_on_a_later_connection,
    "I18": _mark_that_went_back,
    "I22": _devices_that_differ,
    "I26": _one_hears_much_later,
    "I27": _shown_as_online,
    "I36": _more_than_the_budget,
    "I37": _less_than_the_budget,
    "I38": _no_word_about_coming_back,
    "I39": _more_with_another_token,
    "I28": _cut_without_a_word,
    "I35": _control_refused,
    "I40": _breaker_that_never_opens,
    **GOLDEN_AUTH,
}
"""Check → a literal history that only this check rejects."""


@pytest.mark.parametrize("check", GOLDEN)
def test_a_history_that_only_this_check_rejects(check: str) -> None:
    """Without this check it would pass."""
    budget = {"rate_per_s": 1.0, "rate_burst": 3.0, "retry_after": True, "fairness_factor": 10.0}
    outages = {"unavailable_s": 1.0, "outage_answer_s": 1.0, "breaker_failures": 2}
    outages |= {"shared_state_s": 0.0, "presence_s": 0.0, "misses_nothing": True}
    told = Told(8, sequence="none", echo=check != "I45", message_bytes_max=1000, **budget, **outages, **PROMISES)
    GOLDEN[check](told)
    assert _rejecting(told.run()) == {check}
    assert _rejecting(told.run(), [c for c in ALL if c.id != check]) == set()


def _torn(run: SimulatedRun, facts: dict[str, Any]) -> None:
    run.infos[0] = replace(run.infos[0], torn=True, footer=None)


def _fault_that_never_happened(run: SimulatedRun, facts: dict[str, Any]) -> None:
    facts["planned_faults"] = 9


def _unknown_clock(run: SimulatedRun, facts: dict[str, Any]) -> None:
    run.infos[0] = replace(run.infos[0], meta={"roster": run.roster.digest()})


def _less_load_than_offered(run: SimulatedRun, facts: dict[str, Any]) -> None:
    facts["messages_offered"] = 1_000_000


def _recorded_out_of_order(run: SimulatedRun, facts: dict[str, Any]) -> None:
    journal = run.journals[0]
    heard = [int(i) for i in (journal["kind"] == Kind.DELIVER).nonzero()[0]]
    one, other = next((a, b) for a, b in pairwise(heard) if journal["conn"][a] == journal["conn"][b])
    journal["t"][other] = journal["t"][one] - 1


def _a_member_whom_nobody_planned(run: SimulatedRun, facts: dict[str, Any]) -> None:
    room, *rooms = run.roster.conversations
    facts["roster_planned"] = replace(run.roster, conversations=(room[1:], *rooms))


def _tasks_that_crash(run: SimulatedRun, facts: dict[str, Any]) -> None:
    crash = {"where": "chat (story.py:8)", "error": "AttributeError: no attribute 'sya'", "count": 3}
    story = {"errors": [crash], "requests": 0, "failed_requests": []}
    run.infos[0] = replace(run.infos[0], footer={**(run.infos[0].footer or {}), "story": story})


def _a_damaged_table(run: SimulatedRun, facts: dict[str, Any]) -> None:
    facts["damage"] = ["tables/services.jsonl is missing or not what was written"]


SPOILT: dict[str, Callable[[SimulatedRun, dict[str, Any]], None]] = {
    "H1": _torn,
    "H2": _fault_that_never_happened,
    "H3": _unknown_clock,
    "H4": _less_load_than_offered,
    "H5": _recorded_out_of_order,
    "H6": _a_member_whom_nobody_planned,
    "H7": _tasks_that_crash,
    "H8": _a_damaged_table,
}
"""Check of the record itself → how a good record is spoilt so that only this one doubts it."""


def _doubting(run: SimulatedRun, facts: dict[str, Any]) -> set[str]:
    verdicts = fold(run, checks=[c for c in ALL if c.id.startswith("H")], facts=facts)
    assert all(v.outcome != Outcome.FAIL for v in verdicts.values())
    return {id for id, v in verdicts.items() if v.outcome == Outcome.UNKNOWN}


@pytest.mark.parametrize("check", SPOILT)
def test_a_record_that_only_this_check_doubts(check: str) -> None:
    """A good record is doubted by none of the H-checks, a spoilt one by exactly the one that is meant."""
    run = simulate(1)
    run.infos[0] = replace(run.infos[0], meta={**run.infos[0].meta, "roster": run.roster.digest()})
    facts: dict[str, Any] = {"messages_offered": 1, "messages_sent": 1}
    facts |= {"roster_origin": "plan", "roster_planned": run.roster}
    assert _doubting(run, facts) == set()
    SPOILT[check](run, facts)
    assert _doubting(run, facts) == {check}


def test_every_check_has_its_proof() -> None:
    """A new check needs a row in one of the tables above."""
    assert {check.id for check in ALL} == set(ONLY) | set(GOLDEN) | set(SPOILT)
