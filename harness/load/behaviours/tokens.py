"""A user whose credentials are recorded: logs in step by step, presents, refreshes, logs out; each answer is told."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import gevent
from gevent.lock import RLock
from locust.exception import StopUser

from earwitness.checks.history.record import CONTROL, Artefact, Place, Way
from earwitness.harness.client.events import Handshake
from earwitness.harness.client.exchange import Exchange, observed
from earwitness.harness.client.flow import Browser, FlowError
from earwitness.harness.client.gevent_shell import Refused
from earwitness.harness.client.statements import Name, write_exchange, write_request
from earwitness.harness.client.try_connect import OPENED, knock
from earwitness.harness.dialects.protocol import Credentials
from earwitness.harness.dialects.tokens import Tokens, tokens_of
from earwitness.harness.load.behaviours.wallet import Begun, Held, Login, Wallet
from earwitness.harness.load.users import ChatUser
from earwitness.harness.load.worker import CROWD_WAIT_S

KEPT = 4
"""Logins of the past that a user still knows."""


class TokenUser(ChatUser):
    """In tasks beside those of ChatUser: `present`, `present_everywhere`, `present_expired`, `refresh`, `rotate_keys`.

    ttl_s      how long access tokens shall live, if the platform can be asked for it
    margin_s   a token that holds no longer than this is refreshed before it opens a socket
    socket_ways  how tokens are shown when a socket is opened
    """

    abstract = True
    carried = (*ChatUser.carried, "wallet", "login", "past")
    ttl_s: float | None = None
    margin_s: float = 1.0
    socket_ways: tuple[Way, ...] = (Way.HEADER, Way.SUBPROTOCOL, Way.QUERY, Way.TICKET)

    def __init__(self, environment: Any) -> None:
        super().__init__(environment)
        found = tokens_of(self.part.target)
        self.wallet = Wallet(self.part.journal, self.number)
        self.login: Login | None = None
        self.past: list[Login] = []
        self._tokens = found
        self._shown: tuple[Held, Way, int] | None = None
        self._turn = RLock()

    @property
    def tokens(self) -> Tokens:
        """What can be done with tokens here; nothing on a target that has no such ability: the user then only chats."""
        if self._tokens is None:
            self.say()
            raise StopUser
        return self._tokens

    @property
    def now(self) -> Login:
        """The login that the user goes by."""
        assert self.login is not None
        return self.login

    # -- what a story can do --------------------------------------------------------------------------------------

    def present(self, login: Login | None = None) -> int:
        """Show an access token (the present one) at some place in some way; returns the status."""
        self._go_on_or_stop()
        place, way = self.rng.choice(self.tokens.places)
        if login is None:
            with self._turn:
                login = self._fresh()
        return self.show(login.access, place, way)

    def present_everywhere(self) -> None:
        """Show the present access token at all places, in each of their ways."""
        self._go_on_or_stop()
        with self._turn:
            login = self._fresh()
        self._show_everywhere(login)

    def present_expired(self) -> None:
        """Show one of the last tokens at all places after its deadline and the leeway, if there is such a one."""
        self._go_on_or_stop()
        leeway_s = self.part.target.contract.token_leeway_s
        over = [login for login in self.past if login.access.left_s() < -leeway_s]
        for place, way in self.tokens.places if over else ():
            self.show(self.rng.choice(over).access, place, way)

    def refresh(self) -> None:
        """New tokens for the refresh token; the socket goes on with the old one until that ends."""
        self._go_on_or_stop()
        with self._turn:
            self._refresh()

    def rotate_keys(self) -> None:
        """As an administrator: a new signing key. What was issued before is shown beside what is issued then."""
        self._go_on_or_stop()
        tokens = self.tokens
        with self._turn:
            old = self._fresh()
            self._quietly(tokens.rotate_keys())
            shown = self._show_as_valid(old)
            if self._refresh() != 200:
                return
            shown += self._show_as_valid(self.now)
        self.part.occurred["rotation-old-tokens"] += all(shown)

    def _show_as_valid(self, login: Login) -> list[int]:
        """Show an access token that must be accepted at all places, in each of their ways; the statuses."""
        return [self.show(login.access, place, way) for place, way in self.tokens.places]

    def rotate_keys_in_time(self, after_s: float) -> None:
        """Do so once, so long after everybody was here: not left to chance, and early enough for a short run."""

        def rotate() -> None:
            self.part.everyone_here.wait(CROWD_WAIT_S)
            if not self.part.over.wait(after_s):
                with suppress(StopUser, FlowError):
                    self.rotate_keys()

        gevent.spawn(rotate)

    # -- requests that are told ------------------------------------------------------------------------------------

    def show(self, held: Held, place: Place, way: Way, *, control: bool = False) -> int:
        """Present an artefact once; the status, 0 if there was no answer. StopUser when the run is ending."""
        self._go_on_or_stop()
        return self._shown_at(held, place, way, control=control)

    def _shown_at(self, held: Held, place: Place, way: Way, *, control: bool = False) -> int:
        bits = CONTROL if control else 0
        if place != Place.SOCKET:
            return self.told(self.tokens.present(held.secret, place), place, way, held, bits)[1]
        with self._recording():
            sent_ns = time.monotonic_ns()
            status = knock(self.part.target.hear, self.tokens.handshake(held.secret, way))
            write_request(
                self.part.journal, self.number, place, sent_ns=sent_ns, received_ns=time.monotonic_ns(), status=status,
                way=way, name=held.name, bits=bits,
            )  # fmt: skip
        return status

    def _show_everywhere(self, login: Login) -> None:
        for place, way in self.tokens.places:
            self.show(login.access, place, way)

    def told(self, flow: Any, place: Place, way: Way, held: Held, bits: int = 0) -> tuple[Any, int]:
        """Run a flow of one request that presents an artefact, and record it: (its result or None, the status)."""
        result, exchange = self.exchanged(flow, place, way, held.name, bits)
        return result, exchange.status

    def exchanged(
        self, flow: Any, place: Place, way: Way, name: Name, bits: int = 0, headers: Mapping[str, str] | None = None
    ) -> tuple[Any, Exchange]:
        """The same with all that was answered; `name` may be NOTHING, `headers` come on top."""
        seen: list[Exchange] = []

        def saw(exchange: Exchange) -> None:
            seen.append(exchange)
            write_exchange(self.part.journal, self.number, place, exchange, way=way, name=name, bits=bits)

        result = None
        with self._recording(), suppress(FlowError):
            result = self._quietly(observed(flow, saw, headers))
        return result, seen[-1]

    # -- logins ------------------------------------------------------------------------------------------------------

    def _log_in(self) -> None:
        if self._tokens is None:
            super()._log_in()
            return
        begin_ns = time.monotonic_ns()
        self._log_in_again()
        self._logged_in(self.now.credentials, begin_ns)

    def _log_in_again(self, ttl_s: float | None = None) -> None:
        """From nothing to credentials; state and code are told like every other artefact. Raises FlowError."""
        begun = self._begun(ttl_s or self.ttl_s)
        sent_ns = time.monotonic_ns()
        credentials, status = self._callback(begun)
        if credentials is None:
            raise FlowError("login: callback", "tokens", detail=f"status {status}")
        self._take(self.wallet.add_login(credentials, sent_ns))

    def _begun(self, ttl_s: float | None = None) -> Begun:
        """A login up to its callback. Raises FlowError."""
        login = self._flow(self.tokens.begin_login(self.person, ttl_s))
        state = self.wallet.add(Artefact.STATE, login.state)
        return Begun(login, state, self.wallet.add(Artefact.CODE, login.code, belongs_to=state))

    def _callback(self, begun: Begun, browser: Browser | None = None) -> tuple[Any, int]:
        """Visit the callback: (the credentials or None, the status)."""
        flow = self.tokens.finish_login(begun.login, self.person, browser)
        return self.told(flow, Place.AUTH, Way.QUERY, begun.state)

    def _hold_credentials(self) -> None:
        """Nothing: these users look after their tokens by themselves, and show some that have ended."""
        if self._tokens is None:
            super()._hold_credentials()

    def _valid_credentials(self) -> Credentials:
        if self._tokens is None:
            return super()._valid_credentials()
        with self._turn:
            return self._fresh().credentials

    def _take(self, login: Login) -> None:
        if self.login is not None:
            self.past = [*self.past, self.login][-KEPT:]
        self.login, self.credentials = login, login.credentials

    def _refresh(self) -> int:
        """Returns the status; the session is over if it was refused."""
        old = self.now
        if old.refresh is None:
            self._log_in_again()
            return 200
        sent_ns = time.monotonic_ns()
        credentials, status = self.told(self.tokens.refresh(old.credentials), Place.AUTH, Way.BODY, old.refresh)
        if credentials is not None:
            self._take(self.wallet.add_login(credentials, sent_ns, old))
        return status

    def _fresh(self) -> Login:
        """The present login, refreshed or begun anew if its token will not hold much longer. Raises FlowError."""
        if self.now.access.left_s() < self.margin_s:
            status = self._refresh()
            if self.now.access.left_s() < self.margin_s:
                if not 400 <= status < 500:
                    raise FlowError("refresh", "tokens", detail=f"status {status}")
                self._log_in_again()
        return self.now

    # -- sockets -----------------------------------------------------------------------------------------------------

    def connect(self) -> None:
        """As ChatUser, with a token that holds, in some way of presenting it; told as a request."""
        if self._tokens is None:
            super().connect()
            return
        self._shown = None
        try:
            super().connect()
        except Refused as refused:
            self._connected(refused.status or refused.code)
            raise
        except OSError:
            self._connected(0)
            raise
        self._connected(OPENED)

    def _connected(self, status: int) -> None:
        """What became of the socket, if there was one to be opened."""
        if self._shown is not None:
            held, way, sent_ns = self._shown
            write_request(
                self.part.journal, self.number, Place.SOCKET, sent_ns=sent_ns, received_ns=time.monotonic_ns(),
                status=status, way=way, name=held.name, conn=self.session.conn if status == OPENED else 0,
            )  # fmt: skip

    def _handshake(self, resume: Mapping[str, int] | None) -> Handshake:
        if self._tokens is None:
            return super()._handshake(resume)
        with self._turn:
            login = self._fresh()
        way, held = self.rng.choice(self.socket_ways), login.access
        if way == Way.TICKET:
            held = self.ticket(login)
        self._shown = (held, way, time.monotonic_ns())
        return self._tokens.handshake(held.secret, way, resume)

    def ticket(self, login: Login) -> Held:
        """A ticket for one socket. Raises FlowError."""
        credentials = self._flow(self.tokens.ticket(login.credentials))
        return self.wallet.add(Artefact.TICKET, str(credentials.extra["ticket"]), belongs_to=login.access)
