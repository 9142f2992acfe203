"""Literal runs for the report page: a run that fails in known ways, the same run torn, and an imported history.

Ann, Bob and Cleo share a room of three; Ann and Bob share a room of two. Ann sends #1 to #6 in the first room and #7 in
the second, Bob sends #1 in the first. All are acknowledged, and all but Ann's #2 are stored. Cleo misses Ann's #1
(before all that she receives), #4 (between), #6 (after) and Bob's only message. A message is sent every 100 ms; the
backend is killed from 0.55 s to 0.75 s.
"""

from __future__ import annotations

import json
from pathlib import Path

from earwitness.checks.contract import Contract
from earwitness.checks.history.record import NOBODY, NONE, FaultKind, Flag, Kind, Phase, Place
from earwitness.checks.roster import Origin, Roster
from earwitness.harness.cli import main
from earwitness.harness.record.evidence import conclude
from earwitness.harness.record.frames import FrameStore
from earwitness.harness.record.importer import import_history
from earwitness.harness.record.journal import Journal
from earwitness.harness.record.rundir import RunDirectory

ROOT = Path(__file__).resolve().parents[2]
ANN, BOB, CLEO = range(3)
MS = 1_000_000
SECRET = b"s3cr3t-token"
ROSTER = Roster(
    user_of=(ANN, BOB, CLEO),
    conversations=((ANN, BOB, CLEO), (ANN, BOB)),
    user_names=("ann", "bob", "cleo<b>"),
    conversation_names=("lobby", "pair"),
)
SENT = [(0, ANN, n) for n in range(1, 7)] + [(0, BOB, 1), (1, ANN, 7)]
MISSED = {(ANN, 1), (ANN, 4), (ANN, 6), (BOB, 1)}
NOT_STORED = (ANN, 2)
FRAME = '{"type": "message", "token": "s3cr3t-token", "text": "<script>alert(1)</script>"}'


class Writer:
    """Writer of one journal with raw frames. `at`: time of the next record in ms."""

    def __init__(self, directory: RunDirectory) -> None:
        self.journal = Journal.create(directory.journals, "load-0", meta={"host": "a", "roster": ROSTER.digest()})
        self.frames = FrameStore.create(directory.journals, "load-0")
        self.at = 0.0

    def event(self, kind: Kind, client: int = NOBODY, *, flags: int = 0, attempt: int = 0, **slots: int) -> None:
        """Write a record that names no message."""
        values = {"conv": NOBODY, "author": NOBODY, "counter": 0, "seq": NONE, "aux": NONE, **slots}
        conn = 0 if client == NOBODY else client + 1
        self.journal.write(
            int(self.at * MS), kind, flags, attempt, 0, client, conn, values["conv"], values["author"],
            values["counter"], values["seq"], values["aux"], 0, 0,
        )  # fmt: skip

    def message(self, kind: Kind, client: int, name: tuple[int, int, int], seq: int, after_ms: float) -> None:
        """Write a record of a message, `after_ms` ms after its sending, and its raw frame.

        `name`: (conv, author, counter).
        """
        conv, author, counter = name
        conn = 0 if client == NOBODY else client + 1
        number = self.journal.write(
            int((self.at + after_ms) * MS), kind, 0, 1, author + 1, client, conn, conv, author, counter, seq, NONE, 10,
            author * 1000 + counter,
        )  # fmt: skip
        self.frames.said(number, FRAME, (SECRET,))


def failed_run(path: Path, *, torn: bool = False) -> Path:
    """Write the failing run, judge it, and return its directory.

    `torn`: its load process died, so the journal has no end.
    """
    directory = RunDirectory.at(path)
    contract = Contract(sequence="contiguous", names_sender=False, echo=False, delivery_bound_s=5.0)
    directory.update(
        tag="", contract=contract.to_dict(), journals=["load-0"], seed=42, story="ws_ordering", judged_by=["I1"],
        target={"kind": "reference"}, planned={"users": 3, "seconds": 1.0, "spawn_rate": 3.0, "arrivals": "10/s"},
        planned_faults=["kill:backend-1@0.5s+0.2s"], thresholds=["fan-out p99 < 1 ms"],
        options={"keep_frames": True, "defect": "backend=drop-push:0.05"}, opportunities=["size-limit"],
    )  # fmt: skip
    directory.write_roster(ROSTER, Origin.STATED)
    w = Writer(directory)
    _load(w)
    if not torn:
        _end(w)
    w.frames.close()
    w.journal.close(None if torn else {"lag_ms": {"p99": 1.0}, "messages_sent": 8, "messages_unsaid": 2})
    for second in (0.1, 0.6, 1.1):
        row = {"rss_mb": 60 + 10 * second, "cpu_s": second / 2, "fds": 9, "t_ns": int(second * 1000 * MS)}
        late = {"planned_ack_ms": {"samples": 4, "p50": 20.0, "p99": 40.0, "max": 40.0}}
        directory.append("services", {"service": "backend-1", **row})
        directory.append("services", {"service": "load-0", **row, **late})
    conclude(directory)
    return judged(path)


def _load(w: Writer) -> None:
    w.event(Kind.PHASE, counter=int(Phase.LOAD))
    for client in (ANN, BOB, CLEO):
        w.event(Kind.CONNECT, client)
        for conv, members in enumerate(ROSTER.conversations):
            if client in members:
                w.event(Kind.JOIN, client, conv=conv, seq=0)
    seqs = {0: 0, 1: 0}
    kill = w.journal.intern("kill backend-1")
    fault = {"author": kill, "counter": int(FaultKind.KILL), "attempt": int(Place.BACKEND)}
    for number, name in enumerate(SENT):
        w.at = 100.0 * (number + 1)
        conv, author, counter = name
        seqs[conv] += 1
        w.message(Kind.INVOKE, author, name, NONE, 0)
        w.message(Kind.OK, author, name, seqs[conv], 10)
        for client in ROSTER.conversations[conv]:
            if client != author and not (client == CLEO and (author, counter) in MISSED):
                w.message(Kind.DELIVER, client, name, seqs[conv], 20)
        w.at += 50
        if number in (4, 6):
            w.event(Kind.FAULT, flags=int(Flag.OWN) if number == 4 else 0, **fault)


def _end(w: Writer) -> None:
    w.at = 1000
    w.event(Kind.PHASE, counter=int(Phase.DRAIN))
    w.at = 1100
    w.event(Kind.PHASE, counter=int(Phase.DRAINED))
    for client in (ANN, BOB, CLEO):
        w.event(Kind.DISCONNECT, client, flags=int(Flag.OWN), counter=1000)
    seqs = {0: 0, 1: 0}
    for name in SENT:
        seqs[name[0]] += 1
        if name[1:] != NOT_STORED:
            w.message(Kind.STORED, ANN, name, seqs[name[0]], 10)
    w.at = 1200
    for conv, rows in ((0, 6), (1, 1)):
        w.event(Kind.READ_END, ANN, conv=conv, counter=rows, seq=seqs[conv])


def imported_run(path: Path) -> Path:
    """Import the history of the documentation, judge it, and return the run directory."""
    import_history(ROOT / "docs" / "pictures" / "counterexample.jsonl", path)
    return judged(path)


def judged(path: Path) -> Path:
    """Judge a run, which writes its report page; return its directory."""
    main(["check", str(path)])
    assert json.loads((path / "verdict.json").read_text("utf-8"))["checks"]
    return path
