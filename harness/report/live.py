"""Live verdict of a run in progress: `live.json`, and a line for the first violation of each check."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from earwitness.checks.engine.fold import DESCRIBED
from earwitness.checks.engine.tables import Array
from earwitness.checks.engine.traffic import Traffic
from earwitness.checks.engine.world import View
from earwitness.checks.history.record import Kind
from earwitness.checks.judge import Judge
from earwitness.checks.outcome import outcome_of_run
from earwitness.checks.own import OwnCheck
from earwitness.checks.verdict import Finding, Verdict
from earwitness.harness.client.tally import BUCKETS, bucket_middle
from earwitness.harness.record.history import History
from earwitness.harness.report.judging import judge_of, row_of
from earwitness.harness.report.live_file import LADDER_S
from earwitness.harness.report.own_checks import all_checks
from earwitness.harness.report.reach import Reach
from earwitness.harness.report.streams import CHUNK, COMPLETED, ERROR, STARTED
from earwitness.harness.report.witnesses import in_lines, in_short

MOST_FINDINGS = 20
_MIDDLES_S = np.array([bucket_middle(bucket) for bucket in range(BUCKETS)]) / 1e9
ROW = ("id", "name", "outcome", "counts", "promised", "examined", "violations", "why")
"""Keys that a check's row in live.json takes from its row in verdict.json."""


class Devices:
    """Watcher that collects the devices that had a connection (see `checks.judge.Watcher`)."""

    def __init__(self) -> None:
        """Start without devices."""
        self.connected: set[int] = set()

    def step(self, view: View) -> None:
        """Implement `Watcher.step`: note the devices that connected."""
        connects = view.records["kind"] == Kind.CONNECT
        if connects.any():
            self.connected.update(view.records["client"][connects].tolist())


class Answers:
    """Watcher that counts the events of streamed answers on all connections."""

    EVENTS: Final = {"started": STARTED, "token": CHUNK, "completed": COMPLETED, "error": ERROR}
    """Name of a count in live.json → event of a RUN record. Each CHUNK counts as a token, even if it has no text."""

    def __init__(self) -> None:
        """Start without events."""
        self._counts = np.zeros(256, np.int64)

    def step(self, view: View) -> None:
        """Implement `Watcher.step`: count the RUN records of each event."""
        runs = view.records["kind"] == Kind.RUN
        if runs.any():
            self._counts += np.bincount(view.records["attempt"][runs], minlength=256)

    def counts(self) -> dict[str, int]:
        """Return name of an event (see EVENTS) -> number of its RUN records."""
        return {name: int(self._counts[event]) for name, event in self.EVENTS.items()}


