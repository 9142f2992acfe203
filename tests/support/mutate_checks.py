"""Mutation of the checks: if any check is removed, or any small mistake is made in one, a test must fail.

    python tests/support/mutate_checks.py [--only I4 …] [--parallel 2]

A mistake is made in a process forked from one in which all tests have just passed, in the functions that the check's
fold uses (`mistakes.py`); no file is changed. Compiled loops run as plain Python, so nothing is compiled. The random
histories of the oracle's tests, and the oracle's verdicts on them, are cached from the passing run. In these tests and
in tests/checks/test_gate.py only the checks with the mistake judge. Mistakes that change nothing are listed, with their
reasons, in `same_anyway.py`.

The exit status is 0 if tests detect all others, 1 if they do not or if the list is wrong, 2 if tests fail without a
mistake.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import gc
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests/support")]
os.environ["NUMBA_DISABLE_JIT"] = "1"

import auth_soup  # noqa: E402
import compare  # noqa: E402
import device_soup  # noqa: E402
import mutants  # noqa: E402
import oracle_accounts  # noqa: E402
import oracle_auth  # noqa: E402
import oracle_devices  # noqa: E402
import oracle_faults  # noqa: E402
import pytest  # noqa: E402
import simulator  # noqa: E402
import soup  # noqa: E402
import soup_faults  # noqa: E402
from mistakes import Mistake, mistakes  # noqa: E402
from same_anyway import SAME_ANYWAY  # noqa: E402

from earwitness.checks import catalogue, judge  # noqa: E402

TESTS = {
    "I1": "fifo", "I2": "order", "I3": "causal", "I4": "gaps", "I5a": "stored", "I5b": "delivered cut_drains",
    "I6": "heard", "I7": "stored", "I8": "creation", "I9": "answers", "I10": "heard", "I11": "answers",
    "I12": "heard pushed listeners", "I13": "revoked pushed", "I14": "answers pushed", "I15": "heard",
    "I16": "reads", "I17": "reads", "I18": "shared_writes", "I19": "resume", "I20": "resume", "I21": "resume",
    "I22": "convergence standing", "I24": "runs listeners", "I25": "liveness missed", "I26": "fairness",
    "I27": "presence", "I28": "availability", "I29": "validity wall_clock", "I30": "validity wall_clock",
    "I31": "forgery wall_clock", "I32": "single_use wall_clock", "I33": "single_use",
    "I34": "authority wall_clock", "I35": "outages wall_clock", "I36": "limits budget wall_clock",
    "I37": "limits budget wall_clock", "I38": "limits budget wall_clock", "I39": "limits budget wall_clock",
    "I40": "breakers", "I41": "sync news pushed", "I43": "answered", "I44": "reads", "I45": "promises",
    "I46": "promises", "I47": "unreceived",
    "I42": "sync", "H3": "health wall_clock", "H4": "attained", "H6": "truth", "H7": "soundness",
}  # fmt: skip
"""Check id → names of the test files with its literal histories, without the prefix `test_`.

