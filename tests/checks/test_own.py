"""Users' own checks over literal histories: three outcomes, errors, and what the tester lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from earwitness.checks import ALL, Batch, Kind, Outcome, Verdict, check, outcome_of_run
from earwitness.checks import History as Seen
from earwitness.checks.judge import judge
from earwitness.checks.own import OwnCheck, Records
from earwitness.checks.own_fold import NotRun, with_ids

ANN, BOB, BOB2, EVE = range(4)
ROOM, OTHER = range(2)
LONG = 2000
History = Any
"""The language of conftest.py."""


@check("short-messages", promise="Nobody receives a message of more than 2,000 bytes.")
def short_messages(history: Seen) -> Iterator[Any]:
    received = history.of("deliver")
    for record in received[received["size"] > LONG]:
        yield f"{history.device(record['client'])} received {record['size']} bytes", record
    return len(received)


@check("by-records", promise="The same, proven by the records alone.", needs_all=False)
def by_records(history: Seen) -> Iterator[Any]:
    return short_messages.function(history)


def verdicts_of(history: History, *checks: OwnCheck) -> list[Verdict]:
    batches = [Batch(journal, records) for journal, records in history.arrays().items()]
    own = with_ids([], list(checks))
    return judge(history.roster, history.contract, batches, history.infos(), history.facts, own)


def verdict_of(history: History, one: OwnCheck = short_messages) -> Verdict:
    return verdicts_of(history, one)[0]


def talk(new_history: Callable[..., History], size: int = 10) -> History:
    """Bob receives a message in the second journal, of this size."""
    history: History = new_history().join(ANN).send(ANN, 1)
    return history.hear(BOB, ANN, 1, 1, journal=1, size=size).hear(BOB2, ANN, 1, 1, journal=1)


def made(function: Callable[[Seen], Any]) -> OwnCheck:
    return check("made-here", promise="What must hold.")(function)


# -- three outcomes ---------------------------------------------------------------------------------------------------


def test_good(new_history: Callable[..., History]) -> None:
    verdict = verdict_of(talk(new_history))
    assert (verdict.outcome, verdict.examined, verdict.violations) == (Outcome.PASS, 2, 0)
    assert (verdict.id, verdict.name, verdict.promised) == ("U1", "short-messages", True)


def test_bad(new_history: Callable[..., History]) -> None:
    """The finding has the user's sentence and the journal and index of the record."""
    history = talk(new_history, size=LONG + 1)
    verdict = verdict_of(history)
    assert (verdict.outcome, verdict.examined, verdict.violations) == (Outcome.FAIL, 2, 1)
    assert verdict.findings[0].records == ((1, 1),)
    told = history.tell(verdict)
    assert told.sentence == "bob on tab 1 received 2001 bytes"
    assert told.lines[0].startswith("1:1 ")


def test_nothing_examined(new_history: Callable[..., History]) -> None:
    verdict = verdict_of(new_history().join(ANN).send(ANN, 1))
    assert (verdict.outcome, verdict.why) == (Outcome.UNKNOWN, "nothing was examined")


def test_no_records_at_all(new_history: Callable[..., History]) -> None:
    assert verdict_of(new_history()).outcome is Outcome.UNKNOWN


def test_a_function_may_return_all_at_once(new_history: Callable[..., History]) -> None:
    """Findings may be sentences without records, and records may be given together."""
    history = talk(new_history)
    whole = verdict_of(history, made(lambda h: (7, ["everything is wrong", ("these are", h.of("deliver"))])))
    assert (whole.outcome, whole.examined, whole.violations) == (Outcome.FAIL, 7, 2)
    assert [finding.records for finding in whole.findings] == [(), ((1, 1), (1, 2))]


def test_many_findings(new_history: Callable[..., History]) -> None:
    """All are counted, the first are kept."""
    verdict = verdict_of(talk(new_history), made(lambda h: (100, (f"number {n}" for n in range(100)))))
    assert (verdict.violations, verdict.findings[0].sentence, len(verdict.findings)) == (100, "number 0", 8)


# -- mistakes in a check ----------------------------------------------------------------------------------------------


def raising(history: Seen) -> Iterator[Any]:
    yield "this was found before"
    raise ValueError("first line\nsecond line")


