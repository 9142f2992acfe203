"""I8: no creation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from earwitness.checks import Batch, Flag, Kind, Outcome
from earwitness.checks.history.record import AGENT
from earwitness.checks.judge import judge
from earwitness.checks.messages.creation import COUNTER_MAX

ANN, BOB, BOB2, EVE = range(4)


def test_nobody_sent_it(new_history: Callable[..., Any]) -> None:
    """A message that was heard or stored but never sent is one violation, however often it was heard."""
    history = new_history().send(ANN, 1).hear(BOB, ANN, 2, 1).hear(BOB2, ANN, 2, 1).stored(ANN, 2, 1)
    verdict = history.judge()["I8"]
    assert (verdict.outcome, verdict.violations, verdict.examined) == (Outcome.FAIL, 1, 3)
    assert history.tell(verdict).sentence == "#2 of ann appeared in room-1, but nobody sent it"


def test_another_run(new_history: Callable[..., Any]) -> None:
    """A body of another run is a violation at once, each time."""
    flags = int(Flag.FOREIGN_RUN)
    history = new_history().hear(BOB, 1 << 31, 7, 1, flags=flags, proc=0, digest=0).stored(ANN, 2, 1, flags=flags)
    assert history.judge()["I8"].violations == 2


def test_replayed_history_is_not_looked_at(new_history: Callable[..., Any]) -> None:
    """What a platform replays on joining may be older than the run."""
    assert new_history().replay(BOB, ANN, 2, 1).judge()["I8"].examined == 0


def test_the_sending_may_be_read_later(new_history: Callable[..., Any]) -> None:
    """Journals come in any order."""
    history = new_history().hear(BOB, ANN, 1, 1, t=5_000_000).send(ANN, 1, journal=1, t=4_000_000)
    assert history.judge()["I8"].outcome is Outcome.PASS


def test_delivered_before_it_was_sent(new_history: Callable[..., Any]) -> None:
    """By the clock, in whatever journal; replays do not count, and an author whose journal is torn is not judged."""
    history = new_history().hear(BOB, ANN, 1, 1, t=4_000_000).send(ANN, 1, journal=1, t=7_000_000)
    verdict = history.judge()["I8"]
    assert (verdict.outcome, verdict.violations) == (Outcome.FAIL, 1)
    assert history.tell(verdict).sentence == "#1 of ann was delivered in room-1 3 ms before it was sent"
    history.torn = {1}
    assert history.judge()["I8"].outcome is Outcome.UNKNOWN
    replayed = new_history().replay(BOB, ANN, 1, 1, t=4_000_000).send(ANN, 1, journal=1, t=7_000_000)
    assert replayed.judge()["I8"].outcome is not Outcome.FAIL
    at_once = new_history().hear(BOB, ANN, 1, 1, t=7_000_000).send(ANN, 1, journal=1, t=7_000_000)
    assert at_once.judge()["I8"].outcome is Outcome.PASS


def test_the_first_of_several_early_deliveries_is_shown(new_history: Callable[..., Any]) -> None:
    """Of two at the same time the one that was read first."""
    history = new_history().hear(BOB, ANN, 1, 1, t=4_000_000).hear(BOB2, ANN, 1, 1, t=4_000_000)
    verdict = history.send(ANN, 1, journal=1, t=7_000_000).judge()["I8"]
    assert verdict.findings[0].records == ((0, 1), (1, 1))


def test_a_torn_journal_of_the_author(new_history: Callable[..., Any]) -> None:
    """If the author's own journal lacks its end, or a journal is missing, nobody knows."""
    history = new_history().hear(BOB, ANN, 2, 1).send(ANN, 1, journal=1)
    assert history.judge()["I8"].outcome is Outcome.FAIL
    history.torn = {1}
    assert history.judge()["I8"].outcome is Outcome.UNKNOWN
    history.torn, history.facts = set(), {"journals_expected": 3}
    assert history.judge()["I8"].outcome is Outcome.UNKNOWN


def test_an_author_with_a_whole_journal_gets_no_excuse(new_history: Callable[..., Any]) -> None:
    """Somebody else's torn journal does not explain a ghost."""
    history = new_history().send(ANN, 1).hear(ANN, ANN, 2, 1).send(BOB, 1, journal=1)
    history.torn = {1}
    assert history.judge()["I8"].outcome is Outcome.FAIL


