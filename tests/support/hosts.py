"""Runs over three hosts without a common disk, as network, mount and time namespaces of this machine; needs root.

    python tests/support/hosts.py [--only NAME …] [--seconds 12] [--users 30]

Host 0 has the platform, the master and a worker. Hosts 1 and 2 have a worker each; their monotonic clocks are two
seconds ahead and behind. Their wall clocks are 37 seconds ahead and 41 behind if libfaketime is installed (Debian:
`apt-get install faketime`). On each host the folder for runs is another disk under the same path. The platform listens
on 127.0.0.1 of host 0 only; forwarders of this script connect the other hosts to it. Nothing is bound outside the
namespaces.

- `sound`: must PASS
- one scenario for each defect: must FAIL, and so must a second run with all load processes on host 0, by the same check
- `worker`: host 2's worker is killed at half time: its records are in the verdict, which is UNKNOWN and names it
- `master`: the master is killed at half time: `earwitness collect` makes the verdict from the store

Prints a row of a table for each scenario; the exit status is 1 if one had another result.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from inherited import inherited

ROOT = Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    sys.path[:0] = [str(ROOT)]

from tied import tied  # noqa: E402

from earwitness.harness.record.clocks import mapped_meta  # noqa: E402

STORY = ROOT / "locustfiles" / "ws_ordering.py"
SHIFTS = (0, 2, -2)
"""Seconds by which the monotonic clock of each host is ahead; index: host."""
WALL_SHIFTS = (0, 37, -41)
"""Seconds by which the wall clock of each host is ahead; index: host."""
DEFECTS = {
    "swap-pushes": ("backend=swap-pushes:0.02", ("I4", "I1")),
    "swap-at-ingest": ("backend=swap-at-ingest:0.05", ("I1",)),
    "own-numbers": ("backend-2=own-numbers:0.2", ("I2",)),
    "skewed-clock": ("backend-2=skewed-clock:0.5", ("I3", "I2")),
    "drop-push": ("backend=drop-push:0.01", ("I4", "I5b")),
    "ack-before-write": ("backend=ack-before-write:0.02", ("I5a",)),
    "duplicate-push": ("backend=duplicate-push:0.01", ("I6",)),
    "ghost-push": ("backend=ghost-push:0.01", ("I8",)),
    "damage-push": ("backend=damage-push:0.01", ("I10",)),
    "nack-then-ack": ("backend=nack-then-ack:0.05", ("I11",)),
    "leak": ("backend=leak:0.05", ("I12",)),
    "mixed-up-context": ("backend=mixed-up-context:0.02", ("I15",)),
}
START_S, END_S = 120.0, 240.0
NAMES = ("sound", *DEFECTS, "worker", "master")
HEAD = """| scenario | three hosts | one host | records | clocks | wall clocks |
|---|---|---|---|---|---|"""


def libfaketime() -> Path | None:
    """Return the path of libfaketime, which gives a process another wall clock; None if it is not installed."""
    return next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))), None)


def sh(*command: str) -> None:
    subprocess.run(command, check=True)


def until(done: Any, timeout_s: float, what: str) -> Any:
    end = time.monotonic() + timeout_s
    while not (found := done()):
        if time.monotonic() > end:
            raise TimeoutError(f"not within {timeout_s:.0f} s: {what}")
        time.sleep(0.1)
    return found


def wall(host: int) -> Sequence[str]:
    """Return the words to put before a command so that it has the wall clock of `host`; () if that is not shifted."""
    library = libfaketime()
    if library is None or not WALL_SHIFTS[host]:
        return ()
    # NO_FAKE_STAT: compiled files would seem stale. FORCE_MONOTONIC_FIX: Python's own lock would spin (4 s stalls).
    shift = (f"FAKETIME={WALL_SHIFTS[host]:+d}s", "FAKETIME_DONT_FAKE_MONOTONIC=1", "NO_FAKE_STAT=1")
    return ("env", f"LD_PRELOAD={library}", *shift, "FAKETIME_FORCE_MONOTONIC_FIX=0")


@dataclass
class Network:
    """Three network namespaces; host 0 has a link to each of the others. `runs`: the folder for runs on every host."""

    folder: Path
    tag: str = field(default_factory=lambda: f"ew{os.getpid()}")

    @property
    def runs(self) -> Path:
        return self.folder / "runs"

    def make(self) -> None:
        self.runs.mkdir()
        for host in range(3):
            sh("ip", "netns", "add", f"{self.tag}-{host}")
            sh("ip", "-n", f"{self.tag}-{host}", "link", "set", "lo", "up")
        for host in (1, 2):
            one, other = (f"{self.tag}-{host}a"[-15:], f"{self.tag}-{host}b"[-15:])
            here, there = f"{self.tag}-0", f"{self.tag}-{host}"
            sh("ip", "-n", here, "link", "add", one, "type", "veth", "peer", "name", other, "netns", there)
            for name, space, end in ((one, here, 1), (other, there, 2)):
                sh("ip", "-n", space, "addr", "add", f"10.77.{host}.{end}/24", "dev", name)
                sh("ip", "-n", space, "link", "set", name, "up")

    def remove(self) -> None:
        for host in range(3):
            subprocess.run(["ip", "netns", "del", f"{self.tag}-{host}"], check=False)

    def start(self, host: int, command: Sequence[str], log: Path, **environment: str) -> subprocess.Popen[bytes]:
        """Start a process on a host, with the host's network, clocks, and disk at the folder of runs.

        Return the process.
        """
        own_disk = f"mount -t tmpfs tmpfs {self.runs} && " if host else ""
        shift = f"--monotonic={SHIFTS[host]}" if SHIFTS[host] else "--monotonic=0"
        time_space = ("--time", shift) if SHIFTS[host] else ()
        inside = ("unshare", "--mount", *time_space, "sh", "-c", f'{own_disk}exec "$@"', "sh", *wall(host), *command)
        with log.open("ab") as output:
            return tied(
                ["ip", "netns", "exec", f"{self.tag}-{host}", *inside],
                stdout=output, stderr=output, cwd=ROOT, start_new_session=True,
                env={**inherited(), "PYTHONPATH": str(ROOT), **environment},
            )  # fmt: skip


@dataclass
class Trial:
    """Result of a run over the hosts: exit code, verdict.json, run.json.

    `walls`: seconds by which the wall clock of each load process is ahead of host 0's.
    """

    code: int
    verdict: dict[str, Any]
    run: dict[str, Any]
    walls: list[float]

    @property
    def clocks(self) -> list[dict[str, Any]]:
        return list(self.run.get("clocks", {}).get("others", {}).values())

    def failed(self) -> list[str]:
        return [row["id"] for row in self.verdict["checks"] if row["outcome"] == "FAIL" and row["promised"]]

    def row(self, id: str) -> dict[str, Any]:
        return next(row for row in (*self.verdict["checks"], *self.verdict["harness"]) if row["id"] == id)


class Scenario:
    """One run over the hosts of `network`, or with all processes on host 0 of it, with a platform of its own."""

    def __init__(self, network: Network, options: argparse.Namespace, name: str, hosts: Sequence[int]) -> None:
        """Prepare the run `name`; `hosts`: the host of each load process."""
        self.network, self.options, self.hosts = network, options, hosts
        self.defect = DEFECTS[name][0] if name in DEFECTS else ""
        self.kill = name if name in ("worker", "master") else ""
        self.processes: list[subprocess.Popen[bytes]] = []
        self.logs = network.folder / "logs"
        self.store = network.folder / "store"

    def start(self, host: int, name: str, *command: str, **environment: str) -> subprocess.Popen[bytes]:
        process = self.network.start(host, command, self.logs / f"{name}.log", **environment)
        self.processes.append(process)
        return process

    def close(self) -> None:
        for process in reversed(self.processes):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
        for process in self.processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def platform(self) -> dict[str, Any]:
        defect = ("--defect", self.defect) if self.defect else ()
        self.start(0, "platform", sys.executable, "-m", "earwitness.harness.cli", "up", "--json", *defect)
        said = self.logs / "platform.log"
        line = until(lambda: re.search(r"^\{.*\}$", said.read_text(), re.M), START_S, "the platform is up")
        endpoints: dict[str, Any] = json.loads(line[0])
        urls = [endpoints[name] for name in ("edge", "auth", "frontend", "provider")] + [
            *endpoints["backends"].values()
        ]
        self.forward([int(re.search(r":(\d+)", url[6:])[1]) for url in urls])
        return endpoints

    def forward(self, ports: list[int]) -> None:
        """Forward connections to these ports of 127.0.0.1 on hosts 1 and 2 to 127.0.0.1 on host 0."""
        program = (sys.executable, str(ROOT / "tests" / "support" / "forwarder.py"))
        pairs = [f"10.77.{host}.1:{port}=127.0.0.1:{port}" for host in (1, 2) for port in ports]
        self.start(0, "forward-0", *program, *pairs)
        for host in (1, 2):
            self.start(host, f"forward-{host}", *program, *(f"127.0.0.1:{p}=10.77.{host}.1:{p}" for p in ports))
        for host in range(3):
            log = self.logs / f"forward-{host}.log"
            until(lambda log=log: "ready" in log.read_text(), START_S, "forwarders listen")

    def run(self) -> Trial:
        shutil.rmtree(self.logs, ignore_errors=True)
        shutil.rmtree(self.network.runs, ignore_errors=True)
        self.logs.mkdir()
        self.network.runs.mkdir()
        try:
            return self._run()
        finally:
            self.close()

    def _run(self) -> Trial:
        endpoints, options = self.platform(), self.options
        locust = (sys.executable, "-m", "locust", "-f", str(STORY), "--runs", str(self.network.runs))
        store = ("--store", self.store.as_uri()) if self.kill == "master" else ()
        master = self.start(
            0, "master", *locust, "--master", "--master-bind-host", "*", "--headless", "--expect-workers", "3",
            "-u", str(options.users), "-r", str(options.users), "-t", f"{options.seconds}s", "--seed", "7", *store,
            EARWITNESS_PLATFORM=endpoints["control"],
        )  # fmt: skip
        masters = ("127.0.0.1", "10.77.1.1", "10.77.2.1")
        workers = [
            self.start(host, f"worker-{number}", *locust, "--worker", "--master-host", masters[host])
            for number, host in enumerate(self.hosts)
        ]
        if self.kill:
            self.kill_at_half_time(master if self.kill == "master" else workers[2])
        code = master.wait(END_S)
        found = self.network.runs / "latest"
        if self.kill == "master":
            for worker in workers:
                worker.wait(60)
            code, found = self.collect()
        verdict, run = (json.loads((found / name).read_text()) for name in ("verdict.json", "run.json"))
        return Trial(code, verdict, run, walls(found, run))

    def kill_at_half_time(self, process: subprocess.Popen[bytes]) -> None:
        journals = self.network.runs / "latest" / "journals"
        talking = lambda: len([p for p in journals.glob("load-*.ewj") if p.stat().st_size > 64 * 60]) >= 1  # noqa: E731
        until(talking, START_S, "users talk")
        time.sleep(self.options.seconds / 2)
        os.killpg(process.pid, signal.SIGKILL)

    def collect(self) -> tuple[int, Path]:
        into = self.network.folder / "collected"
        shutil.rmtree(into, ignore_errors=True)
        name = next(self.store.glob("run=*")).name
        command = (sys.executable, "-m", "earwitness.harness.cli", "collect", f"{self.store.as_uri()}/{name}")
        done = subprocess.run(
            [*command, "--into", str(into)], cwd=ROOT, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)}
        )
        return done.returncode, into


def walls(found: Path, run: dict[str, Any]) -> list[float]:
    """Return the seconds by which the wall clock of each load process is ahead of the master's."""
    ahead, here = [], 0.0
    master = run.get("clocks", {}).get("master")
    for path in sorted((found / "journals").glob("load-*.names.jsonl")):
        with path.open() as file:
            meta = mapped_meta(run, json.loads(file.readline())["meta"], 0)
        ahead.append(meta["wall_minus_monotonic_ns"] / 1e9)
        here = ahead[-1] if master in (None, meta["clock"]) else here
    return [one - here for one in ahead]