class LiveVerdict:
    """Judge of one run that also reports the verdict so far: pass batches to `judge.step`, then call `look`.

    `say` gets one line for the first violation of each check.
    """

    def __init__(self, history: History, say: Callable[[str], None], own: Sequence[OwnCheck] = ()) -> None:
        """Prepare the judge of a run. `own`: own checks that the user allows to run."""
        self._history, self._say = history, say
        self._traffic, self._devices = Traffic(history.roster, BUCKETS), Devices()
        self._answers = Answers()
        self.reach = Reach(history.contract)
        watchers = (self._traffic, self._devices, self._answers, self.reach)
        self.judge: Judge = judge_of(history, all_checks(history.run, own), watchers)
        self._titles = {check.id: check.title for check in self.judge.checks}
        self._findings: deque[dict[str, object]] = deque(maxlen=MOST_FINDINGS)
        self._seen: set[tuple[object, ...]] = set()
        self._broken: set[str] = set()

    @property
    def records(self) -> int:
        """Return the number of records judged so far."""
        return int(self._traffic.kinds.sum())

    def look(self) -> dict[str, Any]:
        """Return the verdict so far as the dictionary of live.json.

        Without a violation the outcome is UNKNOWN, because it is decided at the end whether something is missing. A
        violation that was reported remains in the final verdict, unless the roster turns out to be damaged or to be
        another one: then the final outcome is UNKNOWN.
        """
        verdicts = self.judge.peek()
        for verdict in verdicts:
            self._take(verdict)
        judged_by = self._history.run.get("judged_by")
        outcome, why = outcome_of_run(verdicts, judged_by)
        rows = [row_of(verdict, judged_by) for verdict in verdicts]
        return self._document("running", outcome.name, why, rows)

    def last_look(self, verdict: Mapping[str, Any]) -> dict[str, Any]:
        """Return the final verdict in the form of live.json. `verdict`: the dictionary of verdict.json."""
        told = [*verdict["harness"], *verdict["checks"]]
        rows = [{key: row[key] for key in ROW} for row in told]
        self._findings.clear()
        for row in told:
            self._findings += [
                {
                    "check": row["id"],
                    "name": row["name"],
                    **in_lines(witness),
                    "picture": witness["svg"],
                    "command": witness["command"],
                }
                for witness in row["witnesses"]
            ]
        return {
            **self._document("finished", verdict["outcome"], verdict["why"], rows),
            "exit_code": verdict["exit_code"],
        }

    def summary(self) -> str:
        """Return counts of messages and records, and the broken checks, as one line."""
        traffic = self._traffic
        sent, heard = traffic.count(Kind.INVOKE), traffic.count(Kind.DELIVER)
        broken = f"broken: {', '.join(sorted(self._broken))}" if self._broken else "nothing broken so far"
        return f"{sent:,} sent, {heard:,} received, {self.records:,} records judged; {broken}"

    def _take(self, verdict: Verdict) -> None:
        """Store the findings of a check that are new, and report the first finding of each check to `say`."""
        if not verdict.violations:
            return
        fresh = [finding for finding in verdict.findings[:DESCRIBED] if self._new(verdict.id, finding)]
        told = [
            {"check": verdict.id, "name": verdict.name, **in_short(finding, verdict, self._history)}
            for finding in fresh
        ]
        self._findings += told
        if verdict.id not in self._broken:
            self._broken.add(verdict.id)
            sentence = told[0]["sentence"] if told else f"{verdict.violations} violations"
            observation = "" if verdict.promised else " (never promised: an observation)"
            self._say(f"{verdict.id} {verdict.name} is broken{observation}: {sentence}")

    def _new(self, id: str, finding: Finding) -> bool:
        key = (id, finding.what, finding.records)
        fresh = key not in self._seen
        self._seen.add(key)
        return fresh

    def _document(self, state: str, outcome: str, why: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        traffic = self._traffic
        opened = traffic.count(Kind.CONNECT)
        return {
            "state": state,
            "outcome": outcome,
            "why": why,
            "story": self._history.run.get("story", "imported"),
            "seed": self._history.run.get("seed"),
            "at": round(time.time(), 3),
            "judged_to_ns": traffic.latest_ns,
            "records": self.records,
            "messages": {
                "sent": traffic.count(Kind.INVOKE),
                "acknowledged": traffic.count(Kind.OK),
                "refused": traffic.count(Kind.FAIL),
                "unanswered": traffic.count(Kind.INFO),
                "heard": traffic.count(Kind.DELIVER),
            },
            "connections": {
                "opened": opened,
                "open": opened - traffic.count(Kind.DISCONNECT),
                "again": opened - len(self._devices.connected),
            },
            "streams": self._answers.counts(),
            "fan_out": {
                str(size): spread(counts)
                for size, counts in zip(traffic.sizes.tolist(), traffic.delays, strict=True)
                if counts.any()
            },
            "checks": [{"title": self._titles.get(row["id"], ""), **row} for row in rows],
            "findings": list(self._findings),
            "judge_cpu_s": round(time.process_time(), 3),
        }


def spread(counts: Array) -> dict[str, object]:
    """Return the figures of a latency histogram, whose buckets are those of `harness.client.tally`.

    `counts`: number of samples in each bucket. The result has samples, p50_ms, p99_ms, sum_s, and `within`: the number
    of samples up to each bound of LADDER_S.
    """
    used = np.flatnonzero(counts)
    middles_s, found = _MIDDLES_S[used], counts[used]
    until = np.concatenate([[0], np.cumsum(found)])
    samples = int(until[-1])
    p50_s, p99_s = (middles_s[np.searchsorted(until[1:], max(1, round(q * samples)))] for q in (0.5, 0.99))
    return {
        "samples": samples,
        "p50_ms": round(float(p50_s) * 1e3, 3),
        "p99_ms": round(float(p99_s) * 1e3, 3),
        "sum_s": round(float((found * middles_s).sum()), 6),
        "within": until[np.searchsorted(middles_s, LADDER_S, side="right")].tolist(),
    }
