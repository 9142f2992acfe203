"""Defects of causes, answers, membership, reads, resuming, agents and lateness; and the random draws of all defects.

As in `simulated_defects`, each overrides one method and states, after the run, which checks have to fail.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from simulated_platform import MS, Entry, Frame, Link, Send
from simulated_services import COMPLETED, ERROR, Reading, Services

from earwitness.checks.history.record import NONE

if TYPE_CHECKING:
    from simulator import World

SESSION_DEFECTS = (
    "Z4",
    "Z11",
    "Z13",
    "Z16",
    "Z17",
    "Z20",
    "Z21",
    "Z23",
    "Z26",
    "Z27",
    "Z31",
    "Z32",
    "Z34",
    "Z66",
    "Z70",
    "Z71",
)
CHUNK = 5
LATE_NS = 400 * MS
ANSWER_NS = 1000 * MS


@dataclass(frozen=True)
class Fired:
    defect: str
    expected: Callable[[], set[str]]


class Dice(Services):
    """Simulated platform that draws whether a defect fires, and stores the firings."""

    def __init__(self, world: World, defects: Sequence[str], rate: float) -> None:
        super().__init__(world.clock, world.rng, world.rules, world.rooms, world.user_of)
        self.world, self.defects, self.rate = world, frozenset(defects), rate
        self.dice = random.Random(world.rng.random())
        self.fired: list[Fired] = []
        self.every: list[Link] = []

    def fires(self, defect: str) -> bool:
        return defect in self.defects and self.dice.random() < self.rate

    def note(self, defect: str, expected: Callable[[], set[str]]) -> None:
        self.fired.append(Fired(defect, expected))

    def connect(self, link: Link, resume: dict[int, int]) -> None:
        self.every.append(link)
        super().connect(link, resume)

    def noted(self, entry: Entry) -> bool:
        """Return whether the final read contains the entry."""
        return self.world.history and entry in self.stored[entry.send.conv]

    def twice(self, entry: Entry, links: Sequence[Link]) -> set[str]:
        """Return {"I6"} if the entry was received more than once as new on these links, else an empty set.

        The set is also empty for a message that was sent several times if each sending may take effect on this
        platform.
        """
        author = self.world.clients[entry.send.author]
        once = self.rules.idempotent or author.sendings[entry.send.counter] == 1
        return {"I6"} if once and sum(len(self.places(link, entry)) for link in links) > 1 else set()

    @staticmethod
    def places(link: Link, entry: Entry) -> list[int]:
        """Return the indices, among the link's received frames, at which the entry came as a new message."""
        return [i for i, f in enumerate(link.heard) if f.what == "message" and f.entry is entry and not f.flags]