def wrong(name: str, trial: Trial, hosts: Sequence[int]) -> list[str]:
    """Return sentences about what differs from the expected result of the scenario `name`; [] if nothing does."""
    failed, found = trial.failed(), []
    shifts = sorted(round(one["offset_ns"] / 1e9) for one in trial.clocks)
    if shifts != sorted({-SHIFTS[host] for host in hosts} - {0}):
        found.append(f"clocks were measured as {shifts} s")
    shown = sorted(round(one) for one in trial.walls)
    shifted = [WALL_SHIFTS[host] for host in hosts] if libfaketime() else [0] * len(hosts)
    if shown != sorted(shifted):
        found.append(f"wall clocks were {shown} s ahead")
    if name == "sound" and trial.code != 0:
        found.append(f"exit code {trial.code}, failed {failed}")
    elif name in DEFECTS and not set(failed) & set(DEFECTS[name][1]):
        found.append(f"none of {DEFECTS[name][1]} failed, but {failed}")
    elif name in ("worker", "master"):
        said = json.dumps(trial.row("H1"))
        if trial.code != 3 or failed:
            found.append(f"exit code {trial.code}, failed {failed}")
        if name == "worker" and "load-" not in said:
            found.append(f"H1 names no load process: {said}")
    return found


def told(name: str, trial: Trial | None) -> str:
    """Return a cell of the table: the exit code, and which checks failed."""
    if trial is None:
        return "–" if name not in DEFECTS else "no verdict"
    return " ".join([f"exit {trial.code}", *trial.failed()])


