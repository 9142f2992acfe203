"""I47: a device that stays a member gets each message in the end, whatever happened to its connections."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from earwitness.checks import Flag, Kind, Outcome, Phase
from earwitness.checks.history.record import NOBODY
from earwitness.checks.messages.delivered import RECEIVING_NS
from earwitness.checks.messages.unreceived import MISSES_NOTHING

ANN, BOB, BOB2, EVE = range(4)
ROOM, OTHER = range(2)
MS = 1_000_000
PROMISES = {"misses_nothing": True, "history": False, "resume": False}


def away(history: Any, own: bool = False, **joined: int) -> Any:
    """Bob's connection ends, Ann's #2 is number 2 meanwhile, and Bob joins again behind it."""
    history.join(ANN).join(BOB).send(ANN, 1).ack(ANN, 1, 1).hear(ANN, ANN, 1, 1).hear(BOB, ANN, 1, 1)
    history.cut(BOB, own=own).send(ANN, 2).ack(ANN, 2, 2).hear(ANN, ANN, 2, 2)
    return history.join(BOB, conn=7, head=2, **joined)


def page(history: Any, start: int, high: int, rows: int, client: int = BOB, **slots: int) -> Any:
    """A device reads the history from behind `start` up to `high`."""
    return history.add(Kind.READ, client, conv=ROOM, seq=high, counter=rows, **{"author": start, **slots})


@pytest.mark.parametrize("own", [False, True], ids=["cut by the platform", "closed by the device"])
def test_missed_between_two_connections(new_history: Callable[..., Any], own: bool) -> None:
    """Nothing brings it later: a violation, though I5b and I25 excuse the time between two connections."""
    history = away(new_history(**PROMISES), own).drained()
    verdicts = history.judge()
    verdict = verdicts["I47"]
    assert (verdict.outcome, verdict.examined, verdict.violations) == (Outcome.FAIL, 2, 1)
    assert verdict.facts == {"devices": 1, "not_known": 0}
    assert history.tell(verdict).sentence == (
        "bob on tab 1 belonged to room-1 from before #2 of ann was sent until the end, and never received it:"
        " neither live, nor by a replay, nor by reading the history"
    )
    assert {id for id, v in verdicts.items() if v.outcome is Outcome.FAIL and v.promised} == {"I47"}


@pytest.mark.parametrize(
    "came",
    [
        lambda h: h.hear(BOB, ANN, 2, 2, conn=7),
        lambda h: h.replay(BOB, ANN, 2, 2, conn=7),
        lambda h: page(h, 0, 2, 2),
        lambda h: page(h, 1, 2, 1),
    ],
    ids=["live", "replayed", "read from the beginning", "read from behind what it had"],
)
def test_it_came_after_all(new_history: Callable[..., Any], came: Callable[[Any], Any]) -> None:
    """However it came, and however late."""
    verdict = came(away(new_history(**PROMISES))).drained().judge()["I47"]
    assert (verdict.outcome, verdict.examined) == (Outcome.PASS, 2)


@pytest.mark.parametrize(
    "read",
    [
        lambda h: page(h, 2, 2, 0),
        lambda h: page(h, 0, 1, 1),
        lambda h: page(h, 1, 2, 1, client=BOB2),
        lambda h: page(h, 0, 2, 2, client=ANN),
    ],
    ids=["from behind it", "up to before it", "by another tab", "by the author"],
)
def test_a_read_that_did_not_show_it(new_history: Callable[..., Any], read: Callable[[Any], Any]) -> None:
    """Only the device's own page over the message's number counts."""
    assert read(away(new_history(**PROMISES))).drained().judge()["I47"].outcome is Outcome.FAIL


def test_the_page_behind_it(new_history: Callable[..., Any]) -> None:
    """The device reads from behind number 2, and gets number 3 only."""
    history = page(away(new_history(**PROMISES)).send(ANN, 3).ack(ANN, 3, 3), 2, 3, 1)
    verdict = history.drained().judge()["I47"]
    assert (verdict.violations, verdict.findings[0].facts["seq"]) == (1, 2)


def test_many_reads(new_history: Callable[..., Any]) -> None:
    """More than there was room for at first, and none of them shows it."""
    history = away(new_history(**PROMISES))
    for _ in range(65):
        page(history, 0, 1, 1)
    assert history.drained().judge()["I47"].violations == 1


