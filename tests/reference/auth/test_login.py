"""Login through the real provider, and every way in which a callback can be forged."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit, urlunsplit

import httpx
import pytest


def query_of(url: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


def with_query(url: str, **changes: str | None) -> str:
    parts = urlsplit(url)
    query = {name: value for name, value in {**query_of(url), **changes}.items() if value is not None}
    return urlunsplit(parts._replace(query=urlencode(query)))


async def to_callback(world: Any, browser: httpx.AsyncClient, email: str, **tampered: str) -> str:
    """The address that the provider sends this browser to; `tampered`: parameters of the authorization request."""
    begun = await browser.get(world.start_url(login_hint=email))
    assert begun.status_code == 302, begun.text
    answered = await browser.get(with_query(begun.headers["location"], **tampered))
    assert answered.status_code == 303, answered.text
    return str(answered.headers["location"])


async def accounts_of(database: Any, email: str) -> int:
    return int(await database.fetchval("SELECT count(*) FROM auth_users WHERE email = $1", email))


async def test_a_login_gives_tokens_that_auth_accepts(world: Any, browser: Any, email: str) -> None:
    """From /auth/google through the provider to an access token that names the person on /auth/me."""
    answer = await world.log_in(email)
    assert answer["user"]["email"] == email
    assert answer["user"]["name"] == email.partition("@")[0]
    assert answer["token_type"] == "Bearer"
    assert 599 <= answer["expires_in"] <= 600
    me = await browser.get(f"{world.auth.url}/auth/me", headers={"Authorization": f"Bearer {answer['access_token']}"})
    assert me.status_code == 200, me.text
    assert me.json()["id"] == answer["user"]["id"]


async def test_the_authorization_request_is_complete(world: Any, browser: Any, email: str) -> None:
    """Code flow with S256, state and nonce; the cookie is HttpOnly, Lax and only for auth's paths."""
    begun = await browser.get(world.start_url(login_hint=email))
    query = query_of(begun.headers["location"])
    assert query["response_type"] == "code"
    assert query["code_challenge_method"] == "S256"
    assert len(query["state"]) >= 32
    assert len(query["nonce"]) >= 32
    assert query["state"] != query["nonce"]
    cookie = begun.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert "Path=/auth" in cookie
    assert query["state"] not in cookie


async def test_one_person_stays_one_account(world: Any, email: str) -> None:
    """A second login finds the account of the first, whatever the case of the address."""
    first = await world.log_in(email)
    second = await world.log_in(email.upper())
    assert first["user"] == second["user"]
    assert first["refresh_token"] != second["refresh_token"]


async def test_racing_first_logins_make_one_account(world: Any, database: Any, email: str) -> None:
    """Twelve devices at once, nobody was there before: one row, one id, one creation announced."""
    answers = await asyncio.gather(*(world.log_in(email) for _ in range(12)))
    assert len({answer["user"]["id"] for answer in answers}) == 1
    assert len({answer["access_token"] for answer in answers}) == 12
    assert await accounts_of(database, email) == 1
    user_id = answers[0]["user"]["id"]
    assert await database.fetchval("SELECT count(*) FROM outbox WHERE user_id = $1::text::uuid", user_id) == 1


async def test_two_tabs_of_one_browser_log_in_at_once(world: Any, browser: Any, email: str) -> None:
    """Each login has its own cookie, so the second does not end the first."""
    first = await to_callback(world, browser, email)
    second = await to_callback(world, browser, email)
    assert (await browser.get(first)).status_code == 200
    assert (await browser.get(second)).status_code == 200


@pytest.mark.parametrize(
    ("changes", "status", "error"),
    [
        ({"state": None}, 400, "invalid_state"),
        ({"state": "made-up"}, 400, "invalid_state"),
        ({"code": None}, 400, "invalid_request"),
        ({"code": "made-up"}, 401, "code_refused"),
        ({"iss": "http://evil.example"}, 401, "foreign_issuer"),
        ({"iss": None}, 401, "foreign_issuer"),
        ({"code": None, "error": "access_denied"}, 403, "access_denied"),
        ({"code": None, "error": "server_error"}, 401, "login_failed"),
    ],
)
async def test_a_changed_callback_is_refused(
    world: Any, browser: Any, database: Any, email: str, changes: Any, status: int, error: str
) -> None:
    """A clear refusal in JSON, no account; and the unchanged callback of another login works (the control)."""
    callback = await to_callback(world, browser, email)
    refused = await browser.get(with_query(callback, **changes))
    assert (refused.status_code, refused.json()["error"]) == (status, error)
    assert refused.json()["message"].endswith(".")
    assert await accounts_of(database, email) == 0
    assert (await browser.get(await to_callback(world, browser, email))).status_code == 200
    assert await accounts_of(database, email) == 1


