"""The verifier and its key set by themselves: rules, deadlines, fetching."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given, settings
from hypothesis import strategies as st
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from earwitness.harness.reference.tokens import Claims, KeySet, KeysUnavailable, TokenRefused, Verifier, public_keys

ISSUER, AUDIENCE = "http://auth", "chat"
EC, OTHER_EC = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
DOCUMENT = {
    "keys": [
        {**json.loads(ECAlgorithm.to_jwk(EC.public_key())), "kid": "e", "alg": "ES256", "use": "sig"},
        {**json.loads(RSAAlgorithm.to_jwk(RSA.public_key())), "kid": "r", "alg": "RS256", "use": "sig"},
        {"kty": "oct", "kid": "h", "k": "c2VjcmV0", "alg": "HS256"},
        {**json.loads(ECAlgorithm.to_jwk(OTHER_EC.public_key())), "kid": "enc", "use": "enc"},
    ]
}


class Issuer:
    """Publishes keys; counts how often it is asked; may be down."""

    def __init__(self) -> None:
        self.document: dict[str, Any] = DOCUMENT
        self.asked, self.down = 0, False

    async def fetch(self) -> dict[str, Any]:
        self.asked += 1
        if self.down:
            raise OSError("down")
        return self.document


def claims(**changes: Any) -> dict[str, Any]:
    now = time.time()
    whole = {"iss": ISSUER, "aud": AUDIENCE, "sub": "s", "jti": "j", "iat": now, "exp": now + 60, "typ": "access"}
    return {name: value for name, value in {**whole, **changes}.items() if value is not ...}


def signed(payload: dict[str, Any], kid: str = "e") -> str:
    key: Any = EC if kid == "e" else RSA
    return jwt.PyJWS().encode(
        json.dumps(payload).encode(), key, algorithm="ES256" if kid == "e" else "RS256", headers={"kid": kid}
    )


@pytest.fixture
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture
def verifier(issuer: Issuer) -> Verifier:
    return Verifier(KeySet(issuer.fetch, min_pause_s=0.05), issuer=ISSUER, audience=AUDIENCE)


@pytest.mark.parametrize("kid", ["e", "r"])
async def test_a_good_token_is_accepted(verifier: Verifier, kid: str) -> None:
    """By both algorithms, again from memory, with all that it says."""
    token = signed(claims(email="a@b", permissions=["x"], sid="f"), kid)
    for _ in range(2):
        found = await verifier.verify(token)
        assert (found.subject, found.token_id, found.email, found.permissions) == ("s", "j", "a@b", ("x",))


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"iss": "http://evil"}, "wrong_issuer"),
        ({"aud": "mail"}, "wrong_audience"),
        ({"aud": ["mail", "calendar"]}, "wrong_audience"),
        ({"typ": "refresh"}, "wrong_type"),
        ({"typ": ...}, "wrong_type"),
        ({"exp": time.time() - 3600}, "expired"),
        ({"iat": time.time() + 3600}, "not_yet_valid"),
        ({"nbf": time.time() + 3600}, "not_yet_valid"),
        ({"exp": "tomorrow"}, "bad_claim"),
        ({"exp": True}, "bad_claim"),
        ({"sub": ""}, "bad_claim"),
        ({"sub": 7}, "bad_claim"),
        ({"exp": float("nan")}, "bad_claim"),
        ({"aud": 7}, "bad_claim"),
        ({"aud": [7]}, "bad_claim"),
        ({"permissions": "admin"}, "bad_claim"),
        *(({name: ...}, "missing_claim") for name in ("iss", "aud", "sub", "exp", "iat", "jti")),
    ],
)
async def test_each_rule_refuses(verifier: Verifier, changes: dict[str, Any], code: str) -> None:
    """One claim is wrong, the signature is good."""
    with pytest.raises(TokenRefused) as caught:
        await verifier.verify(signed(claims(**changes)))
    assert caught.value.code == code


async def test_the_audience_may_be_one_of_several(verifier: Verifier) -> None:
    """RFC 7519: `aud` is a string or a list."""
    assert await verifier.verify(signed(claims(aud=["mail", AUDIENCE])))


@pytest.mark.parametrize("leeway_s", [0.0, 5.0])
def test_deadlines_are_exact(leeway_s: float) -> None:
    """Accepted at expiry plus leeway, refused right after; the same for the time of issue."""
    verifier = Verifier(KeySet(Issuer().fetch), issuer=ISSUER, audience=AUDIENCE, leeway_s=leeway_s)
    token = Claims.of(claims(iat=1000.0, exp=2000.0))
    verifier.check_times(token, 2000.0 + leeway_s)
    verifier.check_times(token, 1000.0 - leeway_s)
    for moment in (2000.001 + leeway_s, 999.999 - leeway_s):
        with pytest.raises(TokenRefused):
            verifier.check_times(token, moment)


async def test_a_remembered_token_still_expires(verifier: Verifier, monkeypatch: pytest.MonkeyPatch) -> None:
    """The memory spares the signature, never the deadline."""
    token = signed(claims())
    await verifier.verify(token)
    later = time.time() + 120
    monkeypatch.setattr(time, "time", lambda: later)
    with pytest.raises(TokenRefused, match="expired"):
        await verifier.verify(token)


async def test_only_the_algorithm_of_the_key(verifier: Verifier) -> None:
    """A key for RS256 verifies nothing else, though the header says so; HMAC and encryption keys are no keys."""
    _, payload, signature = signed(claims(), "r").split(".")
    swapped = jwt.utils.base64url_encode(b'{"alg":"ES256","kid":"r"}').decode()
    with pytest.raises(TokenRefused) as caught:
        await verifier.verify(f"{swapped}.{payload}.{signature}")
    assert caught.value.code == "bad_algorithm"
    assert public_keys(DOCUMENT).keys() == {"e", "r"}


async def test_a_repeated_header_member_is_refused(verifier: Verifier) -> None:
    """Two readers could otherwise see two different tokens."""
    _, payload, signature = signed(claims()).split(".")
    header = jwt.utils.base64url_encode(b'{"alg":"ES256","kid":"e","kid":"e"}').decode()
    with pytest.raises(TokenRefused, match="no signed JWT"):
        await verifier.verify(f"{header}.{payload}.{signature}")


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_no_changed_character_survives(data: st.DataObject) -> None:
    """Any one character of a token replaced by any other: refused, because every token has one spelling."""
    token = signed(GOOD)
    place = data.draw(st.integers(0, len(token) - 1))
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=+/ \x00é"
    letter = data.draw(st.sampled_from(letters).filter(lambda c: c != token[place]))
    changed = token[:place] + letter + token[place + 1 :]

    async def verify() -> None:
        await Verifier(KeySet(Issuer().fetch), issuer=ISSUER, audience=AUDIENCE).verify(changed)

    with pytest.raises(TokenRefused):
        asyncio.run(verify())


GOOD = claims(exp=time.time() + 3600)


async def test_unknown_keys_wait_for_one_fetch(verifier: Verifier, issuer: Issuer) -> None:
    """A rotation during a flood of forged key ids: few fetches, and the new key's token is accepted."""
    await verifier.verify(signed(claims()))
    forged = jwt.PyJWS().encode(b"{}", OTHER_EC, algorithm="ES256", headers={"kid": "forged"})
    issuer.document = {
        "keys": [{**json.loads(ECAlgorithm.to_jwk(OTHER_EC.public_key())), "kid": "new", "alg": "ES256"}]
    }
    fresh = jwt.PyJWS().encode(json.dumps(claims()).encode(), OTHER_EC, algorithm="ES256", headers={"kid": "new"})
    results = await asyncio.gather(
        *(verifier.verify(forged) for _ in range(50)), verifier.verify(fresh), return_exceptions=True
    )
    assert isinstance(results[-1], Claims)
    assert all(isinstance(result, TokenRefused) for result in results[:-1])
    assert issuer.asked == 2


