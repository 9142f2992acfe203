from __future__ import annotations

from targets import losing_chat, other_chat, person, room, tired_chat

__all__ = ["losing_chat", "other_chat", "person", "room", "tired_chat"]  # fixtures
