"""Defects of pushing to one listener: lost, repeated, reordered, damaged, invented and late messages."""

from __future__ import annotations

import asyncio
import html
from collections.abc import Iterable
from typing import TypeAlias

from earwitness.harness.defects.chance import Chance
from earwitness.harness.defects.declared import defect
from earwitness.harness.defects.pushing import PerListener, changed, on_end, per_listener, reachable, seq_of
from earwitness.harness.reference.backend.feed import Feed, Listener, Pusher
from earwitness.harness.reference.backend.session import UNKNOWN_OUTCOME, Session
from earwitness.harness.reference.backend.wire import content

SWAP_WAIT_S = 2.0
STARVED_S = 6.0
OVERDUE_S = 6.0
"""Seconds after which a push is overdue: the bound of the contract, and one second for the ack that it counts from."""
SILENT_S = 8.0
CUT_AT = 0.6

Subscription: TypeAlias = tuple[int, Listener]
"""Id of a feed, and one of its listeners."""


@defect(
    "Z5",
    "drop-push",
    breaks="A message is there for everybody but me, until I look into the history.",
    opportunity="one message for one listener",
    caught_by=("I4", "I5b"),
    high=0.005,
    one=0.0002,
    through=per_listener,
)
class DropPush(PerListener):
    """Defect that does not push a message to one listener.

    Opportunity: one message for one listener. A firing is manifest when a later message of the conversation is pushed
    to an open socket, or when the client closes the connection normally. A client that was cut off resumes after the
    last message that it has received, so it loses nothing.
    """

    def __init__(self, inner: Pusher, chance: Chance) -> None:
        """Wrap `inner`. No dropped message waits for its effect yet."""
        super().__init__(inner, chance)
        self._unseen: dict[Subscription, list[int]] = {}

    def change(self, feed: Feed, listener: Listener, frames: list[bytes]) -> list[bytes]:
        """Implement `PerListener.change`: leave out the messages that `picked` returns."""
        subscription, dropped = (feed.id, listener), set(self.picked(feed, listener, len(frames)))
        kept = []
        for at, data in enumerate(frames):
            if at in dropped:
                self._missed(subscription, self.say(feed, listener, seq=seq_of(data)))
            else:
                kept.append(data)
                if subscription in self._unseen and reachable(listener):
                    self._shown(subscription)
        return kept

    def picked(self, feed: Feed, listener: Listener, frames: int) -> Iterable[int]:
        """Return the indices of the messages to leave out. `frames`: how many messages there are."""
        return self.chance.among(frames)

    def _missed(self, subscription: Subscription, firing: int) -> None:
        firings = self._unseen.setdefault(subscription, [])
        if not firings:
            on_end(subscription[1], lambda clean: self._ended(subscription, clean))
        firings.append(firing)

    def _shown(self, subscription: Subscription) -> None:
        for firing in self._unseen.pop(subscription, ()):
            self.chance.manifest(firing)

    def _ended(self, subscription: Subscription, clean: bool) -> None:
        if clean:
            self._shown(subscription)
        self._unseen.pop(subscription, None)


@defect(
    "Z28",
    "late-subscription",
    breaks="What was written in the moment in which I opened the conversation is missing.",
    opportunity="one subscription",
    caught_by=("I4",),
    high=0.3,
    one=0.01,
    also=("ws_reconnect",),
    through=per_listener,
)
class LateSubscription(DropPush):
    """Defect that loses the first message after a subscription, between history and live messages.

    Opportunity: one subscription that gets a message. A firing is manifest when a later message of the conversation is
    pushed to an open socket, or when the client closes the connection normally.
    """

    def __init__(self, inner: Pusher, chance: Chance) -> None:
        """Wrap `inner`. No subscription has got its first message yet."""
        super().__init__(inner, chance)
        self._begun: set[Subscription] = set()

    def picked(self, feed: Feed, listener: Listener, frames: int) -> Iterable[int]:
        """Implement `DropPush.picked`: pick only the first message of a subscription."""
        subscription = (feed.id, listener)
        if frames == 0 or subscription in self._begun:
            return ()
        self._begun.add(subscription)
        on_end(listener, lambda _: self._begun.discard(subscription))
        return (0,) if self.chance.fires() else ()