class SessionDefects(Dice):
    """`Dice` with the defects of this module."""

    def __init__(self, world: World, defects: Sequence[str], rate: float) -> None:
        super().__init__(world, defects, rate)
        self.taking = -1  # whose message is being numbered
        self.previous: dict[Link, int] = {}

    # taking in

    def next_number(self, conv: int, replica: int) -> int:
        number = super().next_number(conv, replica)
        if self.rules.sequence != "increasing" or "Z4" not in self.defects:
            return number
        used = {entry.seq for entry in self.log[conv]}
        top = max(used, default=0)
        own = max((entry.seq for entry in self.log[conv] if entry.send.author == self.taking), default=0)
        free = [seq for seq in range(own + 1, top) if seq not in used]
        if free and self.fires("Z4"):
            return self.dice.choice(free[-3:])
        return top + self.rng.randint(1, 4)

    def commit(self, send: Send, replica: int) -> Entry:
        self.taking = send.author
        entry = super().commit(send, replica)
        cause = self.world.caused_by[send.message]
        if "Z4" in self.defects and NONE != entry.seq <= cause:
            self.note("Z4", lambda: {"I3"} if self.noted(entry) else set())
        return entry

    def process(self, link: Link, send: Send, life: int) -> None:
        if life == self.life[link.replica] and send.message not in self.known and self.fires("Z11"):
            self.to_client(link, Frame("nack", send.conv, send=send))
            entry = self.commit(send, link.replica)
            self.note("Z11", lambda: self.refused_and_taken(entry))
            return
        super().process(link, send, life)

    def refused_and_taken(self, entry: Entry) -> set[str]:
        author, counter = self.world.clients[entry.send.author], entry.send.counter
        refused = author.sendings[counter] == author.refusals[counter] == author.answers[counter]
        taken = self.noted(entry) or any(self.places(link, entry) for link in self.every)
        return {"I9"} if refused and taken else set()

    def accept(self, link: Link, send: Send) -> None:
        if self.fires("Z13"):
            self.to_client(link, Frame("nack", send.conv, send=send))
            author = self.world.clients[send.author]
            self.note("Z13", lambda: {"I11"} if author.answers[send.counter] > author.sendings[send.counter] else set())
        super().accept(link, send)

    def acknowledge(self, link: Link, send: Send, entry: Entry) -> None:
        if self.fires("Z70"):
            self.note("Z70", lambda: self.never_answered(link, send))
            return
        user = self.user_of[link.client]
        others = [other for other in self.links_of(user) if other.open and other.client != link.client]
        if others and self.fires("Z17"):
            other, frame = self.dice.choice(others), Frame("ack", send.conv, entry.seq, entry=entry, send=send)
            self.to_client(other, frame)
            self.note("Z17", lambda: {"I14"} if any(f is frame for f in other.heard) else set())
            return
        super().acknowledge(link, send, entry)

    def never_answered(self, link: Link, send: Send) -> set[str]:
        """Return {"I43"} if a sending without an answer violates the promise, else an empty set.

        A violation is expected if its connection lasted, its author was a member throughout, and no outage excuses it.
        """
        world, author = self.world, self.world.clients[send.author]
        sent, since = world.sent_at[send.message], author.since.get(send.conv)
        lasted = author.link is link and since is not None and since <= sent and self.admits(link.client, send.conv)
        excused = any(off >= sent for _, off in world.outages) or world.clock.now < sent + ANSWER_NS
        return {"I43"} if lasted and not excused and not author.answers[send.counter] else set()

    # membership

    def shut(self, link: Link, conv: int) -> None:
        if conv in link.cursor and self.fires("Z16"):
            kicked_at = self.clock.now + 20 * MS  # surely confirmed
            self.note("Z16", lambda: self.heard_after(link, conv, kicked_at))
            return
        super().shut(link, conv)

    def heard_after(self, link: Link, conv: int, kicked_ns: int) -> set[str]:
        """Return {"I13"} if the link received a message that was sent after the removal, else an empty set.

        Without sequence numbers a later joining makes the order unknown, so nothing is expected then.
        """
        if self.rules.sequence == "none" and any(
            frame.what == "joined" and frame.conv == conv and t >= kicked_ns - 20 * MS
            for other in self.every
            if other.client == link.client
            for frame, t in zip(other.heard, other.heard_at, strict=True)
        ):
            return set()
        for frame, t in zip(link.heard, link.heard_at, strict=True):
            if frame.what == "joined" and frame.conv == conv and t >= kicked_ns - 20 * MS:
                return set()
            if frame.what == "message" and frame.conv == conv and not frame.flags:
                assert frame.send is not None
                if self.world.sent_at[frame.send.message] > kicked_ns:
                    return {"I13"}
        return set()

    # reads

    def head_read(self, reading: Reading) -> int:
        log = self.log[reading.conv]
        before_own = next((n for n, entry in enumerate(log) if entry.seq == reading.own), len(log))
        for defect, check, position in (("Z20", "I16", before_own), ("Z21", "I17", len(log) - self.dice.randint(1, 4))):
            if self.fires(defect):
                self.note(defect, lambda check=check: self.behind_of(reading, check))
                return self.highest(reading.conv, max(0, position))
        own_view = max(reading.own, reading.known)
        if own_view < super().head_read(reading) and self.fires("Z71"):
            others = [
                message for message, t in self.world.acknowledged_at.items()
                if t <= reading.asked_ns and message in self.known and self.known[message].send.conv == reading.conv
                and self.known[message].seq > own_view
            ]  # fmt: skip
            judged = self.world.history and self.rules.sequence != "none"
            self.note("Z71", lambda: {"I44"} if others and judged and reading.answered else set())
            return own_view
        return super().head_read(reading)

    def page(self, reading: Reading) -> tuple[int, ...]:
        numbers = super().page(reading)
        if len(numbers) > 2 and self.fires("Z66"):
            hole = self.dice.randrange(1, len(numbers) - 1)
            judged = self.world.history and self.rules.sequence == "contiguous"
            self.note("Z66", lambda: {"I17"} if judged and reading.answered else set())
            return numbers[:hole] + numbers[hole + 1 :]
        return numbers

    def behind_of(self, reading: Reading, check: str) -> set[str]:
        bar = reading.own if check == "I16" else reading.known
        judged = self.world.history and self.rules.sequence != "none"
        return {check} if reading.answered and judged and reading.seq < bar else set()

    # joining

    def join(self, link: Link, conv: int, last: int | None) -> None:
        head = len(self.log[conv])
        if last is not None and last < head and self.rules.resume != "none" and self.fires("Z23"):
            link.cursor[conv] = head
            self.say_joined(link, conv, head, continued=False)
            number = self.number_at(conv, head)
            self.note("Z23", lambda: {"I19"} if self.begun_anew(link, conv, number) else set())
            return
        if last is None and head and self.rules.sequence != "none" and self.fires("Z27"):
            link.cursor[conv] = head
            self.say_joined(link, conv, head, continued=False)
            frame = replace(self.seen_by(link.replica, conv, head), what="message")
            self.to_client(link, frame)
            self.note("Z27", lambda: {"I21"} if any(f is frame for f in link.heard) else set())
            return
        super().join(link, conv, last)

    def begun_anew(self, link: Link, conv: int, number: int) -> bool:
        """Return whether the first message of a conversation on the link has a number above that stated on joining."""
        told = [f for f in link.heard if f.conv == conv and f.what in ("joined", "left", "message", "replay")]
        if not self.rules.echo or number < 0 or len(told) < 2 or told[0].what != "joined":
            return False
        return told[1].what in ("message", "replay") and told[1].seq > number and not told[1].flags

    def resume_point(self, link: Link, conv: int, last: int) -> int:
        left = len(self.log[conv]) - last
        if left > 1 and self.fires("Z26"):
            kept = self.dice.randint(0, left - 2)
            skipped = self.log[conv][last : last + left - kept]
            self.note("Z26", lambda: self.overwritten(link, skipped))
            return last + len(skipped)
        return super().resume_point(link, conv, last)

    def overwritten(self, link: Link, skipped: list[Entry]) -> set[str]:
        return set()

    # agents

    def stream(self, link: Link, frame: Frame) -> None:
        ended = frame.position in (COMPLETED, ERROR)
        if ended and self.fires("Z31"):
            if self.dice.random() < 0.5:
                self.note("Z31", lambda: {"I24"} if self.lasted(link) else set())
                return
            again = replace(frame)
            self.to_client(link, frame)
            self.to_client(link, again)
            self.note("Z31", lambda: {"I24"} if any(f is again for f in link.heard) else set())
            return
        other = self.previous.get(link, frame.run)
        self.previous[link] = frame.run
        if frame.position == CHUNK and other != frame.run and self.fires("Z32"):
            frame.run = other
            self.note("Z32", lambda: self.mixed(link, other))
        super().stream(link, frame)

    def lasted(self, link: Link) -> bool:
        return link.open and self.world.clients[link.client].link is link

    @staticmethod
    def mixed(link: Link, run: int) -> set[str]:
        """Return {"I24"} if an answer's pieces are not numbered from 0, or events follow its end, else an empty set.

        Events after the conversation was left are ignored.
        """
        frames = [f for f in link.heard if f.what in ("run", "left")]
        told = [k for k, f in enumerate(frames) if f.what == "run" and f.run == run]
        where = frames[told[0]].conv if told else -1
        left = [k for k, f in enumerate(frames) if f.what == "left" and f.conv == where and k > told[0]]
        end = min(left, default=len(frames))
        events = [(frames[k].position, frames[k].seq) for k in told if k < end]
        numbers = [number for position, number in events if position == CHUNK]
        on = any(position in (COMPLETED, ERROR) for position, _ in events[:-1])
        return {"I24"} if numbers != list(range(len(numbers))) or on else set()

    # pushing

    def push(self, link: Link, frame: Frame, what: str) -> None:
        if what == "message" and self.fires("Z34"):
            link.to_client = max(link.to_client, self.clock.now) + LATE_NS
            entry = frame.entry
            assert entry is not None
            self.note("Z34", lambda: self.late_for(link, entry))
        super().push(link, frame, what)

    def late_for(self, link: Link, entry: Entry) -> set[str]:
        """Return {"I25"} if the entry came too late on a link that was subscribed throughout, else an empty set."""
        world, message = self.world, entry.send.message
        sent, acknowledged = world.sent_at[message], world.acknowledged_at.get(message)
        places = self.places(link, entry)
        if acknowledged is None or not places or link.client == entry.send.author:
            return set()
        deadline = acknowledged + 150 * MS
        joined = [
            t
            for t, f in zip(link.heard_at, link.heard, strict=True)
            if f.what in ("joined", "left") and f.conv == entry.send.conv and t <= link.heard_at[places[0]]
        ]
        excused = deadline >= world.drain_ns or any(on <= deadline and off >= sent for on, off in world.outages)
        late = link.heard_at[places[0]] > deadline and max(joined) < sent
        return {"I25"} if late and not excused else set()
