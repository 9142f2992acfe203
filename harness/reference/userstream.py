"""Redis stream `users`, by which accounts travel from auth to backend.

Each change has an entry, in order for each user, which may be repeated: apply an entry only if its version is newer.
Fields (all text): id (UUID), provider, subject, email, name, is_active (`true` or `false`), permissions (JSON list of
strings), version (whole number, grows by one with each change of the user).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

STREAM = "users"


def to_entry(user: Mapping[str, Any]) -> dict[Any, Any]:
    """Return the fields of a stream entry for a user. `user`: the fields by name, with their Python types."""
    return {
        "id": str(user["id"]),
        "provider": user["provider"],
        "subject": user["subject"],
        "email": user["email"],
        "name": user["name"],
        "is_active": "true" if user["is_active"] else "false",
        "permissions": orjson.dumps(list(user["permissions"])),
        "version": str(user["version"]),
    }