@defect(
    "Z27",
    "queue-behind-bookmark",
    breaks="The app says that I have read everything, and then an older message comes in as new.",
    opportunity="one subscription",
    caught_by=("I21", "I6"),
    high=0.3,
    one=0.01,
    also=("ws_reconnect",),
    through=per_listener,
)
class QueueBehindBookmark(PerListener):
    """Defect that begins a subscription with an older message, from before the position that the client was given.

    Opportunity: one subscription to a conversation in which this replica has pushed a message before. A firing is
    manifest at once if the listener's socket is open.
    """

    def __init__(self, inner: Pusher, chance: Chance) -> None:
        """Wrap `inner`. The latest message of each conversation is stored for its next subscription."""
        super().__init__(inner, chance)
        self._begun: set[Subscription] = set()
        self._latest: dict[int, bytes] = {}

    def push(self, feed: Feed, frames: list[bytes]) -> None:
        """Implement `Pusher.push`: push, and store the last message of the conversation."""
        super().push(feed, frames)
        if frames:
            self._latest[feed.id] = frames[-1]

    def change(self, feed: Feed, listener: Listener, frames: list[bytes]) -> list[bytes]:
        """Implement `PerListener.change`: begin a subscription with the older message if the defect fires."""
        subscription = (feed.id, listener)
        if subscription in self._begun:
            return frames
        self._begun.add(subscription)
        on_end(listener, lambda _: self._begun.discard(subscription))
        before = self._latest.get(feed.id)
        if before is None or not frames or not self.chance.fires():
            return frames
        self.say(feed, listener, seq=seq_of(before), manifest=reachable(listener))
        return [before, *frames]


@defect(
    "Z33",
    "dead-subscription",
    breaks="A conversation has been silent for me since noon; everybody else was talking.",
    opportunity="one message for one listener",
    caught_by=("I5b", "I25"),
    high=0.002,
    one=0.0002,
    through=per_listener,
)
class DeadSubscription(PerListener):
    """Defect that pushes no more messages of one conversation to a listener until it connects anew.

    Opportunity: one message for one listener. A firing is manifest if the client stays to the end and closes its
    connection normally. A client that reconnects gets the missed messages.
    """

    def __init__(self, inner: Pusher, chance: Chance) -> None:
        """Wrap `inner`. No subscription is dead yet."""
        super().__init__(inner, chance)
        self._dead: set[Subscription] = set()

    def change(self, feed: Feed, listener: Listener, frames: list[bytes]) -> list[bytes]:
        """Implement `PerListener.change`: drop all messages of a subscription from a firing on."""
        subscription = (feed.id, listener)
        if subscription in self._dead:
            return []
        fired = list(self.chance.among(len(frames)))
        if not fired:
            return frames
        firing = self.say(feed, listener, seq=seq_of(frames[fired[0]]))
        self._dead.add(subscription)
        on_end(listener, lambda clean: self._ended(subscription, firing, clean))
        return frames[: fired[0]]

    def _ended(self, subscription: Subscription, firing: int, clean: bool) -> None:
        self._dead.discard(subscription)
        if clean:
            self.chance.manifest(firing)


