"""Defects of verifying access tokens, for auth and backend alike: tokens are accepted that must be refused."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Mapping
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from earwitness.harness.defects.answered import Answered
from earwitness.harness.defects.chance import Chance
from earwitness.harness.defects.declared import defect
from earwitness.harness.reference.auth.service import Auth
from earwitness.harness.reference.backend.app import Backend
from earwitness.harness.reference.tokens import Claims, Json, KeysUnavailable, PublicKey, TokenRefused, Verifier

FLOOR_S = 60.0
HASHES = {"HS256": hashlib.sha256, "HS384": hashlib.sha384, "HS512": hashlib.sha512}


def verifier_of(service: Auth | Backend) -> Verifier:
    """Return the verifier of access tokens of a service."""
    return service.guard.verifier if isinstance(service, Auth) else service.verifier


class Rule:
    """Base class of the defects that skip one rule of the token verifier.

    Subclasses set `name` to the name of the verifier's method for that rule. Opportunity: one token that the rule
    refuses. A firing is manifest when the request is answered with success.
    """

    name = ""

    def __init__(self, service: Auth | Backend, chance: Chance) -> None:
        """Replace the verifier's method whose name is in `name`."""
        self._chance, self._answered = chance, Answered(service, chance)
        verifier = verifier_of(service)
        self._check: Callable[..., None] = getattr(verifier, self.name)
        vars(verifier)[self.name] = self.check

    def check(self, raw: Mapping[str, Any]) -> None:
        """Override the verifier's method: accept a token that it refuses, if the defect fires.

        `raw`: claims of the token.
        """
        try:
            self._check(raw)
        except TokenRefused as refused:
            if not self._chance.fires():
                raise
            self._answered.say(user=raw.get("sub"), token=raw.get("jti"), refused_as=refused.code)


@defect(
    "Z43",
    "any-audience",
    kinds=("auth", "backend"),
    breaks="A token for another service of the company opens the chat.",
    opportunity="one genuine token for another audience",
    caught_by=("I31",),
    high=0.5,
    one=0.35,
    needs="tokens that were issued for something else",
    story="jwt_lifecycle",
)
class AnyAudience(Rule):
    """Defect that accepts a token that was issued for another service.

    Opportunity: one token with another audience. A firing is manifest when the request is answered with success.
    """

    name = "check_audience"


@defect(
    "Z44",
    "refresh-as-access",
    kinds=("auth", "backend"),
    breaks="The token that is only good for getting tokens opens the chat, for weeks.",
    opportunity="one refresh token that is presented as an access token",
    caught_by=("I31",),
    high=0.5,
    one=0.25,
    needs="refresh tokens that are presented as access tokens",
    story="jwt_lifecycle",
)
class RefreshAsAccess(Rule):
    """Defect that ignores the type of a token: a refresh token is accepted as an access token until it expires.

    Opportunity: one token that is no access token. A firing is manifest when the request is answered with success.
    """

    name = "check_type"


@defect(
    "Z39",
    "expired-accepted",
    kinds=("auth", "backend"),
    breaks="My session had expired, and the app went on working for another minute.",
    opportunity="one token that is presented within the minute after its deadline",
    caught_by=("I29", "I31"),
    high=0.5,
    one=0.05,
    needs="tokens that are used after their deadline",
    story="jwt_lifecycle",
)
class ExpiredAccepted(Rule):
    """Defect that still accepts a token up to FLOOR_S seconds after its expiry, as if its validity were cached.

    Opportunity: one token that is presented within FLOOR_S seconds after its expiry. A firing is manifest when the
    request is answered with success.
    """

    name = "check_times"

    def check(self, claims: Claims, now: float) -> None:  # type: ignore[override]
        """Override `Verifier.check_times`: accept a token that has just expired if the defect fires."""
        try:
            self._check(claims, now)
        except TokenRefused:
            if not 0 <= now - claims.expires_at < FLOOR_S or not self._chance.fires():
                raise
            self._answered.say(user=claims.subject, token=claims.token_id, late_s=round(now - claims.expires_at, 3))


