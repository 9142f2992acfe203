"""Defects of opening sockets, and of the token, the revocation and the account that keep them open."""

from __future__ import annotations

import asyncio
import functools
import time

import orjson
from aiohttp import web

from earwitness.harness.defects.answered import Answered
from earwitness.harness.defects.chance import Chance
from earwitness.harness.defects.declared import defect
from earwitness.harness.defects.tokens import unverified
from earwitness.harness.reference.answers import ApiError
from earwitness.harness.reference.backend.app import Backend
from earwitness.harness.reference.backend.commit import Item
from earwitness.harness.reference.backend.doorkeeper import socket_token
from earwitness.harness.reference.backend.session import Session
from earwitness.harness.reference.limits import Decision
from earwitness.harness.reference.tokens import Claims, TokenRefused

RACE_S = 0.3
NO_MORE_S = 6.0
"""Seconds after which nothing may be accepted any more: the bounds of the contract, and one second for the network."""


@defect(
    "Z45",
    "decoded-only",
    breaks="Somebody edited their token and was connected as me; the web pages refused it.",
    opportunity="one socket with a token that can be decoded and must be refused",
    caught_by=("I31", "I29"),
    high=0.5,
    one=0.05,
    needs="forged tokens at the socket",
    story="jwt_lifecycle",
)
class DecodedOnly:
    """Defect that decodes the token of a socket without verifying it.

    Opportunity: one socket with a token that the verifier refuses and that can be decoded. A firing is manifest when
    the request is answered with success.
    """

    def __init__(self, backend: Backend, chance: Chance) -> None:
        """Replace `Doorkeeper.socket_claims`, which verifies the token of a handshake."""
        self._chance, self._answered = chance, Answered(backend, chance)
        self._verifier, self._socket_claims = backend.verifier, backend.doorkeeper.socket_claims
        vars(backend.doorkeeper)["socket_claims"] = self.socket_claims

    async def socket_claims(self, request: web.Request) -> Claims:
        """Override `Doorkeeper.socket_claims`: return the claims of a refused token if the defect fires."""
        try:
            return await self._socket_claims(request)
        except ApiError as refused:
            claims = self._decoded(socket_token(request) or "") if refused.status == 401 else None
            if claims is None or not self._chance.fires():
                raise
            self._answered.say(user=claims.subject, token=claims.token_id, refused_as=refused.code)
            return claims

    def _decoded(self, token: str) -> Claims | None:
        _, payload = unverified(token)
        try:
            self._verifier.check_shape(payload or {})
        except TokenRefused:
            return None
        return Claims.of(payload or {})


@defect(
    "Z50",
    "ticket-twice",
    breaks="Somebody saw the address of my connection and had one of their own with it.",
    opportunity="one ticket",
    caught_by=("I33",),
    high=0.5,
    one=0.05,
    needs="two sockets with one ticket at once",
    story="jwt_lifecycle",
)
class TicketTwice:
    """Defect that leaves a gap between reading and deleting a ticket, in which a second socket can use it too.

    Opportunity: one ticket. It fires when a second socket has indeed used the ticket meanwhile, and is manifest when
    the request is answered with success.
    """

    def __init__(self, backend: Backend, chance: Chance) -> None:
        """Replace `Doorkeeper.redeem`, which reads and deletes a ticket in one command."""
        self._chance, self._answered, self._redis = chance, Answered(backend, chance), backend.redis
        self._redeem = backend.doorkeeper.redeem
        backend.doorkeeper.redeem = self.redeem

    async def redeem(self, ticket: str) -> Claims | None:
        """Override `Doorkeeper.redeem`: wait RACE_S seconds between reading and deleting if chance picks the ticket."""
        if not self._chance.fires():
            return await self._redeem(ticket)
        value = await self._redis.get(f"ticket:{ticket}")
        if value is None:
            return None
        claims = Claims.of(orjson.loads(value))
        await asyncio.sleep(RACE_S)  # long enough for a race that would otherwise be a matter of microseconds
        if await self._redeem(ticket) is None:
            self._answered.say(user=claims.subject, token=claims.token_id)
        return claims


@defect(
    "Z51",
    "socket-outlives",
    breaks="They were banned an hour ago and still read along.",
    opportunity="one socket that has to end with its token, its revocation or its account",
    caught_by=("I34",),
    high=0.5,
    one=0.05,
    needs="sockets whose tokens expire or are revoked",
    story="jwt_lifecycle",
)
class SocketOutlives:
    """Defect that keeps a socket open whose token has expired or was revoked, or whose account was deactivated.

    Opportunity: one socket that has to end. A firing is manifest with the next frame that is pushed to it.
    """

    def __init__(self, backend: Backend, chance: Chance) -> None:
        """Replace `Authority.end`; `chance` decides once for each session."""
        self._chance, self._end = chance, backend.authority.end
        self._decided: dict[Session, bool] = {}
        backend.authority.end = self.end

    def end(self, session: Session, code: int, reason: str) -> None:
        """Implement `Authority.end`: do not close the sockets for which the defect fires."""
        if session not in self._decided:
            self._decided[session] = self._chance.fires() and session.open
            session.at_end.append(functools.partial(self._forget, session))
            if self._decided[session]:
                self._spare(session, reason)
        if not self._decided[session]:
            self._end(session, code, reason)

    def _forget(self, session: Session) -> None:
        self._decided.pop(session, None)

    def _spare(self, session: Session, reason: str) -> None:
        firing = self._chance.say(user=session.user_id, token=session.claims.token_id, in_spite_of=reason)
        push = session.push

        def pushed(data: bytes) -> None:
            vars(session).pop("push")
            push(data)
            if session.open:
                self._chance.manifest(firing)

        vars(session)["push"] = pushed


@defect(
    "Z69",
    "sender-outlives",
    breaks="They were banned an hour ago, and their messages still arrive.",
    opportunity="one socket that has to end with its token, its revocation or its account",
    caught_by=("I34",),
    high=0.5,
    one=0.05,
    needs="sockets whose tokens expire or are revoked",
    story="jwt_lifecycle",
    also=("user_sync",),
)
class SenderOutlives(SocketOutlives):
    """Defect that removes a socket that has to end from its conversations, and never closes it.

    A socket has to end if its token has expired or was revoked, or its account was deactivated. It receives no messages
    any more, but the messages that it sends are still acknowledged and stored. Opportunity: one socket that has to end.

    A firing is manifest with the first message that is stored more than NO_MORE_S seconds later, after every bound of
    the contract.
    """

    def __init__(self, backend: Backend, chance: Chance) -> None:
        """Replace `Authority.end`, and keep the hub, from whose feeds a session is removed."""
        super().__init__(backend, chance)
        self._hub = backend.hub

    def _spare(self, session: Session, reason: str) -> None:
        firing = self._chance.say(user=session.user_id, token=session.claims.token_id, in_spite_of=reason)
        for feed in session.feeds.values():
            self._hub.leave(feed, session)
        session.feeds.clear()
        stored, ended = session.stored, time.monotonic()

        def accepted(item: Item, seq: int, decision: Decision | None) -> None:
            if time.monotonic() - ended > NO_MORE_S:
                vars(session).pop("stored")
                self._chance.manifest(firing, stored=seq)
            stored(item, seq, decision)

        vars(session)["stored"] = accepted
