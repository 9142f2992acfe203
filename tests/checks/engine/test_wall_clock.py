"""Steps of the wall clock: what they may explain is UNKNOWN, what they cannot stays FAIL."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from earwitness.checks import Batch, Flag, Kind, Outcome, Phase
from earwitness.checks.history.record import CONTROL, NOBODY, Artefact, FaultKind, Place, Way
from earwitness.checks.judge import judge

ANN, BOB = 0, 1
S = 1_000_000_000
HOUR = 3600.0
PROMISES = {
    "token_leeway_s": 1.0,
    "revocation_bound_s": 2.0,
    "outage_answer_s": 1.0,
    "outage_session_s": 900.0,
    "refresh_single_use": True,
    "refresh_reuse_revokes": True,
    "sockets_end_with_token": True,
}
OWN, AGREED = int(Flag.OWN), int(Flag.ACCEPTED)


@pytest.fixture
def history(new_history: Callable[..., Any]) -> Any:
    """Load begins at 1 s."""
    return new_history(**PROMISES).add(Kind.PHASE, counter=int(Phase.LOAD), t=S)


def step(history: Any, at: float, by: float, journal: int = 0) -> Any:
    """It was noticed at `at` seconds, and had not happened a tenth before."""
    slots = {"counter": int(Phase.CLOCK_STEP), "seq": round((at - 0.1) * S), "aux": round(by * S)}
    return history.add(Kind.PHASE, journal=journal, t=round(at * S), **slots)


def token(history: Any, at: float, number: int, ends: float | None = None, kind: Artefact = Artefact.ACCESS,
          of: int = -1, **slots: int) -> Any:  # fmt: skip
    """`ends`: its deadline in seconds."""
    deadline = -1 if ends is None else round(ends * S)
    known = {"counter": number, "attempt": int(kind), "seq": deadline, "aux": of, "t": round(at * S)}
    return history.add(Kind.TOKEN, ANN, **{**known, **slots})


def ask(history: Any, at: float, number: int, status: int = 200, *, control: bool = False, **slots: int) -> Any:
    """Sent at `at` seconds, answered a tenth later."""
    flags = int(Flag.ACCEPTED if status < 400 else Flag.REFUSED if status < 500 or status > 4000 else 0)
    known = {"author": ANN, "counter": number, "proc": int(Way.HEADER) | (CONTROL if control else 0), "size": status}
    known |= {"attempt": int(Place.BACKEND), "seq": round(at * S), "flags": flags, "t": round((at + 0.1) * S)}
    return history.add(Kind.REQUEST, **{"client": ANN, **known, **slots})


def outcome(history: Any, check: str) -> tuple[Outcome, int]:
    """And the number of violations; UNKNOWN because of a step says so."""
    verdict = history.judge()[check]
    assert verdict.outcome is not Outcome.UNKNOWN or "wall clock, which was stepped (H3)" in verdict.why, verdict.why
    return verdict.outcome, verdict.violations


FAIL, UNKNOWN = (Outcome.FAIL, 1), (Outcome.UNKNOWN, 0)


def test_h3_states_each_step(history: Any) -> None:
    """When, by how much, in which processes; one step of a host is one, however many processes noticed it."""
    assert history.judge()["H3"].outcome is Outcome.PASS
    step(step(history, 4, HOUR), 4.05, HOUR, journal=1)
    step(history, 9, -HOUR)
    verdict = history.judge()["H3"]
    assert verdict.outcome is Outcome.UNKNOWN
    assert verdict.why == (
        "the wall clock was stepped by +3600.0 s after 3.0 s (j0, j1);"
        " the wall clock was stepped by -3600.0 s after 8.0 s (j0)"
    )
    assert len(verdict.facts["clock_steps"]) == 2


@pytest.mark.parametrize(("count", "end"), [(3, "(j0)"), (5, "; the wall clock was stepped 2 times more")])
def test_h3_does_not_grow_without_end(history: Any, count: int, end: str) -> None:
    """Of five steps three in words."""
    for n in range(count):
        step(history, 3 + n, 1.0)
    why = history.judge()["H3"].why
    assert why.count("the wall clock was stepped by") == 3
    assert why.endswith(end)


@pytest.mark.parametrize(
    ("at", "by", "count"), [(4.1, 1.0, 1), (4.11, 1.0, 2), (4.05, 1.09, 1), (4.05, 1.1, 2), (4.05, 0.9, 2)]
)
def test_one_step_of_two_processes(history: Any, at: float, by: float, count: int) -> None:
    """H3: they noticed it at times that touch, and measured it alike."""
    step(step(history, 4, 1.0), at, by, journal=1)
    assert len(history.judge()["H3"].facts["clock_steps"]) == count


def test_a_step_in_a_journal_that_nobody_declared(history: Any) -> None:
    """H3: its process has no name."""
    step(history, 4, 1.0, journal=1)
    batches = [Batch(journal, records) for journal, records in history.arrays().items()]
    verdicts = {v.id: v for v in judge(history.roster, history.contract, batches, history.infos()[:1])}
    assert verdicts["H3"].facts["clock_steps"] == ["by +1.0 s after 3.0 s (another process)"]


@pytest.mark.parametrize(
    ("number", "by", "flags", "expected"),
    [
        (26, HOUR, OWN, UNKNOWN),
        (26, -HOUR, OWN, UNKNOWN),
        (26, None, OWN, FAIL),
        (7, HOUR, 0, FAIL),
    ],
    ids=["wrong by its times", "back", "without a step", "wrong at any time"],
)
def test_a_forgery_that_was_accepted(
    history: Any, number: int, by: float | None, flags: int, expected: tuple[Outcome, int]
) -> None:
    """I31: only a forgery that is wrong by its times may have become a valid token."""
    if by is not None:
        step(history, 5, by)
    token(history, 8, 1, proc=number, flags=flags)
    assert outcome(ask(history, 8, 1), "I31") == expected


@pytest.mark.parametrize(
    ("made", "agreed", "expected"),
    [
        (3.0, (2.0,), FAIL),
        (3.0, (8.0,), UNKNOWN),
        (3.0, (), UNKNOWN),
        (4.95, (2.0, 8.0), UNKNOWN),
        (9.0, (8.0,), FAIL),
        (9.0, (2.0,), UNKNOWN),
        (5.5, (8.0,), UNKNOWN),
    ],
    ids=["before", "only after agreed", "never agreed", "during", "after", "only before agreed", "just after"],
)
def test_the_affected_time_only(
    history: Any, made: float, agreed: tuple[float, ...], expected: tuple[Outcome, int]
) -> None:
    """I31: a time is good in which the platform's clock was seen to agree, between one step and the next."""
    for number, at in enumerate(agreed, start=2):
        token(history, at, number, ends=at + 900, flags=AGREED)
    step(history, 5, HOUR)
    token(history, made, 1, proc=26, flags=OWN)
    assert outcome(ask(history, made, 1), "I31") == expected


