"""Endpoints of the auth service."""

from __future__ import annotations

import asyncio
import hmac
import uuid
from collections.abc import Mapping
from urllib.parse import urlencode

import aiohttp
import redis.exceptions
from aiohttp import web

from earwitness.harness.reference import clock, tickets
from earwitness.harness.reference.answers import ApiError, json_response, read_json, text_field
from earwitness.harness.reference.auth.accounts import Accounts
from earwitness.harness.reference.auth.changes import admin_changes, own_changes
from earwitness.harness.reference.auth.database import Row, ensure_schema, make_pool
from earwitness.harness.reference.auth.guard import Guard
from earwitness.harness.reference.auth.logins import LOGIN_TTL_S, Logins, PendingLogin, cookie_name
from earwitness.harness.reference.auth.provider_client import ProviderClient, ProviderDown
from earwitness.harness.reference.auth.relay import Relay
from earwitness.harness.reference.auth.settings import Settings
from earwitness.harness.reference.auth.signing import SigningKeys
from earwitness.harness.reference.auth.users import public
from earwitness.harness.reference.pkce import s256
from earwitness.harness.reference.redis_client import make_redis
from earwitness.harness.reference.revocation import revoked_among
from earwitness.harness.reference.service import DEPENDENCY_DOWN, Service
from earwitness.harness.reference.tokens import Claims, KeySet, Verifier

KEEP_HOUSE_S = 5.0
RETIRE_MARGIN_S = 60.0
REDIS_CONNECTIONS = 32
COOKIE_PATH = "/auth"
_NO_STORE = {"Cache-Control": "no-store"}


