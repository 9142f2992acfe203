"""`python -m pytest_suite.pictures DIR`: pictures of the frontend, light and dark, on a desktop and on a phone."""

from __future__ import annotations

import argparse
import asyncio
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from earwitness.harness.platform.launch import launch
from pytest_suite import browser as b
from pytest_suite.factory import Factory, User
from pytest_suite.under_test import UnderTest, new_tag

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page

TALK = (
    (1, "Good morning! Did the rolling restart go through last night?"),
    (0, "Yes. All services went one after the other, and nobody was cut off for longer than a second."),
    (2, "I saw the reconnects in the dashboard. The order of messages stayed right everywhere."),
    (2, "Shall we show the numbers to the others?"),
    (0, "Please do. Here is the line that matters:\n  I5b no loss, delivered: 48,210 examined, 0 violations"),
    (1, "Perfect, thank you."),
)
QUESTION = "How many messages were lost during the restart, and which check would have told us so?"
PACE_S = 0.3
"""Seconds between the pieces of the agent's answer: long enough to take a picture of an unfinished answer."""
TITLES = ("Release of the week", "Incident review", "Lunch on Thursday", "Customer Ärger & Söhne", "On call")


async def furnish(people: Factory, email: str) -> tuple[list[str], User]:
    """Create five conversations (TITLES) of the person with the address `email` and two colleagues.

    Posts TALK in the first. Returns the keys of the conversations, and a colleague who is a member of all five.
    """
    me, carla, david = [await people.log_in(name) for name in (email, people.email("carla"), people.email("david"))]
    everybody = (me, carla, david)
    keys = []
    for title in TITLES:
        keys.append(key := people.fresh("picture"))
        body = {"members": [one.email for one in everybody], "title": title}
        await people.http.put(f"{people.platform.edge}/api/conversations/{key}", json=body, headers=me.bearer)
    for author, text in TALK:
        await people.post(everybody[author], keys[0], text)
    return keys, carla


async def take(chrome: Browser, people: Factory, folder: Path, size: tuple[int, int], look: Any) -> list[str]:
    """Take the pictures of one window size and one colour scheme (`look`); return the page's errors."""
    name = f"{'phone' if size == b.PHONE else 'desktop'}-{look}"
    email = people.email("ann")
    keys, carla = await furnish(people, email)

    async def picture(page: Page, what: str) -> None:
        await page.screenshot(path=folder / f"{name}-{what}.png")

    more = {"has_touch": True} if size == b.PHONE else {}
    async with b.visitor(chrome, people.platform.frontend, folder, size, color_scheme=look, **more) as ann:
        page = await ann.blank()
        await page.goto(people.platform.frontend)
        await page.wait_for_selector("#login")
        await picture(page, "1-welcome")
        await page.click("#login")
        await page.fill("input[name=email]", email)
        await picture(page, "2-provider")
        await page.click("button[value=allow]")
        await page.wait_for_selector(b.ONLINE, state="attached")
        for text in ("I am late, begin without me.", "Did somebody book a table?"):
            await people.post(carla, keys[2], text)
        await page.wait_for_selector("nav .unread")
        await picture(page, "3-list")
        await page.goto(f"{people.platform.frontend}/#{keys[0]}")
        await page.wait_for_selector("#messages li[data-seq]")
        await b.say(page, QUESTION, ask=True)
        await page.locator(".live .text", has_text=re.compile(".{30}")).wait_for()
        await picture(page, "4-streaming")
        await page.wait_for_selector("#messages li.agent[data-seq]")
        await picture(page, "5-answered")
        for number, key in enumerate(keys):
            await people.post(carla, key, f"This is for {TITLES[number]}.")
            tab = await ann.tab(key)
            await b.shows(tab, bool)
            await picture(tab, f"6-tab-{number + 1}")
        await ann.context.set_offline(True)
        await page.wait_for_selector("#banner:visible")
        await b.say(page, "Written without a connection.")
        await picture(page, "7-reconnecting")
        return [said for said in ann.complaints if "ERR_INTERNET_DISCONNECTED" not in said]


async def main(folder: Path) -> None:
    """Start a platform with a slow agent, take all pictures, and print the errors of the page."""
    folder.mkdir(parents=True, exist_ok=True)
    with launch(settings={"backend": {"agent_pace_s": PACE_S}}) as platform:
        async with httpx.AsyncClient(timeout=30, trust_env=False) as http, b.chromium() as chrome:
            people = Factory(UnderTest(platform.endpoints, where="it", tag=new_tag()), http, 1, "pictures")
            for size in (b.DESKTOP, b.PHONE):
                for look in ("light", "dark"):
                    for said in await take(chrome, people, folder, size, look):
                        print(f"error of the page: {said}")
    print(f"pictures: {folder}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, metavar="DIR")
    arguments = parser.parse_args()
    if b.missing():
        parser.exit(2, f"{b.missing()}\n")
    asyncio.run(main(arguments.folder))
