"""Defects of the simulated platform, and the ground truth about them.

Each overrides one method of the healthy `Platform` and fires with a probability at each opportunity. After the run
`Fired.expected()` returns the checks that have to fail: those that can see the effect of a firing, and none if no
client received it (its connection was cut before, or no later message shows the difference).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from simulated_platform import MS, REPLICAS, Entry, Frame, Link, Send
from simulated_session_defects import SESSION_DEFECTS, SessionDefects

from earwitness.checks.history.record import NOBODY, Flag

if TYPE_CHECKING:
    from simulator import World

DEFECTS = (
    "Z1", "Z2", "Z3", "Z5", "Z6", "Z7", "Z8", "Z9", "Z10", "Z12", "Z14", "Z15", "Z18", "Z19", "Z24", "Z25", "Z28",
    "Z30", "Z33", *SESSION_DEFECTS,
)  # fmt: skip


class Defective(SessionDefects):
    """Simulated platform with `defects` switched on; without any it behaves as `Platform`."""

    def __init__(self, world: World, defects: Sequence[str], rate: float) -> None:
        super().__init__(world, defects, rate)
        self.late: dict[tuple[Link, int], Frame] = {}
        self.queue: dict[Link, Send] = {}
        self.swapped: dict[tuple[int, int], Entry] = {}
        self.undecided: dict[int, Entry] = {}
        self.dead: set[tuple[Link, int]] = set()
        self.behind: dict[int, int] = defaultdict(int)
        self.ghosts = 0

    # ground truth

    def missing(self, client: int, entry: Entry) -> bool:
        """Return whether a client had to receive this message and never did."""
        witness, message = self.world.clients[client], entry.send.message
        if self.world.history:
            accepted = entry in self.stored[entry.send.conv]
        else:
            accepted = message in self.world.clients[entry.send.author].acknowledged
        return accepted and witness.owed(message, entry.send.conv) and message not in witness.heard

    def gap(self, link: Link, entry: Entry) -> bool:
        """Return whether the link received a later message on the same subscription, and not this one before it.

        Always False without echo, because the listener's own messages may be the missing ones.
        """
        if not self.rules.echo:
            return False
        subscribed = False
        for frame in link.heard:
            if frame.conv != entry.send.conv or frame.flags & Flag.MISROUTED:
                continue
            if frame.what in ("joined", "left"):
                subscribed = frame.what == "joined" and frame.position < entry.position
            elif frame.what == "message" and subscribed and frame.entry is not None:
                if frame.position > entry.position:
                    return self.rules.sequence == "contiguous"
                subscribed = frame.position != entry.position
        return False

    def lost(self, link: Link, entry: Entry) -> set[str]:
        expected = {"I4"} if self.gap(link, entry) else set()
        return expected | ({"I5b"} if self.missing(link.client, entry) else set())

    def in_order(self, link: Link, first: Entry, second: Entry) -> bool:
        places, later = self.places(link, first), self.places(link, second)
        return bool(places and later) and places[0] < later[0]

    def overtaken(self, link: Link, early: Entry, late: Entry) -> set[str]:
        if not self.in_order(link, late, early):
            return set()
        a, b = early.send, late.send
        expected = {"I4"} if self.gap(link, early) else set()
        if (a.author, a.proc) == (b.author, b.proc) and a.attempt == b.attempt == 1 and a.counter < b.counter:
            expected.add("I1")
        if self.rules.sequence != "contiguous" and any(self.in_order(other, early, late) for other in self.every):
            expected.add("I2")
        return expected

    # joining

    def join(self, link: Link, conv: int, last: int | None) -> None:
        if last is None and self.fires("Z28"):
            head = len(self.log[conv])
            self.say_joined(link, conv, head, continued=False)
            self.clock.at(self.clock.now + self.delay(40), self.subscribe_late, link, conv, head)
            return
        super().join(link, conv, last)

    def subscribe_late(self, link: Link, conv: int, head: int) -> None:
        link.cursor[conv] = len(self.log[conv])
        skipped = self.log[conv][head:]
        self.note("Z28", lambda: set().union(*(self.lost(link, entry) for entry in skipped)))

    def overwritten(self, link: Link, skipped: list[Entry]) -> set[str]:
        return set().union(*(self.lost(link, entry) for entry in skipped))

    def resume_point(self, link: Link, conv: int, last: int) -> int:
        if last < len(self.log[conv]) and self.fires("Z24"):
            entry = self.log[conv][last]
            self.note("Z24", lambda: self.lost(link, entry))
            return last + 1
        if last and self.fires("Z25"):
            entry = self.log[conv][last - 1]
            links = [other for other in self.every if other.client == link.client]
            known = entry.send.message in self.world.clients[link.client].heard
            self.note("Z25", lambda: self.sent_again(link, links, entry, known))
            return last - 1
        return super().resume_point(link, conv, last)

    def sent_again(self, link: Link, links: list[Link], entry: Entry, known: bool) -> set[str]:
        if self.rules.resume == "live":
            return self.twice(entry, links)
        again = any(f.what == "replay" and f.entry is entry for f in link.heard)
        return {"I20"} if again and known and self.rules.sequence == "contiguous" else set()

    def kill(self, replica: int) -> list[Link]:
        for conv, rows in self.stored.items():
            if rows and self.fires("Z7"):
                gone = rows.pop().send
                self.note("Z7", partial(self.undurable, gone))
            if len(rows) > 2 and self.rules.sequence != "none" and self.fires("Z30"):
                self.behind[conv] = 2
        return super().kill(replica)

    # taking in

    def undurable(self, send: Send) -> set[str]:
        stored = any(entry.send.message == send.message for entry in self.stored[send.conv])
        acknowledged = send.message in self.world.clients[send.author].acknowledged
        return {"I5a"} if self.world.history and acknowledged and not stored else set()

    def process(self, link: Link, send: Send, life: int) -> None:
        before = self.queue.pop(link, None)
        if before is not None:
            super().process(link, send, life)
            super().process(link, before, life)
            self.note("Z2", lambda: self.swapped_at_ingest(before, send))
        elif self.fires("Z2"):
            self.queue[link] = send
            self.clock.at(self.clock.now + 20 * MS, self.flush_queue, link, send, life)
        else:
            super().process(link, send, life)

    def flush_queue(self, link: Link, send: Send, life: int) -> None:
        if self.queue.get(link) is send:
            del self.queue[link]
            super().process(link, send, life)

    def swapped_at_ingest(self, a: Send, b: Send) -> set[str]:
        early, late = self.known.get(a.message), self.known.get(b.message)
        if early is None or late is None or early.send is not a or late.send is not b or a.conv != b.conv:
            return set()
        if early.position < late.position or (a.attempt, b.attempt, a.proc) != (1, 1, b.proc):
            return set()
        numbered = self.rules.sequence != "none" and self.world.history
        return {"I1"} if numbered or any(self.in_order(link, late, early) for link in self.every) else set()

    def accept(self, link: Link, send: Send) -> None:
        if send.message not in self.known and self.fires("Z6"):
            self.to_client(link, Frame("ack", send.conv, send=send))
            self.note("Z6", lambda: self.undurable(send))
            return
        super().accept(link, send)

    def recognise(self, send: Send) -> Entry | None:
        entry = super().recognise(send)
        if entry is not None and self.fires("Z9"):
            self.note("Z9", lambda: {"I7"} if self.world.history else set())
            if self.dice.random() < 0.5:
                return None
            self.stored[send.conv].append(entry)
        return entry

    def next_number(self, conv: int, replica: int) -> int:
        number = super().next_number(conv, replica)
        if self.behind[conv]:
            number -= self.behind.pop(conv)
            used = any(entry.seq == number for entry in self.log[conv])
            self.note("Z30", lambda: {"I2"} if used and self.world.history else set())
        return number

    def commit(self, send: Send, replica: int) -> Entry:
        entry = super().commit(send, replica)
        if self.fires("Z19"):
            entry.aux = self.somebody_else(send.author)
            self.note("Z19", lambda: {"I15"} if entry in self.stored[send.conv] and self.world.history else set())
        return entry

    def somebody_else(self, client: int) -> int:
        others = [n for n, user in enumerate(self.user_of) if user != self.user_of[client]]
        return self.dice.choice(others)

    # telling the replicas

    def announce(self, entry: Entry, source: int) -> None:
        conv = entry.send.conv
        before = self.undecided.pop(conv, None)
        if before is not None and before.send.author != entry.send.author:
            self.swapped[conv, before.position], self.swapped[conv, entry.position] = entry, before
            self.note("Z3", lambda: self.renumbered(before, entry))
        elif before is None and self.rules.hold_back and self.fires("Z3"):
            self.undecided[conv] = entry
            self.clock.at(self.clock.now + 30 * MS, self.decide, entry)
            self.announce_to(REPLICAS[0], entry, source)
            return
        super().announce(entry, source)

    def announce_to(self, replica: int, entry: Entry, source: int) -> None:
        t = self.channel[source, replica] = max(self.channel[source, replica] + 1, self.clock.now + self.delay())
        self.clock.at(t, self.notify, replica, self.life[replica], entry)

    def decide(self, entry: Entry) -> None:
        if self.undecided.get(entry.send.conv) is entry:
            del self.undecided[entry.send.conv]
            self.announce_to(REPLICAS[1], entry, REPLICAS[1])

    def seen_by(self, replica: int, conv: int, position: int) -> Frame:
        frame = super().seen_by(replica, conv, position)
        other = self.swapped.get((conv, position)) if replica == REPLICAS[1] else None
        return replace(frame, entry=other, send=other.send, aux=other.aux) if other else frame

    def renumbered(self, early: Entry, late: Entry) -> set[str]:
        if self.rules.sequence == "none":
            wrong = any(self.in_order(link, late, early) for link in self.every)
            return {"I2"} if wrong and any(self.in_order(link, early, late) for link in self.every) else set()
        wrong = any(
            f.entry is early and f.seq == late.seq and not f.flags
            for x in self.every
            for f in x.heard
            if f.what == "message"
        )
        return {"I2"} if wrong and self.world.history else set()

    def notify(self, replica: int, life: int, entry: Entry) -> None:
        super().notify(replica, life, entry)
        conv = entry.send.conv
        for link in self.links[replica] if life == self.life[replica] else ():
            outsider = self.user_of[link.client] not in self.rooms[conv]
            if outsider and self.fires("Z14"):
                self.send(link, self.frame(entry), "Z14", "I12")
            if any(other != conv for other in link.cursor) and self.fires("Z15"):
                self.send(link, replace(self.frame(entry), flags=int(Flag.MISROUTED)), "Z15", "I12")

    # pushing

    def send(self, link: Link, frame: Frame, defect: str, check: str) -> None:
        """Send a wrong frame; if a client receives it, `check` is expected to fail."""
        self.to_client(link, frame)
        self.note(defect, lambda: {check} if any(f is frame for f in link.heard) else set())

    def push(self, link: Link, frame: Frame, what: str) -> None:
        frame.what = what
        entry, key = frame.entry, (link, frame.conv)
        assert entry is not None
        if key in self.dead or self.fires("Z33"):
            self.dead.add(key)
            self.note("Z33", lambda: self.lost(link, entry))
        elif self.fires("Z5"):
            self.note("Z5", lambda: self.lost(link, entry))
        elif self.fires("Z12"):
            self.send(link, self.damaged(frame), "Z12", "I10")
        elif self.fires("Z18"):
            self.send(link, replace(frame, aux=self.somebody_else(entry.send.author)), "Z18", "I15")
        elif key not in self.late and what == "message" and self.fires("Z1"):
            self.late[key] = frame
        else:
            super().push(link, frame, what)
            if key in self.late:
                self.release(link, self.late.pop(key), entry)
            self.extra(link, frame)

    def release(self, link: Link, frame: Frame, overtaker: Entry) -> None:
        entry = frame.entry
        assert entry is not None
        super().push(link, frame, frame.what)
        self.note("Z1", lambda: self.overtaken(link, entry, overtaker))

    def extra(self, link: Link, frame: Frame) -> None:
        entry = frame.entry
        assert entry is not None
        if frame.what == "message" and self.fires("Z8"):
            self.to_client(link, replace(frame))
            self.note("Z8", lambda: self.twice(entry, [link]))
        if frame.what == "message" and self.fires("Z10"):
            self.send(link, self.ghost(frame), "Z10", "I8")

    def damaged(self, frame: Frame) -> Frame:
        assert frame.send is not None
        cut_off = replace(frame.send, size=frame.send.size // 2, digest=frame.send.digest ^ 1)
        return replace(frame, send=cut_off, flags=int(Flag.CORRUPT) if self.dice.random() < 0.5 else 0)

    def ghost(self, frame: Frame) -> Frame:
        assert frame.send is not None
        self.ghosts += 1
        if self.dice.random() < 0.5:
            send = replace(frame.send, author=NOBODY, counter=0, attempt=0)
            return replace(frame, entry=None, send=send, seq=-1, position=0, aux=-1, flags=int(Flag.FOREIGN_RUN))
        return replace(frame, entry=None, send=replace(frame.send, counter=1_000_000 + self.ghosts), seq=-1, position=0)
