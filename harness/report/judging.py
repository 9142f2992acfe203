"""Judging of a run directory: read the journals, run the checks, describe the findings, write the files."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from earwitness.checks.catalogue import ALL
from earwitness.checks.engine.fold import Check
from earwitness.checks.findings.leading import explained
from earwitness.checks.history.record import Kind
from earwitness.checks.judge import Judge, Watcher
from earwitness.checks.outcome import counts, outcome_of_run
from earwitness.checks.own import OwnCheck
from earwitness.checks.own_fold import Own
from earwitness.checks.tester.attained import interruption
from earwitness.checks.verdict import Outcome, Verdict, upper_bound_95
from earwitness.harness.errors import Exit, worse
from earwitness.harness.progress import Progress, say
from earwitness.harness.record.history import History, open_history
from earwitness.harness.record.rundir import write_whole
from earwitness.harness.report import figures, opportunities
from earwitness.harness.report.behind import with_blocks_behind
from earwitness.harness.report.drift import Drift
from earwitness.harness.report.endings import endings, stopped
from earwitness.harness.report.extent import Extents
from earwitness.harness.report.facts import facts_of, native_path
from earwitness.harness.report.flood import Flood
from earwitness.harness.report.junit import junit_xml
from earwitness.harness.report.measures import Measured
from earwitness.harness.report.own_checks import all_checks
from earwitness.harness.report.page.command import write_report
from earwitness.harness.report.page.timeline import axis_of, bands_of
from earwitness.harness.report.reach import Reach, Reached
from earwitness.harness.report.recorded import Recorded
from earwitness.harness.report.runbooks import runbook_of
from earwitness.harness.report.sharded import Way, judge_sharded
from earwitness.harness.report.summary import unit_of
from earwitness.harness.report.swim_svg import witness_svg
from earwitness.harness.report.thresholds import judge_thresholds, missed, parse_all
from earwitness.harness.report.witnesses import Teller, Witness

EXIT_OF_SIGNAL = {"SIGINT": Exit.INTERRUPTED, "SIGTERM": Exit.TERMINATED}
EXIT_OF = {Outcome.PASS: Exit.PASS, Outcome.FAIL: Exit.FAIL, Outcome.UNKNOWN: Exit.UNKNOWN}


def judge_run(
    run_dir: Path, *, only: Sequence[str] = (), own: Sequence[OwnCheck] = (), way: Way | None = None
) -> dict[str, Any]:
    """Return the verdict of a run directory as the dictionary of verdict.json.

    `only`: ids of the checks that decide the outcome, instead of all; the checks of the tester (H1, H2, …) are always
    added. `own`: own checks that the user allows to run. `way`: judge by shards; None: in one pass, in this process.
    Raises RecordError if the directory cannot be read, SettingsError for invalid thresholds in run.json.
    """
    history = open_history(run_dir)
    checks = all_checks(history.run, own)
    if only:
        history.run["judged_by"] = [id for id in only if not id.startswith("H")]
        checks = tuple(check for check in checks if check.id.startswith("H") or check.id in only)
    if way is not None:
        verdicts, reached = judge_sharded(history, checks, way)
        return verdict_of(history, verdicts, checks, reached)
    reach = Reach(history.contract)
    judge = judge_of(history, checks, [reach])
    done = 0
    with Progress(f"judging {os.path.relpath(run_dir)}", sum(view.count for view in history.journals)) as progress:
        for batch in history.batches():
            judge.step(batch)
            done += len(batch.records)
            progress.at(done)
    return verdict_by(history, judge, reach)


def judge_of(history: History, checks: Sequence[Check] = ALL, watchers: Sequence[Watcher] = ()) -> Judge:
    """Return a new judge for the history, which has read no records yet. `watchers`: folds that are no checks."""
    return Judge(history.roster, history.contract, checks, watchers)


def verdict_by(history: History, judge: Judge, reach: Reach) -> dict[str, Any]:
    """Return the verdict, as the dictionary of verdict.json, of a history whose records `judge` and `reach` have read.

    The judge's state is dropped; the judge cannot be used afterwards.
    """
    facts, journals = facts_of(history), history.infos()
    verdicts = judge.finish(journals, facts, forget=True)
    return verdict_of(history, verdicts, judge.checks, reach.found(journals, facts))


def verdict_of(
    history: History, verdicts: Sequence[Verdict], checks: Sequence[Check], reached: Reached | None
) -> dict[str, Any]:
    """Return the verdict of a history, with the figures of the run, as the dictionary of verdict.json.

    `verdicts`: those of `checks`, about all records; `reached`: which deliveries were owed and came, None: not known.
    """
    run_dir, run = history.path, history.run
    judged_by = run.get("judged_by")
    facts = facts_of(history)
    verdicts = with_blocks_behind(history, verdicts, facts, checks)
    outcome, why = outcome_of_run(verdicts, judged_by)
    recorded = Recorded.of(history)
    measured = measure(history, recorded)
    rooms = [len(room) for room in history.roster.conversations]
    drift = Drift(recorded, rooms, history.table("services"))
    flood = Flood(history.table("floods"), history.table("bursts"))
    recorded.deliver([*measured.collect(), *([drift] if drift.long else []), *([flood] if flood else [])])
    wanted = parse_all(f"{run_dir}/run.json", run.get("thresholds") or ())
    if "imported_from" in run:  # an imported run has no table of services
        wanted = [threshold for threshold in wanted if threshold.metric != "memory"]
    thresholds = judge_thresholds(wanted, measured)
    exit_code: int = EXIT_OF[outcome]
    if outcome is Outcome.PASS and (over := missed(thresholds)):
        exit_code, why = Exit.THRESHOLD, f"threshold: {over}"
    if by := (run.get("interrupted") or {}).get("by"):
        exit_code = worse(exit_code, EXIT_OF_SIGNAL[by])
    witnesses = Teller(history, checks).witnesses(verdicts)
    extents, same = Extents(history), explained(verdicts)
    told = [
        {
            **told_of(verdict, judged_by, witnesses[verdict.id]),
            "extent": extents.of(verdict),
            "same_defect_as": same.get(verdict.id),
        }
        for verdict in verdicts
    ]
    files = {check.id: {"file": check.file} for check in checks if isinstance(check, Own)}
    told = [{**row, **files.get(row["id"], {})} for row in told]
    return {
        "outcome": outcome.name,
        "headline": headline(outcome, exit_code, run),
        "exit_code": exit_code,
        "why": why,
        "story": run.get("story", "imported"),
        "seed": run.get("seed"),
        "run": os.path.relpath(run_dir),
        "created": run.get("created"),
        "seconds": figures.span_s(recorded),
        "target": (run.get("target") or {}).get("kind", "imported"),
        "checks": [t for t in told if not t["id"].startswith("H")],
        "harness": [t for t in told if t["id"].startswith("H")],
        "thresholds": thresholds,
        "warnings": warnings_of(history, recorded),
        "load": figures.load_figures(recorded),
        "missed_live": figures.missed_live(verdicts),
        "reach": reached.told(history) if reached is not None else None,
        "endings": endings(recorded),
        "stopped": stopped(recorded),
        "replicas": figures.replicas(recorded),
        "latency_ms": measured.latencies(),
        "streams": measured.streams(),
        "to_first_message_s": figures.to_first_message_s(recorded, history.journals, run.get("process_started")),
        "bursts": figures.bursts(recorded, history.table("bursts")),
        "flood": flood.found(recorded),
        "faults": _faults(recorded),
        "defect": (run.get("options") or {}).get("defect", ""),
        "drift": drift.rows(),
        "opportunities": opportunities.told(history, recorded),
        "native": native_path(history),
        "records": int(recorded.counts.sum()),
    }


def _faults(recorded: Recorded) -> list[dict[str, Any]]:
    """Return the faults that were injected: name, begin and end in seconds since the first record of the run."""
    if (axis := axis_of(recorded)) is None:
        return []
    bands = [band for band in bands_of(recorded, axis) if band.name != "drain"]
    return [{"name": b.name, "start_s": round(b.start_s, 3), "end_s": round(b.end_s, 3)} for b in bands]


def headline(outcome: Outcome, exit_code: int, run: Mapping[str, Any]) -> str:
    """Return the headline of a run, such as "FAIL" or "THRESHOLD MISSED", with a note if it was interrupted.

    `run`: run.json.
    """
    words = "THRESHOLD MISSED" if exit_code == Exit.THRESHOLD else outcome.name
    interrupted = run.get("interrupted")
    return f"{words} ({interruption(interrupted)})" if interrupted else words


def warnings_of(history: History, recorded: Recorded) -> list[str]:
    """Return sentences about what the verdict does not cover.

    These are the warnings of run.json, and for an imported history a warning about numbers that are not judged.
    """
    found = list(history.run.get("warnings") or ())
    unpromised = "imported_from" in history.run and history.contract.sequence == "none"
    if unpromised and any(((part["kind"] == Kind.DELIVER) & (part["seq"] >= 0)).any() for _, part in recorded.parts()):
        unsaid = "messages have numbers, but the contract promises no sequence: their gaps (I4) are not judged"
        found.append(f'{unsaid}. Import with sequence = "contiguous" or "increasing" if that is promised.')
    return found


def measure(history: History, recorded: Recorded) -> Measured:
    """Return the figures of a run to which thresholds and comparisons refer. `recorded`: its records."""
    sizes = [len(members) for members in history.roster.conversations]
    footers = [view.footer or {} for view in history.journals]
    return Measured(recorded, sizes, footers, history.table("services"))


def row_of(verdict: Verdict, judged_by: Collection[str] | None) -> dict[str, Any]:
    """Return the fields that a check has in live.json as well as in verdict.json.

    `judged_by`: ids of the checks that the story names; None for an imported history.
    """
    broken = verdict.promised and verdict.outcome is Outcome.FAIL
    return {
        "id": verdict.id,
        "name": verdict.name,
        "outcome": verdict.outcome.name,
        "counts": broken or counts(verdict, judged_by),
        "promised": verdict.promised,
        "examined": verdict.examined,
        "violations": verdict.violations,
        "why": verdict.why,
    }


def told_of(verdict: Verdict, judged_by: Collection[str] | None, witnesses: Sequence[Witness] = ()) -> dict[str, Any]:
    """Return the row of one check in verdict.json, as a dictionary.

    `judged_by`: ids of the checks that the story names, None for an imported history; `witnesses`: the counterexamples
    of the verdict's findings.
    """
    return {
        **row_of(verdict, judged_by),
        "judged_by_story": verdict.id in (judged_by or ()),
        "upper_bound_95": upper_bound_95(verdict.examined) if not verdict.violations else None,
        "facts": dict(verdict.facts),
        "runbook": runbook_of(verdict.id),
        "unit": unit_of(verdict.id),
        "witnesses": list(witnesses),
    }


def write_verdict(run_dir: Path, verdict: Mapping[str, Any], text: str) -> None:
    """Write verdict.txt, junit.xml, verdict.json, report.html and the pictures of findings.

    Each file is written atomically. `text`: content of verdict.txt. Surrogates, which UTF-8 cannot encode, are escaped
    as in JSON. If report.html cannot be written, a message says so, and no error is raised.
    """
    _draw(run_dir, verdict)
    files = {
        "verdict.txt": text.encode(errors="backslashreplace") + b"\n",
        "junit.xml": junit_xml(verdict),
        "verdict.json": json.dumps(verdict, indent=1, ensure_ascii=False).encode(errors="backslashreplace") + b"\n",
    }
    for name, data in files.items():
        write_whole(run_dir / name, data)
    try:
        write_report(open_history(run_dir), verdict)
    except Exception as error:  # a page must not cost the verdict, which is written
        say(f"report.html could not be written ({type(error).__name__}: {error}); try: earwitness report {run_dir}")


def _draw(run_dir: Path, verdict: Mapping[str, Any]) -> None:
    """Write `witnesses/I2-1.svg` and so on for the first findings of each failed check; remove earlier pictures."""
    drawn = {
        witness["svg"]: witness_svg(witness, check)
        for check in verdict["checks"]
        for witness in check["witnesses"]
        if witness["svg"]
    }
    folder = run_dir / "witnesses"
    for old in folder.glob("*.svg"):
        if f"witnesses/{old.name}" not in drawn:
            old.unlink()
    if drawn:
        folder.mkdir(exist_ok=True)
    for name, data in drawn.items():
        write_whole(run_dir / name, data)
