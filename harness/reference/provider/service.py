"""Endpoints of the provider: discovery, authorize, token, userinfo, JWKS."""

from __future__ import annotations

import base64
import hmac
import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_plus, urlencode

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from earwitness.harness.reference.answers import json_response
from earwitness.harness.reference.pkce import s256
from earwitness.harness.reference.provider.grants import ACCESS_TTL_S, Grant, GrantRefused, Grants
from earwitness.harness.reference.provider.page import error_page, login_page
from earwitness.harness.reference.provider.people import person_of
from earwitness.harness.reference.service import Service

ID_TOKEN_TTL_S = 600
SCOPES = ("openid", "email", "profile", "offline_access")
_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")
_NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}
_ASKED = ("response_type", "client_id", "redirect_uri", "scope", "state", "nonce", "code_challenge",
          "code_challenge_method", "login_hint", "prompt")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of the provider.

    `issuer`: its own address, exactly as clients compare it.
    """

    name: str
    fd: int
    issuer: str
    client_id: str
    client_secret: str
    redirect_uris: tuple[str, ...]


class OAuthError(Exception):
    """Error of OAuth (RFC 6749) with its code and a sentence.

    `code` is the value of the field `error`; `status` is the HTTP status where the answer is no redirect.
    """

    def __init__(self, code: str, description: str, status: int = 400) -> None:
        """Make the error. `status`: HTTP status, used where the answer is no redirect."""
        self.code, self.description, self.status = code, description, status
        super().__init__(description)


class Provider(Service):
    """The OpenID provider, for one client and any number of users.

    Codes and tokens are lost in a restart, users are not.
    """

    def __init__(self, settings: Settings) -> None:
        """Generate the signing key, so that each start has a key id of its own, and add the routes."""
        super().__init__(settings.name)
        self.settings = settings
        self.grants = Grants()
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        public = RSAAlgorithm.to_jwk(self.key.public_key(), as_dict=True)
        # RFC 7638: the thumbprint of the key is its id, so two keys never share one.
        self.kid = s256(json.dumps({k: public[k] for k in ("e", "kty", "n")}, separators=(",", ":")))
        self.jwks = {"keys": [{**public, "kid": self.kid, "use": "sig", "alg": "RS256", "key_ops": ["verify"]}]}
        self.app.add_routes(
            [
                web.get("/.well-known/openid-configuration", self.discovery),
                web.get("/jwks", self.get_jwks),
                web.get("/authorize", self.authorize),
                web.post("/authorize", self.authorize),
                web.post("/token", self.token),
                web.get("/userinfo", self.userinfo),
            ]
        )

    async def discovery(self, _: web.Request) -> web.Response:
        """Answer a request: return the provider's configuration (OpenID Connect Discovery)."""
        issuer = self.settings.issuer
        return json_response(
            {
                "issuer": issuer,
                "authorization_endpoint": f"{issuer}/authorize",
                "token_endpoint": f"{issuer}/token",
                "userinfo_endpoint": f"{issuer}/userinfo",
                "jwks_uri": f"{issuer}/jwks",
                "response_types_supported": ["code"],
                "response_modes_supported": ["query"],
                "grant_types_supported": ["authorization_code", "refresh_token"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256"],
                "scopes_supported": list(SCOPES),
                "claims_supported": ["sub", "email", "email_verified", "name"],
                "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
                "code_challenge_methods_supported": ["S256"],
                "authorization_response_iss_parameter_supported": True,
            }
        )

    async def get_jwks(self, _: web.Request) -> web.Response:
        """Answer a request: return the public keys as a JWKS document."""
        return json_response(self.jwks, headers={"Cache-Control": "public, max-age=300"})

    async def authorize(self, request: web.Request) -> web.Response:
        """Answer an authorization request: GET begins a login, POST is the form of the login page.

        A GET with `login_hint` also finishes the login, without a page.
        """
        form = dict(await request.post()) if request.method == "POST" else {}
        given = request.query if request.method == "GET" else form
        asked = {name: str(given[name]) for name in _ASKED if given.get(name)}
        if asked.get("client_id") != self.settings.client_id:
            return error_page("invalid_client", "Nobody here knows the program that sent you.")
        if asked.get("redirect_uri") not in self.settings.redirect_uris:
            return error_page("invalid_redirect_uri", "The address to return to is not one of this program's.")
        try:
            if request.method == "GET" and any(len(request.query.getall(name)) > 1 for name in request.query):
                raise OAuthError("invalid_request", "A parameter is there twice.")
            check_request(asked)
            return self._decide(asked, form)
        except OAuthError as error:
            return self._back(asked, error=error.code, error_description=error.description)

    def _decide(self, asked: dict[str, str], form: Mapping[str, Any]) -> web.Response:
        if form.get("decision") == "deny":
            raise OAuthError("access_denied", "The person denied the request.")
        email = str(form.get("email", "")) if form else asked.get("login_hint", "")
        if not email and not form:
            if asked.get("prompt") == "none":
                raise OAuthError("login_required", "Nobody is logged in.")
            return login_page("/authorize", asked)
        person = person_of(email)
        if person is None:
            return login_page("/authorize", asked, email, "This is no e-mail address.")
        return self._back(asked, code=self.grants.code(person, asked))

    def _back(self, asked: Mapping[str, str], **answer: str) -> web.Response:
        if "state" in asked:
            answer["state"] = asked["state"]
        answer["iss"] = self.settings.issuer
        uri = asked["redirect_uri"]
        location = f"{uri}{'&' if '?' in uri else '?'}{urlencode(answer)}"
        return web.Response(status=303, headers={"Location": location, **_NO_STORE})

    async def token(self, request: web.Request) -> web.Response:
        """Answer a request: return tokens for a code or a refresh token."""
        form = {name: str(value) for name, value in (await request.post()).items()}
        try:
            client_id = self._client(request, form)
            kind = form.get("grant_type")
            if kind == "authorization_code":
                grant = self.grants.redeem(
                    form.get("code", ""), client_id, form.get("redirect_uri", ""), form.get("code_verifier", "")
                )
            elif kind == "refresh_token":
                grant = self.grants.rotate(form.get("refresh_token", ""), client_id)
            else:
                raise OAuthError("unsupported_grant_type", "grant_type must be authorization_code or refresh_token.")
        except GrantRefused as error:
            return _oauth_error(OAuthError("invalid_grant", str(error)))
        except OAuthError as error:
            return _oauth_error(error)
        access, refresh = self.grants.tokens(grant)
        return json_response(
            {
                "access_token": access,
                "token_type": "Bearer",
                "expires_in": int(ACCESS_TTL_S),
                "refresh_token": refresh,
                "scope": grant.scope,
                "id_token": self.id_token(grant, access, with_nonce=kind == "authorization_code"),
            },
            headers=_NO_STORE,
        )

    def id_token(self, grant: Grant, access_token: str, *, with_nonce: bool) -> str:
        """Return a signed id token for a grant, valid for ID_TOKEN_TTL_S seconds.

        `access_token`: the one issued with it, for `at_hash`; `with_nonce`: include the nonce of the authorization
        request, if it had one.
        """
        now = int(time.time())
        claims: dict[str, object] = {
            "iss": self.settings.issuer,
            "aud": grant.client_id,
            "iat": now,
            "exp": now + ID_TOKEN_TTL_S,
            "auth_time": grant.auth_time,
            "at_hash": _at_hash(access_token),
            **grant.person.claims(),
        }
        if with_nonce and grant.nonce is not None:
            claims["nonce"] = grant.nonce
        return jwt.encode(claims, self.key, algorithm="RS256", headers={"kid": self.kid})

    async def userinfo(self, request: web.Request) -> web.Response:
        """Answer a request: return the claims of the access token's user."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        person = self.grants.bearer(token) if scheme.lower() == "bearer" else None
        if person is None:
            return _oauth_error(OAuthError("invalid_token", "The access token is not accepted.", 401))
        return json_response(person.claims(), headers=_NO_STORE)

    def _client(self, request: web.Request, form: Mapping[str, str]) -> str:
        """Return the id of the client, which `client_secret_basic` or `client_secret_post` authenticates.

        Raises OAuthError `invalid_client` for an unknown client or a wrong secret.
        """
        name, secret = form.get("client_id", ""), form.get("client_secret", "")
        scheme, _, encoded = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "basic":
            try:
                first, _, second = base64.b64decode(encoded, validate=True).decode().partition(":")
            except ValueError:
                raise OAuthError("invalid_client", "The Authorization header is not understood.", 401) from None
            name, secret = unquote_plus(first), unquote_plus(second)
        good_name = hmac.compare_digest(name.encode(), self.settings.client_id.encode())
        good_secret = hmac.compare_digest(secret.encode(), self.settings.client_secret.encode())
        if not (good_name and good_secret):
            raise OAuthError("invalid_client", "The client is unknown or its secret is wrong.", 401)
        return name


def check_request(asked: Mapping[str, str]) -> None:
    """Raise OAuthError unless the parameters of an authorization request are valid.

    Client and redirect address must have been checked before.
    """
    if asked.get("response_type") != "code":
        raise OAuthError("unsupported_response_type", "response_type must be code.")
    if "openid" not in asked.get("scope", "").split():
        raise OAuthError("invalid_scope", "scope must contain openid.")
    if asked.get("code_challenge_method") != "S256" or not _CHALLENGE.fullmatch(asked.get("code_challenge", "")):
        raise OAuthError("invalid_request", "PKCE is required: code_challenge with code_challenge_method=S256.")


def _at_hash(access_token: str) -> str:
    digest = base64.urlsafe_b64decode(s256(access_token) + "=")
    return base64.urlsafe_b64encode(digest[:16]).rstrip(b"=").decode()


def _oauth_error(error: OAuthError) -> web.Response:
    headers = dict(_NO_STORE)
    if error.status == 401:
        scheme = "Bearer" if error.code == "invalid_token" else "Basic"
        headers["WWW-Authenticate"] = f'{scheme} realm="provider", error="{error.code}"'
    return json_response({"error": error.code, "error_description": error.description}, error.status, headers)
