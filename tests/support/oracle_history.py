"""History as plain Python objects, for the oracle.

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
"""Numbers of two kinds of records: a client has read a conversation; a membership has ended, and that is confirmed."""


class JournalFacts(Protocol):
    """Protocol of the facts about a journal that the oracle needs besides its records."""

    @property
    def torn(self) -> bool: ...


class R(NamedTuple):
    """One record with the number of its journal and its place there, as plain Python numbers."""

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
    """The oracle's verdict of a check.

    `examined`: number of opportunities; `violations`: of violations; `doubt`: why a result without violations is no
    PASS, "" if it is one.
    """

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
        """Convert the records of all journals. `clocks`: ns by which times of different journals may differ."""
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
        """Return whether a sending of this author may be missing.

        True if the author's journal is torn; for an author without a journal, if any journal is torn.
        """
        own = {r.journal for r in self.of(Kind.INVOKE, Kind.CONNECT) if r.client == author}
        return bool(own & self.torn if own else self.torn)

    def in_place(self, r: R) -> bool:
        """Return whether a record is regular and its client is a member; deliveries to others are left to I12."""
        return r.regular and self.member(r.client, r.conv)

    def read_completely(self) -> set[int]:
        """Return the conversations whose final read is complete."""
        return {r.conv for r in self.of(Kind.READ_END)}

    def heard_before(self, r: R) -> Iterator[R]:
        """Yield the sound deliveries and replays in the same journal before this record."""
        heard = (other for other in self.of(Kind.DELIVER, Kind.REPLAY) if other.sound)
        return (other for other in heard if other.journal == r.journal and other.place < r.place)

    @cached_property
    def numbers(self) -> dict[tuple[int, int], set[int]]:
        """Return message → all numbers that the platform stated for it; more than one is a violation of I7."""
        numbers: dict[tuple[int, int], set[int]] = defaultdict(set)
        if self.contract.sequence != "none":
            for r in self.of(Kind.OK, Kind.DELIVER, Kind.REPLAY, Kind.STORED):
                if r.regular and r.seq != NONE:
                    numbers[r.message].add(r.seq)
        return numbers

    @cached_property
    def stated(self) -> dict[tuple[int, int], list[int]]:
        """Return message → its numbers as the platform stated them, in the order of the records."""
        stated: dict[tuple[int, int], list[int]] = defaultdict(list)
        for r in self.of(Kind.OK, Kind.DELIVER, Kind.REPLAY, Kind.STORED):
            if r.regular and r.seq != NONE:
                stated[r.message].append(r.seq)
        return stated

    def missing(self, client: int, conv: int, first: int, end: int) -> set[int]:
        """Return the numbers from `first` to `end` - 1 without those that the client's own messages may have.

        Without echo, a client does not receive its own messages. So their numbers are left out, and as many more as it
        has messages without a known number.
        """
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
        """Return the time (ns) at which a phase began for a journal; FOREVER if it is not in the record."""
        return self._phases.get((journal, phase), FOREVER)

    def until_the_end(self, end: R | None, journal: int) -> bool:
        """Return whether a subscription that this record ended (None: none did) lasted to the end of the run.

        True if the drain was over, or if the tester closed the connection during the drain.
        """
        if end is None or end.t >= self.phase(journal, Phase.DRAINED):
            return True
        closed = end.kind == Kind.DISCONNECT and bool(end.flags & Flag.OWN)
        return closed and end.t >= self.phase(journal, Phase.DRAIN)

    def lasted(self, r: R) -> bool:
        """Return whether this record's connection lasted to the end of a run whose end is in the record."""
        ends = [e for e in self.of(Kind.DISCONNECT) if e.process == r.process]
        drained = self.phase(r.journal, Phase.DRAINED) < FOREVER
        return drained and self.until_the_end(ends[0] if ends else None, r.journal)
