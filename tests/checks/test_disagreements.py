"""Minimal histories on which the folds and the oracle once disagreed. Each says who was right and why."""

from __future__ import annotations

from compare import differences, fold
from literal import Told

from earwitness.checks.history.record import FOREIGN, Flag, Kind
from earwitness.checks.verdict import Outcome


def _failed(told: Told) -> set[str]:
    run = told.run()
    verdicts = fold(run)
    assert differences(run, verdicts) == {}
    return {id for id, verdict in verdicts.items() if verdict.outcome == Outcome.FAIL and verdict.promised}


def test_each_attempt_is_a_message_where_the_platform_is_not_idempotent() -> None:
    """A retry that such a platform delivers too is neither a duplicate nor, by its new number, a gap."""
    told = Told(sequence="contiguous", idempotent=False)
    told.join(1, 1)
    told.invoke(0, 2, 1)
    told.write(Kind.INFO, author=0, counter=1, attempt=1, conv=0, client=0, conn=2, flags=Flag.TIMEOUT)
    told.invoke(0, 2, 1, attempt=2)
    told.invoke(0, 2, 2)
    told.invoke(0, 2, 3)
    told.deliver(1, 1, 0, 1, seq=1)
    told.deliver(1, 1, 0, 2, seq=2)
    told.deliver(1, 1, 0, 1, seq=3, attempt=2)
    told.deliver(1, 1, 0, 3, seq=4)
    assert _failed(told) == set()


def test_attempts_do_not_contradict_each_others_order() -> None:
    """One member hears both attempts, another only the second: there is an order that fits (not idempotent)."""
    told = Told(sequence="none", idempotent=False)
    told.join(1, 1, -1)
    told.invoke(0, 9, 1)
    told.invoke(2, 2, 1)
    told.invoke(0, 9, 1, attempt=2)
    told.deliver(1, 1, 0, 1)
    told.deliver(1, 1, 2, 1)
    told.join(2, 2, -1)
    told.deliver(1, 1, 0, 1, attempt=2)
    told.deliver(2, 2, 2, 1)
    told.deliver(2, 2, 0, 1, attempt=2)
    assert _failed(told) == set()


def test_a_second_number_for_a_message_is_no_gap() -> None:
    """Deduplication lost: the message is heard again under the next number. Twice (I6, I7), but nothing is missing."""
    told = Told(sequence="contiguous", idempotent=True)
    told.join(1, 1)
    for counter in (1, 2, 3):
        told.invoke(0, 2, counter)
    for counter, seq in ((1, 1), (2, 2), (1, 3), (3, 4)):
        told.deliver(1, 1, 0, counter, seq=seq)
    assert _failed(told) == {"I6", "I7"}


def test_stored_in_another_conversation_is_not_stored() -> None:
    """A row that the final read of another conversation shows does not make an acknowledgement true."""
    told = Told(rooms=((0, 1, 2), (0, 1, 2)), sequence="contiguous", history=True)
    told.invoke(0, 2, 1)
    told.ok(0, 2, 1, seq=1)
    told.stored(0, 1, seq=1, flags=Flag.MISROUTED)
    told.write(Kind.READ_END, conv=0)
    told.write(Kind.READ_END, conv=1, counter=1, seq=1)
    told.drained()
    assert _failed(told) == {"I5a"}


def test_a_misrouted_copy_is_nothing_but_misrouted() -> None:
    """A copy in the wrong conversation before the right one makes no duplicate, no gap and no other order."""
    for sequence in ("contiguous", "none"):
        told = Told(sequence=sequence)
        numbered = sequence != "none"
        told.join(1, 1, 0 if numbered else -1)
        for counter in (1, 2, 3):
            told.invoke(0, 2, counter)
        told.deliver(1, 1, 0, 2, seq=7 if numbered else -1, flags=Flag.MISROUTED)
        for counter in (1, 2, 3):
            told.deliver(1, 1, 0, counter, seq=counter if numbered else -1)
        told.join(2, 3, 0 if numbered else -1)
        for counter in (1, 2, 3):
            told.deliver(2, 3, 0, counter, seq=counter if numbered else -1)
        assert _failed(told) == {"I12"}, sequence


def test_without_echo_a_reordering_is_not_taken_for_own_messages() -> None:
    """Numbers 1, 3, 2 of another author are out of order, also where own messages are not heard."""
    told = Told(sequence="contiguous", echo=False)
    told.join(1, 1)
    for counter in (1, 2, 3):
        told.invoke(0 if counter != 2 else 2, 2, counter)
    for author, counter, seq in ((0, 1, 1), (0, 3, 3), (2, 2, 2)):
        told.deliver(1, 1, author, counter, seq=seq)
    assert _failed(told) == {"I4"}


def test_without_echo_own_messages_are_no_gap() -> None:
    """The number that is missing belongs to the listener's own message."""
    told = Told(sequence="contiguous", echo=False)
    told.join(1, 1)
    told.invoke(0, 2, 1)
    told.invoke(1, 1, 1)
    told.invoke(0, 2, 2)
    told.ok(1, 1, 1, seq=2)
    told.deliver(1, 1, 0, 1, seq=1)
    told.deliver(1, 1, 0, 2, seq=3)
    assert _failed(told) == set()


def test_two_numbers_of_one_message_say_nothing_about_the_senders_order() -> None:
    """A message with two numbers is I7's (and here, because the number is taken, I2's), whichever was read first."""
    told = Told(sequence="contiguous", idempotent=True)
    told.join(1, 1)
    told.invoke(0, 2, 1)
    told.invoke(0, 2, 2)
    told.ok(0, 2, 1, seq=3)
    told.deliver(1, 1, 0, 1, seq=1)
    told.deliver(1, 1, 0, 2, seq=2)
    assert _failed(told) == {"I7"}


