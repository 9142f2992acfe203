from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from earwitness.harness.dialects.toml.description import Description, read_description
from earwitness.harness.draft.recording import read_recording
from earwitness.harness.draft.writing import draft_of
from tests.support.recorder import har, write

KEY = "a-key-of-thirty-two-characters-at-least"


class Drafted:
    """A draft: its text, its tables, and what the reader of target files makes of it."""

    def __init__(self, text: str, description: Description) -> None:
        self.text, self.description = text, description
        self.tables: dict[str, Any] = tomllib.loads(text)


@pytest.fixture
def drafted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Drafted]:
    """Draft a recording, given by its entries or its file. Each draft is checked to be a valid target file."""
    monkeypatch.setenv("CHAT_TEST_KEY", KEY)
    (tmp_path / "tokens.txt").write_text("a-ready-token\n")

    def draft(*entries: Any) -> Drafted:
        file = (
            entries[0] if entries and isinstance(entries[0], Path) else write(tmp_path / "session.har", har(*entries))
        )
        text = draft_of(read_recording(file), file.name)
        target = tmp_path / "draft.toml"
        target.write_text(text)
        return Drafted(text, read_description(target))

    return draft
