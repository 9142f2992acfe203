"""Program that reads the signing key of a reference platform from its database.

It is a process of its own because it needs asyncio, which cannot share a process with gevent.

    python -m earwitness.harness.dialects.reference.signing

The environment variable EARWITNESS_ENDPOINTS carries the address of the auth database. The program prints one line of
JSON for the pipe of its parent: kid, public_pem, private_pem. The key is only for forging tokens that differ from good
ones in a single claim, and is written to no file.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys

import asyncpg
from cryptography.hazmat.primitives import serialization

from earwitness.harness.dialects.reference.forgery import read_key
from earwitness.harness.dialects.reference.tokens import KEY_QUERY
from earwitness.harness.dialects.registry import SECRETS_VARIABLE
from earwitness.harness.errors import Exit
from earwitness.harness.progress import say

DEADLINE_S = 10.0


async def read_signing_key(dsn: str) -> dict[str, str]:
    """Return the key that the platform signs with now, as {"kid", "public_pem", "private_pem"}.

    `dsn`: address of the auth database. Raises OSError, asyncpg.PostgresError or ValueError if the key cannot be read.
    """
    connection = await asyncpg.connect(dsn, timeout=DEADLINE_S)
    try:
        row = await connection.fetchrow(KEY_QUERY, timeout=DEADLINE_S)
    finally:
        await connection.close(timeout=DEADLINE_S)
    if row is None:
        raise ValueError("the platform has no signing key yet")
    public = read_key(row["private_pem"]).public_key()
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    pem = public.public_bytes(serialization.Encoding.PEM, form).decode()
    return {"kid": row["kid"], "public_pem": pem, "private_pem": row["private_pem"]}


def main() -> int:
    """Print the signing key as one line of JSON; return the exit code: 0, or 2 if the key cannot be read."""
    endpoints = json.loads(os.environ.get(SECRETS_VARIABLE) or "{}")
    try:
        key = asyncio.run(read_signing_key(endpoints["auth_dsn"]))
    except (KeyError, OSError, ValueError, asyncpg.PostgresError) as error:
        say(f"the signing key cannot be read: {type(error).__name__}: {error}")
        return Exit.CANNOT_RUN
    print(json.dumps(key), flush=True)  # noqa: T201 (for a program)
    return Exit.PASS


if __name__ == "__main__":
    sys.exit(main())
