"""Promises that a rehearsal saw kept: what the numbers of a few messages say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from earwitness.harness.client.body import encode
from earwitness.harness.client.events import ACK, MESSAGE
from earwitness.harness.dialects.protocol import Credentials
from earwitness.harness.dialects.registry import load_target
from earwitness.harness.probe.proposals import proposals
from earwitness.harness.probe.rehearsal import Frame, Rehearsal, Voice

OTHER = Path(__file__).parents[1] / "support" / "other_chat"


@pytest.fixture
def rehearsal(person: Callable[..., Any], room: Callable[..., Any], tmp_path: Path) -> Callable[..., Rehearsal]:
    """`rehearsal(numbers of ann's frames, numbers of bob's)`: message k of both lists is the same one."""

    def build(*numbers: list[int], contract: str = "", base: str = "target.toml") -> Rehearsal:
        file = tmp_path / "chat.toml"
        (tmp_path / "people.json").write_text((OTHER / "people.json").read_text())
        promised = (
            (OTHER / base).read_text().replace('sequence = "none"', "").replace("[contract]", f"[contract]\n{contract}")
        )
        file.write_text(promised)
        made = Rehearsal(target=load_target(file), room=room(), tag="t0")
        for k, heard in enumerate(numbers):
            voice = Voice(person(k), Credentials(person=person(k), user_id=f"u{k}", token="x" * 20))
            made.voices.append(voice)
            for counter, number in enumerate(heard, start=1):
                text = encode("t0", 0, 0, counter, 1, 1, f"message {counter}")[0]
                event = (MESSAGE, "t0-r0", text, number, "u0", None, None)
                voice.frames.append(Frame(voice.person, "{}", (event,)))
                made.voices[0].sent[f"t0-0-{counter}"] = text
        return made

    return build


@pytest.mark.parametrize(
    ("ann", "bob", "line", "seen"),
    [
        ([1, 2, 3], [1, 2, 3], 'sequence = "contiguous"', "3 messages had the numbers 1 to 3, each once"),
        ([1, 4, 6], [1, 4, 6], 'sequence = "increasing"', "3 messages had numbers from 1 to 6, with gaps"),
        ([1, 1, 2], [1, 1, 2], 'sequence = "contiguous"', "not kept here: number 1 was given to 2 messages"),
        ([1, 2, 3], [2, 1, 3], 'sequence = "contiguous"', "not kept here: two users received a message with different"),
        ([2, 1, 3], [2, 1, 3], 'sequence = "contiguous"', "not kept here: numbers from 1 to 3 did not come in their"),
    ],
)
def test_numbers(rehearsal: Callable[..., Rehearsal], ann: list[int], bob: list[int], line: str, seen: str) -> None:
    """Numbers without a promise are proposed as one, with what was seen for or against it."""
    proposed = dict(proposals(rehearsal(ann, bob)))
    assert proposed[line].startswith(seen)


def test_nothing_to_propose(rehearsal: Callable[..., Rehearsal]) -> None:
    """Without numbers, with a promise of them, or without any message nothing is said of numbers."""
    assert not dict(proposals(rehearsal([-1, -1], [-1, -1])))
    assert not dict(proposals(rehearsal([], [])))


def test_other_peoples_messages_take_numbers(rehearsal: Callable[..., Rehearsal]) -> None:
    """In a room that was there before only growing numbers can be promised."""
    made = rehearsal([3, 4], [3, 4], base="by_http.toml", contract="")
    made.target.contract = type(made.target.contract)(sequence="none")
    assert 'sequence = "increasing"' in dict(proposals(made))


def test_promises_that_were_denied(rehearsal: Callable[..., Rehearsal]) -> None:
    """What the file denies and the platform does all the same."""
    denied = "echo = false\nunchanged = false\nnames_sender = false\nacknowledges = false\ntotal_order = false"
    made = rehearsal([-1, -1], [-1, -1], contract=denied)
    ann = made.voices[0]
    ann.frames += [Frame(ann.person, "{}", ((ACK, None, None, -1, None, one, None),)) for one in ann.sent]
    proposed = dict(proposals(made))
    assert set(proposed) == {
        f"{name} = true" for name in ("echo", "unchanged", "names_sender", "acknowledges", "total_order")
    }
    made.voices[1].frames.reverse()
    assert "total_order = true" not in dict(proposals(made))
    made.voices[1].frames.pop()
    assert "unchanged = true" not in dict(proposals(made))