def test_the_clock_of_another_process(history: Any) -> None:
    """I31: what a process made whose clock was right is wrong, unless a step that another one noticed came between."""
    step(history, 5, HOUR, journal=1)
    token(history, 8, 1, proc=26, flags=OWN)
    assert outcome(ask(history, 8, 1), "I31") == FAIL
    step(history, 10, HOUR, journal=1)
    assert outcome(ask(history, 12, 1), "I31") == FAIL, "what was proven before it stays"
    assert history.judge()["I31"].why == "1 findings rest on the wall clock, which was stepped (H3)"


@pytest.mark.parametrize(
    ("made_ns", "answered_ns", "expected"),
    [(0, 10 * S, UNKNOWN), (1, 10 * S, FAIL), (-S, -S // 10, UNKNOWN), (-S, -S // 10 - 1, FAIL)],
    ids=["made as it was noticed", "made after it", "answered as it began", "answered before it"],
)
def test_the_first_and_the_last_moment_of_a_step(
    history: Any, made_ns: int, answered_ns: int, expected: tuple[Outcome, int]
) -> None:
    """I31: a step of another process's clock, from 4.9 s to 5 s, both included. Times are counted from 5 s.

    A forgery counts as made a second before its record, as an answer may be under way for so long.
    """
    step(history, 5, HOUR, journal=1)
    made = 5 * S + made_ns
    token(history, 0, 1, proc=26, flags=OWN, t=made + S)
    assert outcome(ask(history, 0, 1, seq=made, t=5 * S + answered_ns), "I31") == expected


def test_a_step_between_making_and_presenting(history: Any) -> None:
    """I31: the platform's clock may have been set back until the forgery was not of the future any more."""
    token(history, 2, 2, ends=900, flags=AGREED)
    token(history, 3, 1, proc=24, flags=OWN)
    step(history, 5, HOUR)
    token(history, 8, 3, ends=900, flags=AGREED)
    assert outcome(ask(history, 9, 1), "I31") == UNKNOWN


@pytest.mark.parametrize(
    ("by", "ends", "asked", "expected"),
    [
        (HOUR, 900.0, 9.0, UNKNOWN),
        (HOUR, 9000.0, 9.0, FAIL),
        (2.0, 900.0, 9.0, FAIL),
        (-HOUR, 900.0, 9.0, UNKNOWN),
        (-0.5, 900.0, 9.0, FAIL),
        (HOUR, 900.0, 3.0, FAIL),
        (-HOUR, 900.0, 3.0, FAIL),
        (HOUR, None, 9.0, UNKNOWN),
        (-0.5, None, 9.0, FAIL),
    ],
    ids=["ended early", "long enough", "a small step", "of the future", "within the leeway", "before it", "before",
         "no deadline", "no deadline, a small step"],
)  # fmt: skip
def test_a_valid_token_that_was_refused(
    history: Any, by: float, ends: float | None, asked: float, expected: tuple[Outcome, int]
) -> None:
    """I35: on a platform whose clock was stepped a token ends earlier, or seems to be issued in the future."""
    token(history, 2, 1, ends)
    step(history, 5, by)
    assert outcome(ask(history, asked, 1, 401), "I35") == expected


def test_a_token_issued_after_the_step(history: Any) -> None:
    """I35: its whole life is after it; a second later no answer of before is under way any more."""
    step(history, 5, HOUR)
    assert outcome(ask(token(history, 6.5, 1, 900), 9, 1, 401), "I35") == FAIL
    history.told.pop()
    assert outcome(ask(token(history, 5.5, 2, 900), 9, 2, 401), "I35") == UNKNOWN


@pytest.mark.parametrize(("agreed", "expected"), [(True, FAIL), (False, UNKNOWN)])
def test_a_control_of_ours(history: Any, agreed: bool, expected: tuple[Outcome, int]) -> None:
    """I35: a control that the tester made by its own clock; I31 doubts it as ever."""
    step(history, 5, -HOUR)
    if agreed:
        token(history, 7, 2, ends=900, flags=AGREED)
    token(history, 8, 1, flags=OWN)
    assert outcome(ask(history, 8, 1, 401, control=True), "I35") == expected


def test_a_control_that_nobody_knows(history: Any) -> None:
    """I35: it may have been issued before the step."""
    assert outcome(ask(history, 3, 9, 401, control=True), "I35") == FAIL
    history.told.pop()
    assert outcome(ask(step(history, 5, HOUR), 8, 9, 401, control=True), "I35") == UNKNOWN


def outage(history: Any, begins: float, ends: float) -> Any:
    """Auth is away."""
    for at, flags in ((begins, OWN), (ends, 0)):
        slots = {"counter": int(FaultKind.KILL), "attempt": int(Place.AUTH), "author": 1 << 31}
        history.add(Kind.FAULT, flags=flags, t=round(at * S), **slots)
    return history


@pytest.mark.parametrize(("by", "expected"), [(HOUR, UNKNOWN), (None, FAIL)])
@pytest.mark.parametrize("status", [401, 503])
def test_shut_out_in_an_outage(history: Any, by: float | None, status: int, expected: tuple[Outcome, int]) -> None:
    """I35: a session that a step has ended is none."""
    token(outage(history, 6, 30), 2, 1, 900)
    if by is not None:
        step(history, 5, by)
    assert outcome(ask(history, 9, 1, status), "I35") == expected


@pytest.mark.parametrize(("flags", "expected"), [(OWN, UNKNOWN), (0, FAIL)])
def test_believed_in_an_outage(history: Any, flags: int, expected: tuple[Outcome, int]) -> None:
    """I35: as I31."""
    step(outage(history, 6, 30), 5, HOUR)
    token(history, 8, 1, proc=26, flags=flags)
    assert outcome(ask(history, 8, 1), "I35") == expected


def test_an_error_is_no_refusal(history: Any) -> None:
    """I35: no step of a clock explains 500."""
    token(history, 2, 1, 900)
    assert outcome(ask(step(history, 5, HOUR), 9, 1, 500), "I35") == FAIL


@pytest.mark.parametrize(
    ("by", "asked", "flags", "expected"),
    [
        (-HOUR, 20.0, 0, UNKNOWN),
        (HOUR, 20.0, 0, FAIL),
        (-2.0, 12.5, 0, UNKNOWN),
        (-2.0, 13.0, 0, UNKNOWN),
        (-2.0, 13.5, 0, FAIL),
        (HOUR, 20.0, OWN, UNKNOWN),
    ],
    ids=[
        "lasts longer",
        "lasts less",
        "by two seconds",
        "to the last moment",
        "not by three",
        "a deadline by our clock",
    ],
)
def test_accepted_after_the_deadline(
    history: Any, by: float, asked: float, flags: int, expected: tuple[Outcome, int]
) -> None:
    """I29: a token lasts longer by as much as the platform's clock was set back. Its deadline is at 10 s."""
    token(history, 2, 1, 10, flags=flags)
    assert outcome(ask(step(history, 5, by), asked, 1), "I29") == expected


def test_accepted_before_the_step(history: Any) -> None:
    """I29: what had been proven by then."""
    token(history, 2, 1, 4)
    assert outcome(step(ask(history, 8, 1), 12, -HOUR), "I29") == FAIL


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        (((5.0, HOUR), (12.0, -HOUR)), UNKNOWN),
        (((5.0, HOUR),), FAIL),
        (((2.0, -HOUR),), FAIL),
        (((25.0, -HOUR),), FAIL),
    ],
    ids=["forward and back", "forward", "before it", "after it"],
)
def test_accepted_after_its_revocation(
    history: Any, steps: tuple[tuple[float, float], ...], expected: tuple[Outcome, int]
) -> None:
    """I30: a revocation is kept until the token's deadline; a clock that is set back makes the token hold again."""
    token(history, 1.5, 1, 900)
    revoked = {"author": ANN, "counter": 1, "seq": 4 * S, "t": 4 * S, "size": 200, "flags": int(Flag.ACCEPTED)}
    history.add(Kind.REVOKE, ANN, attempt=int(Place.AUTH), **revoked)
    for at, by in steps:
        step(history, at, by)
    assert outcome(ask(history, 20, 1), "I30") == expected


