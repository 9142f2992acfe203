"""Refreshes that go wrong."""

from __future__ import annotations

import asyncio
from typing import Any

import jwt


def claims_of(token: str) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return claims


async def test_one_token_for_two(defective: Any, email: str, truth_of: Any) -> None:
    """Z46: of two refreshes at once both succeed and both successors live; one after the other is still a reuse."""
    place = defective("Z46:1")
    tokens = await place.log_in(email)
    answers = await asyncio.gather(*(place.refresh(tokens["refresh_token"]) for _ in range(2)))
    assert [answer.status_code for answer in answers] == [200, 200]
    truth = truth_of(place.auth)
    assert [line["user"] for line in truth.fired] == [tokens["user"]["id"]]
    assert len(truth.manifest) == 1
    nexts = [answer.json()["refresh_token"] for answer in answers]
    assert [(await place.refresh(one)).status_code for one in nexts] == [200, 200]
    assert (await place.refresh(tokens["refresh_token"])).json()["error"] == "refresh_token_reused"
    assert len(truth_of(place.auth).fired) == 1


async def test_a_reuse_without_consequence(defective: Any, email: str, truth_of: Any) -> None:
    """Z47: the second use is refused, and the session lives on; it shows with the session's next request."""
    place = defective("Z47:1")
    first = await place.log_in(email)
    second = (await place.refresh(first["refresh_token"])).json()
    assert (await place.refresh(first["refresh_token"])).json()["error"] == "refresh_token_reused"
    assert (len(truth_of(place.auth).fired), truth_of(place.auth).manifest) == (1, [])
    assert (await place.me(second["access_token"])).status_code == 200
    assert len(truth_of(place.auth).manifest) == 1
    assert (await place.refresh(second["refresh_token"])).status_code == 200


async def test_somebody_else_after_a_refresh(defective: Any, email: str, truth_of: Any) -> None:
    """Z48: the token of the second to refresh is the first one's, and auth believes it."""
    place = defective("Z48:1")
    ann, bob = await place.log_in(email), await place.log_in(f"bob-{email}")
    for tokens, who in ((ann, ann), (bob, ann)):
        new = (await place.refresh(tokens["refresh_token"])).json()
        assert claims_of(new["access_token"])["email"] == who["user"]["email"]
        assert (await place.me(new["access_token"])).json()["id"] == who["user"]["id"]
    (fired,) = truth_of(place.auth).fired
    assert (fired["user"], fired["says_sub"]) == (bob["user"]["id"], ann["user"]["id"])
    assert len(truth_of(place.auth).manifest) == 1


async def test_an_administrator_after_a_refresh(defective: Any, email: str, truth_of: Any) -> None:
    """Z48b: the person stays the same, the token permits more than the account."""
    place = defective("Z48b:1")
    tokens = await place.log_in(email)
    new = (await place.refresh(tokens["refresh_token"])).json()
    old, changed = claims_of(tokens["access_token"]), claims_of(new["access_token"])
    assert (changed["sub"], changed["permissions"]) == (old["sub"], ["admin", *old["permissions"]])
    assert (await place.me(new["access_token"])).json()["permissions"] == old["permissions"]
    assert len(truth_of(place.auth).manifest) == 1
