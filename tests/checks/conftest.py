"""A small language for literal histories: one line a record, numbers as a reader would say them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from words import assert_told

from earwitness.checks import Batch, Contract, Finding, Flag, JournalInfo, Kind, Phase, Roster, Telling, Verdict, tell
from earwitness.checks.engine.fold import Check
from earwitness.checks.engine.world import Context, World
from earwitness.checks.history.record import empty
from earwitness.checks.judge import judge

ANN, BOB, BOB2, EVE = range(4)
ROOM, OTHER = range(2)
ROSTER = Roster(
    user_of=(0, 1, 1, 2),
    conversations=((0, 1), (0, 2)),
    user_names=("ann", "bob", "eve"),
    conversation_names=("room-1", "room-2"),
)
FOOTER = {"records": 0, "lag_ms": {"p99": 1.0}}


def digest_of(author: int, n: int) -> int:
    return (author * 1000 + n) & 0xFFFF_FFFF


@dataclass
class History:
    """Records of several journals in the order in which they are told; times ascend by a millisecond a record."""

    contract: Contract = field(default_factory=lambda: Contract(sequence="contiguous", idempotent=True))
    roster: Roster = ROSTER
    facts: dict[str, Any] = field(default_factory=dict)
    torn: set[int] = field(default_factory=set)
    told: list[tuple[int, dict[str, int]]] = field(default_factory=list)

    def add(self, kind: Kind, client: int = 0xFFFF_FFFF, journal: int = 0, **slots: int) -> History:
        row = {"kind": int(kind), "client": client, "t": 1_000_000 * (len(self.told) + 1), **slots}
        self.told.append((journal, row))
        return self

    def join(self, client: int, conv: int = ROOM, head: int = 0, conn: int = 0, **slots: int) -> History:
        return self.add(Kind.JOIN, client, conv=conv, seq=head, conn=conn or client + 1, **slots)

    def leave(self, client: int, conv: int = ROOM, conn: int = 0, **slots: int) -> History:
        return self.add(Kind.LEAVE, client, conv=conv, conn=conn or client + 1, **slots)

    def cut(self, client: int, conn: int = 0, own: bool = False, **slots: int) -> History:
        flags = int(Flag.OWN) if own else 0
        return self.add(Kind.DISCONNECT, client, conn=conn or client + 1, flags=flags, **slots)

    def send(self, client: int, n: int, conv: int = ROOM, attempt: int = 1, **slots: int) -> History:
        return self._message(Kind.INVOKE, client, client, n, conv, attempt, **slots)

    def ack(self, client: int, n: int, seq: int = -1, conv: int = ROOM, attempt: int = 1, **slots: int) -> History:
        return self._message(Kind.OK, client, client, n, conv, attempt, seq=seq, **slots)

    def hear(self, client: int, author: int, n: int, seq: int = -1, conv: int = ROOM, **slots: int) -> History:
        return self._message(Kind.DELIVER, client, author, n, conv, seq=seq, **slots)

    def replay(self, client: int, author: int, n: int, seq: int = -1, conv: int = ROOM, **slots: int) -> History:
        return self._message(Kind.REPLAY, client, author, n, conv, seq=seq, **slots)

    def stored(self, author: int, n: int, seq: int = -1, conv: int = ROOM, **slots: int) -> History:
        return self._message(Kind.STORED, 0xFFFF_FFFF, author, n, conv, seq=seq, **{"conn": 0, **slots})

    def read(self, *convs: int, **slots: int) -> History:
        for conv in convs or (ROOM,):
            self.add(Kind.READ_END, conv=conv, **slots)
        return self

    def drained(self, **slots: int) -> History:
        self.add(Kind.PHASE, counter=int(Phase.DRAIN), **slots)
        return self.add(Kind.PHASE, counter=int(Phase.DRAINED), **slots)

    def _message(
        self, kind: Kind, client: int, author: int, n: int, conv: int, attempt: int = 1, **slots: int
    ) -> History:
        known = {"author": author, "counter": n, "conv": conv, "attempt": attempt, "proc": (author + 1) & 255}
        content = {"digest": digest_of(author, n), "size": 10}
        whole = {"conn": client + 1 & 0xFFFF, **known, **content, **slots}
        return self.add(kind, client, **whole)

    def arrays(self) -> dict[int, np.ndarray]:
        rows: dict[int, list[dict[str, int]]] = {}
        for journal, row in self.told:
            rows.setdefault(journal, []).append(row)
        result = {}
        for journal, told in rows.items():
            records = empty(len(told))
            for record, row in zip(records, told, strict=True):
                for name, value in row.items():
                    record[name] = value
            result[journal] = records
        return result

    def infos(self) -> list[JournalInfo]:
        infos = []
        arrays = self.arrays()
        for journal in range(max(arrays, default=-1) + 1):
            count = len(arrays.get(journal, ()))
            torn = journal in self.torn
            footer = None if torn else {**FOOTER, "records": count}
            infos.append(JournalInfo(name=f"j{journal}", records=count, footer=footer, torn=torn, meta={"host": "a"}))
        return infos

    def judge(self, batches: Iterable[Batch] | None = None) -> dict[str, Verdict]:
        if batches is None:
            batches = [Batch(journal, records) for journal, records in self.arrays().items()]
        verdicts = judge(self.roster, self.contract, batches, self.infos(), self.facts)
        arrays = self.arrays()
        assert_told(verdicts, self.roster, lambda journal, index: arrays[journal][index - 1])
        return {verdict.id: verdict for verdict in verdicts}

    def judge_only(self, check: Check) -> Verdict:
        batches = [Batch(journal, records) for journal, records in self.arrays().items()]
        (verdict,) = judge(self.roster, self.contract, batches, self.infos(), self.facts, [check])
        return verdict

    def tell(self, verdict: Verdict, finding: Finding | None = None) -> Telling:
        arrays = self.arrays()

        def lookup(journal: int, index: int) -> Any:
            return arrays[journal][index - 1]

        return tell(finding or verdict.findings[0], verdict, self.roster, lookup)


def healthy(contract: Contract | None = None, messages: int = 3) -> History:
    """Ann and both of Bob's tabs in one room; Ann and Bob speak in turns; all is heard, stored and read."""
    history = History() if contract is None else History(contract=contract)
    for client in (ANN, BOB, BOB2):
        history.join(client)
    seq = 0
    for n in range(1, messages + 1):
        for author in (ANN, BOB):
            seq += 1
            history.send(author, n).ack(author, n, seq)
            for client in (ANN, BOB, BOB2):
                history.hear(client, author, n, seq, aux=author)
    history.drained()
    for n in range(1, messages + 1):
        history.stored(ANN, n, 2 * n - 1).stored(BOB, n, 2 * n)
    return history.read(ROOM)


@pytest.fixture
def new_history() -> Callable[..., History]:
    """A history without records; keyword arguments are a contract's promises."""

    def make(**promises: Any) -> History:
        return History(contract=Contract(**{"sequence": "contiguous", "idempotent": True, **promises}))

    return make


@pytest.fixture
def healthy_history() -> Callable[..., History]:
    """`healthy(contract=…, messages=…)`."""
    return healthy


@pytest.fixture
def room_for_two(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiled loops may write two rows of violations, and must count all."""
    made = World.__init__

    def narrow(world: World, roster: Roster, context: Context | None = None) -> None:
        made(world, roster, context)
        world.out = world.out[:2]

    monkeypatch.setattr(World, "__init__", narrow)
