"""Verdict as text in 80 columns: outcome first, then broken, unknown and held checks, figures and counterexamples.

`verdict.txt` is this text; on a terminal its outcomes and headings have colours (`harness.progress.show_verdict`).
"""

from __future__ import annotations

import re
import shlex
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from earwitness.harness.progress import one_line
from earwitness.harness.report import opportunities
from earwitness.harness.report.endings import ending_line, stopped_line
from earwitness.harness.report.extent import extent_sentence
from earwitness.harness.report.runbooks import runbook_of
from earwitness.harness.report.summary import (
    PLANTED,
    broken_first,
    broken_sentence,
    counted_by,
    same_defect,
    symptom_of,
    unit_of,
)
from earwitness.harness.report.swim_text import record_lines
from earwitness.harness.report.witnesses import DRAWN

WIDTH = 80
TOGETHER = "\u00a0"
"""Placeholder for a space at which lines must not be broken, within a name; it is written as a plain space."""
NUMBERED = re.compile(r"(?<=\b[HI]\d) (?=[a-z])|(?<=\b[HI]\d[\dab]) (?=[a-z])")
"""Pattern of the space between the id of a check and its name."""
NAME = 28
"""Columns for a check's name; the longest name has 26 characters."""

Row = Mapping[str, Any]
STREAM_COUNTS = (
    ("finished", "finished"), ("failed", "ended by an error"), ("broken", "broken off"), ("stalled", "stalled"),
    ("cut", "cut for one of several listeners"), ("differing", "other than stored or stated at the end"),
)  # fmt: skip
NOT_JUDGED = (
    ("cut_short", "cut short by the tester"), ("closed", "closed with a stated reason"),
    ("during_faults", "during faults"),
)  # fmt: skip
"""Key of a count of streamed answers in verdict.json, and its words in this text and in `report.html`."""


def verdict_text(verdict: Row) -> str:
    """Return the text of verdict.txt, which is also printed at the end of a run.

    Lines have at most 80 characters. Lines with commands and paths may be longer, so that they can be copied.
    `verdict`: the dictionary of verdict.json.
    """
    lines = ["", *_outcome_lines(verdict), "", *_load_lines(verdict), *_groups(verdict)]
    if figures := list(_figure_lines(verdict)):
        lines += ["", "Figures", *figures]
    for check in (*verdict["checks"], *verdict["harness"]):
        lines += _witness_lines(check)
    notes = [stopped_line(verdict["stopped"])] if verdict.get("stopped") else []
    notes += verdict.get("warnings", ())
    lines += ["", *(line for note in notes for line in _filled(f"Note: {note}", "  "))]
    # The end of a long text is what a terminal shows.
    lines += ["", *_outcome_lines(verdict)] if notes else _outcome_lines(verdict)
    lines += [f"judged from {verdict['records']:,} records; again: {_again(verdict)}"]
    lines += [f"report: {verdict['run']}/report.html"]
    lines += _filled(native) if (native := native_line(verdict.get("native"))) else []
    return "\n".join(map(one_line, lines))


def native_line(native: Row | None) -> str:
    """Return a line on whether the native extension handled the messages of a run, and what share of them.

    `native`: of verdict.json; None if it is not known, which gives "".
    """
    if not native:
        return ""
    share = native.get("share")
    return f"native path: {native['native']} " + (
        f"({native['why']})" if native["native"] != "on" or share is None else f"({share:g} % of all messages)"
    )


