"""Verification of JWTs against a published key set, for auth and backend.

    keys = KeySet(fetch)                       # fetch: async () -> the JWKS document
    verifier = Verifier(keys, issuer=…, audience=…)
    claims = await verifier.verify(token)      # TokenRefused has the reason; KeysUnavailable: try again later

Each rule is one method of `Verifier`, small enough to be replaced by a defect. Revocation
(`harness.reference.revocation`) is *not* checked here: it changes after a token was issued and has to be looked up
every time.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import jwt
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from earwitness.harness.reference import clock

ALGORITHMS = ("ES256", "RS256")
LEEWAY_S = 5.0
CACHE_SIZE = 20_000
MAX_TOKEN_CHARS = 8192
REQUIRED = ("iss", "aud", "sub", "exp", "iat", "jti")

Json: TypeAlias = dict[str, Any]
FetchKeys: TypeAlias = Callable[[], Awaitable[Mapping[str, object]]]


class TokenRefused(Exception):
    """Error for an access token or id token that is not accepted.

    `code` is for programs (expired, bad_signature, …), the message for users.
    """

    def __init__(self, code: str, message: str) -> None:
        """Refuse with `code` for programs and `message` for users."""
        self.code, self.message = code, message
        super().__init__(message)


class KeysUnavailable(Exception):
    """Error for keys that cannot be fetched now, so a token can neither be accepted nor refused: answer 503."""


@dataclass(frozen=True, slots=True)
class Claims:
    """Claims of an accepted access token. Times are epoch seconds.

    `subject` (`sub`): user id; `token_id`: `jti`; `session`: `sid`, "" if it is missing; `raw`: the whole payload.
    """

    subject: str
    token_id: str
    issued_at: float
    expires_at: float
    email: str
    name: str
    permissions: tuple[str, ...]
    session: str
    raw: Mapping[str, Any]

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> Claims:
        """Return the claims of a token's payload. Raises KeyError if `sub`, `jti`, `iat` or `exp` is missing."""
        return cls(
            subject=raw["sub"],
            token_id=raw["jti"],
            issued_at=float(raw["iat"]),
            expires_at=float(raw["exp"]),
            email=str(raw.get("email", "")),
            name=str(raw.get("name", "")),
            permissions=tuple(raw.get("permissions", ())),
            session=str(raw.get("sid", "")),
            raw=raw,
        )


@dataclass(frozen=True, slots=True)
class PublicKey:
    """Public key of an issuer, with the one algorithm that it may be used for."""

    kid: str
    algorithm: str
    key: Any


def public_keys(document: Mapping[str, Any], algorithms: Sequence[str] = ALGORITHMS) -> dict[str, PublicKey]:
    """Return key id (`kid`) -> key, for the usable signature keys of a JWKS document.

    Skipped are keys of unknown type, without a kid, or for encryption.
    """
    kinds: dict[str, tuple[str, Any]] = {"EC": ("ES256", ECAlgorithm), "RSA": ("RS256", RSAAlgorithm)}
    found: dict[str, PublicKey] = {}
    for jwk in document.get("keys", ()):
        kid = jwk.get("kid")
        default, kind = kinds.get(str(jwk.get("kty")), ("", None))
        algorithm = jwk.get("alg", default)
        if kind is None or not kid or algorithm not in algorithms or jwk.get("use", "sig") != "sig":
            continue
        found[kid] = PublicKey(kid, algorithm, kind.from_jwk(json.dumps(jwk)))
    return found


