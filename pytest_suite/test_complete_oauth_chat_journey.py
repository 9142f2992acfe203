"""Scenario 3: from the provider's login page to a stored conversation with a streamed answer, without a manual step."""

from __future__ import annotations

import base64
import hashlib
import secrets
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from earwitness.harness.client.flow import Browser, run_flow_async
from pytest_suite.chat import Socket, open_socket
from pytest_suite.factory import Databases, Factory, User, eventually
from pytest_suite.under_test import UnderTest
from pytest_suite.volume import MESSAGES_EACH, seeded_email, seeded_id, seeded_key, seeded_people

pytestmark = [pytest.mark.critical, pytest.mark.p0]

SYNC_S = 5.0
QUESTION = "What is the answer to life, the universe and everything, and why do you ask me so many questions today?"


async def log_in_by_the_page(people: Factory, email: str) -> User:
    """Log in as the frontend does: with a one-time code from the redirect, exchanged with a verifier for tokens."""
    frontend, browser = people.platform.frontend, Browser()
    verifier = secrets.token_urlsafe(48)
    digest = hashlib.sha256(verifier.encode()).digest()
    challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    config = (await people.http.get(f"{frontend}/config.json")).json()
    query = {"login_hint": email, "return_to": f"{frontend}/", "challenge": challenge}
    begin = f"{config['auth_url']}/auth/google?{urlencode(query)}"
    back = await run_flow_async(browser.follow(begin, stop=lambda url: url.startswith(frontend)), people.http)
    code = parse_qs(urlsplit(back.headers["location"]).query)["code"][0]
    assert "token" not in back.headers["location"]
    body = {"code": code, "verifier": verifier}
    stolen = await people.http.post(f"{frontend}/auth/exchange", json={"code": "no-such-code", "verifier": verifier})
    assert stolen.status_code == 400
    answer = await people.http.post(f"{frontend}/auth/exchange", json=body)
    assert answer.status_code == 200, f"exchanging the code: expected 200 through the frontend, got {answer.text}"
    assert (await people.http.post(f"{frontend}/auth/exchange", json=body)).status_code == 400
    return User.of(answer.json())


async def ended(socket: Socket, key: str, runs: int = 1) -> None:
    """Wait until `runs` or more answers of the agent in the conversation `key` have ended, completed or by an error."""

    def ends() -> bool:
        return sum(f["event"] in ("completed", "error") for f in socket.all("agent", key)) >= runs

    await socket.until(ends, "the end of the run")


async def ask(socket: Socket, key: str, question: str) -> tuple[int, list[dict[str, Any]], dict[str, Any]]:
    """Ask the agent; return (number of the question, all events of the answer, the answer as a message)."""
    seq = await socket.tell(key, question, ask=True)
    await ended(socket, key)
    await socket.until(lambda: seq + 1 in socket.seqs(key), "the answer as a message")
    (message,) = [f for f in socket.all("message", key) if f["seq"] == seq + 1]
    return seq, socket.all("agent", key), message


def assert_whole_run(events: list[dict[str, Any]], answer: str) -> None:
    """Assert that `events` are those of one complete answer, and that its pieces together are `answer`.

    It must have started once, have several pieces without a gap in their numbers, and have completed once.
    """
    assert len({f["run"] for f in events}) == 1
    names = [f["event"] for f in events]
    chunks = [f for f in events if f["event"] == "chunk"]
    assert names == ["started", "thinking", "tool_started", "tool_completed", *["chunk"] * len(chunks), "completed"]
    assert [f["n"] for f in chunks] == list(range(len(chunks)))
    assert len(chunks) > 1, "an answer that comes in one piece is no stream"
    assert events[-1]["n"] == len(chunks)
    assert "".join(f["text"] for f in chunks) == events[-1]["text"] == answer


