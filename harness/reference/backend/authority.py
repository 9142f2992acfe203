"""Authority: close a socket when its token expires or is revoked, or its account is disabled.

It also sends changes of an account to the account's open sockets.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence

import orjson

from earwitness.harness.reference import clock
from earwitness.harness.reference.backend.registry import Registry
from earwitness.harness.reference.backend.session import FORBIDDEN, UNAUTHORIZED, Session
from earwitness.harness.reference.backend.store import User
from earwitness.harness.reference.tokens import Claims

AT_ONCE = 500


class Authority:
    """Watcher of open sockets.

    `revoked_among(tokens)` and `accounts_among(user ids)` query Redis and the database, for many at once.
    """

    def __init__(
        self,
        registry: Registry,
        revoked_among: Callable[[Sequence[Claims]], Awaitable[list[bool]]],
        accounts_among: Callable[[Iterable[str]], Awaitable[dict[str, User]]],
    ) -> None:
        """Keep `registry`, which has the open sockets, and the functions that query revocations and accounts.

        Defects may replace `end` (closes a session) and `tell` (sends it its account).
        """
        self._registry, self._revoked_among, self._accounts_among = registry, revoked_among, accounts_among
        self.end: Callable[[Session, int, str], None] = Session.close
        self.tell: Callable[[Session, User], None] = Session.learn

    def watch(self, session: Session) -> None:
        """Close the session's socket when its token expires, without leeway."""
        left_s = max(0.0, session.claims.expires_at - clock.now())
        timer = asyncio.get_running_loop().call_later(left_s, self._expired, session)
        session.at_end.append(timer.cancel)

    def _expired(self, session: Session) -> None:
        self.end(session, UNAUTHORIZED, "the token has expired")

    def on_revocation(self, payload: bytes) -> None:
        """Close the sockets of one revoked token, or of all tokens of a user that were issued up to a time.

        The format of `payload` is that of `harness.reference.revocation`.
        """
        said = orjson.loads(payload)
        sessions = self._registry.by_user.get(said["sub"], ()) if "sub" in said else self._registry.sessions
        for session in list(sessions):
            claims = session.claims
            if claims.token_id == said.get("jti") or ("sub" in said and claims.issued_at <= said["at"]):
                self._revoked(session)

    def on_account(self, user: User) -> None:
        """Send a changed account to its open sockets, or close these sockets if the account was deactivated."""
        for session in list(self._registry.by_user.get(user.id, ())):
            self._changed(session, user)

    async def recheck(self) -> None:
        """Compare all open sockets with revocations and accounts; close or inform those that have missed news.

        News may have been lost, or a row changed by hand.
        """
        sessions = list(self._registry.sessions)
        for start in range(0, len(sessions), AT_ONCE):
            some = sessions[start : start + AT_ONCE]
            revoked = await self._revoked_among([session.claims for session in some])
            accounts = await self._accounts_among({session.user_id for session in some})
            for session, gone in zip(some, revoked, strict=True):
                if gone:
                    self._revoked(session)
                elif session.user_id in accounts:
                    self._changed(session, accounts[session.user_id])

    def _revoked(self, session: Session) -> None:
        self.end(session, UNAUTHORIZED, "the token was revoked")

    def _changed(self, session: Session, user: User) -> None:
        if user.version < session.user.version:
            return  # each replica announces what it has read: an older change may arrive after a newer one
        if not user.is_active:
            self.end(session, FORBIDDEN, "the account was deactivated")
        elif user.version > session.user.version:
            self.tell(session, user)
