"""Measure how soon a planted violation is in the live verdict, and the CPU cost of the judge during a run.

    python -m benchmarks.live                       # a duplicate, a swap and a leak: one run each
    python -m benchmarks.live --only leak --users 200

The whole reference platform runs with one defect and `ws_ordering` as load. This program reads the run's `live.json`
every 20 ms and stores the time at which each finding is in it for the first time. Afterwards it reads from the journal
when the record that proves the finding was made, by the same clock. The judge states its own CPU time; that of the load
process comes from the system.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from earwitness.harness.errors import Exit
from earwitness.harness.record.history import open_history
from earwitness.harness.record.rundir import read_json
from earwitness.harness.report.live_file import read_live

ROOT = Path(__file__).parents[1]
STORY = ROOT / "locustfiles" / "ws_ordering.py"
LOOK_S = 0.02
DEADLINE_S = 300.0
PLANTED = {
    "duplicate": ("backend=duplicate-push:0.0001", ("I6",)),
    "swap": ("backend=swap-pushes:0.0001", ("I4", "I1")),
    "leak": ("backend=leak:0.001", ("I12",)),
}
RECORD = re.compile(r"(\d+):(\d+)\s")


@dataclass
class Seen:
    """Findings and CPU times that were read during a run.

    findings            (check id, last line of the counterexample) → monotonic ns of its first appearance
    cpu                 CPU-seconds of (judge, load process) at each new live verdict during the load
    whole_judge_cpu_s   CPU-seconds of the judge at the end
    """

    findings: dict[tuple[str, str], int] = field(default_factory=dict)
    cpu: list[tuple[float, float]] = field(default_factory=list)
    whole_judge_cpu_s: float = 0.0

    def look(self, live: dict[str, Any], load: psutil.Process) -> None:
        now = time.monotonic_ns()
        for finding in live["findings"]:
            self.findings.setdefault((finding["check"], finding["records"][-1]), now)
        self.whole_judge_cpu_s = live["judge_cpu_s"]
        if live["state"] == "running" and (not self.cpu or self.cpu[-1][0] != live["judge_cpu_s"]):
            times = load.cpu_times()
            self.cpu.append((live["judge_cpu_s"], times.user + times.system))


def watch(command: list[str], runs: Path) -> Seen:
    """Run `command` to its end, and return what `live.json` showed meanwhile.

    Raises SystemExit unless the run ends with FAIL.
    """
    seen, run_dir, end = Seen(), runs / "latest", time.monotonic() + DEADLINE_S
    with (runs / "locust.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=ROOT)
    try:
        load = psutil.Process(process.pid)
        while process.poll() is None and time.monotonic() < end:
            live = read_live(run_dir)
            if live is not None and live["state"] == "running":
                seen.look(live, load)
            time.sleep(LOOK_S)
    finally:
        process.kill()
        process.wait()
    if process.returncode != Exit.FAIL:
        said = (runs / "locust.log").read_text(encoding="utf-8")
        raise SystemExit(f"{said}\nthe run ended with {process.returncode}, without a violation: no measurement.")
    seen.whole_judge_cpu_s = read_json(run_dir / "live.json")["judge_cpu_s"]
    return seen


def recorded_ns(run_dir: Path, line: str) -> int:
    """Return the time (monotonic ns) of the record that `line`, a line of a counterexample, shows."""
    named = RECORD.match(line)
    assert named, line
    journal, index = int(named[1]), int(named[2])
    return int(open_history(run_dir).journals[journal].records["t"][index - 1])


def measure(planted: str, users: int = 100, seconds: int = 30) -> dict[str, Any]:
    """Measure one run with the defect `planted`.

    delays_s: seconds from the record of each finding of the expected checks to its first appearance in the live
    verdict, in the order of the records. judge_cpu_s, load_cpu_s: CPU-seconds between the first and the last live
    verdict. Raises SystemExit if no finding appeared during the run.
    """
    defect, checks = PLANTED[planted]
    with tempfile.TemporaryDirectory() as directory:
        runs = Path(directory)
        command = [sys.executable, "-m", "locust", "-f", str(STORY), "--headless", "--users", str(users)]
        command += ["--run-time", f"{seconds}s", "--runs", str(runs), "--defect", defect]
        seen = watch(command, runs)
        run_dir = (runs / "latest").resolve()
        mentions = [(recorded_ns(run_dir, line), told) for (id, line), told in seen.findings.items() if id in checks]
        records = read_json(run_dir / "verdict.json")["records"]
    if not mentions:
        raise SystemExit(f"{planted}: nothing was told while the run went on; try more --users or --seconds.")
    (judge_0, load_0), (judge_1, load_1) = seen.cpu[0], seen.cpu[-1]
    return {
        "planted": planted,
        "delays_s": [(told - recorded) / 1e9 for recorded, told in sorted(mentions)],
        "records": records,
        "judge_cpu_s": judge_1 - judge_0,
        "load_cpu_s": load_1 - load_0,
        "judge_before_s": judge_0,
        "judge_whole_s": seen.whole_judge_cpu_s,
    }


def written(found: dict[str, Any]) -> str:
    delays = found["delays_s"]
    share = found["judge_cpu_s"] / found["load_cpu_s"]
    return (
        f"| {found['planted']} | {delays[0]:.2f} s | {median(delays):.2f} s, {max(delays):.2f} s of {len(delays)} "
        f"| {found['records']:,} | {found['judge_cpu_s']:.2f} s of {found['load_cpu_s']:.1f} s = {share:.1%} "
        f"| {found['judge_before_s']:.1f} s | {found['judge_whole_s']:.1f} s |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="From a violation's record to its first mention in live.json.")
    parser.add_argument("--only", choices=PLANTED, action="append", help="which defect; all if none is named")
    parser.add_argument("--users", type=int, default=100)
    parser.add_argument("--seconds", type=int, default=30, help="length of each run")
    options = parser.parse_args()
    print("| planted | first told after | median, longest | records | judge of load, while it runs | before | in all |")
    print("|---|---|---|---|---|---|---|")
    for planted in options.only or PLANTED:
        print(written(measure(planted, options.users, options.seconds)), flush=True)
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"\n{os.cpu_count()} processors; load average at the end: {load}")


if __name__ == "__main__":
    main()