def leaving(history: Seen) -> Any:
    raise SystemExit(0)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (raising, "ValueError: first line (test_own.py:"),
        (leaving, "SystemExit: 0 (test_own.py:"),
        (lambda h: 3, "it returned 3; return (number examined, findings), or yield findings"),
        (lambda h: None, "it returned None;"),
        (lambda h: ("sentence", []), "it returned ('sentence', []);"),
        (lambda h: (-1, []), "it returned -1 as the number of examined"),
        (lambda h: (True, []), "it returned True as the number of examined"),
        (lambda h: (1, [("a sentence", 12)]), "a finding shows 12, which is no record"),
        (lambda h: (1, [12]), "a finding is 12; give a sentence"),
        (lambda h: (1, [""]), "a finding is ''"),
        (lambda h: (h.of("delivery"), []), "there is no kind of record 'delivery'; there are invoke, ok"),
        (lambda h: (h.of("deliver")["sise"], []), "these records have no column 'sise'; they have time_ns"),
        (lambda h: h.of("deliver")["size"].fill(0), "read-only"),
    ],
)
def test_a_check_that_fails_itself(
    new_history: Callable[..., History], function: Callable[[Seen], Any], words: str
) -> None:
    """It is UNKNOWN with the error's first line; the others go on."""
    failed, other = verdicts_of(talk(new_history), made(function), short_messages)
    assert (failed.outcome, failed.violations) == (Outcome.UNKNOWN, 0)
    assert failed.why.startswith("the check itself failed: ")
    assert words in failed.why
    assert "\n" not in failed.why
    assert other.outcome is Outcome.PASS


def forgetful(history: Seen) -> Iterator[Any]:
    yield "found", history.of("deliver")[0]


def test_a_generator_without_a_count(new_history: Callable[..., History]) -> None:
    verdict = verdict_of(talk(new_history), made(forgetful))
    assert verdict.outcome is Outcome.UNKNOWN
    assert "it returned None as the number of examined" in verdict.why


def test_what_a_check_prints(new_history: Callable[..., History], capsys: pytest.CaptureFixture[str]) -> None:
    """It goes to stderr: stdout may be JSON for a program."""
    verdict_of(talk(new_history), made(lambda h: print("looking") or (1, [])))
    assert capsys.readouterr() == ("", "looking\n")


@pytest.mark.parametrize(
    ("name", "promise"),
    [("Short", "x"), ("two words", "x"), ("u1", "x"), ("i5b", "x"), ("a" * 41, "x"), ("", "x"), ("fine", " ")],
)
def test_names_and_promises_that_cannot_be(name: str, promise: str) -> None:
    with pytest.raises(ValueError, match=r"is no name of a check|needs a promise"):
        check(name, promise=promise)


def test_the_decorator_without_a_name() -> None:
    with pytest.raises(TypeError):
        check(lambda history: (1, []))  # type: ignore[call-arg, arg-type]
    with pytest.raises(ValueError, match="a check needs a name"):
        check(short_messages.function, promise="x")  # type: ignore[arg-type]


# -- what the tester lost ---------------------------------------------------------------------------------------------


def torn(history: History) -> None:
    history.torn.add(0)


def missing(history: History) -> None:
    history.facts["journals_expected"] = 3


@pytest.mark.parametrize("lose", [torn, missing])
def test_a_part_is_missing(new_history: Callable[..., History], lose: Callable[[History], None]) -> None:
    """A finding may rest on what is missing: UNKNOWN without violations. Not so if records alone prove it."""
    history = talk(new_history, size=LONG + 1)
    lose(history)
    verdict, certain = verdicts_of(history, short_messages, by_records)
    assert (verdict.outcome, verdict.violations, verdict.findings) == (Outcome.UNKNOWN, 0, ())
    assert "a part of the record is missing (H1), and with it perhaps what explains 1 findings" in verdict.why
    assert (certain.outcome, certain.violations) == (Outcome.FAIL, 1)


def test_nothing_found_in_a_part(new_history: Callable[..., History]) -> None:
    history = talk(new_history)
    history.torn.add(1)
    verdict, certain = verdicts_of(history, short_messages, by_records)
    assert (verdict.outcome, verdict.examined) == (Outcome.UNKNOWN, 2)
    assert certain.outcome is Outcome.PASS


@pytest.mark.parametrize("fact", ["roster_damaged", "other roster"])
def test_a_wrong_roster(new_history: Callable[..., History], fact: str) -> None:
    """Who is a member of what is not known: no finding counts, whatever the check says of itself."""
    history = talk(new_history, size=LONG + 1)
    infos = history.infos()
    if fact == "other roster":
        infos[0].meta["roster"] = "another"  # type: ignore[index]
    else:
        history.facts[fact] = True
    batches = [Batch(journal, records) for journal, records in history.arrays().items()]
    (verdict,) = judge(history.roster, history.contract, batches, infos, history.facts, with_ids([], [by_records]))
    assert (verdict.outcome, verdict.violations) == (Outcome.UNKNOWN, 0)


