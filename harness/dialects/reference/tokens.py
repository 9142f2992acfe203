"""Tokens of the reference platform: presenting, refreshing, revoking, forging."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlencode, urlsplit

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from earwitness.checks.history.record import Place, Way
from earwitness.harness.client.dialogue import Dialogue
from earwitness.harness.client.flow import Browser, Flow, FlowError, HttpRequest
from earwitness.harness.dialects.protocol import Credentials, Person
from earwitness.harness.dialects.reference.forgery import FORGERIES, WITHOUT_KEY, Forger, read_key
from earwitness.harness.dialects.tokens import BegunLogin, SigningKey

if TYPE_CHECKING:
    from earwitness.harness.dialects.reference.dialect import Presentation, ReferenceTarget

KEY_QUERY = "select kid, private_pem from signing_keys where retires_at is null order by created_at desc limit 1"
"""Query of the auth database for the key that signs now."""
WAYS: Mapping[Way, Presentation] = {
    Way.HEADER: "header",
    Way.SUBPROTOCOL: "subprotocol",
    Way.QUERY: "query",
    Way.TICKET: "ticket",
}
HTTP_PLACES = {Place.AUTH: "/auth/me", Place.BACKEND: "/api/me", Place.FRONTEND: "/api/me"}


class ReferenceTokens:
    """Implementation of `harness.dialects.tokens.Tokens` for a ReferenceTarget."""

    places: Sequence[tuple[Place, Way]] = (
        (Place.AUTH, Way.HEADER),
        (Place.BACKEND, Way.HEADER),
        (Place.FRONTEND, Way.HEADER),
        (Place.SOCKET, Way.HEADER),
        (Place.SOCKET, Way.SUBPROTOCOL),
        (Place.SOCKET, Way.QUERY),
    )

    def __init__(self, target: ReferenceTarget) -> None:
        """Derive the base URL of each place from the endpoints of `target`."""
        self._target = target
        self._auth = str(target.endpoints["auth"]).rstrip("/")
        self._bases = {
            Place.AUTH: self._auth,
            Place.BACKEND: str(target.endpoints["edge"]).rstrip("/"),
            Place.FRONTEND: str(target.endpoints["frontend"]).rstrip("/"),
        }

    def present(self, token: str, place: Place) -> Flow[int]:
        """Implement `Tokens.present`: send GET to the address of the own profile at that place."""
        headers = {"authorization": f"Bearer {token}"}
        url = f"{self._bases[place]}{HTTP_PLACES[place]}"
        response = yield HttpRequest("GET", url, headers, b"", f"token at {place.name.lower()}")
        return response.status

    def dialogue(self, secret: str, way: Way, resume: Mapping[str, int] | None = None) -> Dialogue:
        """Implement `Tokens.dialogue` by calling `ReferenceTarget.open_with`."""
        return self._target.open_with(secret, WAYS[way], resume)

    def begin_login(self, person: Person, ttl_s: float | None = None) -> Flow[BegunLogin]:
        """Implement `Tokens.begin_login`: follow the redirects through the provider and stop before the callback."""
        browser = Browser()
        query = {"login_hint": person.email} | ({} if ttl_s is None else {"ttl": f"{ttl_s:g}"})
        callback = ""

        def is_callback(url: str) -> bool:
            nonlocal callback
            callback = url if url.startswith(f"{self._auth}/auth/google/callback") else callback
            return bool(callback)

        response = yield from browser.follow(
            f"{self._auth}/auth/google?{urlencode(query)}", stop=is_callback, name="login: begin"
        )
        carried = parse_qs(urlsplit(callback).query)
        if "state" not in carried or "code" not in carried:
            raise FlowError("login: begin", "a redirect to the callback with state and code", response)
        return BegunLogin(browser, callback, carried["state"][0], carried["code"][0])

    def finish_login(self, begun: BegunLogin, person: Person, browser: Browser | None = None) -> Flow[Credentials]:
        """Implement `Tokens.finish_login`: send GET to the callback, with the cookies of one browser."""
        visitor = browser or begun.browser
        response = yield from visitor.request("GET", begun.callback, name="login: callback")
        return self._target.credentials("login", person, response)

    def with_code(self, begun: BegunLogin, code: str) -> BegunLogin:
        """Implement `Tokens.with_code`: replace the code in the callback's address."""
        address = urlsplit(begun.callback)
        query = {**{key: values[0] for key, values in parse_qs(address.query).items()}, "code": code}
        return replace(begun, callback=address._replace(query=urlencode(query)).geturl(), code=code)

    def refresh(self, credentials: Credentials) -> Flow[Credentials]:
        """Implement `Tokens.refresh` by calling `ReferenceTarget.refresh`."""
        return (yield from self._target.refresh(credentials))

    def ticket(self, credentials: Credentials) -> Flow[Credentials]:
        """Implement `Tokens.ticket` by calling `ReferenceTarget.ticket`."""
        return (yield from self._target.ticket(credentials))

    def log_out(self, credentials: Credentials) -> Flow[int]:
        """Implement `Tokens.log_out`: send POST /auth/logout."""
        headers = {"authorization": f"Bearer {credentials.token}"}
        response = yield HttpRequest("POST", f"{self._auth}/auth/logout", headers, b"", "logout")
        return response.status

    def rotate_keys(self) -> Flow[int]:
        """Implement `Tokens.rotate_keys`: send POST /auth/admin/rotate-keys.

        The request carries no administrator's secret, so the platform must run in test mode.
        """
        response = yield HttpRequest("POST", f"{self._auth}/auth/admin/rotate-keys", {}, b"", "rotate keys")
        return response.status

    def signing_key(self) -> Flow[SigningKey]:
        """Implement `Tokens.signing_key`: return the first key of auth's jwks.json; `private_pem` is None.

        Raises FlowError if there is none, or it is no elliptic key.
        """
        step = "reading auth's keys"
        response = yield HttpRequest("GET", f"{self._auth}/.well-known/jwks.json", {}, b"", step)
        try:
            jwk = response.json()["keys"][0]
            public = ECAlgorithm.from_jwk(json.dumps(jwk))
            assert isinstance(public, ec.EllipticCurvePublicKey)
        except (ValueError, KeyError, IndexError, AssertionError) as error:
            raise FlowError(step, "a published elliptic key", response) from error
        return SigningKey(str(jwk["kid"]), _pem(public))

    def forgeries(self, key: SigningKey) -> Sequence[str]:
        """Implement `Tokens.forgeries`: return all names, or without the private key those of `forgery.WITHOUT_KEY`."""
        return [name for name in FORGERIES if key.private_pem is not None or name in WITHOUT_KEY]

    def forge(self, name: str, credentials: Credentials, other_id: str, key: SigningKey) -> str:
        """Implement `Tokens.forge` with the method of `forgery.Forger` that is called `name`."""
        return FORGERIES[name](_forger(credentials, other_id, key))

    def control(self, credentials: Credentials, key: SigningKey) -> str:
        """Implement `Tokens.control`: return a minted token, or without the private key the person's own."""
        if key.private_pem is None:
            return credentials.token
        return _forger(credentials, "", key).control()


def _forger(credentials: Credentials, other_id: str, key: SigningKey) -> Forger:
    private = None if key.private_pem is None else read_key(key.private_pem)
    public = serialization.load_pem_public_key(key.public_pem.encode())
    assert isinstance(public, ec.EllipticCurvePublicKey)
    refresh_token = str(credentials.extra["refresh_token"])
    return Forger(key.kid, public, credentials.token, refresh_token, other_id, private)


def _pem(public: ec.EllipticCurvePublicKey) -> str:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return public.public_bytes(serialization.Encoding.PEM, form).decode()