@defect(
    "Z64",
    "silent-socket",
    breaks="My app was connected and showed nothing new; it all came at once when the connection had broken.",
    opportunity="one message of somebody else for one listener",
    caught_by=("I25",),
    high=0.01,
    one=0.001,
    needs="connections that last longer than a message may take",
    story="baseline",
    also=("ws_ordering",),
    through=per_listener,
)
class SilentSocket(PerListener):
    """Defect that pushes no more messages of any conversation to an open socket.

    The platform closes the socket after SILENT_S seconds; a client that resumes then gets the messages that it missed.
    Opportunity: one message of another user for one listener.

    A firing is manifest if the socket is still open OVERDUE_S seconds after the first message that was left out.
    """

    def __init__(self, inner: Pusher, chance: Chance) -> None:
        """Wrap `inner`. No socket is silent yet."""
        super().__init__(inner, chance)
        self._silent: set[Listener] = set()

    def change(self, feed: Feed, listener: Listener, frames: list[bytes]) -> list[bytes]:
        """Implement `PerListener.change`: drop all messages for a socket from a firing on."""
        if listener in self._silent:
            return []
        picked = list(self.chance.among(len(frames)))
        # No bound applies to the sender's own messages: the sender has the ack.
        fired = [at for at in picked if content(frames[at])["sender"] != listener.user_id]
        if not fired or not isinstance(listener, Session) or not listener.open:
            return frames
        firing = self.say(feed, listener, seq=seq_of(frames[fired[0]]))
        self._silent.add(listener)
        on_end(listener, lambda _: self._silent.discard(listener))
        loop = asyncio.get_running_loop()
        loop.call_later(OVERDUE_S, self._overdue, listener, firing)
        loop.call_later(SILENT_S, self._cut, listener)
        return frames[: fired[0]]

    def _overdue(self, session: Session, firing: int) -> None:
        if session.open:
            self.chance.manifest(firing)

    def _cut(self, session: Session) -> None:
        if session.open:
            session.close(UNKNOWN_OUTCOME, "the connection seems to be dead")


@defect(
    "Z8",
    "duplicate-push",
    breaks="I see a message twice.",
    opportunity="one message for one listener",
    caught_by=("I6",),
    high=0.005,
    one=0.0002,
    through=per_listener,
)
class DuplicatePush(PerListener):
    """Defect that pushes a message twice to one listener.

    Opportunity: one message for one listener. A firing is manifest at once if the listener's socket is open.
    """

    def change(self, feed: Feed, listener: Listener, frames: list[bytes]) -> list[bytes]:
        """Implement `PerListener.change`: repeat the messages for which the defect fires."""
        for at in reversed(list(self.chance.among(len(frames)))):
            self.say(feed, listener, seq=seq_of(frames[at]), manifest=reachable(listener))
            frames.insert(at, frames[at])
        return frames


@defect(
    "Z1",
    "swap-pushes",
    breaks="I read the answer before the question: two messages came in the wrong order.",
    opportunity="one message for one listener",
    caught_by=("I4", "I1"),
    high=0.005,
    one=0.0002,
    through=per_listener,
)
class SwapPushes(PerListener):
    """Defect that pushes two messages in the wrong order to one listener.

    A single message is kept until the next one has overtaken it, for SWAP_WAIT_S seconds at most. Opportunity: one
    message for one listener. It fires when a message is overtaken, and is manifest at once if the listener's socket is
    open.
    """

    def __init__(self, inner: Pusher, chance: Chance) -> None:
        """Wrap `inner`. A message that waits for the next one is stored by subscription."""
        super().__init__(inner, chance)
        self._kept: dict[Subscription, bytes] = {}

    def change(self, feed: Feed, listener: Listener, frames: list[bytes]) -> list[bytes]:
        """Implement `PerListener.change`: swap a message with its successor, or keep it for the next call."""
        if not frames:
            return frames
        kept = self._kept.pop((feed.id, listener), None)
        if kept is not None:
            self._swapped(feed, listener, kept, frames[0])
            frames.insert(1, kept)
        for at in list(self.chance.among(len(frames))):
            if at + 1 < len(frames):
                frames[at], frames[at + 1] = frames[at + 1], frames[at]
                self._swapped(feed, listener, frames[at + 1], frames[at])
            else:
                self._keep(feed, listener, frames.pop())
        return frames

    def _swapped(self, feed: Feed, listener: Listener, late: bytes, early: bytes) -> None:
        self.say(feed, listener, seq=seq_of(late), overtaken_by=seq_of(early), manifest=reachable(listener))

    def _keep(self, feed: Feed, listener: Listener, data: bytes) -> None:
        self._kept[(feed.id, listener)] = data
        # If no message follows, this one is pushed late; it must not be lost.
        asyncio.get_running_loop().call_later(SWAP_WAIT_S, self._give_up, feed, listener, data)

    def _give_up(self, feed: Feed, listener: Listener, data: bytes) -> None:
        if self._kept.get((feed.id, listener)) is data:
            del self._kept[(feed.id, listener)]
            listener.push(data)


