"""A user's mistake is one clear sentence, exit code 2, and nothing left behind."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tied import tied

FEW = ("-u", "2", "-t", "2s")


def sentence(out: str) -> str:
    lines = [line for line in out.splitlines() if line.startswith("earwitness: ")]
    assert "Traceback" not in out, out
    return lines[-1]


def test_a_target_that_nobody_answers(refused: Callable[..., Any], tmp_path: Path) -> None:
    """The sentence names the file and the address."""
    example = (Path(__file__).parents[1] / "support" / "other_chat" / "target.toml").read_text()
    file = tmp_path / "chat.toml"
    file.write_text(example.replace("127.0.0.1:8765", "127.0.0.1:9"))
    run = refused(*FEW, "--target", str(file))
    assert run.code == 2, run.out
    assert "127.0.0.1" in sentence(run.out)
    assert not (run.runs / "latest").exists()


@pytest.mark.parametrize("text", ["[platform\n", "colour = 'red'\n", ""])
def test_a_broken_target_file(refused: Callable[..., Any], tmp_path: Path, text: str) -> None:
    """The sentence names the file."""
    file = tmp_path / "chat.toml"
    file.write_text(text)
    run = refused(*FEW, "--target", str(file))
    assert run.code == 2, run.out
    assert "chat.toml" in sentence(run.out)


def test_a_seed_that_is_no_number(refused: Callable[..., Any]) -> None:
    """The sentence says what a seed looks like."""
    run = refused(*FEW, "--seed", "lucky")
    assert run.code == 2, run.out
    assert "--seed 42" in sentence(run.out)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--drain-s", "nan", "--metrics-port", "99999"), ("--drain-s nan", "--metrics-port 99999")),
        (("-u", "99999999999"), ("--users 1e+11",)),
        (("--web-port", "70000"), ("--web-port 70000",)),
        (("--arrivals", "1" * 400 + "/s"), ("--arrivals", "100,000")),
    ],
)
def test_numbers_that_cannot_be(refused: Callable[..., Any], options: tuple[str, ...], words: tuple[str, ...]) -> None:
    """All of them are named, before anything is started or planned; a short sentence for a long number."""
    run = refused(*FEW, *options)
    assert run.code == 2, run.out
    assert all(word in sentence(run.out) for word in words)
    assert len(sentence(run.out)) < 600
    assert "starting the platform" not in run.out


def test_faults_that_are_not_understood(refused: Callable[..., Any]) -> None:
    """Every entry with a mistake has its sentence, before anything is started."""
    run = refused(*FEW, "--faults", "kill@5s,delay:edge@1s")
    assert run.code == 2, run.out
    assert "'kill@5s' does not say where: kill:auth@20s+10s" in sentence(run.out)
    assert "'delay:edge@1s' needs a value" in sentence(run.out)
    assert "starting the platform" not in run.out


def test_a_fault_that_the_target_has_no_command_for(refused: Callable[..., Any], tmp_path: Path) -> None:
    """It is said what the file has."""
    example = (Path(__file__).parents[1] / "support" / "other_chat" / "target.toml").read_text()
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        file = tmp_path / "chat.toml"
        file.write_text(example.replace("127.0.0.1:8765", f"127.0.0.1:{nobody.getsockname()[1]}"))
        run = refused(*FEW, "--target", str(file), "--faults", "auth_down@1s+1s=3")
    assert run.code == 2, run.out
    assert "takes none" in sentence(run.out)


def test_a_fixed_port_that_is_taken(
    command: Callable[..., list[str]],
    environment: Callable[..., dict[str, str]],
    family_of: Callable[[int], Any],
    tmp_path: Path,
) -> None:
    """The sentence names the port, who has it, and the variable; nothing runs, no directory is left."""
    (tmp_path / "temporary").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings = {"EARWITNESS_BACKEND_PORT": str(port), "TMPDIR": str(tmp_path / "temporary")}
        with tied(
            command("--headless", *FEW),
            env={**environment(), **settings},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            family = family_of(process.pid)
            out, _ = process.communicate(timeout=60)
            family.close()
    assert process.returncode == 2, out
    assert f"port {port} of 127.0.0.1: " in sentence(out)
    assert "EARWITNESS_BACKEND_PORT=NUMBER" in sentence(out)
    assert family.alive() == []
    assert list((tmp_path / "temporary").iterdir()) == []
    assert not list(tmp_path.glob("runs/*"))


def test_settings_with_faults(command: Callable[..., list[str]], environment: Callable[..., dict[str, str]]) -> None:
    """All faults of the settings are in one sentence, before anything is started."""
    wrong = {"EARWITNESS_FRONTEND_PORT": "many", "EARWITNESS_BACKEND_DATABASE": "no-name"}
    done = subprocess.run(
        command("--headless", *FEW), env={**environment(), **wrong}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2, done.stderr
    assert all(name in sentence(done.stdout + done.stderr) for name in wrong)
    assert "starting" not in done.stderr


def test_no_space_for_the_run(tmp_path: Path, command: Callable[..., list[str]]) -> None:
    """Refused before anything is started, with the space that is needed."""
    place = tmp_path / "tiny"
    place.mkdir()
    args = command("--headless", *FEW)
    args[args.index("--runs") + 1] = str(place / "runs")
    # A mount namespace of its own gives a file system of 8 MB that vanishes with the process, root or not.
    mount = f'mount -t tmpfs -o size=8m tmpfs {place} && exec "$@"'
    done = subprocess.run(
        ["unshare", "--map-root-user", "--mount", "sh", "-c", mount, "sh", *args],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2, done.stdout + done.stderr
    assert "MB are free" in sentence(done.stdout + done.stderr)


def test_no_space_for_the_platform(
    tmp_path: Path, command: Callable[..., list[str]], environment: Callable[..., dict[str, str]]
) -> None:
    """A full TMPDIR is one sentence that names it; nothing is left in it."""
    place = tmp_path / "tiny"
    place.mkdir()
    # A mount namespace of its own, as above.
    mount = f'mount -t tmpfs -o size=8m tmpfs {place} && TMPDIR={place} "$@"; code=$?; ls {place}; exit $code'
    done = subprocess.run(
        ["unshare", "--map-root-user", "--mount", "sh", "-c", mount, "sh", *command("--headless", *FEW)],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2, done.stdout + done.stderr
    assert f"MB are free at {place}" in sentence(done.stdout + done.stderr)
    assert done.stdout == ""


def test_killed_in_mid_run(
    command: Callable[..., list[str]],
    runs: Path,
    environment: Callable[..., dict[str, str]],
    family_of: Callable[[int], Any],
    tmp_path: Path,
) -> None:
    """kill -9 of Locust: the platform is gone within 5 s; the rest can still be judged, as UNKNOWN."""
    args = command("--headless", "-u", "10", "-r", "10", "-t", "60s")
    with (tmp_path / "locust.log").open("w") as log:
        process = tied(args, stdout=log, stderr=log, env=environment())
    family = family_of(process.pid)
    try:
        wait_for(lambda: any(runs.glob("latest/journals/load-0.ewj")), 40)
        wait_for(lambda: recorded_messages(runs / "latest") > 20, 30)
    finally:
        family.close()
        family.look()
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert any("postgres" in line for line in family.alive())
    wait_for(lambda: family.alive() == [], 5)
    earwitness = [command()[0], "-m", "earwitness.harness.cli", "check", str(runs / "latest")]
    done = subprocess.run(earwitness, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 3, done.stdout + done.stderr
    verdict = json.loads((runs / "latest" / "verdict.json").read_text())
    assert verdict["outcome"] == "UNKNOWN"
    assert "load-0" in done.stdout


def recorded_messages(run_dir: Path) -> int:
    from earwitness.checks.history.record import Kind
    from earwitness.harness.record.history import open_history

    return sum(int((view.records["kind"] == Kind.INVOKE).sum()) for view in open_history(run_dir).journals)


def wait_for(done: Callable[[], bool], timeout_s: float) -> None:
    end = time.monotonic() + timeout_s
    while not done():
        assert time.monotonic() < end, f"not within {timeout_s} s"
        time.sleep(0.05)


def test_check_of_no_run(tmp_path: Path, command: Callable[..., list[str]]) -> None:
    """`earwitness check` of a folder that is no run says so."""
    shutil.rmtree(tmp_path / "x", ignore_errors=True)
    done = subprocess.run(
        [command()[0], "-m", "earwitness.harness.cli", "check", str(tmp_path / "x")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "no run directory" in sentence(done.stderr)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "--check: there is no file"),
        ("def f(:\n", "mine.py:1: invalid syntax"),
        ("import not_here\n", "it cannot be imported: ModuleNotFoundError: No module named 'not_here' (mine.py:1)"),
        ("x = 1\n", "it has no check; put @check("),
    ],
)
def test_own_checks_that_cannot_be(refused: Callable[..., Any], tmp_path: Path, text: str | None, words: str) -> None:
    """A file of own checks that cannot be used is refused before anything is started."""
    file = tmp_path / "mine.py"
    if text is not None:
        file.write_text(text)
    run = refused(*FEW, "--check", str(file))
    assert run.code == 2, run.out
    assert words in sentence(run.out)
    assert "starting the platform" not in run.out
    assert not (run.runs / "latest").exists()
