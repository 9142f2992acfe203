"""Changes that a user or an administrator may make to an account. A change that is not allowed raises ApiError 400."""

from __future__ import annotations

from earwitness.harness.reference.answers import ApiError

NAME_CHARS_MAX = 100


def own_changes(body: dict[str, object]) -> dict[str, object]:
    """Return the checked changes that a user makes to the own account: only the name.

    The e-mail address comes from the identity provider. Raises ApiError 400 for another field or an invalid name.
    """
    if set(body) != {"name"}:
        raise ApiError(400, "invalid_request", "Only name can be changed, and it must be given.")
    return {"name": _name(body["name"])}


def admin_changes(body: dict[str, object]) -> dict[str, object]:
    """Return the checked changes that an administrator makes: one or more of name, is_active and permissions.

    Raises ApiError 400 for another field or an invalid value.
    """
    if not body or not set(body) <= {"name", "is_active", "permissions"}:
        raise ApiError(400, "invalid_request", "Give one or more of name, is_active, permissions, and nothing else.")
    changes = dict(body)
    if "name" in body:
        changes["name"] = _name(body["name"])
    if "is_active" in body and not isinstance(body["is_active"], bool):
        raise ApiError(400, "invalid_request", "is_active must be true or false.")
    if "permissions" in body:
        permissions = body["permissions"]
        if not isinstance(permissions, list) or not all(isinstance(p, str) and p for p in permissions):
            raise ApiError(400, "invalid_request", "permissions must be a list of non-empty strings.")
        changes["permissions"] = sorted(set(permissions))
    return changes


def _name(value: object) -> str:
    name = value.strip() if isinstance(value, str) else ""
    if not name or len(name) > NAME_CHARS_MAX or not name.isprintable():
        raise ApiError(400, "invalid_request", f"name must be 1 to {NAME_CHARS_MAX} printable characters.")
    return name
