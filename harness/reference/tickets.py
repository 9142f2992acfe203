"""Single-use tickets, with which a browser opens a WebSocket without putting its token into a URL.

Key `ticket:TICKET` in Redis for 30 s, value: the claims of the access token with which it was obtained, as JSON.
"""

from __future__ import annotations

import secrets

import orjson
import redis.asyncio

from earwitness.harness.reference.tokens import Claims

TICKET_TTL_S = 30


async def issue(client: redis.asyncio.Redis, claims: Claims) -> str:
    """Store the claims under a new ticket and return the ticket."""
    ticket = secrets.token_urlsafe(24)
    await client.set(f"ticket:{ticket}", orjson.dumps(dict(claims.raw)), ex=TICKET_TTL_S)
    return ticket


async def redeem(client: redis.asyncio.Redis, ticket: str) -> Claims | None:
    """Use up a ticket and return its claims; None if it is unknown, too old or already used.

    It uses GETDEL, because between a GET and a DEL a second client could use the same ticket. The access token with
    which the ticket was obtained may have expired or been revoked meanwhile, so the caller must check both.
    """
    value = await client.getdel(f"ticket:{ticket}")
    return None if value is None else Claims.of(orjson.loads(value))