@pytest.mark.parametrize(("at", "expected"), [(5.0, UNKNOWN), (30.0, FAIL), (None, FAIL)])
def test_a_reuse_that_was_not_punished(history: Any, at: float | None, expected: tuple[Outcome, int]) -> None:
    """I32: the second use may have been refused for the token's age."""
    token(history, 2, 1, kind=Artefact.REFRESH)
    token(history, 2, 2, of=1)
    body = {"proc": int(Way.BODY), "attempt": int(Place.AUTH)}
    ask(history, 3, 1, **body)
    if at is not None:
        step(history, at, HOUR)
    ask(ask(history, 6, 1, 401, **body), 20, 2)
    assert outcome(history, "I32") == expected


@pytest.mark.parametrize(("grace", "by", "expected"), [(2.0, -HOUR, UNKNOWN), (2.0, HOUR, FAIL), (0.0, -HOUR, FAIL)])
def test_a_refresh_token_used_twice(
    new_history: Callable[..., Any], grace: float, by: float, expected: tuple[Outcome, int]
) -> None:
    """I32: only a time of grace is measured by a clock."""
    history = new_history(**PROMISES, refresh_grace_s=grace)
    token(history, 2, 1, kind=Artefact.REFRESH)
    step(ask(history, 3, 1), 4, by)
    assert outcome(ask(history, 8, 1), "I32") == expected


