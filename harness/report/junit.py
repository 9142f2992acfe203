"""Verdict as JUnit XML: one test case for each check and each threshold.

FAIL is a failure, and UNKNOWN is an error. A check that examined nothing and does not count is a skipped case.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree as ET

from earwitness.harness.progress import printable
from earwitness.harness.report.runbooks import runbook_of
from earwitness.harness.report.summary import broken_sentence, same_defect
from earwitness.harness.report.swim_text import witness_text

Row = Mapping[str, Any]
PROPERTIES = ("story", "seed", "run", "target", "records", "why")
COLUMNS = 110
"""Width in characters of a swim-lane in `system-out`."""


def junit_xml(verdict: Row) -> bytes:
    """Return the verdict as a JUnit XML document.

    It has a case for each check that counts or was not exercised, and for each threshold.
    """
    checks = [check for check in (*verdict["harness"], *verdict["checks"]) if check["counts"] or not check["examined"]]
    thresholds = verdict["thresholds"]
    counted = [check for check in checks if check["counts"]]
    suite = ET.Element(
        "testsuite",
        name=f"earwitness {verdict['story']}",
        tests=str(len(checks) + len(thresholds)),
        failures=str(sum(c["outcome"] == "FAIL" for c in counted) + sum(t["met"] is False for t in thresholds)),
        errors=str(sum(c["outcome"] == "UNKNOWN" for c in counted) + sum(t["met"] is None for t in thresholds)),
        skipped=str(len(checks) - len(counted)),
        time=f"{verdict.get('seconds') or 0:.1f}",
    )
    if verdict.get("created"):
        suite.set("timestamp", str(verdict["created"]))
    properties = ET.SubElement(suite, "properties")
    for name in PROPERTIES:
        ET.SubElement(properties, "property", name=name, value=printable(str(verdict[name])))
    for check in checks:
        _check(suite, check)
    for row in thresholds:
        _threshold(suite, row)
    ET.indent(suite)
    return bytes(ET.tostring(suite, encoding="utf-8", xml_declaration=True))


def _check(suite: ET.Element, check: Row) -> None:
    case = ET.SubElement(suite, "testcase", classname="earwitness", name=f"{check['id']} {check['name']}")
    witnesses = check["witnesses"]
    # XML 1.0 has no control characters.
    found = printable("\n".join(f"{w['sentence']}\n    {w['command']}" for w in witnesses) or check["why"])
    runbook = f"runbook: {runbook_of(check['id'])}"
    if not check["counts"]:
        ET.SubElement(case, "skipped", message="not exercised")
    elif check["outcome"] == "FAIL":
        first = printable(witnesses[0]["sentence"]) if witnesses else check["why"]
        failure = ET.SubElement(case, "failure", message=f"{broken_sentence(check)}: {first}")
        failure.text = "\n".join(filter(None, (same_defect(check), found, runbook)))
    elif check["outcome"] == "UNKNOWN":
        why = printable(check["why"])
        ET.SubElement(case, "error", message=f"unknown: {why}").text = f"{why}\n{runbook}"
    if check["counts"] and witnesses:
        drawn = witness_text(witnesses[0], check, COLUMNS)
        ET.SubElement(case, "system-out").text = "\n".join(map(printable, drawn.split("\n")))


def _threshold(suite: ET.Element, row: Row) -> None:
    case = ET.SubElement(suite, "testcase", classname="earwitness.thresholds", name=row["name"])
    if row["met"] is False:
        seen = f"{row['measured']} {row['unit']}"
        if row["measured"] is None:
            seen = f"unbounded ({row['unanswered']} were never answered)"
        ET.SubElement(case, "failure", message=f"{seen} over the limit of {row['limit']} {row['unit']}")
    elif row["met"] is None:
        ET.SubElement(case, "error", message="not measured")
