"""Each dialect says which optional parts it has; what it does not say, it does not have."""

from __future__ import annotations

import shutil
from dataclasses import fields
from pathlib import Path

import pytest

from earwitness.harness.dialects.protocol import Parts
from earwitness.harness.dialects.reference.dialect import ReferenceTarget
from earwitness.harness.dialects.registry import load_target

OTHER_CHAT = Path(__file__).parents[1] / "support" / "other_chat"
ENDPOINTS = {
    "edge": "http://127.0.0.1:1", "auth": "http://127.0.0.1:2", "frontend": "http://127.0.0.1:3",
    "auth_dsn": "postgresql://a", "main_dsn": "postgresql://m",
}  # fmt: skip


def had(parts: Parts) -> set[str]:
    return {field.name for field in fields(parts) if getattr(parts, field.name)}


def test_nothing_is_had_by_default() -> None:
    """A dialect that knows none of the parts has none."""
    assert had(Parts()) == set()


def test_parts_of_the_reference_platform() -> None:
    """It has each ability, and what only other platforms need is missing."""
    foreign = {
        "sends_by_http",
        "streams_answers",
        "reads_by_socket",
        "has_rooms",
        "names_rooms",
        "people",
        "faults",
        "unjudged",
        "history_limits",
    }
    assert had(ReferenceTarget(ENDPOINTS).parts) == {field.name for field in fields(Parts)} - foreign


@pytest.mark.parametrize(
    ("file", "more", "parts"),
    [
        ("target.toml", "", {"shares_frames"}),
        ("target.toml", 'room_id = "circle.id"', {"names_rooms", "shares_frames"}),
        ("by_http.toml", "", {"sends_by_http", "has_rooms", "people", "shares_frames"}),
    ],
)
def test_parts_that_a_target_file_describes(file: str, more: str, parts: set[str], tmp_path: Path) -> None:
    """They follow from the tables of the file."""
    shutil.copytree(OTHER_CHAT, tmp_path, dirs_exist_ok=True)
    (tmp_path / file).write_text((OTHER_CHAT / file).read_text().replace("[rooms]", f"[rooms]\n{more}"))
    assert had(load_target(tmp_path / file).parts) == parts
