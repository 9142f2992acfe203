"""Access tokens that a platform must not accept, and a control token that it must accept.

A forgery about a single claim is signed with the platform's own key, read from its database. A token with a wrong
audience and a wrong signature would be refused for the signature, and prove nothing about audiences. Without that key
(`Forger.key` None) only the forgeries of `WITHOUT_KEY` can be made.

"Validly signed" in the descriptions below means: signed with the platform's key.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import hmac
import json
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

LONG_S = 3600.0


def b64(data: bytes) -> str:
    """Return data as base64url without padding (RFC 7515 §2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def part(value: Mapping[str, object]) -> str:
    """Return `value` as the header or payload of a JWT: compact JSON, encoded in base64url."""
    return b64(json.dumps(value, separators=(",", ":")).encode())


def unpack(text: str) -> Any:
    """Return the decoded JSON value of a JWT's header or payload (base64url)."""
    return json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))


@functools.cache
def own_rsa_key() -> rsa.RSAPrivateKey:
    """Return an RSA key (2048 bits) of the tester; it is made once in a process, because that takes long."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@functools.cache
def own_ec_key() -> ec.EllipticCurvePrivateKey:
    """Return an elliptic key (P-256) of the tester; it is made once in a process."""
    return ec.generate_private_key(ec.SECP256R1())


@functools.cache
def read_key(pem: str) -> ec.EllipticCurvePrivateKey:
    """Return a platform's signing key from its PEM.

    Raises ValueError for another kind of key.
    """
    key = serialization.load_pem_private_key(pem.encode(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("the signing key is no elliptic key")
    return key


@dataclass(frozen=True)
class Forger:
    """Maker of forgeries from the tokens of one person, the victim.

    kid, public           name and public half of the key that the platform signs with now
    token, refresh_token  the victim's access token and refresh token
    other_id              user id of another person
    key                   the private half of the platform's key, None if it is not known; without it the methods that
                          sign with that key raise AssertionError
    """

    kid: str
    public: ec.EllipticCurvePublicKey
    token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    other_id: str
    key: ec.EllipticCurvePrivateKey | None = field(default=None, repr=False)

    @functools.cached_property
    def claims(self) -> dict[str, object]:
        """Return the claims of the victim's token."""
        return dict(unpack(self.token.split(".")[1]))

    def _own(self) -> ec.EllipticCurvePrivateKey:
        assert self.key is not None, "this forgery needs the platform's key"
        return self.key

    def minted(self, *, without: str = "", header: Mapping[str, object] | None = None, **changes: object) -> str:
        """Return a token that is signed with the platform's key: the victim's claims, newly issued, with changes.

        `without`: a claim to leave out; `header`: members added to the header; `changes`: claims that replace the
        victim's. Raises AssertionError if the private key is unknown.
        """
        claims = {**self.claims, "jti": uuid.uuid4().hex, "iat": time.time(), **changes}
        claims.pop(without, None)
        return jwt.encode(claims, self._own(), algorithm="ES256", headers={"kid": self.kid, **(header or {})})

    def parts(self) -> tuple[str, str, str]:
        """Return (header, payload, signature) of the victim's token, each in base64url."""
        head, payload, signature = self.token.split(".")
        return head, payload, signature

    def signed_by(self, head: str, payload: str) -> str:
        """Return a token with the encoded `head` and `payload` as given, validly signed by the platform's key.

        Both may be malformed.
        """
        raw = jwt.algorithms.ECAlgorithm(jwt.algorithms.ECAlgorithm.SHA256).sign(
            f"{head}.{payload}".encode(), self._own()
        )
        return f"{head}.{payload}.{b64(raw)}"

    def control(self) -> str:
        """Return a valid token that is minted in the same way as the forgeries. A platform must accept it."""
        return self.minted(exp=int(time.time() + LONG_S))

    def bad_signature(self) -> str:
        """Return the victim's token with one bit of its signature changed."""
        head, payload, signature = self.parts()
        raw = bytearray(base64.urlsafe_b64decode(signature + "=="))
        raw[20] ^= 1
        return f"{head}.{payload}.{b64(bytes(raw))}"

    def no_signature(self) -> str:
        """Return the victim's token with an empty signature."""
        head, payload, _ = self.parts()
        return f"{head}.{payload}."

    def algorithm_none(self) -> str:
        """Return an unsigned token whose header says `alg: none` (RFC 7519 §6)."""
        return f"{part({'alg': 'none', 'typ': 'JWT', 'kid': self.kid})}.{self.parts()[1]}."

    def _hmac(self, secret: bytes) -> str:
        signed = f"{part({'alg': 'HS256', 'typ': 'JWT', 'kid': self.kid})}.{self.parts()[1]}"
        return f"{signed}.{b64(hmac.digest(secret, signed.encode(), hashlib.sha256))}"

    def hmac_with_public_pem(self) -> str:
        """Return the victim's claims signed with HS256; the HMAC secret is the platform's public key as PEM."""
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        return self._hmac(self.public.public_bytes(serialization.Encoding.PEM, form))

    def hmac_with_public_jwk(self) -> str:
        """Return the victim's claims signed with HS256; the HMAC secret is the platform's public key as JWK."""
        return self._hmac(jwt.algorithms.ECAlgorithm.to_jwk(self.public).encode())

    def other_algorithm_of_the_key(self) -> str:
        """Return the victim's claims signed with RS256 by a key of the tester; `kid` names the platform's EC key."""
        return jwt.encode(self.claims, own_rsa_key(), algorithm="RS256", headers={"kid": self.kid})

    def foreign_key(self) -> str:
        """Return the victim's claims signed with ES256 by a key of the tester; `kid` names the platform's key."""
        return jwt.encode(self.claims, own_ec_key(), algorithm="ES256", headers={"kid": self.kid})

    def key_in_the_header(self) -> str:
        """Return the victim's claims signed by a key of the tester, whose public half is in the header `jwk`."""
        key = own_ec_key()
        jwk = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(key.public_key()))
        headers = {"kid": self.kid, "jwk": jwk}
        return jwt.encode(self.claims, key, algorithm="ES256", headers=headers)

    def edited_payload(self) -> str:
        """Return the victim's token with another user's id as `sub`; the signature stays and so does not match."""
        head, payload, signature = self.parts()
        return f"{head}.{part({**unpack(payload), 'sub': self.other_id})}.{signature}"

    def more_permissions(self) -> str:
        """Return the victim's token with the permission `admin` added; the signature stays and so does not match."""
        head, payload, signature = self.parts()
        return f"{head}.{part({**unpack(payload), 'permissions': ['chat', 'admin']})}.{signature}"

    def wrong_issuer(self) -> str:
        """Return a validly signed token whose issuer (`iss`) is not the platform."""
        return self.minted(iss="https://staging.example")

    def wrong_audience(self) -> str:
        """Return a validly signed token whose audience (`aud`) is another service."""
        return self.minted(aud="another-service")

    def audiences_without_ours(self) -> str:
        """Return a validly signed token whose audience (`aud`) is a list of other services."""
        return self.minted(aud=["a-service", "another-service"])

    def refresh_as_access(self) -> str:
        """Return the victim's refresh token, to be presented as an access token."""
        return self.refresh_token

    def no_type(self) -> str:
        """Return a validly signed token without the claim `typ`, which distinguishes access from refresh tokens."""
        return self.minted(without="typ")

    def no_expiry(self) -> str:
        """Return a validly signed token without the claim `exp`, so that it would never expire."""
        return self.minted(without="exp")

    def no_audience(self) -> str:
        """Return a validly signed token without the claim `aud`, so that it names no service."""
        return self.minted(without="aud")

    def issued_in_the_future(self) -> str:
        """Return a validly signed token whose time of issue (`iat`) is an hour from now."""
        return self.minted(iat=time.time() + LONG_S, exp=int(time.time() + 2 * LONG_S))

    def not_yet_valid(self) -> str:
        """Return a validly signed token that becomes valid (`nbf`) an hour from now."""
        return self.minted(nbf=time.time() + LONG_S)

    def expired(self) -> str:
        """Return a validly signed token that expired 30 s ago."""
        return self.minted(iat=time.time() - LONG_S, exp=int(time.time() - 30))

    def empty_kid(self) -> str:
        """Return a validly signed token whose `kid` is empty."""
        return self.minted(header={"kid": ""})

    def unknown_kid(self) -> str:
        """Return a validly signed token whose `kid` names no key."""
        return self.minted(header={"kid": "nobody-has-this-key"})

    def critical_header(self) -> str:
        """Return a validly signed token whose critical header (`crit`, RFC 7515 §4.1.11) no service understands."""
        return self.minted(header={"crit": ["exp"], "exp": 1})

    def duplicate_header_member(self) -> str:
        """Return a validly signed token with two `alg` members in its header: parsers differ in which one counts."""
        head = b64(f'{{"alg":"none","alg":"ES256","typ":"JWT","kid":"{self.kid}"}}'.encode())
        return self.signed_by(head, self.parts()[1])

    def duplicate_claim(self) -> str:
        """Return a validly signed token with two `sub` claims: another user's id, then the victim's."""
        text = json.dumps(self.claims)
        return self.signed_by(self.parts()[0], b64(f'{{"sub":"{self.other_id}",{text[1:]}'.encode()))

    def written_otherwise(self) -> str:
        """Return the victim's token with another last character that decodes to the same signature bytes.

        A platform that revokes tokens by their text would not recognise this form.
        """
        head, payload, signature = self.parts()
        alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
        return f"{head}.{payload}.{signature[:-1]}{alphabet[alphabet.index(signature[-1]) | 1]}"

    def random_text(self) -> str:
        """Return a text that is no token."""
        return "not.a.token"


