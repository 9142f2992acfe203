"""Load and concurrency tester for chat platforms: `from earwitness import ChatUser, story`.

The folders `checks`, `harness` and `locustfiles` of the project are linked here, so that an installed copy occupies one
import name and does not collide with a user's own folders of these names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from earwitness.checks.own import History, check
    from earwitness.harness.load import (
        Accounts,
        Asking,
        Attacks,
        Behaviour,
        ChatUser,
        Cutting,
        Devices,
        Flooding,
        Leaving,
        Racing,
        Reading,
        Removing,
        Returning,
        Story,
        Tokens,
        Unusual,
        Visiting,
        story,
    )

__all__ = [
    "Accounts",
    "Asking",
    "Attacks",
    "Behaviour",
    "ChatUser",
    "Cutting",
    "Devices",
    "Flooding",
    "History",
    "Leaving",
    "Racing",
    "Reading",
    "Removing",
    "Returning",
    "Story",
    "Tokens",
    "Unusual",
    "Visiting",
    "check",
    "story",
]
_OF_CHECKS = ("History", "check")


def __getattr__(name: str) -> Any:
    """Import a public name when it is used: most processes of a run need neither Locust nor gevent."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name in _OF_CHECKS:  # files of own checks are read by the judge, which has no use for Locust
        from earwitness.checks import own

        return getattr(own, name)
    from earwitness.harness import load

    return getattr(load, name)
