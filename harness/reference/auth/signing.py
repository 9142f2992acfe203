"""Signing keys, stored in the database, so that they survive a restart and replicas share them.

Tokens are signed by ES256, because a signature costs a fifth of one by RS256. The newest key signs; a replaced key
stays in the JWKS until the last token that it signed has expired.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from earwitness.harness.reference.auth.database import Connection, Pool

_KEY_LOCK = 0x6B65_7973
ALGORITHM = "ES256"


@dataclass(frozen=True, slots=True)
class SigningKey:
    """Private key and its public half as a JWK."""

    kid: str
    private: ec.EllipticCurvePrivateKey
    jwk: dict[str, str]


class SigningKeys:
    """Signing keys of the auth service.

    Call `load` before use, and again at intervals, because another replica may have rotated the keys. `retire_after_s`:
    seconds for which a key is still published after a rotation, so that its last tokens can expire.
    """

    def __init__(self, pool: Pool, retire_after_s: float) -> None:
        """Start without keys; `load` reads them from `pool`."""
        self._pool, self._retire_after_s = pool, retire_after_s
        self._keys: list[SigningKey] = []

    async def load(self) -> None:
        """Read the keys; create the first one if there is none."""
        async with self._pool.acquire() as connection, connection.transaction():
            self._keys = await self._read(connection)
            if not self._keys:
                await connection.execute("SELECT pg_advisory_xact_lock($1)", _KEY_LOCK)
                self._keys = await self._read(connection)
            if not self._keys:
                await self._insert(connection)
                self._keys = await self._read(connection)

    async def rotate(self) -> str:
        """Create a key that signs from now on, and return its id.

        The other keys retire when their last token has expired.
        """
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock($1)", _KEY_LOCK)
            await connection.execute(
                "UPDATE signing_keys SET retires_at = now() + make_interval(secs => $1) WHERE retires_at IS NULL",
                self._retire_after_s,
            )
            await self._insert(connection)
            self._keys = await self._read(connection)
        return self._keys[0].kid

    def sign(self, claims: Mapping[str, object]) -> str:
        """Return a JWT with these claims, signed by the newest key."""
        key = self._keys[0]
        payload = json.dumps(claims, separators=(",", ":")).encode()
        return jwt.PyJWS().encode(payload, key.private, algorithm=ALGORITHM, headers={"kid": key.kid, "typ": "JWT"})

    def jwks(self) -> dict[str, object]:
        """Return the JWKS document of all keys that have not retired."""
        return {"keys": [key.jwk for key in self._keys]}

    async def fetch(self) -> dict[str, object]:
        """Load the keys and return the JWKS document, for this service's own verifier."""
        await self.load()
        return self.jwks()

    async def _read(self, connection: Connection) -> list[SigningKey]:
        rows = await connection.fetch(
            "SELECT kid, private_pem FROM signing_keys WHERE retires_at IS NULL OR retires_at > now() "
            "ORDER BY retires_at DESC NULLS FIRST, created_at DESC"
        )
        known = {key.kid: key for key in self._keys}
        return [known.get(row["kid"]) or _loaded(row["kid"], row["private_pem"]) for row in rows]

    async def _insert(self, connection: Connection) -> None:
        private = ec.generate_private_key(ec.SECP256R1())
        pem = private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        kid = f"{time.strftime('%Y%m%d%H%M%S', time.gmtime())}-{_jwk(private)['x'][:10]}"
        await connection.execute("INSERT INTO signing_keys (kid, private_pem) VALUES ($1, $2)", kid, pem.decode())


def _loaded(kid: str, pem: str) -> SigningKey:
    private = serialization.load_pem_private_key(pem.encode(), password=None)
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    return SigningKey(kid, private, {**_jwk(private), "kid": kid, "alg": ALGORITHM, "use": "sig"})


def _jwk(private: ec.EllipticCurvePrivateKey) -> dict[str, str]:
    jwk: dict[str, str] = json.loads(ECAlgorithm.to_jwk(private.public_key()))
    return jwk