class Auth(Service):
    """The auth service: its parts, its routes and their handlers.

    Every part is an attribute, so that a defect can replace it.
    """

    def __init__(self, settings: Settings) -> None:
        """Make the parts and routes; no connection is opened before `start`."""
        super().__init__(settings.name)
        self.settings = settings
        self.pool = make_pool(settings.dsn)
        # timeouts are not retried: the command may have used up a single-use value
        retried = (redis.exceptions.ConnectionError,)
        self.redis = make_redis(settings.redis_url, REDIS_CONNECTIONS, answer_s=2, connect_s=1, retried=retried)
        self.http = aiohttp.ClientSession()
        self.provider = ProviderClient(
            self.http,
            settings.provider_issuer,
            settings.client_id,
            settings.client_secret,
            settings.callback_url,
        )
        self.logins = Logins(self.redis)
        self.keys = SigningKeys(self.pool, settings.access_ttl_s + RETIRE_MARGIN_S)
        verifier = Verifier(KeySet(self.keys.fetch), issuer=settings.public_url, audience=settings.audience)
        self.guard = Guard(settings, self.redis, verifier)
        self.relay = Relay(self.pool, self.redis, self.log)
        self.accounts = Accounts(settings, self.pool, self.redis, self.keys, self.relay.wake)
        self.app.add_routes(self._routes())

    def _routes(self) -> list[web.RouteDef]:
        authenticated = self.guard.authenticated
        return [
            web.get("/.well-known/jwks.json", self.jwks),
            web.get("/auth/google", self.begin),
            web.get("/auth/google/callback", self.callback),
            web.post("/auth/exchange", self.exchange),
            web.post("/auth/refresh", self.refresh),
            web.post("/auth/logout", authenticated(self.logout)),
            web.get("/auth/me", authenticated(self.me)),
            web.patch("/auth/me", authenticated(self.change_me)),
            web.delete("/auth/me", authenticated(self.deactivate_me)),
            web.post("/auth/ticket", authenticated(self.ticket)),
            web.post("/auth/admin/rotate-keys", self.rotate_keys),
            web.post("/auth/admin/sign", self.sign),
            web.patch("/auth/admin/users/{id}", self.change_user),
        ]

    async def start(self) -> None:
        """Implement `Service.start`: connect, create the schema, load the keys, start the relay."""
        await self.pool
        await ensure_schema(self.pool)
        await self.redis.ping()
        await self.keys.load()
        self.background(self.relay.run(), "the relay")
        self.background(self._keep_house(), "house-keeping")

    async def waiting_for(self) -> str | None:
        """Implement `Service.waiting_for`: check that the database, Redis and the identity provider answer."""
        await self.pool.fetchval("SELECT 1")
        await revoked_among(self.redis, [])
        try:
            await self.provider.discovery()
        except ProviderDown as error:
            return f"the identity provider ({error.why})"
        return None

    async def stop(self) -> None:
        """Implement `Service.stop`: close the HTTP client, the database pool and Redis."""
        await self.http.close()
        if self.started:
            self.pool.terminate()
        await self.redis.aclose()

    async def _keep_house(self) -> None:
        """Reload keys that another replica may have rotated, and delete old rows, every KEEP_HOUSE_S."""
        while True:
            await asyncio.sleep(KEEP_HOUSE_S)
            try:
                await self.keys.load()
                await self.relay.forget_old()
            except DEPENDENCY_DOWN as error:
                self.log.warning("house-keeping waits: %s: %s", type(error).__name__, error)

    # Login

    async def begin(self, request: web.Request) -> web.Response:
        """Answer a request: begin a login; return a redirect to the identity provider."""
        await self.guard.spend_login(request)
        return_to = request.query.get("return_to", "")
        if return_to and not self.settings.may_return_to(return_to):
            raise ApiError(400, "invalid_return_to", "return_to must be a page of the frontend.")
        begun = await self.logins.begin(return_to, self._asked_ttl_s(request), request.query.get("challenge", ""))
        url = await self.provider.authorization_url(
            begun.state, begun.nonce, begun.verifier, request.query.get("login_hint", "")
        )
        response = web.Response(status=302, headers={"Location": url, **_NO_STORE})
        response.set_cookie(
            begun.cookie,
            begun.secret,
            max_age=LOGIN_TTL_S,
            path=COOKIE_PATH,
            httponly=True,
            samesite="Lax",
            secure=self.settings.public_url.startswith("https:"),
        )
        return response

    async def callback(self, request: web.Request) -> web.Response:
        """Answer a request: finish a login when the browser returns from the identity provider.

        If the login was begun with an address to return to, redirect there with a one-time `code`, or with `error`
        if the provider refused. Otherwise return the tokens as JSON. Raises ApiError: 400 for a bad request or an
        unknown or finished login, 403 for another browser. If the provider refused and there is no address to
        return to: 403 if access was denied, else 401.
        """
        query = request.query
        if any(len(query.getall(name)) > 1 for name in query):
            raise ApiError(400, "invalid_request", "A parameter is there twice.")
        state = query.get("state", "")
        pending = await self.logins.finish(state, request.cookies.get(cookie_name(state)))
        self.provider.check_response_issuer(query.get("iss"))
        if "error" in query:
            return _refused_by_provider(pending, query["error"])
        if not query.get("code"):
            raise ApiError(400, "invalid_request", "The answer of the identity provider has no code.")
        identity = await self.provider.identity(query["code"], pending.verifier, pending.nonce)
        user = await self.accounts.person(identity)
        if pending.return_to:
            response = await self._to_frontend(pending, user)
        else:
            tokens = await self.accounts.log_in(str(user["id"]), pending.access_ttl_s)
            response = json_response(tokens, headers=_NO_STORE)
        response.del_cookie(cookie_name(state), path=COOKIE_PATH)
        return response

    async def _to_frontend(self, pending: PendingLogin, user: Row) -> web.Response:
        code = await self.logins.offer(
            {"user_id": str(user["id"]), "access_ttl_s": pending.access_ttl_s, "challenge": pending.challenge}
        )
        return _redirect(pending.return_to, {"code": code})

    async def exchange(self, request: web.Request) -> web.Response:
        """Answer a request: exchange the frontend's one-time code for tokens.

        The request must have the verifier if a challenge was given at the beginning of the login.
        """
        body = await read_json(request)
        offered = await self.logins.collect(text_field(body, "code"))
        if offered is None:
            raise ApiError(400, "invalid_code", "This code is unknown, too old or already used; log in again.")
        if offered["challenge"] and not hmac.compare_digest(s256(str(body.get("verifier", ""))), offered["challenge"]):
            raise ApiError(403, "wrong_verifier", "This login was begun by another page.")
        return json_response(await self.accounts.log_in(offered["user_id"], offered["access_ttl_s"]), headers=_NO_STORE)

    def _asked_ttl_s(self, request: web.Request) -> float:
        text, longest = request.query.get("ttl"), self.settings.access_ttl_s
        if text is None:
            return longest
        try:
            ttl_s = float(text)
        except ValueError:
            ttl_s = -1.0
        if not self.settings.test_mode or not 0 < ttl_s <= longest:
            raise ApiError(400, "invalid_ttl", f"ttl needs test mode and must be a number from 0 to {longest}.")
        return ttl_s

    # Tokens

    async def refresh(self, request: web.Request) -> web.Response:
        """Answer a request: exchange a refresh token for new tokens."""
        token = text_field(await read_json(request), "refresh_token")
        decision = await self.guard.spend(request, await self.accounts.owner(token))
        headers = {**_NO_STORE, **(decision.headers() if decision else {})}
        return json_response(await self.accounts.refresh(token), headers=headers)

    async def logout(self, _: web.Request, claims: Claims) -> web.Response:
        """Answer a request: end the session of the access token."""
        await self.accounts.log_out(claims)
        return json_response({"logged_out": True})

    async def ticket(self, _: web.Request, claims: Claims) -> web.Response:
        """Answer a request: issue a single-use ticket for opening a WebSocket."""
        await self.accounts.get(claims.subject)
        ticket = await tickets.issue(self.redis, claims)
        return json_response({"ticket": ticket, "expires_in": tickets.TICKET_TTL_S}, headers=_NO_STORE)

    async def jwks(self, _: web.Request) -> web.Response:
        """Answer a request: return the public keys as a JWKS document."""
        return json_response(self.keys.jwks(), headers={"Cache-Control": "public, max-age=60"})

    # Accounts

    async def me(self, _: web.Request, claims: Claims) -> web.Response:
        """Answer a request: return the user's own account."""
        return json_response(public(await self.accounts.get(claims.subject)))

    async def change_me(self, request: web.Request, claims: Claims) -> web.Response:
        """Answer a request: change the user's own name; return the account."""
        changes = own_changes(await read_json(request))
        await self.accounts.get(claims.subject)
        return json_response(public(await self.accounts.change(claims.subject, changes)))

    async def deactivate_me(self, _: web.Request, claims: Claims) -> web.Response:
        """Answer a request: deactivate the user's own account, which revokes all tokens; return the account."""
        await self.accounts.get(claims.subject)
        return json_response(public(await self.accounts.change(claims.subject, {"is_active": False})))

    # Administration

    async def rotate_keys(self, request: web.Request) -> web.Response:
        """Answer an administrator's request: sign with a new key from now on; return its id."""
        self.guard.check_admin(request)
        return json_response({"kid": await self.keys.rotate(), "at": clock.now()})

    async def sign(self, request: web.Request) -> web.Response:
        """Answer a request in test mode: return a token with any claims, signed with the service's key.

        With it a test can show that a token is refused for a wrong claim and not for its signature.
        """
        self.guard.check_test_mode()
        claims = (await read_json(request)).get("claims")
        if not isinstance(claims, dict):
            raise ApiError(400, "invalid_request", "claims must be a JSON object.")
        return json_response({"token": self.keys.sign(claims)}, headers=_NO_STORE)

    async def change_user(self, request: web.Request) -> web.Response:
        """Answer an administrator's request: change a user's account; return the account."""
        self.guard.check_admin(request)
        try:
            user_id = str(uuid.UUID(request.match_info["id"]))
        except ValueError:
            raise ApiError(404, "no_such_user", "There is no such user.") from None
        return json_response(public(await self.accounts.change(user_id, admin_changes(await read_json(request)))))


def _refused_by_provider(pending: PendingLogin, error: str) -> web.Response:
    denied = error == "access_denied"
    if pending.return_to:
        return _redirect(pending.return_to, {"error": "access_denied" if denied else "login_failed"})
    if denied:
        raise ApiError(403, "access_denied", "The login was denied at the identity provider.")
    raise ApiError(401, "login_failed", "The identity provider refused the login.")


def _redirect(url: str, query: Mapping[str, str]) -> web.Response:
    page, mark, fragment = url.partition("#")
    location = f"{page}{'&' if '?' in page else '?'}{urlencode(query)}{mark}{fragment}"
    return web.Response(status=302, headers={"Location": location, **_NO_STORE})
