"""The shipped example does what `docs/your-first-target.md` says: its commands are run as they stand there."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "your-first-target.md"
MARKED = re.compile(r"<!-- run(?:: exit code (\d))? -->\n```bash\n(.*?)```", re.DOTALL)
HERE = """
earwitness() { python -m earwitness.harness.cli "$@"; }
answers() { until (exec 3<>/dev/tcp/127.0.0.1/PORT) 2>/dev/null; do sleep 0.1; done; }
done_with() { code=$?; echo "$2" "-> $code"; [ "$code" = "$1" ] || exit 99; }
trap 'kill $!' EXIT
"""


def script(port: int) -> str:
    """Return the marked blocks as one script, on a port that is free; it ends at the first unexpected exit code."""
    lines = [HERE.replace("PORT", str(port))]
    for code, block in MARKED.findall(PAGE.read_text("utf-8")):
        for line in block.splitlines():
            lines.append(line.replace("server.py", f"server.py --port {port}"))
            lines.append("answers" if line.endswith("&") else f"done_with {code or 0} '{line}'")
            if "--copy" in line:
                lines.append(f"sed -i 's/8765/{port}/' examples/tiny_chat/chat.toml")
    return "\n".join(lines)


@pytest.mark.timeout(240)
def test_the_page_runs_as_it_stands(tmp_path: Path) -> None:
    """It passes; with lost deliveries it fails by the checks that must find them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environ = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["bash", "-c", script(port)], cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=220
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert done.stdout.count("-> 0") >= 5, said
    assert re.search(r"broken: .*I4 gap-free, I5b delivered", said), said