@pytest.mark.parametrize(
    ("by", "again", "violations", "doubt"),
    [(None, 5.1, 0, False), (None, 5.2, 1, False), (-2.0, 7.1, 0, True), (-2.0, 7.2, 1, False)],
)
def test_the_last_moment_of_the_grace_time(
    new_history: Callable[..., Any], by: float | None, again: float, violations: int, doubt: bool
) -> None:
    """I32: two seconds from the first answer, at 3.1 s, and by as much longer as the clock was set back."""
    history = new_history(**PROMISES, refresh_grace_s=2.0)
    token(history, 2, 1, kind=Artefact.REFRESH)
    ask(history, 3, 1)
    if by is not None:
        step(history, 4, by)
    verdict = ask(history, again, 1).judge()["I32"]
    assert (verdict.violations, "stepped (H3)" in verdict.why) == (violations, doubt)


@pytest.mark.parametrize(
    ("by", "sent", "flags", "expected"),
    [
        (None, 20.0, 0, FAIL),
        (-HOUR, 20.0, 0, UNKNOWN),
        (-2.0, 12.5, 0, UNKNOWN),
        (-2.0, 20.0, 0, FAIL),
        (HOUR, 20.0, 0, FAIL),
        (HOUR, 20.0, OWN, UNKNOWN),
        (-2.0, 13.0, 0, UNKNOWN),
        (-2.0, 13.1, 0, FAIL),
        (None, 11.1, 0, FAIL),
    ],
    ids=["no step", "back", "by two seconds", "later", "forward", "a deadline by our clock", "the last moment",
         "a moment later", "no step, a moment after the leeway"],
)  # fmt: skip
@pytest.mark.parametrize("own", [False, True], ids=["heard", "sent"])
def test_a_socket_that_outlived_its_token(
    history: Any, by: float | None, sent: float, flags: int, expected: tuple[Outcome, int], own: bool
) -> None:
    """I34: as I29, for what is delivered on the connection and for what it sends. The deadline is at 10 s."""
    history.join(ANN, t=2 * S).join(BOB, t=2 * S)
    token(history, 2, 1, 10, flags=flags)
    ask(history, 2.5, 1, 101, attempt=int(Place.SOCKET), conn=ANN + 1)
    if by is not None:
        step(history, 5, by)
    author, hearer = (ANN, BOB) if own else (BOB, ANN)
    history.send(author, 1, t=int(sent * S)).ack(author, 1, 1, t=int((sent + 0.1) * S))
    history.hear(hearer, author, 1, 1, t=int((sent + 0.2) * S))
    assert outcome(history, "I34") == expected


