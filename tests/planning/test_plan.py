"""The plan is a pure function of seed, tag and numbers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from earwitness.harness.dialects.protocol import Parts, Person, Room
from earwitness.harness.errors import TargetError
from earwitness.harness.planning.plan import Plan, existing


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


def test_rooms_of_one() -> None:
    """A story may ask for them: then nobody is put beside somebody else."""
    plan = Plan(seed=7, tag="t", users=10, sizes=(1, 3))
    assert sorted(len(room.members) for room in plan.rooms) == [1] * 10 + [3, 3, 4]


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


def test_people_with_several_devices() -> None:
    """Each device is a client of its own; rooms and accounts are those of its person, in another process too."""
    plan = Plan(seed=7, tag="abc", users=4, sizes=(2,), devices=3)
    assert plan.clients == 12
    assert plan.roster().user_of == (0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3)
    assert [plan.person_of(client).number for client in (0, 2, 3, 11)] == [0, 0, 1, 3]
    assert len(plan.people) == len(plan.rooms_of) == 4
    assert {member.number for room in plan.rooms for member in room.members} == {0, 1, 2, 3}
    assert len({plan.rng(client).random() for client in range(12)}) == 12
    assert Plan.from_dict(json.loads(json.dumps(plan.to_dict()))) == plan


class Settled:
    """A target with accounts, or rooms, or both."""

    name = "settled"

    def __init__(self, accounts: int = 0, rooms: Sequence[tuple[str, Sequence[int] | None]] = ()) -> None:
        people = (Person(number=n, name=f"p{n}", email=f"p{n}@x", secret="own") for n in range(accounts))
        self._rooms = rooms
        self.parts = Parts(people=tuple(people), has_rooms=self if rooms else None)

    def existing_rooms(self, people: Sequence[Person]) -> tuple[Room, ...]:
        return tuple(
            Room(number=n, label=label, members=tuple(p for p in people if inside is None or p.number in inside))
            for n, (label, inside) in enumerate(self._rooms)
        )


def plan_on(target: Any, users: int = 4) -> Plan:
    return existing(Plan(seed=7, tag="abc", users=users, sizes=(2, 5)), target)


def test_accounts_and_rooms_that_are_there() -> None:
    """They take the place of made ones, the same in another process; no secret is written down."""
    target = Settled(9, [("nobody's", [8]), ("all", None), ("two", [0, 1])])
    plan = plan_on(target)
    assert [p.name for p in plan.people] == ["p0", "p1", "p2", "p3"]
    assert [(r.number, r.label, len(r.members)) for r in plan.rooms] == [(0, "all", 4), (1, "two", 2)]
    again = Plan.from_dict(json.loads(json.dumps(plan.to_dict())))
    assert again == plan
    assert again.roster().to_dict() == plan.roster().to_dict()
    assert '"own"' not in json.dumps([plan.to_dict(), plan.roster().to_dict()])


def test_a_story_finds_as_many_rooms_as_it_counts_on() -> None:
    """From small to large; who is in fewer rooms than the story has sizes finds the last one again."""
    plan = plan_on(Settled(9, [("all", None), ("two", [0, 1])]))
    assert [[room.label for room in plan.rooms_of[number]] for number in (0, 3)] == [["two", "all"], ["all", "all"]]


def test_rooms_without_accounts_are_for_people_of_the_plan() -> None:
    """Made people keep their secrets: they are made from the seed in each process."""
    plan = plan_on(Settled(0, [("all", None)]))
    assert plan.people[3].email.endswith(".abc@people.example")
    assert plan.rooms[0].members == plan.people
    assert Plan.from_dict(plan.to_dict()) == plan


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        (Settled(3), "settled has 3 accounts, but 4 users were planned"),
        (Settled(4, [("three", [0, 1, 3])]), "user 2 is a member of none of its rooms.existing"),
    ],
)
def test_too_few_of_them(target: Settled, sentence: str) -> None:
    """A sentence before anybody logs in."""
    with pytest.raises(TargetError, match=sentence):
        plan_on(target)


def test_a_target_that_has_nothing_changes_nothing() -> None:
    """The plan stays what it was."""
    plan = Plan(seed=7, tag="abc", users=4, sizes=(2,))
    assert existing(plan, Settled()) is plan  # type: ignore[arg-type]


def test_rooms_whose_messages_a_process_hears_more_than_once() -> None:
    """From two sockets a process on, the devices of its users counted."""
    plan = Plan(seed=1, tag="t", users=20, sizes=(2, 5, 10))

    def sizes(plan: Plan, processes: int) -> set[int]:
        return {len(room.members) for room in plan.rooms if room.label in plan.heard_often(processes)}

    assert sizes(plan, 1) == {2, 5, 10}
    assert sizes(plan, 2) == {5, 10}
    assert sizes(plan, 4) == {10}
    assert sizes(Plan(seed=1, tag="t", users=20, sizes=(2, 5, 10), devices=2), 4) == {5, 10}


@given(st.integers(700, 70_000), st.integers(0, 500), st.integers(1, 500), st.booleans())
def test_long_texts_are_as_long_as_asked(size: int, author: int, counter: int, blank_ends: bool) -> None:
    """In bytes, whatever characters are in them; with blanks at both ends a server that trims would change them."""
    text = Plan(seed=7, tag="t", users=3, sizes=(3,)).long_payload(author, counter, size, blank_ends=blank_ends)
    assert len(text.encode()) == size
    assert (len(text.strip()) == len(text) - 6) == blank_ends
    assert text.strip().startswith(f"{author}.{counter} ")


@pytest.mark.parametrize("hosts", [(0, 1, 2), (0, 0, 1, 1, 1)])
def test_most_rooms_are_on_one_host(hosts: tuple[int, ...]) -> None:
    """80 to 90 per cent of them, the others across; everybody is in one room of each size as before, and another
    process makes the same plan."""
    plan = Plan(seed=7, tag="t", users=3000, sizes=(2, 5, 10), reserve=600, hosts=hosts)
    for size in plan.sizes:
        rooms = [room for room in plan.rooms if len(room.members) == size]
        own = [len({hosts[person.number % len(hosts)] for person in room.members}) == 1 for room in rooms]
        assert 0.8 <= sum(own) / len(own) <= 0.95, size  # two of a room across may happen to be of one host
    assert all(len(rooms) == len(plan.sizes) for rooms in plan.rooms_of)
    assert Plan.from_dict(json.loads(json.dumps(plan.to_dict()))).rooms == plan.rooms


def test_on_one_host_rooms_are_as_before() -> None:
    """However many processes it has."""
    one, other = (Plan(seed=7, tag="t", users=40, sizes=(5,), hosts=hosts) for hosts in ((), (0, 0)))
    assert one.rooms == other.rooms


@pytest.mark.parametrize("users", range(2, 40))
def test_rooms_across_hosts_have_no_lonely_user(users: int) -> None:
    plan = Plan(seed=users, tag="t", users=users, sizes=(5, 7), hosts=(0, 1, 2))
    assert all(len(room.members) > 1 for room in plan.rooms)
    assert all(len(rooms) == 2 for rooms in plan.rooms_of)
