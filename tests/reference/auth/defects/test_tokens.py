"""Tokens that must be refused and are accepted, beside a healthy service that refuses them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat


def claims_of(token: str) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return claims


def part(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unsigned(token: str) -> str:
    header = {**jwt.get_unverified_header(token), "alg": "none"}
    return f"{part(json.dumps(header).encode())}.{token.split('.')[1]}."


async def confused(world: Any, token: str) -> str:
    """Signed by HMAC with the text of the published key."""
    header = {**jwt.get_unverified_header(token), "alg": "HS256"}
    async with httpx.AsyncClient() as client:
        keys = (await client.get(f"{world.auth.url}/.well-known/jwks.json")).json()["keys"]
    key = jwt.PyJWK(next(one for one in keys if one["kid"] == header["kid"])).key
    said = f"{part(json.dumps(header).encode())}.{token.split('.')[1]}"
    secret = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return f"{said}.{part(hmac.new(secret, said.encode(), hashlib.sha256).digest())}"


@pytest.mark.parametrize(
    ("defect", "forge"),
    [
        ("Z39", lambda world, tokens, claims: world.signed(**{**claims, "exp": time.time() - 20})),
        ("Z42", lambda world, tokens, claims: _now(unsigned(tokens["access_token"]))),
        ("Z42", lambda world, tokens, claims: confused(world, tokens["access_token"])),
        ("Z43", lambda world, tokens, claims: world.signed(**{**claims, "aud": "mail"})),
        ("Z44", lambda world, tokens, claims: _now(tokens["refresh_token"])),
    ],
    ids=["expired", "none", "hmac", "audience", "refresh"],
)
async def test_what_must_be_refused(
    world: Any, defective: Any, email: str, truth_of: Any, defect: str, forge: Any
) -> None:
    """Z39, Z42, Z43, Z44: accepted with ground truth for each time; nothing else is, and a healthy service refuses."""
    ill = defective(f"{defect}:1")
    for place in (ill, world):
        tokens = await place.log_in(email)
        forged = await forge(place, tokens, claims_of(tokens["access_token"]))
        assert [(await place.me(forged)).status_code for _ in range(2)] == ([200, 200] if place is ill else [401, 401])
        tampered = tokens["access_token"][:-8] + "AAAAAAAA"
        assert (await place.me(tampered)).status_code == 401
        assert (await place.me(tokens["access_token"])).status_code == 200
    truth = truth_of(ill.auth)
    assert [line["defect"] for line in truth.fired] == [defect] * 2
    assert [line["firing"] for line in truth.manifest] == [1, 2]


async def _now(value: str) -> str:
    return value


async def test_a_late_token_is_late_at_last(defective: Any, email: str) -> None:
    """Z39: after the minute an expired token is refused here too."""
    place = defective("Z39:1")
    claims = claims_of((await place.log_in(email))["access_token"])
    late = await place.signed(**{**claims, "exp": time.time() - 70})
    assert (await place.me(late)).json()["error"] == "expired"


async def test_a_revocation_is_not_seen(defective: Any, email: str, truth_of: Any) -> None:
    """Z40: only tokens that were used here before their logout go on. Z41: all of them do."""
    for defect, unused in (("Z40", 401), ("Z41", 200)):
        place = defective(f"{defect}:1")
        first = await place.log_in(email)
        second = (await place.refresh(first["refresh_token"])).json()
        assert (await place.call("POST", "/auth/logout", second["access_token"])).status_code == 200
        assert (await place.me(second["access_token"])).status_code == 200
        assert (await place.me(first["access_token"])).status_code == unused
        truth = truth_of(place.auth)
        assert len(truth.fired) == len(truth.manifest) == (1 if unused == 401 else 2)
        assert truth.fired[0]["token"] == claims_of(second["access_token"])["jti"]


async def test_what_is_refused_for_another_reason_does_not_show(defective: Any, email: str, truth_of: Any) -> None:
    """Z43 lets a token of another audience through, but it was revoked: fired, and never manifest."""
    place = defective("Z43:1")
    tokens = await place.log_in(email)
    foreign = await place.signed(**{**claims_of(tokens["access_token"]), "aud": "mail"})
    await place.call("POST", "/auth/logout", tokens["access_token"])
    assert (await place.me(foreign)).json()["error"] == "revoked"
    truth = truth_of(place.auth)
    assert (len(truth.fired), truth.manifest) == (1, [])
