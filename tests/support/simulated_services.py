"""Services of the simulated platform besides messages: answers of an agent, reads of history, removals of members.

As in `simulated_platform`, every step that a defect may replace is one method.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from simulated_platform import Frame, Link, Platform, Send

STARTED, THINKING, TOOL_STARTED, TOOL_COMPLETED, CHUNK, COMPLETED, ERROR = range(1, 8)


@dataclass(eq=False)
class Reading:
    """A read of a conversation's newest messages.

    `own`, `known`: the highest number that had been acknowledged to the client, and that it had read or received, when
    it requested the read; `seq`: the highest number that the read returned, `numbers`: all of them, None without
    numbers.
    """

    client: int
    conv: int
    asked_ns: int
    own: int
    known: int
    done: Callable[[Reading], None]
    seq: int = -1
    answered: bool = False
    numbers: tuple[int, ...] | None = None


class Services(Platform):
    """`Platform` with an agent, reads of history, and memberships that may end."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.barred: set[tuple[int, int]] = set()  # (user, conversation)
        self.admitted: dict[tuple[int, int], int] = {}  # … → position from which it is a member again
        self.runs = 0

    # membership

    def admits(self, client: int, conv: int) -> bool:
        return (self.user_of[client], conv) not in self.barred

    def join(self, link: Link, conv: int, last: int | None) -> None:
        since = self.admitted.get((self.user_of[link.client], conv), 0)
        if last is not None and last < since:
            self.to_client(link, Frame("left", conv))
            last = None
        super().join(link, conv, last)

    def links_of(self, user: int) -> list[Link]:
        return [link for links in self.links.values() for link in links if self.user_of[link.client] == user]

    def kick(self, user: int, conv: int, confirmed: Callable[[], None]) -> None:
        """Remove a user from a conversation: no messages of it are pushed to them any more.

        `confirmed` is called later.
        """
        self.barred.add((user, conv))
        for link in self.links_of(user):
            self.shut(link, conv)
        self.clock.at(self.clock.now + self.delay(), confirmed)

    def shut(self, link: Link, conv: int) -> None:
        if link.cursor.pop(conv, None) is not None:
            self.to_client(link, Frame("left", conv))

    def admit(self, user: int, conv: int) -> None:
        self.barred.discard((user, conv))
        self.admitted[user, conv] = len(self.log[conv])
        for link in self.links_of(user):
            if link.open and conv not in link.cursor:
                self.join(link, conv, None)

    def process(self, link: Link, send: Send, life: int) -> None:
        barred = not self.admits(link.client, send.conv) and send.message not in self.known
        if barred and life == self.life[link.replica]:
            self.to_client(link, Frame("nack", send.conv, send=send))
            return
        super().process(link, send, life)

    def evict(self, link: Link, conv: int) -> None:
        if link.open and link.cursor.pop(conv, None) is not None:
            self.to_client(link, Frame("left", conv))
            self.clock.at(self.clock.now + self.delay(20), self.rejoin, link, conv)

    def rejoin(self, link: Link, conv: int) -> None:
        if link.open and conv not in link.cursor and self.admits(link.client, conv):
            self.join(link, conv, None)

    # reads

    def read(self, reading: Reading) -> None:
        if self.admits(reading.client, reading.conv):
            reading.seq = self.head_read(reading)
            if self.rules.sequence != "none":
                reading.numbers = self.page(reading)
            self.clock.at(self.clock.now + self.delay(), reading.done, reading)

    def head_read(self, reading: Reading) -> int:
        return self.highest(reading.conv, len(self.log[reading.conv]))

    def page(self, reading: Reading) -> tuple[int, ...]:
        """Return the numbers of the messages that a read returns, from the beginning of the conversation."""
        return tuple(entry.seq for entry in self.log[reading.conv] if entry.seq <= reading.seq)

    def highest(self, conv: int, position: int) -> int:
        """Return the highest sequence number up to a position in the log."""
        numbers = (entry.seq for entry in self.log[conv][:position])
        return max(numbers, default=self.number_at(conv, 0))

    # agents

    def ask(self, link: Link, conv: int) -> None:
        """Answer a question: stream the events of an agent's answer to the connection that asked."""
        self.runs += 1
        t = self.clock.now
        for event, number in self.script():
            t += self.delay(4)
            self.clock.at(t, self.stream, link, Frame("run", conv, number, event, run=self.runs))

    def script(self) -> list[tuple[int, int]]:
        """Return (event, number of the piece) for all events of one answer."""
        rng = self.rng
        events = [(STARTED, 0), (THINKING, 0)]
        for _ in range(rng.choice((0, 0, 1, 2))):
            events += [(TOOL_STARTED, 0), (TOOL_COMPLETED, 0)]
        if rng.random() < 0.2:
            return [*events, *([(TOOL_STARTED, 0)] if rng.random() < 0.5 else []), (ERROR, 0)]
        events += [(CHUNK, number) for number in range(rng.randint(0, 5))]
        return [*events, (COMPLETED, 0)]

    def stream(self, link: Link, frame: Frame) -> None:
        self.to_client(link, frame)
