"""The functional suite as a user starts it: what it says without services, and that nothing passes against nothing."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILE = "test_database_user_sync.py"


class Stubborn(BaseHTTPRequestHandler):
    """Answers everything with the server's one status; a health page may be well."""

    def do_GET(self) -> None:
        healthy = self.path in ("/ready", "/health")
        self.send_response(200 if healthy else self.server.status)  # type: ignore[attr-defined]
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        """Silent."""


@pytest.fixture
def stubborn(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of a server that gives one status only; None: of nobody."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Stubborn)
    url = f"http://127.0.0.1:{server.server_port}"
    if request.param is None:
        server.server_close()
        yield url
        return
    server.status = request.param  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield url
    server.shutdown()
    thread.join()
    server.server_close()


def suite(*args: str) -> subprocess.CompletedProcess[str]:
    return module("pytest", "-q", "-p", "no:cacheprovider", *args)


def module(*command: str) -> subprocess.CompletedProcess[str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PYTEST_", "EARWITNESS_"))}
    environment = {**kept, "EARWITNESS_PLATFORM": "none"}
    return subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=110
    )


def test_without_services_it_says_what_to_give() -> None:
    """One sentence, and no success."""
    done = suite("pytest_suite")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "give --real-services to start the reference platform, or --target FILE" in done.stderr + done.stdout
    assert "passed" not in done.stdout


def test_a_target_file_with_faults(tmp_path: Path) -> None:
    """A file that is missing, that is no TOML, and that lacks an address: one sentence that names it."""
    target = tmp_path / "target.toml"
    for text, words in (
        (None, "cannot be read"),
        ("edge = ", "neither JSON nor TOML"),
        ("[endpoints]\n", "edge, auth"),
    ):
        if text is not None:
            target.write_text(text)
        done = suite("pytest_suite", "--target", str(target))
        assert done.returncode == pytest.ExitCode.USAGE_ERROR
        assert words in done.stderr + done.stdout
        assert str(target) in done.stderr + done.stdout


@pytest.mark.parametrize(
    ("stubborn", "said"),
    [(None, "Connection refused"), (404, "expected 401, got 404"), (401, "reading auth's keys: expected 200, got 401")],
    indirect=["stubborn"],
)
def test_against_nothing_nothing_passes(tmp_path: Path, stubborn: str, said: str) -> None:
    """Nobody there, 404 or 401 to everything beside a health page that is well: each test of all ten errs, in words."""
    target = tmp_path / "target.toml"
    target.write_text(
        "[endpoints]\n" + "".join(f'{name} = "{stubborn}"\n' for name in ("edge", "auth", "frontend", "provider"))
    )
    done = suite("pytest_suite", "--target", str(target), "--tb=short")
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    last = done.stdout.splitlines()[-1]
    counts = {word: int(n) for n, word in re.findall(r"(\d+) (error|fail|pass|skip|not run|x)", last)}
    assert counts.keys() == {"error"}, last
    assert counts["error"] >= 140
    assert done.stdout.count(said) >= 120
    without_words = re.findall(r"^E +(?!.*(?:expected|give --real-services))\S.*", done.stdout, re.M)
    assert without_words == []


def test_what_cannot_be_run_is_told(tmp_path: Path) -> None:
    """Not run is neither passed nor skipped, and the end of the session says why and what to do."""
    (tmp_path / "conftest.py").write_text(
        "from pytest_suite.reporting import pytest_report_teststatus, pytest_terminal_summary\n"
    )
    (tmp_path / "test_it.py").write_text(
        "from pytest_suite.reporting import not_run\n\n\ndef test_it():\n    not_run('Install it with: this command')\n"
    )
    done = suite(str(tmp_path), "-c", str(ROOT / "pyproject.toml"), "--rootdir", str(tmp_path))
    assert done.stdout.splitlines()[-1].startswith("1 not run")
    assert "test_it.py::test_it was not run, so it proves nothing. Install it with: this command" in done.stdout


def test_the_page_of_scenarios_is_current() -> None:
    """docs/scenarios.md is what its command writes, and counts at least fifty."""
    done = module("pytest_suite.scenarios")
    assert done.returncode == 0, done.stderr
    written = done.stdout
    assert (ROOT / "docs" / "scenarios.md").read_text("utf-8") == written, "run the command that the page names"
    found = re.search(r"^(\d+) scenarios", written, re.M)
    assert found is not None
    assert int(found[1]) >= 50
