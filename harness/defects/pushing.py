"""Base classes of defects that change pushes: for a whole conversation, or for single listeners."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from earwitness.harness.defects.chance import Chance
from earwitness.harness.reference.backend.app import Backend
from earwitness.harness.reference.backend.feed import Feed, Listener, Pusher
from earwitness.harness.reference.backend.session import Session
from earwitness.harness.reference.backend.wire import content, frame

CLEAN_CLOSE = 1000


def reachable(listener: Listener) -> bool:
    """Return whether the listener is a session whose socket is open."""
    return isinstance(listener, Session) and listener.open


def on_end(listener: Listener, tell: Callable[[bool], None]) -> None:
    """Register `tell` to be called when the listener's connection has ended.

    Its argument is True if the client closed the connection normally (code 1000). No-op for a listener that is no
    session.
    """
    if isinstance(listener, Session):
        session = listener
        session.at_end.append(lambda: tell(session.ws.close_code == CLEAN_CLOSE))


def seq_of(data: bytes) -> int:
    """Return the sequence number that a frame contains."""
    return int(content(data)["seq"])


def changed(data: bytes, **fields: Any) -> bytes:
    """Return the same frame with other values for `fields`."""
    return frame({**content(data), **fields})


class PerFeed(Pusher):
    """Base class of the defects of a whole conversation on this replica.

    Subclasses implement `push`, and call that of `inner` to push.
    """

    def __init__(self, inner: Pusher, chance: Chance, backend: Backend) -> None:
        """Wrap the pusher `inner` of the hub of `backend`."""
        self.inner, self.chance, self.backend = inner, chance, backend


class PerListener(Pusher):
    """Base class of the defects that change the messages for single listeners. Subclasses implement `change`.

    Opportunity: one message for one listener.
    """

    def __init__(self, inner: Pusher, chance: Chance) -> None:
        """Wrap the pusher `inner`."""
        self.inner, self.chance = inner, chance

    def push(self, feed: Feed, frames: list[bytes]) -> None:
        """Implement `Pusher.push`: push to each listener the messages that `altered` returns."""
        for listener in list(feed.listeners):
            altered = self.altered(feed, listener, frames)
            if altered:
                listener.push(b"".join(altered))

    def altered(self, feed: Feed, listener: Listener, frames: list[bytes]) -> list[bytes]:
        """Return the frames that a listener gets in place of `frames`; defects in `inner` change `frames` first."""
        if isinstance(self.inner, PerListener):
            frames = self.inner.altered(feed, listener, frames)
        return self.change(feed, listener, list(frames))

    def change(self, feed: Feed, listener: Listener, frames: list[bytes]) -> list[bytes]:
        """Return the frames that a listener gets. Subclasses implement it; they may change the list `frames`.

        Each element of `frames` is the frame of one message of the conversation `feed`.
        """
        raise NotImplementedError

    def say(self, feed: Feed, listener: Listener, *, manifest: bool = False, **what: Any) -> int:
        """Write the line of a firing, with the conversation, the user and `what`; return its number (`Chance.say`)."""
        return self.chance.say(manifest=manifest, conversation=feed.key, user=listener.user_id, **what)


def per_listener(kind: Callable[[Pusher, Chance], PerListener]) -> Callable[[Backend, Chance], None]:
    """Return the function that installs `kind` around other defects of single listeners.

    Defects of whole conversations (`PerFeed`) stay outside, so that they change the frames first.
    """

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
    """Return the function that installs `kind` around the pusher that the hub has when the function is called."""

    def install(backend: Backend, chance: Chance) -> None:
        backend.hub.pusher = kind(backend.hub.pusher, chance, backend)

    return install