@pytest.mark.parametrize(
    ("client", "conv", "author"), [(ANN, ROOM, BOB), (EVE, OTHER, ANN)], ids=["first subscription", "last subscription"]
)
@pytest.mark.parametrize("shown", [False, True])
def test_the_ends_of_the_roster(
    new_history: Callable[..., Any], client: int, conv: int, author: int, shown: bool
) -> None:
    """They owe and read like all others."""
    history = new_history(**PROMISES).join(client, conv).cut(client).send(author, 1, conv).ack(author, 1, 1, conv)
    history.join(client, conv, head=1, conn=7)
    if shown:
        history.add(Kind.READ, client, conv=conv, author=0, seq=1, counter=1)
    assert history.drained().judge()["I47"].violations == (0 if shown else 1)


def test_a_message_with_the_number_0(new_history: Callable[..., Any]) -> None:
    """A page that begins at number 0 shows it; nothing is on its way below a number that came."""
    history = new_history(**PROMISES).join(ANN).join(BOB).cut(BOB).send(ANN, 1).ack(ANN, 1, 0).join(BOB, conn=7)
    assert page(history, 0, 0, 1).drained().judge()["I47"].outcome is Outcome.PASS
    history = new_history(**PROMISES).join(ANN).join(BOB).send(ANN, 1).ack(ANN, 1, 0).send(ANN, 2).ack(ANN, 2, 1)
    assert cut_off(history.hear(BOB, ANN, 2, 1)).judge()["I47"].violations == 1


@pytest.mark.parametrize("missing", [[1], [256], [257], [256, 257]])
def test_one_of_many_messages(new_history: Callable[..., Any], missing: list[int]) -> None:
    """More messages than one page of bits holds."""
    history = new_history(**PROMISES).join(BOB)
    for n in range(1, 258):
        history.send(ANN, n).ack(ANN, n, n)
        if n not in missing:
            history.hear(BOB, ANN, n, n)
    verdict = history.drained().judge()["I47"]
    assert [finding.facts["seq"] for finding in verdict.findings] == missing


@pytest.mark.usefixtures("room_for_two")
def test_more_misses_than_are_kept(new_history: Callable[..., Any]) -> None:
    """All four are counted."""
    history = new_history(**PROMISES).join(BOB)
    for n in range(1, 5):
        history.send(ANN, n).ack(ANN, n, n)
    verdict = history.drained().judge_only(MISSES_NOTHING)
    assert (verdict.outcome, verdict.violations, len(verdict.findings)) == (Outcome.FAIL, 4, 2)


@pytest.mark.parametrize(
    ("read", "promises"),
    [
        (lambda h: page(h, 0, 2, 1), {}),
        (lambda h: page(h, NOBODY, 2, 2), {}),
        (lambda h: page(h, 0, 2, 2, flags=int(Flag.CORRUPT)), {"sequence": "increasing"}),
    ],
    ids=["a hole", "no beginning on record", "another digest"],
)
def test_a_page_that_may_have_shown_it(
    new_history: Callable[..., Any], read: Callable[[Any], Any], promises: dict[str, Any]
) -> None:
    """Nobody knows which numbers it showed; that it has a hole is I17's."""
    verdict = read(away(new_history(**PROMISES | promises))).drained().judge()["I47"]
    assert verdict.outcome is Outcome.UNKNOWN
    assert verdict.why == "whether 1 messages were in the pages that their devices read is not known"


def test_a_message_without_a_number_and_a_read(new_history: Callable[..., Any]) -> None:
    """A read after the sending may have shown it; one before, or at the same moment, cannot."""
    for at, outcome in ((7, Outcome.UNKNOWN), (6, Outcome.FAIL), (4, Outcome.FAIL)):
        history = new_history(**PROMISES, sequence="none").join(ANN).join(BOB, t=2 * MS)
        page(history, 0, 5, 5, t=at * MS).cut(BOB, t=5 * MS).send(ANN, 1, t=6 * MS).ack(ANN, 1, t=7 * MS)
        verdict = history.join(BOB, conn=7, head=-1, t=8 * MS).drained().judge()["I47"]
        assert verdict.outcome is outcome


