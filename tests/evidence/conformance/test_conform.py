"""`earwitness conform`: servers that are there, missing, broken or do not start, and the page about them."""

from __future__ import annotations

import re
import shlex
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from earwitness.harness.cli import main
from earwitness.harness.dialects.registry import shipped
from earwitness.harness.evidence.conformance.command import seconds_of
from earwitness.harness.evidence.conformance.course import Course
from earwitness.harness.evidence.conformance.kept import keep, kept
from earwitness.harness.evidence.conformance.page import Tried, lacks, page_text, summary
from earwitness.harness.evidence.conformance.servers import missing, read_servers
from earwitness.harness.evidence.conformance.trials import Trial

ROOT = Path(__file__).resolve().parents[3]
ONE = """
[[server]]
name = "a server"
dialect = "json"
target = "{target}"
needs = [{needs}]
get = "get it"
start = "{start}"
ready = "127.0.0.1:{port}"
version = "python --version"
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])


@pytest.fixture
def listed(tmp_path: Path) -> Callable[..., Path]:
    """A list of one server: tiny_chat with some options, on a free port."""

    def make(options: str = "", *, needs: str = "", start: str = "", port: int = 0) -> Path:
        port = port or free_port()
        folder = ROOT / "examples/tiny_chat"
        target = tmp_path / "chat.toml"
        text = (folder / "chat.toml").read_text()
        target.write_text(text.replace("8765", str(port)).replace("file:key.txt", f"file:{folder / 'key.txt'}"))
        start = start or f"python examples/tiny_chat/server.py --port {port} {options}"
        file = tmp_path / "servers.toml"
        file.write_text(ONE.format(target=target, needs=needs, start=start, port=port))
        return file

    return make


def conform(file: Path, tmp_path: Path, *more: str) -> tuple[int, str]:
    page = tmp_path / "conformance.md"
    code = main(["conform", "--servers", str(file), "--page", str(page), "--work", str(tmp_path / "work"), *more])
    return code, page.read_text() if page.exists() else ""


@pytest.mark.timeout(200)
def test_a_server_that_loses_messages(listed: Callable[..., Path], tmp_path: Path) -> None:
    """Three runs break the same promises: findings, with a counterexample and the command to repeat."""
    code, page = conform(listed("--lose 10"), tmp_path, "-t", "2s", "-u", "6")
    assert code == 0
    assert "| a server | Python 3." in page
    assert "I4 broken in 3 of 3, I5b broken in 3 of 3" in page
    assert re.search(r"- Finding: I4, for example \S+ .* number \d+", page), page
    assert "earwitness run examples/dialects/lasting.py --headless -u 6 -t 2s --seed 701" in page
    with socket.socket() as one:  # nothing is left running
        assert one.connect_ex(("127.0.0.1", int(page.partition("--port ")[2].split()[0]))) != 0


def test_what_is_missing_counts_as_not_run(
    listed: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It says how to get it, and the exit code is that of nothing known."""
    file = listed(needs='"program:no-such-program", "module:json", "file:nothing"')
    assert missing(read_servers(file)[0], ROOT) == ["program:no-such-program", "file:nothing"]
    code, page = conform(file, tmp_path)
    assert code == 3
    assert "| not run | json | 0 | – | – | – | – | program:no-such-program, file:nothing is missing: `get it` |" in page
    assert main(["conform", "--servers", str(file), "--list"]) == 0
    assert "missing program:no-such-program, file:nothing: get it" in capsys.readouterr().out


