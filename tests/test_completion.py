"""The scripts of `earwitness completion`: bash completes verbs, options, names of stories and files with ours."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from earwitness.harness.cli import VERBS

ROOT = Path(__file__).parents[1]
TRY = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
_shtab_earwitness earwitness "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}" 2>/dev/null
printf "%s\\n" "${COMPREPLY[@]}"
"""


def printed(shell: str) -> str:
    command = [sys.executable, "-m", "earwitness.harness.cli", "completion", shell]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.fixture(scope="module")
def of_bash(tmp_path_factory: pytest.TempPathFactory) -> Path:
    script = tmp_path_factory.mktemp("completion") / "earwitness.bash"
    script.write_text(printed("bash"), encoding="utf-8")
    return script


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["ver"], {"verify"}),
        (["run", "ws_order"], {"ws_ordering"}),
        (["run", "ws_ordering", "--keep"], {"--keep-frames"}),
        (["run", "ws_ordering", "--spawn"], {"--spawn-rate"}),
        (["stories", "--c"], {"--copy"}),
        (["completion", ""], {"bash", "zsh", "fish"}),
        (["import", "pyproj"], {"pyproject.toml"}),
    ],
)
def test_bash_completes(of_bash: Path, words: list[str], expected: set[str]) -> None:
    command = ["bash", "-c", TRY, "bash", str(of_bash), "earwitness", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert set(done.stdout.split()) == expected, done.stderr


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_the_other_shells_know_every_verb(shell: str, tmp_path: Path) -> None:
    text = printed(shell)
    assert [verb for verb in VERBS if verb not in text] == []
    assert "keep-frames" in text
    if shutil.which(shell):  # else nothing here can read it
        script = tmp_path / "script"
        script.write_text(text, encoding="utf-8")
        subprocess.run([shell, "-n", str(script)], check=True)
