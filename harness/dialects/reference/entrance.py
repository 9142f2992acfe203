"""Entrance of the reference platform: logins through its frontend, and tokens of unknown keys."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from dataclasses import replace
from functools import cache

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

from earwitness.harness.client.flow import Flow, HttpRequest
from earwitness.harness.dialects.protocol import Credentials


class ReferenceEntrance:
    """Base class of `ReferenceTarget` that implements `harness.dialects.parts.Entrance`."""

    endpoints: Mapping[str, object]

    def begin_login(self) -> Flow[int]:
        """Implement `Entrance.begin_login`: send GET /auth/google to the frontend."""
        url = f"{str(self.endpoints['frontend']).rstrip('/')}/auth/google"
        response = yield HttpRequest("GET", url, name="begin a login")
        return response.status

    def stranger(self, credentials: Credentials) -> Credentials:
        """Implement `Entrance.stranger`: sign a copy of the person's claims with a key of the tester.

        The copy is issued now and valid for 900 s.
        """
        now = time.time()
        claims = {**credentials.extra["claims"], "iat": now, "exp": int(now) + 900, "jti": uuid.uuid4().hex}
        token = jwt.encode(claims, _key(), "ES256", headers={"kid": uuid.uuid4().hex})
        return replace(credentials, token=token)


@cache
def _key() -> ec.EllipticCurvePrivateKey:
    """Return a private key (P-256) that no platform knows; it is made once in a process."""
    return ec.generate_private_key(ec.SECP256R1())