def compared(made: Network, options: argparse.Namespace, name: str) -> list[str]:
    """Make the runs of one scenario, print its row, and return sentences about wrong results."""
    trials: list[Trial | None] = []
    found: list[str] = []
    for hosts in ((0, 1, 2), (0, 0, 0))[: 2 if name in DEFECTS else 1]:
        where = f"{len(set(hosts))} hosts"
        try:
            trial = Scenario(made, options, name, hosts).run()
            trials.append(trial)
            found += [f"{where}: {fault}" for fault in wrong(name, trial, hosts)]
        except TimeoutError as error:
            trials.append(None)
            found.append(f"{where}: {error}")
        if options.keep:
            shutil.rmtree(options.keep / name / where, ignore_errors=True)
            shutil.copytree(made.folder, options.keep / name / where, symlinks=True)
    many, one = (*trials, None)[:2]
    if many is not None and one is not None and not set(many.failed()) & set(one.failed()) & set(DEFECTS[name][1]):
        found.append(f"other checks failed on one host: {many.failed()}, {one.failed()}")
    clocks = many.clocks if many else []
    bounds = ", ".join(f"{c['offset_ns'] / 1e9:+.4f} s ± {c['bound_ns'] / 1e6:.1f} ms" for c in clocks)
    ahead = ", ".join(f"{seconds:+.0f} s" for seconds in (many.walls if many else ()) if round(seconds))
    records = f"{many.verdict.get('records') or 0:,}" if many else "–"
    print(f"| {name} | {told(name, many)} | {told(name, one)} | {records} | {bounds} | {ahead or '–'} |", flush=True)
    return found


@contextlib.contextmanager
def network() -> Iterator[Network]:
    with tempfile.TemporaryDirectory(prefix="earwitness-hosts-") as folder:
        made = Network(Path(folder))
        try:
            made.make()
            yield made
        finally:
            made.remove()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=NAMES, help="only this scenario; repeatable")
    parser.add_argument("--seconds", type=int, default=12)
    parser.add_argument("--users", type=int, default=30)
    parser.add_argument("--keep", type=Path, help="copy logs and runs of each scenario into this folder")
    options = parser.parse_args()
    if os.geteuid() != 0 or not shutil.which("ip"):
        print("hosts.py makes network namespaces: it needs root and `ip` (Debian: apt-get install iproute2)")
        return 2
    if libfaketime() is None:
        print("libfaketime is not installed, so all hosts have the same wall clock")
    bad = 0
    print(HEAD, flush=True)
    with network() as made:
        for name in options.only or NAMES:
            faults = compared(made, options, name)
            bad += bool(faults)
            print(*(f"WRONG: {name}, {fault}" for fault in faults), sep="\n", end="\n" * bool(faults), flush=True)
    print(f"{bad} of the scenarios are not as they must be")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
