"""Planned arrivals and shapes: when users act, and how many there are."""

from __future__ import annotations

from itertools import islice
from random import Random

import numpy as np
import pytest

from earwitness.harness.errors import SettingsError
from earwitness.harness.planning.arrivals import Arrivals, Shape

USERS = 20


def starts(arrivals: Arrivals, count: int, seed: int = 1) -> np.ndarray:
    """The first planned starts of all users together, in seconds."""
    each = [
        list(islice(arrivals.times_s(number, USERS, Random(f"{seed}:{number}")), 2 * count // USERS))
        for number in range(USERS)
    ]
    return np.sort(np.concatenate(each))[:count]


def test_even_arrivals_of_all_users_interleave() -> None:
    """Fifty a second: one every 20 ms, whoever's turn it is."""
    assert np.allclose(starts(Arrivals(50.0), 400), np.arange(400) / 50)


def test_poisson_arrivals_have_the_rate_and_the_spread_of_a_poisson_process() -> None:
    """Pauses between arrivals of all users together have the mean 1/rate and, as exponential ones, as much spread."""
    pauses = np.diff(starts(Arrivals(50.0, poisson=True), 4000))
    assert pauses.mean() == pytest.approx(1 / 50, rel=0.1)
    assert pauses.std() / pauses.mean() == pytest.approx(1.0, abs=0.1)


def test_one_seed_decides_the_arrivals() -> None:
    """The same seed gives the same plan, another one another."""
    poisson = Arrivals(50.0, poisson=True)
    assert (starts(poisson, 100) == starts(poisson, 100)).all()
    assert (starts(poisson, 100) != starts(poisson, 100, seed=2)).any()


@pytest.mark.parametrize("text", ["fast", "50", "0/s", "poison 50/s", "-5/s"])
def test_what_is_no_rate_is_said_so(text: str) -> None:
    """One sentence with an example."""
    with pytest.raises(SettingsError, match="50/s"):
        Arrivals.parse(text)


@pytest.mark.parametrize(
    ("shape", "users"),
    [
        ("ramp", {0: 1, 12: 25, 24: 50, 48: 100, 59: 100}),
        ("steps:3", {0: 33, 19: 33, 21: 67, 41: 100, 59: 100}),
        ("steps", {0: 20, 13: 40, 59: 100}),
        ("spike", {0: 20, 19: 20, 21: 100, 39: 100, 41: 20}),
        ("spike:0.5", {0: 50, 30: 100, 59: 50}),
        ("soak", {0: 1, 3: 50, 6: 100, 59: 100}),
    ],
)
def test_a_shape_is_scaled_to_users_and_time(shape: str, users: dict[float, int]) -> None:
    """-u 100 -t 60s: so many users after so many seconds, and the end after 60."""
    found = Shape.parse(shape)
    assert found is not None
    assert {at: found.users_at(at, 100, 60) for at in users} == users
    assert found.users_at(60, 100, 60) is None


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ("rampe", "did you mean ramp"),
        ("ramp:3", "takes no number"),
        ("steps:0", "from 1 to 100"),
        ("steps:2.5", "from 1 to 100"),
        ("spike:much", "from 0 to 1"),
    ],
)
def test_a_shape_that_cannot_be_is_said_so(shape: str, said: str) -> None:
    """What is wrong and what to write instead."""
    with pytest.raises(SettingsError, match=said):
        Shape.parse(shape)
