"""Runs of several processes: each with its own workers, none of which outlives its master."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tied import tied

from earwitness.harness.record.history import open_history

TALK = "tests/load/stories/talking.py"
ENDS_WITHIN_S = 5.0
SAYS_THAT_IT_IS_READY = """
from locust import events

events.init.add_listener(lambda **_: print("worker is ready", flush=True))
"""


@contextmanager
def started(args: list[str], environment: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("w") as output, tied(args, stdout=output, stderr=output, env=environment) as process:
        try:
            yield process
        finally:
            process.kill()


def until(done: Callable[[], Any], timeout_s: float) -> Any:
    end = time.monotonic() + timeout_s
    while not (found := done()):
        assert time.monotonic() < end, f"not within {timeout_s} s"
        time.sleep(0.05)
    return found


def talking(run: Path, journals: int) -> bool:
    """Every load process of the run has recorded something of its users."""
    if len(list(run.glob("journals/load-*.names.jsonl"))) < journals:
        return False
    return all(view.count > 20 for view in open_history(run).journals if view.path.name.startswith("load-"))


def own_ports(environment: dict[str, str]) -> dict[str, str]:
    """Without the ports that tests give to each run: as a user starts it."""
    return {key: value for key, value in environment.items() if not key.startswith("LOCUST_MASTER_")}


def test_workers_end_with_their_master(
    command: Callable[..., list[str]],
    runs: Path,
    environment: Callable[..., dict[str, str]],
    family_of: Callable[[int], Any],
    other_chat: Callable[..., Path],
    port: int,
    tmp_path: Path,
) -> None:
    """The master gets SIGKILL in mid-run while the platform goes on: within seconds nothing is left running, forked
    workers and one that was started apart, and who had users has closed its journal."""
    where, ports = ("--target", str(other_chat())), ("--master-port", str(port))
    bound = ("--processes", "2", *ports, "--master-bind-port", str(port))
    master = command("--headless", "-u", "6", "-r", "6", "-t", "60s", *where, *bound, story=TALK)
    log, said = tmp_path / "locust.log", (tmp_path / "apart.log").open("w")
    with started(master, environment(), log) as process, said:
        family = family_of(process.pid)
        until(lambda: talking(runs / "latest", 2), 60)
        (tmp_path / "talking.py").write_text(f"{Path(TALK).read_text()}\n{SAYS_THAT_IT_IS_READY}")
        apart = tied(
            command("--worker", *ports, *where, story=str(tmp_path / "talking.py")),
            stdout=said,
            stderr=said,
            env=environment(),
        )
        try:
            until(lambda: "worker is ready" in Path(said.name).read_text(), 60)
            family.look()
            process.kill()
            until(lambda: family.alive() == [] and apart.poll() is not None, ENDS_WITHIN_S)
        finally:
            family.close()
            apart.kill()
            apart.wait()
    journals = [view for view in open_history(runs / "latest").journals if view.path.name.startswith("load-")]
    assert [view.footer is not None for view in journals] == [True, True]
    assert "Traceback" not in log.read_text()


def test_a_worker_that_waits_for_its_masters_first_word_ends_with_it() -> None:
    """Locust lets a forked worker wait five minutes for a master that has died since."""
    code = """
import gevent.monkey
gevent.monkey.patch_all()
import os, signal, gevent
from gevent.event import Event
from earwitness.harness.load.master_watch import tie_forks

tie_forks()
if gevent.fork():
    os.kill(os.getpid(), signal.SIGKILL)
Event().wait(60)
"""
    begin = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (-signal.SIGKILL, "")  # its output ends when the worker has ended
    assert time.monotonic() - begin < 30


def test_a_master_and_its_forked_workers_agree_on_where_they_meet(port: int) -> None:
    """On a free port of their own, or where either of them was told to."""
    code = f"""
import locust
from argparse import Namespace
from earwitness.harness.errors import SettingsError
from earwitness.harness.load.command_line import settle

def settled(**given):
    options = dict(user_classes=[], worker=False, master=False, processes=2, headless=True, master_host="127.0.0.1",
                   master_bind_host="127.0.0.1", master_port=5557, master_bind_port=5557,
                   num_users=None, spawn_rate=None, drain_s=None, metrics_port=None, web_port=None)
    settle(found := Namespace(**(options | given)))
    return found.master_host, found.master_port, found.master_bind_port

one, other = settled(), settled()
assert one[1] == one[2] != other[1] == other[2] and 5557 not in one + other
assert settled(master_bind_port={port}) == settled(master_port={port}) == ("127.0.0.1", {port}, {port})
assert settled(master_bind_host="127.0.0.2", master_port={port}) == ("127.0.0.2", {port}, {port})
assert settled(master_bind_host="*", master_port={port})[0] == "127.0.0.1"
try:
    settled(master_bind_port={port}, master_port=9)
except SettingsError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stderr, done.returncode) == ("", 0)
    assert f"{port} is not the port of its forked workers, --master-port 9; name one of the two" in done.stdout


def test_two_runs_side_by_side_share_no_worker(
    command: Callable[..., list[str]],
    environment: Callable[..., dict[str, str]],
    other_chat: Callable[..., Path],
    tmp_path: Path,
) -> None:
    """Two runs with two workers each, started at once on one machine: each has its own workers and its own users."""
    where, shared = ("--target", str(other_chat())), own_ports(environment())
    going = []
    for users, story in ((6, TALK), (4, "locustfiles/ws_ordering.py")):
        args = command("--headless", "-u", str(users), "-r", "6", "-t", "2s", "--processes", "2", *where, story=story)
        root = Path(args[args.index("--runs") + 1]).with_name(f"runs-{users}")
        args[args.index("--runs") + 1] = str(root)
        log = (tmp_path / f"{users}.log").open("w+")
        going.append((users, root, log, tied(args, stdout=log, stderr=log, env=shared)))
    for users, root, log, process in going:
        with log:
            assert process.wait(90) in (0, 3, 4), log.seek(0) or log.read()  # 2 s may be too short for a probe
        journals = [view for view in open_history(root / "latest").journals if view.path.name.startswith("load-")]
        assert [view.footer["users"] for view in journals] == [users // 2] * 2, root
        described = json.loads((root / "latest" / "run.json").read_text())
        assert described["planned"]["users"] == users
