"""Kinds of frames: what looks alike is one."""

from __future__ import annotations

import pytest

from earwitness.harness.probe.kinds import kind_of


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ('{"type": "a", "x": 1}', '{"type": "a", "y": 2}', True),
        ('{"type": "a"}', '{"type": "b"}', False),
        ('{"room": 1, "text": "x"}', '{"text": "y", "room": 2}', True),
        ('42["said", {"n": 1}]', '42["said", {"n": 2}]', True),
        ('42["said", {}]', '42["left", {}]', False),
        ('421["x"]', '437["x"]', True),
        ("2", "3", True),
        ("PING 1", "INFO {", False),
        (b"\x90\x02\x00", b"\x90\x02\x07", True),
        (b"\x90\x02", b"\x40\x02", False),
        ('["a1", "b"]', '["a2", "b"]', True),
    ],
)
def test_frames_of_one_kind(one: str | bytes, other: str | bytes, same: bool) -> None:
    """Values that tell kinds apart do, numbers and keys of a body do not."""
    assert (kind_of(one) == kind_of(other)) is same


@pytest.mark.parametrize("odd", ["", "{", "[" * 100_000, "\x00", b"", b"{\xff", '{"type": {"a": 1}}', "null", '42["'])
def test_odd_frames(odd: str | bytes) -> None:
    """Whatever comes has a kind, and a short one."""
    assert len(kind_of(odd)) < 200
