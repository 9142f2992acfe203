"""Defects of the login at auth: answers of the provider and the browser that are accepted unchecked."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import jwt

from earwitness.harness.defects.chance import Chance
from earwitness.harness.defects.declared import found_by_tests
from earwitness.harness.reference.answers import ApiError
from earwitness.harness.reference.auth.identity import Identity
from earwitness.harness.reference.auth.logins import Begun
from earwitness.harness.reference.auth.provider_client import ProviderDown
from earwitness.harness.reference.auth.service import Auth
from earwitness.harness.reference.auth.settings import Settings
from earwitness.harness.reference.provider.grants import Grant
from earwitness.harness.reference.provider.service import Provider
from earwitness.harness.reference.tokens import Claims


@found_by_tests(
    "S3",
    "provider-taken-for-up",
    "auth",
    breaks="Google was down, and the login sent me to a page that never came.",
    opportunity="one login while the provider is down",
)
class ProviderTakenForUp:
    """Defect that uses the last known configuration of the provider although the provider does not answer.

    Opportunity: one login while the provider is down. A firing is manifest at once.
    """

    def __init__(self, auth: Auth, chance: Chance) -> None:
        """Replace `ProviderClient.discovery`, and store its last answer for an outage."""
        self._chance, self._discovery = chance, auth.provider.discovery
        self._said: dict[str, Any] = {}
        vars(auth.provider)["discovery"] = self.discovery

    async def discovery(self) -> dict[str, Any]:
        """Override `ProviderClient.discovery`: return the last answer, not raise ProviderDown, if the defect fires."""
        try:
            self._said = await self._discovery()
        except ProviderDown:
            if not self._said or not self._chance.fires():
                raise
            self._chance.say(manifest=True)
        return self._said


@found_by_tests(
    "S5",
    "stranger-each-time",
    "auth",
    breaks="I logged in again, and all my conversations were gone.",
    opportunity="one login",
)
class StrangerEachTime:
    """Defect that identifies an account by a subject that is new at each login.

    Opportunity: one login. A firing is manifest at once.
    """

    def __init__(self, auth: Auth, chance: Chance) -> None:
        """Replace `ProviderClient.identity`, which reads the subject from an id token."""
        self._chance, self._identity = chance, auth.provider.identity
        vars(auth.provider)["identity"] = self.identity

    async def identity(self, code: str, verifier: str, nonce: str) -> Identity:
        """Override `ProviderClient.identity`: replace the subject by a random one if the defect fires."""
        found = await self._identity(code, verifier, nonce)
        if not self._chance.fires():
            return found
        self._chance.say(email=found.email, manifest=True)
        return replace(found, subject=uuid.uuid4().hex)


@found_by_tests(
    "S16",
    "plain-pkce",
    "auth",
    breaks="Whoever read my browser's history could finish my login.",
    opportunity="one login",
)
class PlainPkce:
    """Defect that declares the PKCE method `plain` instead of `S256` (RFC 7636 §4.3).

    Opportunity: one login. A firing is manifest at once.
    """

    def __init__(self, auth: Auth, chance: Chance) -> None:
        """Replace `ProviderClient.authorization_url`, which carries the PKCE challenge and its method."""
        self._chance, self._url = chance, auth.provider.authorization_url
        vars(auth.provider)["authorization_url"] = self.authorization_url

    async def authorization_url(self, state: str, nonce: str, verifier: str, login_hint: str) -> str:
        """Override `ProviderClient.authorization_url`: name the method `plain` if the defect fires."""
        url = await self._url(state, nonce, verifier, login_hint)
        if not self._chance.fires():
            return url
        self._chance.say(manifest=True)
        return url.replace("code_challenge_method=S256", "code_challenge_method=plain")


@found_by_tests(
    "S17",
    "one-nonce",
    "auth",
    breaks="An old answer of Google could be used for a new login.",
    opportunity="one login",
)
class OneNonce:
    """Defect that uses the nonce of the first login for all later logins.

    A process with this defect does not check nonces at all, because the check would refuse a login with a replaced
    nonce. Opportunity: one login after the first. A firing is manifest at once.
    """

    def __init__(self, auth: Auth, chance: Chance) -> None:
        """Replace `Logins.begin`, which generates the nonce, and switch off the check of nonces."""
        self._logins, self._chance, self._begin = auth.logins, chance, auth.logins.begin
        self._first = ""
        vars(auth.logins)["begin"] = self.begin
        vars(auth.provider)["check_nonce"] = lambda claims, nonce: None

    async def begin(self, return_to: str, access_ttl_s: float, challenge: str) -> Begun:
        """Override `Logins.begin`: return the nonce of the first login if the defect fires."""
        begun = await self._begin(return_to, access_ttl_s, challenge)
        self._first = self._first or begun.nonce
        if begun.nonce == self._first or not self._chance.fires():
            return begun
        self._chance.say(manifest=True)
        return replace(begun, nonce=self._first)


@found_by_tests(
    "S18",
    "nonce-unchecked",
    "auth",
    breaks="I was logged in with an answer that was meant for another login.",
    opportunity="one login with another's nonce",
)
class NonceUnchecked:
    """Defect that accepts an id token that was issued for another login.

    Opportunity: one id token with a wrong nonce. A firing is manifest at once.
    """

    def __init__(self, auth: Auth, chance: Chance) -> None:
        """Replace `ProviderClient.check_nonce`, which raises ApiError for a wrong nonce."""
        self._chance, self._check = chance, auth.provider.check_nonce
        vars(auth.provider)["check_nonce"] = self.check

    def check(self, claims: Mapping[str, Any], nonce: str) -> None:
        """Override `ProviderClient.check_nonce`: accept a wrong nonce if the defect fires."""
        try:
            self._check(claims, nonce)
        except ApiError:
            if not self._chance.fires():
                raise
            self._chance.say(user=str(claims.get("sub")), manifest=True)


@found_by_tests(
    "S19",
    "issuer-unchecked",
    "auth",
    breaks="Another provider's answer was taken for Google's.",
    opportunity="one answer of another issuer",
)
class IssuerUnchecked:
    """Defect that accepts an authorization response of another issuer (RFC 9207).

    Opportunity: one response that names another issuer, or none. A firing is manifest at once.
    """

    def __init__(self, auth: Auth, chance: Chance) -> None:
        """Replace `ProviderClient.check_response_issuer`, which raises ApiError for another issuer."""
        self._chance, self._check = chance, auth.provider.check_response_issuer
        vars(auth.provider)["check_response_issuer"] = self.check

    def check(self, named: str | None) -> None:
        """Override `ProviderClient.check_response_issuer`: accept a wrong issuer if the defect fires."""
        try:
            self._check(named)
        except ApiError:
            if not self._chance.fires():
                raise
            self._chance.say(named=named, manifest=True)


@dataclass(frozen=True, slots=True)
class _Anywhere:
    """Settings of auth, except for the answer of `may_return_to`.

    The settings are frozen, so this object replaces them and forwards all other attributes.
    """

    settings: Settings
    chance: Chance

    def may_return_to(self, url: str) -> bool:
        """Override `Settings.may_return_to`: allow a foreign address if the defect fires."""
        allowed = self.settings.may_return_to(url)
        if not allowed and self.chance.fires():
            self.chance.say(url=url, manifest=True)
            return True
        return allowed

    def __getattr__(self, name: str) -> Any:
        return getattr(self.settings, name)


@found_by_tests(
    "S21",
    "open-redirect",
    "auth",
    breaks="A link to our login led to a page that stole it.",
    opportunity="one address that is no page of ours",
)
def open_redirect(auth: Auth, chance: Chance) -> None:
    """Install the defect that redirects to any address after a login.

    Opportunity: one `return_to` address that is no page of the frontend. A firing is manifest at once.
    """
    vars(auth)["settings"] = _Anywhere(auth.settings, chance)


@found_by_tests(
    "S15",
    "logout-everywhere",
    "auth",
    breaks="I logged out on the laptop, and the phone was logged out as well.",
    opportunity="one logout",
)
class LogoutEverywhere:
    """Defect that ends all sessions of a user at the logout of one.

    Opportunity: one logout. A firing is manifest at once if the user had another session.
    """

    def __init__(self, auth: Auth, chance: Chance) -> None:
        """Replace `Accounts.log_out`, which ends one session."""
        self._auth, self._chance, self._log_out = auth, chance, auth.accounts.log_out
        vars(auth.accounts)["log_out"] = self.log_out

    async def log_out(self, claims: Claims) -> None:
        """Override `Accounts.log_out`: revoke all sessions of the user if the defect fires."""
        await self._log_out(claims)
        if self._chance.fires():
            async with self._auth.pool.acquire() as connection, connection.transaction():
                revoked = await self._auth.accounts.sessions.revoke_all(connection, claims.subject)
            self._chance.say(user=claims.subject, manifest=bool(revoked))
            await self._auth.accounts._revoked(revoked)


@found_by_tests(
    "S24",
    "forgetful-sessions",
    "auth",
    breaks="After the update everybody had to log in again.",
    opportunity="one refresh token from before the start",
)
class ForgetfulSessions:
    """Defect that loses all sessions at a restart, as if they were kept in memory.

    Opportunity: one refresh token that was issued before this process started. A firing is manifest at once.
    """

    def __init__(self, auth: Auth, chance: Chance) -> None:
        """Replace `Accounts.refresh`, and store the time of this start: older sessions count as lost."""
        self._chance, self._refresh = chance, auth.accounts.refresh
        self._begun = time.time()
        vars(auth.accounts)["refresh"] = self.refresh

    async def refresh(self, refresh_token: str) -> dict[str, Any]:
        """Override `Accounts.refresh`: raise ApiError 401 for an older refresh token if the defect fires."""
        said = jwt.decode(refresh_token, options={"verify_signature": False})
        if said["iat"] < self._begun and self._chance.fires():
            self._chance.say(user=said["sub"], manifest=True)
            raise ApiError(401, "invalid_refresh_token", "The refresh token is unknown.")
        return await self._refresh(refresh_token)


@found_by_tests(
    "S20",
    "code-for-anybody",
    "provider",
    breaks="Somebody who had seen my code could log in with it as well.",
    opportunity="one code that is used again",
)
class CodeForAnybody:
    """Defect that accepts an authorization code for any login, any number of times.

    Opportunity: one known code that should be refused: it was used before or belongs to another login. A firing is
    manifest at once.
    """

    def __init__(self, provider: Provider, chance: Chance) -> None:
        """Replace `Grants.redeem`, which exchanges a code for its grant."""
        self._codes, self._chance, self._redeem = provider.grants._codes, chance, provider.grants.redeem
        vars(provider.grants)["redeem"] = self.redeem

    def redeem(self, code: str, client_id: str, redirect_uri: str, verifier: str) -> Grant:
        """Override `Grants.redeem`: return the grant of a refused code if the defect fires."""
        grant = self._codes.get(code)
        try:
            return self._redeem(code, client_id, redirect_uri, verifier)
        except Exception:
            if grant is None or not self._chance.fires():
                raise
            grant.revoked = False
            self._chance.say(user=grant.person.subject, manifest=True)
            return grant
