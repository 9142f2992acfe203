"""The program `python -m pytest_suite.proof`: run every critical test with the defects that it names.

For each defect the platform is started with it, and the tests that name it are run: they must fail. A session without a
defect shows that they pass otherwise. The outcomes are stored in `--work`, so the same command continues after an
interruption; the table is written to `--evidence`. Exit code 0: every test failed with its defects; 1: one did not; 3:
some were not run, or none was. A published table that rests on more runs is not replaced.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from earwitness.harness.errors import Exit
from earwitness.harness.evidence.catalogue import all_defects
from earwitness.harness.evidence.ground_truth import GroundTruth
from earwitness.harness.evidence.published import publish
from earwitness.harness.platform.children import module_environment
from pytest_suite.orders import HERE, collect, faults, orders_of
from pytest_suite.proof_table import HEALTHY, Findings, Row, table

WORK, EVIDENCE = Path("runs/proof"), HERE.parent / "docs" / "suite-evidence.md"
FEW_ROWS = 40
"""Number of seeded rows in the databases: enough for the tests that need some, and written quickly."""
END_S = 60.0


class Proof:
    """Pairs of test and defect, and the sessions of pytest that find their outcomes."""

    def __init__(self, work: Path, others: str, only: Iterable[str]) -> None:
        self.catalogue = {one.id: one for one in all_defects()}
        tests = collect()
        if found := faults(tests, self.catalogue):
            raise SystemExit("\n".join(found))
        wanted = set(only)
        self.files = {name: file for (file, name) in tests}
        self.rows = [
            Row(file, name, order)
            for (file, name), (item, *_) in tests.items()
            for order in orders_of(item, self.catalogue)
            if not wanted or wanted & {file, name, order.id}
        ]
        self.all = list(tests)
        self._others, self._work = others, work.resolve()
        self._work.mkdir(parents=True, exist_ok=True)
        self.findings = Findings(self._work / "findings.jsonl")

    def sessions(self) -> dict[str, list[tuple[str, str]]]:
        """Return what has no outcome yet: name of the defect, or HEALTHY → tests as (file, name)."""
        todo: dict[str, list[tuple[str, str]]] = {}
        for row in self.rows:
            if row.order.id in self.catalogue:
                todo.setdefault(str(row.order), []).append((row.file, row.name))
        own = {(row.file, row.name) for row in self.rows}
        for tests in list(todo.values()):
            files = {file for file, _ in tests}
            tests += [
                test for test in self.all
                if test not in tests and (self._others == "all" or (self._others == "file" and test[0] in files))
            ]  # fmt: skip
        todo[HEALTHY] = [test for test in self.all if test in own]
        left = {order: [t for t in tests if not self.findings.has(order, t)] for order, tests in todo.items()}
        return {order: tests for order, tests in left.items() if tests}

    def run(self, order: str, tests: list[tuple[str, str]], until: float | None) -> None:
        """Run one session of pytest with a platform of its own, and store its outcomes, even if it is cut short.

        `order`: the defect, or HEALTHY; `until`: end of the time budget (`time.monotonic`), None for no limit.
        """
        folder = self._work / order.replace("=", "-").replace(":", "-")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        ledger = folder / "ledger.jsonl"
        command = [sys.executable, "-m", "pytest", "-q", "--real-services", "--volume", str(FEW_ROWS)]
        command += ["-p", "no:randomly", "-p", "no:cacheprovider", "--logs", str(folder), "--ledger", str(ledger)]
        command += [] if order == HEALTHY else ["--defect", order]
        command += [*sorted({f"{HERE.name}/{file}" for file, _ in tests}), "-k", " or ".join(n for _, n in tests)]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")} | module_environment()
        with open(folder / "pytest.txt", "wb") as out:
            session = subprocess.Popen(command, cwd=HERE.parent, env=environment, stdout=out, stderr=out)
            try:
                session.wait(None if until is None else max(0.0, until - time.monotonic()))
            except (subprocess.TimeoutExpired, KeyboardInterrupt) as end:
                _end(session)
                if isinstance(end, KeyboardInterrupt):
                    raise
            finally:
                fired = 0 if order == HEALTHY else self._fired(folder, order)
                lines = ledger.read_text("utf-8").splitlines() if ledger.exists() else []
                self.findings.add(order, [json.loads(line) for line in lines], fired)
        if not lines:
            _say(f"{order}: nothing was run; {folder / 'pytest.txt'} says why")

    def _fired(self, folder: Path, order: str) -> int:
        id = order.partition("=")[2].partition(":")[0]
        return sum(GroundTruth(logs).count(id, "")[0] for logs in folder.iterdir() if logs.is_dir())

    def write(self, evidence: Path) -> None:
        """Write the table to `evidence`; into the work folder if the published table rests on more runs."""
        _say(publish(evidence, table(self.rows, self.findings, self.catalogue), self._work / "suite-evidence.md"))

    def exit_code(self) -> int:
        """Print the number of rows that are red, not red and not run; return the exit code."""
        states: Mapping[str, int] = self.findings.count(self.rows)
        _say(", ".join(f"{n} {state}" for state, n in states.items()))
        if states.get("not red"):
            return Exit.FAIL
        return Exit.PASS if states.get("red") and not states.get("not run") else Exit.UNKNOWN


def _end(session: subprocess.Popen[bytes]) -> None:
    """Send SIGINT to a session of pytest, so that it stops its platform; after END_S seconds kill it."""
    session.send_signal(signal.SIGINT)
    try:
        session.wait(END_S)
    except subprocess.TimeoutExpired:
        session.kill()
        session.wait()


def _say(text: str) -> None:
    print(f"earwitness: {text}", file=sys.stderr, flush=True)


def main() -> int:
    """Run the sessions without outcomes, write the table, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m pytest_suite.proof", description=__doc__.partition("\n")[2])
    parser.add_argument("--only", default="", metavar="Z49,NAME", help="only these defects, tests or files")
    parser.add_argument(
        "--others", choices=("none", "file", "all"), default="file",
        help="which tests are run beside those that name the defect, to see who else notices it (default: same file)",
    )  # fmt: skip
    parser.add_argument("--budget", type=float, metavar="MIN", help="stop after so many minutes")
    parser.add_argument("--again", action="store_true", help="run again what was not red")
    parser.add_argument("--work", type=Path, default=WORK, metavar="DIR", help=f"where findings are kept ({WORK})")
    parser.add_argument("--evidence", type=Path, default=EVIDENCE, metavar="FILE", help="the table to write")
    args = parser.parse_args()
    proof = Proof(args.work, args.others, filter(None, args.only.split(",")))
    if args.again:
        proof.findings.forget(proof.rows)
    begin = time.monotonic()
    until = None if args.budget is None else begin + 60 * args.budget
    sessions = proof.sessions()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        for number, (order, tests) in enumerate(sessions.items(), start=1):
            if until is not None and time.monotonic() >= until:
                break
            _say(f"{number}/{len(sessions)} {order}: {len(tests)} tests")
            proof.run(order, tests, until)
            _say(f"{number}/{len(sessions)} {order}: {proof.findings.told(order)}, {time.monotonic() - begin:.0f} s")
    finally:
        proof.write(args.evidence)
    return proof.exit_code()


if __name__ == "__main__":
    sys.exit(main())
