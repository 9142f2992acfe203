"""Access tokens: what they say, which forgeries are refused, and what a key rotation changes."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from typing import Any

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

AUDIENCE = "earwitness-tests"


def part(data: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(data).encode()).rstrip(b"=").decode()


def payload_of(token: str) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return claims


async def jwks_of(world: Any) -> dict[str, Any]:
    async with httpx.AsyncClient(verify=False, timeout=30) as client:
        keys: dict[str, Any] = (await client.get(f"{world.auth.url}/.well-known/jwks.json")).json()
        return keys


async def test_a_library_verifies_the_token(world: Any, email: str) -> None:
    """PyJWT, with nothing but the published keys, agrees; every promised claim is there."""
    answer = await world.log_in(email)
    token = answer["access_token"]
    keys = jwt.PyJWKSet.from_dict(await jwks_of(world))
    key = keys[jwt.get_unverified_header(token)["kid"]]
    claims = jwt.decode(token, key, algorithms=["ES256"], audience=AUDIENCE, issuer=world.auth.url)
    assert claims["sub"] == answer["user"]["id"]
    assert claims["email"] == email
    assert claims["typ"] == "access"
    assert claims["permissions"] == ["chat"]
    assert {"exp", "iat", "jti", "name"} <= claims.keys()


async def test_published_keys_are_public(world: Any) -> None:
    """No private part in the JWKS."""
    for key in (await jwks_of(world))["keys"]:
        assert key.keys() == {"kty", "crv", "x", "y", "kid", "alg", "use"}


def forgeries(token: str, refresh_token: str, public: dict[str, Any]) -> dict[str, str]:
    header, payload, signature = token.split(".")
    claims, head = payload_of(token), jwt.get_unverified_header(token)
    mine = ec.generate_private_key(ec.SECP256R1())
    pem = ECAlgorithm.from_jwk(public).public_bytes(*_pem())  # type: ignore[union-attr]
    hs = jwt.api_jws.PyJWS()
    hs._algorithms["HS256"].prepare_key = lambda key: key  # PyJWT itself refuses to make this forgery
    last = {"A": "Q", "Q": "g", "g": "w", "w": "A"}[signature[-1]] if signature[-1] in "AQgw" else "A"
    middle = "B" if signature[40] != "B" else "C"
    return {
        "a signature changed in the middle": f"{header}.{payload}.{signature[:40]}{middle}{signature[41:]}",
        "a signature changed at its end": f"{header}.{payload}.{signature[:-1]}{last}",
        "stray bits after the signature": f"{header}.{payload}.{signature[:-1]}{chr(ord(signature[-1]) + 1)}",
        "no signature": f"{header}.{payload}.",
        "an edited payload": f"{header}.{part({**claims, 'sub': 'somebody-else'})}.{signature}",
        "alg none": f"{part({**head, 'alg': 'none'})}.{payload}.",
        "alg None in another case": f"{part({**head, 'alg': 'nOnE'})}.{payload}.{signature}",
        "the public key as an HMAC secret": hs.encode(
            json.dumps(claims).encode(), pem, algorithm="HS256", headers={"kid": head["kid"]}
        ),
        "a foreign key under our key id": jwt.encode(claims, mine, algorithm="ES256", headers={"kid": head["kid"]}),
        "a foreign key under its own id": jwt.encode(claims, mine, algorithm="ES256", headers={"kid": "mine"}),
        "a foreign key in the header": jwt.encode(
            claims, mine, algorithm="ES256",
            headers={"kid": "mine", "jwk": json.loads(ECAlgorithm.to_jwk(mine.public_key()))},
        ),
        "no key id": jwt.encode(claims, mine, algorithm="ES256"),
        "an empty key id": jwt.encode(claims, mine, algorithm="ES256", headers={"kid": ""}),
        "the refresh token": refresh_token,
        "not a token": "hello",
        "three empty parts": "..",
        "padding": f"{header}=.{payload}.{signature}",
    }  # fmt: skip


def _pem() -> Any:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return Encoding.PEM, PublicFormat.SubjectPublicKeyInfo


async def test_forgeries_are_refused(world: Any, email: str) -> None:
    """Each one is 401, beside the true token, which is accepted before and after."""
    answer = await world.log_in(email)
    token = answer["access_token"]
    kid = jwt.get_unverified_header(token)["kid"]
    public = next(key for key in (await jwks_of(world))["keys"] if key["kid"] == kid)
    assert (await world.me(token)).status_code == 200
    for what, forged in forgeries(token, answer["refresh_token"], public).items():
        refused = await world.me(forged)
        assert refused.status_code == 401, what
        assert refused.headers["www-authenticate"].startswith("Bearer"), what
    assert (await world.me(token)).status_code == 200


async def test_two_authorization_headers_are_refused(world: Any, email: str) -> None:
    """Nobody has to guess which of them counts."""
    token = (await world.log_in(email))["access_token"]
    async with httpx.AsyncClient(verify=False, timeout=30) as client:
        headers = [("Authorization", f"Bearer {token}"), ("Authorization", f"Bearer {token}")]
        assert (await client.get(f"{world.auth.url}/auth/me", headers=headers)).status_code == 401
        assert (await client.get(f"{world.auth.url}/auth/me", headers=headers[:1])).status_code == 200
        assert (await client.get(f"{world.auth.url}/auth/me")).json()["error"] == "no_token"


async def test_a_short_token_ends(world: Any, email: str, eventually: Any) -> None:
    """Accepted at first; refused once its deadline and the leeway of 5 s have passed, and not before the deadline."""
    token = (await world.log_in(email, ttl=0.01))["access_token"]
    expires_at = payload_of(token)["exp"]
    assert (await world.me(token)).status_code == 200

    async def refused() -> bool:
        return (await world.me(token)).status_code == 401

    await eventually(refused)
    now = time.time()
    assert expires_at <= now <= expires_at + 6


async def test_rotation_drops_nobody(world: Any, email: str) -> None:
    """Tokens of before go on, new ones are signed by the new key, both keys are published."""
    before = (await world.log_in(email))["access_token"]
    async with httpx.AsyncClient(verify=False, timeout=30) as client:
        rotated = await client.post(f"{world.auth.url}/auth/admin/rotate-keys")
    assert rotated.status_code == 200
    after = (await world.log_in(email))["access_token"]
    kids = [jwt.get_unverified_header(token)["kid"] for token in (before, after)]
    assert kids[0] != kids[1]
    assert kids[1] == rotated.json()["kid"]
    assert set(kids) <= {key["kid"] for key in (await jwks_of(world))["keys"]}
    assert (await world.me(before)).status_code == 200
    assert (await world.me(after)).status_code == 200


async def test_rotations_under_load_drop_nobody(world: Any, email: str) -> None:
    """Requests and rotations at once: no token is refused."""
    token = (await world.log_in(email))["access_token"]

    async def rotate() -> None:
        async with httpx.AsyncClient(verify=False, timeout=30) as client:
            for _ in range(4):
                assert (await client.post(f"{world.auth.url}/auth/admin/rotate-keys")).status_code == 200
                fresh = (await world.log_in(email))["access_token"]
                assert (await world.me(fresh)).status_code == 200

    async def use() -> set[int]:
        return {(await world.me(token)).status_code for _ in range(15)}

    results = await asyncio.gather(rotate(), use(), use())
    assert results[1] | results[2] == {200}


async def test_a_ticket_carries_the_claims_once(world: Any, valkey: Any, email: str) -> None:
    """POST /auth/ticket stores the claims for 30 s; two holders at once cannot both redeem it."""
    token = (await world.log_in(email))["access_token"]
    ticket = (await world.call("POST", "/auth/ticket", token)).json()["ticket"]
    assert 0 < await valkey.ttl(f"ticket:{ticket}") <= 30
    found = await asyncio.gather(*(valkey.getdel(f"ticket:{ticket}") for _ in range(2)))
    claims = [json.loads(value) for value in found if value is not None]
    assert claims == [payload_of(token)]
