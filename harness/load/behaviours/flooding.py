"""Behaviour `Flooding`: use beyond a rate limit, by socket and by HTTP, also under false client addresses."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeAlias

import gevent

from earwitness.checks.history.record import NONE, SPOOFED, Place, Way
from earwitness.harness.client.exchange import Exchange
from earwitness.harness.client.flow import Flow
from earwitness.harness.client.statements import NOTHING, Name, stated_budget
from earwitness.harness.dialects.protocol import Room
from earwitness.harness.load.behaviour import Behaviour, the
from earwitness.harness.load.behaviours.tokens import Tokens
from earwitness.harness.load.worker import CROWD_WAIT_S

Door: TypeAlias = tuple[Place, Way, Name, Callable[[], Flow[object]]]
"""HTTP request to one service: its place and way, the artefact that it presents, and the flow that sends it."""
AT_ONCE, TRIES = 20, 10
MARGIN_S = 0.2
LIMITED = 429


class Flooding(Behaviour):
    """Behaviour that exceeds a rate limit with messages or requests.

    Methods for tasks: `wait_until`, `flood`, `ask`, `ask_in_disguise`, `come_back_when_told`.

    The report compares the latencies of other users before the first flood with those from then on.
    """

    needs = (Tokens,)

    def begin(self) -> None:
        """Implement `Behaviour.begin`: open sockets without tickets.

        A ticket uses up a part of the rate limit of the token, so a user who has reached the limit could not reconnect.
        """
        self.tokens = the(Tokens, self.user.behaviours)
        self.tokens.socket_ways = tuple(way for way in self.tokens.socket_ways if way != Way.TICKET)
        self._calm_ns = 0

    def wait_until(self, after_s: float) -> None:
        """Block until all users have started, and until `after_s` seconds after that. Later calls return at once.

        The seconds count from the first call, if all users had started before it. Raises StopUser if the run is ending.
        """
        self.part.everyone_here.wait(CROWD_WAIT_S)
        self._calm_ns = self._calm_ns or time.monotonic_ns()
        left_s = after_s - (time.monotonic_ns() - self._calm_ns) / 1e9
        if left_s > 0:
            self.part.over.wait(left_s)
        self.user.begin_action()

    def flood(self, room: Room, count: int, within_s: float = 1.0) -> None:
        """Send `count` messages to a room within `within_s` seconds, without waiting for answers.

        Sending stops early if the platform closes the socket.
        """
        self.user.begin_action()
        if not self.user.online and not self.user.come_back():
            return
        row = {"client": self.user.number, "calm_ns": self._calm_ns, "t_ns": time.monotonic_ns()}
        self.part.environment.earwitness.table("floods", row)
        self.user.pour(room, count, within_s)

    def ask(self, count: int = 1, *, address: str = "") -> list[Exchange]:
        """Send `count` cheap requests to each service at once, with the user's own token; return their exchanges.

        `address`: client address that the requests claim to come from, "" for none.
        """
        self.user.begin_action()
        asking = [gevent.spawn(self._ask, door, address) for door in self._doors() for _ in range(count)]
        gevent.joinall(asking, raise_error=True)
        return [greenlet.value for greenlet in asking]

    def ask_in_disguise(self, count: int = AT_ONCE, addresses: int = 5) -> None:
        """Send `count` cheap requests to each service at once, under each of `addresses` random client addresses."""
        for _ in range(addresses):
            self.ask(count, address="10.{}.{}.{}".format(*(self.user.rng.randrange(256) for _ in range(3))))

    def come_back_when_told(self) -> bool:
        """Send requests until some are refused, wait as long as the refusals state, then send one more to each service.

        It sends AT_ONCE requests to each service at a time, at most TRIES times. Returns True after the wait; False if
        nothing was refused, or if a refusal does not state how long to wait.
        """
        # A message whose answer never comes may be charged at any time: the remaining budget would be unknown.
        self.user.await_answers(0)
        for _ in range(TRIES):
            answers = self.ask(AT_ONCE)
            refused = [exchange for exchange in answers if exchange.status == LIMITED]
            if refused:
                break
        waits_ms = [stated_budget(exchange.headers)[0] for exchange in refused]
        if not waits_ms or NONE in waits_ms:
            return False
        # Requests granted together with a refusal may be charged after it; their budget must come back first.
        per_s = self.part.target.contract.rate_per_s
        granted_s = (len(answers) - len(refused)) / per_s if per_s else 0.0
        gevent.sleep(max(waits_ms) / 1000 + granted_s + MARGIN_S)
        self.ask()
        return True

    # -- helpers ------------------------------------------------------------------------------------------------------

    def _doors(self) -> list[Door]:
        if not self.tokens.able:
            return [(Place.BACKEND, Way.HEADER, NOTHING, lambda: self.part.target.probe(self.user.own_credentials()))]
        held, tokens = self.tokens.now.access, self.tokens.ability
        return [
            (place, way, held.name, lambda place=place: tokens.present(held.secret, place))  # type: ignore[misc]
            for place, way in tokens.places
            if place != Place.SOCKET
        ]

    def _ask(self, door: Door, address: str) -> Exchange:
        place, way, name, flow = door
        claim = {"x-forwarded-for": address} if address else None
        return self.tokens.exchanged(flow(), place, way, name, SPOOFED if claim else 0, claim)[1]