def test_any_number_of_an_own_message_explains_a_gap() -> None:
    """Without echo: the listener's message has two numbers (I7's), and either may be the one that is missing."""
    told = Told(sequence="contiguous", echo=False, idempotent=True)
    told.join(1, 1)
    told.join(2, 3)
    told.invoke(0, 2, 1)
    told.invoke(1, 1, 1)
    told.invoke(0, 2, 2)
    told.ok(1, 1, 1, seq=9)
    told.deliver(1, 1, 0, 1, seq=1)
    told.deliver(2, 3, 0, 1, seq=1)
    told.deliver(2, 3, 1, 1, seq=2)
    told.deliver(2, 3, 0, 2, seq=3)
    told.deliver(1, 1, 0, 2, seq=3)
    assert _failed(told) == {"I7"}


def test_a_never_sent_row_in_the_wrong_conversation_is_created() -> None:
    """What nobody sent is a creation, also where it is found in another conversation than its body names."""
    told = Told(rooms=((0, 1, 2), (0, 1, 2)), sequence="contiguous", history=True)
    told.invoke(0, 2, 1)
    told.stored(0, 1, seq=1)
    told.stored(0, 2, seq=1, flags=Flag.MISROUTED)
    told.write(Kind.READ_END, conv=0, counter=1, seq=1)
    told.write(Kind.READ_END, conv=1, counter=1, seq=1)
    assert _failed(told) == {"I8"}


def test_after_leaving_nothing_is_continued() -> None:
    """What a platform promised on joining ends with LEAVE: history that comes later need not be whole."""
    told = Told(sequence="contiguous")
    for counter in (1, 2):
        told.invoke(0, 2, counter)
    told.join(1, 1, 0, flags=Flag.CONTINUED)
    told.write(Kind.LEAVE, client=1, conn=1, conv=0)
    told.deliver(1, 1, 0, 1, seq=2)
    told.about(Kind.REPLAY, 1, 1, 0, 2, seq=9, aux=0)
    assert _failed(told) == set()


def test_heard_in_the_wrong_place_is_heard_all_the_same() -> None:
    """A message that a member hears in another conversation only came to that member: I12's alone."""
    told = Told(sequence="none")
    told.join(0, 1, -1)
    told.join(1, 2, -1)
    told.invoke(0, 1, 1)
    told.ok(0, 1, 1)
    told.deliver(0, 1, 0, 1)
    told.deliver(1, 2, 0, 1, flags=Flag.MISROUTED)
    told.drained()
    assert _failed(told) == {"I12"}


def test_misrouted_history_may_be_older_than_the_run() -> None:
    """History that nobody sent in this run is not created, wherever it is heard."""
    told = Told(sequence="none")
    told.join(1, 2, -1)
    told.invoke(0, 1, 1)
    told.about(Kind.REPLAY, 1, 2, 0, 7, aux=0, flags=Flag.MISROUTED)
    assert _failed(told) == {"I12"}


def test_numbers_with_gaps_do_not_hide_another_order() -> None:
    """Numbers that only increase: one member hears 3 before 5, another 5 before 3, of two authors: I2's, and once
    nobody's."""
    told = Told(sequence="increasing")
    told.join(1, 1)
    told.join(2, 3)
    told.invoke(0, 2, 1)
    told.invoke(2, 3, 1)
    told.deliver(1, 1, 0, 1, seq=3)
    told.deliver(1, 1, 2, 1, seq=5)
    told.deliver(2, 3, 2, 1, seq=5)
    told.deliver(2, 3, 0, 1, seq=3)
    assert _failed(told) == {"I2"}


def test_a_late_joiner_does_not_hide_who_heard_late() -> None:
    """One member was there and heard too late; another, who joined after the sending, still later: I25."""
    told = Told(sequence="contiguous", delivery_bound_s=2e-6, at_most_once="no")
    told.join(1, 1)
    told.invoke(0, 2, 1)
    told.join(2, 3, 0)
    told.ok(0, 2, 1, seq=1)
    for _ in range(3):
        told.write(Kind.PROBE)
    told.deliver(1, 1, 0, 1, seq=1)
    told.write(Kind.PROBE)
    told.deliver(2, 3, 0, 1, seq=1)
    assert _failed(told) == {"I25"}


def test_who_begins_to_listen_in_the_middle_of_a_run_hears_no_beginning() -> None:
    """A run of an agent is told to everybody in the room, also to those who come while it goes on."""
    told = Told(sequence="none")
    told.invoke(0, 2, 1)
    told.join(1, 1, -1)
    for event, chunk in ((5, 3), (5, 4), (6, 0)):
        told.write(Kind.RUN, client=1, conn=1, conv=0, author=FOREIGN + 1, attempt=event, counter=chunk)
    assert _failed(told) == set()


def test_both_answers_to_two_attempts_may_come() -> None:
    """An answer names a message, not an attempt: after a retry the second answer belongs to nothing that waits."""
    told = Told(sequence="none", idempotent=True)
    told.join(0, 1, -1)
    told.invoke(0, 1, 1)
    told.write(Kind.INFO, client=0, conn=1, author=0, counter=1, attempt=1, conv=0, flags=Flag.TIMEOUT)
    told.invoke(0, 1, 1, attempt=2)
    told.ok(0, 1, 1, attempt=2)
    told.write(Kind.OK, client=0, conn=1, author=0, counter=1)
    assert _failed(told) == set()
    told.write(Kind.OK, client=0, conn=1, author=0, counter=1)
    assert _failed(told) == {"I11"}
