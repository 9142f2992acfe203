"""Defect of memberships that outlive a removal."""

from __future__ import annotations

from earwitness.harness.defects.chance import Chance
from earwitness.harness.defects.declared import defect
from earwitness.harness.defects.pushes import Subscription
from earwitness.harness.defects.pushing import PerListener, on_end, per_listener, reachable
from earwitness.harness.reference.backend.app import Backend
from earwitness.harness.reference.backend.feed import Feed, Listener, Pusher
from earwitness.harness.reference.backend.session import Session


@defect(
    "Z16",
    "cached-membership",
    breaks="I was put out of the conversation, and still get everything that is said there.",
    opportunity="one removal of a member who is connected",
    caught_by=("I13",),
    high=1.0,
    one=0.2,
    needs="members who are removed",
)
class CachedMembership:
    """Defect that keeps pushing a conversation to a removed member, as if this replica cached the membership.

    Opportunity: one removal of a member who is connected to this replica. A firing is manifest with the next message
    that is pushed to that member.
    """

    def __init__(self, backend: Backend, chance: Chance) -> None:
        """Replace `Memberships.part`, and install a pusher that detects a message to a removed member."""
        self._chance, self._part = chance, backend.memberships.part
        self._cached: set[Subscription] = set()
        self._unseen: dict[Subscription, int] = {}
        vars(backend.memberships)["part"] = self.part
        per_listener(lambda inner, chance: Watch(inner, chance, self._unseen))(backend, chance)

    def part(self, session: Session, feed: Feed) -> None:
        """Override `Memberships.part`: keep the subscription if the defect fires."""
        subscription = (feed.id, session)
        if subscription in self._cached:
            return
        if not self._chance.fires():
            self._part(session, feed)
            return
        self._cached.add(subscription)
        self._unseen[subscription] = self._chance.say(conversation=feed.key, user=session.user_id)
        on_end(session, lambda _: self._forget(subscription))

    def _forget(self, subscription: Subscription) -> None:
        self._cached.discard(subscription)
        self._unseen.pop(subscription, None)


class Watch(PerListener):
    """Pusher that changes no messages, and writes the manifest line when one reaches a subscription in `unseen`."""

    def __init__(self, inner: Pusher, chance: Chance, unseen: dict[Subscription, int]) -> None:
        """Wrap `inner`. `unseen`: subscription that should have ended -> number of its firing."""
        super().__init__(inner, chance)
        self._unseen = unseen

    def change(self, feed: Feed, listener: Listener, frames: list[bytes]) -> list[bytes]:
        """Implement `PerListener.change`: return the messages unchanged, and write the manifest line if one is due."""
        if self._unseen and frames and reachable(listener):
            firing = self._unseen.pop((feed.id, listener), None)
            if firing is not None:
                self.chance.manifest(firing)
        return frames
