"""From a run directory to its verdict: read the journals, fold the checks, tell the findings, write the files."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from checks import ALL
from checks.contract import Contract
from checks.judge import Judge, Watcher
from checks.outcome import outcome_of_run
from checks.verdict import Finding, Outcome, Verdict, upper_bound_95
from checks.witness import tell
from harness.errors import EXIT_FAIL, EXIT_PASS, EXIT_THRESHOLD, EXIT_UNKNOWN
from harness.record.history import History, open_history
from harness.report import figures
from harness.report.facts import facts_of
from harness.report.flood import flood
from harness.report.junit import junit_xml
from harness.report.measures import Measured
from harness.report.thresholds import judge_thresholds, missed, parse_all

MOST_WITNESSES = 10
EXIT_OF = {Outcome.PASS: EXIT_PASS, Outcome.FAIL: EXIT_FAIL, Outcome.UNKNOWN: EXIT_UNKNOWN}


def judge_run(run_dir: Path) -> dict[str, Any]:
    """The verdict of a run directory as the dictionary of verdict.json. RecordError if it cannot be read."""
    history = open_history(run_dir)
    judge = judge_of(history)
    for batch in history.batches():
        judge.step(batch)
    return verdict_of(history, judge)


def judge_of(history: History, watchers: Sequence[Watcher] = ()) -> Judge:
    """A judge who has seen nothing of it yet."""
    return Judge(history.roster, Contract.from_dict(history.run["contract"]), ALL, watchers)


def verdict_of(history: History, judge: Judge) -> dict[str, Any]:
    """The verdict of a history that the judge has seen to its end, with what else is told of a run."""
    run_dir, run = history.path, history.run
    verdicts = judge.finish(history.infos(), facts_of(history))
    outcome, why = outcome_of_run(verdicts, run.get("judged_by", ()))
    views = [view.records for view in history.journals]
    measured = measure(history, run_dir)
    thresholds = judge_thresholds(parse_all(f"{run_dir}/run.json", run.get("thresholds") or ()), measured)
    exit_code = EXIT_OF[outcome]
    if outcome is Outcome.PASS and (over := missed(thresholds)):
        exit_code, why = EXIT_THRESHOLD, f"threshold: {over}"
    told = [told_of(verdict, history) for verdict in verdicts]
    return {
        "outcome": outcome.name,
        "exit_code": exit_code,
        "why": why,
        "story": run.get("story", "imported"),
        "seed": run.get("seed"),
        "run": os.path.relpath(run_dir),
        "target": (run.get("target") or {}).get("kind", "imported"),
        "checks": [t for t in told if not t["id"].startswith("H")],
        "harness": [t for t in told if t["id"].startswith("H")],
        "thresholds": thresholds,
        "load": figures.load_figures(views),
        "replicas": figures.replicas((view.records, view.names) for view in history.journals),
        "latency_ms": measured.latencies(),
        "to_first_message_s": figures.to_first_message_s(history.journals, run.get("process_started")),
        "bursts": figures.bursts(views, run_dir / "tables" / "bursts.jsonl"),
        "flood": flood(views, run_dir / "tables" / "floods.jsonl", run_dir / "tables" / "bursts.jsonl"),
        "records": sum(len(records) for records in views),
    }


def measure(history: History, run_dir: Path) -> Measured:
    """Everything of a run that thresholds and comparisons are about."""
    sizes = [len(members) for members in history.roster.conversations]
    footers = [view.footer or {} for view in history.journals]
    return Measured([v.records for v in history.journals], sizes, footers, run_dir / "tables" / "services.jsonl")


def told_of(verdict: Verdict, history: History, *, witnesses: bool = True) -> dict[str, Any]:
    """What verdict.json says of one check; its findings in words if wanted."""
    named = verdict.id in history.run.get("judged_by", ())
    broken = verdict.promised and verdict.outcome is Outcome.FAIL
    findings = verdict.findings[:MOST_WITNESSES] if witnesses else ()
    return {
        "id": verdict.id,
        "name": verdict.name,
        "outcome": verdict.outcome.name,
        "judged_by_story": named,
        "counts": (named and verdict.promised) or broken or verdict.id.startswith("H"),
        "promised": verdict.promised,
        "examined": verdict.examined,
        "violations": verdict.violations,
        "upper_bound_95": upper_bound_95(verdict.examined) if not verdict.violations else None,
        "why": verdict.why,
        "facts": dict(verdict.facts),
        "witnesses": [words_of(finding, verdict, history) for finding in findings],
    }


def words_of(finding: Finding, verdict: Verdict, history: History) -> dict[str, Any]:
    """A finding as a sentence and the records that prove it."""
    telling = tell(finding, verdict, history.roster, lambda journal, index: _record(history, journal, index))
    return {"sentence": telling.sentence, "records": list(telling.lines)}


def _record(history: History, journal: int, index: int) -> Any:
    """The record `index` (from 1) of a journal, or None if there is none."""
    records = history.journals[journal].records
    return records[index - 1] if 0 < index <= len(records) else None


def write_verdict(run_dir: Path, verdict: Mapping[str, Any], text: str) -> None:
    """verdict.txt, junit.xml and verdict.json, each whole or not at all, also if two processes judge the same run."""
    files = {
        "verdict.txt": text.encode() + b"\n",
        "junit.xml": junit_xml(verdict),
        "verdict.json": json.dumps(verdict, indent=1, ensure_ascii=False).encode() + b"\n",
    }
    for name, data in files.items():
        partial = run_dir / f".{name}.{os.getpid()}"
        partial.write_bytes(data)
        partial.replace(run_dir / name)
