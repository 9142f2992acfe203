"""Behaviour `Tokens`: logins step by step, and presenting and refreshing of tokens; each answer is recorded."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TypeVar

import gevent
from gevent.lock import RLock
from locust.exception import StopUser

from earwitness.checks.history.record import CONTROL, Artefact, Place, Way
from earwitness.harness.client.dialogue import Dialogue
from earwitness.harness.client.exchange import Exchange, observed
from earwitness.harness.client.flow import Browser, Flow, FlowError
from earwitness.harness.client.statements import Name, write_exchange, write_request
from earwitness.harness.client.try_connect import OPENED, knock
from earwitness.harness.dialects.protocol import Credentials
from earwitness.harness.dialects.tokens import Tokens as Ability
from earwitness.harness.load.account import Account
from earwitness.harness.load.behaviour import Behaviour, Unable
from earwitness.harness.load.wallet import Begun, Held, Login
from earwitness.harness.load.worker import CROWD_WAIT_S

T = TypeVar("T")

KEPT = 4
"""Number of past logins that a user keeps."""
SOCKET_WAYS = (Way.HEADER, Way.SUBPROTOCOL, Way.QUERY, Way.TICKET)


class Tokens(Behaviour, Account):
    """Behaviour that logs the user in step by step, presents and refreshes its tokens, and records each answer.

    Methods for tasks: `present`, `present_everywhere`, `present_expired`, `refresh`, `rotate_keys`. On a target without
    `harness.dialects.tokens.Tokens` the user logs in by its plain `Account`, and these tasks send a message.

    ttl_s        lifetime of access tokens in seconds, if the platform can be asked for it
    margin_s     a token that expires within this time, in seconds, is refreshed before it is used
    socket_ways  ways (`Way`) in which tokens are presented when a socket is opened
    """

    carried = ("login", "past")

    def __init__(
        self, *, ttl_s: float | None = None, margin_s: float = 1.0, socket_ways: Sequence[Way] = SOCKET_WAYS
    ) -> None:
        """Set lifetime and margin in seconds, and the ways of sockets; each handshake uses one way of `socket_ways`."""
        self.ttl_s, self.margin_s, self.socket_ways = ttl_s, margin_s, tuple(socket_ways)

    def begin(self) -> None:
        """Implement `Behaviour.begin`: replace the user's `account` by this object.

        On a target without operations on tokens the plain account stays.
        """
        self.login: Login | None = None
        self.past: list[Login] = []
        self.turn = RLock()
        self.enter: Callable[[], Callable[[], None]] = self._enter
        self.show_valid: Callable[[Login], list[int]] = self._show_valid
        self._ability = self.part.target.parts.tokens
        self._shown: tuple[Held, Way, int] | None = None
        if self._ability is not None:
            self.user.account = self

    @property
    def able(self) -> bool:
        """Return whether the target has operations on tokens."""
        return self._ability is not None

    @property
    def ability(self) -> Ability:
        """Return the target's operations on tokens.

        On a target without them the user sends a message instead, and the task ends (`Unable`).
        """
        if self._ability is None:
            self.user.say()
            raise Unable
        return self._ability

    @property
    def now(self) -> Login:
        """Return the current login. Raises Unable on a target without operations on tokens.

        A login must have been made before.
        """
        if self.login is None:
            assert self.ability  # without the ability the task ends here
        assert self.login is not None
        return self.login

    # -- what a story can do --------------------------------------------------------------------------------------

    def present(self, login: Login | None = None) -> int:
        """Present an access token at a random place in one of its ways; return the status, see `show`.

        `login`: the login whose token is presented; None presents the current one, refreshed if necessary. Raises
        Unable, StopUser or FlowError.
        """
        self.user.begin_action()
        place, way = self.user.rng.choice(self.ability.places)
        if login is None:
            with self.turn:
                login = self.fresh()
        return self.show(login.access, place, way)

    def present_everywhere(self) -> None:
        """Present the current access token, refreshed if necessary, at all places, in each of their ways."""
        self.user.begin_action()
        with self.turn:
            login = self.fresh()
        self.show_everywhere(login)

    def present_expired(self) -> None:
        """Present earlier tokens, expired for longer than the contract's leeway, at all places; no-op without any."""
        self.user.begin_action()
        leeway_s = self.part.target.contract.token_leeway_s
        over = [login for login in self.past if login.access.left_s() < -leeway_s]
        for place, way in self.ability.places if over else ():
            self.show(self.user.rng.choice(over).access, place, way)

    def refresh(self) -> None:
        """Refresh the tokens; the open socket continues with the old access token until that token expires."""
        self.user.begin_action()
        with self.turn:
            self.renew()

    def rotate_keys(self) -> None:
        """Rotate the platform's signing key as an administrator; present tokens from before and after the rotation."""
        self.user.begin_action()
        ability = self.ability
        with self.turn:
            old = self.fresh()
            self.user.quietly(ability.rotate_keys())
            shown = self.show_valid(old)
            if self.renew() != 200:
                return
            shown += self.show_valid(self.now)
        self.part.occurred["rotation-old-tokens"] += all(shown)

    def _show_valid(self, login: Login) -> list[int]:
        """Present the access token of `login`, which must be accepted, at all places; return the statuses of `show`."""
        return [self.show(login.access, place, way) for place, way in self.ability.places]

    def rotate_keys_in_time(self, after_s: float) -> None:
        """Schedule one call of `rotate_keys`, `after_s` seconds after all users have started; return at once.

        So the rotation happens in every run, early enough in a short one.
        """

        def rotate() -> None:
            self.part.everyone_here.wait(CROWD_WAIT_S)
            if not self.part.over.wait(after_s):
                with suppress(StopUser, Unable, FlowError):
                    self.rotate_keys()

        gevent.spawn(rotate)

    # -- requests that are recorded --------------------------------------------------------------------------------

    def show(self, held: Held, place: Place, way: Way, *, control: bool = False) -> int:
        """Present a token or ticket once and record that; return the status, 0 without an answer.

        The status is that of HTTP; for the place SOCKET it is the result of `knock`: OPENED, an HTTP status or a close
        code. `control`: the platform must accept the token, which is the control of a forgery. Raises StopUser when the
        run is ending.
        """
        self.user.begin_action()
        return self.shown_at(held, place, way, control=control)

    def shown_at(self, held: Held, place: Place, way: Way, *, control: bool = False) -> int:
        """Present a token or ticket like `show`, but also while the run is ending."""
        bits = CONTROL if control else 0
        if place != Place.SOCKET:
            return self.recorded(self.ability.present(held.secret, place), place, way, held, bits)[1]
        with self.user.recording():
            sent_ns = time.monotonic_ns()
            status = knock(self.ability.dialogue(held.secret, way))
            write_request(
                self.part.journal, self.user.number, place, sent_ns=sent_ns, received_ns=time.monotonic_ns(),
                status=status, way=way, name=held.name, bits=bits,
            )  # fmt: skip
        return status

    def show_everywhere(self, login: Login) -> None:
        """Present the access token of `login` at all places, in each of their ways."""
        for place, way in self.ability.places:
            self.show(login.access, place, way)

    def recorded(self, flow: Flow[T], place: Place, way: Way, held: Held, bits: int = 0) -> tuple[T | None, int]:
        """Run a flow of one request that presents `held`, and record it; return (its result or None, the status).

        The status is 0 without an answer. `bits`: SPOOFED or CONTROL, for the record.
        """
        result, exchange = self.exchanged(flow, place, way, held.name, bits)
        return result, exchange.status

    def exchanged(
        self, flow: Flow[T], place: Place, way: Way, name: Name, bits: int = 0, headers: Mapping[str, str] | None = None
    ) -> tuple[T | None, Exchange]:
        """Run a flow of one request, and record it; return (its result or None, its exchange).

        `name`: the token that the request presents, or NOTHING; `bits`: SPOOFED or CONTROL, for the record; `headers`
        are added to those of the request.
        """
        seen: list[Exchange] = []

        def saw(exchange: Exchange) -> None:
            seen.append(exchange)
            write_exchange(self.part.journal, self.user.number, place, exchange, way=way, name=name, bits=bits)

        result: T | None = None
        with self.user.recording(), suppress(FlowError):
            result = self.user.quietly(observed(flow, saw, headers))
        return result, seen[-1]

    # -- logins ------------------------------------------------------------------------------------------------------

    def log_in(self) -> None:
        """Log in, record each step, and store the result as `login`. Raises FlowError."""
        begin_ns = time.monotonic_ns()
        afterwards = self.enter()
        self.user.logged_in(self.now.credentials, begin_ns)
        afterwards()  # not earlier: the user's identity must be recorded first

    def _enter(self) -> Callable[[], None]:
        """Log in; return a function that records what must come after the user's identity in the record."""
        self.log_in_again()
        return lambda: None

    def log_in_again(self, ttl_s: float | None = None) -> None:
        """Log in with all steps, and make the result the current login. State and code are recorded like tokens.

        `ttl_s`: lifetime of the access token in seconds, None for the user's own `ttl_s`. Raises FlowError.
        """
        begun = self.begun(ttl_s or self.ttl_s)
        sent_ns = time.monotonic_ns()
        credentials, status = self.callback(begun)
        if credentials is None:
            raise FlowError("login: callback", "tokens", detail=f"status {status}")
        self._take(self.user.wallet.add_login(credentials, sent_ns))

    def begun(self, ttl_s: float | None = None) -> Begun:
        """Begin a login and return it with its recorded state and code; the callback is not visited. Raises FlowError.

        `ttl_s`: lifetime of the access token in seconds, None for the platform's default.
        """
        login = self.user.flow(self.ability.begin_login(self.user.person, ttl_s))
        state = self.user.wallet.add(Artefact.STATE, login.state)
        return Begun(login, state, self.user.wallet.add(Artefact.CODE, login.code, belongs_to=state))

    def callback(self, begun: Begun, browser: Browser | None = None) -> tuple[Credentials | None, int]:
        """Visit the callback of a begun login; return (the credentials or None, the status).

        `browser`: the browser whose cookies are sent, None for the browser that began the login.
        """
        flow = self.ability.finish_login(begun.login, self.user.person, browser)
        return self.recorded(flow, Place.AUTH, Way.QUERY, begun.state)

    def hold(self) -> None:
        """No-op instead of `Account.hold`: users with this behaviour refresh tokens themselves.

        They also present expired tokens on purpose.
        """

    def valid(self) -> Credentials:
        """Return credentials that stay valid for at least `margin_s` seconds; refresh them if necessary.

        Raises FlowError.
        """
        with self.turn:
            return self.fresh().credentials

    def _take(self, login: Login) -> None:
        if self.login is not None:
            self.past = [*self.past, self.login][-KEPT:]
        self.login, self.user.credentials = login, login.credentials

    def renew(self) -> int:
        """Refresh the tokens, or log in if there is no refresh token; return the status (200 for a login).

        The new tokens become the current login. If the refresh brought no tokens, the current login stays; after a
        refusal the platform has ended its session. Raises FlowError if a login fails.
        """
        old = self.now
        if old.refresh is None:
            self.log_in_again()
            return 200
        sent_ns = time.monotonic_ns()
        credentials, status = self.recorded(self.ability.refresh(old.credentials), Place.AUTH, Way.BODY, old.refresh)
        if credentials is not None:
            self._take(self.user.wallet.add_login(credentials, sent_ns, old))
        return status

    def fresh(self) -> Login:
        """Return the current login after refreshing it, or logging in again, if its token expires within `margin_s` s.

        Raises FlowError.
        """
        if self.now.access.left_s() < self.margin_s:
            status = self.renew()
            if self.now.access.left_s() < self.margin_s:
                if not 400 <= status < 500:
                    raise FlowError("refresh", "tokens", detail=f"status {status}")
                self.log_in_again()
        return self.now

    # -- sockets -----------------------------------------------------------------------------------------------------

    def opened(self, status: int) -> None:
        """Record the last handshake of a socket as one request that presented a token; no-op if none is outstanding.

        `status`: OPENED, an HTTP status, a close code, or 0 if there was no answer.
        """
        if self._shown is not None:
            (held, way, sent_ns), self._shown = self._shown, None
            user = self.user
            write_request(
                user.part.journal, user.number, Place.SOCKET, sent_ns=sent_ns, received_ns=time.monotonic_ns(),
                status=status, way=way, name=held.name, conn=user.session.conn if status == OPENED else 0,
            )  # fmt: skip

    def dialogue(self, resume: Mapping[str, int] | None, previous: Dialogue | None) -> Dialogue:
        """Return the dialogue of a socket with a valid token, presented in one of `socket_ways`. Raises FlowError."""
        self._shown = None
        with self.turn:
            login = self.fresh()
        way, held = self.user.rng.choice(self.socket_ways), login.access
        if way == Way.TICKET:
            held = self.ticket(login)
        self._shown = (held, way, time.monotonic_ns())
        return self.ability.dialogue(held.secret, way, resume)

    def ticket(self, login: Login) -> Held:
        """Request a ticket for one socket, and record it. Raises FlowError."""
        credentials = self.user.flow(self.ability.ticket(login.credentials))
        return self.user.wallet.add(Artefact.TICKET, str(credentials.extra["ticket"]), belongs_to=login.access)
