"""One conversation on this replica: messages are delivered strictly by sequence number, in whatever order they come."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Protocol, TypeAlias

Numbered: TypeAlias = tuple[int, bytes]
HELD_MAX = 10_000


class Listener(Protocol):
    """Protocol of a receiver of pushes, an open socket of `user_id`. `push` never waits and never fails."""

    user_id: str

    def push(self, data: bytes) -> None:
        """Send bytes of one or more frames."""


class Feed:
    """Delivery state of one conversation.

    - Sequence numbers up to `next - 1` were delivered to `listeners`; later messages that arrived early are held back.
    - `next` is 0 until the head at subscription is known. `target` is the highest number that is known to exist.
    - `replaying`: listeners that still get older messages; messages that arrive meanwhile are queued for them.
    - `edits`: edits up to this number were sent, or existed before the first listener; None: not read from the table
      yet.
    - `removals`: every listener was verified as a member after this many removals from the conversation.
    - `pins`: how often the feed was opened and not closed.
    - `timer` waits for missing messages; `filling` reads missing messages from the database.
    """

    __slots__ = (
        "edits",
        "filling",
        "held",
        "id",
        "key",
        "listeners",
        "next",
        "pins",
        "ready",
        "removals",
        "replaying",
        "target",
        "timer",
    )

    def __init__(self, conversation_id: int, key: str) -> None:
        """Start without listeners and with an unknown head. The future `ready` is done when the head is known."""
        self.id, self.key = conversation_id, key
        self.next = 0
        self.target = 0
        self.removals = 0
        self.edits: int | None = None
        self.held: dict[int, bytes] = {}
        self.listeners: dict[Listener, None] = {}
        self.replaying: dict[Listener, list[bytes]] = {}
        self.pins = 0
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.timer: asyncio.TimerHandle | None = None
        self.filling: asyncio.Task[None] | None = None

    @property
    def head(self) -> int:
        """Return the last sequence number that was delivered here or existed before; -1 if not known yet."""
        return self.next - 1

    @property
    def behind(self) -> bool:
        """Return whether messages are known to exist that were not delivered here."""
        return 0 < self.next <= self.target

    def begin(self, head: int) -> list[bytes]:
        """Start delivery after the number `head`; return the frames that can be sent at once.

        `head`: the last number at the time of the subscription.
        """
        self.next = head + 1
        for seq in [s for s in self.held if s <= head]:
            del self.held[seq]
        return self._run()

    def accept(self, frames: Iterable[Numbered]) -> list[bytes]:
        """Store messages that arrive in any order, with repeats; return the frames that can be sent now, in order.

        If more than HELD_MAX messages are held back, all of those are dropped: the hub reads them again.
        """
        ready: list[bytes] = []
        for seq, data in frames:
            if seq == self.next:
                ready.append(data)
                self.next = seq + 1
            elif seq > self.next:
                self.held[seq] = data
            if seq > self.target:
                self.target = seq
        if self.held:
            ready += self._run()
            if len(self.held) > HELD_MAX:
                # Held frames can be read again; memory must not grow with the length of an outage.
                self.held.clear()
        return ready

    def skip_missing(self, up_to: int) -> tuple[list[bytes], list[int]]:
        """Skip numbers up to `up_to` that the database does not have.

        Return (frames that can be sent, missing numbers).
        """
        ready, missing = self._run(), []
        while self.next <= up_to:
            missing.append(self.next)
            self.next += 1
            ready += self._run()
        return ready, missing

    def wanted(self) -> tuple[int, int]:
        """Return (first, last) sequence number of the first gap."""
        return self.next, min(self.held, default=self.target + 1) - 1

    def _run(self) -> list[bytes]:
        ready = []
        if self.next:
            while (data := self.held.pop(self.next, None)) is not None:
                ready.append(data)
                self.next += 1
        return ready


class Pusher:
    """Sender of a conversation's frames to its listeners, with one write for each listener."""

    def push(self, feed: Feed, frames: list[bytes]) -> None:
        """Send all frames to each listener of the feed."""
        data = frames[0] if len(frames) == 1 else b"".join(frames)
        for listener in feed.listeners:
            listener.push(data)
