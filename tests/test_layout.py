"""The tests lie as the product does, and the product has one import name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TESTS = ROOT / "tests"
SUPPORT = {"support", "load/stories"}
"""What tests use, and no tests."""


def room_of(folder: Path) -> Path:
    """Return where the product keeps what the tests of a folder test; defects of a service are tested beside it."""
    parts = [part for part in folder.relative_to(TESTS).parts if part != "defects"]
    top = ROOT if parts[0] in ("checks", "pytest_suite") else ROOT / "harness"
    return top.joinpath(*parts)


def test_each_folder_of_tests_is_a_room_of_the_product() -> None:
    folders = {file.parent for file in TESTS.rglob("test_*.py")} - {TESTS, *(TESTS / name for name in SUPPORT)}
    assert [str(folder) for folder in sorted(folders) if not room_of(folder).is_dir()] == []


@pytest.mark.parametrize("name", ["checks", "harness"])
def test_the_old_names_are_refused_in_one_sentence(name: str) -> None:
    """Imported under two names a module would be loaded twice, and its classes would not be the same."""
    done = subprocess.run([sys.executable, "-c", f"import {name}"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == f"ImportError: import earwitness.{name} instead of {name}"
