"""Defects of whole conversations on one replica: pushed to the wrong users, or under the wrong number."""

from __future__ import annotations

from earwitness.harness.defects.declared import defect
from earwitness.harness.defects.pushing import PerFeed, changed, per_feed, reachable, seq_of
from earwitness.harness.reference.backend.app import Backend
from earwitness.harness.reference.backend.feed import Feed
from earwitness.harness.reference.backend.session import Session


def strangers(backend: Backend, key: str) -> list[Session]:
    """Return the sessions with an open socket here whose users are no members of the conversation `key`."""
    return [one for one in backend.registry.sessions if key not in one.feeds and one.welcomed.is_set() and one.open]


@defect(
    "Z14",
    "broadcast-to-all",
    breaks="I get messages of a conversation that I was never in.",
    opportunity="one message",
    caught_by=("I12",),
    high=0.03,
    one=0.001,
    through=per_feed,
)
class BroadcastToAll(PerFeed):
    """Defect that pushes a message to all users connected to this replica, members or not.

    Opportunity: one message. It fires, and the firing is manifest at once, if a user who is no member is connected.
    """

    def push(self, feed: Feed, frames: list[bytes]) -> None:
        """Implement `Pusher.push`: also push to the users that `told` returns, if the defect fires."""
        self.inner.push(feed, frames)
        for at in self.chance.among(len(frames)):
            told = self.told(feed)
            for stranger in told:
                stranger.push(frames[at])
            if told:
                users = [stranger.user_id for stranger in told]
                self.chance.say(conversation=feed.key, users=users, seq=seq_of(frames[at]), manifest=True)

    def told(self, feed: Feed) -> list[Session]:
        """Return the sockets that wrongly get a message of `feed`: those of all strangers on this replica."""
        return strangers(self.backend, feed.key)


@defect(
    "Z14b",
    "leak",
    breaks="One stranger got a message of our conversation.",
    opportunity="one message",
    caught_by=("I12",),
    high=0.03,
    one=0.001,
    through=per_feed,
)
class LeakToOne(BroadcastToAll):
    """Defect that also pushes a message to one connected user who is no member.

    Opportunity: one message. It fires, and the firing is manifest at once, if such a user is connected.
    """

    def told(self, feed: Feed) -> list[Session]:
        """Implement `BroadcastToAll.told`: return one socket of a stranger, drawn at random; [] if there is none."""
        found = super().told(feed)
        return [self.chance.random.choice(found)] if found else []


@defect(
    "Z15",
    "rooms-collide",
    breaks="A message of another company shows up in our conversation.",
    opportunity="one message",
    caught_by=("I12",),
    high=0.03,
    one=0.001,
    through=per_feed,
)
class RoomsCollide(PerFeed):
    """Defect that pushes a message in another conversation too, as if both keys had the same slot.

    Opportunity: one message. It fires if another conversation has listeners here. A firing is manifest at once if one
    of them is connected.
    """

    def push(self, feed: Feed, frames: list[bytes]) -> None:
        """Implement `Pusher.push`: also push to the listeners of another conversation if the defect fires."""
        self.inner.push(feed, frames)
        for at in self.chance.among(len(frames)):
            others = [other for other in self.backend.hub.feeds.values() if other is not feed and other.listeners]
            if not others:
                continue
            other = self.chance.random.choice(others)
            # With a used number, so that the order of the other conversation has no gap.
            frame = changed(frames[at], conversation=other.key, seq=other.head)
            told = [listener for listener in other.listeners if reachable(listener)]
            for listener in told:
                listener.push(frame)
            self.chance.say(conversation=feed.key, seq=seq_of(frames[at]), appears_in=other.key, manifest=bool(told))


@defect(
    "Z3",
    "own-numbers",
    service="backend-2",
    breaks="My colleague and I look at the same conversation and see two messages in different orders.",
    opportunity="two messages of a conversation that were stored together",
    caught_by=("I2",),
    high=0.5,
    one=0.02,
    through=per_feed,
)
class OwnNumbers(PerFeed):
    """Defect that swaps two neighbouring messages on this replica and numbers them so that its listeners see no gap.

    Opportunity: two messages that were stored together. A firing is manifest at once if a listener is connected.
    """

    def push(self, feed: Feed, frames: list[bytes]) -> None:
        """Implement `Pusher.push`: swap the pairs of messages for which the defect fires, and their numbers."""
        frames = list(frames)
        for at in self.chance.among(len(frames) // 2):
            first, second = frames[2 * at], frames[2 * at + 1]
            seq, next_seq = seq_of(first), seq_of(second)
            frames[2 * at], frames[2 * at + 1] = changed(second, seq=seq), changed(first, seq=next_seq)
            told = any(reachable(listener) for listener in feed.listeners)
            self.chance.say(conversation=feed.key, seq=seq, swapped_with=next_seq, manifest=told)
        self.inner.push(feed, frames)