@pytest.mark.parametrize("own", [False, True], ids=["heard", "sent"])
def test_a_socket_at_the_last_moment(history: Any, own: bool) -> None:
    """I34: what is sent when the leeway ends is in time."""
    history.join(ANN, t=2 * S).join(BOB, t=2 * S)
    token(history, 2, 1, 10)
    ask(history, 2.5, 1, 101, attempt=int(Place.SOCKET), conn=ANN + 1)
    author, hearer = (ANN, BOB) if own else (BOB, ANN)
    history.send(author, 1, t=11 * S).ack(author, 1, 1, t=12 * S).hear(hearer, author, 1, 1, t=12 * S)
    verdict = history.judge()["I34"]
    assert (verdict.violations, verdict.why) == (0, "nothing was examined")


@pytest.mark.parametrize(("by", "expected"), [(-HOUR, UNKNOWN), (HOUR, FAIL)])
def test_a_socket_that_outlived_its_revocation(history: Any, by: float, expected: tuple[Outcome, int]) -> None:
    """I34: as I30."""
    history.join(ANN, t=2 * S).join(BOB, t=2 * S)
    token(history, 2, 1, 900)
    ask(history, 2.5, 1, 101, attempt=int(Place.SOCKET), conn=ANN + 1)
    revoked = {"author": ANN, "counter": 1, "seq": 4 * S, "t": 4 * S, "size": 200, "flags": int(Flag.ACCEPTED)}
    step(history.add(Kind.REVOKE, ANN, attempt=int(Place.AUTH), **revoked), 5, by)
    history.send(BOB, 1, t=20 * S).ack(BOB, 1, 1, t=21 * S).hear(ANN, BOB, 1, 1, t=22 * S)
    assert outcome(history, "I34") == expected