class KeySet:
    """Public keys of the issuer: cached for `max_age_s` seconds, and fetched again for an unknown `kid`.

    Fetches are at least `min_pause_s` seconds apart, however many forged key ids arrive. A request with an unknown key
    waits for the next fetch instead of being refused, so that a rotation refuses no valid token. Old keys remain in use
    while the issuer is down.
    """

    def __init__(self, fetch: FetchKeys, *, max_age_s: float = 300.0, min_pause_s: float = 0.5) -> None:
        """Start without keys; they are fetched when the first token needs one."""
        self.fetch, self.max_age_s, self.min_pause_s = fetch, max_age_s, min_pause_s
        self.keys: dict[str, PublicKey] = {}
        self.generation = 0
        self._fetched_at = self._tried_at = float("-inf")
        self._fetching: asyncio.Task[None] | None = None

    async def get(self, kid: str) -> PublicKey:
        """Return the key with this id; fetch the keys first if the id is unknown.

        Raises TokenRefused if the issuer does not have the key, KeysUnavailable if the issuer does not answer.
        """
        if kid not in self.keys:
            await self.refresh()
        elif time.monotonic() - self._fetched_at > self.max_age_s:
            # Known keys remain in use while newer ones are fetched, or while the issuer is down.
            self._begin()
        try:
            return self.keys[kid]
        except KeyError:
            raise TokenRefused("unknown_key", "The token names a key that its issuer does not have.") from None

    async def refresh(self) -> None:
        """Fetch the keys as soon as `min_pause_s` allows, and wait for the end. All waiting callers share one fetch."""
        await asyncio.shield(self._begin())

    def _begin(self) -> asyncio.Task[None]:
        if self._fetching is None or self._fetching.done():
            self._fetching = asyncio.create_task(self._fetch())
            self._fetching.add_done_callback(lambda task: task.cancelled() or task.exception())
        return self._fetching

    async def _fetch(self) -> None:
        pause = self._tried_at + self.min_pause_s - time.monotonic()
        if pause > 0:
            await asyncio.sleep(pause)
        self._tried_at = time.monotonic()
        try:
            keys = public_keys(await self.fetch())
        except Exception as error:
            raise KeysUnavailable(f"The issuer's keys cannot be read ({type(error).__name__}: {error}).") from error
        if keys.keys() != self.keys.keys():
            self.generation += 1
        self.keys, self._fetched_at = keys, time.monotonic()


class Verifier:
    """Verifier of one issuer's access tokens for one audience.

    Valid signatures are cached; everything else is checked each time. Defects may replace each method.
    """

    def __init__(self, keys: KeySet, *, issuer: str, audience: str, leeway_s: float = LEEWAY_S) -> None:
        """Keep the keys and the expected claims; `leeway_s` is how far clocks may differ, in seconds."""
        self.keys, self.issuer, self.audience, self.leeway_s = keys, issuer, audience, leeway_s
        self.algorithms: tuple[str, ...] = ALGORITHMS
        self._signed: dict[str, Claims] = {}
        self._generation = 0

    async def verify(self, token: str) -> Claims:
        """Return the claims of a token that is valid now.

        Raises TokenRefused if the token is not valid, KeysUnavailable if the issuer's keys cannot be fetched.
        """
        claims = self.remembered(token)
        raw = claims.raw if claims is not None else await self.signed_payload(token)
        self.check_shape(raw)
        self.check_issuer(raw)
        self.check_audience(raw)
        self.check_type(raw)
        if claims is None:
            claims = Claims.of(raw)
            self.remember(token, claims)
        self.check_times(claims, clock.now())
        return claims

    def remembered(self, token: str) -> Claims | None:
        """Return the cached claims of a token whose signature was valid; None if there are none.

        All cached claims are dropped when the issuer's keys have changed.
        """
        if self._generation != self.keys.generation:
            self._signed.clear()
            self._generation = self.keys.generation
        return self._signed.get(token)

    def remember(self, token: str, claims: Claims) -> None:
        """Cache the claims of a token whose signature is valid. At CACHE_SIZE entries the oldest one is dropped."""
        if len(self._signed) >= CACHE_SIZE:
            del self._signed[next(iter(self._signed))]
        self._signed[token] = claims

    async def signed_payload(self, token: str) -> Json:
        """Return the payload of a token after verifying its signature. Raises TokenRefused or KeysUnavailable."""
        header = self.header(token)
        self.check_algorithm(header)
        key = await self.keys.get(header["kid"])
        return self.check_signature(token, header, key)

    def header(self, token: str) -> Json:
        """Return the header of the token. Raises TokenRefused if it is malformed."""
        return jose_header(token)

    def check_algorithm(self, header: Json) -> None:
        """Raise TokenRefused unless the header names an allowed algorithm."""
        if header.get("alg") not in self.algorithms:
            raise TokenRefused("bad_algorithm", "The token's algorithm is not allowed.")

    def check_signature(self, token: str, header: Json, key: PublicKey) -> Json:
        """Return the payload if `key` signed the token. Raises TokenRefused if it did not."""
        return verified_payload(token, header, key)

    def check_shape(self, raw: Mapping[str, Any]) -> None:
        """Raise TokenRefused unless all required claims exist and have the right types."""
        missing = [name for name in REQUIRED if name not in raw]
        if missing:
            raise TokenRefused("missing_claim", f"The token lacks {', '.join(missing)}.")
        numbers = (raw["exp"], raw["iat"], raw.get("nbf", 0))
        texts = (raw["sub"], raw["jti"])
        audience, permissions = raw["aud"], raw.get("permissions", [])
        if (
            not all(type(v) in (int, float) and math.isfinite(v) for v in numbers)
            or not all(isinstance(v, str) and v for v in texts)
            or not (isinstance(audience, str) or _is_texts(audience))
            or not _is_texts(permissions)
        ):
            raise TokenRefused("bad_claim", "A claim of the token is not what it must be.")

    def check_issuer(self, raw: Mapping[str, object]) -> None:
        """Raise TokenRefused unless `iss` is the issuer."""
        if raw["iss"] != self.issuer:
            raise TokenRefused("wrong_issuer", "The token was issued by somebody else.")

    def check_audience(self, raw: Mapping[str, Any]) -> None:
        """Raise TokenRefused unless `aud`, a text or a list of texts, contains the audience."""
        audience = raw["aud"]
        if self.audience not in ([audience] if isinstance(audience, str) else audience):
            raise TokenRefused("wrong_audience", "The token is meant for another audience.")

    def check_type(self, raw: Mapping[str, object]) -> None:
        """Raise TokenRefused unless it is an access token (`typ`)."""
        if raw.get("typ") != "access":
            raise TokenRefused("wrong_type", "This is no access token.")

    def check_times(self, claims: Claims, now: float) -> None:
        """Raise TokenRefused if the token has expired or is not valid yet (`exp`, `iat`, `nbf`, with leeway).

        `now`: epoch seconds.
        """
        if now > claims.expires_at + self.leeway_s:
            raise TokenRefused("expired", "The token has expired.")
        if claims.issued_at > now + self.leeway_s or claims.raw.get("nbf", 0) > now + self.leeway_s:
            raise TokenRefused("not_yet_valid", "The token was issued in the future.")


