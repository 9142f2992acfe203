"""Outcomes of the sessions of `proof`, and the page that shows them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from earwitness.harness.evidence.defect import Defect
from pytest_suite.orders import Order

HEALTHY = "no defect"
Test = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Row:
    """Test, and a defect that must make it fail."""

    file: str
    name: str
    order: Order


class Findings:
    """Outcomes of all cases, by defect and test, stored as JSON lines in a file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._by_order: dict[str, dict[Test, dict[str, Any]]] = {}
        self.fired: dict[str, int] = {}
        for line in path.read_text("utf-8").splitlines() if path.exists() else ():
            self._take(json.loads(line))

    def _take(self, line: Mapping[str, Any]) -> None:
        test, case = split(line["test"])
        self._by_order.setdefault(line["order"], {}).setdefault(test, {})[case] = line
        self.fired[line["order"]] = max(self.fired.get(line["order"], 0), line["fired"])

    def add(self, order: str, lines: Iterable[Mapping[str, Any]], fired: int) -> None:
        """Store the outcomes of one session.

        `lines`: those of the ledger; `fired`: how often the session's defect fired.
        """
        with open(self._path, "a", encoding="utf-8") as file:
            for line in lines:
                whole = {"order": order, "fired": fired, **line}
                self._take(whole)
                file.write(json.dumps(whole) + "\n")

    def has(self, order: str, test: Test) -> bool:
        """Return whether the test was run with this defect."""
        return test in self._by_order.get(order, {})

    def of(self, order: str, test: Test) -> list[dict[str, Any]]:
        """Return the outcomes of all cases of a test in the session with the defect `order`."""
        return list(self._by_order.get(order, {}).get(test, {}).values())

    def state(self, row: Row) -> str:
        """Return "red" if the defect fired and a case failed, "not run" without outcomes, else "not red"."""
        ends = self.of(str(row.order), (row.file, row.name))
        if not ends or all(end["outcome"] == "skipped" for end in ends):
            return "not run"
        red = any(end["outcome"] == "failed" for end in ends) and self.fired[str(row.order)] > 0
        return "red" if red else "not red"

    def others(self, order: str, own: Iterable[Test]) -> list[Test]:
        """Return the tests that failed with the defect `order` and are not among `own`, the tests that name it."""
        known = set(own)
        found = self._by_order.get(order, {})
        return [
            test for test, ends in found.items()
            if test not in known and any(end["outcome"] in ("failed", "error") for end in ends.values())
        ]  # fmt: skip

    def count(self, rows: Sequence[Row]) -> Counter[str]:
        """Return state (see `state`) → number of rows."""
        return Counter(self.state(row) for row in rows)

    def told(self, order: str) -> str:
        """Return the number of cases of each outcome with this defect, as a phrase."""
        ends = Counter(end["outcome"] for cases in self._by_order.get(order, {}).values() for end in cases.values())
        return ", ".join(f"{n} {outcome}" for outcome, n in ends.items()) or "nothing"

    def forget(self, rows: Sequence[Row]) -> None:
        """Remove the outcomes of rows that are not red, so that these rows are run again."""
        for row in rows:
            if self.state(row) != "red":
                self._by_order.get(str(row.order), {}).pop((row.file, row.name), None)
        kept = [end for tests in self._by_order.values() for cases in tests.values() for end in cases.values()]
        self._path.write_text("".join(json.dumps(end) + "\n" for end in kept), "utf-8")


def split(nodeid: str) -> tuple[Test, str]:
    """Return ((file, function), case) of `test_file.py::TestClass::test_function[case]`."""
    place, _, case = nodeid.partition("[")
    file, *_, name = place.split("::")
    return (file, name), case.removesuffix("]")


def table(rows: Sequence[Row], findings: Findings, catalogue: Mapping[str, Defect]) -> str:
    """Return the page of the outcomes of `rows` as Markdown."""
    states = findings.count(rows)
    lines = [
        "# Each functional test can fail",
        "",
        "Written by `python -m pytest_suite.proof`; do not edit by hand. Each critical test names defects of the",
        "reference platform (`@pytest.mark.fails_with`). The platform is started with one and the test is run: it must",
        "fail.",
        "*Red* means that the defect fired (its own log says so) and that the test itself failed, not its set-up.",
        "",
        f"{len({(row.file, row.name) for row in rows})} tests, {len(rows)} rows: "
        + ", ".join(f"{states[state]} {state}" for state in ("red", "not red", "not run")) + ". "
        + _healthy(rows, findings),
    ]  # fmt: skip
    file = ""
    for row in rows:
        if row.file != file:
            file = row.file
            lines += ["", f"## `{file}`", "", "| test | defect | fired | outcome | what the test said first |"]
            lines += ["|---|---|---|---|---|"]
        lines.append(_line(row, findings, catalogue))
    return "\n".join([*lines, *_others(rows, findings)]) + "\n"


def _line(row: Row, findings: Findings, catalogue: Mapping[str, Defect]) -> str:
    ends = findings.of(str(row.order), (row.file, row.name))
    state = findings.state(row)
    failed = [end for end in ends if end["outcome"] == "failed"]
    if state == "red" and len(ends) > 1:
        state = f"red, {len(failed)} of {len(ends)} cases"
    said = failed[0]["said"].replace("|", "\\|").replace("`", "'") if failed else ""
    known = catalogue.get(row.order.id)
    defect = f"`{row.order}` {known.name if known else '(not in the catalogue yet)'}"
    fired = findings.fired.get(str(row.order), "")
    return f"| `{row.name}` | {defect} | {fired} | {state} | {f'`{said}`' if said else ''} |"


def _healthy(rows: Sequence[Row], findings: Findings) -> str:
    own = dict.fromkeys((row.file, row.name) for row in rows)
    ends = Counter(end["outcome"] for test in own for end in findings.of(HEALTHY, test))
    told = ", ".join(f"{n} {outcome}" for outcome, n in ends.items()) or "not run"
    return f"Their cases on the same platform without a defect: {told}."


def _others(rows: Sequence[Row], findings: Findings) -> list[str]:
    by_order: dict[str, list[Test]] = {}
    for row in rows:
        by_order.setdefault(str(row.order), []).append((row.file, row.name))
    lines = [
        "",
        "## Who else noticed",
        "",
        "Tests that do not name a defect and turned red for it, among those that were run",
    ]
    lines += ["beside the ones above (by default the tests of the same files).", "", "| defect | tests |", "|---|---|"]
    for order, own in by_order.items():
        names = [f"`{name}`" for _, name in findings.others(order, own)]
        lines.append(f"| `{order}` | {', '.join(names) or '–'} |")
    return lines
