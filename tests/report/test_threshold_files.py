"""Thresholds in pyproject.toml, earwitness.toml and options: read by one mechanism, all faults at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from earwitness.harness.errors import SettingsError
from earwitness.harness.report.thresholds import merged, read_given


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("tool = 5", "tool = 5 is not a table"),
        ("[tool]\nearwitness = 5", "tool.earwitness = 5 is not a table"),
        ("[tool.earwitness]\nthreshold = []", "tool.earwitness.threshold is not known here (did you mean thresholds?)"),
        ("[tool.earwitness]\nthresholds = 1", "tool.earwitness.thresholds = 1 is not a list of texts; for example"),
    ],
)
def test_faults_of_pyproject(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, sentence: str) -> None:
    """Other tools' tables are not read; ours has its key, what is wrong and a line that would do."""
    monkeypatch.chdir(tmp_path)
    Path("pyproject.toml").write_text(f"{text}\n[tool2.black]\nx = 1\n" if "tool =" in text else f"{text}\n")
    with pytest.raises(SettingsError) as caught:
        read_given(())
    assert sentence in str(caught.value)


def test_faults_of_all_sources_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("pyproject.toml").write_text("[tool.earwitness]\nthreshold = []\n[tool.other]\nx = 1\n")
    Path("earwitness.toml").write_text('threshholds = []\nthresholds = ["fast"]\n')
    with pytest.raises(SettingsError) as caught:
        read_given(("slow",))
    said = str(caught.value)
    for sentence in (
        "pyproject.toml: tool.earwitness.threshold is not known here",
        "earwitness.toml: 'fast' is no threshold",
        "earwitness.toml: threshholds is not known here (did you mean thresholds?)",
        "--threshold: 'slow' is no threshold",
    ):
        assert sentence in said


def test_the_later_source_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("pyproject.toml").write_text('[tool.earwitness]\nthresholds = ["ack p99 < 8 s"]\n[tool.other]\nx = 1\n')
    Path("earwitness.toml").write_text('thresholds = ["ack p99 < 7 s"]\n[test_environment.backend]\nport = 7002\n')
    assert merged(*read_given(())) == ["ack p99 < 7 s"]
    assert merged(*read_given(("ack p99 < 6 s",))) == ["ack p99 < 6 s"]
