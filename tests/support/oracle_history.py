"""A whole history as plain Python objects, for the oracle.

Words used here
---------------
message   (author, counter).
process   (journal, conn): one connection of one client. Nothing is concluded about order across processes.
sound     a record whose body can be believed: neither CORRUPT nor FOREIGN_RUN.
regular   sound, and in the conversation that its body names (neither MISROUTED nor without one): only these say
          something about order, numbers and receipt.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Protocol

import numpy as np

from earwitness.checks.contract import Contract
from earwitness.checks.history.record import NOBODY, NONE, Flag, Kind, Phase
from earwitness.checks.roster import Roster

FOREVER = 1 << 62
READ, KICK = 21, 22
"""Kinds: a client has read a conversation; a client is out of a conversation, and that is confirmed."""


class JournalFacts(Protocol):
    """What the oracle wants to know about a journal besides its records."""

    @property
    def torn(self) -> bool: ...


class R(NamedTuple):
    """One record with its journal, as plain Python numbers."""

    journal: int
    t: int
    kind: int
    flags: int
    attempt: int
    proc: int
    client: int
    conn: int
    conv: int
    author: int
    counter: int
    seq: int
    aux: int
    size: int
    digest: int
    place: int  # RECORD.index

    @property
    def message(self) -> tuple[int, int]:
        return self.author, self.counter

    @property
    def process(self) -> tuple[int, int]:
        return self.journal, self.conn

    @property
    def sound(self) -> bool:
        return not self.flags & (Flag.CORRUPT | Flag.FOREIGN_RUN)

    @property
    def regular(self) -> bool:
        return self.sound and not self.flags & Flag.MISROUTED and self.conv != NOBODY


SAYING = (Kind.INVOKE, Kind.OK, Kind.FAIL, Kind.INFO, Kind.DELIVER, Kind.REPLAY, Kind.STORED)


@dataclass(frozen=True, slots=True)
class Opinion:
    """examined: opportunities; violations: those that were broken; doubt: why a clean answer is not a PASS."""

    examined: int
    violations: int
    promised: bool = True
    doubt: str = ""

    @property
    def outcome(self) -> str:
        if self.violations:
            return "FAIL"
        return "UNKNOWN" if self.doubt or not self.examined else "PASS"


class History:
    """All records of a run, journal by journal, each journal in its own order."""

    def __init__(
        self,
        roster: Roster,
        contract: Contract,
        journals: Sequence[np.ndarray],
        facts: Sequence[JournalFacts],
        clocks: int = 0,
    ) -> None:
        """`clocks`: ns by which times of different journals may differ."""
        self.roster, self.contract, self.clocks = roster, contract, clocks
        self.torn = {number for number, fact in enumerate(facts) if fact.torn}
        self._chosen: dict[tuple[int, ...], list[R]] = {}  # what was asked for once is asked for again
        self.records = [R(number, *row) for number, journal in enumerate(journals) for row in journal.tolist()]
        self.invokes: dict[tuple[int, int], list[R]] = {}
        for r in self.of(Kind.INVOKE):
            self.invokes.setdefault(r.message, []).append(r)
        self.first_attempts: dict[tuple[int, int], list[R]] = {}
        for r in [*self.of(Kind.INVOKE), *(r for r in self.of(Kind.DELIVER) if r.sound)]:
            if r.attempt == 1:
                self.first_attempts.setdefault(r.message, []).append(r)
        self.retried = {r.message for r in self.records if r.kind in SAYING and r.sound and r.attempt > 1}

    def of(self, *kinds: int) -> Iterator[R]:
        if kinds not in self._chosen:
            self._chosen[kinds] = [r for r in self.records if r.kind in kinds]
        return iter(self._chosen[kinds])

    def user(self, client: int) -> int | None:
        return self.roster.user_of[client] if 0 <= client < len(self.roster.user_of) else None

    def member(self, client: int, conv: int) -> bool:
        return 0 <= conv < len(self.roster.conversations) and self.user(client) in self.roster.conversations[conv]

    def may_have_lost(self, author: int) -> bool:
        """A sending of this author may be missing: its journal is torn, or, if it has none, any journal is."""
        own = {r.journal for r in self.of(Kind.INVOKE, Kind.CONNECT) if r.client == author}
        return bool(own & self.torn if own else self.torn)

    def in_place(self, r: R) -> bool:
        """A regular record of somebody who belongs there; what strangers hear is I12's, whatever its order."""
        return r.regular and self.member(r.client, r.conv)

    def read_completely(self) -> set[int]:
        """Conversations whose final read came to its end."""
        return {r.conv for r in self.of(Kind.READ_END)}

    def heard_before(self, r: R) -> Iterator[R]:
        """What was heard, as its body says, in the same journal before this record."""
        heard = (other for other in self.of(Kind.DELIVER, Kind.REPLAY) if other.sound)
        return (other for other in heard if other.journal == r.journal and other.place < r.place)

    @cached_property
    def numbers(self) -> dict[tuple[int, int], set[int]]:
        """Every number that a platform stated for each message; more than one is I7's."""
        numbers: dict[tuple[int, int], set[int]] = defaultdict(set)
        if self.contract.sequence != "none":
            for r in self.of(Kind.OK, Kind.DELIVER, Kind.REPLAY, Kind.STORED):
                if r.regular and r.seq != NONE:
                    numbers[r.message].add(r.seq)
        return numbers

    @cached_property
    def stated(self) -> dict[tuple[int, int], list[int]]:
        """The numbers of each message as they were stated, in the order of the record."""
        stated: dict[tuple[int, int], list[int]] = defaultdict(list)
        for r in self.of(Kind.OK, Kind.DELIVER, Kind.REPLAY, Kind.STORED):
            if r.regular and r.seq != NONE:
                stated[r.message].append(r.seq)
        return stated

    def missing(self, client: int, conv: int, first: int, end: int) -> set[int]:
        """Numbers from `first` to before `end` that a client should have heard: without echo its own messages (and as
        many as have no known number) may be what is missing."""
        missing = set(range(first, end))
        if not missing or self.contract.echo:
            return missing
        own = [m for m in self.invokes if m[0] == client and self.invokes[m][0].conv == conv]
        missing -= {seq for m in own for seq in self.numbers.get(m, ())}
        excused = sum(m not in self.numbers for m in own)
        return missing if len(missing) > excused else set()

    @cached_property
    def _phases(self) -> dict[tuple[int, int], int]:
        backwards = sorted(self.of(Kind.PHASE), key=lambda r: -r.t)
        return {(r.journal, r.counter): r.t for r in backwards}

    def phase(self, journal: int, phase: Phase) -> int:
        """When a phase began for a journal; FOREVER if that is not on record."""
        return self._phases.get((journal, phase), FOREVER)

    def until_the_end(self, end: R | None, journal: int) -> bool:
        """What was ended by this record (None: by nothing) lasted: until the drain was over, or until the tester
        closed it while draining."""
        if end is None or end.t >= self.phase(journal, Phase.DRAINED):
            return True
        closed = end.kind == Kind.DISCONNECT and bool(end.flags & Flag.OWN)
        return closed and end.t >= self.phase(journal, Phase.DRAIN)

    def lasted(self, r: R) -> bool:
        """The connection of this record lasted to the end of a run whose end is on record."""
        ends = [e for e in self.of(Kind.DISCONNECT) if e.process == r.process]
        drained = self.phase(r.journal, Phase.DRAINED) < FOREVER
        return drained and self.until_the_end(ends[0] if ends else None, r.journal)