def three_digits(value: float) -> str:
    """Return a number with three significant digits; from 100 on, rounded to an integer."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _filled(text: str, indent: str = "", hang: str = "  ") -> list[str]:
    """Return text in lines of 80 columns: the first after `indent`, all others after `indent` and `hang`."""
    lines = textwrap.wrap(
        one_line(text), WIDTH, initial_indent=indent, subsequent_indent=indent + hang,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
    return [line.replace(TOGETHER, " ") for line in lines]


def _outcome_lines(verdict: Row) -> list[str]:
    text = f"{verdict['headline']}  (exit code {verdict['exit_code']}) {verdict['why']}".rstrip()
    return _filled(NUMBERED.sub(TOGETHER, text))


def _load_lines(verdict: Row) -> list[str]:
    """Return the lines with story, seed, duration, users, rates, planted defects and faults."""
    load, seconds = verdict["load"], verdict["seconds"]
    seed = "" if verdict["seed"] is None else f" · seed {verdict['seed']}"
    where = ", ".join(f"{name} {count}" for name, count in verdict["replicas"].items())
    rates = [
        f"{count:,} {word}" + (f" ({three_digits(count / seconds)}/s)" if seconds else "")
        for count, word in ((load["messages_sent"], "sent"), (load["messages_delivered"], "received"))
    ]
    lines = [f"{verdict['story']}{seed} · {three_digits(seconds)} s"]
    lines += _filled(
        f"{load['users']:,} users, {load['connections']:,} connections{f' ({where})' if where else ''}, "
        f"{', '.join(rates)}"
    )
    faults = [
        f"{fault['name']} from {three_digits(fault['start_s'])} to {three_digits(fault['end_s'])} s"
        for fault in verdict.get("faults") or ()
    ]
    if planted := verdict.get("defect"):
        lines += _filled(f"planted defects, with which the platform was started: {planted}")
        lines += _filled(PLANTED, "  ", "")
    return lines + (_filled(f"faults: {', '.join(faults)}") if faults else [])


# -- checks --------------------------------------------------------------------------------------------------------


def _groups(verdict: Row) -> list[str]:
    """Return the lines of all checks by group.

    The groups are: broken, not known, held, observed but not promised, not exercised, the tester's checks.
    """
    checks = verdict["checks"]
    seen = [check for check in checks if check["counts"] or check["examined"]]
    promised = [check for check in seen if check["promised"]]
    of = {outcome: [c for c in promised if c["outcome"] == outcome] for outcome in ("FAIL", "UNKNOWN", "PASS")}
    lines = _group("Broken", broken_first(of["FAIL"]), _broken_line)
    if note := counted_by(of["FAIL"]):
        lines += _filled(note, "  ", "")
    lines += _group("Not known", of["UNKNOWN"], _unknown_lines)
    lines += _group("Held", of["PASS"], _held_line, "examined   violations, at 95 %")
    lines += _group("Not promised, only observed", [c for c in seen if not c["promised"]], _observed_lines)
    if silent := [c for c in checks if not (c["counts"] or c["examined"])]:
        lines += ["", f"Not exercised ({len(silent)})", *_filled(_names(silent), "  ", "")]
    if missing := opportunities.line(verdict.get("opportunities", {})):
        lines += _filled(missing, "  ", "")
    return [*lines, *_tester_lines(verdict["harness"])]


def _group(title: str, checks: Sequence[Row], lines_of: Any, columns: str = "") -> list[str]:
    if not checks:
        return []
    head = f"{title} ({len(checks)})"
    head = f"{head:<{NAME + 9}}{columns}".rstrip()
    return ["", head, *(line for check in checks for line in lines_of(check))]


def _name(check: Row) -> str:
    return f"  {check['id']:<4} {check['name']:<{NAME}}"


def _names(checks: Iterable[Row]) -> str:
    return ", ".join(f"{check['id']}{TOGETHER}{check['name']}" for check in checks)


def _broken_line(check: Row) -> list[str]:
    violations = f"{check['violations']:,} violation{'s' if check['violations'] != 1 else ''}"
    told = (same_defect(check) or symptom_of(check), broken_sentence(check), extent_sentence(check))
    lines = [line for words in told for line in _filled(words, "       ", "")]
    return [f"{_name(check)}{violations}", *lines]


def _unknown_lines(check: Row) -> list[str]:
    return [f"{_name(check)}{check['examined']:>8,} {unit_of(check['id'])}", *_filled(check["why"], "       ", "")]


def _held_line(check: Row) -> list[str]:
    bound = check["upper_bound_95"]
    rate = "" if bound is None else f"   fewer than {three_digits(100 * bound)} %"
    return [f"{_name(check)}{check['examined']:>10,}{rate}"]


def _observed_lines(check: Row) -> list[str]:
    what = f"{check['violations']:,} violations in " if check["violations"] else ""
    why = _filled(check["why"], "       ", "") if check["outcome"] == "UNKNOWN" and check["why"] else []
    return [f"{_name(check)}{what}{check['examined']:,} {unit_of(check['id'])}", *why]


def _tester_lines(checks: Sequence[Row]) -> list[str]:
    """Return the lines of the tester's checks: the names of those that passed, and a line for each of the others."""
    held = [check for check in checks if check["outcome"] == "PASS"]
    lines = ["", f"The tester itself ({len(held)} of {len(checks)} hold)", *_filled(_names(held), "  ", "")]
    for check in checks:
        if check not in held:
            count = f", {check['violations']:,} violations" if check["violations"] else ""
            lines.append(f"{_name(check)}{check['outcome']}: {check['examined']:,} {unit_of(check['id'])}{count}")
            lines += _filled(check["why"], "       ", "")
    return lines


# -- figures -------------------------------------------------------------------------------------------------------


def _figure_lines(verdict: Row) -> Iterable[str]:
    for row in verdict["thresholds"]:
        yield from _filled(_threshold(row), "  ", "    ")
    for name, row in verdict["latency_ms"].items():
        figures = ", ".join(f"{what} {three_digits(row[what])} ms" for what in ("p50", "p99", "max") if what in row)
        if figures:
            yield from _filled(f"{name}: {figures} ({row['samples']:,})", "  ")
    if (first_s := verdict["to_first_message_s"]) is not None:
        yield f"  from the command to the first message: {three_digits(first_s)} s"
    others = [
        *_missed(verdict.get("missed_live") or {}),
        *_streams(verdict.get("streams") or {}),
        ending_line(verdict.get("endings", ())),
    ]
    others += [_burst(burst) for burst in verdict["bursts"]]
    others += [*_of_the_platform(verdict["checks"]), *(_drift(row) for row in verdict.get("drift", ()))]
    others += _flood(verdict["flood"]) if verdict.get("flood") else []
    for line in filter(None, others):
        yield from _filled(line, "  ")


