"""The provider as a client and a browser meet it."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
from typing import Any
from urllib.parse import quote_plus

import jwt
import pytest


async def test_discovery_is_true(client: Any) -> None:
    """The issuer is where it was found, and every endpoint that it names answers."""
    found = (await client.http.get(f"{client.url}/.well-known/openid-configuration")).json()
    assert found["issuer"] == client.url
    assert found["code_challenge_methods_supported"] == ["S256"]
    for name in ("authorization_endpoint", "userinfo_endpoint", "jwks_uri"):
        assert (await client.http.get(found[name])).status_code != 404
    assert (await client.http.post(found["token_endpoint"])).status_code != 404


async def test_a_whole_flow(client: Any) -> None:
    """Code to tokens; the id token holds for a library with the published keys; userinfo says the same."""
    answer = client.answer(await client.authorize(login_hint="Ann.Lee@Example.test"))
    assert (answer["state"], answer["iss"]) == ("the state", client.url)
    response = await client.token(code=answer["code"])
    assert response.headers["cache-control"] == "no-store"
    tokens = response.json()
    keys = jwt.PyJWKSet.from_dict((await client.http.get(f"{client.url}/jwks")).json())
    key = keys[jwt.get_unverified_header(tokens["id_token"])["kid"]]
    claims = jwt.decode(tokens["id_token"], key, algorithms=["RS256"], audience="the client", issuer=client.url)
    assert claims["nonce"] == "the nonce"
    assert (claims["email"], claims["email_verified"], claims["name"]) == ("ann.lee@example.test", True, "ann.lee")
    half = hashlib.sha256(tokens["access_token"].encode()).digest()[:16]
    assert claims["at_hash"] == base64.urlsafe_b64encode(half).rstrip(b"=").decode()
    said = (await client.userinfo(tokens["access_token"])).json()
    assert said == {name: claims[name] for name in ("sub", "email", "email_verified", "name")}


async def test_people_stay_themselves(client: Any) -> None:
    """The same address is the same subject, another one another."""

    async def subject(email: str) -> str:
        tokens = (await client.token(code=await client.code(login_hint=email))).json()
        return str((await client.userinfo(tokens["access_token"])).json()["sub"])

    assert await subject("bob@example.test") == await subject(" BOB@example.test ")
    assert await subject("bob@example.test") != await subject("eve@example.test")


@pytest.mark.parametrize(
    "changes",
    [
        {"client_id": "another"},
        {"client_id": None},
        {"redirect_uri": None},
        {"redirect_uri": "http://127.0.0.1:9/callback/"},
        {"redirect_uri": "http://127.0.0.1:9/callback?x=1"},
        {"redirect_uri": "http://evil.example/callback"},
    ],
)
async def test_nobody_is_redirected_to_strangers(client: Any, changes: Any) -> None:
    """An unknown client or address gets a page that goes nowhere."""
    response = await client.authorize(**changes)
    assert response.status_code == 400
    assert "location" not in response.headers
    assert response.headers["content-type"].startswith("text/html")


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"scope": "email"}, "invalid_scope"),
        ({"scope": None}, "invalid_scope"),
        ({"code_challenge": None}, "invalid_request"),
        ({"code_challenge": "short"}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge_method": None}, "invalid_request"),
        ({"login_hint": None, "prompt": "none"}, "login_required"),
    ],
)
async def test_wrong_requests_go_back_as_errors(client: Any, changes: Any, error: str) -> None:
    """To the client's address, with state and issuer, without a code."""
    answer = client.answer(await client.authorize(**changes))
    assert answer["error"] == error
    assert answer["state"] == "the state"
    assert "code" not in answer


async def test_a_repeated_parameter_goes_back_as_an_error(client: Any) -> None:
    """Two states: nobody has to guess."""
    parameters = [*client.request().items(), ("state", "another")]
    answer = client.answer(await client.http.get(f"{client.url}/authorize", params=parameters))
    assert answer["error"] == "invalid_request"


@pytest.mark.parametrize(
    "changes",
    [
        {"code_verifier": "wrong" * 10},
        {"code_verifier": None},
        {"code_verifier": "vÿ"},
        {"redirect_uri": "http://127.0.0.1:9/other"},
        {"redirect_uri": None},
        {"code": "made-up"},
        {"code": None},
    ],
)
async def test_codes_are_bound(client: Any, changes: Any) -> None:
    """To verifier and address; a wrong attempt uses the code up."""
    code = await client.code()
    refused = await client.token(**{"code": code, **changes})
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_grant")
    again = await client.token(code=code)
    assert again.status_code == (200 if "code" in changes else 400)


