"""Counterexamples ("witnesses") of verdict.json: sentence, records, promise, command, and swim-lane."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import numpy as np

from earwitness.checks.contract import Contract
from earwitness.checks.engine.fold import DESCRIBED, Check, Described
from earwitness.checks.findings.lines import Told, line
from earwitness.checks.findings.names import message, person, room
from earwitness.checks.findings.scene import Scene, scene
from earwitness.checks.findings.scene import Step as Drawn
from earwitness.checks.findings.sentences import said_by, sentence, tell
from earwitness.checks.findings.wrong import wrong_records
from earwitness.checks.history.record import FOREIGN, Kind
from earwitness.checks.own_fold import Own
from earwitness.checks.verdict import Finding, Verdict
from earwitness.harness.record.columns import Columns
from earwitness.harness.record.frames import frames_of
from earwitness.harness.record.history import History
from earwitness.harness.record.reading import first_clients
from earwitness.harness.report.neighbours import Wanted, choose, gather, wanted_of
from earwitness.harness.report.own_checks import OPTION

MOST = DESCRIBED
"""Most findings of each check that are described."""
DRAWN = 3
"""Most counterexamples of each failed check that are printed in the terminal and drawn."""


Step = TypedDict(
    "Step",
    {"at_ms": float | None, "from": int, "to": int, "label": str, "proof": bool, "wrong": NotRequired[str | None]},
)
"""One step of a swim-lane: an arrow between two lanes, or a mark in one lane.