def test_an_author_of_whom_nothing_is_left(new_history: Callable[..., Any]) -> None:
    """An author who is in no journal may have been in the torn one."""
    history = new_history().send(ANN, 1).hear(ANN, BOB, 2, 1).send(BOB2, 1, journal=1)
    assert history.judge()["I8"].outcome is Outcome.FAIL
    history.torn = {1}
    assert history.judge()["I8"].outcome is Outcome.UNKNOWN


def test_in_another_conversation(new_history: Callable[..., Any]) -> None:
    """A message that appears in another conversation than it was sent to was created there."""
    assert new_history().send(ANN, 1).hear(ANN, ANN, 1, 1, conv=1).judge()["I8"].violations == 1


def test_what_an_agent_says_is_no_ghost(new_history: Callable[..., Any]) -> None:
    """No body of ours, but the platform's own agent is its sender: neither a violation nor an opportunity for one."""
    history = new_history().hear(BOB, AGENT, 0, 1, flags=int(Flag.FOREIGN_RUN), proc=0, digest=0)
    history.stored(AGENT, 0, 1, flags=int(Flag.FOREIGN_RUN))
    assert (history.judge()["I8"].examined, history.judge()["I8"].violations) == (0, 0)
    assert new_history().hear(BOB, AGENT, 1, 1).judge()["I8"].violations == 1


def test_a_journal_that_nobody_declared_may_lack_its_end(new_history: Callable[..., Any]) -> None:
    """The author speaks in it, and how it ends is not known."""
    history = new_history().hear(BOB, ANN, 2, 1).send(ANN, 1, journal=1)
    batches = [Batch(journal, records) for journal, records in history.arrays().items()]
    declared, _ = history.infos()
    verdicts = {v.id: v for v in judge(history.roster, history.contract, batches, [declared])}
    assert verdicts["I8"].outcome is Outcome.UNKNOWN


@pytest.mark.parametrize(
    ("author", "n", "conv", "what"), [(4, 1, 0, "unknown"), (ANN, COUNTER_MAX, 0, "unknown"), (ANN, 1, 2, "nowhere")]
)
def test_what_cannot_be(new_history: Callable[..., Any], author: int, n: int, conv: int, what: str) -> None:
    """The first author, counter and conversation beyond all that there are."""
    history = new_history().add(Kind.CONNECT, 4, conn=9).hear(BOB, author, n, 1, conv=conv)
    verdict = history.judge()["I8"]
    assert (verdict.violations, [finding.what for finding in verdict.findings]) == (1, [what])


def test_messages_of_the_platform_itself(new_history: Callable[..., Any]) -> None:
    """A body of no run, from nobody of this run, is counted; it is no ghost."""
    own = {"flags": int(Flag.FOREIGN_RUN), "author": 0xFFFF_FFFF, "counter": 0}
    for aux in (-1, -2):
        verdict = new_history().join(BOB).add(Kind.DELIVER, BOB, conn=2, conv=0, seq=1, aux=aux, **own).judge()["I8"]
        assert (verdict.violations, verdict.facts) == (0, {"of_the_platform": 1})
    under_a_name = new_history().join(BOB).add(Kind.DELIVER, BOB, conn=2, conv=0, seq=1, aux=ANN, **own)
    assert under_a_name.judge()["I8"].violations == 1
    tagged = new_history().join(BOB).add(Kind.DELIVER, BOB, conn=2, conv=0, seq=1, **{**own, "counter": 7})
    assert tagged.judge()["I8"].violations == 1


def test_messages_of_the_platform_keep_their_numbers(new_history: Callable[..., Any]) -> None:
    """Without number 2 in the middle there would be a gap."""
    history = new_history().join(BOB).send(ANN, 1).hear(BOB, ANN, 1, 1)
    history.add(Kind.DELIVER, BOB, conn=2, conv=0, seq=2, flags=int(Flag.FOREIGN_RUN))
    verdict = history.send(ANN, 2).hear(BOB, ANN, 2, 3).drained().judge()["I4"]
    assert verdict.outcome is Outcome.PASS