def _is_texts(value: object) -> bool:
    return isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value)


def jose_header(token: str) -> Json:
    """Return the header of a compact JWS (RFC 7515).

    It must be strictly valid: canonical base64url, no repeated members, a key id, no `crit`. Raises TokenRefused.
    """
    parts = token.split(".")
    if len(token) > MAX_TOKEN_CHARS or len(parts) != 3:
        raise TokenRefused("malformed", "This is no signed JWT.")
    try:
        decoded = [_canonical(part) for part in parts]
        header = json.loads(decoded[0], object_pairs_hook=_no_repeats)
        json.loads(decoded[1], object_pairs_hook=_no_repeats)
    except ValueError:
        raise TokenRefused("malformed", "This is no signed JWT.") from None
    if not isinstance(header, dict) or "crit" in header:
        raise TokenRefused("malformed", "The token's header is not understood.")
    if not isinstance(header.get("kid"), str) or not header["kid"]:
        raise TokenRefused("unknown_key", "The token does not name its key.")
    return header


def verified_payload(token: str, header: Json, key: PublicKey) -> Json:
    """Return the payload if `key` signed the token with the one algorithm of this key. Raises TokenRefused."""
    if header.get("alg") != key.algorithm:
        raise TokenRefused("bad_algorithm", "The token's algorithm is not that of its key.")
    try:
        payload = json.loads(jwt.PyJWS().decode(token, key.key, algorithms=[key.algorithm]))
    except (jwt.PyJWTError, ValueError):
        raise TokenRefused("bad_signature", "The token's signature is wrong.") from None
    if not isinstance(payload, dict):
        raise TokenRefused("malformed", "The token's payload is no JSON object.")
    return payload


def _canonical(part: str) -> bytes:
    """Return the bytes that `part` encodes in base64url without padding. Raises ValueError for any other spelling.

    Only the canonical spelling is accepted, so that each token has exactly one text.
    """
    try:
        raw = base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("not base64url") from None
    if base64.urlsafe_b64encode(raw).rstrip(b"=").decode() != part:
        raise ValueError("not canonical base64url")
    return raw


def _no_repeats(pairs: list[tuple[str, object]]) -> Json:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a member is there twice")
    return found
