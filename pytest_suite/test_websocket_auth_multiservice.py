"""Scenario 2: which tokens open a WebSocket, by which ways of presenting them, and for which person."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from earwitness.harness.dialects.reference.forgery import FORGERIES, Forger
from pytest_suite.chat import WAYS, Refused, Socket, Way, open_socket, verdict_on
from pytest_suite.factory import Databases, Factory, User
from pytest_suite.under_test import UnderTest

pytestmark = [pytest.mark.critical, pytest.mark.p0]

TOKEN_WAYS: tuple[Way, ...] = ("header", "subprotocol", "query")
UNAUTHORIZED, FORBIDDEN = 4401, 4403


async def opened(people: Factory, user: User, way: Way) -> int:
    """Return 0 if a socket opens with the user's token presented in this way, else the code of the refusal.

    For "ticket", a refusal of the ticket itself counts as 4000 + its HTTP status.
    """
    if way != "ticket":
        return await verdict_on(people.platform.edge, user.token, way)
    sold = await people.http.post(f"{people.platform.auth}/auth/ticket", headers=user.bearer)
    if sold.status_code != 200:
        return 4000 + sold.status_code
    return await verdict_on(people.platform.edge, sold.json()["ticket"], way)


class TestWebSocketAuthMultiService:
    """Authentication of sockets, and of the messages on them."""

    @pytest.mark.parametrize("way", WAYS)
    @pytest.mark.fails_with("S11")
    async def test_websocket_jwt_auth_real_services(self, people: Factory, databases: Databases, way: Way) -> None:
        """A token of Auth opens a socket at Backend; its messages carry the token's person, in the stored row too."""
        ann, bob = await people.log_in_many(2)
        key = await people.conversation(ann, bob)
        mine, theirs = await people.connect(ann, way=way), await people.connect(bob)
        welcome = mine.frames[0]
        assert (welcome["user"], welcome["name"], welcome["conversations"]) == (ann.id, ann.name, {key: 0})
        message_id = await mine.send(key, "hello", sender=bob.id, user_id=bob.id, user=bob.id)
        ack = await mine.answer(message_id)
        assert (ack["type"], ack["seq"], ack["conversation"]) == ("ack", 1, key)
        for socket in (mine, theirs):
            (heard,) = await socket.hear(1)
            assert (heard["sender"], heard["seq"], heard["id"], heard["text"]) == (ann.id, 1, message_id, "hello")
        row = await databases.main.fetchrow(
            "SELECT m.sender, m.body, m.seq FROM messages m JOIN conversations c ON c.id = m.conversation_id "
            "WHERE c.key = $1",
            key,
        )
        assert tuple(row) == (ann.id, "hello", 1)

    @pytest.mark.parametrize("way", WAYS)
    @pytest.mark.fails_with("S25")
    async def test_the_database_is_looked_up(self, people: Factory, databases: Databases, way: Way) -> None:
        """A valid token of a person who is deactivated in the database opens no socket; after reactivation it does."""
        ann, control = await people.log_in_many(2)
        assert await opened(people, ann, way) == 0
        setting = "UPDATE userbase SET is_active = $2 WHERE id = $1::text::uuid"
        await databases.main.execute(setting, ann.id, False)
        assert await opened(people, ann, way) == FORBIDDEN
        assert await opened(people, control, way) == 0
        await databases.main.execute(setting, ann.id, True)
        assert await opened(people, ann, way) == 0

    @pytest.mark.fails_with("S25")
    async def test_a_person_without_a_row_is_nobody(self, people: Factory, databases: Databases) -> None:
        """A valid token is refused if the main database does not have its person."""
        # Without the run's tag: the check for orphans, which goes by it, must not find this one.
        ann = await people.log_in(people.email("ghost").replace(f".{people.platform.tag}@", "@"))
        bases = people.platform.replicas.values()
        assert [await verdict_on(base, ann.token) for base in bases] == [0] * len(bases)
        await databases.main.execute("DELETE FROM userbase WHERE id = $1::text::uuid", ann.id)
        assert [await verdict_on(base, ann.token) for base in bases] == [FORBIDDEN] * len(bases)

    @pytest.mark.parametrize("forgery", FORGERIES)
    @pytest.mark.fails_with("Z42", "Z43", "Z44", "Z45")
    async def test_a_forged_token_opens_no_socket(self, platform: UnderTest, forger: Forger, forgery: str) -> None:
        """Every forgery is refused with 4401, in every way to present a token; a control is accepted."""
        token = FORGERIES[forgery](forger)
        control = forger.control()
        found = {way: await verdict_on(platform.edge, token, way) for way in TOKEN_WAYS}
        assert found == dict.fromkeys(TOKEN_WAYS, UNAUTHORIZED)
        assert [await verdict_on(platform.edge, control, way) for way in TOKEN_WAYS] == [0] * len(TOKEN_WAYS)

    @pytest.mark.fails_with("S26")
    async def test_no_token_and_two_tokens(self, platform: UnderTest, people: Factory) -> None:
        """A request without a token is refused, and so is one with tokens of two people."""
        ann, bob = await people.log_in_many(2)
        assert await verdict_on(platform.edge, "") == UNAUTHORIZED
        for way in ("subprotocol", "query", "ticket"):
            assert await verdict_on(platform.edge, "", way) == UNAUTHORIZED
        twice = [("Authorization", f"Bearer {ann.token}"), ("Authorization", f"Bearer {bob.token}")]
        answer = await people.http.get(f"{platform.edge}/api/me", headers=twice)
        assert answer.status_code == 401
        assert await verdict_on(platform.edge, ann.token) == 0

    @pytest.mark.fails_with("Z50")
    async def test_a_ticket_opens_one_socket(self, platform: UnderTest, people: Factory) -> None:
        """Of many sockets at once with one ticket, over both replicas, one is opened; it is the buyer's."""
        ann = await people.log_in()
        ticket = await people.ticket(ann)
        bases = [*platform.replicas.values()] * 3

        async def attempt(base: str) -> Socket | int:
            try:
                return await open_socket(base, ticket, way="ticket")
            except Refused as refused:
                return refused.code

        results = await asyncio.gather(*(attempt(base) for base in bases))
        sockets = [r for r in results if isinstance(r, Socket)]
        people.sockets += sockets
        assert [s.frames[0]["user"] for s in sockets] == [ann.id]
        assert [r for r in results if not isinstance(r, Socket)] == [UNAUTHORIZED] * (len(bases) - 1)
        assert await verdict_on(platform.edge, ticket, "ticket") == UNAUTHORIZED

    @pytest.mark.fails_with("auth=Z43")
    async def test_tickets_do_not_launder(self, platform: UnderTest, people: Factory, forger: Forger) -> None:
        """No ticket is sold for a token that would itself be refused."""
        buy = f"{platform.auth}/auth/ticket"

        async def sold(token: str) -> int:
            return (await people.http.post(buy, headers={"Authorization": f"Bearer {token}"})).status_code

        found = {name: await sold(forge(forger)) for name, forge in FORGERIES.items()}
        assert found == dict.fromkeys(FORGERIES, 401)
        assert await sold(forger.control()) == 200

    @pytest.mark.fails_with("Z14")
    async def test_message_routing_respects_authentication(self, people: Factory, databases: Databases) -> None:
        """A person who is no member is refused clearly; their messages reach no member, and they receive none."""
        ann, bob, eve = await people.log_in_many(3)
        key, own = await people.conversation(ann, bob), await people.conversation(eve)
        mine, theirs, hers = [await people.connect(user) for user in (ann, bob, eve)]
        refused = await hers.answer(await hers.send(key, "let me in"))
        assert (refused["type"], refused["code"]) == ("nack", 403)
        assert await mine.tell(key, "among us") == 1
        assert await hers.tell(own, "to myself") == 1
        for socket in (mine, theirs):
            await socket.hear(1)
            await socket.fence()
            assert socket.texts() == ["among us"]
        await hers.fence()
        assert hers.texts() == ["to myself"]
        stored = "SELECT m.body FROM messages m JOIN conversations c ON c.id = m.conversation_id WHERE c.key = $1"
        assert [row["body"] for row in await databases.main.fetch(stored, key)] == ["among us"]
        history = f"{people.platform.edge}/api/conversations/{key}/messages"
        assert (await people.get(history, eve.token)).status_code == 403
        assert (await people.get(history, bob.token)).status_code == 200

    @pytest.mark.fails_with("Z24", "Z25")
    async def test_websocket_reconnect_with_valid_token(self, platform: UnderTest, people: Factory) -> None:
        """A lost connection is resumed with the same token on any replica: no gap, no repeat, same person."""
        ann, bob = await people.log_in_many(2)
        key, quiet = await people.conversation(ann, bob), await people.conversation(ann, bob)
        mine, theirs = await people.connect(ann), await people.connect(bob)
        for n in range(3):
            await theirs.tell(key, f"before {n}")
        await mine.hear(3, conversation=key)
        seen = {key: mine.seqs(key)[-1], quiet: 0}
        mine.abort()
        for n in range(4):
            await theirs.tell(key, f"missed {n}")
        for base in [*platform.replicas.values(), platform.edge]:
            again = await people.connect(ann, resume=seen, base=base)
            assert again.frames[0]["user"] == ann.id
            joined = {f["conversation"]: f for f in await again.hear(2, "joined")}
            assert {k: f["complete"] for k, f in joined.items()} == {key: True, quiet: True}
            await theirs.tell(key, "live")
            await again.until(lambda s=again: s.texts(key)[-1:] == ["live"], "the live message")  # type: ignore[misc]
            await again.fence()
            first = seen[key] + 1
            assert again.seqs(key) == list(range(first, first + len(again.seqs(key))))
            assert again.texts(key)[-1] == "live"
            seen[key] = again.seqs(key)[-1]
            again.abort()
        final = await people.connect(ann, resume=seen)
        await final.hear(2, "joined")
        assert await final.tell(key, "still me") == seen[key] + 1
        (heard,) = await final.hear(1, conversation=key)
        assert heard["sender"] == ann.id
        history = await people.history(ann, key)
        assert [m["seq"] for m in history] == list(range(1, len(history) + 1))

    @pytest.mark.fails_with("Z19")
    async def test_a_frame_cannot_name_another_sender(self, people: Factory) -> None:
        """Frames that name another person as their sender count as their real sender's, with six people at once."""
        users = await people.log_in_many(6)
        key = await people.conversation(*users)
        base = next(iter(people.platform.replicas.values()))
        sockets = await asyncio.gather(*(people.connect(user, base=base) for user in users))

        async def talk(number: int) -> None:
            for n in range(10):
                await sockets[number].send(key, f"{users[number].id} {n}", sender=users[number - 1].id)

        await asyncio.gather(*(talk(number) for number in range(len(users))))
        for socket in sockets:
            heard: list[dict[str, Any]] = await socket.hear(60)
            assert all(f["text"].split()[0] == f["sender"] for f in heard)