def _threshold(row: Row) -> str:
    mark = {True: "met    ", False: "MISSED ", None: "NO DATA"}[row["met"]]
    seen = "not measured" if row["measured"] is None else f"{three_digits(row['measured'])} {row['unit']}"
    if row.get("unanswered"):
        seen = f"unbounded, {row['unanswered']:,} were never answered"
    sign = "at least" if row.get("at_least") else "at most"
    return f"{mark} {row['name']}: {seen}, {sign} {row['limit']:g} {row['unit']} ({row['samples']:,} samples)"


def _missed(row: Mapping[str, int]) -> list[str]:
    """Return a line on messages that devices of uninterrupted members never received; [] if none was owed."""
    if not row.get("owed"):
        return []
    line = f"missed live: {row['missed']:,} of {row['owed']:,} messages due to members' devices never came"
    if row["missed"]:
        line += f" ({row['devices']:,} device{'s' if row['devices'] != 1 else ''})"
    if row["not_known"]:
        line += f"; {row['not_known']:,} more are not known"
    return [line]


def _streams(row: Row) -> list[str]:
    """Return lines on streamed answers: how they ended, and tokens a second; [] if there were none."""
    if not row:
        return []
    counts = [f"{row[name]:,} {words}" for name, words in STREAM_COUNTS if row[name] or name == "finished"]
    lines = [f"streamed answers on their connections, {row['judged']:,} judged: {', '.join(counts)}"]
    if left := [f"{row[name]:,} {words}" for name, words in NOT_JUDGED if row[name]]:
        lines[0] += f"; not judged: {', '.join(left)}"
    if row["unanswered"]:
        lines.append(f"questions whose answer never showed a token: {row['unanswered']:,}")
    if rates := row["tokens_per_s"]:
        lines.append(
            f"tokens a second of an answer: p50 {three_digits(rates['p50'])}, "
            f"slowest 1 % at most {three_digits(rates['p1'])} ({row['tokens']:,} tokens)"
        )
    return lines


def _of_the_platform(checks: Sequence[Row]) -> list[str]:
    """Return a line with the number of messages that the platform itself sent, not a user of the run.

    [] if there were none.
    """
    count = sum(check.get("facts", {}).get("of_the_platform", 0) for check in checks)
    return [f"{count:,} messages of the platform itself (of no user of this run) were received"] if count else []


def _burst(b: Row) -> str:
    return (
        f"burst of {b['count']:,} by client {b['client']}: sent in {b['sent_s']} s, "
        f"acknowledged {b['acknowledged']:,} by {b['acknowledged_s']} s, "
        f"delivered {b['delivered']:,} to {b['hearers']} by {b['delivered_s']} s, stored {b['stored']:,}"
    )


def _flood(flood: Row) -> list[str]:
    closed = flood["closed"]
    lines = [
        f"flood by {flood['abusers']} users: {closed['abusers']} of their sockets were closed with 4429, "
        f"{closed['others']} of others"
    ]
    for name in ("fan-out", "ack"):
        parts = [_felt(flood[name][when], when) for when in ("before", "during")]
        ratio = flood[name]["p99_ratio"]
        lines.append(f"others' {name}: {', '.join(parts)}{f'; p99 is {ratio} times' if ratio else ''}")
    return lines


def _felt(row: Row, when: str) -> str:
    if not row["samples"]:
        return f"no samples {when} it"
    return f"p50 {three_digits(row['p50'])} ms, p99 {three_digits(row['p99'])} ms {when} it ({row['samples']:,})"


def _drift(row: Row) -> str:
    unit = f"{row['unit']}/h"
    return (
        f"drift of {row['name']}: {row['slope_per_hour']:+.3g} {unit} ({row['low']:+.3g} to {row['high']:+.3g}), "
        f"{row['word']}: {row['change_percent']:+.1f} % of {three_digits(row['level'])} {row['unit']} in this run"
    )


# -- counterexamples -----------------------------------------------------------------------------------------------


def _witness_lines(check: Row) -> list[str]:
    """Return the first counterexamples of a check, each with its records and the command that shows more of it."""
    lines: list[str] = []
    for witness in check["witnesses"][:DRAWN]:
        title = f"{check['id']} counterexample {witness['number']} of {check['violations']:,}: {witness['sentence']}"
        lines += ["", *_filled(title)]
        for record in witness["records"]:
            for line in record_lines({**record, "frame": None}, 0):
                lines += _filled(line.strip(), "  ", "    ")
        lines.append(f"  in detail, with its swim-lane: {witness['command']}")
    return [*lines, f"  likely causes, and what to look at next: {runbook_of(check['id'])}"] if lines else []


def _again(verdict: Row) -> str:
    """Return the command that judges the run again, with `--check` for each file of own checks."""
    files = dict.fromkeys(check["file"] for check in verdict["checks"] if "file" in check)
    return shlex.join(["earwitness", "check", verdict["run"], *(word for file in files for word in ("--check", file))])