class TestCompleteOAuthChatJourney:
    """Journeys of new and of returning people."""

    @pytest.mark.fails_with("Z31", "Z59")
    async def test_new_user_oauth_to_chat(self, platform: UnderTest, people: Factory, databases: Databases) -> None:
        """A new person gets from the provider's page to a streamed answer and a stored history; every step works."""
        email = people.email("traveller")
        assert await databases.account(email) == []
        user = await log_in_by_the_page(people, email)
        (account,) = await databases.account(email)
        (copy,) = await eventually("the new user in userbase", lambda: databases.copy(email), SYNC_S)
        assert str(account["id"]) == str(copy["id"]) == user.id
        key = people.fresh("first-talk")
        made = await people.http.put(
            f"{platform.frontend}/api/conversations/{key}",
            json={"members": [email], "title": "First talk"},
            headers=user.bearer,
        )
        assert made.status_code == 201, made.text
        socket = await open_socket(platform.edge, await people.ticket(user), way="ticket")
        people.sockets.append(socket)
        assert socket.frames[0]["user"] == user.id
        assert socket.frames[0]["conversations"] == {key: 0}
        seq, events, answer = await ask(socket, key, QUESTION)
        assert seq == 1
        assert_whole_run(events, answer["text"])
        assert QUESTION in answer["text"]
        assert (answer["sender"], answer["seq"]) == ("agent", 2)
        stored = await databases.main.fetch(
            "SELECT m.seq, m.sender, m.body FROM messages m JOIN conversations c ON c.id = m.conversation_id "
            "WHERE c.key = $1 ORDER BY m.seq",
            key,
        )
        assert [tuple(row) for row in stored] == [(1, user.id, QUESTION), (2, "agent", answer["text"])]
        for base in (platform.edge, platform.frontend):
            history = await people.history(user, key, base)
            assert [(m["seq"], m["sender"], m["text"]) for m in history] == [tuple(row) for row in stored]

    @pytest.mark.fails_with("Z32")
    async def test_runs_of_two_people_do_not_mix(self, people: Factory) -> None:
        """Two people who ask at once each get the answer to their own question, in two conversations and in one."""
        users = await people.log_in_many(2)
        keys = [await people.conversation(user) for user in users]
        base = next(iter(people.platform.replicas.values()))
        sockets = [await people.connect(user, base=base) for user in users]
        questions = [f"{QUESTION} I am {user.name}" for user in users]
        for socket, key, question in zip(sockets, keys, questions, strict=True):
            await socket.send(key, question, ask=True)
        for socket, key, question in zip(sockets, keys, questions, strict=True):
            await socket.hear(2, conversation=key)
            await ended(socket, key)
            assert question in socket.texts(key)[1]
            assert_whole_run(socket.all("agent"), socket.texts(key)[1])
            assert {f["conversation"] for f in socket.all("agent")} == {key}
        shared = await people.conversation(*users)
        for socket in sockets:
            await socket.hear(1, "joined", shared)
        for socket, question in zip(sockets, questions, strict=True):
            await socket.send(shared, question, ask=True)
        for socket in sockets:
            await ended(socket, shared, runs=2)
            events = socket.all("agent", shared)
            runs = [[f for f in events if f["run"] == run] for run in sorted({f["run"] for f in events})]
            assert len(runs) == 2
            for run in runs:
                assert_whole_run(run, run[-1]["text"])
            assert sorted(questions) == sorted(q for q in questions for run in runs if q in run[-1]["text"])

    @pytest.mark.fails_with("S5")
    async def test_returning_user_oauth_flow(self, platform: UnderTest, people: Factory, databases: Databases) -> None:
        """A person who comes back has one account and the earlier conversations, and continues where they were."""
        email = people.email("returner")
        first = await people.log_in(email)
        key = await people.conversation(first)
        socket = await people.connect(first)
        await ask(socket, key, QUESTION)
        seen = socket.seqs(key)[-1]
        before = await people.history(first, key)
        await socket.end()
        logged_out = await people.http.post(f"{platform.auth}/auth/logout", headers=first.bearer)
        assert logged_out.status_code == 200
        assert (await people.get(f"{platform.edge}/api/me", first.token)).status_code == 401
        second = await log_in_by_the_page(people, email)
        assert second.id == first.id
        assert second.claims["sid"] != first.claims["sid"]
        assert len(await databases.account(email)) == len(await databases.copy(email)) == 1
        found = (await people.get(f"{platform.edge}/api/conversations", second.token)).json()["conversations"]
        assert [(c["key"], c["head"]) for c in found] == [(key, seen)]
        assert await people.history(second, key) == before
        again = await people.connect(second, resume={key: seen})
        (joined,) = await again.hear(1, "joined", key)
        assert (joined["head"], joined["complete"]) == (seen, True)
        number, events, answer = await ask(again, key, "And the same again, in a few more words than before?")
        assert number == seen + 1
        assert_whole_run(events, answer["text"])
        assert again.seqs(key) == [seen + 1, seen + 2]
        assert [m["seq"] for m in await people.history(second, key)] == list(range(1, seen + 3))

    @pytest.mark.fails_with("S5")
    async def test_a_person_of_a_full_database_returns(
        self, request: pytest.FixtureRequest, platform: UnderTest, people: Factory, databases: Databases
    ) -> None:
        """A person with a history from before this run finds it, and gets no access to the conversation of others."""
        if not platform.volume:
            pytest.fail("This test needs rows from before this run: --volume N with N of at least 20.", pytrace=False)
        seed = request.config.option.seed
        number = people.random.randrange(seeded_people(platform.volume))
        user = await people.log_in(seeded_email(number, seed))
        assert user.id == seeded_id(number, seed)
        assert len(await databases.account(user.email)) == len(await databases.copy(user.email)) == 1
        key, other = seeded_key(number, seed), seeded_key((number + 2) % seeded_people(platform.volume), seed)
        found = (await people.get(f"{platform.edge}/api/conversations", user.token)).json()["conversations"]
        assert key in [c["key"] for c in found]
        assert other not in [c["key"] for c in found]
        history = await people.history(user, key)
        assert [m["seq"] for m in history] == list(range(1, len(history) + 1))
        assert len([m for m in history if m["sender"] == user.id]) >= MESSAGES_EACH
        refused = await people.get(f"{platform.edge}/api/conversations/{other}/messages", user.token)
        assert refused.status_code == 403
