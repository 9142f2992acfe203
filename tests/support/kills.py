"""Kills of a process of a run with SIGKILL, at a random moment of the run, and a check of what remains.

    python tests/support/kills.py [--kills 20] [--seed 0] [--users 10] [--seconds 10]

The victims alternate: load (a run of one process), worker and master (of three processes), judge, and the supervisor of
the platform. Prints a table with a line for each kill:

- its moment ("too late": the load was over)
- the verdict of the run itself or, if the run died, of `earwitness check`
- complete records at the moment of the kill, and how many of them were lost
- processes that still ran some seconds after the end
- temporary directories that were left

The exit status is 1 if a record was lost, a verdict was FAIL, something was left, a run did not end, or a process
printed a traceback.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from inherited import inherited

ROOT = Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    sys.path[:0] = [str(ROOT)]

from tied import tied  # noqa: E402

from earwitness.checks.history.record import RECORD_BYTES  # noqa: E402
from earwitness.harness.errors import Exit  # noqa: E402
from earwitness.harness.record.journal import DATA_SUFFIX, NAMES_SUFFIX  # noqa: E402
from earwitness.harness.record.reading import JournalView, measure  # noqa: E402
from earwitness.harness.record.sidecar import Sidecar  # noqa: E402

VICTIMS = ("load", "worker", "judge", "supervisor", "master")
MID_RUN = 60
"""Number of records of a load process from which its users are known to chat; before, it has about ten."""
MARK = "EARWITNESS_KILLS"
START_S, END_S, GONE_S = 120.0, 240.0, 20.0
"""Time limits in s: until users chat, until the run has ended, until none of its processes runs any more."""


@dataclass
class Killed:
    """Result of one kill.

    `victim`: which process; `after_s`: s from MID_RUN records to the kill; `wrong`: sentences about what must not be.
    """

    victim: str
    after_s: float
    code: int = 0
    verdict: str = "none"
    records: int = 0
    lost: int = 0
    running: list[str] = field(default_factory=list)
    directories: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def line(self, number: int) -> str:
        cells = (number, self.victim, f"{self.after_s:.2f}", self.code, self.verdict, f"{self.records:,}", self.lost,
                 len(self.running), len(self.directories))  # fmt: skip
        return f"| {' | '.join(map(str, cells))} |"


HEAD = (
    "| seed | killed | after s | exit code | verdict | records | lost | still running | directories left |\n"
    "|---|---|---|---|---|---|---|---|---|"
)


class Run:
    """Run in a folder of its own; all its processes carry a mark in their environment."""

    def __init__(self, place: Path, seed: int, options: argparse.Namespace, processes: int) -> None:
        self.place, self.runs, self.log = place, place / "runs", place / "log"
        self.temporary = place / "tmp"
        self.temporary.mkdir(parents=True)
        self.mark = uuid.uuid4().hex
        port = str(_free_port())
        self.environment = {
            **inherited(),
            "TMPDIR": str(self.temporary),
            "EARWITNESS_PLATFORM": "none",
            "LOCUST_MASTER_BIND_PORT": port,
            "LOCUST_MASTER_NODE_PORT": port,
            MARK: self.mark,
        }
        words = ["-f", str(ROOT / "locustfiles/ws_ordering.py"), "--headless", "-u", str(options.users)]
        words += ["-r", str(options.users), "-t", f"{options.seconds}s", "--runs", str(self.runs), "--seed", str(seed)]
        words += ["--processes", str(processes)] if processes > 1 else []
        with self.log.open("w") as output:
            self.process = tied(
                [sys.executable, "-m", "locust", *words], stdout=output, stderr=output, env=self.environment, cwd=place
            )

    @property
    def journals(self) -> Path:
        return self.runs / "latest" / "journals"

    def members(self) -> list[psutil.Process]:
        """Return the living processes of the run.

        They have the mark, or work in the run's temporary directory (PostgreSQL overwrites its environment).
        """
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                ours = process.environ().get(MARK) == self.mark or process.cwd().startswith(str(self.temporary))
                if ours and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def victim(self, kind: str) -> psutil.Process | None:
        """Return the process to kill; None if it does not exist yet."""
        if kind in ("load", "master"):
            return psutil.Process(self.process.pid)
        if kind == "worker":
            with contextlib.suppress(OSError, ValueError, psutil.NoSuchProcess):
                first = (self.journals / f"load-1{NAMES_SUFFIX}").open().readline()
                return psutil.Process(json.loads(first)["meta"]["pid"])
            return None
        words = {"judge": "earwitness.harness.run.judge_process", "supervisor": "earwitness.harness.cli up"}[kind]
        return next((p for p in self.members() if words in " ".join(p.cmdline())), None)

    def closed(self) -> bool:
        """Return whether a load process has closed its journal, which means that the load is over."""
        return any(b'"footer"' in path.read_bytes() for path in self.journals.glob(f"load-*{NAMES_SUFFIX}"))

    def complete(self) -> dict[str, bytes]:
        """Return journal name → bytes of its complete records."""
        found = {}
        for path in sorted(self.journals.glob(f"*{DATA_SUFFIX}")):
            name = path.name.removesuffix(DATA_SUFFIX)
            view = JournalView(name, path, Sidecar(path.with_name(f"{name}{NAMES_SUFFIX}")))
            view.sidecar.read()
            measure(view)
            with path.open("rb") as file:
                found[name] = file.read(view.count * RECORD_BYTES)
        return found


def _free_port() -> int:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        return int(reserved.getsockname()[1])


def _until(done: Callable[[], bool], timeout_s: float) -> bool:
    end = time.monotonic() + timeout_s
    while not done():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def kill_once(place: Path, seed: int, options: argparse.Namespace) -> Killed:
    """Start one run, kill one process of it, and return the result."""
    rng, kind = random.Random(seed), VICTIMS[seed % len(VICTIMS)]
    killed = Killed(kind, rng.uniform(0.0, options.seconds * 0.6))
    run = Run(place, seed, options, processes=2 if kind in ("worker", "master") else 1)
    try:
        _kill(run, killed)
        if run.process.poll() is None and not _until(lambda: run.process.poll() is not None, END_S):
            killed.wrong.append(f"the run had not ended {END_S:.0f} s after the kill")
        else:
            _look(run, killed)
    finally:
        for process in run.members():
            with contextlib.suppress(psutil.Error):
                process.kill()
        run.process.wait()
    return killed


def _kill(run: Run, killed: Killed) -> None:
    wanted = ["load-0", "load-1"] if killed.victim in ("worker", "master") else ["load-0"]
    there = _until(
        lambda: run.process.poll() is not None or all(_records(run, name) >= MID_RUN for name in wanted), START_S
    )
    victim = run.victim(killed.victim) if run.process.poll() is None else None
    if not there or victim is None:
        killed.wrong.append(f"it could not be killed: {run.log.read_text()[-500:]}")
        return
    time.sleep(killed.after_s)  # the moment is what is drawn; nothing is waited for
    before = run.complete()
    killed.victim += ", too late" if run.closed() else ""
    victim.send_signal(signal.SIGKILL)
    killed.records = sum(map(len, before.values())) // RECORD_BYTES
    run.process.wait(END_S)
    for name, data in before.items():
        after = run.complete().get(name, b"")[: len(data)]
        starts = range(0, len(data), RECORD_BYTES)
        killed.lost += sum(data[at : at + RECORD_BYTES] != after[at : at + RECORD_BYTES] for at in starts)


def _records(run: Run, name: str) -> int:
    return len(run.complete().get(name, b"")) // RECORD_BYTES


def _look(run: Run, killed: Killed) -> None:
    killed.code = run.process.returncode
    said = run.log.read_text(errors="replace")
    verdict = run.runs / "latest" / "verdict.json"
    _until(lambda: not run.members(), GONE_S)
    killed.running = [" ".join(process.cmdline()) for process in run.members()]
    killed.directories = sorted(path.name for path in run.temporary.iterdir())
    if not verdict.exists():
        command = [sys.executable, "-m", "earwitness.harness.cli", "check", str((run.runs / "latest").resolve())]
        done = subprocess.run(command, capture_output=True, text=True, env=run.environment, cwd=ROOT)
        said += done.stdout + done.stderr
    if verdict.exists():
        killed.verdict = json.loads(verdict.read_text())["outcome"]
    killed.wrong += list(_wrong(killed, said))


def _wrong(killed: Killed, said: str) -> Iterator[str]:
    if killed.lost:
        yield f"{killed.lost} of {killed.records} complete records were lost"
    if killed.verdict == "FAIL" or killed.code == Exit.FAIL:
        yield "a kill became a FAIL"
    if killed.verdict == "none":
        yield "there is no verdict"
    if "Traceback" in said:
        yield f"a traceback: {said[said.index('Traceback') :][:1500]}"
    yield from (f"still running: {line}" for line in killed.running)
    yield from (f"left: {name}" for name in killed.directories)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Kill processes of runs and look at what is left.")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the first kill")
    parser.add_argument("--users", type=int, default=10)
    parser.add_argument("--seconds", type=int, default=10, help="length of each run")
    parser.add_argument("--keep", type=Path, default=None, help="a folder that keeps the runs")
    options = parser.parse_args(argv)
    wrong = []
    print(HEAD, flush=True)
    for seed in range(options.seed, options.seed + options.kills):
        place = Path(tempfile.mkdtemp(prefix="kill-", dir=options.keep))
        try:
            killed = kill_once(place, seed, options)
        finally:
            if options.keep is None:
                shutil.rmtree(place, ignore_errors=True)
        print(killed.line(seed), flush=True)
        wrong += [f"seed {seed}, {killed.victim}: {sentence}" for sentence in killed.wrong]
    print(*wrong, sep="\n")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
