"""Who takes part: planned by the tester, never asked of the server (H6)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Roster:
    """Users, their devices and the members of every conversation.

    user_of        user number of each client (device); client numbers are its indexes.
    conversations  members of each conversation as user numbers; conversation numbers are its indexes.
    user_names, conversation_names: for words only; may be empty.
    """

    user_of: Sequence[int]
    conversations: Sequence[Sequence[int]]
    user_names: Sequence[str] = ()
    conversation_names: Sequence[str] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)

    def user_name(self, user: int) -> str:
        return self.user_names[user] if user < len(self.user_names) else f"user {user}"

    def conversation_name(self, conv: int) -> str:
        return self.conversation_names[conv] if conv < len(self.conversation_names) else f"conversation {conv}"

    def to_dict(self) -> dict[str, Any]:
        return {
            "user_of": [int(u) for u in self.user_of],
            "conversations": [[int(u) for u in members] for members in self.conversations],
            "user_names": list(self.user_names),
            "conversation_names": list(self.conversation_names),
            "extra": dict(self.extra),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Roster:
        return cls(
            user_of=tuple(data["user_of"]),
            conversations=tuple(tuple(members) for members in data["conversations"]),
            user_names=tuple(data.get("user_names", ())),
            conversation_names=tuple(data.get("conversation_names", ())),
            extra=dict(data.get("extra", {})),
        )
