"""One open WebSocket: its subscriptions, and its outgoing frames, which are written together and limited in bytes."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable
from dataclasses import replace

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from earwitness.harness.reference.backend.commit import Item
from earwitness.harness.reference.backend.feed import Feed
from earwitness.harness.reference.backend.settings import BackendSettings
from earwitness.harness.reference.backend.store import User
from earwitness.harness.reference.backend.wire import ack_frame, frame, nack_frame
from earwitness.harness.reference.limits import Decision
from earwitness.harness.reference.tokens import Claims

UNAUTHORIZED, FORBIDDEN, ABUSE = 4401, 4403, 4429
UNKNOWN_OUTCOME, TRY_AGAIN_LATER = 1011, 1013
log = logging.getLogger(__name__)


class Session:
    """Open WebSocket of a user; implements `commit.Answer` and `feed.Listener`.

    Frames pushed in one turn of the event loop are sent in one write. With `resuming` it listens to no conversation
    before the client has sent its `resume` frame.
    """

    def __init__(
        self, ws: web.WebSocketResponse, user: User, claims: Claims, settings: BackendSettings, resuming: bool
    ) -> None:
        """Keep the accepted socket of `user`, who presented `claims`; requires a running event loop.

        `resuming`: the client has announced a `resume` frame.
        """
        self.ws, self.user, self.claims = ws, user, claims
        self.user_id = user.id
        self.id = secrets.token_hex(8)
        self.feeds: dict[str, Feed] = {}
        self.member_at: dict[str, int] = {}  # by key: number of removals up to which the membership is known
        self.marks: dict[str, int] = {}  # by key: the read mark that this device knows
        self.resuming = resuming
        self.welcomed = asyncio.Event()
        self.closing: asyncio.Task[None] | None = None
        self.at_end: list[Callable[[], None]] = []
        self._settings = settings
        self._outbox: list[bytes] = []
        self._transport: asyncio.Transport | None = None
        self._writer: AbstractStreamWriter | None = None
        self._loop = asyncio.get_running_loop()
        self._refusals: list[float] = []

    def attach(self, transport: asyncio.Transport, writer: AbstractStreamWriter) -> None:
        """Set the transport and the writer of the socket. Call it when the upgrade is done; nothing is sent before."""
        self._transport, self._writer = transport, writer

    def welcome(self, name: str) -> None:
        """Send the welcome frame, and subscribe to all feeds in the same turn of the event loop.

        So nothing is pushed before the frame, and nothing is missed after it. `name`: of this replica.
        """
        data: dict[str, object] = {"type": "welcome", "user": self.user_id, "name": self.user.name, "replica": name}
        data |= {"session": self.id, "conversations": {key: feed.head for key, feed in self.feeds.items()}}
        data["read"] = self.marks
        if self.resuming:
            data["resume"] = True
        self.push(frame(data))
        if not self.resuming:
            for feed in self.feeds.values():
                feed.listeners[self] = None
        self.welcomed.set()

    def learn(self, user: User) -> None:
        """Update the account and send it to the client.

        The e-mail address is not updated, because the registry finds the socket by this address.
        """
        self.user = replace(user, email=self.user.email)
        if self.welcomed.is_set():  # else the welcome frame will contain it
            self.push(frame({"type": "user", "user": {**user.public(), "is_active": user.is_active}}))

    @property
    def open(self) -> bool:
        """Return whether frames that are pushed now will be sent."""
        return self.closing is None and self._transport is not None and not self._transport.is_closing()

    def hears(self, feed: Feed) -> bool:
        """Return whether the session is still subscribed to this feed."""
        return self.feeds.get(feed.key) is feed

    def push(self, data: bytes) -> None:
        """Queue the bytes of one or more frames for the next write."""
        if not self._outbox:
            self._loop.call_soon(self._flush)
        self._outbox.append(data)

    def _flush(self) -> None:
        outbox, self._outbox = self._outbox, []
        transport = self._transport
        if not outbox or transport is None or not self.open:
            return
        # Only earlier unsent bytes count: a large batch must not close a client that keeps up.
        if transport.get_write_buffer_size() > self._settings.outbound_bytes:
            self.close(TRY_AGAIN_LATER, "too slow: resume when you can keep up")
            return
        transport.write(outbox[0] if len(outbox) == 1 else b"".join(outbox))

    async def drain(self) -> None:
        """Wait until the client has received most of the written bytes."""
        self._flush()
        if self._writer is not None:
            await self._writer.drain()

    def close(self, code: int, reason: str) -> None:
        """Start closing the socket with `code` and `reason`.

        Later calls change nothing; nothing is pushed after the first.
        """
        if self.closing is None:
            if code != TRY_AGAIN_LATER:
                self._flush()
            if self.closing is None:
                self.closing = asyncio.create_task(self._close(code, reason))

    async def _close(self, code: int, reason: str) -> None:
        await self.ws.close(code=code, message=reason.encode())
        if self._transport is not None and self._transport.get_write_buffer_size() > 0:
            # Else a client that does not read would keep the socket open forever.
            self._transport.abort()

    def ended(self) -> None:
        """Call the functions in `at_end`, once. The gateway calls this when the connection is gone."""
        self.welcomed.set()
        for tell in self.at_end:
            tell()
        self.at_end.clear()

    # Answers to messages of this client (commit.Answer)

    def stored(self, item: Item, seq: int, decision: Decision | None) -> None:
        """Implement `Answer.stored`: send an ack with the sequence number."""
        self.push(ack_frame(item.client_id, item.key, seq))

    def refused(self, item: Item, code: int, reason: str, decision: Decision | None) -> None:
        """Implement `Answer.refused`: send a nack by `refuse`."""
        self.refuse(item.client_id, code, reason, retry_after(code, decision))

    def unknown(self, item: Item) -> None:
        """Implement `Answer.unknown`: close the connection, so that the client reconnects and resends."""
        self.close(UNKNOWN_OUTCOME, "the fate of a message is unknown: send it again")

    def refuse(
        self, client_id: object, code: int, reason: str, retry_after_s: float | None = None, of: str | None = None
    ) -> None:
        """Send a nack for the message `client_id`, or for a frame of another type, `of`. `code`: an HTTP status.

        `retry_after_s`: seconds after which a resend may help, None if it does not. Too many nacks within
        `abuse_window_s` seconds close the connection.
        """
        self.push(nack_frame(client_id, code, reason, retry_after_s, of))
        now = self._loop.time()
        self._refusals.append(now)
        if len(self._refusals) >= self._settings.abuse_nacks:
            since = now - self._settings.abuse_window_s
            self._refusals = [at for at in self._refusals if at > since]
            if len(self._refusals) >= self._settings.abuse_nacks:
                self.close(ABUSE, "too many refused frames")


def retry_after(code: int, decision: Decision | None) -> float | None:
    """Return the seconds after which a refused message may be resent; None if a resend does not help.

    `code`: HTTP status of the refusal; `decision`: of the rate limiter, None without one.
    """
    if decision is not None and code == 429:
        return decision.retry_after_s
    return 1.0 if code == 503 else None