`at_ms`: ms since the first record of the counterexample, None for a step that never happened; `from`, `to`: indices of
lanes; `proof`: whether it proves the violation. `wrong`: why the step itself is wrong, in a few words or ""; None if it
is not wrong. A verdict of an earlier version lacks `wrong`.
"""


class Promise(TypedDict):
    """Promise that was broken: the check's id and question, the promise as a statement, the contract's keys for it."""

    check: str
    title: str
    statement: str
    contract: dict[str, object]


class Where(TypedDict):
    """Where a violation happened; None: the finding does not name it.

    room     name of the conversation
    members  number of its members
    user     the user who was affected
    message  the message as "#3 of ann"
    """

    room: str | None
    members: int | None
    user: str | None
    message: str | None


class Lanes(TypedDict):
    """Swim-lane of a finding: names of its lanes, and its steps in order of time."""

    lanes: list[str]
    steps: list[Step]


class Witness(Lanes, Where):
    """Counterexample of one finding, as verdict.json has it.

    check, number     id of the check, and the number of the finding, from 1
    kind              name of the kind of finding; a check has one or several kinds
    command           shell command that shows the finding
    records, context  columns of the records that prove it, and of other records about the same messages
    svg               path of its picture in the run directory, None for later findings
    """

    check: str
    number: int
    kind: str
    sentence: str
    records: list[dict[str, object]]
    context: list[dict[str, object]]
    promise: Promise
    command: str
    svg: str | None


class Replicas:
    """Look-up of the replica on which a connection was opened, from its CONNECT record."""

    def __init__(self, history: History) -> None:
        """Prepare for the journals of a history; a journal is searched when it is first needed."""
        self._journals = history.journals
        self._found: dict[int, Any] = {}

    def of(self, journal: int, conn: int) -> str | None:
        """Return the name of the replica of connection `conn` in journal number `journal`; None if none is recorded."""
        if journal not in self._found:
            records = self._journals[journal].records
            self._found[journal] = records[records["kind"] == Kind.CONNECT][["conn", "author"]]
        found = self._found[journal]
        at = np.flatnonzero(found["conn"] == conn)
        return self._journals[journal].names.get(int(found["author"][at[-1]])) if len(at) else None


class Teller:
    """Renderer of the findings of one history as counterexamples."""

    def __init__(self, history: History, checks: Sequence[Check]) -> None:
        """Prepare to render findings of `checks` in `history`."""
        self._history, self._contract = history, history.contract
        self._checks = {check.id: check for check in checks}
        self._tag = tag_of(history)
        self._clients = first_clients(history.journals)
        self._replicas = Replicas(history)
        self._users = np.array(history.roster.user_of, dtype=np.int64)

    def witnesses(self, verdicts: Sequence[Verdict]) -> dict[str, list[Witness]]:
        """Return check id → counterexamples of its first MOST findings, in their order.

        The journals are read once or twice for all findings together (`neighbours.gather`).
        """
        told = [(v, n, f) for v in verdicts for n, f in enumerate(v.findings[:MOST], start=1)]
        proofs = [self._proof(finding) for _, _, finding in told]
        wanted = [wanted_of(finding, proof) for (_, _, finding), proof in zip(told, proofs, strict=True)]
        if wanted:
            gather(self._history, wanted)
        result: dict[str, list[Witness]] = {verdict.id: [] for verdict in verdicts}
        for (verdict, n, finding), proof, one in zip(told, proofs, wanted, strict=True):
            result[verdict.id].append(self._witness(verdict, n, finding, proof, one))
        return result

    def _proof(self, finding: Finding) -> list[Told]:
        found = []
        for journal, index in finding.records:
            record = self._history.journals[journal].record(index)
            if record is not None:
                found.append(Told(journal, index, record))
        return found

    def _witness(self, verdict: Verdict, n: int, finding: Finding, proof: Sequence[Told], wanted: Wanted) -> Witness:
        proven, context = choose(finding, proof, wanted.found)
        roster = self._history.roster
        drawn = scene(verdict.id, finding, proven, context, roster, self._name_of)
        wrong = wrong_records(verdict.id, finding, proven, roster, self._name_of)
        last = proof[-1] if proof else None
        said = said_by(last.record, last.journal, self._name_of) if last else None
        first = min((int(told.record["t"]) for told in (*proven, *context)), default=0)
        return {
            "check": verdict.id,
            "number": n,
            "kind": finding.what,
            "sentence": self._short(sentence(finding, verdict, roster, said)),
            **self._where(finding),
            "records": [self._proving(told, first, wrong.get((told.journal, told.index))) for told in proven],
            "context": [self._row(told, first) for told in context],
            "promise": self._promise(verdict.id),
            "command": command(self._history.path, self._checks[verdict.id], n),
            "svg": f"witnesses/{verdict.id}-{n}.svg" if n <= DRAWN else None,
            **self._lanes(drawn),
        }

    def _where(self, finding: Finding) -> Where:
        """Return the conversation, user and message of a finding; see `Where`."""
        roster, facts = self._history.roster, finding.facts
        conv, client, author, counter = (facts.get(name, -1) for name in ("conv", "client", "author", "counter"))
        there = 0 <= conv < len(roster.conversations)
        return {
            "room": self._short(room(roster, conv)) if there else None,
            "members": len(roster.conversations[conv]) if there else None,
            "user": self._short(person(roster, client)) if 0 <= client < len(roster.user_of) else None,
            "message": self._short(message(roster, author, counter)) if 0 <= author < FOREIGN and counter > 0 else None,
        }

    def _proving(self, told: Told, first: int, wrong: str | None) -> dict[str, object]:
        """Return the row of a record that proves a finding.

        `first`: time in ns from which `at_ms` counts; `wrong`: see `Step`.
        """
        row = self._row(told, first)
        if wrong is None:
            return row
        why = self._short(wrong)
        return {**row, "words": f"{row['words']} – {why}" if why else row["words"], "wrong": why}

    def _row(self, told: Told, first: int) -> dict[str, object]:
        view = self._history.journals[told.journal]
        columns = Columns(np.array([told.record]), view.name, view.names, self._clients, self._users)
        words = line(told, self._history.roster, self._name_of)
        conn = int(told.record["conn"])
        replica = self._replicas.of(told.journal, conn) if conn else None
        if replica:
            words = words.replace(f"(connection {conn})", f"(connection {conn}, {replica})", 1)
        row = {"at_ms": round((int(told.record["t"]) - first) / 1e6, 6), "words": self._short(words)}
        frame = frames_of(view.path).of(told.index)
        return {**row, **columns.rows()[0], **({"frame": frame.text()} if frame else {})}

    def _promise(self, id: str) -> Promise:
        check = self._checks[id]
        statement = check.statement if isinstance(check, Described) else check.title
        return {
            "check": id,
            "title": check.title,
            "statement": statement,
            "contract": promise(check, self._contract),
        }

    def _lanes(self, drawn: Scene) -> Lanes:
        steps: list[Step] = [
            {"at_ms": step.at_ms, "from": step.start, "to": step.end, "label": self._short(self._labelled(step)),
             "proof": step.proof, "wrong": None if step.wrong is None else self._short(step.wrong)}
            for step in drawn.steps
        ]  # fmt: skip
        return {"lanes": [self._short(name) for name in drawn.lanes], "steps": steps}

    def _labelled(self, step: Drawn) -> str:
        """Return the label of a step.

        After the connection that it names, the name of the connection's replica is inserted.
        """
        if step.record is None or "connection " not in step.label:
            return step.label
        journal, index = step.record
        record = self._history.journals[journal].record(index)
        conn = 0 if record is None else int(record["conn"])
        replica = self._replicas.of(journal, conn) if conn else None
        return step.label.replace(f"connection {conn}", f"connection {conn} to {replica}", 1) if replica else step.label

    def _name_of(self, journal: int, number: int) -> str | None:
        text = self._history.journals[journal].names.get(number)
        client = self._clients.get(text) if text is not None else None
        return text if client is None else person(self._history.roster, client)

    def _short(self, words: str) -> str:
        """Return `words` without the run's tag, which every name contains and no reader needs."""
        return words.replace(self._tag, "") if self._tag else words