def test_a_server_that_does_not_start(
    listed: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its last words are shown; a port that is in use is named."""
    code, page = conform(listed(start="python -c 'print(3.25 * 3); exit(4)'"), tmp_path)
    assert (code, "did not start (a server ended: 9.75)" in page) == (3, True)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        file = listed(port=taken.getsockname()[1])
        code, page = conform(file, tmp_path)
    assert code == 3
    assert "is in use: end what listens there" in capsys.readouterr().err


def test_mistakes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An unknown dialect, a duration that is none, and a list with a mistake: one sentence, exit code 2."""
    assert main(["conform", "json", "-t", "soon"]) == 2
    assert "-t soon is no duration; for example -t 30s" in capsys.readouterr().err
    assert main(["conform", "smoke-signals"]) == 2
    assert "no server of smoke-signals is listed; known: " in capsys.readouterr().err
    (tmp_path / "servers.toml").write_text('[[server]]\nname = "x"\ndialct = "json"\n')
    assert main(["conform", "--servers", str(tmp_path / "servers.toml")]) == 2
    assert "did you mean dialect" in capsys.readouterr().err


def trial(seed: int, **checks: dict[str, Any]) -> Trial:
    findings = {name: "ann-0 never received #1 of bob-1" for name, one in checks.items() if one["outcome"] == "FAIL"}
    return Trial(
        story="story", seed=seed, exit_code=int(bool(findings)), checks=checks, findings=findings, trouble="",
        command="earwitness run story", course=Course(),
    )  # fmt: skip


@pytest.mark.timeout(100)
def test_what_a_run_had(listed: Callable[..., Path], tmp_path: Path) -> None:
    """Beside the promises: a connection longer than two timeouts, pings in its silence, cuts, and who came back."""
    file = listed("--ping-s 1")
    file.write_text(file.read_text() + "timeout_s = 2.0\n")
    code, page = conform(file, tmp_path, "--seeds", "1", "-t", "9s", "-u", "4")
    row = re.search(r"json \| 1 \| ([0-9.]+) s > 4 s \| (\d+) \| 2 \| begun anew, no history \| every promise", page)
    assert code == 0, page
    assert row, page
    assert (float(row[1]) > 8, int(row[2]) >= 12) == (True, True)
    assert "\n| cuts | 2 |\n| rooms resumed, joined anew, read | 0, 4, 0 |\n" in page


def test_what_runs_lack(listed: Callable[..., Path]) -> None:
    """A server with a timeout must have shown heartbeats, a cut and a resume; one without need not."""
    file = listed()
    whole = Course(heartbeats=3, cuts=1, resumed=2, longest_s=4.5, resumes=True)

    def told(timeout_s: float, *courses: Course) -> str:
        server = replace(read_servers(file)[0], timeout_s=timeout_s)
        return lacks(Tried(server=server, trials=tuple(replace(trial(1), course=one) for one in courses)))

    assert told(2.0, whole, whole) == ""
    assert told(0.0, Course()) == ""
    assert told(2.25, whole, whole) == "without a connection that outlasts two timeouts in 2 of 2"
    assert told(2.0, whole, replace(whole, heartbeats=0)) == "without a heartbeat in 1 of 2"
    assert told(2.0, replace(whole, cuts=0)) == "without a cut in 1 of 1"
    assert told(2.0, replace(whole, resumed=0)) == "without a resume in 1 of 1"
    assert told(2.0, replace(whole, resumed=0, resumes=False)) == ""
    shown = Tried(server=replace(read_servers(file)[0], timeout_s=2.0), trials=(replace(trial(1), course=Course()),))
    assert "| every promise kept; without a connection" in page_text([shown], "earwitness conform")


def test_what_was_tried_before(listed: Callable[..., Path], tmp_path: Path) -> None:
    """It is taken as it was; not if the server is described otherwise, is asked for more, or had no verdict."""
    server, asked = read_servers(listed())[0], {"seeds": 1, "users": 4}
    whole = Tried(
        server=server, version="1.0", trials=(trial(1, I4={"outcome": "PASS", "examined": 9, "violations": 0}),)
    )
    assert kept(tmp_path, server, asked) is None
    keep(tmp_path, whole, asked)
    assert kept(tmp_path, server, asked) == whole
    assert kept(tmp_path, replace(server, breaks=("I4",)), asked) is not None
    assert kept(tmp_path, server, {**asked, "seeds": 2}) is None
    assert kept(tmp_path, replace(server, timeout_s=9.0), asked) is None
    keep(tmp_path, replace(whole, trials=(replace(whole.trials[0], trouble="it did not end"),)), asked)
    assert kept(tmp_path, server, asked) is None
    (tmp_path / "tried.json").write_text('{"trials": [')
    assert kept(tmp_path, server, asked) is None


@pytest.mark.parametrize(
    ("given", "timeout_s", "least_s", "seconds"),
    [
        ("12s", 0, 0, 12),
        ("12", 4.5, 0, 12),
        ("12s", 5, 0, 13),
        ("1m30s", 5, 40, 90),
        ("1h", 0, 0, 3600),
        ("9s", 5, 30, 30),
    ],
)
def test_how_long_runs_are(
    given: str, timeout_s: float, least_s: float, seconds: int, listed: Callable[..., Path]
) -> None:
    """As long as was asked for, or two timeouts of the server and a rest, or what it needs."""
    server = replace(read_servers(listed())[0], timeout_s=timeout_s, least_s=least_s)
    assert seconds_of(given, server) == seconds


def test_a_finding_was_seen_three_times(listed: Callable[..., Path]) -> None:
    """What was seen less often is shown, and not called one."""
    bad, good = {"outcome": "FAIL", "examined": 9, "violations": 2}, {"outcome": "PASS", "examined": 9, "violations": 0}
    server = read_servers(listed())[0]
    twice = Tried(server=server, trials=(trial(1, I4=bad, I6=good), trial(2, I4=bad, I6=good), trial(3, I4=good)))
    page = page_text([twice], "earwitness conform")
    assert "- Seen 2 times, so no finding: I4, for example ann-0 never received #1 of bob-1" in page
    assert "| I4 | FAIL (9, 2 broken) | FAIL (9, 2 broken) | PASS (9) |" in page
    assert "| I6 | PASS (9) | PASS (9) | – |" in page
    assert summary(Tried(server=server, trials=(trial(1, I4=good),))) == "every promise kept"


def test_what_is_known_to_fail_and_what_is_new(listed: Callable[..., Path]) -> None:
    """The page says whether the known checks failed, and names others; the server's note is on it."""
    bad, good = {"outcome": "FAIL", "examined": 9, "violations": 2}, {"outcome": "PASS", "examined": 9, "violations": 0}
    file = listed()
    file.write_text(file.read_text() + 'breaks = ["I2"]\nnote = "It promises no order."\n')
    server = read_servers(file)[0]

    def page(**checks: dict[str, Any]) -> str:
        return page_text([Tried(server=server, trials=(trial(1, **checks),))], "earwitness conform")

    assert "It promises no order." in page(I2=bad)
    assert "| I2 broken in 1 of 1; as known |" in page(I2=bad)
    assert "| every promise kept; known to break I2, which held |" in page(I2=good)
    assert "| I2 broken in 1 of 1, I6 broken in 1 of 1; new: I6 |" in page(I2=bad, I6=bad)
    file.write_text(file.read_text() + 'sometimes = ["I6"]\n')
    server = read_servers(file)[0]
    assert "| I2 broken in 1 of 1, I6 broken in 1 of 1; as known |" in page(I2=bad, I6=bad)
    assert "| I2 broken in 1 of 1; as known |" in page(I2=bad, I6=good)
    assert "| every promise kept; known to break I2, which held |" in page(I2=good, I6=good)
    assert "| I2 broken in 1 of 1, I4 broken in 1 of 1; new: I4 |" in page(I2=bad, I4=bad)


@pytest.mark.timeout(100)
def test_variables_of_a_run(listed: Callable[..., Path], tmp_path: Path) -> None:
    """A target file may name a secret: the run has it, and the command to repeat shows it."""
    file = listed()
    target = Path(read_servers(file)[0].target)
    target.write_text(re.sub(r'"file:[^"]*key.txt"', '"env:CHAT_KEY"', target.read_text()))
    key = (ROOT / "examples/tiny_chat/key.txt").read_text().strip()
    file.write_text(f'{file.read_text()}environ = {{ CHAT_KEY = "{key}" }}\n')
    code, page = conform(file, tmp_path, "--seeds", "1", "-t", "1s", "-u", "4")
    assert (code, f"\nCHAT_KEY={key} earwitness run examples/dialects/lasting.py" in page) == (0, True), page


def test_the_list_is_whole() -> None:
    """Every dialect has a server; each names files that exist, and says how to get what it needs."""
    servers = read_servers()
    assert {one.dialect for one in servers} == {"json", *shipped()}
    assert len({one.name for one in servers}) == len(servers)
    for server in servers:
        words = shlex.split(server.start)
        files = [*server.stories, *(word for word in words if word.endswith((".py", ".ru")))]
        files += [server.target] * (not server.target.startswith("build/"))
        assert [name for name in files if not (ROOT / name).is_file()] == [], server.name
        assert bool(server.needs) == bool(server.get), server.name
        assert server.version or server.dialect == "json", server.name
