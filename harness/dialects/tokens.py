"""What a platform lets one do with tokens: an optional capability of a target (`target.tokens`).

Flows that return a status do not raise for a refusal: whoever records the request judges it. Sockets are opened by the
client; `handshake` says how.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from earwitness.checks.history.record import Place, Way
from earwitness.harness.client.events import Handshake
from earwitness.harness.client.flow import Browser, Flow
from earwitness.harness.dialects.protocol import Credentials, Person


@dataclass(frozen=True, slots=True)
class BegunLogin:
    """A login up to its callback, which has not been visited: `callback` is the address, `state` and `code` are what
    it carries, `browser` has the cookies of who began it."""

    browser: Browser
    callback: str = field(repr=False)
    state: str = field(repr=False)
    code: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key that a platform signs with, as PEM; the private half only of a platform of our own."""

    kid: str
    public_pem: str
    private_pem: str | None = field(default=None, repr=False)


class Tokens(Protocol):
    """Presenting, refreshing, revoking and forging the credentials of one platform. `places`: where a token can be
    presented, and how."""

    places: Sequence[tuple[Place, Way]]

    def present(self, token: str, place: Place) -> Flow[int]:
        """A cheap request with this token in its header; not for SOCKET."""
        ...

    def handshake(self, secret: str, way: Way, resume: Mapping[str, int] | None = None) -> Handshake:
        """A socket that presents a token, or a ticket where the way is TICKET."""
        ...

    def begin_login(self, person: Person, ttl_s: float | None = None) -> Flow[BegunLogin]:
        """Everything up to the callback; `ttl_s` asks for access tokens of a shorter life. FlowError for a refusal."""
        ...

    def finish_login(self, begun: BegunLogin, person: Person, browser: Browser | None = None) -> Flow[Credentials]:
        """Visit the callback, with somebody else's browser if given. FlowError for a refusal."""
        ...

    def with_code(self, begun: BegunLogin, code: str) -> BegunLogin:
        """The same login, whose callback carries another code."""
        ...

    def refresh(self, credentials: Credentials) -> Flow[Credentials]:
        """New access and refresh tokens. FlowError for a refusal."""
        ...

    def ticket(self, credentials: Credentials) -> Flow[Credentials]:
        """The same credentials with a ticket in `extra["ticket"]`. FlowError for a refusal."""
        ...

    def log_out(self, credentials: Credentials) -> Flow[int]:
        """End the session of the access token."""
        ...

    def rotate_keys(self) -> Flow[int]:
        """A new signing key, as an administrator does it."""
        ...

    def signing_key(self) -> Flow[SigningKey]:
        """The public half of the key that signs now, as the platform publishes it. FlowError."""
        ...

    def forgeries(self, key: SigningKey) -> Sequence[str]:
        """Names of the forgeries that can be made with what is known of the key; their places, from 1, are their
        numbers in records."""
        ...

    def forge(self, name: str, credentials: Credentials, other_id: str, key: SigningKey) -> str:
        """A token that must not be accepted, made from somebody's credentials. `other_id`: somebody else."""
        ...

    def control(self, credentials: Credentials, key: SigningKey) -> str:
        """Made as the forgeries are with nothing wrong, or the person's own token where nothing can be made."""
        ...


def tokens_of(target: Any) -> Tokens | None:
    """The capability, if the target has it."""
    found: Tokens | None = getattr(target, "tokens", None)
    return found