def tag_of(history: History) -> str:
    """Return the prefix that the names of all rooms and users of this run have; "" if the run has no tag."""
    return f"{tag}-" if (tag := str(history.run.get("tag") or "")) else ""


def in_short(finding: Finding, verdict: Verdict, history: History) -> dict[str, object]:
    """Return a finding for live.json: its sentence, and the records that prove it as lines of text."""

    def lookup(journal: int, index: int) -> Any:
        return history.journals[journal].record(index)

    def name_of(journal: int, number: int) -> str | None:
        return history.journals[journal].names.get(number)

    telling = tell(finding, verdict, history.roster, lookup, tag_of(history), name_of)
    return {"sentence": telling.sentence, "records": telling.lines}


def in_lines(witness: Witness) -> dict[str, object]:
    """Return a counterexample of verdict.json in the form that `in_short` returns."""
    lines = [f"{r['journal']}:{r['index']}  {r['at_ms']:+.3f} ms  {r['words']}" for r in witness["records"]]
    return {"sentence": witness["sentence"], "records": lines}


def promise(check: Check, contract: Contract) -> dict[str, object]:
    """Return the contract's keys, with their values, that decide whether the check is promised; {} if it always is."""
    read: dict[str, object] = {}

    class Reading:
        def __getattr__(self, key: str) -> object:
            read[key] = getattr(contract, key)
            return read[key]

    check.promised(Reading())  # type: ignore[arg-type]
    return read


def promise_words(told: Promise) -> str:
    """Return a counterexample's promise as text: the statement, and the contract's keys."""
    keys = ", ".join(f"{key} = {json.dumps(value)}" for key, value in told["contract"].items())
    stated = told.get("statement") or told["title"]  # a verdict of an earlier version has the question only
    return f"{stated} (contract: {keys or 'always promised'})"


def command(run_dir: Path, check: Check, n: int) -> str:
    """Return the shell command that shows finding number `n` of `check`.

    Its paths are relative to the working directory.
    """
    beside = Path(sys.executable).with_name("earwitness")
    program = "earwitness" if shutil.which("earwitness") or not beside.exists() else os.path.relpath(beside)
    own = [OPTION, check.file] if isinstance(check, Own) else []
    return shlex.join([program, "check", os.path.relpath(run_dir), *own, "--only", check.id, "--witness", str(n)])
