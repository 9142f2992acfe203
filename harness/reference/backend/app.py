"""One replica of the backend: its parts put together, from start to end."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections.abc import Awaitable, Callable, Mapping

import aiohttp
import asyncpg
import redis.exceptions

from earwitness.harness.reference.backend import store
from earwitness.harness.reference.backend.asking import Asking
from earwitness.harness.reference.backend.authority import Authority
from earwitness.harness.reference.backend.bus import EDITS, MARKS, PRESENCE, Bus
from earwitness.harness.reference.backend.commit import Committer, Steps
from earwitness.harness.reference.backend.doorkeeper import Arrivals, Doorkeeper
from earwitness.harness.reference.backend.edits import EditRows, Edits
from earwitness.harness.reference.backend.feed import Feed, Numbered
from earwitness.harness.reference.backend.gateway import Gateway
from earwitness.harness.reference.backend.hub import FILL_PAGE, Hub
from earwitness.harness.reference.backend.invitations import Invitations
from earwitness.harness.reference.backend.marks import MarkRows, Marks
from earwitness.harness.reference.backend.memberships import Memberships
from earwitness.harness.reference.backend.news import News
from earwitness.harness.reference.backend.presence import Leases, Presence
from earwitness.harness.reference.backend.registry import Registry
from earwitness.harness.reference.backend.rest import Rest
from earwitness.harness.reference.backend.rest_state import StateRest
from earwitness.harness.reference.backend.resume import Resumer
from earwitness.harness.reference.backend.settings import BackendSettings
from earwitness.harness.reference.backend.sync import UserSync
from earwitness.harness.reference.backend.wire import message_frame
from earwitness.harness.reference.breaker import CircuitBreaker
from earwitness.harness.reference.limits import Limiter, Unlimited
from earwitness.harness.reference.redis_client import make_redis
from earwitness.harness.reference.revocation import revoked_among
from earwitness.harness.reference.service import DEPENDENCY_DOWN, SERVICE_RESTART, Service
from earwitness.harness.reference.tokens import KeySet, KeysUnavailable, Verifier

AUTH_TIMEOUT_S = 1.5
REDIS_CONNECTIONS = 50
FLUSH_TIMEOUT_S = 5.0
SYNC_RETRY: tuple[type[BaseException], ...] = (*DEPENDENCY_DOWN, redis.exceptions.RedisError, asyncpg.PostgresError)
log = logging.getLogger(__name__)


class Backend(Service):
    """The backend service, put together from its parts.

    Every part is an attribute, which a defect may replace between `__init__` and `start`.
    """

    def __init__(self, settings: BackendSettings) -> None:
        """Make the parts, connect them with each other and add the routes; no connection is opened before `start`."""
        super().__init__(settings.name)
        self.settings = settings
        self.pool = store.make_pool(settings.dsn)
        self.users, self.rooms = store.Users(self.pool), store.Rooms(self.pool)
        self.messages, self.edit_rows = store.Messages(self.pool), EditRows(self.pool)
        self.redis = make_redis(settings.redis_url, REDIS_CONNECTIONS, answer_s=5, connect_s=2)
        self.http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=AUTH_TIMEOUT_S))
        self.auth_breaker = CircuitBreaker("auth", (aiohttp.ClientError, OSError, TimeoutError))
        self.verifier = Verifier(KeySet(self._fetch_keys), issuer=settings.issuer, audience=settings.audience)
        self.limiter = self._limiter()
        self.arrivals, self.registry, self.bus = Arrivals(), Registry(), Bus(self.redis)
        self.doorkeeper = Doorkeeper(self.verifier, self.redis, self.users, self.arrivals, settings.sync_wait_s)
        self.authority = Authority(self.registry, functools.partial(revoked_among, self.redis), self.users.among)
        self.memberships = Memberships(
            self.rooms, self.registry, lambda *removal: self.news.removed(*removal), lambda *who: self.news.join(*who)
        )
        self.hub = Hub(self.rooms.heads, self.read_frames, self.memberships.verify, settings.gap_wait_s)
        self.news = News(self.bus, self.hub, self.registry, self.arrivals, self.authority, settings.agent_silence_s)
        self.committer = Committer(self._steps(), settings.commit_retry_s)
        self.asking = Asking(self.committer, self.news.broadcast, settings.agent_pace_s)
        self.resumer = Resumer(self.hub, self.read_frames, settings)
        self.gateway = Gateway(
            settings, self.doorkeeper, self.rooms, self.hub, self.committer, self.resumer, self.registry,
            self.memberships, self.authority,
        )  # fmt: skip
        self.memberships.hub, self.news.memberships = self.hub, self.memberships
        self.news.gateway, self.news.asking = self.gateway, self.asking
        self.sync = UserSync(self.redis, self.users, settings.name, self.news.users_changed)
        self.invitations = Invitations(self.rooms, self.news.invited)
        self.rest = Rest(
            self.doorkeeper,
            self.limiter,
            self.rooms,
            self.messages,
            self.invitations,
            self.committer,
            self.memberships,
            self.edit_rows,
        )
        self.marks = Marks(MarkRows(self.pool), self.registry, self.bus)
        self.edits = Edits(self.edit_rows, self.hub, self.memberships.verify, self.bus)
        leases = Leases(self.redis, settings.presence_ttl_s)
        self.presence = Presence(
            leases, self.rooms.member_ids, self.bus, settings.presence_ttl_s, settings.presence_look_s
        )  # fmt: skip
        self.gateway.begin.append(self.edits.begin)
        self.gateway.opened.append(self.presence.came)
        self.gateway.frames["watch"] = self.presence.on_watch
        self.news.more |= {
            MARKS: self.marks.on_news, EDITS: self.edits.on_news,
            PRESENCE: self.presence.on_news,
        }  # fmt: skip
        self.news.rechecks += [self.marks.recheck, self.edits.check]
        self.app.router.add_get("/ws", self.gateway.handle)
        self.app.add_routes([*self.rest.routes(), *StateRest(self.rest, self.marks, self.edits).routes()])

    def _limiter(self) -> Limiter:
        rate = self.settings.rate_per_s
        return Unlimited() if rate is None else Limiter(self.redis, rate, self.settings.rate_burst or rate)

    def _steps(self) -> Steps:
        return Steps(
            memberships=self.rooms.memberships,
            take_many=self.limiter.take_many,
            append=self.messages.append,
            deliver=self.news.deliver,
            note_head=self.hub.note_head,
        )

    async def start(self) -> None:
        """Implement `Service.start`: connect, create the schema, start the background tasks."""
        await self.pool
        await store.ensure_schema(self.pool)
        await self.redis.ping()
        self.background(self.bus.run_publisher(), "the publisher")
        self.background(self.bus.run_subscriber(self.news.handlers(), self.news.resync), "the subscription")
        self.background(self.committer.run(), "the committer")
        self.background(self.sync.run(), "the sync of users")
        self.background(self._every(self.settings.head_check_s, self.hub.check_heads), "the check of heads")
        self.background(self._every(self.settings.recheck_s, self.authority.recheck), "the check of revocations")
        self.background(self.presence.run(), "presence")
        self.background(self._every(self.settings.recheck_s, self.edits.check), "the check of edits")
        self.background(self._every(self.settings.recheck_s, self.marks.recheck), "the check of read marks")
        self.background(self._every(1.0, self.news.runs.check), "the check of silent runs")

    async def waiting_for(self) -> str | None:
        """Implement `Service.waiting_for`: check the database, Redis, the subscription to Redis and auth's keys."""
        await self.pool.fetchval("SELECT 1")
        await revoked_among(self.redis, [])
        if not self.bus.connected:
            return "the subscription to Redis"
        return await self._waiting_for_keys()

    async def _waiting_for_keys(self) -> str | None:
        """Return a reason if auth's keys are missing, None if they are available.

        A replica without them can serve no user, so it must not take over from one that has them.
        """
        keys = self.verifier.keys
        try:
            if not keys.keys:
                await keys.refresh()
        except KeysUnavailable as error:
            return f"auth's keys ({error})"
        return None

    async def drain(self) -> None:
        """Implement `Service.drain`: store and push what was accepted, then close the sockets with 1012.

        Storing may take at most FLUSH_TIMEOUT_S seconds. Messages that are not stored then are not acknowledged.
        """
        self.gateway.draining = True
        try:
            async with asyncio.timeout(FLUSH_TIMEOUT_S):
                await self.asking.finish()
                await self.committer.idle()
                await self.bus.flush()
        except TimeoutError:
            log.warning("not everything could be stored before the end; what was not is not acknowledged")
        await self.gateway.close_all(SERVICE_RESTART, "restart")
        with contextlib.suppress(TimeoutError):  # the leases expire by themselves
            async with asyncio.timeout(1.0):
                await self.presence.told()

    async def stop(self) -> None:
        """Implement `Service.stop`: close the HTTP client, Redis and the database pool."""
        await self.http.close()
        await self.redis.aclose()
        try:
            await asyncio.wait_for(self.pool.close(), FLUSH_TIMEOUT_S)
        except TimeoutError:
            self.pool.terminate()

    async def read_frames(self, feed: Feed, first: int, last: int) -> list[Numbered]:
        """Return the frames of the messages `first` to `last` of a conversation from the database, at most FILL_PAGE.

        Each has the same bytes as when the message was new.
        """
        page = await self.messages.page(feed.id, first - 1, FILL_PAGE, last)
        return [(m.seq, message_frame(feed.key, m.seq, m.client_id, m.sender, m.text, store.iso(m.at))) for m in page]

    async def _every(self, pause_s: float, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(pause_s)
            try:
                await work()
            except SYNC_RETRY as error:
                log.warning("%s: %r; again in %s s", getattr(work, "__qualname__", work), error, pause_s)

    async def _fetch_keys(self) -> Mapping[str, object]:
        return await self.auth_breaker.call(self._ask_auth_for_keys)

    async def _ask_auth_for_keys(self) -> Mapping[str, object]:
        async with self.http.get(f"{self.settings.auth_url}/.well-known/jwks.json") as response:
            response.raise_for_status()
            document: Mapping[str, object] = await response.json()
            return document
