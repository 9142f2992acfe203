"""Agreement of the checks with oracles of other corpora: `python tests/support/foreign_numbers.py [SEEDS]`.

Writes the numbers into `docs/foreign-corpora.md`, below its first heading of numbers.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from broadcast import CHECK_OF, EXPLAINED, FAULTS, broadcast, broken, records  # noqa: E402
from compare import fold  # noqa: E402
from registers import (  # noqa: E402
    KEY_FAULTS,
    REGISTER_FAULTS,
    compare_key,
    compare_register,
    random_key,
    random_register,
)

from earwitness.checks.verdict import Outcome  # noqa: E402

PAGE = ROOT / "docs" / "foreign-corpora.md"
NUMBERS = "## Numbers"


def failed(run: Any) -> set[str]:
    """Return the ids of the checks that fail for a history."""
    return {id for id, verdict in fold(run).items() if verdict.outcome == Outcome.FAIL}


def of_broadcast(seeds: int) -> list[str]:
    """Return a table with one row for each fault: judgements (history × property), agreements, differences."""
    lines = ["| fault | histories | judgements | both broken | both whole | differ, explained | differ |"]
    lines.append("|---|---|---|---|---|---|---|")
    total: Counter[str] = Counter()
    for fault in (None, *FAULTS):
        seen: Counter[str] = Counter()
        for seed in range(seeds):
            run = broadcast(seed, fault)
            found, verdicts = broken(run), fold(records(run))
            for name, check in CHECK_OF.items():
                if check in verdicts and verdicts[check].promised:
                    ours, theirs = verdicts[check].outcome == Outcome.FAIL, name in found
                    word = ("broken" if ours else "whole") if ours == theirs else "differ"
                    seen["explained" if word == "differ" and (fault, check) in EXPLAINED else word] += 1
        total.update(seen)
        lines.append(_row(fault or "none", seeds, seen))
    lines.append(_row("**all**", seeds * (1 + len(FAULTS)), total))
    judged = sorted({check for check in CHECK_OF.values() if check in verdicts and verdicts[check].promised})
    return [*lines, "", f"Properties compared: those of {', '.join(judged)}."]


def _row(name: str, seeds: int, seen: Counter[str]) -> str:
    cells = [sum(seen.values()), seen["broken"], seen["whole"], seen["explained"], seen["differ"]]
    return f"| {name} | {seeds:,} | " + " | ".join(f"{cell:,}" for cell in cells) + " |"


def of_logs(
    seeds: int, faults: Sequence[str], make: Callable[..., Any], compare: Callable[..., str], rest: str
) -> list[str]:
    """Return a table with one row for each fault: logs that both judge good or bad, and the differences.

    `make(seed, fault)`: returns a log; `compare(log, failed)`: returns the result in words; `rest`: heading of the
    column of logs that only the oracle judges bad.
    """
    lines = [f"| fault | logs | both good | both bad | {rest} | false alarms |", "|---|---|---|---|---|---|"]
    for fault in (None, *faults):
        words = Counter(compare(make(seed, fault), failed).split(" (")[0].split(":")[0] for seed in range(seeds))
        good, bad = words.pop("both good", 0), words.pop("both bad", 0)
        wrong = sum(count for word, count in words.items() if word.startswith("!"))
        missed = sum(words.values()) - wrong
        lines.append(f"| {fault or 'none'} | {seeds:,} | {good:,} | {bad:,} | {missed:,} | {wrong:,} |")
    return lines


def main(seeds: int) -> int:
    """Generate all histories, judge them, write the numbers, and return 0."""
    parts = [NUMBERS, "", f"Written by `python tests/support/foreign_numbers.py {seeds}`.", "", "### Broadcast", ""]
    parts += of_broadcast(seeds)
    parts += ["", "### Registers, by I18", ""]
    parts += of_logs(seeds, REGISTER_FAULTS, random_register, compare_register, "bad only together")
    parts += ["", "### Append-only keys, by I2, I5a, I7, I8, I16, I17, I44", ""]
    parts += of_logs(seeds, KEY_FAULTS, random_key, compare_key, "bad by the oracle alone")
    before = PAGE.read_text("utf-8").partition(NUMBERS)[0]
    PAGE.write_text(before + "\n".join(parts) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 300))
