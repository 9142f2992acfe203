"""Scenario 1: login by authorization code and PKCE at a real OpenID provider, and refusal of forged callbacks."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit, urlunsplit

import httpx
import jwt
import pytest

from earwitness.harness.client.flow import Browser, HttpResponse, run_flow_async
from earwitness.harness.dialects.reference.dialect import AUDIENCE
from pytest_suite.chat import verdict_on
from pytest_suite.factory import Databases, Factory, User, eventually
from pytest_suite.under_test import UnderTest

pytestmark = [pytest.mark.critical, pytest.mark.p0]

SYNC_S = 5.0
DEVICES = 8


@dataclass
class Login:
    """Login of one browser, in single steps, so that a test can tamper with each."""

    people: Factory
    email: str
    browser: Browser
    begun: HttpResponse

    @classmethod
    async def begin(cls, people: Factory, email: str | None = None, browser: Browser | None = None) -> Login:
        """Send the first request of a login; return the login, whose answer redirects to the provider."""
        email, browser = email or people.email("oauth"), browser or Browser()
        url = f"{people.platform.auth}/auth/google?{urlencode({'login_hint': email})}"
        begun = await people.visit(browser, url)
        assert begun.status == 302, f"GET /auth/google: expected 302 of auth, got {begun.status} {begun.body!r}"
        return cls(people, email, browser, begun)

    @property
    def asked(self) -> dict[str, str]:
        """Return the parameters of the authorization request that auth sends to the provider."""
        return {k: v[0] for k, v in parse_qs(urlsplit(self.begun.headers["location"]).query).items()}

    async def consent(self, **changes: str) -> str:
        """Confirm at the provider; return the address of the callback. `changes` replace parameters of the request."""
        parts = urlsplit(self.begun.headers["location"])
        url = urlunsplit(parts._replace(query=urlencode({**self.asked, **changes})))
        answer = await self.people.visit(self.browser, url)
        assert answer.status in (302, 303), (
            f"the provider was expected to redirect, got {answer.status} {answer.body!r}"
        )
        return answer.headers["location"]

    async def refusal(self) -> str:
        """Deny the login at the provider's page; return the address of the callback."""
        form = urlencode({**self.asked, "decision": "deny"}).encode()
        parts = urlsplit(self.begun.headers["location"])
        url = urlunsplit(parts._replace(query=""))
        headers = {"content-type": "application/x-www-form-urlencoded"}
        answer = await run_flow_async(self.browser.request("POST", url, headers=headers, body=form), self.people.http)
        assert answer.status in (302, 303), answer.body
        return answer.headers["location"]

    async def call_back(self, url: str, browser: Browser | None = None) -> HttpResponse:
        """Visit the callback, in this login's browser or in `browser`; return the answer."""
        return await self.people.visit(browser or self.browser, url)


def changed(url: str, **changes: str | None) -> str:
    """Return `url` with changed query parameters; None removes a parameter."""
    parts = urlsplit(url)
    query = {k: v for k, v in {**dict(parse_qsl(parts.query)), **changes}.items() if v is not None}
    return urlunsplit(parts._replace(query=urlencode(query)))


async def wrong_state(login: Login) -> HttpResponse:
    """Call back with a state that auth never issued; return the answer."""
    return await login.call_back(changed(await login.consent(), state="a-state-that-nobody-gave"))


async def no_state(login: Login) -> HttpResponse:
    """Call back without a state; return the answer."""
    return await login.call_back(changed(await login.consent(), state=None))


async def other_browser(login: Login) -> HttpResponse:
    """Call back in a browser that did not begin the login (login CSRF); return the answer."""
    return await login.call_back(await login.consent(), Browser())


async def wrong_nonce(login: Login) -> HttpResponse:
    """Call back with a code whose id token has the nonce of another login; return the answer."""
    return await login.call_back(await login.consent(nonce="a-nonce-of-another-login"))


async def no_nonce(login: Login) -> HttpResponse:
    """Call back with a code whose id token has an empty nonce; return the answer."""
    return await login.call_back(await login.consent(nonce=""))


async def foreign_issuer(login: Login) -> HttpResponse:
    """Call back with the name of another issuer; return the answer."""
    return await login.call_back(changed(await login.consent(), iss="https://provider.example"))


async def no_issuer(login: Login) -> HttpResponse:
    """Call back without the issuer; return the answer.

    The provider declares that it names itself in callbacks, so one without the name is not from the provider.
    """
    return await login.call_back(changed(await login.consent(), iss=None))


async def denied(login: Login) -> HttpResponse:
    """Call back after the person has denied the login; return the answer."""
    return await login.call_back(await login.refusal())