Those of the H-checks are in test_health. For a check that is missing here, all files that name it are used.
"""

PLANES = (
    oracle_auth.AUTH_CHECKS,
    oracle_accounts.ACCOUNT_CHECKS,
    oracle_devices.DEVICE_CHECKS,
    oracle_faults.FAULT_CHECKS,
)
LIMIT_S = 40
"""Most CPU time in s for the tests of one mistake; the slowest that end take 17 s on a busy machine."""
late = ""


class NoEndError(BaseException):
    """Raised when LIMIT_S is over; no Exception, because the judge would take that for a crash of the check."""


def literal(ids: Sequence[str]) -> list[str]:
    """Return arguments of pytest: the tests with literal histories of these checks."""
    files = sorted((ROOT / "tests/checks").glob("*/test_*.py"))
    own = [str(file.relative_to(ROOT)) for id in ids for file in files if _tests(file, id)]
    return [*dict.fromkeys(own), "tests/checks/test_disagreements.py"]


def _tests(file: Path, id: str) -> bool:
    """Return whether a file has literal histories of the check `id`."""
    if id in TESTS or id.startswith("H"):
        return file.stem.removeprefix("test_") in TESTS.get(id, "health").split()
    return re.search(rf"\b{id}\b", file.read_text("utf-8")) is not None


def generated(ids: Sequence[str]) -> list[str]:
    """Return arguments of pytest: tests/checks/test_gate.py, and the oracle tests of these checks."""
    files = ["gate", "against_oracle"]
    files += ["faults_against_oracle"] * any(id in oracle_faults.FAULT_CHECKS for id in ids)
    files += ["planes_against_oracle"] * any(id in plane for plane in PLANES[:3] for id in ids)
    wanted = " or ".join([*(f"[{id}]" for id in ids), "has_its_proof", "slightly_wrong", "nonsense", "agree"])
    return [*(f"tests/checks/test_{file}.py" for file in files), "-k", wanted]


class Reds:
    """Plugin of pytest that stores the name of the first test that fails."""

    def __init__(self) -> None:
        self.first = ""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and not self.first:
            self.first = report.nodeid.rpartition("/")[2]

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed and not self.first:
            self.first = report.nodeid


def first_red(arguments: Sequence[str]) -> str:
    """Run tests in this process; return the name of the first one that fails, "" if all pass."""
    options = ["-x", "-q", "--no-header", "--tb=no", "-W", "ignore", "--timeout=0", f"--rootdir={ROOT}", "-m", ""]
    without = [part for name in ("randomly", "cacheprovider", "xdist", "cov") for part in ("-p", f"no:{name}")]
    reds = Reds()
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        status = pytest.main([*options, *without, *arguments], plugins=[reds])
    return reds.first or ("" if status == pytest.ExitCode.OK else f"pytest ended with {status!r}")


def _key(value: Any) -> Any:
    journals = getattr(value, "journals", None)
    if journals is None:
        return repr(value)
    about = repr([getattr(value, name) for name in ("roster", "contract", "infos")])
    return about, tuple(journal.tobytes() for journal in journals)


def remembered(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a cached version of `function`; each call gets a copy of the result, which it may change."""
    known: dict[Any, Any] = {}

    @functools.wraps(function)
    def answer(*arguments: Any, **named: Any) -> Any:
        key = (*map(_key, arguments), repr(named))
        if key not in known:
            known[key] = function(*arguments, **named)
        return _own(known[key])

    return answer


def _own(value: Any) -> Any:
    """Return a copy of the parts that tests change (a run's journals and list of infos); else the value itself."""
    if isinstance(value, tuple):
        return tuple(map(_own, value))
    if not hasattr(value, "journals"):
        return value
    return replace(value, journals=[journal.copy() for journal in value.journals], infos=list(value.infos))


def remember() -> None:
    """Replace the generators of histories by cached versions; call this before any test is imported.

    The histories do not depend on the checks, so they stay valid when a check has a mistake.
    """
    for module, name in (
        (simulator, "simulate"), (mutants, "mutant"), (soup, "soup"), (auth_soup, "auth_soup"),
        (device_soup, "device_soup"), (soup_faults, "soup_of_faults"), (compare, "opinions"),
    ):  # fmt: skip
        setattr(module, name, remembered(getattr(module, name)))


def judged_by(bearing: Callable[[str], bool]) -> None:
    """Let only the checks with `bearing(id)` judge, from now on in this process."""
    begin = judge.Judge.__init__

    def narrowed(self: Any, roster: Any, contract: Any, checks: Any = catalogue.ALL, *others: Any) -> None:
        begin(self, roster, contract, [check for check in checks if bearing(check.id)], *others)

    judge.Judge.__init__ = narrowed  # type: ignore[method-assign]


def red(mistake: Mistake) -> str:
    """Make a mistake, permanently in this process; return the first test that fails, "" if none does."""
    ids = mistake.checks
    if mistake.what == "remove":
        judged_by(lambda id: id not in ids)
        return first_red(literal(ids)) or first_red(generated(ids))
    mistake.make()
    if by := first_red(literal(ids)):
        return by
    judged_by(ids.__contains__)
    for plane in PLANES:  # the very ones that the tests use
        for id in set(plane) - set(ids):
            del plane[id]
    return first_red(generated(ids))