@pytest.mark.parametrize("told", [lambda h: h, lambda h: h.leave(BOB)], ids=["refused", "put out"])
def test_told_to_read_the_history(new_history: Callable[..., Any], told: Callable[[Any], Any]) -> None:
    """The platform has said what to do; that the tester did not read is no fault of the platform, and it is said."""
    history = told(new_history(**PROMISES).join(ANN).join(BOB))
    history.send(ANN, 1).ack(ANN, 1, 1)
    left = any(row["kind"] == Kind.LEAVE for _, row in history.told)
    history.join(BOB, conn=2, head=1, flags=0 if left else int(Flag.REFUSED))
    verdict = history.drained().judge()["I47"]
    assert (verdict.outcome, verdict.violations) == (Outcome.UNKNOWN, 0)
    assert verdict.why == "1 messages were available from the history only, and were not read there"
    assert verdict.facts["not_known"] == 1


@pytest.mark.parametrize(("later_ns", "outcome"), [(0, Outcome.UNKNOWN), (1, Outcome.FAIL)])
def test_sent_when_it_was_told_to_read(new_history: Callable[..., Any], later_ns: int, outcome: Outcome) -> None:
    """What was sent at that moment stands in the history; what was sent a nanosecond later is owed."""
    history = new_history(**PROMISES).join(BOB).cut(BOB).join(BOB, conn=7, flags=int(Flag.REFUSED), t=20 * MS)
    history.send(ANN, 1, t=20 * MS + later_ns).ack(ANN, 1, 1, t=21 * MS).drained(t=30 * MS)
    verdict = history.judge()["I47"]
    assert (verdict.outcome, verdict.examined) == (outcome, 1)


def test_told_that_nothing_was_missed(new_history: Callable[..., Any]) -> None:
    """After a LEAVE too: whoever hears CONTINUED need not read."""
    history = new_history(**PROMISES).join(ANN).join(BOB).leave(BOB).send(ANN, 1).ack(ANN, 1, 1)
    history.join(BOB, conn=2, flags=int(Flag.CONTINUED)).drained()
    assert history.judge()["I47"].violations == 1


def test_sent_after_it_was_told_to_read(new_history: Callable[..., Any]) -> None:
    """A later message is owed again."""
    history = away(new_history(**PROMISES), flags=int(Flag.REFUSED)).send(ANN, 3).ack(ANN, 3, 3).drained()
    verdict = history.judge()["I47"]
    assert (verdict.outcome, verdict.violations) == (Outcome.FAIL, 1)
    assert verdict.findings[0].facts["seq"] == 3


@pytest.mark.parametrize(
    "otherwise",
    [
        lambda h: h.join(ANN).send(ANN, 1).ack(ANN, 1, 1).join(BOB),
        lambda h: h.join(ANN).join(BOB).cut(BOB).send(ANN, 1).ack(ANN, 1, 1),
        lambda h: h.join(ANN).join(BOB).send(ANN, 1),
        lambda h: h.join(ANN).join(BOB).add(Kind.KICK, BOB, conv=0).send(ANN, 1).ack(ANN, 1, 1).join(BOB, conn=7),
        lambda h: h.join(ANN).send(ANN, 1).ack(ANN, 1, 1),
        lambda h: h.join(BOB, t=5 * MS).send(ANN, 1, t=5 * MS).ack(ANN, 1, 1),
        lambda h: h.join(BOB, t=2 * MS).add(Kind.KICK, BOB, conv=0, t=2 * MS).send(ANN, 1).ack(ANN, 1, 1),
    ],
    ids=[
        "sent before it joined", "never back", "no effect", "no member meanwhile", "its author",
        "sent when it joined", "joined when it lost the membership",
    ],
)  # fmt: skip
def test_what_is_not_owed(new_history: Callable[..., Any], otherwise: Callable[[Any], Any]) -> None:
    """Not a member all the time, not there at the end, or nothing to get."""
    verdict = otherwise(new_history(**PROMISES)).drained().judge()["I47"]
    assert (verdict.examined, verdict.violations) == (0, 0)


def test_sent_just_after_the_joining(new_history: Callable[..., Any]) -> None:
    """A nanosecond after it a message is owed."""
    history = new_history(**PROMISES).join(BOB, t=5 * MS).send(ANN, 1, t=5 * MS + 1).ack(ANN, 1, 1, t=6 * MS)
    assert history.drained(t=9 * MS).judge()["I47"].violations == 1


