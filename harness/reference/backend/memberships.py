"""Removal of members: no replica delivers to a removed member what is sent after the confirmed removal.

Each removal is numbered in the conversation's row. A message carries the number of the last removal when its sender's
membership was looked up. A replica that does not know that number yet reads the members from the database before it
delivers. News of a removal starts that earlier; it may be lost.
"""

from __future__ import annotations

from collections.abc import Callable

from earwitness.harness.reference.backend.feed import Feed
from earwitness.harness.reference.backend.hub import Hub
from earwitness.harness.reference.backend.registry import Registry
from earwitness.harness.reference.backend.session import Session
from earwitness.harness.reference.backend.store import Conversation, Rooms
from earwitness.harness.reference.backend.wire import left_frame


class Memberships:
    """Removals of members, applied on all replicas.

    `announce(conversation id, removals)` publishes a removal to all replicas; `join(session, conversation id, key,
    removals)` starts a subscription in the background.
    """

    def __init__(
        self, rooms: Rooms, registry: Registry, announce: Callable[[int, int], None],
        join: Callable[[Session, int, str, int], None],
    ) -> None:  # fmt: skip
        """Keep the parts. `hub` is set later, because the hub needs this object."""
        self._rooms, self._registry, self._announce, self._join = rooms, registry, announce, join
        self.hub: Hub | None = None

    async def remove(self, conversation: Conversation, email: str) -> bool:
        """Remove a member; return whether there was such a member.

        When it returns, no replica delivers later messages to the member.
        """
        removals = await self._rooms.remove_member(conversation.id, email)
        if removals is None:
            return False
        self._announce(conversation.id, removals)
        await self.removed(conversation.id, removals)
        return True

    async def removed(self, conversation_id: int, removals: int) -> None:
        """Apply a removal that this or another replica has stored to the listeners here. `removals`: its number."""
        feed = self.hub.feeds.get(conversation_id) if self.hub is not None else None
        if feed is not None and feed.removals < removals:
            await self.verify(feed)

    async def verify(self, feed: Feed) -> None:
        """Remove listeners that are no longer members.

        A listener that was removed and invited again gets a new subscription.
        """
        removals, members = await self._rooms.memberships_now(feed.id)
        by_user = {one.user_id: one for one in members if one.user_id is not None}
        by_email = {one.email: one for one in members if one.user_id is None}
        for session in list(self._registry.sessions):
            if session.feeds.get(feed.key) is not feed:
                continue
            one = by_user.get(session.user_id) or by_email.get(session.user.email.lower())
            if one is not None and one.since <= session.member_at.get(feed.key, 0):
                session.member_at[feed.key] = removals
                continue
            self.part(session, feed)
            if one is not None:
                self._join(session, feed.id, feed.key, removals)
        feed.removals = max(feed.removals, removals)

    def part(self, session: Session, feed: Feed) -> None:
        """End a session's subscription to a conversation, and send the frame `left`."""
        del session.feeds[feed.key]
        if session.welcomed.is_set():
            session.push(left_frame(feed.key))
        if self.hub is not None:
            self.hub.leave(feed, session)
