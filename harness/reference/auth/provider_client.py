"""Client of the OpenID provider: discovery, the address for the user's browser, exchange of a code for an identity."""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import aiohttp
import orjson

from earwitness.harness.reference import clock
from earwitness.harness.reference.answers import ApiError
from earwitness.harness.reference.auth.identity import PROVIDER, Identity
from earwitness.harness.reference.pkce import s256
from earwitness.harness.reference.tokens import KeySet, KeysUnavailable, TokenRefused, jose_header, verified_payload

DISCOVERY_MAX_AGE_S = 5.0
DISCOVERY_TIMEOUT = aiohttp.ClientTimeout(total=1.0)
DOWN_FOR_S = 1.0
"""Seconds after a failed discovery during which requests fail at once instead of waiting one after the other."""
TIMEOUT = aiohttp.ClientTimeout(total=3.0, connect=1.0)
RETRY_AFTER_S = 2
LEEWAY_S = 5.0
ID_TOKEN_ALGORITHMS = ("RS256", "ES256")


class ProviderDown(ApiError):
    """Error for a provider that does not answer, or gives an invalid answer: 503 with Retry-After.

    `why` names the cause for the answer of `GET /ready`; the refused user does not see it.
    """

    def __init__(self, why: str) -> None:
        """Make the error, whose message does not contain `why`."""
        super().__init__(
            503,
            "provider_unavailable",
            "The identity provider does not answer; try again.",
            retry_after_s=RETRY_AFTER_S,
        )
        self.why = why


