"""Scenario 10: one person in several tabs and on several devices, which are independent and show the same state."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_suite import browser as b
from pytest_suite.chat import Socket
from pytest_suite.factory import Databases, Factory, User, eventually
from pytest_suite.under_test import UnderTest

if TYPE_CHECKING:
    from playwright.async_api import Browser

pytestmark = [pytest.mark.critical, pytest.mark.p1]

TABS = 5
SYNC_S = 5.0
EDITS = 12
QUESTION = "How many tabs does it take to lose a message, and which of them would be the first to notice that?"


async def rename(people: Factory, user: User, name: str) -> int:
    """Change the user's name at auth; return the version of the account after the change."""
    answer = await people.http.patch(f"{people.platform.auth}/auth/me", json={"name": name}, headers=user.bearer)
    assert answer.status_code == 200, answer.text
    return int(answer.json()["version"])


def shown_name(socket: Socket) -> str:
    """Return the name of the user that a tab shows: from the latest `user` frame, or else from the welcome frame."""
    news = socket.all("user")
    return str(news[-1]["user"]["name"] if news else socket.frames[0]["name"])


class TestMultiSessionManagement:
    """Tabs and devices of one person, tested by WebSocket."""

    @pytest.mark.fails_with("Z17")
    async def test_multi_tab_websocket_isolation(self, platform: UnderTest, people: Factory) -> None:
        """Five tabs, five conversations: answers reach only the tab that asked, messages reach all tabs and members."""
        me, *partners = await people.log_in_many(1 + TABS)
        keys = [await people.conversation(me, partner) for partner in partners]
        bases = [*platform.replicas.values()]
        tabs = [await people.connect(me, base=bases[n % len(bases)]) for n in range(TABS)]
        others = [await people.connect(partner) for partner in partners]
        assert len({tab.frames[0]["session"] for tab in tabs}) == TABS
        assert all(tab.frames[0]["conversations"] == dict.fromkeys(keys, 0) for tab in tabs)

        async def talk(n: int) -> list[str]:
            ids = [await tabs[n].send(keys[n], f"tab {n} message {m}") for m in range(10)]
            ids.append(await tabs[n].send("no-such-conversation", "lost"))
            for message_id in ids:
                await tabs[n].answer(message_id)
            return ids

        ids = await asyncio.gather(*(talk(n) for n in range(TABS)))
        await asyncio.gather(*(tab.hear(10 * TABS) for tab in tabs))
        for n, tab in enumerate(tabs):
            await tab.fence()
            answers = [(f["type"], f["id"]) for f in tab.frames if f["type"] in ("ack", "nack")]
            assert sorted(answers) == sorted([("ack", i) for i in ids[n][:-1]] + [("nack", ids[n][-1])])
            for m, key in enumerate(keys):
                assert tab.texts(key) == [f"tab {m} message {k}" for k in range(10)]
                assert tab.seqs(key) == list(range(1, 11))
            assert {f["sender"] for f in tab.all("message")} == {me.id}
        for n, other in enumerate(others):
            await other.hear(10)
            await other.fence()
            assert [f["conversation"] for f in other.all("message")] == [keys[n]] * 10

    @pytest.mark.fails_with("S13")
    async def test_a_tab_falls_alone(self, people: Factory) -> None:
        """A tab that is closed, one that is cut and one that misbehaves do not affect the others and their state."""
        me, partner = await people.log_in_many(2)
        key = await people.conversation(me, partner)
        tabs = [await people.connect(me) for _ in range(TABS)]
        theirs = await people.connect(partner)
        for n in range(3):
            await tabs[n].tell(key, f"from tab {n}")
        await asyncio.gather(*(tab.hear(3) for tab in tabs))
        await tabs[0].end()
        tabs[1].abort()
        await tabs[2].connection.send(b"binary is not understood")
        assert await tabs[2].closed() == 1003
        await theirs.tell(key, "who is still there?")
        for tab in tabs[3:]:
            await tab.hear(4)
            await tab.fence()
            assert tab.code is None
            assert tab.seqs(key) == [1, 2, 3, 4]
        resumed = [await people.connect(me, resume={key: seen}) for seen in (3, 0)]
        assert [f["seq"] for f in await resumed[0].hear(1)] == [4]
        assert [f["seq"] for f in await resumed[1].hear(4)] == [1, 2, 3, 4]
        await resumed[0].fence()
        assert resumed[0].seqs(key) == [4], "one tab's resume point moved another's"

    @pytest.mark.fails_with("S14")
    async def test_shared_user_state_is_in_step(self, platform: UnderTest, people: Factory) -> None:
        """A change of the person reaches all five tabs, on every replica, and no one else's."""
        me, stranger = await people.log_in_many(2)
        bases = [*platform.replicas.values()]
        tabs = [await people.connect(me, base=bases[n % len(bases)]) for n in range(TABS)]
        theirs = await people.connect(stranger)
        await rename(people, me, "New Name")
        for tab in tabs:
            await tab.until(lambda t=tab: shown_name(t) == "New Name", "the new name", SYNC_S)  # type: ignore[misc]
            assert len(tab.all("user")) == 1
        await theirs.fence()
        assert theirs.all("user") == []

    @pytest.mark.fails_with("Z5")
    async def test_multi_device_sync(self, platform: UnderTest, people: Factory) -> None:
        """Desktop and phone, two logins: changes on one appear on the other, in one order, also after a pause."""
        desktop = await people.log_in()
        phone, partner = await people.log_in(desktop.email), await people.log_in()
        assert (phone.id, phone.claims["sid"] != desktop.claims["sid"]) == (desktop.id, True)
        bases = [*platform.replicas.values()]
        at_desk = await people.connect(desktop, base=bases[0])
        in_hand = await people.connect(phone, base=bases[-1])
        key = await people.conversation(desktop, partner)
        for socket in (at_desk, in_hand):
            (joined,) = await socket.hear(1, "joined", key)
            assert joined["head"] == 0
        assert await at_desk.tell(key, "from the desk") == 1
        assert await in_hand.tell(key, "from the hand") == 2
        posted = await people.post(phone, key, "by REST")
        assert (posted.status_code, posted.json().get("seq")) == (201, 3)
        for socket in (at_desk, in_hand):
            await socket.hear(3)
            assert socket.texts(key) == ["from the desk", "from the hand", "by REST"]
            assert {f["sender"] for f in socket.all("message")} == {desktop.id}
        in_hand.abort()
        for n in range(5):
            await at_desk.tell(key, f"while the phone was away {n}")
        again = await people.connect(phone, resume={key: 3}, base=bases[0])
        await again.hear(5)
        await at_desk.hear(8)
        assert at_desk.texts(key)[3:] == again.texts(key)
        assert again.seqs(key) == [4, 5, 6, 7, 8]

    @pytest.mark.fails_with("Z9")
    async def test_one_message_sent_by_two_devices_is_one(self, people: Factory) -> None:
        """A message that desktop and phone both send (a synced outbox) is stored and received once, with one number."""
        desktop = await people.log_in()
        phone = await people.log_in(desktop.email)
        key = await people.conversation(desktop)
        bases = [*people.platform.replicas.values()]
        sockets = [await people.connect(desktop, base=bases[0]), await people.connect(phone, base=bases[-1])]
        message_id = people.fresh("outbox")
        for socket in sockets:
            await socket.send(key, "from the outbox", message_id)
        answers = [await socket.answer(message_id) for socket in sockets]
        assert [(a["type"], a["seq"]) for a in answers] == [("ack", 1), ("ack", 1)]
        late = people.fresh("outbox")
        assert [await socket.tell(key, "once more", message_id=late) for socket in sockets] == [2, 2]
        assert await sockets[0].tell(key, "the next") == 3
        for socket in sockets:
            await socket.hear(3)
            assert socket.seqs(key) == [1, 2, 3]
        assert [m["id"] for m in await people.history(desktop, key)][:2] == [message_id, late]

    @pytest.mark.fails_with("S6")
    async def test_conflicting_edits_end_the_same_everywhere(
        self, platform: UnderTest, people: Factory, databases: Databases
    ) -> None:
        """Desktop and phone rename the person at once, again and again: the change that auth accepted last stands."""
        desktop = await people.log_in()
        phone = await people.log_in(desktop.email)
        sockets = [
            await people.connect(user, base=base) for user in (desktop, phone) for base in platform.replicas.values()
        ]

        async def edit(user: User, word: str) -> dict[int, str]:
            return {await rename(people, user, f"{word} {n}"): f"{word} {n}" for n in range(EDITS)}

        first, second = await asyncio.gather(edit(desktop, "desk"), edit(phone, "hand"))
        assert not first.keys() & second.keys(), "two edits got one version"
        versions = {**first, **second}
        assert sorted(versions) == list(range(2, 2 + 2 * EDITS))
        last = versions[max(versions)]
        (account,) = await databases.account(desktop.email)
        assert account["name"] == last

        async def copied() -> bool:
            return bool((await databases.copy(desktop.email))[0]["name"] == last)

        await eventually("the last name in userbase", copied, SYNC_S)
        order = {name: version for version, name in versions.items()}
        for socket in sockets:
            await socket.until(lambda s=socket: shown_name(s) == last, "the last name", SYNC_S)  # type: ignore[misc]
            await socket.fence()
            shown = [order[f["user"]["name"]] for f in socket.all("user")]
            assert shown == sorted(shown), "an older name was shown after a newer one"
        for base in (platform.edge, *platform.replicas.values()):
            assert (await people.get(f"{base}/api/me", phone.token)).json().get("name") == last

    @pytest.mark.fails_with("S15")
    async def test_a_logout_on_one_device_leaves_the_other(self, platform: UnderTest, people: Factory) -> None:
        """A logout on the desktop closes its tabs; the phone's session and socket stay."""
        desktop = await people.log_in()
        phone = await people.log_in(desktop.email)
        key = await people.conversation(desktop)
        tabs = [await people.connect(desktop) for _ in range(2)]
        in_hand = await people.connect(phone)
        answer = await people.http.post(f"{platform.auth}/auth/logout", headers=desktop.bearer)
        assert answer.status_code == 200
        assert [await tab.closed(SYNC_S) for tab in tabs] == [4401, 4401]
        assert await in_hand.tell(key, "still here") == 1

    @pytest.mark.fails_with("Z8:0.1")
    async def test_many_people_on_two_devices(self, people: Factory) -> None:
        """Thirty people with a desktop and a phone in three rooms: both devices of each end with the same, in order."""
        users = await people.log_in_many(30)
        phones = await asyncio.gather(*(people.log_in(user.email) for user in users))
        keys = [await people.conversation(*users[n::3]) for n in range(3)]
        at_desks = await asyncio.gather(*(people.connect(user) for user in users))
        in_hands = await asyncio.gather(*(people.connect(phone) for phone in phones))

        async def talk(n: int) -> None:
            for m in range(4):
                socket = (at_desks if m % 2 else in_hands)[n]
                await socket.tell(keys[n % 3], f"{n} says {m}")

        await asyncio.gather(*(talk(n) for n in range(len(users))))
        for n in range(len(users)):
            key = keys[n % 3]
            for socket in (at_desks[n], in_hands[n]):
                await socket.hear(40)
                assert socket.seqs(key) == list(range(1, 41))
                assert {f["conversation"] for f in socket.all("message")} == {key}
            assert at_desks[n].all("message") == in_hands[n].all("message")
            mine = [t for t in at_desks[n].texts(key) if t.startswith(f"{n} says")]
            assert mine == [f"{n} says {m}" for m in range(4)]


