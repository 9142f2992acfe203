"""The page beside the run as a person sees it: in a real Chromium a run is started, watched and stopped."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from web_form import web_ui

from pytest_suite.browser import ARGUMENTS, DESKTOP, PHONE, missing, program

PICTURES = "EARWITNESS_PICTURES"
"""Environment variable: a folder for screenshots, to be looked at."""
RUN_MS = 60_000

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing() or "there is a browser")


@contextmanager
def pages(**context: Any) -> Iterator[tuple[Any, list[str]]]:
    """A browser context, and the errors that its pages report."""
    from playwright.sync_api import sync_playwright

    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program(), args=[*ARGUMENTS, *sandbox])
        made = browser.new_context(permissions=["clipboard-read", "clipboard-write"], **context)
        errors: list[str] = []
        made.on("weberror", lambda error: errors.append(str(error.error)))
        yield made, errors
        browser.close()


def looked_at(page: Any, name: str) -> None:
    """Take pictures of the page on a desk and on a phone, light and dark; Axe finds no barrier in what is ours."""
    for scheme in ("light", "dark"):
        for where, size in (("desktop", DESKTOP), ("phone", PHONE)):
            page.set_viewport_size({"width": size[0], "height": size[1]})
            if folder := os.environ.get(PICTURES):
                page.screenshot(path=Path(folder) / f"{name}-{where}-{scheme}.png", full_page=True)
            found = Axe().run(page, "[aria-label=Verdict]").response["violations"]
            barriers = [f"{one['id']}: {node['html']}" for one in found for node in one["nodes"]]
            assert barriers == [], (name, where, scheme)
        page.set_viewport_size({"width": DESKTOP[0], "height": DESKTOP[1]})
        page.locator("header button").last.click()  # Locust's own switch between light and dark


def test_a_run_is_started_watched_and_stopped(
    command: Callable[..., list[str]],
    environment: Callable[..., dict[str, str]],
    port: int,
    tmp_path: Path,
) -> None:
    """Our tab is the first and open; the form asks for no host; a finding shows while the run lasts, can be copied, and
    has its picture at the end; Locust's own header counts it; a second run begins with none."""
    arguments = command("--defect", "backend=duplicate-push:0.02", "--faults", "pause:auth@3s+2s")
    with web_ui(arguments, environment(), port, tmp_path / "log", 1) as ui, pages() as (browser, errors):
        page = browser.new_page()
        page.set_default_timeout(RUN_MS)
        page.goto(str(ui.base_url))
        page.locator("input[name=userCount]").fill("10")
        page.locator("input[name=spawnRate]").fill("10")
        assert page.locator("input[name=host]").count() == 1
        assert not page.locator("input[name=host]").is_visible()
        page.get_by_role("button", name=re.compile("start", re.IGNORECASE)).click()
        ours = page.get_by_role("tab", name="Verdict")
        ours.wait_for()
        assert ours.get_attribute("aria-selected") == "true"
        left = [page.get_by_role("tab").nth(n).bounding_box()["x"] for n in range(page.get_by_role("tab").count())]
        assert ours.bounding_box()["x"] == min(left)
        verdict = page.get_by_label("Verdict", exact=True)
        verdict.locator("h1", has_text="FAIL – run still in progress").wait_for()
        verdict.locator("h3", has_text="I6 no-duplication").wait_for()
        verdict.locator(".fault").wait_for(state="attached")
        looked_at(page, "live")
        verdict.get_by_role("button", name="Copy this finding of I6").first.click()
        assert "again, after it had been delivered there already" in page.evaluate("navigator.clipboard.readText()")
        page.get_by_role("tab", name="Failures").click()
        page.get_by_text("I6 no-duplication").wait_for()
        assert verdict.count() == 0
        ours.click()
        page.get_by_role("button", name=re.compile("^stop$", re.IGNORECASE)).click()
        verdict.locator("h1", has_text=re.compile("^FAIL$")).wait_for()
        shown = verdict.locator("img").first
        shown.scroll_into_view_if_needed()
        page.wait_for_function("image => image.naturalWidth > 0", arg=shown.element_handle())
        looked_at(page, "ended")
        with browser.expect_page() as opened:
            verdict.get_by_role("link", name=re.compile("duplicate|ordering")).first.click()
        assert "FAIL" in opened.value.locator("body").inner_text()
        page.get_by_role("button", name=re.compile("^new$", re.IGNORECASE)).click()
        page.get_by_role("button", name=re.compile("start", re.IGNORECASE)).click()
        page.get_by_role("tab", name="Verdict").click()
        verdict.locator("h1", has_text=re.compile("Nothing broken so far|FAIL – run")).wait_for()
        assert verdict.locator(".at-runs tr").count() == 2
        assert errors == []