# -- its part in the outcome of a run ---------------------------------------------------------------------------------


def test_it_counts_for_the_run(new_history: Callable[..., History]) -> None:
    """Giving a check is asking for its verdict: an own check that examined nothing makes the run UNKNOWN."""
    record = [one for one in ALL if one.id == "I10"]
    history = talk(new_history)
    batches = [Batch(journal, records) for journal, records in history.arrays().items()]
    silent = made(lambda h: (0, []))
    for own, outcome in ((short_messages, Outcome.PASS), (silent, Outcome.UNKNOWN)):
        checks = [*record, *with_ids([], [own])]
        verdicts = judge(history.roster, history.contract, batches, history.infos(), {}, checks)
        health = Verdict(id="H1", name="h", outcome=Outcome.PASS, examined=1)
        assert outcome_of_run([health, *verdicts], ["I10"])[0] is outcome
    assert outcome_of_run([health, *verdicts], ["made-here"])[1] == "U1 made-here: nothing was examined"


def test_ids_are_those_of_the_run() -> None:
    """By name, whatever the order of the files; what was not given is not run."""
    stated = [("not-here", "Other.", "/gone.py"), ("by-records", "Old.", "/old.py")]
    one, two, three = with_ids(stated, [short_messages, by_records])
    assert (one.id, two.id, three.id) == ("U1", "U2", "U3")
    assert isinstance(one, NotRun)
    assert (two.name, two.title, three.name) == ("by-records", by_records.promise, "short-messages")


def test_a_check_that_is_not_run(new_history: Callable[..., History]) -> None:
    history = talk(new_history)
    checks = with_ids([("not-here", "Other.", "/gone.py")], [])
    (verdict,) = judge(history.roster, history.contract, [], history.infos(), {}, checks)
    assert (verdict.outcome, verdict.examined) == (Outcome.UNKNOWN, 0)
    assert "name the file: --check /gone.py" in verdict.why


# -- the view of a history --------------------------------------------------------------------------------------------


def seen(history: History) -> Seen:
    kept: list[Seen] = []
    verdict_of(history, made(lambda h: kept.append(h) or (1, [])))
    return kept[0]


def test_records_are_in_the_order_of_their_times(new_history: Callable[..., History]) -> None:
    """Across journals, and by journal and index where times are equal."""
    history = new_history()
    for journal, t in ((0, 5), (1, 3), (0, 7), (1, 5)):
        history.send(ANN, 1, journal=journal, t=t)
    sent = seen(history).of("invoke")
    assert [record.place for record in sent] == [(1, 1), (0, 1), (1, 2), (0, 2)]
    assert sent["time_ns"].tolist() == [3, 5, 5, 7]


def test_columns_have_the_names_of_the_schema(new_history: Callable[..., History]) -> None:
    history = new_history().hear(BOB2, ANN, 1, 4, aux=ANN).replay(EVE, ANN, 2, 5, conv=OTHER, aux=ANN)
    history.add(Kind.REQUEST, ANN, attempt=2, seq=17, size=200)
    whole = seen(history)
    told = whole.of("deliver", Kind.REPLAY)
    assert told["sender"].tolist() == [ANN, ANN]
    assert (told["user"].tolist(), told["conversation"].tolist()) == ([1, 2], [ROOM, OTHER])
    assert (told[1]["seq"], told[-1]["counter"]) == (5, 2)
    request = whole.of("request")
    assert (request[0]["status"], request[0]["sent_ns"], request[0]["conversation"]) == (200, 17, -1)
    assert "seq" not in request.columns
    assert "status" not in whole.records.columns
    assert set(whole.records["kind"].tolist()) == {Kind.DELIVER, Kind.REPLAY, Kind.REQUEST}
    with pytest.raises(IndexError):
        request[1]


def test_a_choice_of_records(new_history: Callable[..., History]) -> None:
    told = seen(talk(new_history)).records
    deliveries = told[told["kind"] == Kind.DELIVER]
    assert isinstance(deliveries, Records)
    assert (len(told), len(deliveries), len(told[1:]), len(told[[0]])) == (4, 2, 3, 1)


def test_names(new_history: Callable[..., History]) -> None:
    history = seen(talk(new_history))
    assert (history.user(BOB2), history.device(BOB2), history.room(OTHER)) == ("bob", "bob on tab 2", "room-2")
    assert (history.message(ANN, 3), history.members(OTHER)) == ("#3 of ann", (0, 2))
    assert history.members(-1) == (), "no room"
    assert (history.journals, history.complete, history.clock_bound_ns) == (("j0", "j1"), True, 0)
    assert history.contract.sequence == "contiguous"
