"""Defects of judging access tokens: what must be refused is accepted. For auth and backend alike."""

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
    return service.guard.verifier if isinstance(service, Auth) else service.verifier


class Rule:
    """Stands before one rule of the verifier, `name`. An opportunity is one token that this rule refuses."""

    name = ""

    def __init__(self, service: Auth | Backend, chance: Chance) -> None:
        self._chance, self._answered = chance, Answered(service, chance)
        verifier = verifier_of(service)
        self._check: Callable[..., None] = getattr(verifier, self.name)
        vars(verifier)[self.name] = self.check

    def check(self, raw: Mapping[str, Any]) -> None:
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
    """A token that was issued for another service is taken."""

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
    """The type of a token is not looked at: a refresh token opens everything for as long as it lives."""

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
    """What was found out about a token is kept for a minute at least, even if it expires before. An opportunity is one
    token that is presented within the minute after its deadline."""

    name = "check_times"

    def check(self, claims: Claims, now: float) -> None:  # type: ignore[override]
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
    """The token's own header decides how it is verified: `none` needs no signature, and an HMAC made with the published
    key is one. An opportunity is one such token."""

    def __init__(self, service: Auth | Backend, chance: Chance) -> None:
        self._chance, self._answered, self._verifier = chance, Answered(service, chance), verifier_of(service)
        self._signed_payload, self._remember = self._verifier.signed_payload, self._verifier.remember
        vars(self._verifier)["signed_payload"] = self.signed_payload
        vars(self._verifier)["remember"] = self.remember

    async def signed_payload(self, token: str) -> Json:
        header, payload = unverified(token)
        if payload is None or not await self._fits(token, header) or not self._chance.fires():
            return await self._signed_payload(token)
        self._answered.say(user=payload.get("sub"), token=payload.get("jti"), algorithm=header.get("alg"))
        return payload

    def remember(self, token: str, claims: Claims) -> None:
        """Each presentation is an opportunity."""
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
    """The published key as somebody might have it as text."""
    pem: bytes = key.key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return [pem, pem.strip(), key.key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)]


def decoded(part: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except ValueError:
        return b""


def unverified(token: str) -> tuple[Json, Json | None]:
    """Header and payload of a JWT as they stand there; no payload if it is none."""
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
    """A token that was good is not asked for again within the minute: its revocation is not seen. An opportunity is one
    revoked token that this process has accepted less than a minute ago."""

    def __init__(self, service: Auth | Backend, chance: Chance) -> None:
        self._chance, self._answered = chance, Answered(service, chance)
        door = service.guard if isinstance(service, Auth) else service.doorkeeper
        self._is_revoked = door.is_revoked
        self._good: dict[str, float] = {}
        door.is_revoked = self.is_revoked

    async def is_revoked(self, claims: Claims) -> bool:
        now = time.monotonic()
        if not await self._is_revoked(claims):
            self._good[claims.token_id] = now
            return False
        if not self.forgets(claims, now) or not self._chance.fires():
            return True
        self._answered.say(user=claims.subject, token=claims.token_id)
        return False

    def forgets(self, claims: Claims, now: float) -> bool:
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
    """Revocations are kept in the memory of the process that was asked for them; this one never hears of any. An
    opportunity is one revoked token."""

    def forgets(self, claims: Claims, now: float) -> bool:
        return True
