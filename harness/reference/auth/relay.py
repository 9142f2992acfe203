"""Relay: publishes in Redis the changes committed in the auth database, at least once, in order per user.

Outbox rows become entries of the stream `users`; rows of `revoked` become revocation keys and messages. A row is marked
as sent after Redis has accepted it, so a crash in between sends it again. A Redis that has lost its data (another run
id) gets everything again: all revocations that have not expired, and every account.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging

import redis.asyncio

from earwitness.harness.reference.auth.database import Connection, Pool, Row
from earwitness.harness.reference.auth.sessions import revocation_of
from earwitness.harness.reference.revocation import all_told, publish
from earwitness.harness.reference.service import DEPENDENCY_DOWN
from earwitness.harness.reference.userstream import STREAM, to_entry

BATCH = 500
POLL_S = 1.0
KEEP_SENT_S = 3600.0
RELAY_LOCK = 0x7265_6C61


class Relay:
    """Publisher of committed changes.

    Call `wake()` after a commit. Other rows are found by polling, because another replica may have died after a commit.
    """

    def __init__(self, pool: Pool, client: redis.asyncio.Redis, log: logging.Logger) -> None:
        """Keep `pool`, which has the committed changes, and `client`, which publishes the changes in Redis."""
        self._pool, self._redis, self._log = pool, client, log
        self._woken = asyncio.Event()
        self._run_id = ""

    def wake(self) -> None:
        """Make `run` publish now instead of at the next poll."""
        self._woken.set()

    async def run(self) -> None:
        """Publish until cancelled.

        An outage of Redis or the database only delays the publishing.
        """
        down = False
        while True:
            try:
                await self._check_memory()
                while await self.publish_once():
                    pass
                down = False
            except DEPENDENCY_DOWN as error:
                if not down:
                    self._log.warning("relay waits: %s: %s", type(error).__name__, error)
                down = True
                self._woken.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(POLL_S):
                    await self._woken.wait()
            self._woken.clear()

    async def publish_once(self) -> bool:
        """Publish unsent rows, up to one batch of each kind; return whether there may be more."""
        async with self._pool.acquire() as connection, connection.transaction():
            # Replicas take turns: two senders at once could reverse two changes of one user.
            await connection.execute("SELECT pg_advisory_xact_lock($1)", RELAY_LOCK)
            users = await self.unsent_users(connection)
            revoked = await connection.fetch(
                "SELECT id, jti, subject, at, until FROM revoked WHERE sent_at IS NULL ORDER BY id LIMIT $1", BATCH
            )
            if revoked:
                await publish(self._redis, [revocation_of(row) for row in revoked])
                await self._mark(connection, "revoked", revoked)
            if len(revoked) < BATCH:
                await all_told(self._redis, self._run_id)
            if users:
                await self.send_users(users)
                await self._mark(connection, "outbox", users)
        return len(users) == BATCH or len(revoked) == BATCH

    async def unsent_users(self, connection: Connection) -> list[Row]:
        """Return the unsent outbox rows in order, at most one batch."""
        rows: list[Row] = await connection.fetch(
            "SELECT id, user_id, version, payload FROM outbox WHERE sent_at IS NULL ORDER BY id LIMIT $1", BATCH
        )
        return rows

    async def send_users(self, rows: list[Row]) -> None:
        """Add outbox rows to the stream `users`."""
        async with self._redis.pipeline(transaction=False) as pipe:
            for row in rows:
                pipe.xadd(STREAM, to_entry({**row["payload"], "id": row["user_id"], "version": row["version"]}))
            await pipe.execute()

    async def _mark(self, connection: Connection, table: str, rows: list[Row]) -> None:
        ids = [row["id"] for row in rows]
        await connection.execute(f"UPDATE {table} SET sent_at = now() WHERE id = ANY ($1::bigint[])", ids)

    async def _check_memory(self) -> None:
        """Mark valid revocations and all accounts as unsent if Redis is a new process, because it may be empty."""
        run_id = str((await self._redis.info("server"))["run_id"])
        if run_id == self._run_id:
            return
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock($1)", RELAY_LOCK)
            before = await connection.fetchval("SELECT redis_run_id FROM relay")
            if before != run_id:
                await connection.execute("UPDATE revoked SET sent_at = NULL WHERE until > now() - interval '1 minute'")
            if before not in (None, run_id):
                self._log.info("Redis is another one now: telling it everything again")
                await self._all_accounts_again(connection)
            await connection.execute(
                "INSERT INTO relay (redis_run_id) VALUES ($1) ON CONFLICT (single_row) DO UPDATE SET redis_run_id = $1",
                run_id,
            )
        self._run_id = run_id

    async def _all_accounts_again(self, connection: Connection) -> None:
        """Add the present state of each account to the outbox once.

        A receiver that has stored this version of an account ignores the entry.
        """
        await connection.execute(
            "INSERT INTO outbox (user_id, version, payload) SELECT id, version, jsonb_build_object("
            "'provider', provider, 'subject', subject, 'email', email, 'name', name, 'is_active', is_active, "
            "'permissions', permissions) FROM auth_users ORDER BY id"
        )

    async def forget_old(self) -> None:
        """Delete rows that are no longer needed: sent changes, expired revocations and tokens, retired signing keys."""
        for statement in (
            f"DELETE FROM outbox WHERE sent_at < now() - interval '{KEEP_SENT_S} seconds'",
            "DELETE FROM revoked WHERE until < now() - interval '1 hour' AND sent_at IS NOT NULL",
            "DELETE FROM refresh_tokens WHERE expires_at < now() - interval '1 hour'",
            "DELETE FROM signing_keys WHERE retires_at < now() - interval '1 hour'",
        ):
            await self._pool.execute(statement)
