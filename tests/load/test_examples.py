"""Pages of `docs/` about the shipped example: their commands are run as they stand there."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SAVED = re.compile(r"<!-- file: (\S+) -->\n```python\n(.*?)```", re.DOTALL)
MARKED = re.compile(r"<!-- run(?:: exit code (\d))? -->\n```bash\n(.*?)```", re.DOTALL)
HERE = """
earwitness() { python -m earwitness.harness.cli "$@"; }
answers() { until (exec 3<>/dev/tcp/127.0.0.1/PORT) 2>/dev/null; do sleep 0.1; done; }
done_with() { code=$?; echo "$2" "-> $code"; [ "$code" = "$1" ] || exit 99; }
trap 'kill $!' EXIT
"""


def script(page: str, port: int) -> str:
    """Return the marked blocks as one script, on a port that is free; it ends at the first unexpected exit code."""
    lines = [HERE.replace("PORT", str(port))]
    for code, block in MARKED.findall(page):
        for line in block.splitlines():
            lines.append(line.replace("server.py", f"server.py --port {port}"))
            lines.append("answers" if line.endswith("&") else f"done_with {code or 0} '{line}'")
            if "--copy" in line:
                lines.append(f"sed -i 's/8765/{port}/' examples/tiny_chat/chat.toml examples/tiny_chat/dialect.py")
    return "\n".join(lines)


def run_page(name: str, folder: Path) -> str:
    """Save the files that a page shows, run its marked commands in this order, and return what they wrote."""
    page = (ROOT / "docs" / name).read_text("utf-8")
    for file, text in SAVED.findall(page):
        (folder / file).write_text(text, "utf-8")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environ = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["bash", "-c", script(page, port)], cwd=folder, env=environ, capture_output=True, text=True, timeout=220
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    ran = [line for _, block in MARKED.findall(page) for line in block.splitlines() if not line.endswith("&")]
    assert len(re.findall(r"(?m) -> \d$", done.stdout)) == len(ran), said
    return said


@pytest.mark.timeout(240)
def test_your_first_target(tmp_path: Path) -> None:
    """It passes; with lost deliveries it fails by the checks that must find them."""
    said = run_page("your-first-target.md", tmp_path)
    assert re.search(r"broken: .*I4 gap-free, I5b delivered", said), said


@pytest.mark.timeout(240)
def test_a_dialect_in_python(tmp_path: Path) -> None:
    """The same server, spoken to in Python: probed, and judged as by its target file."""
    said = run_page("guide/dialects.md", tmp_path)
    assert re.search(r"PASS .*I4 gap-free", said), said


@pytest.mark.timeout(240)
def test_your_own_check(tmp_path: Path) -> None:
    """The page's check passes in the judge process, fails with the lower limit, and is not run without its file.

    A story that names it is judged by it.
    """
    said = run_page("your-own-check.md", tmp_path)
    assert re.search(r"Held \(\d+\)[^\n]*\n(  I.*\n)*  U1   short-messages +\d[\d,]*", said), said
    assert re.search(r"U1 counterexample 1 of [\d,]+: \S+ received \d+ bytes", said), said
    assert "U1 short-messages: not run" in said
    assert said.count("broken: U1 short-messages") == 4, said  # first and last line of two runs
    run = json.loads((tmp_path / "runs" / "latest" / "run.json").read_text("utf-8"))
    assert run["story"] == "own_story"
    assert [(one["name"], Path(one["file"]).name) for one in run["own_checks"]] == [("short-messages", "my_checks.py")]