async def made_up_code(login: Login) -> HttpResponse:
    """Call back with a code that the provider never issued; return the answer."""
    return await login.call_back(changed(await login.consent(), code="a-code-that-the-provider-never-gave"))


async def no_code(login: Login) -> HttpResponse:
    """Call back without a code; return the answer."""
    return await login.call_back(changed(await login.consent(), code=None))


async def stolen_code(login: Login) -> HttpResponse:
    """Call back with a victim's code in the attacker's login, which PKCE must detect; return the answer."""
    attacker = await Login.begin(login.people, browser=login.browser)
    code = parse_qs(urlsplit(await login.consent()).query)["code"][0]
    return await attacker.call_back(changed(await attacker.consent(), code=code))


async def weaker_challenge(login: Login) -> HttpResponse:
    """Call back with a code that is bound to another challenge than auth's; return the answer."""
    return await login.call_back(await login.consent(code_challenge="A" * 43))


FORGED_CALLBACKS = {
    wrong_state: (400, "invalid_state"),
    no_state: (400, "invalid_state"),
    other_browser: (403, "other_browser"),
    wrong_nonce: (401, "invalid_id_token"),
    no_nonce: (401, "invalid_id_token"),
    foreign_issuer: (401, "foreign_issuer"),
    no_issuer: (401, "foreign_issuer"),
    denied: (403, "access_denied"),
    made_up_code: (401, "code_refused"),
    no_code: (400, "invalid_request"),
    stolen_code: (401, "code_refused"),
    weaker_challenge: (401, "code_refused"),
}


