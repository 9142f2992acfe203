"""A session that keeps frames: each record finds the frame that it was made of, and no secret is in any."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from earwitness.checks.history.record import Kind
from earwitness.harness.client.body import encode
from earwitness.harness.client.frame_capture import KeepingSession
from earwitness.harness.dialects.protocol import Credentials, Person
from earwitness.harness.record.frames import FrameStore, frames_of
from earwitness.harness.record.journal import Journal
from tests.client.spoken import dialogue

PERSON = Person(number=3, name="ann", email="ann@people.example", secret="correct-horse-battery")


def credentials(token: str) -> Credentials:
    answer = {"refresh_token": "refresh-of-a-long-kind", "user": {"id": "user-id-of-some-length"}, "expires_in": 60}
    return Credentials(person=PERSON, user_id="u3", token=token, extra={"answer": answer})


class Kept:
    """A keeping session on a real journal, and what was kept of each record."""

    def __init__(self, folder: Path, make_stage: Any) -> None:
        self.journal, self.store = Journal.create(folder, "load-0", meta={}), FrameStore.create(folder, "load-0")
        self.credentials = credentials("token-number-one")
        # The same dialect as the other tests of sessions: the factory's own session is not used.
        plain = make_stage().session
        self.session = KeepingSession(
            client=3, tag="run1", journal=self.journal, rooms={"a": 0},
            tally=plain._tally, frames=self.store, credentials=lambda: self.credentials,
        )  # fmt: skip
        self.session.connected(dialogue(), 100, 5)

    def close(self) -> list[tuple[Kind, str | None]]:
        self.store.close()
        self.journal.close({})
        frames = frames_of(self.journal.path)
        records = self.journal.path.read_bytes()
        kinds = [Kind(records[64 * n + 8]) for n in range(len(records) // 64)]
        return [(kind, frame.text() if (frame := frames.of(n)) else None) for n, kind in enumerate(kinds, start=1)]


@pytest.fixture
def kept(tmp_path: Path, make_stage: Any) -> Kept:
    return Kept(tmp_path, make_stage)


def heard(counter: int, **more: Any) -> dict[str, Any]:
    return {"k": "message", "c": "a", "t": encode("run1", 7, 0, counter, 1, 1, "x")[0], "q": counter, **more}


def test_each_record_finds_its_frame(kept: Kept) -> None:
    """What was said, and what was heard: two messages of one frame have the same one; a lost connection has none."""
    said = kept.session.send(200, "a", "hello")
    both = json.dumps([heard(1), heard(2)])
    kept.session.heard(300, both)
    kept.session.heard(301, json.dumps({"k": "nothing we know"}))
    kept.session.closed(400, 1006, False)
    assert kept.close() == [
        (Kind.CONNECT, None),
        (Kind.INVOKE, said),
        (Kind.DELIVER, both),
        (Kind.DELIVER, both),
        (Kind.INFO, None),
        (Kind.DISCONNECT, None),
    ]


def test_tokens_are_not_kept(kept: Kept, tmp_path: Path) -> None:
    """Tokens that a platform sends back, also refreshed ones, are blotted out; ids stay, the witness needs them."""
    held = ["token-number-one", "refresh-of-a-long-kind", "correct-horse-battery"]
    kept.session.heard(300, json.dumps(heard(1, you=[*held, "user-id-of-some-length"])))
    kept.credentials = credentials("token-number-two")
    kept.session.heard(301, json.dumps(heard(2, you="token-number-two")))
    told = kept.close()
    assert [text.count("[secret]") for _, text in told if text] == [3, 1]
    assert "user-id-of-some-length" in str(told[1][1])
    data = (tmp_path / "load-0.frames").read_bytes()
    assert [secret for secret in (*held, "token-number-two") if secret.encode() in data] == []


def test_an_answer_of_a_hook_has_its_own_frame(kept: Kept) -> None:
    """A hook that says something while a frame is being heard: both frames stay with their records."""
    answers: list[Any] = []
    kept.session.on_message = lambda event: answers.append(kept.session.send(300, "a", "at once"))
    frame = json.dumps([heard(1), heard(2)])
    kept.session.heard(300, frame)
    assert [text for _, text in kept.close()] == [None, frame, answers[0], frame, answers[1]]