async def test_another_browser_cannot_finish_a_login(world: Any, browser: Any, database: Any, email: str) -> None:
    """Login CSRF: the state is right, the cookie is missing or that of another login."""
    callback = await to_callback(world, browser, email)
    async with httpx.AsyncClient(verify=False, timeout=30) as other:
        await to_callback(world, other, email)
        refused = await other.get(callback)
    assert (refused.status_code, refused.json()["error"]) == (403, "other_browser")
    again = await browser.get(callback)
    assert (again.status_code, again.json()["error"]) == (400, "invalid_state")
    assert await accounts_of(database, email) == 0


async def test_a_callback_works_once(world: Any, browser: Any, email: str) -> None:
    """Neither one after the other nor eight at once get in twice."""
    callback = await to_callback(world, browser, email)
    answers = await asyncio.gather(*(browser.get(callback) for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [200] + [400] * 7
    assert (await browser.get(callback)).status_code == 400


async def test_a_code_is_not_good_for_another_login(world: Any, browser: Any, database: Any, email: str) -> None:
    """Code injection: PKCE and nonce tie a code to the login that asked for it."""
    stolen = query_of(await to_callback(world, browser, f"victim-{email}"))["code"]
    callback = await to_callback(world, browser, email)
    refused = await browser.get(with_query(callback, code=stolen))
    assert (refused.status_code, refused.json()["error"]) == (401, "code_refused")
    assert await accounts_of(database, f"victim-{email}") == 0


async def test_a_wrong_nonce_is_refused(world: Any, browser: Any, database: Any, email: str) -> None:
    """The provider's id token is genuine but was made for another nonce."""
    refused = await browser.get(await to_callback(world, browser, email, nonce="another-nonce"))
    assert (refused.status_code, refused.json()["error"]) == (401, "invalid_id_token")
    assert await accounts_of(database, email) == 0


async def test_the_provider_checks_the_verifier(world: Any, browser: Any, database: Any, email: str) -> None:
    """A code that was made for another challenge cannot be exchanged."""
    refused = await browser.get(await to_callback(world, browser, email, code_challenge="A" * 43))
    assert (refused.status_code, refused.json()["error"]) == (401, "code_refused")
    assert await accounts_of(database, email) == 0


async def test_a_repeated_parameter_is_refused(world: Any, browser: Any, email: str) -> None:
    """Two states in one address: nobody has to guess which one counts."""
    callback = await to_callback(world, browser, email)
    refused = await browser.get(f"{callback}&state=other")
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_request")


async def test_denied_consent_goes_back_to_the_page(world: Any, browser: Any, database: Any, email: str) -> None:
    """The person presses Deny in the provider's form: the frontend hears of it, nothing is created."""
    page = f"{world.frontend}/login"
    begun = await browser.get(world.start_url(return_to=page))
    asked = query_of(begun.headers["location"])
    denied = await browser.post(f"{world.provider.url}/authorize", data={**asked, "email": email, "decision": "deny"})
    assert denied.status_code == 303
    answer = await browser.get(denied.headers["location"])
    assert answer.headers["location"] == f"{page}?error=access_denied"
    assert await accounts_of(database, email) == 0


async def test_the_frontend_exchanges_a_code_once(world: Any, browser: Any, email: str) -> None:
    """No token stands in any URL on the way; the code in it is worth one exchange."""
    begun = await browser.get(world.start_url(login_hint=email, return_to=f"{world.frontend}/?room=a#top"))
    answered = await browser.get(begun.headers["location"])
    final = (await browser.get(answered.headers["location"])).headers["location"]
    assert final.startswith(f"{world.frontend}/?room=a&code=")
    assert final.endswith("#top")
    code = query_of(final)["code"]
    answers = await asyncio.gather(
        *(browser.post(f"{world.auth.url}/auth/exchange", json={"code": code}) for _ in range(4))
    )
    assert sorted(answer.status_code for answer in answers) == [200, 400, 400, 400]
    good = next(answer for answer in answers if answer.status_code == 200)
    assert good.json()["user"]["email"] == email


async def test_an_exchange_needs_the_verifier_of_its_challenge(world: Any, browser: Any, email: str) -> None:
    """A page that gave a challenge is the only one that can exchange the code."""
    challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"  # of the verifier in RFC 7636, appendix B
    verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    for sent, status in (({"verifier": verifier}, 200), ({"verifier": "wrong"}, 403), ({}, 403)):
        start = world.start_url(login_hint=email, return_to=world.frontend, challenge=challenge)
        begun = await browser.get(start)
        answered = await browser.get(begun.headers["location"])
        code = query_of((await browser.get(answered.headers["location"])).headers["location"])["code"]
        answer = await browser.post(f"{world.auth.url}/auth/exchange", json={"code": code, **sent})
        assert answer.status_code == status, answer.text


@pytest.mark.parametrize(
    "page",
    [
        "http://evil.example/",
        "//evil.example/",
        "/relative",
        "http://127.0.0.1:1@evil.example/",
        "http://127.0.0.1:1\\@evil.example/",
        "http://127.0.0.1:1.evil.example/",
        "https://127.0.0.1:1/",
        "javascript:alert(1)",
        "http://127.0.0.1:1/\r\nSet-Cookie: a=b",
    ],
)
async def test_nobody_is_sent_to_foreign_pages(world: Any, browser: Any, page: str) -> None:
    """return_to must be a page of the frontend; else the login does not even begin."""
    refused = await browser.get(world.start_url(return_to=page))
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_return_to")


async def test_without_a_hint_the_provider_shows_its_page(world: Any, browser: Any, email: str) -> None:
    """A browser gets a form, names itself, and is logged in."""
    begun = await browser.get(world.start_url())
    page = await browser.get(begun.headers["location"])
    assert page.status_code == 200
    assert "<form" in page.text
    allowed = await browser.post(
        f"{world.provider.url}/authorize",
        data={**query_of(begun.headers["location"]), "email": email, "decision": "allow"},
    )
    answer = await browser.get(allowed.headers["location"])
    assert answer.json()["user"]["email"] == email


async def test_a_code_of_a_foreign_provider_is_refused(
    world: Any, browser: Any, database: Any, email: str, spawn_service: Any, new_listener: Any
) -> None:
    """Mix-up: a second provider with the same client and secret answers this login. Its codes mean nothing here."""
    at = new_listener()
    foreign = spawn_service("foreign", {**world.provider.settings, "fd": at.socket.fileno(), "issuer": at.url},
                            module="provider", listener=at)  # fmt: skip
    begun = await browser.get(world.start_url(login_hint=email))
    address = begun.headers["location"].replace(world.provider.url, foreign.url)
    callback = (await browser.get(address)).headers["location"]
    refused = await browser.get(callback)
    assert (refused.status_code, refused.json()["error"]) == (401, "foreign_issuer")
    callback = await to_callback(world, browser, email)
    foreign_code = query_of((await browser.get(address)).headers["location"])["code"]
    refused = await browser.get(with_query(callback, code=foreign_code))
    assert (refused.status_code, refused.json()["error"]) == (401, "code_refused")
    assert await accounts_of(database, email) == 0


async def test_a_shorter_token_is_for_test_mode(world: Any, browser: Any, email: str) -> None:
    """?ttl= shortens a login's tokens and lasts through its refreshes; nonsense is refused."""
    answer = await world.log_in(email, ttl=2)
    assert 2 <= answer["expires_in"] + 1 <= 3
    again = await browser.post(f"{world.auth.url}/auth/refresh", json={"refresh_token": answer["refresh_token"]})
    assert 1 <= again.json()["expires_in"] <= 3
    for wrong in ("0", "-1", "many", "601", "nan"):
        assert (await browser.get(world.start_url(ttl=wrong))).status_code == 400
