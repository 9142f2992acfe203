"""Callbacks and first logins that go wrong."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import httpx


async def to_callback(place: Any, browser: httpx.AsyncClient, email: str) -> tuple[str, str]:
    """(address at the provider, the callback that it sends this browser to)."""
    begun = await browser.get(place.start_url(login_hint=email))
    answered = await browser.get(begun.headers["location"])
    return str(begun.headers["location"]), str(answered.headers["location"])


async def test_a_callback_in_another_browser(defective: Any, browser: Any, email: str, truth_of: Any) -> None:
    """Z49: whoever follows the link is logged in as the one who began."""
    place = defective("Z49:1")
    _, callback = await to_callback(place, browser, email)
    async with httpx.AsyncClient(timeout=30) as victim:
        answer = await victim.get(callback)
    assert (answer.status_code, answer.json()["user"]["email"]) == (200, email)
    (fired,) = truth_of(place.auth).fired
    assert fired["refused_as"] == "other_browser"
    assert len(truth_of(place.auth).manifest) == 1


async def test_a_state_that_comes_again(defective: Any, browser: Any, email: str, truth_of: Any) -> None:
    """Z49: with a new code the same state is good again; with a spent one the provider refuses, and nothing shows."""
    place = defective("Z49:1")
    address, callback = await to_callback(place, browser, email)
    assert (await browser.get(callback)).status_code == 200
    assert (await browser.get(callback)).json()["error"] == "code_refused"
    assert truth_of(place.auth).manifest == []
    again = (await browser.get(address)).headers["location"]
    assert (await browser.get(again)).json()["user"]["email"] == email
    truth = truth_of(place.auth)
    assert [line["refused_as"] for line in truth.fired] == ["invalid_state"] * 2
    assert [line["firing"] for line in truth.manifest] == [2]
    assert (await browser.get(callback.replace("state=", "state=x"))).json()["error"] == "invalid_state"


async def test_two_accounts_of_one_person(defective: Any, own_database: str, email: str, truth_of: Any) -> None:
    """Z61: racing first logins make two rows and ids; a later login makes none, and a changed e-mail is a change."""
    place = defective("Z61:1", dsn=own_database)
    answers = await asyncio.gather(*(place.log_in(email) for _ in range(2)))
    ids = {answer["user"]["id"] for answer in answers}
    assert len(ids) == 2
    assert (await place.log_in(email))["user"]["id"] in ids
    database = await asyncpg.connect(own_database)
    assert await database.fetchval("SELECT count(*) FROM auth_users WHERE email = $1", email) == 2
    (fired,) = truth_of(place.auth).fired
    assert fired["user"] in ids
    assert len(truth_of(place.auth).manifest) == 1
    alone = f"alone-{email}"
    first = await place.log_in(alone)
    await database.execute("UPDATE auth_users SET email = 'old@example.test' WHERE email = $1", alone)
    assert (await place.log_in(alone))["user"] == first["user"]
    await database.close()
    assert len(truth_of(place.auth).fired) == 1
