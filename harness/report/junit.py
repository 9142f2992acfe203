"""Verdict as JUnit XML: one test case per check; FAIL is a failure, UNKNOWN an error (silence never passes)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree as ET

from earwitness.harness.progress import printable


def junit_xml(verdict: Mapping[str, Any]) -> bytes:
    """Return the verdict as a JUnit XML document.

    Only checks that count for the outcome are included, and all thresholds.
    """
    cases = [*verdict["harness"], *verdict["checks"]]
    counted = [c for c in cases if c["counts"]]
    suite = ET.Element(
        "testsuite",
        name=f"earwitness {verdict['story']}",
        tests=str(len(counted) + len(verdict["thresholds"])),
        failures=str(
            sum(c["outcome"] == "FAIL" for c in counted) + sum(t["met"] is False for t in verdict["thresholds"])
        ),
        errors=str(
            sum(c["outcome"] == "UNKNOWN" for c in counted) + sum(t["met"] is None for t in verdict["thresholds"])
        ),
    )
    for check in counted:
        case = ET.SubElement(suite, "testcase", classname="earwitness", name=f"{check['id']} {check['name']}")
        found = "\n".join(f"{w['sentence']}\n    {w['command']}" for w in check["witnesses"])
        words, why = printable(found or check["why"]), printable(check["why"])  # XML 1.0 has no control characters
        if check["outcome"] == "FAIL":
            ET.SubElement(case, "failure", message=f"{check['violations']} violations").text = words
        elif check["outcome"] == "UNKNOWN":
            ET.SubElement(case, "error", message="unknown").text = why
    for row in verdict["thresholds"]:
        case = ET.SubElement(suite, "testcase", classname="earwitness.thresholds", name=row["name"])
        if row["met"] is False:
            seen = f"{row['measured']} {row['unit']}"
            if row["measured"] is None:
                seen = f"unbounded ({row['unanswered']} were never answered)"
            text = f"{seen} over the limit of {row['limit']} {row['unit']}"
            ET.SubElement(case, "failure", message=text)
        elif row["met"] is None:
            ET.SubElement(case, "error", message="not measured")
    ET.indent(suite)
    return bytes(ET.tostring(suite, encoding="utf-8", xml_declaration=True))