def test_a_loss_outside_the_roster(new_history: Callable[..., Any]) -> None:
    """The first device after all that there are lost a membership: nothing changes for the others."""
    assert away(new_history(**PROMISES)).add(Kind.KICK, 4, conv=0).drained().judge()["I47"].violations == 1


def test_member_again(new_history: Callable[..., Any]) -> None:
    """What was sent after the joining that followed the loss of the membership is owed."""
    history = new_history(**PROMISES).join(ANN).join(BOB).add(Kind.KICK, BOB2, conv=0).send(ANN, 1).ack(ANN, 1, 1)
    history.join(BOB, conn=7).cut(BOB, conn=7).send(ANN, 2).ack(ANN, 2, 2).join(BOB, conn=8).drained()
    verdict = history.judge()["I47"]
    assert (verdict.examined, verdict.violations) == (1, 1)


def test_only_what_is_stored_counts_where_a_history_is_promised(new_history: Callable[..., Any]) -> None:
    """What was acknowledged and is not stored is I5a's; what was not read is not known."""
    stored = away(new_history(misses_nothing=True)).drained().stored(ANN, 1, 1).stored(ANN, 2, 2).read()
    assert stored.judge()["I47"].violations == 1
    lost = away(new_history(misses_nothing=True)).drained().stored(ANN, 1, 1).read()
    assert lost.judge()["I47"].outcome is Outcome.PASS
    unread = away(new_history(misses_nothing=True)).drained().judge()["I47"]
    assert unread.why == "whether 2 acknowledged messages are stored was not read"


def cut_off(history: Any, at: int = 22 * MS) -> Any:
    """The deadline of the drain passes at `at` ns while messages still arrive."""
    history.add(Kind.PHASE, counter=int(Phase.DRAIN), t=21 * MS)
    return history.add(Kind.PHASE, counter=int(Phase.DRAINED), flags=int(Flag.TIMEOUT), t=at)


@pytest.mark.parametrize(("silent_ns", "outcome"), [(RECEIVING_NS - 1, Outcome.UNKNOWN), (RECEIVING_NS, Outcome.FAIL)])
def test_how_long_it_may_be_silent(new_history: Callable[..., Any], silent_ns: int, outcome: Outcome) -> None:
    """A connection that received nothing for two seconds was not receiving any more."""
    history = away(new_history(**PROMISES)).hear(BOB, ANN, 1, 1, conn=7, t=20 * MS)
    assert cut_off(history, 20 * MS + silent_ns).judge()["I47"].outcome is outcome


def test_its_number_came_with_a_corrupt_body(new_history: Callable[..., Any]) -> None:
    """Then it is not on its way any more."""
    history = away(new_history(**PROMISES)).hear(BOB, ANN, 2, 2, conn=7, t=20 * MS, flags=int(Flag.CORRUPT))
    assert cut_off(history).judge()["I47"].violations == 1


def test_our_own_deadline(new_history: Callable[..., Any]) -> None:
    """A connection that was still receiving when the drain was cut may have got the rest; a silent one may not."""
    for heard, outcome in ((True, Outcome.UNKNOWN), (False, Outcome.FAIL)):
        history = away(new_history(**PROMISES)).send(ANN, 3).ack(ANN, 3, 3)
        if heard:
            history.hear(BOB, ANN, 1, 1, conn=7, t=20 * MS)
        history.add(Kind.PHASE, counter=int(Phase.DRAIN), t=21 * MS)
        history.add(Kind.PHASE, counter=int(Phase.DRAINED), flags=int(Flag.TIMEOUT), t=(22 if heard else 5000) * MS)
        assert history.judge()["I47"].outcome is outcome


def test_a_missing_end(new_history: Callable[..., Any]) -> None:
    """Without the end of the device's journal nobody knows what came."""
    history = away(new_history(**PROMISES))
    history.torn = {0}
    verdict = history.judge()["I47"]
    assert (verdict.outcome, verdict.violations) == (Outcome.UNKNOWN, 0)
    assert "a journal lacks its end" in verdict.why


def test_an_observation_where_it_is_not_promised(new_history: Callable[..., Any]) -> None:
    """Most platforms leave it to their clients; the figure is told all the same."""
    verdict = away(new_history(history=False)).drained().judge()["I47"]
    assert (verdict.promised, verdict.violations) == (False, 1)
