"""Sessions of known protocols with mistakes in them: a draft, never an exception."""

from __future__ import annotations

import json
import random
import tomllib
from pathlib import Path

import mutations
import pytest
from mutated_frames import COUNT

from earwitness.harness.draft.recording import read_recording
from earwitness.harness.draft.writing import draft_of
from earwitness.harness.errors import TargetError
from tests.draft.test_dialects import SESSIONS
from tests.support.recorder import har, socket


@pytest.mark.parametrize("dialect", SESSIONS)
def test_mutated_sessions(dialect: str, tmp_path: Path) -> None:
    """Frames are damaged as trees and as texts; what is drafted is TOML."""
    url, offered, frames = SESSIONS[dialect]
    headers = {"Sec-WebSocket-Protocol": offered} if offered else {}
    rng, file, drafts = random.Random(5), tmp_path / "session.har", 0
    for _ in range(COUNT // 20):
        changed = list(frames)
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(changed))
            way, data = changed[at]
            if isinstance(data, str):
                changed[at] = (way, mutations.text(rng, data))
            else:
                changed[at] = (way, mutations.as_json(mutations.tree(rng, json.loads(json.dumps(data)))))
        file.write_text(json.dumps(har(socket(url, changed, headers=headers))))
        try:
            text = draft_of(read_recording(file), "session.har")
        except TargetError:
            continue
        tomllib.loads(text)
        drafts += 1
    assert drafts > COUNT // 40