@defect(
    "Z12",
    "damage-push",
    breaks="The end of my message is missing, or it is full of &amp;.",
    opportunity="one message for one listener",
    caught_by=("I10",),
    high=0.005,
    one=0.0002,
    through=per_listener,
)
class DamagePush(PerListener):
    """Defect that pushes a damaged text to one listener.

    The text is HTML-escaped twice if that changes it, else its end is cut off (the share CUT_AT remains). Opportunity:
    one message for one listener. A firing is manifest at once if the listener's socket is open.
    """

    def change(self, feed: Feed, listener: Listener, frames: list[bytes]) -> list[bytes]:
        """Implement `PerListener.change`: damage the texts for which the defect fires."""
        for at in list(self.chance.among(len(frames))):
            text = str(content(frames[at])["text"])
            escaped = html.escape(html.escape(text))
            damaged = escaped if escaped != text else text[: int(len(text) * CUT_AT)]
            frames[at] = changed(frames[at], text=damaged)
            self.say(feed, listener, seq=seq_of(frames[at]), manifest=reachable(listener))
        return frames


@defect(
    "Z10",
    "ghost-push",
    breaks="A message appears that nobody wrote.",
    opportunity="one message for one listener",
    caught_by=("I8",),
    high=0.005,
    one=0.0002,
    through=per_listener,
)
class GhostPush(PerListener):
    """Defect that pushes a greeting that no user has sent, after a message and under its sequence number.

    Opportunity: one message for one listener. A firing is manifest at once if the listener's socket is open.
    """

    def change(self, feed: Feed, listener: Listener, frames: list[bytes]) -> list[bytes]:
        """Implement `PerListener.change`: insert the greeting after the messages for which the defect fires."""
        for at in reversed(list(self.chance.among(len(frames)))):
            ghost = changed(frames[at], id="template", text="Welcome! This conversation is quiet so far.")
            frames.insert(at + 1, ghost)
            self.say(feed, listener, seq=seq_of(ghost), manifest=reachable(listener))
        return frames


@defect(
    "Z34",
    "starve-user",
    breaks="I get everything many seconds later than all the others.",
    opportunity="one user",
    caught_by=("I25", "I26"),
    high=0.2,
    one=0.05,
    also=("rate_limits",),
    through=per_listener,
)
class StarveUser(PerListener):
    """Defect that delays all pushes to some users by STARVED_S seconds, in order.

    Opportunity: one user. A firing is manifest when the first late push is sent: before, the connection may be lost,
    and with it the waiting messages.
    """

    def __init__(self, inner: Pusher, chance: Chance) -> None:
        """Wrap `inner`. The firing of each starved user is stored by user."""
        super().__init__(inner, chance)
        self._firings: dict[str, int] = {}
        self._shown: set[int] = set()

    def change(self, feed: Feed, listener: Listener, frames: list[bytes]) -> list[bytes]:
        """Implement `PerListener.change`: delay the messages of a user for whom the defect has fired."""
        user = listener.user_id
        if user not in self._firings:
            self._firings[user] = self.say(feed, listener) if self.chance.fires() else 0
        if not self._firings[user] or not frames:
            return frames
        # One delay for all of them keeps them in order.
        asyncio.get_running_loop().call_later(STARVED_S, self._push, listener, b"".join(frames))
        return []

    def _push(self, listener: Listener, data: bytes) -> None:
        firing = self._firings[listener.user_id]
        if reachable(listener) and firing not in self._shown:
            self._shown.add(firing)
            self.chance.manifest(firing)
        listener.push(data)
