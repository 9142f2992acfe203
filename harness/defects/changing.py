"""Defects of account changes during an outage, or of several changes at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from earwitness.harness.defects.chance import Chance
from earwitness.harness.defects.declared import found_by_tests
from earwitness.harness.reference.answers import ApiError
from earwitness.harness.reference.auth.database import Row
from earwitness.harness.reference.auth.service import Auth
from earwitness.harness.reference.backend.app import Backend
from earwitness.harness.reference.backend.sync import GROUP
from earwitness.harness.reference.service import DEPENDENCY_DOWN
from earwitness.harness.reference.userstream import STREAM


@found_by_tests(
    "S6",
    "stale-change",
    "backend",
    breaks="I changed my name, it was confirmed, and everybody sees the old one.",
    opportunity="one change of an account",
)
class StaleChange:
    """Defect that stores the new version of a changed account, but not its new data.

    Opportunity: one change, which is a row with a version above 1. A firing is manifest at once.
    """

    def __init__(self, backend: Backend, chance: Chance) -> None:
        """Replace `UserSync.upsert`, which stores rows of accounts."""
        self._backend, self._chance, self._upsert = backend, chance, backend.sync.upsert
        backend.sync.upsert = self.upsert

    async def upsert(self, users: Sequence[dict[str, Any]]) -> None:
        """Override `UserSync.upsert`: update only the version of a user for whom the defect fires."""
        for user in users:
            if user["version"] == 1 or not self._chance.fires():
                await self._upsert([user])
                continue
            await self._backend.pool.execute(
                "UPDATE userbase SET version = $2 WHERE id = $1::text::uuid AND version < $2",
                user["id"],
                user["version"],
            )
            self._chance.say(user=user["id"], version=user["version"], manifest=True)


@found_by_tests(
    "S7",
    "deaf-while-away",
    "backend",
    breaks="I signed up during the maintenance, and the chat does not know me.",
    opportunity="one start that finds unread news",
)
class DeafWhileAway:
    """Defect that makes a starting replica skip the unread entries of the stream `users` and read only new ones.

    Opportunity: one start at which there are unread entries. A firing is manifest at once.
    """

    def __init__(self, backend: Backend, chance: Chance) -> None:
        """Replace `UserSync._ensure_group`, which decides where the consumer group begins to read."""
        self._redis, self._chance, self._ensure = backend.redis, chance, backend.sync._ensure_group
        vars(backend.sync)["_ensure_group"] = self.ensure_group

    async def ensure_group(self) -> None:
        """Override `UserSync._ensure_group`: set the group to the end of the stream if the defect fires."""
        await self._ensure()
        unread = (await self._redis.xinfo_groups(STREAM))[0]["lag"]
        if unread and self._chance.fires():
            await self._redis.xgroup_setid(STREAM, GROUP, "$")
            self._chance.say(unread=unread, manifest=True)


@found_by_tests(
    "S8",
    "told-once",
    "auth",
    breaks="My rights were changed while a server was down, and nobody ever heard of it.",
    opportunity="one change that is not taken",
)
class ToldOnce:
    """Defect that counts changes as sent although Redis has not accepted them.

    Also, a Redis server that has lost its data does not get the changes again. Opportunity: one batch of changes that
    Redis does not accept. A firing is manifest at once.
    """

    def __init__(self, auth: Auth, chance: Chance) -> None:
        """Replace the relay's sending of changes, and its check for a Redis server that lost its data."""
        self._chance, self._send = chance, auth.relay.send_users
        vars(auth.relay)["send_users"] = self.send_users
        vars(auth.relay)["_check_memory"] = self.check_memory

    async def check_memory(self) -> None:
        """Override `Relay._check_memory`: do nothing, so that lost data is not detected."""
        return

    async def send_users(self, rows: list[Row]) -> None:
        """Override `Relay.send_users`: ignore the error of an outage if the defect fires."""
        try:
            await self._send(rows)
        except DEPENDENCY_DOWN:
            if not self._chance.fires():
                raise
            self._chance.say(users=[str(row["user_id"]) for row in rows], manifest=True)


@found_by_tests(
    "S9",
    "yes-anyway",
    "auth",
    breaks="The app said that my new name was saved, and it was not.",
    opportunity="one change while the database is away",
)
class YesAnyway:
    """Defect that confirms the change of an account although the database is not available.

    Opportunity: one change during an outage, of an account that this process has read before. A firing is manifest at
    once.
    """

    def __init__(self, auth: Auth, chance: Chance) -> None:
        """Replace `Accounts.get` to store rows, and `Accounts.change` to confirm from them."""
        self._chance, self._get, self._change = chance, auth.accounts.get, auth.accounts.change
        self._known: dict[str, Row] = {}
        vars(auth.accounts)["get"] = self.get
        vars(auth.accounts)["change"] = self.change

    async def get(self, user_id: str) -> Row:
        """Override `Accounts.get`: return the last known row during an outage."""
        try:
            self._known[user_id] = await self._get(user_id)
        except DEPENDENCY_DOWN:
            if user_id not in self._known:
                raise
        return self._known[user_id]

    async def change(self, user_id: str, changes: dict[str, Any]) -> Row:
        """Override `Accounts.change`: answer an outage with the last known row and the changes, if the defect fires."""
        try:
            return await self._change(user_id, changes)
        except ApiError:
            raise
        except DEPENDENCY_DOWN:
            if user_id not in self._known or not self._chance.fires():
                raise
            self._chance.say(user=user_id, manifest=True)
            return {**self._known[user_id], **changes}
