"""Resume of a session: a client gets the missed messages from the database, then new ones, without gap or repeat."""

from __future__ import annotations

from collections.abc import Mapping

from earwitness.harness.reference.backend.feed import Feed, Numbered
from earwitness.harness.reference.backend.hub import FILL_PAGE, Hub, ReadFrames
from earwitness.harness.reference.backend.session import TRY_AGAIN_LATER, Session
from earwitness.harness.reference.backend.settings import BackendSettings
from earwitness.harness.reference.backend.wire import joined_frame, left_frame


class Resumer:
    """Handler of `resume` frames, which replays the messages that a client has missed.

    `read_frames(feed, first, last)` returns frames from the database, at most FILL_PAGE.
    """

    def __init__(self, hub: Hub, read_frames: ReadFrames, settings: BackendSettings) -> None:
        """Keep `hub`, whose feeds are resumed, and `read_frames`, which defects may replace."""
        self._hub, self._settings = hub, settings
        self.read_frames = read_frames

    async def resume(self, session: Session, seen: Mapping[str, object]) -> None:
        """Send a `joined` frame for each conversation, and replay what was missed; refuse a second resume.

        `seen`: conversation -> last sequence number that the client has received. Conversations that it does not name
        start from now on; for those of which the user is no member, `left` is sent.
        """
        if not session.resuming:
            session.refuse(None, 409, "Connect with ?resume=1 to resume, and do it once.", of="resume")
            return
        session.resuming = False
        for key in seen.keys() - session.feeds.keys():
            session.push(left_frame(key))
        for key, feed in list(session.feeds.items()):
            if key not in session.feeds:
                continue  # removed while earlier conversations were replayed
            last = seen.get(key)
            if type(last) is int and last >= 0:
                await self._go_on(session, feed, last)
            else:
                session.push(joined_frame(key, feed.head, None))
                feed.listeners[session] = None
            if session.closing is not None:
                return

    async def _go_on(self, session: Session, feed: Feed, last: int) -> None:
        await self._hub.catch_up(feed, last)
        head = feed.head
        if not session.hears(feed):
            return
        if last > head or head - last > self._settings.resume_limit:
            session.push(joined_frame(feed.key, head, False))
            feed.listeners[session] = None
            return
        session.push(joined_frame(feed.key, head, True))
        if last == head:
            feed.listeners[session] = None
            return
        backlog: list[bytes] = []
        feed.replaying[session] = backlog
        try:
            if not await self._replay(session, feed, last, head, backlog):
                session.close(TRY_AGAIN_LATER, "too slow: resume when you can keep up")
                return
        finally:
            feed.replaying.pop(session, None)
        if not session.hears(feed):
            return
        for data in backlog:
            session.push(data)
        feed.listeners[session] = None

    async def _replay(self, session: Session, feed: Feed, last: int, head: int, backlog: list[bytes]) -> bool:
        """Send the messages after `last`; False if the client is so slow that the live backlog outgrows its buffer."""
        while last < head and session.closing is None:
            frames = await self.read_frames(feed, last + 1, head)
            if not session.hears(feed):
                return True
            for _, data in frames:
                session.push(data)
            await session.drain()
            if sum(map(len, backlog)) > self._settings.outbound_bytes:
                return False
            last = head if len(frames) < FILL_PAGE else last_number(frames)
        return True


def last_number(frames: list[Numbered]) -> int:
    """Return the sequence number of the last of these numbered frames."""
    return frames[-1][0]