@pytest.mark.timeout(240)
class TestInARealBrowser:
    """Several tabs of one person on the frontend's page, in Chromium."""

    @pytest.mark.fails_with("Z15")
    async def test_five_tabs_in_a_real_browser(
        self, platform: UnderTest, people: Factory, chrome: Browser, pictures: Path
    ) -> None:
        """After a login at the provider's page, five tabs each show their own conversation, all of one person."""
        email = people.email("tabs")
        phone, *partners = [await people.log_in(email), *await people.log_in_many(TABS + 1)]
        keys = [await people.conversation(partner, phone) for partner in partners]
        theirs = [await people.connect(partner) for partner in partners]
        async with b.visitor(chrome, platform.frontend, pictures) as me:
            await me.log_in(email)
            tabs = [await me.tab(key) for key in keys[:TABS]]
            expected = [[f"from tab {n}", f"to tab {n}"] for n in range(TABS)]
            for tab, socket, key, (said, answer) in zip(tabs, theirs, keys, expected, strict=False):
                await b.say(tab, said)
                (heard,) = await socket.hear(1)
                assert (heard["text"], heard["sender"]) == (said, phone.id)
                await socket.tell(key, answer)
            assert [await b.shows(tab, wanted) for tab, wanted in zip(tabs, expected, strict=True)] == expected

            await b.say(tabs[2], QUESTION, ask=True)
            answered = await b.shows(tabs[2], lambda found: len(found) == 4)
            assert answered[:3] == [*expected[2], QUESTION]
            assert QUESTION in answered[3]
            pieces = await tabs[2].locator("#messages li.agent").get_attribute("data-pieces")
            assert int(pieces or 0) > 1, "the answer did not grow before it was whole"
            assert await tabs[2].locator("#messages .live").count() == 0
            assert [await b.texts(tab) for tab in tabs[:2] + tabs[3:]] == expected[:2] + expected[3:]

            await theirs[TABS].tell(keys[TABS], "where nobody looks")
            for tab in tabs:
                await tab.locator(b.unread(keys[TABS]), has_text="1").wait_for()
            reader = await me.tab(keys[TABS])
            assert await b.shows(reader, bool) == ["where nobody looks"]
            await rename(people, phone, "New Name")
            for tab in tabs:
                await tab.locator(b.unread(keys[TABS])).wait_for(state="detached")
                await tab.locator("#me", has_text="New Name").wait_for()
            await tabs[0].click("#logout")
            for tab in tabs:
                await tab.wait_for_selector("#login")
            assert me.complaints == []

    @pytest.mark.fails_with("Z24")
    async def test_a_browser_that_loses_its_connection(
        self, platform: UnderTest, people: Factory, chrome: Browser, pictures: Path
    ) -> None:
        """The page shows that it is offline, reconnects by itself, and has the missed messages once and in order."""
        email = people.email("cut")
        me, partner = await people.log_in(email), await people.log_in()
        key = await people.conversation(partner, me)
        theirs = await people.connect(partner)
        async with b.visitor(chrome, platform.frontend, pictures) as visitor:
            await visitor.log_in(email)
            tabs = [await visitor.tab(key) for _ in range(2)]
            await theirs.tell(key, "before")
            assert [await b.shows(tab, ["before"]) for tab in tabs] == [["before"]] * 2
            assert visitor.complaints == []
            await visitor.context.set_offline(True)
            for tab in tabs:
                await tab.wait_for_selector("#status[data-state=reconnecting]")
                await tab.wait_for_selector("#banner:visible")
            await b.say(tabs[0], "written without a connection")
            await theirs.fence()
            assert theirs.texts() == ["before"]
            for n in range(3):
                await theirs.tell(key, f"meanwhile {n}")
            await visitor.context.set_offline(False)
            story = ["before", *(f"meanwhile {n}" for n in range(3)), "written without a connection"]
            assert [await b.shows(tab, story) for tab in tabs] == [story] * 2
            assert await tabs[0].locator("#banner").is_hidden()
            assert (await theirs.hear(5))[-1]["text"] == story[-1]
            assert [m["text"] for m in await people.history(partner, key)] == story
