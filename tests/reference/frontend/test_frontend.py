"""The frontend before real auth and backend services: the page, its settings, the way through to both."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from pytest_suite import browser as chrome

AUDIENCE = "earwitness-tests"
SECRET = "a secret of the tests"


@pytest.fixture(scope="module")
def services(spawn_shared: Any, new_listener: Any, postgres_dsns: Any, redis_url: str) -> dict[str, Any]:
    """provider, auth, backend and frontend, each a process."""
    at = {name: new_listener() for name in ("provider", "auth", "backend", "frontend")}
    client = {"client_id": "earwitness", "client_secret": SECRET}
    settings = {
        "provider": {
            "issuer": at["provider"].url, **client, "redirect_uris": [f"{at['auth'].url}/auth/google/callback"],
        },
        "auth": {
            "public_url": at["auth"].url, "dsn": postgres_dsns.auth, "redis_url": redis_url, **client,
            "provider_issuer": at["provider"].url, "frontend_url": at["frontend"].url, "audience": AUDIENCE,
        },
        "backend": {
            "dsn": postgres_dsns.main, "redis_url": redis_url, "auth_url": at["auth"].url, "issuer": at["auth"].url,
            "audience": AUDIENCE,
        },
        "frontend": {
            "public_url": at["frontend"].url, "auth_url": at["auth"].url, "backend_url": at["backend"].url,
        },
    }  # fmt: skip
    running = {name: spawn_shared(name, s, listener=at[name], wait=False) for name, s in settings.items()}
    return {name: service.wait_ready() for name, service in running.items()}


@pytest.fixture
async def browser(services: dict[str, Any]) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=services["frontend"].url, timeout=10) as client:
        yield client


async def test_the_page_and_all_that_it_asks_for(browser: httpx.AsyncClient) -> None:
    """Page, scripts and style are there, with a policy that lets nothing else in."""
    page = await browser.get("/")
    assert page.status_code == 200
    assert "default-src 'self'" in page.headers["content-security-policy"]
    kinds = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
    asked_for, seen = set(re.findall(r'(?:src|href)="(/[^"]+)"', page.text)), set()
    while asked_for:
        seen.add(path := asked_for.pop())
        answer = await browser.get(path)
        kind = kinds["." + path.rpartition(".")[2]]
        assert (answer.status_code, answer.headers["content-type"]) == (200, f"{kind}; charset=utf-8"), path
        asked_for |= set(re.findall(r'from "(/[^"]+)"', answer.text)) - seen
    assert {"/page.js", "/rooms.js", "/view.js", "/session.js", "/page.css", "/room.css", "/icon.svg"} == seen
    assert (await browser.get("/../settings.py")).status_code == 404


async def test_the_page_learns_where_the_socket_is(browser: httpx.AsyncClient, services: dict[str, Any]) -> None:
    """config.json names auth and the backend's socket, nothing else."""
    config = (await browser.get("/config.json")).json()
    expected = services["backend"].url.replace("http://", "ws://") + "/ws"
    assert config == {"auth_url": services["auth"].url, "ws_url": expected}


async def test_a_login_as_the_page_does_it(browser: httpx.AsyncClient, services: dict[str, Any]) -> None:
    """return_to with a challenge, the one-time code exchanged through the frontend, then the API through it."""
    verifier = secrets.token_urlsafe(32)
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    email = f"page-{uuid.uuid4().hex[:8]}@example.test"
    query = {"return_to": services["frontend"].url + "/", "challenge": challenge, "login_hint": email}
    arrived = await browser.get(f"{services['auth'].url}/auth/google", params=query, follow_redirects=True)
    assert arrived.url.host == urlsplit(services["frontend"].url).hostname
    code = parse_qs(arrived.url.query.decode())["code"][0]
    wrong = await browser.post("/auth/exchange", json={"code": "no-such-code", "verifier": verifier})
    assert wrong.status_code == 400
    answer = await browser.post("/auth/exchange", json={"code": code, "verifier": verifier})
    assert answer.status_code == 200, answer.text
    bearer = {"Authorization": f"Bearer {answer.json()['access_token']}"}
    me = (await browser.get("/api/me", headers=bearer)).json()
    assert (me["id"], me["email"]) == (answer.json()["user"]["id"], email)
    key = "a room/with ünusual%name"
    made = await browser.put(
        "/api/conversations/" + httpx.URL("http://x", params={"k": key}).query.decode().removeprefix("k="),
        json={"members": [email], "title": "Room"},
        headers=bearer,
    )
    assert made.status_code == 201, made.text
    ticket = await browser.post("/auth/ticket", headers=bearer)
    assert ticket.json()["ticket"]


async def test_refusals_pass_through_as_they_are(browser: httpx.AsyncClient) -> None:
    """401 with its challenge and JSON comes from the backend, not from the frontend."""
    answer = await browser.get("/api/me")
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert answer.json()["error"] == "no_token"
    assert (await browser.get("/auth/me")).status_code == 401


async def test_a_backend_that_is_away(spawn_service: Any, services: dict[str, Any], new_listener: Any) -> None:
    """503 with Retry-After and a sentence; not ready; the page is still served."""
    nowhere = new_listener()
    nowhere.socket.close()
    settings = {"public_url": "http://127.0.0.1:1", "auth_url": services["auth"].url, "backend_url": nowhere.url}
    frontend = spawn_service("frontend", settings, wait=False)
    async with httpx.AsyncClient(base_url=frontend.url, timeout=20) as client:
        ready = await client.get("/ready")
        assert (ready.status_code, ready.json()["waiting_for"]) == (503, "the backend")
        answer = await client.get("/api/me")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert (await client.get("/")).status_code == 200


async def test_the_keyboard_begins_a_conversation(services: dict[str, Any], tmp_path: Path) -> None:
    """In a real browser: Enter in the title begins it, Cancel and Escape do not; list and conversation have a main
    landmark and one heading of the first level, on a phone too."""
    if missing := chrome.missing():
        pytest.skip(missing)
    size = chrome.PHONE
    async with (
        chrome.chromium() as browser,
        chrome.visitor(browser, services["frontend"].url, tmp_path, size) as person,
    ):
        page = await person.log_in(f"keys-{uuid.uuid4().hex[:8]}@example.test")
        listed = page.locator("#conversations a")

        async def landmarks() -> tuple[int, int]:
            main = page.get_by_role("main")
            return await main.count(), await main.get_by_role("heading", level=1).count()

        assert await landmarks() == (1, 1)
        for way in ("Cancel", "Escape"):
            await page.click("#new")
            await page.fill("#make-name", f"not by {way}")
            if way == "Cancel":
                await page.get_by_role("button", name="Cancel").click()
            else:
                await page.press("#make-name", "Escape")
            await page.locator("#make").wait_for(state="hidden")
        await page.click("#new")
        await page.press("#make-name", "Enter")  # without a title: nothing begins, nothing closes
        assert await page.locator("#make").is_visible()
        await page.fill("#make-name", "By keyboard")
        await page.press("#make-name", "Enter")
        await page.get_by_role("heading", name="By keyboard", level=2).wait_for()
        assert await landmarks() == (1, 1)
        await page.click("#back")
        await listed.first.wait_for()
        assert await listed.locator("b").all_text_contents() == ["By keyboard"]
        assert person.complaints == []