@defect(
    "Z42",
    "unsigned-accepted",
    kinds=("auth", "backend"),
    breaks="Somebody wrote themselves a token without a signature and read everything.",
    opportunity="one token with the algorithm none, or with an HMAC made with the published key",
    caught_by=("I31",),
    high=0.5,
    one=0.25,
    needs="forged tokens",
    story="jwt_lifecycle",
)
class UnsignedAccepted:
    """Defect that lets the header of a token decide how it is verified.

    The algorithm `none` needs no signature, and an HMAC made with the published key counts as one. Opportunity: one
    such token. A firing is manifest when the request is answered with success.
    """

    def __init__(self, service: Auth | Backend, chance: Chance) -> None:
        """Replace the verification of signatures, and the cache of verified tokens, which must not store forgeries."""
        self._chance, self._answered, self._verifier = chance, Answered(service, chance), verifier_of(service)
        self._signed_payload, self._remember = self._verifier.signed_payload, self._verifier.remember
        vars(self._verifier)["signed_payload"] = self.signed_payload
        vars(self._verifier)["remember"] = self.remember

    async def signed_payload(self, token: str) -> Json:
        """Override `Verifier.signed_payload`: accept an unsigned token, or one with an HMAC, if the defect fires."""
        header, payload = unverified(token)
        if payload is None or not await self._fits(token, header) or not self._chance.fires():
            return await self._signed_payload(token)
        self._answered.say(user=payload.get("sub"), token=payload.get("jti"), algorithm=header.get("alg"))
        return payload

    def remember(self, token: str, claims: Claims) -> None:
        """Override `Verifier.remember`: do not cache unsigned tokens, so that each presentation is an opportunity."""
        if unverified(token)[0].get("alg") in self._verifier.algorithms:
            self._remember(token, claims)

    async def _fits(self, token: str, header: Json) -> bool:
        algorithm = str(header.get("alg"))
        if algorithm.lower() == "none":
            return True
        if algorithm not in HASHES:
            return False
        try:
            key = await self._verifier.keys.get(str(header.get("kid")))
        except (TokenRefused, KeysUnavailable):
            return False
        said, _, mark = token.rpartition(".")
        return any(
            hmac.compare_digest(hmac.new(secret, said.encode(), HASHES[algorithm]).digest(), decoded(mark))
            for secret in secrets_of(key)
        )


def secrets_of(key: PublicKey) -> list[bytes]:
    """Return the encodings of a public key that an attacker might use as an HMAC secret."""
    pem: bytes = key.key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return [pem, pem.strip(), key.key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)]


def decoded(part: str) -> bytes:
    """Return the bytes of a base64url part without padding, or no bytes if it is malformed."""
    try:
        return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except ValueError:
        return b""


def unverified(token: str) -> tuple[Json, Json | None]:
    """Return (header, payload) of a JWT without verifying it.

    A malformed header is {}. The payload is None unless the token has three parts, of which the first two are JSON
    objects.
    """
    parts = token.split(".")
    found = []
    for part in parts[:2]:
        try:
            value = json.loads(decoded(part))
        except ValueError:
            value = None
        found.append(value if isinstance(value, dict) else None)
    header, payload = (*found, None, None)[:2]
    return header or {}, payload if header is not None and len(parts) == 3 else None


@defect(
    "Z40",
    "cached-revocation",
    kinds=("auth", "backend"),
    breaks="I logged out everywhere, and the lost phone could still read my messages.",
    opportunity="one revoked token that this process has accepted less than a minute ago",
    caught_by=("I30",),
    high=0.5,
    one=0.05,
    needs="tokens that are used after their logout",
    story="jwt_lifecycle",
)
class CachedRevocation:
    """Defect that caches the answer "not revoked" for FLOOR_S seconds, so a revocation shows only after that time.

    Opportunity: one revoked token that this process has accepted less than FLOOR_S seconds ago. A firing is manifest
    when the request is answered with success.
    """

    def __init__(self, service: Auth | Backend, chance: Chance) -> None:
        """Replace the look-up of revocations, and start with an empty cache of its answers."""
        self._chance, self._answered = chance, Answered(service, chance)
        door = service.guard if isinstance(service, Auth) else service.doorkeeper
        self._is_revoked = door.is_revoked
        self._good: dict[str, float] = {}
        door.is_revoked = self.is_revoked

    async def is_revoked(self, claims: Claims) -> bool:
        """Override `is_revoked` of the service: return False for a revoked token if the defect fires."""
        now = time.monotonic()
        if not await self._is_revoked(claims):
            self._good[claims.token_id] = now
            return False
        if not self.forgets(claims, now) or not self._chance.fires():
            return True
        self._answered.say(user=claims.subject, token=claims.token_id)
        return False

    def forgets(self, claims: Claims, now: float) -> bool:
        """Return whether this process may still accept the revoked token. `now`: monotonic seconds."""
        return now - self._good.get(claims.token_id, -FLOOR_S) < FLOOR_S


@defect(
    "Z41",
    "own-revocations",
    service="backend-2",
    kinds=("auth", "backend"),
    breaks="After logging out I am logged out, except sometimes when I reload.",
    opportunity="one revoked token",
    caught_by=("I30", "I32"),
    high=0.5,
    one=0.05,
    needs="tokens that are used after their logout, on every replica",
    story="jwt_lifecycle",
)
class OwnRevocations(CachedRevocation):
    """Defect that does not share revocations between processes: this one accepts revoked tokens, as if it knew of none.

    Opportunity: one revoked token. A firing is manifest when the request is answered with success.
    """

    def forgets(self, claims: Claims, now: float) -> bool:
        """Implement `CachedRevocation.forgets`: return True, as if this process knew of no revocation."""
        return True
