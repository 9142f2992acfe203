"""A bell wakes those who wait for it, once, in the loop, and never somebody who has left."""

from __future__ import annotations

import time

import gevent
import pytest

from earwitness.harness.client import bell
from earwitness.harness.client.bell import Bell, begin_reading, end_reading


def waiting(rung: Bell, timeout_s: float = 10.0) -> tuple[gevent.Greenlet, list[bool]]:
    """A greenlet that waits, and what its wait returned."""
    told: list[bool] = []
    greenlet = gevent.spawn(lambda: told.append(rung.wait(timeout_s)))
    gevent.sleep(0)
    return greenlet, told


def test_it_wakes_everybody_who_waits() -> None:
    one = Bell()
    pairs = [waiting(one) for _ in range(3)]
    one.set()
    gevent.joinall([greenlet for greenlet, _ in pairs], timeout=5)
    assert [told for _, told in pairs] == [[True]] * 3


def test_a_bell_that_has_rung_does_not_block_until_it_is_cleared() -> None:
    one = Bell()
    one.set()
    assert one.wait(0)
    one.clear()
    assert not one.wait(0.01)


def test_a_wait_ends_after_its_time_and_not_before() -> None:
    begin = time.monotonic()
    assert not Bell().wait(0.3)
    assert 0.3 <= time.monotonic() - begin < 0.3 + 20 * bell.TICK_S


def test_rung_while_reading_it_wakes_at_the_end_of_the_read() -> None:
    """In the loop's own callback: the user does not run in the middle of it, and without another turn of the loop."""
    one, order = Bell(), []
    greenlet, told = waiting(one)

    def read() -> None:
        begin_reading()
        one.set()
        one.set()
        order.append(("recorded", list(told)))
        end_reading()
        order.append(("woken", list(told)))

    gevent.get_hub().loop.run_callback(read)
    greenlet.join(5)
    assert order == [("recorded", []), ("woken", [True])]


def test_rung_by_every_answer_of_a_read_it_wakes_once() -> None:
    """A burst's answers come in a few reads: a switch to the user for each of them would cost more than they do."""
    one, waking = Bell(), []
    greenlet, told = waiting(one)

    def read() -> None:
        begin_reading()
        for _ in range(1000):
            one.set()
        waking.extend(bell._rung)
        end_reading()

    gevent.get_hub().loop.run_callback(read)
    greenlet.join(5)
    assert (waking, told) == ([one], [True])


def test_one_who_is_killed_while_waiting_is_not_woken() -> None:
    one = Bell()
    greenlet, told = waiting(one)
    greenlet.kill()
    one.set()
    gevent.sleep(0)
    assert told == []
    assert not one.awaited
    gevent.sleep(3 * bell.TICK_S)
    assert not one._watch.waits, "nobody waits any more"
    assert not one._watch.runs, "so the timer has nothing to do"
    one.clear()
    assert not one.wait(0.01), "and begins again when somebody waits"


def test_a_wake_that_comes_late_does_not_end_the_next_wait() -> None:
    """Rung twice before anybody woke: the second wake finds the user in another wait, which goes on."""
    one, told = Bell(), []

    def user() -> None:
        told.append(one.wait(10))
        one.clear()
        told.append(one.wait(0.1))

    greenlet = gevent.spawn(user)
    gevent.sleep(0)
    one.set()
    one.set()
    greenlet.join(5)
    assert told == [True, False]


def test_an_error_of_a_user_stays_in_its_greenlet(capsys: pytest.CaptureFixture[str]) -> None:
    """The loop that woke it goes on."""
    one = Bell()

    def user() -> None:
        one.wait(10)
        raise RuntimeError("of the user")

    failing, (other, told) = gevent.spawn(user), waiting(one)
    gevent.sleep(0)
    one.set()
    gevent.joinall([failing, other], timeout=5)
    assert told == [True]
    assert str(failing.exception) == "of the user"
    assert "of the user" in capsys.readouterr().err
