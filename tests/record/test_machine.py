"""What a run was measured on: equal for equal machines and testers, different where figures may differ."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from earwitness.harness.record import machine as described
from earwitness.harness.record.machine import ROOT, commit, machine, source_digest, versions

SOME, OTHER = "1" * 40, "2" * 40


@pytest.fixture
def tester(tmp_path: Path) -> Path:
    """A checkout with two files of the tester and one of the reference platform."""
    for name in ("checks/judge.py", "harness/client/wire.py", "harness/reference/backend.py"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("x = 1\n")
    return tmp_path


def test_the_hash_is_that_of_the_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice the same here; another one with another processor, or less of it."""
    one = machine()
    assert machine() == one
    assert len(one["hash"]) == 16
    assert one["processors"] >= 1
    assert one["memory_gib"] >= 1
    monkeypatch.setattr(described, "_cpu_quota", lambda: 0.25)
    limited = machine()
    assert limited["hash"] != one["hash"]
    assert limited["cpu_quota"] == 0.25


def test_neither_name_nor_address_of_the_machine_is_in_it() -> None:
    assert set(machine()) == {"hash", "architecture", "cpu", "processors", "cpu_quota", "memory_gib"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [("max 100000", None), ("50000 100000", 0.5), ("400000 100000\n", 4.0), ("", None), ("1 0", None)],
)
def test_the_quota_of_a_control_group(tmp_path: Path, text: str, expected: float | None) -> None:
    (tmp_path / "cpu.max").write_text(text)
    assert described._cpu_quota(tmp_path / "cpu.max") == expected
    assert described._cpu_quota(tmp_path / "none") is None


def test_the_digest_is_that_of_the_tester_and_not_of_the_platform(tester: Path) -> None:
    before = source_digest.__wrapped__(tester)
    (tester / "harness/reference/backend.py").write_text("x = 2\n")
    assert source_digest.__wrapped__(tester) == before
    (tester / "harness/client/wire.py").write_text("x = 2\n")
    changed = source_digest.__wrapped__(tester)
    assert changed != before
    shutil.move(tester / "harness/client/wire.py", tester / "harness/client/wires.py")
    assert source_digest.__wrapped__(tester) not in (before, changed)


def test_versions_name_the_tester_the_story_and_the_packages(tmp_path: Path) -> None:
    (tmp_path / "story.py").write_text("")
    found = versions(tmp_path / "story.py")
    assert found["source"] == source_digest(ROOT)
    assert found["story"] == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"  # SHA-256 of nothing
    assert {"locust", "gevent", "numpy"} <= found["packages"].keys()
    assert versions()["story"] is None


def test_the_commit_of_a_checkout(tmp_path: Path) -> None:
    """A branch, a packed branch, a commit without a branch, a worktree; none outside of a checkout."""
    commit_of = commit.__wrapped__
    assert commit_of(tmp_path) is None
    git = tmp_path / ".git"
    (git / "refs/heads").mkdir(parents=True)
    (git / "HEAD").write_text("ref: refs/heads/main\n")
    (git / "packed-refs").write_text(f"# pack-refs\n{OTHER} refs/heads/old\n{SOME} refs/heads/main\n")
    assert commit_of(tmp_path) == SOME
    (git / "refs/heads/main").write_text(f"{OTHER}\n")
    assert commit_of(tmp_path) == OTHER
    (git / "HEAD").write_text(f"{SOME}\n")
    assert commit_of(tmp_path) == SOME
    place = git / "worktrees/w"
    place.mkdir(parents=True)
    (place / "HEAD").write_text("ref: refs/heads/main\n")
    (place / "commondir").write_text("../..\n")
    (tmp_path / "w").mkdir()
    (tmp_path / "w/.git").write_text(f"gitdir: {place}\n")
    assert commit_of(tmp_path / "w") == OTHER
