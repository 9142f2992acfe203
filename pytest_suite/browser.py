"""Frontend in a real browser: Chromium without a window, driven by Playwright.

Playwright's own browser download is not used, only the Chromium that is installed on the machine.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.async_api import Browser, BrowserContext, Page

PROGRAMS = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
ARGUMENTS = (
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run",
)  # fmt: skip
DESKTOP, PHONE = (1280, 800), (390, 844)
PATIENCE_MS = 20_000
ONLINE = "#status[data-state=online]"


def program() -> str | None:
    """Return the path of the machine's Chromium, or None if there is none."""
    return next(filter(None, map(shutil.which, PROGRAMS)), None)


def missing() -> str:
    """Return what is missing to drive a browser, with the command that installs it; "" if nothing is missing."""
    if importlib.util.find_spec("playwright") is None:
        return "Playwright is not installed. Install it with: pip install 'earwitness[browser]'"
    if program() is None:
        return "No Chromium is installed. Install it with: apt-get update && apt-get install -y chromium"
    return ""


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """Start a browser process and yield the browser; the process ends with the context."""
    from playwright.async_api import async_playwright

    # Chromium's sandbox does not work as root.
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program(), args=[*ARGUMENTS, *sandbox])
        try:
            yield browser
        finally:
            await browser.close()


class Visitor:
    """One person at one browser. Their tabs share cookies and storage with each other, and with no other visitor.

    `complaints`: errors of the person's pages, thrown by scripts or reported on the console.
    """

    def __init__(self, context: BrowserContext, frontend: str) -> None:
        self.context, self.frontend = context, frontend
        self.complaints: list[str] = []
        context.set_default_timeout(PATIENCE_MS)

    async def blank(self) -> Page:
        """Open an empty tab and return it; from then on its errors go to `complaints`."""
        page = await self.context.new_page()
        page.on("pageerror", lambda error: self.complaints.append(f"thrown: {error}"))
        page.on("console", lambda said: self.complaints.append(said.text) if said.type == "error" else None)
        return page

    async def log_in(self, email: str) -> Page:
        """Log in through the welcome page and the provider's page; return the tab when it is online."""
        page = await self.blank()
        await page.goto(self.frontend)
        await page.click("#login")
        await page.fill("input[name=email]", email)
        await page.click("button[value=allow]")
        await page.wait_for_selector(ONLINE, state="attached")
        return page

    async def tab(self, key: str) -> Page:
        """Open a new tab at the conversation `key`; return the tab when it is online."""
        page = await self.blank()
        await page.goto(f"{self.frontend}/#{key}")
        await page.wait_for_selector(ONLINE, state="attached")
        await page.wait_for_selector("#text")
        return page


@asynccontextmanager
async def visitor(
    browser: Browser, frontend: str, pictures: Path, size: tuple[int, int] = DESKTOP, **context: Any
) -> AsyncIterator[Visitor]:
    """Yield a visitor with a browser context of their own.

    If the block fails, a picture of every tab is written into the folder `pictures`. `size`: width and height in px.
    """
    width, height = size
    made = await browser.new_context(viewport={"width": width, "height": height}, **context)
    try:
        yield (someone := Visitor(made, frontend))
    except BaseException as error:
        pictures.mkdir(parents=True, exist_ok=True)
        for number, page in enumerate(made.pages):
            await page.screenshot(path=pictures / f"tab-{number}.png")
        told = "\n".join(someone.complaints) or "none"
        error.add_note(f"pictures of the {len(made.pages)} tabs: {pictures}\nerrors of the page: {told}")
        raise
    finally:
        await made.close()


async def say(page: Page, text: str, *, ask: bool = False) -> None:
    """Type a message and press Enter. `ask`: address it to the agent."""
    await page.set_checked("#ask", ask)
    await page.fill("#text", text)
    await page.press("#text", "Enter")


async def texts(page: Page) -> list[str]:
    """Return the texts of the stored messages that a tab shows, from top to bottom."""
    return await page.locator("#messages li[data-seq] .text").all_text_contents()


async def shows(page: Page, wanted: Callable[[list[str]], bool] | list[str]) -> list[str]:
    """Wait until a tab's messages are `wanted`, or satisfy it; return the messages that the tab shows then.

    After `PATIENCE_MS` ms the present messages are returned, so that the caller's comparison fails.
    """
    holds = wanted if callable(wanted) else (lambda found: found == wanted)
    last = await texts(page)
    for _ in range(PATIENCE_MS // 100):
        if holds(last):
            break
        await page.wait_for_timeout(100)
        last = await texts(page)
    return last


def unread(key: str) -> str:
    """Return the CSS selector of the mark for unread messages at the conversation `key` in the list."""
    return f'nav a[data-key="{key}"] .unread'