async def who(http: httpx.AsyncClient, url: str, token: str) -> str:
    """Return the user id that the service at `url` states for a token."""
    answer = await http.get(url, headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 200, f"{url}: expected 200 for a valid token, got {answer.status_code} {answer.text}"
    return str(answer.json()["id"])


class TestOAuthEndpointValidationReal:
    """Logins at the real endpoints, correct and forged."""

    @pytest.mark.fails_with("S16")
    async def test_oauth_google_endpoint_real_services(self, platform: UnderTest, people: Factory) -> None:
        """A login gives a token that Auth, Backend, Frontend and WebSocket take for the same person."""
        login = await Login.begin(people)
        asked, location = login.asked, login.begun.headers["location"]
        assert location.startswith(f"{platform.provider}/authorize?")
        assert asked["response_type"] == "code"
        assert asked["redirect_uri"] == f"{platform.auth}/auth/google/callback"
        assert asked["code_challenge_method"] == "S256"
        assert re.fullmatch(r"[A-Za-z0-9_-]{43}", asked["code_challenge"])
        assert "openid" in asked["scope"].split()
        assert len(asked["state"]) >= 22
        assert len(asked["nonce"]) >= 22
        (cookie,) = login.begun.set_cookies
        assert all(word in cookie for word in ("HttpOnly", "SameSite=Lax", "Path=/auth"))
        answer = await login.call_back(await login.consent())
        assert answer.status == 200, answer.body
        assert answer.headers["cache-control"] == "no-store"
        user = User.of(answer.json())
        places = [f"{platform.auth}/auth/me", f"{platform.edge}/api/me"]
        places += [f"{platform.frontend}/api/me", f"{platform.frontend}/auth/me"]
        assert {place: await who(people.http, place, user.token) for place in places} == dict.fromkeys(places, user.id)
        assert (await people.connect(user)).frames[0]["user"] == user.id
        for place in places:
            refused = await people.http.get(place)
            assert (refused.status_code, refused.json().get("error")) == (401, "no_token"), place
        assert await verdict_on(platform.edge, "") == 4401

    @pytest.mark.fails_with("S17")
    async def test_two_logins_share_no_secret(self, people: Factory) -> None:
        """State, nonce, PKCE challenge and cookie are new for each login."""
        first, second = await Login.begin(people), await Login.begin(people)
        for name in ("state", "nonce", "code_challenge"):
            assert first.asked[name] != second.asked[name]
        assert first.begun.set_cookies[0].split(";")[0] != second.begun.set_cookies[0].split(";")[0]

    @pytest.mark.fails_with("Z59")
    async def test_oauth_callback_user_creation(
        self, platform: UnderTest, people: Factory, databases: Databases
    ) -> None:
        """The callback creates one account, the same in both databases, and a token that names it."""
        email = people.email("new")
        assert await databases.account(email) == await databases.copy(email) == []
        user = await people.log_in(email)
        (account,) = await databases.account(email)
        (copy,) = await eventually("the new user in userbase", lambda: databases.copy(email), SYNC_S)
        assert str(account["id"]) == str(copy["id"]) == user.id
        for name in ("email", "name", "is_active", "permissions", "provider", "subject", "version"):
            assert account[name] == copy[name], name
        assert (account["provider"], account["email"], account["is_active"]) == ("google", email, True)
        keys = jwt.PyJWKSet.from_dict((await people.http.get(f"{platform.auth}/.well-known/jwks.json")).json())
        header = jwt.get_unverified_header(user.token)
        claims = jwt.decode(
            user.token, keys[header["kid"]], algorithms=[header["alg"]], audience=AUDIENCE, issuer=platform.auth
        )
        assert header["alg"] in ("ES256", "RS256")
        assert (claims["sub"], claims["email"], claims["name"]) == (user.id, email, account["name"])
        assert claims["permissions"] == account["permissions"] == ["chat"]
        assert claims["typ"] == "access"
        assert 0 < claims["exp"] - claims["iat"] <= 3600
        again = await people.log_in(email)
        assert again.claims["jti"] != claims["jti"]
        assert again.claims["sid"] != claims["sid"]

    @pytest.mark.parametrize("forge", FORGED_CALLBACKS, ids=lambda forge: forge.__name__)
    @pytest.mark.fails_with("Z49", "S18", "S19")
    async def test_a_forged_callback_creates_nothing(self, people: Factory, databases: Databases, forge: Any) -> None:
        """A callback that is not the end of this very login is refused clearly, and creates no account."""
        login = await Login.begin(people)
        answer = await forge(login)
        said = answer.json()
        assert (answer.status, said.get("error")) == FORGED_CALLBACKS[forge]
        assert said["message"]
        assert "access_token" not in said
        assert await databases.account(login.email) == []
        control = await Login.begin(people, login.email, login.browser)
        assert (await control.call_back(await control.consent())).status == 200
        assert len(await databases.account(login.email)) == 1
        await eventually("the control in userbase", lambda: databases.copy(login.email), SYNC_S)

    @pytest.mark.fails_with("Z49")
    async def test_a_callback_works_once(self, people: Factory, databases: Databases) -> None:
        """Of many calls of one callback at once, one succeeds; a replay opens no second session."""
        login = await Login.begin(people)
        url = await login.consent()
        answers = await asyncio.gather(*(login.call_back(url) for _ in range(5)))
        answers.append(await login.call_back(url))
        assert sorted(answer.status for answer in answers) == [200] + [400] * 5
        assert {answer.json()["error"] for answer in answers if answer.status == 400} == {"invalid_state"}
        sessions = "SELECT count(*) FROM sessions s JOIN auth_users u ON u.id = s.user_id WHERE u.email = $1"
        assert await databases.auth.fetchval(sessions, login.email) == 1

    @pytest.mark.fails_with("S20")
    async def test_a_code_works_once(self, people: Factory) -> None:
        """A code that was redeemed is refused in a login with its own state, nonce and challenge."""
        login = await Login.begin(people)
        url = await login.consent()
        assert (await login.call_back(url)).status == 200
        second = await Login.begin(people, login.email, login.browser)
        code = parse_qs(urlsplit(url).query)["code"][0]
        answer = await second.call_back(changed(await second.consent(), code=code))
        assert (answer.status, answer.json().get("error")) == (401, "code_refused")

    @pytest.mark.fails_with("Z61")
    async def test_first_logins_of_one_person_race(self, people: Factory, databases: Databases) -> None:
        """A person who logs in for the first time on several devices at once gets one account, in both databases."""
        email = people.email("racer")
        logins = await asyncio.gather(*(Login.begin(people, email) for _ in range(DEVICES)))
        urls = await asyncio.gather(*(login.consent() for login in logins))
        answers = await asyncio.gather(*(login.call_back(url) for login, url in zip(logins, urls, strict=True)))
        assert [answer.status for answer in answers] == [200] * DEVICES
        assert len({answer.json()["user"]["id"] for answer in answers}) == 1
        assert len(await databases.account(email)) == 1
        await eventually("the account in userbase", lambda: databases.copy(email), SYNC_S)
        assert len(await databases.copy(email)) == 1

    @pytest.mark.fails_with("S21")
    async def test_return_to_is_no_open_redirect(self, platform: UnderTest, people: Factory) -> None:
        """A login ends at a page of the frontend or not at all."""
        for url in ("https://evil.example/", f"{platform.frontend}@evil.example/", "//evil.example", "javascript:0"):
            answer = await people.http.get(f"{platform.auth}/auth/google", params={"return_to": url})
            assert (answer.status_code, answer.json().get("error")) == (400, "invalid_return_to"), url
        answer = await people.http.get(f"{platform.auth}/auth/google", params={"return_to": f"{platform.frontend}/"})
        assert answer.status_code == 302