def test_messages_do_not_care(healthy_history: Callable[..., Any]) -> None:
    """Nothing else reads the wall clock: a healthy history stays healthy, a lost message stays lost."""
    history = healthy_history()
    plain = {id: v.outcome for id, v in history.judge().items()}
    step(history, 0.01, HOUR)
    stepped = {id: v.outcome for id, v in history.judge().items()}
    assert {id for id in plain if plain[id] != stepped[id]} == {"H3"}


BUDGET = {"rate_per_s": 1.0, "rate_burst": 4.0, "retry_after": True}


@pytest.fixture
def limited(new_history: Callable[..., Any]) -> Any:
    """A bucket of four, one more a second."""
    return new_history(**BUDGET)


def use(history: Any, at: float, status: int = 200, *, left: int | None = None, wait: float | None = None,
        client: int = ANN, number: int = 1) -> Any:  # fmt: skip
    """`left`: what the answer states; `wait`: Retry-After in seconds, 1 with a refusal."""
    wait = 1.0 if wait is None and status == 429 else wait
    stated = {"digest": NOBODY if left is None else left, "aux": -1 if wait is None else int(1000 * wait)}
    return ask(history, at, number, status, client=client, author=client, **stated)


def spend(history: Any, at: float, count: int, left: int = 4, **slots: Any) -> Any:
    """A request each tenth of a second, with what is left."""
    for n in range(count):
        use(history, at + n / 10, left=max(0, left - 1 - n), **slots)
    return history


@pytest.mark.parametrize(
    ("by", "count", "expected"),
    [(None, 4, Outcome.FAIL), (HOUR, 4, Outcome.UNKNOWN), (HOUR, 6, Outcome.FAIL)],
    ids=["no step", "filled by the step", "more than a full bucket"],
)
@pytest.mark.parametrize("check", ["I36", "I39"])
def test_more_than_the_budget(limited: Any, by: float | None, count: int, expected: Outcome, check: str) -> None:
    """I36, and I39 with another token each time: a clock set forward fills the bucket, once."""
    spend(limited, 2, 4)
    if by is not None:
        step(limited, 3, by)
    spend(limited, 3.1, count, number=2 if check == "I39" else 1)
    assert outcome(limited, check)[0] is expected


