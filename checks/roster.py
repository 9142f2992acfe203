"""Roster of a run: its users, their devices, and the members of each conversation. H6 judges where it comes from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Origin(StrEnum):
    """Source of a roster. Only the first three were known before the run; LATE and JOINED may follow the platform."""

    PLAN = "plan"  # made from seed and numbers, before the run began
    TARGET = "target"  # accounts or rooms that the owner of the platform wrote into the target's file
    STATED = "stated"  # stated by the recorder of an imported history, before its first record
    LATE = "stated-late"  # stated there after records had been written
    JOINED = "joined"  # derived from the joins on record: what the platform let happen


@dataclass(frozen=True, slots=True, kw_only=True)
class Roster:
    """Users, their devices and the members of every conversation.

    user_of        user number of each client (device); client numbers are its indexes.
    conversations  members of each conversation as user numbers; conversation numbers are its indexes.
    user_names, conversation_names: used in texts only; may be empty.
    extra          further facts for texts (names of forgeries), not part of `digest`.
    """

    user_of: Sequence[int]
    conversations: Sequence[Sequence[int]]
    user_names: Sequence[str] = ()
    conversation_names: Sequence[str] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)

    def user_name(self, user: int) -> str:
        """Return the name of a user, or "user N" without one."""
        return self.user_names[user] if user < len(self.user_names) else f"user {user}"

    def conversation_name(self, conv: int) -> str:
        """Return the name of a conversation, or "conversation N" without one."""
        return self.conversation_names[conv] if conv < len(self.conversation_names) else f"conversation {conv}"

    def to_dict(self) -> dict[str, Any]:
        """Return the roster as plain lists and dicts for JSON, as `from_dict` reads it."""
        return {
            "user_of": [int(u) for u in self.user_of],
            "conversations": [[int(u) for u in members] for members in self.conversations],
            "user_names": list(self.user_names),
            "conversation_names": list(self.conversation_names),
            "extra": dict(self.extra),
        }

    def digest(self) -> str:
        """Return the SHA-256 of all fields except `extra`; equal digests mean the same roster."""
        told = self.to_dict()
        del told["extra"]
        return hashlib.sha256(json.dumps(told, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Roster:
        """Return the roster of a dict that `to_dict` returned.

        Raises KeyError, TypeError or ValueError if `data` is no roster.
        """
        return cls(
            user_of=_numbers(data["user_of"]),
            conversations=tuple(_numbers(members) for members in data["conversations"]),
            user_names=_names(data.get("user_names", ())),
            conversation_names=_names(data.get("conversation_names", ())),
            extra=dict(data.get("extra", {})),
        )


def _numbers(values: Sequence[int]) -> tuple[int, ...]:
    """Return the values as a tuple of user numbers.

    Raises ValueError if a value is no integer from 0 to 2³¹ - 1: without this check it would fail much later.
    """
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 31:
            raise ValueError(f"{str(value)[:40]!r} is no user number")
    return tuple(values)


def _names(values: Sequence[str]) -> tuple[str, ...]:
    for value in values:
        if not isinstance(value, str):
            raise ValueError(f"{str(value)[:40]!r} is no name")
    return tuple(values)
