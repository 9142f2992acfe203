"""The plan is a pure function of seed, tag and numbers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from harness.target.plan import Plan


@given(st.integers(0, 2**40), st.integers(2, 60), st.lists(st.integers(2, 12), min_size=1, max_size=3))
def test_everybody_is_in_one_room_of_each_size(seed: int, users: int, sizes: list[int]) -> None:
    """Rooms of one size partition the users; none has one member only; user's rooms agree with the rooms' users."""
    plan = Plan(seed=seed, tag="t", users=users, sizes=tuple(sizes))
    for number in range(users):
        mine = plan.rooms_of[number]
        assert len(mine) == len(sizes)
        assert all(number in [p.number for p in room.members] for room in mine)
    assert all(len(room.members) >= 2 for room in plan.rooms)
    assert [room.number for room in plan.rooms] == list(range(len(plan.rooms)))


def test_another_process_makes_the_same_plan() -> None:
    """What travels to another process is enough; another seed makes another plan."""
    plan = Plan(seed=7, tag="abc", users=30, sizes=(5, 10))
    again = Plan.from_dict(plan.to_dict())
    assert again.roster().to_dict() == plan.roster().to_dict()
    assert [again.payload(3, k) for k in range(99)] == [plan.payload(3, k) for k in range(99)]
    assert again.rng(4).random() == plan.rng(4).random()
    other = Plan(seed=8, tag="abc", users=30, sizes=(5, 10))
    assert other.roster().to_dict()["conversations"] != plan.roster().to_dict()["conversations"]


def test_names_carry_the_tag() -> None:
    """Two runs on one platform share no person and no room."""
    one, two = (Plan(seed=7, tag=tag, users=4, sizes=(2,)) for tag in ("aaa", "bbb"))
    assert not {p.email for p in one.people} & {p.email for p in two.people}
    assert not {r.label for r in one.rooms} & {r.label for r in two.rooms}
