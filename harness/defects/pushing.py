"""Places where pushes can be altered: for a whole conversation, or for single listeners."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from earwitness.harness.defects.chance import Chance
from earwitness.harness.reference.backend.app import Backend
from earwitness.harness.reference.backend.feed import Feed, Listener, Pusher
from earwitness.harness.reference.backend.session import Session

CLEAN_CLOSE = 1000


def reachable(listener: Listener) -> bool:
    return isinstance(listener, Session) and listener.open


def on_end(listener: Listener, tell: Callable[[bool], None]) -> None:
    """Call when the listener's connection is gone: True if the client had closed it in peace."""
    if isinstance(listener, Session):
        session = listener
        session.at_end.append(lambda: tell(session.ws.close_code == CLEAN_CLOSE))


class PerFeed(Pusher):
    """Does something for a whole conversation on this replica, and lets `inner` push."""

    def __init__(self, inner: Pusher, chance: Chance, backend: Backend) -> None:
        self.inner, self.chance, self.backend = inner, chance, backend


class PerListener(Pusher):
    """Alters what single listeners get. An opportunity is one message for one listener."""

    def __init__(self, inner: Pusher, chance: Chance) -> None:
        self.inner, self.chance = inner, chance

    def push(self, feed: Feed, frames: list[bytes]) -> None:
        for listener in list(feed.listeners):
            altered = self.altered(feed, listener, frames)
            if altered:
                listener.push(b"".join(altered))

    def altered(self, feed: Feed, listener: Listener, frames: list[bytes]) -> list[bytes]:
        if isinstance(self.inner, PerListener):
            frames = self.inner.altered(feed, listener, frames)
        return self.change(feed, listener, list(frames))

    def change(self, feed: Feed, listener: Listener, frames: list[bytes]) -> list[bytes]:
        raise NotImplementedError

    def say(self, feed: Feed, listener: Listener, *, manifest: bool = False, **what: Any) -> int:
        return self.chance.say(manifest=manifest, conversation=feed.key, user=listener.user_id, **what)


def per_listener(kind: Callable[[Pusher, Chance], PerListener]) -> Callable[[Backend, Chance], None]:
    """Goes inside of whatever works on whole conversations."""

    def install(backend: Backend, chance: Chance) -> None:
        outer, inner = None, backend.hub.pusher
        while isinstance(inner, PerFeed):
            outer, inner = inner, inner.inner
        if outer is None:
            backend.hub.pusher = kind(inner, chance)
        else:
            outer.inner = kind(inner, chance)

    return install


def per_feed(kind: type[PerFeed]) -> Callable[[Backend, Chance], None]:
    def install(backend: Backend, chance: Chance) -> None:
        backend.hub.pusher = kind(backend.hub.pusher, chance, backend)

    return install
