"""The frontend's page as a person sees it: a real Chromium without a window, driven by Playwright.

Playwright brings no browser along here: the machine's own Chromium is used, and never one downloaded.
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
    """Return the path of the machine's Chromium, or None."""
    return next(filter(None, map(shutil.which, PROGRAMS)), None)


def missing() -> str:
    """Return what is missing to drive a browser here, with the command that installs it; "" if nothing is."""
    if importlib.util.find_spec("playwright") is None:
        return "Playwright is not installed. Install it with: pip install 'earwitness[browser]'"
    if program() is None:
        return "No Chromium is installed. Install it with: apt-get update && apt-get install -y chromium"
    return ""


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """Start a browser process; it ends with the block."""
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

    `complaints` are the errors of the page: what its scripts threw and what the console reported.
    """

    def __init__(self, context: BrowserContext, frontend: str) -> None:
        self.context, self.frontend = context, frontend
        self.complaints: list[str] = []
        context.set_default_timeout(PATIENCE_MS)

    async def blank(self) -> Page:
        """Open an empty tab."""
        page = await self.context.new_page()
        page.on("pageerror", lambda error: self.complaints.append(f"thrown: {error}"))
        page.on("console", lambda said: self.complaints.append(said.text) if said.type == "error" else None)
        return page

    async def log_in(self, email: str) -> Page:
        """Log in through the welcome page and the provider's page, as a person does; return the tab."""
        page = await self.blank()
        await page.goto(self.frontend)
        await page.click("#login")
        await page.fill("input[name=email]", email)
        await page.click("button[value=allow]")
        await page.wait_for_selector(ONLINE, state="attached")
        return page

    async def tab(self, key: str) -> Page:
        """Open a new tab at a conversation."""
        page = await self.blank()
        await page.goto(f"{self.frontend}/#{key}")
        await page.wait_for_selector(ONLINE, state="attached")
        await page.wait_for_selector("#text")
        return page


@asynccontextmanager
async def visitor(
    browser: Browser, frontend: str, pictures: Path, size: tuple[int, int] = DESKTOP, **context: Any
) -> AsyncIterator[Visitor]:
    """Give a person a browser context of their own. If the block fails, `pictures` gets a picture of every tab."""
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
    """Type a message and press Enter."""
    await page.set_checked("#ask", ask)
    await page.fill("#text", text)
    await page.press("#text", "Enter")


async def texts(page: Page) -> list[str]:
    """Return the stored messages that a tab shows, from top to bottom."""
    return await page.locator("#messages li[data-seq] .text").all_text_contents()


async def shows(page: Page, wanted: Callable[[list[str]], bool] | list[str]) -> list[str]:
    """Return the messages of a tab once they are `wanted` or satisfy it, else those it shows when the time is up.

    The caller compares them. The time is `PATIENCE_MS`.
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
    """Return the selector of the mark that the list shows at an unread conversation."""
    return f'nav a[data-key="{key}"] .unread'