@pytest.mark.parametrize(
    ("by", "at", "expected"),
    [
        (None, 30, Outcome.FAIL),
        (-HOUR, 30, Outcome.UNKNOWN),
        (-HOUR, 8, Outcome.FAIL),
        (-2.0, 15.5, Outcome.UNKNOWN),
        (-2.0, 30, Outcome.FAIL),
        (HOUR, 30, Outcome.FAIL),
        (0.0, 11, Outcome.FAIL),
        (-HOUR, 9.8, Outcome.UNKNOWN),
        (-2.0, 16.0, Outcome.UNKNOWN),
        (-2.0, 16.1, Outcome.FAIL),
    ],
    ids=[
        "no step",
        "stands still",
        "before it",
        "for six seconds",
        "later",
        "forward",
        "by nothing",
        "answered when it may have begun",
        "the last moment",
        "a moment later",
    ],
)
@pytest.mark.parametrize("check", ["I37", "I38", "I39"])
def test_refused_with_budget_left(limited: Any, by: float | None, at: float, expected: Outcome, check: str) -> None:
    """I37, I38 (*longer* and *understated*), I39 (*charged*): a clock set back fills no bucket until it has caught up,
    and then it takes as long as an empty one takes. The step is at 10 s."""
    use(limited, 2, left=3)
    if check == "I39":  # Bob uses up his
        spend(limited, 2.5, 4, client=BOB)
        use(limited, 2.95, 429, client=BOB)
    if by is not None:
        step(limited, 10, by)
    if check == "I38":
        use(use(limited, at, left=0), at, 429, wait=60)
    else:
        use(limited, at, 429)
    verdict = limited.judge()[check]
    assert verdict.outcome is expected, verdict.why
    if check == "I38":
        assert verdict.violations == (2 if expected is Outcome.FAIL else 0)


@pytest.mark.parametrize("begin", [9.4, 10.0, 20.0], ids=["until it", "between two", "after it"])
def test_what_touches_a_step_is_not_between_steps(limited: Any, begin: float) -> None:
    """I36: five within half a second, of which one touches the time of a step; four are no violation."""
    step(step(limited, 10, HOUR), 20, HOUR)
    spend(limited, begin, 5)
    assert outcome(limited, "I36") == UNKNOWN
    assert outcome(spend(limited, begin + 0.5, 1), "I36")[0] is (Outcome.UNKNOWN if begin < 10 else Outcome.FAIL)


def test_a_full_window_with_a_step_in_it(new_history: Callable[..., Any]) -> None:
    """I36: not more than the budget, step or not: nothing is in doubt."""
    history = spend(new_history(rate_window_s=10.0, rate_burst=4.0), 2, 2)
    verdict = spend(step(history, 4, HOUR), 5, 2).judge()["I36"]
    assert (verdict.outcome, verdict.why) == (Outcome.UNKNOWN, "nothing was examined")


@pytest.mark.parametrize(("by", "expected"), [(None, Outcome.FAIL), (-5.0, Outcome.UNKNOWN), (HOUR, Outcome.FAIL)])
def test_refused_again_after_the_stated_time(limited: Any, by: float | None, expected: Outcome) -> None:
    """I38, *broken*: the platform's clock was set back while the user waited."""
    use(spend(limited, 2, 4), 2.5, 429)
    if by is not None:
        step(limited, 3, by)
    use(limited, 8, 429)
    assert outcome(limited, "I38")[0] is expected


@pytest.mark.parametrize(
    ("at", "by", "expected"),
    [
        (4.1, None, Outcome.FAIL), (4.1, HOUR, Outcome.UNKNOWN), (4.1, -HOUR, Outcome.FAIL), (4.1, 0.0, Outcome.FAIL),
        (3.8, HOUR, Outcome.UNKNOWN), (3.79, HOUR, Outcome.FAIL),
    ],
    ids=["no step", "forward", "back", "by nothing", "answered when it may have begun", "answered before"],
)  # fmt: skip
def test_more_stated_than_can_be_left(limited: Any, at: float, by: float | None, expected: Outcome) -> None:
    """I38, *overstated*; what a refusal does not say, no step explains."""
    use(use(spend(limited, 2, 4), 2.5, 429), 3.6)
    if by is not None:
        step(limited, 4, by)
    use(limited, at, left=3)
    assert outcome(limited, "I38")[0] is expected
    assert outcome(use(limited, 4.3, 429, wait=-0.001), "I38")[0] is Outcome.FAIL