async def test_a_withdrawn_key_is_forgotten(verifier: Verifier, issuer: Issuer) -> None:
    """A token that was remembered is not accepted once its key has left the key set."""
    token = signed(claims())
    await verifier.verify(token)
    issuer.document = {"keys": []}
    with pytest.raises(TokenRefused):
        await verifier.verify(forged_kid())  # makes the key set be read again
    with pytest.raises(TokenRefused) as caught:
        await verifier.verify(token)
    assert caught.value.code == "unknown_key"


def forged_kid() -> str:
    return jwt.PyJWS().encode(b"{}", OTHER_EC, algorithm="ES256", headers={"kid": "nobody's"})


async def test_known_keys_serve_while_the_issuer_is_down(issuer: Issuer) -> None:
    """Aged keys go on without waiting; an unknown key is neither accepted nor refused."""
    keys = KeySet(issuer.fetch, max_age_s=0.0, min_pause_s=0.05)
    verifier = Verifier(keys, issuer=ISSUER, audience=AUDIENCE)
    await verifier.verify(signed(claims()))
    issuer.down = True
    for _ in range(3):
        assert await verifier.verify(signed(claims()))
    with pytest.raises(KeysUnavailable):
        await verifier.verify(forged_kid())


async def test_no_keys_at_all_is_not_a_refusal(verifier: Verifier, issuer: Issuer) -> None:
    """Before the first fetch has succeeded nobody can say whether a token is good."""
    issuer.down = True
    with pytest.raises(KeysUnavailable):
        await verifier.verify(signed(claims()))
    issuer.down = False
    assert await verifier.verify(signed(claims()))


async def test_forged_key_ids_one_after_the_other_are_slowed(issuer: Issuer) -> None:
    """Whoever sends them gets one fetch per pause out of us, not one per token."""
    keys = KeySet(issuer.fetch, min_pause_s=0.05)
    begun = time.monotonic()
    for _ in range(5):
        with pytest.raises(TokenRefused):
            await keys.get("forged")
    assert time.monotonic() - begun >= 4 * 0.05