async def test_a_code_works_once_and_its_replay_revokes(client: Any) -> None:
    """Eight at once: one wins, and what it got is worth nothing after the replays."""
    code = await client.code()
    answers = await asyncio.gather(*(client.token(code=code) for _ in range(8)))
    won = [answer for answer in answers if answer.status_code == 200]
    assert len(won) == 1
    assert {answer.json()["error"] for answer in answers if answer not in won} == {"invalid_grant"}
    assert (await client.userinfo(won[0].json()["access_token"])).status_code == 401
    assert (await client.refresh(won[0].json()["refresh_token"])).status_code == 400


async def test_refresh_tokens_rotate(client: Any) -> None:
    """New tokens without a nonce; a second use of the old one ends all."""
    first = (await client.token(code=await client.code())).json()
    second = (await client.refresh(first["refresh_token"])).json()
    assert second["refresh_token"] != first["refresh_token"]
    assert "nonce" not in jwt.decode(second["id_token"], options={"verify_signature": False})
    assert (await client.userinfo(second["access_token"])).status_code == 200
    assert (await client.refresh(first["refresh_token"])).json()["error"] == "invalid_grant"
    assert (await client.refresh(second["refresh_token"])).json()["error"] == "invalid_grant"
    assert (await client.userinfo(second["access_token"])).status_code == 401


async def test_the_client_proves_itself(client: Any) -> None:
    """By form or by Basic (where both halves are form-encoded); wrong secrets cost no code."""
    code = await client.code()
    for wrong in ({"client_secret": "wrong"}, {"client_secret": None}, {"client_id": "wrong"}):
        refused = await client.token(code=code, **wrong)
        assert (refused.status_code, refused.json()["error"]) == (401, "invalid_client")
        assert refused.headers["www-authenticate"].startswith("Basic")
    secret = quote_plus("se cret:with %odd+characters")
    basic = base64.b64encode(f"{quote_plus('the client')}:{secret}".encode()).decode()
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": "http://127.0.0.1:9/callback",
            "code_verifier": "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"}  # fmt: skip
    good = await client.http.post(f"{client.url}/token", data=form, headers={"Authorization": f"Basic {basic}"})
    assert good.status_code == 200, good.text
    bad = await client.http.post(f"{client.url}/token", data=form, headers={"Authorization": "Basic ###"})
    assert bad.status_code == 401


async def test_other_grants_are_not_supported(client: Any) -> None:
    """No passwords, no client credentials."""
    assert (await client.token(grant_type="password")).json()["error"] == "unsupported_grant_type"


async def test_userinfo_wants_a_token(client: Any) -> None:
    """401 with a challenge."""
    for headers in ({}, {"Authorization": "Bearer made-up"}):
        refused = await client.http.get(f"{client.url}/userinfo", headers=headers)
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"].startswith("Bearer")


async def test_the_page_for_browsers(client: Any) -> None:
    """A form without script that carries the request along, escaped; wrong addresses are said, right ones go on."""
    evil = '"><script>alert(1)</script>'
    page = await client.authorize(login_hint=None, state=evil)
    assert page.status_code == 200
    assert "<script" not in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    names = set(re.findall(r'name="([a-z_]+)"', page.text))
    assert names == {"viewport", *client.request(login_hint=None), "email", "decision"}
    form = client.request(login_hint=None, state=evil)
    wrong = await client.http.post(f"{client.url}/authorize", data={**form, "email": "nobody", "decision": "allow"})
    assert wrong.status_code == 400
    assert 'role="alert"' in wrong.text
    right = await client.http.post(f"{client.url}/authorize", data={**form, "email": "x@y.test", "decision": "allow"})
    assert client.answer(right)["state"] == evil
    denied = await client.http.post(f"{client.url}/authorize", data={**form, "email": "", "decision": "deny"})
    assert client.answer(denied)["error"] == "access_denied"


async def test_the_form_is_checked_again(client: Any) -> None:
    """Who edits the hidden fields gets no further than who edits the address."""
    form = client.request(redirect_uri="http://evil.example/", email="x@y.test", decision="allow")
    assert (await client.http.post(f"{client.url}/authorize", data=form)).status_code == 400
    form = client.request(code_challenge=None, email="x@y.test", decision="allow")
    answer = client.answer(await client.http.post(f"{client.url}/authorize", data=form))
    assert answer["error"] == "invalid_request"
