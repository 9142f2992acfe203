"""Creation of conversations and invitations, correct and cheap even if all members of a large room do it at once."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

from earwitness.harness.reference.answers import ApiError
from earwitness.harness.reference.backend.store import Conversation, Rooms, User

Holders: TypeAlias = dict[str, str | None]

KNOWN_MAX = 10_000
TITLE_MAX = 500


class Invitations:
    """Handler of PUT of a conversation.

    `announce(conversation, e-mails)` publishes new members to all replicas. A title never changes, and members once
    stored stay unless a member is removed. So a repeated PUT takes one short query and a look-up in `_known`.
    """

    def __init__(self, rooms: Rooms, announce: Callable[[Conversation, Sequence[str]], None]) -> None:
        """Start without known conversations. Requests for the same conversation are handled one after the other."""
        self._rooms, self._announce = rooms, announce
        self._known: OrderedDict[str, tuple[Conversation, Holders]] = OrderedDict()
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def put(self, user: User, key: str, title: str, members: Iterable[str]) -> tuple[bool, Conversation]:
        """Create a conversation or add members; return (whether it was created, the conversation).

        `members`: e-mail addresses; `title`: used only if it is created. Raises ApiError 403 if the caller is not among
        its members.
        """
        emails = frozenset(member.lower() for member in members)
        settled = await self._settled(user, key, emails)
        if settled is not None:
            return False, settled
        turn = self._turns[key]
        try:
            # One at a time: of a hundred members who open one room, ninety-nine then find it in `_known`.
            async with turn:
                return await self._put(user, key, title[:TITLE_MAX], emails)
        finally:
            if not turn.locked():
                self._turns.pop(key, None)

    async def _put(self, user: User, key: str, title: str, emails: frozenset[str]) -> tuple[bool, Conversation]:
        settled = await self._settled(user, key, emails)
        if settled is not None:
            return False, settled
        made = False
        found = await self._rooms.find(key)
        if found is None:
            if user.email.lower() not in emails:
                raise ApiError(403, "not_a_member", "You must be among the members of a conversation that you make.")
            made = await self._rooms.create(key, title, sorted(emails))
            found = await self._rooms.find(key)
        if found is None:
            raise RuntimeError(f"conversation {key!r} was made and is not there")
        conversation, members = found
        if not is_member(user, members):
            raise ApiError(403, "not_a_member", "You are not a member of this conversation.")
        new = sorted(emails - members.keys())
        if new:
            await self._rooms.add_members(conversation.id, new)
        if made or new:
            self._announce(conversation, sorted(emails) if made else new)
        self._remember(key, conversation, {email: members.get(email) for email in emails | members.keys()})
        return made, conversation

    async def _settled(self, user: User, key: str, emails: frozenset[str]) -> Conversation | None:
        """Return the conversation if the caller and everyone in `emails` are known to be its members, else None."""
        known = self._known.get(key)
        if known is None:
            return None
        conversation, holders = known
        if not emails <= holders.keys() or not is_member(user, holders):
            return None
        return conversation if await self._rooms.removals(key) == conversation.removals else None

    def _remember(self, key: str, conversation: Conversation, holders: Holders) -> None:
        self._known[key] = (conversation, holders)
        self._known.move_to_end(key)
        while len(self._known) > KNOWN_MAX:
            self._known.popitem(last=False)


def is_member(user: User, holders: Holders) -> bool:
    """Return whether the user is a member. `holders`: e-mail -> user id, None while the invitation is not claimed.

    An invitation belongs to the first account that claimed it; an unclaimed one to the account with its e-mail.
    """
    return user.id in holders.values() or holders.get(user.email.lower(), "nobody") is None
