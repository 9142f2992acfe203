"""What comes with the tool: stories to list and to copy, a version, and a sentence where an extra is missing."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from earwitness.harness.cli import main
from earwitness.harness.errors import PlatformError
from earwitness.harness.platform.stack import require_platform
from earwitness.harness.shipped import story_files

ROOT = Path(__file__).parents[1]


def test_every_story_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    """By name, with the first line of its docstring: none is dropped."""
    assert main(["stories"]) == 0
    lines = capsys.readouterr().out.splitlines()
    names = sorted(path.stem for path in (ROOT / "locustfiles").glob("*.py"))
    assert [line.split()[0] for line in lines[: len(names)]] == names
    assert [path.stem for path in story_files()] == names
    assert all(len(line.split()) > 3 for line in lines[: len(names)])


def test_copies_keep_what_is_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Stories and examples; a file of the user is not written over."""
    mine = tmp_path / "locustfiles" / "soak.py"
    mine.parent.mkdir()
    mine.write_text("# mine\n")
    assert main(["stories", "--copy", str(tmp_path)]) == 0
    assert mine.read_text() == "# mine\n"
    assert (tmp_path / "locustfiles" / "ws_ordering.py").read_bytes() == (
        ROOT / "locustfiles/ws_ordering.py"
    ).read_bytes()
    assert (tmp_path / "examples" / "tiny_chat" / "key.txt").exists()
    assert "next: earwitness run" in capsys.readouterr().err


def test_a_folder_that_is_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One sentence, exit 2."""
    (tmp_path / "locustfiles").write_text("")
    assert main(["stories", "--copy", str(tmp_path)]) == 2
    assert "the files cannot be copied there" in capsys.readouterr().err


def test_a_platform_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence names what is missing, the command, and the way without it."""
    require_platform()
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "redis" else found(name))
    with pytest.raises(PlatformError, match=r"\(redis missing\).*pip install 'earwitness\[platform\]'.*--target FILE"):
        require_platform()


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    """The installed one."""
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("earwitness 0.")