def _limit(signum: int, frame: Any) -> None:
    global late
    late = " (no end)"
    raise NoEndError


def _in_child(mistake: Mistake, end: int) -> None:
    """Run the forked process: try one mistake, write the failed test into the pipe `end`, and exit."""
    signal.signal(signal.SIGVTALRM, _limit)
    signal.setitimer(signal.ITIMER_VIRTUAL, LIMIT_S)
    try:
        by = red(mistake)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os.write(end, f"{by}{late}".encode())
    os._exit(0)


@dataclass(frozen=True)
class Tried:
    mistake: Mistake
    by: str
    cpu_s: float


def each_tried(todo: Sequence[Mistake], parallel: int) -> Iterator[Tried]:
    """Yield the result of each mistake, in the order in which they end; each is tried in a process of its own.

    `parallel`: most processes at a time.
    """
    waiting, running = list(reversed(todo)), {}
    while waiting or running:
        if waiting and len(running) < parallel:
            mistake, (begin, end) = waiting.pop(), os.pipe()
            pid = os.fork()
            if not pid:
                _in_child(mistake, end)
            os.close(end)
            running[pid] = mistake, begin
            continue
        pid, status, used = os.wait3(0)
        mistake, begin = running.pop(pid)
        with os.fdopen(begin) as pipe:
            by = pipe.read()
        assert status == 0, f"nothing was learnt of {mistake.path}:{mistake.line} {mistake.code}"
        yield Tried(mistake, by, used.ru_utime + used.ru_stime)


def tell(tried: Tried, reason: str) -> str:
    mistake = tried.mistake
    word = "red" if tried.by else "same" if reason else "SURVIVED"
    place = f"{mistake.path}:{mistake.line} {mistake.what}"
    return f"{word:8} {tried.cpu_s:5.1f} s  {','.join(mistake.checks)} {place}  {mistake.code}  {tried.by or reason}"


def reason_of(mistake: Mistake) -> str:
    return SAME_ANYWAY.get(mistake.path, {}).get(mistake.code, "")


def stale(every: Sequence[Mistake]) -> Iterator[str]:
    """Yield the entries of SAME_ANYWAY that match no possible mistake."""
    existing = {(mistake.path, mistake.code) for mistake in every}
    for path, codes in SAME_ANYWAY.items():
        yield from (f"{path}: {code}" for code in codes if (path, code) not in existing)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--only", nargs="*", default=[], help="ids of checks")
    parser.add_argument("--parallel", type=int, default=2)
    options = parser.parse_args()
    every = mistakes()
    todo = [m for m in every if not options.only or set(m.checks) & set(options.only)]
    ids = [check.id for check in catalogue.ALL if any(check.id in m.checks for m in todo)]
    os.chdir(ROOT)
    remember()
    if by := first_red(literal(ids)) or first_red(generated(ids)):
        print(f"nothing can be said: without any mistake {by} is red", file=sys.stderr)
        return 2
    gc.freeze()
    counts = {"red": 0, "same": 0, "SURVIVED": 0, "late": 0}
    wrong = [f"listed, but there is no such mistake: {line}" for line in stale(every)]
    for tried in each_tried(todo, options.parallel):
        line = tell(tried, reason_of(tried.mistake))
        print(line, flush=True)
        counts[line.split()[0]] += 1
        counts["late"] += tried.by.endswith("(no end)")
        if tried.by and reason_of(tried.mistake):
            wrong.append(f"listed as changing nothing, but {tried.by} notices: {tried.mistake.code}")
    print(*wrong, sep="\n", end="\n" if wrong else "")
    print(
        f"{len(todo)} mistakes: {counts['red']} turned a test red ({counts['late']} only by the limit of {LIMIT_S} s), "
        f"{counts['same']} change nothing and are listed, {counts['SURVIVED']} survived"
    )
    return 1 if counts["SURVIVED"] or wrong else 0


if __name__ == "__main__":
    sys.exit(main())