FORGERIES: dict[str, Callable[[Forger], str]] = {
    function.__name__: function
    for function in (
        Forger.bad_signature, Forger.no_signature, Forger.algorithm_none, Forger.hmac_with_public_pem,
        Forger.hmac_with_public_jwk, Forger.other_algorithm_of_the_key, Forger.foreign_key, Forger.key_in_the_header,
        Forger.edited_payload, Forger.more_permissions, Forger.wrong_issuer, Forger.wrong_audience,
        Forger.audiences_without_ours, Forger.refresh_as_access, Forger.no_type, Forger.no_expiry, Forger.no_audience,
        Forger.issued_in_the_future, Forger.not_yet_valid, Forger.expired, Forger.empty_kid, Forger.unknown_kid,
        Forger.critical_header, Forger.duplicate_header_member, Forger.duplicate_claim, Forger.written_otherwise,
        Forger.random_text,
    )
}  # fmt: skip
"""Methods of Forger that make a forgery, by their names."""

TIMED: frozenset[str] = frozenset(("issued_in_the_future", "not_yet_valid", "expired"))
"""Forgeries that are wrong only by their times. A tester whose wall clock is an hour wrong would make valid tokens."""
WITHOUT_KEY: tuple[str, ...] = (
    "bad_signature", "no_signature", "algorithm_none", "hmac_with_public_pem", "hmac_with_public_jwk",
    "other_algorithm_of_the_key", "foreign_key", "key_in_the_header", "edited_payload", "more_permissions",
    "refresh_as_access", "written_otherwise", "random_text",
)  # fmt: skip
"""Forgeries that do not need the platform's key."""
NUMBERS: Mapping[str, int] = {name: number for number, name in enumerate(FORGERIES, start=1)}
"""Number of each forgery in records, from 1, by name."""
