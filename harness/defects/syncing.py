"""Defects of the accounts' copy in the main database: missing, wrong or late."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from earwitness.harness.defects.chance import Chance
from earwitness.harness.defects.declared import defect
from earwitness.harness.reference.auth.database import Connection, Row
from earwitness.harness.reference.auth.service import Auth
from earwitness.harness.reference.backend.app import Backend
from earwitness.harness.reference.revocation import Revocation

LATE_S = 10.0


@defect(
    "Z59",
    "sync-error-swallowed",
    breaks="I have an account, and the chat says that it does not know me.",
    opportunity="one change of an account, a new one too",
    caught_by=("I41",),
    high=0.2,
    one=0.01,
    story="user_sync",
    also=("oauth_login",),
)
class SyncErrorSwallowed:
    """Defect that loses the write of an account: the error is caught, and the change counts as done.

    Opportunity: one change of an account, or one new account. A firing is manifest at once.
    """

    def __init__(self, backend: Backend, chance: Chance) -> None:
        """Replace `UserSync.upsert`, which stores rows of accounts."""
        self._chance, self._upsert = chance, backend.sync.upsert
        backend.sync.upsert = self.upsert

    async def upsert(self, users: Sequence[dict[str, Any]]) -> None:
        """Override `UserSync.upsert`: leave out the accounts for which the defect fires."""
        failed = set(self._chance.among(len(users)))
        await self._upsert([user for at, user in enumerate(users) if at not in failed])
        for at in sorted(failed):
            self._chance.say(user=users[at]["id"], version=users[at]["version"], manifest=True)


@defect(
    "Z60",
    "deactivation-forgotten",
    service="auth",
    breaks="They left the company, their account is closed, and they still chat.",
    opportunity="one deactivation",
    caught_by=("I41", "I30", "I34"),
    high=1.0,
    one=0.2,
    needs="accounts that are deactivated",
    story="user_sync",
)
class DeactivationForgotten:
    """Defect that deactivates an account only at auth: no other service learns of it, and its tokens stay valid.

    Opportunity: one deactivation. A firing is manifest at once.
    """

    def __init__(self, auth: Auth, chance: Chance) -> None:
        """Replace the methods that announce an account to other services, and that revoke its sessions."""
        self._chance = chance
        users, sessions = auth.accounts.users, auth.accounts.sessions
        self._announce, self._revoke_all = users.announce, sessions.revoke_all
        self._forgotten: set[str] = set()
        vars(users)["announce"] = self.announce
        vars(sessions)["revoke_all"] = self.revoke_all

    async def announce(self, connection: Connection, row: Row) -> None:
        """Override `Users.announce`: announce the account as active if the defect fires."""
        user = dict(row)
        if not user["is_active"] and self._chance.fires():
            self._forgotten.add(str(user["id"]))
            user["is_active"] = True
            self._chance.say(user=str(user["id"]), version=user["version"], manifest=True)
        await self._announce(connection, user)

    async def revoke_all(self, connection: Connection, user_id: str) -> list[Revocation]:
        """Override `Sessions.revoke_all`: revoke nothing for an account whose deactivation was not announced."""
        if user_id in self._forgotten:
            self._forgotten.discard(user_id)
            return []
        return await self._revoke_all(connection, user_id)


@defect(
    "Z62",
    "late-sync",
    service="auth",
    breaks="I changed my name, and the others saw the old one for a long time.",
    opportunity="one change of an account that was there before",
    caught_by=("I41",),
    high=0.5,
    one=0.05,
    needs="accounts that change",
    story="user_sync",
)
class LateSync:
    """Defect that keeps a change in the outbox for LATE_S seconds; later changes of the account wait too.

    Opportunity: one change of an account that existed before. A firing is manifest when the change is sent at last.
    """

    def __init__(self, auth: Auth, chance: Chance) -> None:
        """Replace the relay's look-up of unsent changes. No change is held back yet."""
        self._chance, self._unsent_users = chance, auth.relay.unsent_users
        self._seen: set[int] = set()
        self._late: dict[str, tuple[float, int]] = {}
        vars(auth.relay)["unsent_users"] = self.unsent_users

    async def unsent_users(self, connection: Connection) -> list[Row]:
        """Override `Relay.unsent_users`: leave out the changes that are held back."""
        return [row for row in await self._unsent_users(connection) if not self._waits(row)]

    def _waits(self, row: Row) -> bool:
        user, now = str(row["user_id"]), time.monotonic()
        if user not in self._late:
            if row["id"] in self._seen or row["version"] == 1 or not self._chance.fires():
                return False
            self._seen.add(row["id"])
            self._late[user] = (now, self._chance.say(user=user, version=row["version"]))
        since, firing = self._late[user]
        if now - since < LATE_S:
            return True
        del self._late[user]
        self._chance.manifest(firing, late_s=round(now - since, 3))
        return False