class ProviderClient:
    """Client of one OpenID provider.

    Discovery is repeated every few seconds, so that an outage is detected at the start of a login.
    """

    def __init__(
        self, http: aiohttp.ClientSession, issuer: str, client_id: str, secret: str, redirect_uri: str
    ) -> None:
        """Keep the addresses and the client's id and secret. Nothing is fetched before the first login.

        `issuer`: address of the provider; `redirect_uri`: to which it sends the browser back.
        """
        self._http, self.issuer, self._redirect_uri = http, issuer, redirect_uri
        self._client_id, self._secret = client_id, secret
        self._found: dict[str, Any] = {}
        self._failure = ""
        self._found_at = self._failed_at = float("-inf")
        self._finding = asyncio.Lock()
        self.keys = KeySet(self._fetch_keys)

    async def discovery(self) -> dict[str, Any]:
        """Return the provider's configuration, at most DISCOVERY_MAX_AGE_S old.

        Raises ProviderDown if it cannot be read, or names another issuer.
        """
        if time.monotonic() - self._found_at > DISCOVERY_MAX_AGE_S:
            async with self._finding:
                if time.monotonic() - self._found_at > DISCOVERY_MAX_AGE_S:
                    await self._discover()
        return self._found

    async def _discover(self) -> None:
        if time.monotonic() - self._failed_at < DOWN_FOR_S:
            raise ProviderDown(self._failure)
        try:
            url = f"{self.issuer}/.well-known/openid-configuration"
            found = await self._json("GET", url, timeout=DISCOVERY_TIMEOUT)
            if found.get("issuer") != self.issuer:
                raise ProviderDown("discovery names another issuer")
        except ProviderDown as error:
            self._failure, self._failed_at = error.why, time.monotonic()
            raise
        self._found, self._found_at = found, time.monotonic()

    async def authorization_url(self, state: str, nonce: str, verifier: str, login_hint: str) -> str:
        """Return the address at the provider to which the browser is redirected. Raises ProviderDown.

        `state`, `nonce`, `verifier`: see `logins.Begun`; `login_hint`: e-mail address of the user, "" if not known.
        """
        query = {
            "response_type": "code",
            "client_id": self._client_id,
            "redirect_uri": self._redirect_uri,
            "scope": "openid email profile",
            "state": state,
            "nonce": nonce,
            "code_challenge": s256(verifier),
            "code_challenge_method": "S256",
            **({"login_hint": login_hint} if login_hint else {}),
        }
        return f"{(await self.discovery())['authorization_endpoint']}?{urlencode(query)}"

    def check_response_issuer(self, named: str | None) -> None:
        """Raise ApiError 401 unless `named`, the issuer in an answer, is the provider (RFC 9207).

        So no provider's code is sent to another one. None is permitted unless the provider promises to name itself.
        """
        promised = self._found.get("authorization_response_iss_parameter_supported")
        if (named is None and promised) or (named is not None and named != self.issuer):
            raise ApiError(401, "foreign_issuer", "This answer does not come from our identity provider.")

    async def identity(self, code: str, verifier: str, nonce: str) -> Identity:
        """Exchange a code for an id token; return the identity in it.

        `verifier`: of PKCE; `nonce`: that of this login. Raises ApiError 401 or 403 if the code or token is refused, or
        ProviderDown.
        """
        endpoint = (await self.discovery())["token_endpoint"]
        answer = await self._json(
            "POST",
            endpoint,
            data={
                "grant_type": "authorization_code",
                "code": code,
                "redirect_uri": self._redirect_uri,
                "code_verifier": verifier,
            },
            auth=aiohttp.BasicAuth(self._client_id, self._secret),
        )
        claims = await self.verified(str(answer.get("id_token", "")))
        self.check_nonce(claims, nonce)
        if not all(isinstance(claims.get(name), str) and claims[name] for name in ("sub", "email")):
            raise ApiError(403, "no_email", "The identity provider did not tell us an e-mail address.")
        if claims.get("email_verified") is False:
            raise ApiError(403, "email_not_verified", "The identity provider has not verified this e-mail address.")
        email = claims["email"].lower()
        return Identity(PROVIDER, claims["sub"], email, str(claims.get("name") or email.partition("@")[0]))

    async def verified(self, id_token: str) -> dict[str, Any]:
        """Return the claims of an id token after checking signature, issuer, audience and times.

        Raises ApiError 401 for an invalid token, or ProviderDown.
        """
        try:
            header = jose_header(id_token)
            key = await self.keys.get(header["kid"])
            claims = verified_payload(id_token, header, key)
        except TokenRefused as error:
            raise _bad_id_token(error.message) from None
        except KeysUnavailable as error:
            raise ProviderDown(str(error)) from None
        now, audience = clock.now(), claims.get("aud")
        if claims.get("iss") != self.issuer:
            raise _bad_id_token("Its issuer is not our identity provider.")
        if self._client_id not in (audience if isinstance(audience, list) else [audience]):
            raise _bad_id_token("It is meant for another client.")
        if isinstance(audience, list) and len(audience) > 1 and claims.get("azp") != self._client_id:
            raise _bad_id_token("It was issued to another client.")
        if not isinstance(claims.get("exp"), (int, float)) or now > claims["exp"] + LEEWAY_S:
            raise _bad_id_token("It has expired.")
        if not isinstance(claims.get("iat"), (int, float)) or claims["iat"] > now + LEEWAY_S:
            raise _bad_id_token("It was issued in the future.")
        return claims

    def check_nonce(self, claims: Mapping[str, object], nonce: str) -> None:
        """Raise ApiError 401 unless the id token has the nonce of this login."""
        if not hmac.compare_digest(str(claims.get("nonce", "")).encode(), nonce.encode()):
            raise _bad_id_token("Its nonce is not that of this login.")

    async def _fetch_keys(self) -> Mapping[str, object]:
        return await self._json("GET", (await self.discovery())["jwks_uri"])

    async def _json(
        self, method: str, url: str, *, timeout: aiohttp.ClientTimeout = TIMEOUT, **more: Any
    ) -> dict[str, Any]:
        """Send a request and return the JSON object in the answer.

        A refused code (`invalid_grant`) raises ApiError 401, every other failure ProviderDown.
        """
        try:
            async with self._http.request(method, url, timeout=timeout, allow_redirects=False, **more) as answer:
                body = await answer.read()
                status = answer.status
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ProviderDown(f"{type(error).__name__}: {error}") from error
        try:
            data = orjson.loads(body)
        except orjson.JSONDecodeError:
            raise ProviderDown(f"{status} without JSON") from None
        if status == 400 and isinstance(data, dict) and data.get("error") == "invalid_grant":
            raise ApiError(401, "code_refused", "The identity provider does not accept this code.")
        if status != 200 or not isinstance(data, dict):
            raise ProviderDown(f"{status}: {data.get('error') if isinstance(data, dict) else data!r}")
        return data


def _bad_id_token(why: str) -> ApiError:
    return ApiError(401, "invalid_id_token", f"The identity provider's id token is not accepted. {why}")
