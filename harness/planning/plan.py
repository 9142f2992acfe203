"""Plan of a run: the users, their rooms, and the texts that they send.

It depends only on seed, tag and numbers, so every process on every host makes the same plan, and processes need not
agree on the numbers of users and rooms.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from random import Random
from typing import Any

from earwitness.checks.roster import Origin, Roster
from earwitness.harness.dialects.protocol import Person, Room, Target
from earwitness.harness.dialects.reference.forgery import NUMBERS
from earwitness.harness.errors import TargetError

FIRST_NAMES = (
    "ann bob cleo dan eve finn gus hana ivo jun kai lena mo nils ola pia quin rosa sam tess ugo vera wim xena yan zoe"
).split()

# Text that servers have broken before: quotes, markup, emoji outside the BMP, combining marks, right-to-left, controls.
TRICKY = (
    'she said "no"',
    "<b>&amp;</b>",
    "naïve café",
    "🧵🪢 thread",
    "e\u0301 = é",
    "שלום",
    "a\\nb",
    "tab\there",
    "%s {0} $1",
    "'; --",
)
PAYLOADS = 64
ON_ONE_HOST = 0.85
"""Share of the rooms whose users are all on one host, so that its records hold the whole conversation."""
BLANKS = " \t\n"
"""Blanks put before a text and, in reverse order, after it. A server that strips blanks changes such a text."""
LONG_BYTES = 600
"""Size in bytes of a long text: longer than users' usual messages."""


