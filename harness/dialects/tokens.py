"""Tokens: an optional capability of a target (`target.parts.tokens`) to present, refresh, revoke and forge tokens.

Flows that return a status do not raise for a refusal: the caller records the request, and the judge decides about it.
The client opens the sockets; `dialogue` returns their dialogues.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from earwitness.checks.history.record import Place, Way
from earwitness.harness.client.dialogue import Dialogue
from earwitness.harness.client.flow import Browser, Flow
from earwitness.harness.dialects.values import Credentials, Person


@dataclass(frozen=True, slots=True)
class BegunLogin:
    """A login up to its callback, which has not been visited.

    callback     the callback's address, with `state` and `code` in its query
    state, code  their values (RFC 6749 §4.1.2)
    browser      has the cookies of the browser that began the login
    """

    browser: Browser
    callback: str = field(repr=False)
    state: str = field(repr=False)
    code: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class SigningKey:
    """Key that a platform signs with: its id (`kid`) and its halves as PEM. `private_pem`: None if unknown."""

    kid: str
    public_pem: str
    private_pem: str | None = field(default=None, repr=False)


class Tokens(Protocol):
    """Protocol of a platform that lets its credentials be presented, refreshed, revoked and forged.

    `places`: where a token can be presented, and in which way.
    """

    places: Sequence[tuple[Place, Way]]

    def present(self, token: str, place: Place) -> Flow[int]:
        """Send a cheap request to `place` with this token in its header; return the HTTP status. Not for SOCKET."""
        ...

    def dialogue(self, secret: str, way: Way, resume: Mapping[str, int] | None = None) -> Dialogue:
        """Return the dialogue of a socket that presents `secret`: a token, or a ticket where the way is TICKET.

        `resume`: as of `Target.dialogue`.
        """
        ...

    def begin_login(self, person: Person, ttl_s: float | None = None) -> Flow[BegunLogin]:
        """Send every request of a login up to the callback, which is not visited.

        `ttl_s` asks for access tokens that live this many seconds. Raises FlowError for a refusal.
        """
        ...

    def finish_login(self, begun: BegunLogin, person: Person, browser: Browser | None = None) -> Flow[Credentials]:
        """Visit the callback of a begun login and return the credentials.

        `browser`: whose cookies are sent, None for those of the browser that began. Raises FlowError for a refusal.
        """
        ...

    def with_code(self, begun: BegunLogin, code: str) -> BegunLogin:
        """Return the same login, with another code in its callback."""
        ...

    def refresh(self, credentials: Credentials) -> Flow[Credentials]:
        """Return credentials with new access and refresh tokens.

        Raises FlowError for a refusal.
        """
        ...

    def ticket(self, credentials: Credentials) -> Flow[Credentials]:
        """Return the same credentials with a ticket in `extra["ticket"]`.

        Raises FlowError for a refusal.
        """
        ...

    def log_out(self, credentials: Credentials) -> Flow[int]:
        """Log out the session to which the access token belongs; return the HTTP status."""
        ...

    def rotate_keys(self) -> Flow[int]:
        """Make the platform sign with a new key, as an administrator does; return the HTTP status."""
        ...

    def signing_key(self) -> Flow[SigningKey]:
        """Return the public half of the key that signs now, as the platform publishes it.

        Raises FlowError if the platform publishes no key that can be read.
        """
        ...

    def forgeries(self, key: SigningKey) -> Sequence[str]:
        """Return the names of the forgeries that can be made with `key`: fewer if its private half is unknown.

        Their numbers in records are those of `harness.dialects.reference.forgery.NUMBERS`.
        """
        ...

    def forge(self, name: str, credentials: Credentials, other_id: str, key: SigningKey) -> str:
        """Return a token that a platform must refuse, made from a person's credentials.

        `name` is one of `forgeries(key)`, `key` comes from `signing_key`; `other_id`: the user id of another person.
        """
        ...

    def control(self, credentials: Credentials, key: SigningKey) -> str:
        """Return a valid token that is made in the same way as the forgeries. A platform must accept it.

        Without the private key it is the person's own token.
        """
        ...
