"""`report.html` in a real Chromium, with scripts switched off: each part is there and filled, and can be used.

Without Playwright or Chromium these tests are skipped with the command that installs what is missing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.async_playwright import Axe
from reported import failed_run, imported_run

from pytest_suite import browser as chrome

RUNS: dict[str, Callable[[Path], Path]] = {
    "failed": failed_run,
    "torn": lambda path: failed_run(path, torn=True),
    "imported": imported_run,
}
FOUND = "section#counterexamples article:first-of-type"
PARTS = {
    "outcome": ("header h1", "FAIL"),
    "one sentence why": ("header .why", "broken: I4 gap-free"),
    "one picture": ("main > figure svg.swim", ""),
    "health of the generator": ("#facts", "load generator"),
    "duration": ("#facts", "s of records"),
    "what was planned": ("#facts", "planned"),
    "what was reached": ("#facts", "3 users, 3 connections"),
    "throughput": ("#plots", "Messages a second"),
    "latency from the real start": ("#plots", "Acknowledgement, by the time of sending"),
    "latency from the planned start": ("#plots", "from the planned start"),
    "fan-out over time": ("#plots", "Fan-out: from a message's sending to its receipt"),
    "connections": ("#plots", "Open connections"),
    "errors": ("#plots", "Failed requests and lost connections a second"),
    "processor": ("#plots", "Processor time, per cent of one core"),
    "memory": ("#plots", "Memory"),
    "fan-out latency by room size": ("#rooms", "p99 ms"),
    "reach by room size": ("#rooms", "reach"),
    "question of a check": ("#check-I4 .question", "without a gap?"),
    "examined and violations": ("#check-I4", "deliveries · "),
    "upper bound": ("#check-I1", "violation rate below "),
    "contract line": ("#check-I4 .contract", 'contract: sequence = "contiguous" (promised)'),
    "link to its page": ('#check-I4 a[href="#page-I4"]', "how it is judged"),
    "its page": ("#page-I4", "a gap across LEAVE or another connection"),
    "sentence of a counterexample": (f"{FOUND} .sentence", "never received number"),
    "swim-lane": ("article.witness > .lanes svg.swim", "never receives"),
    "its legend": ("article.witness > .lanes label", ""),
    "its records": (f"{FOUND} .records li", "load-0:|import:"),
    "arrow that is wrong": ("main > figure svg .wrongtip, article.witness > .lanes svg .wrongtip", ""),
    "why it is wrong": ("main > figure svg .nevertext, article.witness > .lanes svg .nevertext", "skips number"),
    "record that is wrong": (f"{FOUND} .records li.wrong", "skips number"),
    "its time": (FOUND, "s of the run"),
    "link to the runbook": ('#counterexamples a[href^="#runbook-"]', "docs/runbooks/I4.md"),
    "runbook": ("#runbook-I4", "What to examine next"),
    "command to see it again": (FOUND, "--only I4 --witness 1"),
    "link to the first violation": ('main > p a[href="#first-error"]', "the violation that happened first"),
    "how often it broke": ("header .broken li", "received numbers|jumped over numbers"),
    "health of the tester": ("#health", "H1 record-complete"),
    "losses by sender": ("#losses", "prefix|no delivery counts as owed"),
    "not exercised": ("#not-exercised", "I36"),
    "what would exercise it": ("#not-exercised", "earwitness run rate_limits"),
    "words": ("#words", "room r7, with 4 members"),
    "command to repeat": ("#again pre", "earwitness check "),
}
"""Parts of the page: where each is, and words of it (one of several)."""
ONLY = {
    "failed": {
        "raw frames": (f"{FOUND} pre.frame", "[secret]"),
        "faults shaded": ("#plots rect.fault", ""),
        "seed and command": ("#again pre", "earwitness run ws_ordering --headless --seed 42 -u 3 -r 3 -t 1s"),
        "losses": ("#losses table", "ann"),
        "reach": ("#rooms table", "66.67 %"),
        "processor drawn": ('#plots figure[aria-label^="Processor"] svg', "load-0"),
        "memory drawn": ('#plots figure[aria-label="Memory"] svg', "backend-1"),
        "planned drawn": ("#plots .legend", "p99 from the planned start"),
    },
    "torn": {
        "raw frames": (f"{FOUND} pre.frame", "[secret]"),
        "what is missing": ("#health", "journal load-0 was never closed"),
        "command": ("#again pre", "earwitness run ws_ordering --headless --seed 42 -u 3 -r 3 -t 1s"),
    },
    "imported": {
        "reach": ("#rooms table", "88.89 %"),
        "losses": ("#losses table", "ann"),
        "not recorded": ("#plots", "Not recorded: an imported history"),
        "command": ("#again pre", "earwitness import "),
    },
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    if missing := chrome.missing():
        pytest.skip(missing)
    folder = tmp_path_factory.mktemp("runs")
    return {name: make(folder / name) for name, make in RUNS.items()}


@asynccontextmanager
async def opened(
    run: Path, size: tuple[int, int] = chrome.DESKTOP, scripts: bool = False, **context: Any
) -> AsyncIterator[Any]:
    """Open the page of a run in a browser, without scripts unless `scripts`; it must ask for nothing but itself."""
    asked: list[str] = []
    async with chrome.chromium() as browser:
        width, height = size
        made = await browser.new_context(
            viewport={"width": width, "height": height}, java_script_enabled=scripts, **context
        )
        page = await made.new_page()
        page.on("request", lambda request: asked.append(request.url))
        await page.goto((run / "report.html").as_uri())
        yield page
    assert [url.partition("#")[0] for url in asked] == [(run / "report.html").as_uri()] * len(asked)


@pytest.mark.parametrize("kind", list(RUNS))
async def test_each_part_is_filled(kind: str, runs: dict[str, Path]) -> None:
    """In the page of a failed, a torn and an imported run: visible, and with its words."""
    lacking = []
    async with opened(runs[kind]) as page:
        for name, (where, words) in {**PARTS, **ONLY[kind]}.items():
            found = page.locator(where)
            texts = " ".join(await found.all_text_contents())
            box = await found.first.bounding_box() if texts or await found.count() else None
            if not box or not box["width"] or not box["height"]:
                lacking.append(f"{name}: {where} is not visible")
            elif not any(word in texts for word in words.split("|")):
                lacking.append(f"{name}: {texts[:300]!r} lacks {words!r}")
    assert lacking == []


async def test_jump_and_lanes_with_the_keyboard(runs: dict[str, Path]) -> None:
    """Enter on the link shows the leading violation; Space on a box hides its lane there, and in no other picture."""
    async with opened(runs["failed"]) as page:
        await page.focus('main > p a[href="#leading"]')
        await page.keyboard.press("Enter")
        first = page.locator("article:has(#leading)")
        await first.wait_for()
        box = await first.bounding_box()
        assert 0 <= box["y"] < chrome.DESKTOP[1] / 2
        lanes = page.locator("article.witness:has(> .lanes svg.swim)")
        one, other = lanes.nth(0), lanes.nth(1)
        names = await one.locator(".lanes label").all_text_contents()
        assert len(names) >= 2
        await one.locator("input.h0").focus()
        await page.keyboard.press("Space")
        assert await one.locator("svg .l0 >> visible=true").count() == 0
        assert await one.locator("svg .l1 >> visible=true").count() > 0
        assert await other.locator("svg .l0 >> visible=true").count() > 0
        await page.keyboard.press("Space")
        assert await one.locator("svg .l0 >> visible=true").count() > 0


async def test_on_a_phone_nothing_is_cut_off(runs: dict[str, Path]) -> None:
    """The page is as wide as the screen; pictures and tables scroll inside it and are large enough to read."""
    async with opened(runs["failed"], chrome.PHONE) as page:
        assert await page.evaluate("document.documentElement.scrollWidth") == chrome.PHONE[0]
        plot = await page.locator("#plots svg.plot").first.bounding_box()
        assert plot["width"] >= 640


async def test_dark_and_print(runs: dict[str, Path]) -> None:
    """The reader's scheme decides the colours of the screen; paper is white and has no controls."""
    back = "getComputedStyle(document.body).backgroundColor"
    async with opened(runs["failed"], color_scheme="dark") as page:
        assert await page.evaluate(back) == "rgb(13, 17, 23)"
        await page.emulate_media(media="print")
        assert await page.evaluate(back) == "rgb(255, 255, 255)"
        assert not await page.locator("nav").is_visible()
        assert await page.locator(".lanes input >> visible=true").count() == 0
        assert await page.locator("svg.swim").first.is_visible()
        await page.emulate_media(media="screen", color_scheme="light")
        assert await page.evaluate(back) == "rgb(255, 255, 255)"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [chrome.DESKTOP, chrome.PHONE], ids=["desktop", "phone"])
async def test_everyone_can_read_it(size: tuple[int, int], scheme: str, runs: dict[str, Path]) -> None:
    """Axe finds no barrier: contrast, names of controls, order of headings."""
    async with opened(runs["failed"], size, scripts=True, color_scheme=scheme) as page:
        found = await Axe().run(page)
        assert found.violations_count == 0, found.generate_report()