@dataclass(frozen=True)
class Plan:
    """Plan of a run.

    seed, tag    sources of all random choices; `tag` also makes a run's names unique on a shared platform
    users        number of users that start with the run
    sizes        sizes of rooms in members: every user is a member of one room of each size. If the number of users is
                 no multiple of a size, the last room is smaller; a last single user joins the room before instead
    devices      number of devices of each user, each a client with its own number; with one device, client numbers
                 equal user numbers
    reserve      number of further users, in rooms of their own, who may be started later (the web UI can raise the
                 number of users)
    hosts        by load process, the number of its host; (): not given. Client n runs in process n % len(hosts). With
                 two or more hosts, most rooms have the users of one host, if each user has one device
    people_given, rooms_given existing accounts and rooms that are used instead of made ones (see `existing`)
    """

    seed: int
    tag: str
    users: int
    sizes: tuple[int, ...]
    devices: int = 1
    reserve: int = 0
    hosts: tuple[int, ...] = ()
    people_given: tuple[Person, ...] = field(default=(), repr=False)
    rooms_given: tuple[Room, ...] = field(default=(), repr=False)

    @cached_property
    def people(self) -> tuple[Person, ...]:
        """Return all persons, in the order of user numbers."""
        return self.people_given or tuple(self._person(number) for number in range(self.capacity))

    @property
    def capacity(self) -> int:
        """Return the largest number of users that the run may have: those at the start, and the reserve."""
        return self.users + self.reserve

    @property
    def clients(self) -> int:
        """Return the number of devices of all possible users together."""
        return self.capacity * self.devices

    def person_of(self, client: int) -> Person:
        """Return the person to whom the device with the number `client` belongs."""
        return self.people[client // self.devices]

    def _person(self, number: int) -> Person:
        name = f"{FIRST_NAMES[number % len(FIRST_NAMES)]}-{number}"
        return Person(
            number=number,
            name=name,
            email=f"{name}.{self.tag}@people.example",
            secret=f"{Random(f'{self.seed}:{self.tag}:{number}').getrandbits(64):016x}",
        )

    @cached_property
    def rooms(self) -> tuple[Room, ...]:
        """Return all rooms, in the order of their numbers."""
        if self.rooms_given:
            return self.rooms_given
        rooms: list[Room] = []
        for size in self.sizes:
            rng = Random(f"{self.seed}:rooms:{size}")
            later = self._members(rng, range(self.users, self.capacity), size) if self.reserve else ()
            for members in [*self._members(rng, range(self.users), size), *later]:
                label = f"{self.tag}-r{len(rooms)}-of-{len(members)}"
                rooms.append(Room(number=len(rooms), label=label, members=tuple(self.people[m] for m in members)))
        return tuple(rooms)

    def _members(self, rng: Random, users: range, size: int) -> Sequence[Sequence[int]]:
        """Return the user numbers of rooms of `size`, each user once.

        About the share ON_ONE_HOST of the rooms have users of one host only.
        """
        if len(set(self.hosts)) < 2 or size < 2:
            return _chunks(rng, users, size)
        local: list[list[int]] = []
        rest: list[int] = []
        for host in sorted(set(self.hosts)):
            own = [user for user in users if self.hosts[user % len(self.hosts)] == host]
            rng.shuffle(own)
            rooms = int(len(own) // size * ON_ONE_HOST + rng.random())
            local += [sorted(own[at * size : (at + 1) * size]) for at in range(rooms)]
            rest += own[rooms * size :]
        if len(rest) == 1 and local:
            rest += local.pop()
        return [*local, *_chunks(rng, rest, size)]

    @cached_property
    def numbers(self) -> dict[str, int]:
        """Return room label -> room number."""
        return {room.label: room.number for room in self.rooms}

    def heard_often(self, processes: int) -> frozenset[str]:
        """Return the labels of the rooms with two or more sockets in each of `processes` load processes, on average."""
        sockets = [(room.label, len(room.members) * self.devices) for room in self.rooms]
        return frozenset(label for label, count in sockets if count >= 2 * processes)

    @cached_property
    def rooms_of(self) -> tuple[tuple[Room, ...], ...]:
        """Return for each user number the user's rooms, in the order of `sizes`.

        Given rooms (`rooms_given`) are ordered from small to large; the last one is repeated if there are fewer than
        `sizes`.
        """
        mine: list[list[Room]] = [[] for _ in range(self.capacity)]
        for room in self.rooms:
            for person in room.members:
                mine[person.number].append(room)
        if self.rooms_given:
            mine = [sorted(rooms, key=lambda room: (len(room.members), room.number)) for rooms in mine]
            mine = [rooms + rooms[-1:] * (len(self.sizes) - len(rooms)) for rooms in mine]
        return tuple(tuple(rooms) for rooms in mine)

    @cached_property
    def payloads(self) -> tuple[str, ...]:
        """Return a pool of PAYLOADS message texts, from about ten to some 500 characters long.

        A third of them end with a text of TRICKY, which servers have broken before: quotes, markup, emoji.
        """
        rng = Random(f"{self.seed}:payloads")
        words = "the quick brown fox jumps over the lazy dog while seven wizards vex".split()
        pool = []
        for k in range(PAYLOADS):
            length = rng.choice((2, 5, 10, 20, 100)) if k % 4 == 0 else rng.choice((3, 6, 12))
            text = " ".join(rng.choice(words) for _ in range(length))
            pool.append(f"{text} {TRICKY[k % len(TRICKY)]}" if k % 3 == 0 else text)
        return tuple(pool)

    def payload(self, author: int, counter: int) -> str:
        """Return the text of the author's message with the number `counter`."""
        return self.payloads[(author * 31 + counter) % PAYLOADS]

    def long_payload(self, author: int, counter: int, size: int, *, blank_ends: bool = False) -> str:
        """Return a text of `size` bytes in UTF-8, different from the texts of other messages.

        It begins with author and counter and a usual text; if this beginning is longer than `size`, so is the result.
        With `blank_ends` it begins and ends with blanks.
        """
        before, after = (BLANKS, BLANKS[::-1]) if blank_ends else ("", "")
        text = f"{before}{author}.{counter} {self.payloads[counter % PAYLOADS]} "
        left = size - len(text.encode()) - len(after)
        filler = b"and-so-on." * (max(0, left) // 10 + 1)
        return text + filler[: max(0, left)].decode() + after

    def rng(self, number: int) -> Random:
        """Return a random generator for think times and choices of the client `number`.

        It is a new generator at each call, always with the same numbers.
        """
        return Random(f"{self.seed}:user:{number}")

    @property
    def origin(self) -> Origin:
        """Return the source of `roster`: the plan, or the target file."""
        return Origin.TARGET if self.people_given or self.rooms_given else Origin.PLAN

    def roster(self) -> Roster:
        """Return the roster of the run: users, clients, conversations and names."""
        return Roster(
            user_of=tuple(client // self.devices for client in range(self.clients)),
            conversations=tuple(tuple(p.number for p in room.members) for room in self.rooms),
            user_names=tuple(p.name for p in self.people),
            conversation_names=tuple(room.label for room in self.rooms),
            extra={
                "people": [
                    {"number": p.number, "name": p.name, "email": p.email, "secret": p.secret} for p in self.people
                ],
                "rooms": [
                    {"number": r.number, "label": r.label, "members": [p.number for p in r.members]} for r in self.rooms
                ],
                "forgeries": list(NUMBERS),
            },
        )

    def to_dict(self) -> dict[str, object]:
        """Return the plan as a dictionary, from which `from_dict` makes the same plan. It holds no secrets."""
        made: dict[str, object] = {"seed": self.seed, "tag": self.tag, "users": self.users, "sizes": list(self.sizes)}
        made |= {"devices": self.devices, "reserve": self.reserve}
        if self.hosts:
            made["hosts"] = list(self.hosts)
        if self.people_given:
            made["people"] = [[p.name, p.email] for p in self.people_given]
        if self.rooms_given:
            made["rooms"] = [[room.label, [p.number for p in room.members]] for room in self.rooms_given]
        return made

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Plan:
        """Return the plan of a dictionary that `to_dict` returned.

        The persons in `people_given` have no secrets, because `to_dict` leaves them out; the secrets of generated
        persons are made from seed and tag again.
        """
        people = tuple(
            Person(number=number, name=name, email=email) for number, (name, email) in enumerate(data.get("people", ()))
        )
        plan = cls(
            seed=data["seed"], tag=data["tag"], users=data["users"], sizes=tuple(data["sizes"]),
            devices=data.get("devices", 1), reserve=data.get("reserve", 0), hosts=tuple(data.get("hosts", ())),
            people_given=people,
        )  # fmt: skip
        rooms = tuple(
            Room(number=number, label=label, members=tuple(plan.people[m] for m in members))
            for number, (label, members) in enumerate(data.get("rooms", ()))
        )
        return replace(plan, rooms_given=rooms)


def existing(plan: Plan, target: Target) -> Plan:
    """Return the plan with the accounts and rooms that exist on the target, without secrets.

    The plan does not change if the target creates accounts and rooms itself. The reserve is made smaller if there are
    too few accounts or rooms for it. Raises TargetError if there are fewer accounts than users, or a user is a member
    of no room.
    """
    wanted = plan
    accounts, places = target.parts.people, target.parts.has_rooms
    if accounts:
        if len(accounts) < plan.users:
            raise TargetError(
                f"{target.name} has {len(accounts)} accounts, but {plan.users} users were planned (each load process "
                f"plans equally many): ask for fewer with -u, or write more accounts into its file."
            )
        plan = replace(plan, reserve=min(plan.reserve, len(accounts) - plan.users))
        plan = replace(plan, people_given=tuple(replace(person, secret="") for person in accounts[: plan.capacity]))
    if places is None:
        return plan
    rooms = [room for room in places.existing_rooms(plan.people) if room.members]
    plan = replace(plan, rooms_given=tuple(replace(room, number=number) for number, room in enumerate(rooms)))
    inside = {person.number for room in rooms for person in room.members}
    outside = [number for number in range(plan.capacity) if number not in inside]
    if outside and outside[0] >= plan.users:  # only users of the reserve have no room: plan without the reserve
        return existing(replace(wanted, reserve=0), target)
    if outside:
        raise TargetError(f"{target.name}: user {outside[0]} is a member of none of its rooms.existing.")
    return plan


def _chunks(rng: Random, users: Iterable[int], size: int) -> Sequence[Sequence[int]]:
    """Return the user numbers of rooms of `size`, each user once, in random order.

    A last room of one user is joined to the room before, unless `size` is 1.
    """
    order = list(users)
    rng.shuffle(order)
    chunks = [sorted(order[i : i + size]) for i in range(0, len(order), size)]
    if size > 1 and len(chunks) > 1 and len(chunks[-1]) == 1:
        last = chunks.pop()
        chunks[-1] = sorted(chunks[-1] + last)
    return chunks
