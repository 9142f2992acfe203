"""Defects of logging in: callbacks that should have been refused, and second accounts."""

from __future__ import annotations

import asyncio
from collections import OrderedDict

from earwitness.harness.defects.answered import Answered
from earwitness.harness.defects.chance import Chance
from earwitness.harness.defects.declared import defect
from earwitness.harness.reference.answers import ApiError
from earwitness.harness.reference.auth.database import Connection, Row
from earwitness.harness.reference.auth.identity import Identity
from earwitness.harness.reference.auth.logins import PendingLogin
from earwitness.harness.reference.auth.service import Auth
from earwitness.harness.reference.auth.users import COLUMNS

LOGINS_REMEMBERED = 20_000
RACE_S = 0.3


@defect(
    "Z49",
    "state-unchecked",
    service="auth",
    breaks="I clicked a link and was logged in, as somebody else.",
    opportunity="one callback of a login that is finished already or that another browser began",
    caught_by=("I33",),
    high=0.5,
    one=0.05,
    needs="callbacks that come again or in another browser",
    story="oauth_login",
    also=("jwt_lifecycle",),
)
class StateUnchecked:
    """Defect that accepts the callback of a login that is finished already, or that another browser began.

    Opportunity: one such callback. A firing is manifest when the callback is answered with success.
    """

    def __init__(self, auth: Auth, chance: Chance) -> None:
        """Replace `Logins.take` and `Logins.finish`, and store logins that are finished."""
        self._chance, self._answered = chance, Answered(auth, chance)
        self._take, self._finish = auth.logins.take, auth.logins.finish
        self._begun: OrderedDict[str, PendingLogin] = OrderedDict()
        vars(auth.logins)["take"] = self.take
        vars(auth.logins)["finish"] = self.finish

    async def take(self, state: str) -> PendingLogin | None:
        """Override `Logins.take`: keep a copy of each pending login that is taken, by its state."""
        pending = await self._take(state)
        if pending is not None:
            self._begun[state] = pending
            if len(self._begun) > LOGINS_REMEMBERED:
                self._begun.popitem(last=False)
        return pending

    async def finish(self, state: str, secret: str | None) -> PendingLogin:
        """Override `Logins.finish`: return the stored login instead of raising ApiError, if the defect fires."""
        try:
            return await self._finish(state, secret)
        except ApiError as refused:
            pending = self._begun.get(state)
            if pending is None or not self._chance.fires():
                raise
            self._answered.say(refused_as=refused.code)
            return pending


@defect(
    "Z61",
    "two-accounts",
    service="auth",
    breaks="I have two accounts, and each has half of my conversations.",
    opportunity="one first login",
    caught_by=("I42", "I41"),
    high=0.5,
    one=0.02,
    needs="first logins of one person on several devices at once",
    story="oauth_login",
)
class TwoAccounts:
    """Defect that reads whether an account exists and then creates it, without a constraint that decides a race.

    Opportunity: one first login. It fires when the same user has indeed got a second account, and is manifest when that
    login is answered with success.
    """

    def __init__(self, auth: Auth, chance: Chance) -> None:
        """Replace `Users.insert`, and `Auth.start` to remove the constraint on identities."""
        self._auth, self._chance, self._answered = auth, chance, Answered(auth, chance)
        self._start = auth.start
        self._made: set[tuple[str, str]] = set()
        vars(auth)["start"] = self.start
        vars(auth.accounts.users)["insert"] = self.insert

    async def start(self) -> None:
        """Override `Auth.start`: drop the constraint that would prevent second accounts."""
        await self._start()
        await self._auth.pool.execute(
            "ALTER TABLE auth_users DROP CONSTRAINT IF EXISTS auth_users_provider_subject_key; "
            "CREATE INDEX IF NOT EXISTS auth_users_identity ON auth_users (provider, subject)"
        )

    async def insert(self, connection: Connection, identity: Identity) -> Row | None:
        """Override `Users.insert`: wait between the look-up and the insertion if the defect fires, else hold a lock."""
        who = (identity.provider, identity.subject)
        fires = self._chance.fires()
        if not fires:
            await connection.execute("SELECT pg_advisory_xact_lock(hashtext($1))", identity.subject)
        if await self._known(connection, who):
            return await self._changed(connection, identity)
        if fires:
            await asyncio.sleep(RACE_S)  # long enough for a race that would otherwise be a matter of microseconds
        second = who in self._made
        self._made.add(who)
        row = await connection.fetchrow(
            f"INSERT INTO auth_users (provider, subject, email, name) VALUES ($1, $2, $3, $4) RETURNING {COLUMNS}",
            *who,
            identity.email,
            identity.name,
        )
        if second:
            self._answered.say(user=str(row["id"]), email=identity.email)
        return row

    async def _changed(self, connection: Connection, identity: Identity) -> Row | None:
        return await connection.fetchrow(
            "UPDATE auth_users SET email = $3, version = version + 1, updated_at = now() "
            f"WHERE provider = $1 AND subject = $2 AND email <> $3 RETURNING {COLUMNS}",
            identity.provider,
            identity.subject,
            identity.email,
        )

    async def _known(self, connection: Connection, who: tuple[str, str]) -> bool:
        rows = await connection.fetch("SELECT id FROM auth_users WHERE provider = $1 AND subject = $2", *who)
        return bool(rows)
