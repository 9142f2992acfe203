"""Inputs with one to three mistakes: each must give a message and exit code 2, or a run that is judged.

A traceback or a hang is wrong.

    python tests/support/fuzz.py [--inputs N] [--seed S] [--kind KIND]

Each input is drawn by its seed. A worker process tries many inputs; its memory may grow by one gigabyte. If one input
takes longer than the deadline, the worker is killed, and that input counts as wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
DEADLINE_S = 30.0
MEMORY_MORE = 1 << 30
LONGEST_WRONG = 2000


def worker(first: int, count: int, kind: str) -> None:
    """Try `count` inputs from the seed `first` on, and print one JSON line about each. `kind`: "" for all kinds.

    The working directory is a new temporary folder.
    """
    sys.path[:0] = [str(HERE.parents[1]), str(HERE)]
    from fuzz_trials import Trials

    from earwitness.harness.report.warm import warm_up

    warm_up(lambda sentence: print(sentence, file=sys.stderr))  # no input pays for compiling
    out = os.fdopen(os.dup(1), "w")
    with tempfile.TemporaryDirectory() as place:
        os.chdir(place)
        trials = Trials(Path(place), kind)
        _limit_memory()
        for seed in range(first, first + count):
            trial = trials.one(seed)
            said = {"seed": seed, "kind": trial.kind, "outcome": trial.outcome, "wrong": trial.wrong[:LONGEST_WRONG]}
            print(json.dumps(said), file=out, flush=True)
    print(json.dumps({"peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}), file=out, flush=True)


def _limit_memory() -> None:
    with open("/proc/self/statm") as statm:
        now = int(statm.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + MEMORY_MORE, now + MEMORY_MORE))


@dataclass
class Tally:
    """Counts of a campaign: (kind, outcome) → number of inputs.

    `wrong`: sentences about inputs that were handled wrongly.
    """

    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    peak_kb: int = 0

    def take(self, said: dict[str, object]) -> None:
        if "peak" in said:
            self.peak_kb = max(self.peak_kb, int(str(said["peak"])))
            return
        self.outcomes[str(said["kind"]), str(said["outcome"])] += 1
        if said["wrong"]:
            self.wrong.append(f"seed {said['seed']}, {said['kind']}: {said['wrong']}")


def campaign(first: int, count: int, kind: str = "", *, told: bool = False) -> Tally:
    """Try the inputs of `count` seeds from `first` on, one worker at a time; return the counts.

    `kind`: "" for all kinds; `told`: print the progress and each wrong input.
    """
    tally, seed, began = Tally(), first, time.monotonic()
    while seed < first + count:
        began_at = seed
        for said in _lines(seed, first + count - seed, kind):
            tally.take(said)
            seed = int(str(said.get("seed", seed - 1))) + 1
            if told and said.get("wrong"):
                print(tally.wrong[-1], file=sys.stderr, flush=True)
            if told and seed % 500 == 0:
                print(f"{seed - first:,} of {count:,}, {time.monotonic() - began:.0f} s, wrong: {len(tally.wrong)}",
                      file=sys.stderr, flush=True)  # fmt: skip
        if seed == began_at == first:
            raise RuntimeError("the worker cannot begin")
        if seed < first + count:
            tally.take({"seed": seed, "kind": kind or "?", "outcome": "wrong", "wrong": "no answer: hung or died"})
            seed += 1
    return tally


def _lines(first: int, count: int, kind: str) -> Iterator[dict[str, object]]:
    """Yield the JSON lines of one worker until it ends; kill the worker if it is silent for four times DEADLINE_S."""
    command = [sys.executable, str(HERE / "fuzz.py"), "--worker", "--seed", str(first), "--inputs", str(count)]
    said: queue.Queue[str] = queue.Queue()
    with subprocess.Popen([*command, "--kind", kind], stdout=subprocess.PIPE, text=True) as process:
        lines = process.stdout
        assert lines is not None

        def read() -> None:
            for line in lines:
                said.put(line)
            said.put("")

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        patience = 4 * DEADLINE_S  # the first one waits until the checks are compiled
        try:
            while line := said.get(timeout=patience):
                yield json.loads(line)
                patience = DEADLINE_S
        except queue.Empty:
            pass
        finally:
            process.kill()
            process.wait()
            reader.join()


def main() -> int:
    parser = argparse.ArgumentParser(description="Try inputs with one to three mistakes.")
    parser.add_argument("--inputs", type=int, default=25_000)
    parser.add_argument("--seed", type=int, default=0, help="of the first input")
    parser.add_argument("--kind", default="", help="only inputs of this kind")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        worker(options.seed, options.inputs, options.kind)
        return 0
    tally = campaign(options.seed, options.inputs, options.kind, told=True)
    print("| kind | outcome | inputs |\n|---|---|---|")
    for (kind, outcome), count in sorted(tally.outcomes.items()):
        print(f"| {kind} | {outcome} | {count:,} |")
    print(f"highest memory of a worker: {tally.peak_kb / 1e3:,.0f} MB; wrong: {len(tally.wrong)}")
    print(*tally.wrong, sep="\n")
    return bool(tally.wrong)


if __name__ == "__main__":
    sys.exit(main())
