"""Cost of `earwitness check` for a long run: CPU time, and the highest anonymous memory of its processes.

python -m benchmarks.check --records 10000000 --rounds 3   # writes a healthy run into the temporary directory first
python -m benchmarks.check --records 1000000 --keep DIR    # … into DIR, and leaves it there for further measurements
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from benchmarks.judge import blocks, make_roster, plant
from earwitness.checks import Contract, Kind
from earwitness.checks.history.record import RECORD_BYTES
from earwitness.harness.record.evidence import conclude
from earwitness.harness.record.journal import BLOCK_RECORDS, DATA_SUFFIX, NAMES_SUFFIX
from earwitness.harness.record.rundir import RUN_FILE, RunDirectory
from earwitness.harness.record.sidecar import Block, Chain, tag_of

POLL_S = 0.05
CONTRACT = Contract(
    sequence="contiguous", idempotent=True, delivery_bound_s=3600.0, rate_per_s=1e6, rate_burst=1e6, retry_after=True,
    fairness_factor=10.0,
)  # fmt: skip


@dataclass
class Bulk:
    """Writer of one sealed journal from whole arrays of records, as a load process would have written them."""

    folder: Path
    name: str
    records: int = 0
    _chain: Chain = field(default_factory=Chain)
    _blocks: list[Block] = field(default_factory=list)
    _begin: str = ""
    _rest: bytes = b""

    def __post_init__(self) -> None:
        self._data: BinaryIO = (self.folder / f"{self.name}{DATA_SUFFIX}").open("wb")
        self._side: BinaryIO = (self.folder / f"{self.name}{NAMES_SUFFIX}").open("wb")
        self._line({"journal": self.name, "meta": {"host": "here"}})
        self._begin = self._before = self._chain.last

    def write(self, records: np.ndarray) -> None:
        """Append `records` to the journal; this method sets their indexes."""
        records["index"] = np.arange(self.records + 1, self.records + len(records) + 1)
        self.records += len(records)
        data = self._rest + records.tobytes()
        self._data.write(data[len(self._rest) :])
        size = BLOCK_RECORDS * RECORD_BYTES
        whole = len(data) // size * size
        self._seal([data[start : start + size] for start in range(0, whole, size)])
        self._rest = data[whole:]

    def close(self, footer: dict[str, Any]) -> None:
        """Seal the remaining records, write the footer, and close the files."""
        if self._rest:
            self._seal([self._rest])
        self._line({"footer": {**footer, "records": self.records}, "blocks": len(self._blocks), "before": self._before})
        self._data.close()
        self._side.close()

    def _seal(self, parts: Sequence[bytes]) -> None:
        for part in parts:
            first = self._blocks[-1].last + 1 if self._blocks else 1
            block = Block(len(self._blocks) + 1, first, len(part) // RECORD_BYTES, tag_of(part))
            self._blocks.append(block)
            self._side.write(self._chain.seal(self.name, [block], self._before))
            self._chain.commit()
            self._before = self._chain.last

    def _line(self, value: dict[str, Any]) -> None:
        self._side.write(self._chain.line(value))
        self._chain.commit()


def make_run(
    path: Path, records: int, *, connections: int = 100, journals: int = 2, seed: int = 1, planted: int = 0
) -> Path:
    """Write a run of about `records` records into `path`; return `path`. The devices are distributed over the journals.

    `planted`: number of deliveries in each block of ten million records that are replaced by repetitions; 0: a healthy
    run.
    """
    rng = np.random.default_rng(seed)
    roster = make_roster(connections, rng)
    directory = RunDirectory.at(path)
    directory.write_roster(roster)
    names = [f"load-{n}" for n in range(journals)]
    directory.update(contract=CONTRACT.to_dict(), journals=names, story="generated", state="running", seed=seed)
    writers = [Bulk(directory.journals, name) for name in names]
    for place, block in enumerate(blocks(roster, records, rng)):
        if planted and (block["kind"] == Kind.INVOKE).any():
            plant(block, planted, seed + place)
        of = block["client"] % journals
        for number, writer in enumerate(writers):
            writer.write(block[of == number])
    for writer in writers:
        writer.close({"lag_ms": {"p50": 0.1, "p99": 1.0, "max": 2.0}})
    conclude(directory, state="collected")
    return path


@dataclass(frozen=True)
class Cost:
    """Costs of one check: CPU and wall time (s), highest anonymous memory of all its processes (MiB), exit code."""

    cpu_s: float
    wall_s: float
    anonymous_mib: float
    outcome: int


def measured(run: Path, options: Sequence[str]) -> Cost:
    """Run `earwitness check RUN` with `options` as a process, and return its costs."""
    command = [sys.executable, "-m", "earwitness.harness.cli", "check", str(run), "--json", *options]
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    most = 0.0
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            most = max(most, _anonymous_mib(process.pid))
            time.sleep(POLL_S)  # the kernel keeps no highest value of anonymous memory
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(cpu_s, time.monotonic() - began, most, process.returncode)


def _anonymous_mib(pid: int) -> float:
    """Return the anonymous memory of a process and of all its descendants, in MiB."""
    total = 0.0
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("RssAnon"):
                total += int(line.split()[1]) / 1024
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return total
    return total + sum(_anonymous_mib(int(child)) for child in children)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=10_000_000)
    parser.add_argument("--journals", type=int, default=2)
    parser.add_argument("--planted", type=int, default=0, help="deliveries lost for a repetition in each ten million")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--keep", type=Path, metavar="DIR", help="write the run here, unless it is there, and leave it")
    parser.add_argument("options", nargs="*", help="options of earwitness check, after --")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="earwitness-check-") as folder:
        run = arguments.keep or Path(folder) / "run"
        if not (run / RUN_FILE).exists():
            make_run(run, arguments.records, journals=arguments.journals, planted=arguments.planted)
        records = sum(os.path.getsize(path) for path in run.glob(f"journals/*{DATA_SUFFIX}")) // RECORD_BYTES
        for _ in range(arguments.rounds):
            cost = measured(run, arguments.options)
            print(
                f"{records:,} records: {cost.cpu_s:.1f} CPU-seconds, {records / cost.cpu_s / 1e6:.2f} million a "
                f"CPU-second, {cost.wall_s:.1f} s, {cost.anonymous_mib:.0f} MiB anonymous, exit code {cost.outcome}",
                flush=True,
            )


if __name__ == "__main__":
    main()
