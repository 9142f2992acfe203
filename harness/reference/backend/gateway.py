"""Gateway of `GET /ws`: from the upgrade to the last frame of a socket."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

import orjson
from aiohttp import WSMsgType, web

from earwitness.harness.reference.answers import ApiError
from earwitness.harness.reference.backend.authority import Authority
from earwitness.harness.reference.backend.checked import message_fault
from earwitness.harness.reference.backend.commit import Committer, Item
from earwitness.harness.reference.backend.doorkeeper import SUBPROTOCOL, Doorkeeper
from earwitness.harness.reference.backend.feed import Feed
from earwitness.harness.reference.backend.hub import Hub
from earwitness.harness.reference.backend.memberships import Memberships
from earwitness.harness.reference.backend.registry import Registry
from earwitness.harness.reference.backend.resume import Resumer
from earwitness.harness.reference.backend.session import UNKNOWN_OUTCOME, Session
from earwitness.harness.reference.backend.settings import BackendSettings
from earwitness.harness.reference.backend.store import Rooms
from earwitness.harness.reference.backend.wire import frame, joined_frame
from earwitness.harness.reference.service import DEPENDENCY_DOWN

FRAME_BYTES_MAX = 1 << 20
HEARTBEAT_S = 30.0
CLOSE_TIMEOUT_S = 2.0
log = logging.getLogger(__name__)


class Gateway:
    """Server of WebSockets: accepts them and reads their frames.

    `begin`: functions called before a session listens to feeds; `opened`: functions called with each new session;
    `frames`: handlers of further types of frames.
    """

    def __init__(
        self, settings: BackendSettings, doorkeeper: Doorkeeper, rooms: Rooms, hub: Hub, committer: Committer,
        resumer: Resumer, registry: Registry, memberships: Memberships, authority: Authority,
    ) -> None:  # fmt: skip
        """Keep the parts that a socket needs. Defects may replace `intake`, which gets each message."""
        self._settings, self._doorkeeper, self._rooms, self._authority = settings, doorkeeper, rooms, authority
        self._hub, self._committer, self._registry, self._memberships = hub, committer, registry, memberships
        self.resumer = resumer
        self.intake: Callable[[Item], None] = committer.submit
        self.draining = False
        self.begin: list[Callable[[Sequence[Feed]], Awaitable[None]]] = []
        self.opened: list[Callable[[Session], None]] = []
        self.frames: dict[str, Callable[[Session, dict[str, Any]], None]] = {}

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer a request: serve one socket until it is closed. Raises ApiError to refuse it."""
        if self.draining:
            raise ApiError(503, "restarting", "This replica is going down; connect again.", retry_after_s=1)
        caller = await self._doorkeeper.socket_caller(request)
        ws: web.WebSocketResponse[Any] = web.WebSocketResponse(
            protocols=(SUBPROTOCOL,), compress=False, decode_text=False, heartbeat=HEARTBEAT_S,
            max_msg_size=FRAME_BYTES_MAX, timeout=CLOSE_TIMEOUT_S,
        )  # fmt: skip
        session = Session(ws, caller.user, caller.claims, self._settings, request.query.get("resume") == "1")
        # Before the memberships are read: later invitations then reach this session as news.
        self._registry.add(session)
        try:
            # A revocation between the first check and the line above has not reached this session.
            await self._doorkeeper.check_revoked(caller.claims)
            await self._subscribe(session)
            await self._converse(request, session)
        finally:
            self._registry.remove(session)
            session.ended()
            for feed in session.feeds.values():
                self._hub.leave(feed, session)
            if session.closing is not None:
                await session.closing
        return ws

    async def _subscribe(self, session: Session) -> None:
        conversations = await self._rooms.of_user(session.user)
        feeds = await self._open((c.id, c.key) for c in conversations)
        for feed, conversation in zip(feeds, conversations, strict=True):
            session.feeds[feed.key], session.member_at[feed.key] = feed, conversation.removals
            if conversation.read > session.marks.get(feed.key, 0):
                session.marks[feed.key] = conversation.read
        for feed, conversation in zip(feeds, conversations, strict=True):
            await self._settle(feed, conversation.removals)

    async def _open(self, conversations: Iterable[tuple[int, str]]) -> list[Feed]:
        feeds = await self._hub.open(conversations)
        try:
            for begin in self.begin:
                await begin(feeds)
        except BaseException:
            for feed in feeds:
                self._hub.close(feed)
            raise
        return feeds

    async def _settle(self, feed: Feed, removals: int) -> None:
        """Check the members of a feed again if removals are known that the session's membership did not include."""
        if removals < feed.removals:
            await self._memberships.verify(feed)

    async def _converse(self, request: web.Request, session: Session) -> None:
        writer = await session.ws.prepare(request)
        transport = request.transport
        if transport is None:
            return
        session.attach(transport, writer)
        self._authority.watch(session)
        session.welcome(self._settings.name)
        for tell in self.opened:
            tell(session)
        if self.draining:
            session.close(1012, "restart")
        try:
            await self._listen(session)
        except DEPENDENCY_DOWN as error:
            # After the upgrade a 503 is impossible; the client reconnects and resumes.
            log.warning("a socket ends: %r", error)
            session.close(UNKNOWN_OUTCOME, "something that this service needs does not answer")

    async def _listen(self, session: Session) -> None:
        while session.closing is None:
            message = await session.ws.receive()
            if message.type is WSMsgType.TEXT:
                await self._on_frame(session, message.data)
            elif message.type is WSMsgType.BINARY:
                session.close(1003, "frames are JSON text")
            else:
                break

    async def _on_frame(self, session: Session, data: bytes) -> None:
        try:
            said = orjson.loads(data)
        except orjson.JSONDecodeError:
            said = None
        kind = said.get("type") if isinstance(said, dict) else None
        if kind == "send":
            self._send(session, said)
            await self._committer.room()
        elif kind == "ping":
            session.push(frame({"type": "pong", "id": said.get("id")}))
        elif kind == "resume" and isinstance(said.get("from"), dict):
            await self.resumer.resume(session, said["from"])
        elif isinstance(kind, str) and kind in self.frames:
            self.frames[kind](session, said)
        else:
            session.refuse(None, 400, "This frame is not understood.")

    def _send(self, session: Session, said: dict[str, Any]) -> None:
        key, client_id, text = said.get("conversation"), said.get("id"), said.get("text")
        fault = message_fault(key, client_id, text)
        if fault is not None:
            session.refuse(client_id, fault.code, fault.reason)
            return
        item = Item(session, session.user_id, session.user.email, key or "", client_id or "", text or "")
        item.ask = said.get("ask") is True
        self.intake(item)

    async def join(self, session: Session, conversation_id: int, key: str, removals: int) -> None:
        """Subscribe a connected session to a conversation of which its user has become a member.

        `removals`: count of removals from the conversation at that time.
        """
        await session.welcomed.wait()
        if key in session.feeds or session not in self._registry.sessions:
            return
        (feed,) = await self._open([(conversation_id, key)])
        if key in session.feeds or session not in self._registry.sessions:
            self._hub.close(feed)
            return
        session.feeds[key], session.member_at[key] = feed, removals
        if not session.resuming:
            listen_from_now(session, feed)
        await self._settle(feed, removals)

    async def rejoin_all(self) -> None:
        """Subscribe all sessions to conversations of which they are members: news of invitations may be lost."""
        for session in list(self._registry.sessions):
            for one in await self._rooms.of_user(session.user):
                if one.key not in session.feeds:
                    await self.join(session, one.id, one.key, one.removals)

    async def close_all(self, code: int, reason: str) -> None:
        """Close every socket, and wait until all are closed."""
        sessions = list(self._registry.sessions)
        for session in sessions:
            session.close(code, reason)
        closing = [session.closing for session in sessions if session.closing is not None]
        await asyncio.gather(*closing, return_exceptions=True)


def listen_from_now(session: Session, feed: Feed) -> None:
    """Subscribe a session to a conversation from now on, and send it the frame `joined` without a resume point."""
    session.push(joined_frame(feed.key, feed.head, None))
    feed.listeners[session] = None
