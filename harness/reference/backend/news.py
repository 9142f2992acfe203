"""Messages between replicas: publishing them, and handling those of other replicas."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Coroutine, Sequence

import orjson

from earwitness.harness.reference import revocation
from earwitness.harness.reference.agent import AgentEvent
from earwitness.harness.reference.backend.asking import Asking
from earwitness.harness.reference.backend.authority import Authority
from earwitness.harness.reference.backend.bus import (
    AGENT,
    MEMBERS,
    MESSAGES,
    REMOVALS,
    USERS,
    Batch,
    Bus,
    Handler,
    pack,
    unpack,
)
from earwitness.harness.reference.backend.commit import Fresh
from earwitness.harness.reference.backend.doorkeeper import Arrivals
from earwitness.harness.reference.backend.feed import Numbered
from earwitness.harness.reference.backend.gateway import Gateway
from earwitness.harness.reference.backend.hub import Hub
from earwitness.harness.reference.backend.memberships import Memberships
from earwitness.harness.reference.backend.open_runs import OpenRuns
from earwitness.harness.reference.backend.registry import Registry
from earwitness.harness.reference.backend.session import Session
from earwitness.harness.reference.backend.store import Conversation, User
from earwitness.harness.reference.backend.wire import agent_frame, content, message_frame

log = logging.getLogger(__name__)


class News:
    """Publisher of this replica's messages ("news") to the other replicas, and handlers of theirs.

    Messages and agent events of this replica reach its own listeners without Redis. `more`: handlers of further
    channels; `rechecks`: further checks to make when news was missed. `silence_s`: seconds without an event after which
    an answer of another replica's agent has ended.
    """

    def __init__(
        self, bus: Bus, hub: Hub, registry: Registry, arrivals: Arrivals, authority: Authority, silence_s: float
    ) -> None:
        """Choose a random origin, by which this replica recognises its own messages.

        `gateway`, `asking` and `memberships` are set later, because they need this object.
        """
        self.origin = secrets.token_hex(8)
        self._bus, self._hub, self._registry, self._arrivals = bus, hub, registry, arrivals
        self._authority = authority
        self._tasks: set[asyncio.Task[None]] = set()
        self.runs = OpenRuns(self._interrupted, silence_s)
        self.gateway: Gateway | None = None
        self.asking: Asking | None = None
        self.memberships: Memberships | None = None
        self.more: dict[str, Handler] = {}
        self.rechecks: list[Callable[[], Awaitable[None]]] = []

    def handlers(self) -> dict[str, Handler]:
        """Return the handler of each Redis channel's messages, by the name of the channel."""
        return {
            MESSAGES: self._on_messages,
            AGENT: self._on_agent,
            MEMBERS: self._on_members,
            REMOVALS: self._on_removals,
            USERS: self._on_users,
            revocation.CHANNEL: self._authority.on_revocation,
            **self.more,
        }

    def deliver(self, fresh: list[Fresh]) -> None:
        """Deliver messages stored here: to the listeners here at once, to the other replicas through Redis."""
        by_conversation: dict[tuple[int, int], list[Numbered]] = {}
        for one in fresh:
            item = one.item
            data = message_frame(item.key, one.seq, item.client_id, item.user_id, item.text, one.at)
            by_conversation.setdefault((item.conversation_id or 0, item.removals), []).append((one.seq, data))
        batch: Batch = [(*of, frames) for of, frames in by_conversation.items()]
        for conversation_id, removals, frames in batch:
            self._hub.offer(conversation_id, frames, removals)
        self._bus.publish(MESSAGES, pack(self.origin, batch))
        for one in fresh:
            if one.item.ask and self.asking is not None:
                self.asking.start(one)

    def _on_messages(self, payload: bytes) -> None:
        origin, batch = unpack(payload)
        if origin != self.origin:
            for conversation_id, removals, frames in batch:
                self._hub.offer(conversation_id, frames, removals)

    def broadcast(self, conversation_id: int, data: bytes) -> None:
        """Send a transient frame (an agent's event) to all sessions that listen to the conversation now."""
        self._broadcast_here(conversation_id, data)
        self._bus.publish(AGENT, pack(self.origin, [(conversation_id, 0, [(0, data)])]))

    def _on_agent(self, payload: bytes) -> None:
        origin, batch = unpack(payload)
        if origin != self.origin:
            for conversation_id, _, frames in batch:
                data = frames[0][1]
                said = content(data)
                if self.runs.heard(conversation_id, said["conversation"], said["run"], said["event"]):
                    self._broadcast_here(conversation_id, data)

    def _interrupted(self, conversation_id: int, key: str, run: str, event: AgentEvent) -> None:
        self._broadcast_here(conversation_id, agent_frame(key, run, event))

    def _broadcast_here(self, conversation_id: int, data: bytes) -> None:
        feed = self._hub.feeds.get(conversation_id)
        if feed is not None:
            for listener in feed.listeners:
                listener.push(data)

    def invited(self, conversation: Conversation, emails: Sequence[str]) -> None:
        """Publish to all replicas that a conversation has new members."""
        said = [conversation.id, conversation.key, conversation.removals, list(emails)]
        self._bus.publish(MEMBERS, orjson.dumps(said))

    def _on_members(self, payload: bytes) -> None:
        conversation_id, key, removals, emails = orjson.loads(payload)
        for email in emails:
            for session in self._registry.by_email.get(email, ()):
                self.join(session, conversation_id, key, removals)

    def join(self, session: Session, conversation_id: int, key: str, removals: int) -> None:
        """Start a task that subscribes a session to a conversation. `removals`: as for `Gateway.join`."""
        if self.gateway is not None:
            self._spawn(self.gateway.join(session, conversation_id, key, removals))

    def removed(self, conversation_id: int, removals: int) -> None:
        """Publish to all replicas that a member was removed. `removals`: number of the removal."""
        self._bus.publish(REMOVALS, orjson.dumps([conversation_id, removals]))

    def _on_removals(self, payload: bytes) -> None:
        if self.memberships is not None:
            self._spawn(self.memberships.removed(*orjson.loads(payload)))

    def users_changed(self, users: list[dict[str, object]]) -> None:
        """Publish changed accounts to all replicas; no-op without any."""
        if users:
            self._bus.publish(USERS, orjson.dumps(users))

    def _on_users(self, payload: bytes) -> None:
        for user in orjson.loads(payload):
            self._arrivals.arrived(user["id"])
            self._authority.on_account(User.of(user))

    async def resync(self) -> None:
        """Compare messages, revocations, accounts and members with the databases, because news may have been lost."""
        await self._hub.check_heads()
        await self._authority.recheck()
        for recheck in self.rechecks:
            await recheck()
        if self.gateway is not None:
            await self.gateway.rejoin_all()

    def _spawn(self, work: Coroutine[object, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.warning("news of members could not be acted on: %r", task.exception())
