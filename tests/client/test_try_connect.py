"""Trying a credential at a socket: whether it opens, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from earwitness.harness.client.dialogue import PlainDialogue
from earwitness.harness.client.events import OTHER, WELCOME, Handshake, Heard
from earwitness.harness.client.gevent_shell import TRANSPORT, Refused
from earwitness.harness.client.try_connect import OPENED, knock


def hear(data: str | bytes) -> Sequence[Heard]:
    kind = WELCOME if "welcome" in str(data) else OTHER
    return [(kind, None, None, -1, None, None, {})]


def dialogue(url: str) -> PlainDialogue:
    return PlainDialogue(Handshake(url=url), hear, lambda *message: "")


@pytest.mark.parametrize(
    ("path", "status"), [("welcome", OPENED), ("refuse/403", 403), ("close/4401", 4401), ("silent", 1006)]
)
def test_a_door_opens_or_says_why_not(server: Any, path: str, status: int) -> None:
    """A greeting, an HTTP status, a close code; 1006 for a socket that opens and is not greeted in time."""
    before = TRANSPORT.snapshot()
    assert knock(dialogue(f"{server.url}/{path}"), timeout_s=2.0) == status
    assert TRANSPORT.since(before) == dict.fromkeys(TRANSPORT.since(before), 0), "counted as if it had been recorded"


def test_nobody_there_is_no_answer() -> None:
    """A refused connection is neither accepted nor refused."""
    assert knock(dialogue("ws://127.0.0.1:1/"), timeout_s=2.0) == 0


@pytest.mark.parametrize(("by_frame", "status"), [(True, 1006), (False, 0)])
def test_a_frame_that_refuses_is_an_answer(server: Any, by_frame: bool, status: int) -> None:
    """A refusal by a frame is one; a frame that the dialect cannot use proves neither side."""

    def refusing(data: str | bytes) -> Sequence[Heard]:
        raise Refused("step 1 was answered with 'no'", by_frame=by_frame)

    door = PlainDialogue(Handshake(url=f"{server.url}/welcome"), refusing, lambda *message: "")
    assert knock(door, timeout_s=2.0) == status
