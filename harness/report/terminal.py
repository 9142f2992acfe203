"""Verdict as text: first the load generator's own health, then one line per check, then the counterexamples."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from earwitness.harness.progress import one_line
from earwitness.harness.report import opportunities
from earwitness.harness.report.endings import ending_line, stopped_line
from earwitness.harness.report.swim_text import record_lines
from earwitness.harness.report.witnesses import DRAWN

MARK = {"PASS": "PASS   ", "FAIL": "FAIL   ", "UNKNOWN": "UNKNOWN"}


def verdict_text(verdict: Mapping[str, Any]) -> str:
    """Return the text of verdict.txt, which is also printed at the end of a run."""
    lines = ["", verdict["headline"], f"── {verdict['story']} · seed {verdict['seed']} · {_load_line(verdict)}"]
    lines += [_check_line(check) for check in verdict["harness"]]
    lines.append("──")
    lines += [_check_line(check) for check in verdict["checks"] if check["counts"] or check["examined"]]
    silent = [c["id"] for c in verdict["checks"] if not c["counts"] and not c["examined"]]
    if silent:
        lines.append(f"not exercised: {', '.join(silent)}")
    if missing := opportunities.line(verdict.get("opportunities", {})):
        lines.append(missing)
    for row in verdict["thresholds"]:
        lines.append(_threshold_line(row))
    for name, row in verdict["latency_ms"].items():
        figures = ", ".join(f"{what} {row[what]} ms" for what in ("p50", "p99", "max") if what in row)
        if figures:
            lines.append(f"  {name}: {figures} ({row['samples']:,})")
    if verdict["to_first_message_s"] is not None:
        lines.append(f"  from the command to the first message: {verdict['to_first_message_s']} s")
    lines += _missed_lines(verdict.get("missed_live") or {})
    if ended := ending_line(verdict.get("endings", ())):
        lines.append(f"  {ended}")
    for burst in verdict["bursts"]:
        lines.append(_burst_line(burst))
    lines += _platform_lines(verdict["checks"])
    lines += [_drift_line(row) for row in verdict.get("drift", ())]
    if verdict.get("flood"):
        lines += _flood_lines(verdict["flood"])
    for check in verdict["checks"] + verdict["harness"]:
        for witness in check["witnesses"][:DRAWN]:
            lines += [
                "",
                f"{check['id']} witness {witness['number']} of {check['violations']:,}: {witness['sentence']}",
            ]
            for record in witness["records"]:
                lines += record_lines({**record, "frame": None}, 0)
            lines.append(f"    in detail, with its swim-lane: {witness['command']}")
    notes = [stopped_line(verdict["stopped"])] if verdict.get("stopped") else []
    lines += ["", *(f"Note: {note}" for note in (*notes, *verdict.get("warnings", ())))]
    lines += [f"{verdict['headline']}  (exit code {verdict['exit_code']}) {verdict['why']}".rstrip()]
    lines.append(f"judged from {verdict['records']:,} records; again: {_again(verdict)}")
    lines.append(f"report: {verdict['run']}/report.html")
    return "\n".join(map(one_line, lines))


def _again(verdict: Mapping[str, Any]) -> str:
    """Return the command that judges the run again, with the files of the own checks that the user let run."""
    files = dict.fromkeys(check["file"] for check in verdict["checks"] if "file" in check)
    return shlex.join(["earwitness", "check", verdict["run"], *(word for file in files for word in ("--check", file))])


def _platform_lines(checks: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a line with the number of messages of the platform itself: they are not judged, but keep their numbers."""
    count = sum(check.get("facts", {}).get("of_the_platform", 0) for check in checks)
    return [f"  {count:,} messages of the platform itself (of no user of this run) were received"] if count else []


def _missed_lines(row: Mapping[str, int]) -> list[str]:
    """Return a line with the messages that never reached a device of a continuous member, however it asked for them."""
    if not row.get("owed"):
        return []
    line = f"  missed live: {row['missed']:,} of {row['owed']:,} messages due to members' devices never came"
    if row["missed"]:
        line += f" ({row['devices']:,} device{'s' if row['devices'] != 1 else ''})"
    if row["not_known"]:
        line += f"; {row['not_known']:,} more are not known"
    return [line]


def _load_line(verdict: Mapping[str, Any]) -> str:
    load = verdict["load"]
    where = ", ".join(f"{name} {count}" for name, count in verdict["replicas"].items())
    return (
        f"{load['users']} users, {load['connections']} connections{f' ({where})' if where else ''}, "
        f"{load['messages_sent']:,} sent, {load['messages_delivered']:,} received"
    )


def _check_line(check: Mapping[str, Any]) -> str:
    promise = "" if check["promised"] else "  (never promised: an observation)"
    line = f"{MARK[check['outcome']]} {check['id']:<4}{check['name']:<24}{check['examined']:>12,} examined"
    if check["violations"]:
        line += f", {check['violations']:,} violations"
    elif check["upper_bound_95"] is not None and check["outcome"] == "PASS" and not check["id"].startswith("H"):
        line += f", violation rate < {check['upper_bound_95']:.1e} (95 %)"
    if check["why"] and check["outcome"] != "PASS":
        line += f": {check['why']}"
    return line + promise


def _threshold_line(row: Mapping[str, Any]) -> str:
    mark = {True: "met    ", False: "MISSED ", None: "NO DATA"}[row["met"]]
    seen = "not measured" if row["measured"] is None else f"{row['measured']:g} {row['unit']}"
    if row.get("unanswered"):
        seen = f"unbounded, {row['unanswered']:,} were never answered"
    return f"{mark} {row['name']}: {seen}, at most {row['limit']:g} {row['unit']} ({row['samples']:,} samples)"


def _burst_line(b: Mapping[str, Any]) -> str:
    return (
        f"  burst of {b['count']:,} by client {b['client']}: sent in {b['sent_s']} s, "
        f"acknowledged {b['acknowledged']:,} by {b['acknowledged_s']} s, "
        f"delivered {b['delivered']:,} to {b['hearers']} by {b['delivered_s']} s, stored {b['stored']:,}"
    )


def _flood_lines(flood: Mapping[str, Any]) -> list[str]:
    closed = flood["closed"]
    lines = [
        f"  flood by {flood['abusers']} users: {closed['abusers']} of their sockets were closed with 4429, "
        f"{closed['others']} of others"
    ]
    for name in ("fan-out", "ack"):
        parts = [_felt(flood[name][when], when) for when in ("before", "during")]
        ratio = flood[name]["p99_ratio"]
        lines.append(f"  others' {name}: {', '.join(parts)}{f'; p99 is {ratio} times' if ratio else ''}")
    return lines


def _felt(row: Mapping[str, Any], when: str) -> str:
    if not row["samples"]:
        return f"no samples {when} it"
    return f"p50 {row['p50']} ms, p99 {row['p99']} ms {when} it ({row['samples']:,})"


def _drift_line(row: Mapping[str, Any]) -> str:
    unit = f"{row['unit']}/h"
    return (
        f"  drift of {row['name']}: {row['slope_per_hour']:+g} {unit} ({row['low']:+g} to {row['high']:+g}), "
        f"{row['word']}: {row['change_percent']:+.1f} % of {row['level']:g} {row['unit']} in this run"
    )
