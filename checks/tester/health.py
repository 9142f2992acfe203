"""H1 to H3, H5, H8: the record is complete and correct enough to judge the platform by it.

The outcome is PASS or UNKNOWN, never FAIL, because these checks find faults of the tester and not of the platform.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from earwitness.checks.contract import Contract
from earwitness.checks.engine.compiled import kernel
from earwitness.checks.engine.fold import Described, End, Folding, JournalInfo, clock_of
from earwitness.checks.engine.tables import ACKED, DELIVERED, INVOKED, REC_BITS, Array, Int, Tables
from earwitness.checks.engine.wall_clock import Step, wall_clock_of
from earwitness.checks.engine.world import View, World, grown
from earwitness.checks.history.kinds import K_FAIL, K_INFO, K_INVOKE, K_OK
from earwitness.checks.history.record import Flag, Kind, Phase
from earwitness.checks.roster import Roster
from earwitness.checks.verdict import Outcome, Verdict

K_FAULT = int(Kind.FAULT)
ANSWERS = 1 << K_OK | 1 << K_FAIL | 1 << K_INFO
"""Kinds of records, as bits, that answer the sending of a message."""
OWN = int(Flag.OWN)
NEVER = np.iinfo(np.int64).max
CLOCK_TOLERANCE_NS = 50_000_000
"""Largest permitted step backward (ns) between records of a journal: they may be written after they were stamped."""
LONGEST_MS = 1e9
"""Longest time, in ms, that is taken from a footer (11 days); longer ones are cut to it."""
LAG_BOUND_MS = 100.0
"""Loop lag p99 of a load process, in ms, beyond which times are not to be trusted."""

SAME_STEP_NS = 100_000_000
"""Largest difference in ns between two processes' measurements of one step of their host's wall clock."""
MOST_FAULTS = 8
"""Largest number of faults that H8 names; `earwitness verify` names all of them."""
SAID = 3
"""Largest number of clock steps that are described one by one."""

RECORDS, INDEX, BREAKS, LATEST, BACKWARD, FIRST_INVOKE, LAST_INVOKE = range(7)
"""Indexes of the array that `watch` keeps of each journal.

Number of records, index of the last record, number of breaks between indexes, latest time (ns), number of times that
jumped backward; the last two are not used.
"""


class Health(Folding):
    """Base class of the H-checks: any problem makes the verdict UNKNOWN, with a sentence about it.

    Subclasses implement `finish`, which returns the result of `healthy`.
    """

    def step(self, view: View) -> None:
        """No-op: most H-checks read only what the journals state at the end."""

    def peek(self, world: World) -> Verdict:
        """Implement `Fold.peek`: always UNKNOWN, because the journals are still open."""
        return self.healthy(0, ["the journals are still open"])

    def finish(self, end: End) -> Verdict:
        """Return the final verdict. Subclasses implement it."""
        raise NotImplementedError

    def healthy(
        self, examined: int, faults: list[str], facts: Mapping[str, Any] | None = None, why: str = ""
    ) -> Verdict:
        """Return UNKNOWN if there are `faults` (sentences about problems) or nothing was examined, else PASS.

        `examined`: number of units (`Described.unit`) that were examined; `facts`: figures for reports; `why`: a remark
        for a PASS.
        """
        if not examined and not faults:
            faults = ["nothing was examined"]
        return Verdict(
            id=self.check.id,
            name=self.check.name,
            outcome=Outcome.UNKNOWN if faults else Outcome.PASS,
            examined=examined,
            why="; ".join(faults) or why,
            facts=dict(facts or {}),
        )


@kernel
def watch(records: Array, state: Array) -> None:
    """Count in one journal the breaks between indexes, and the times that jump backward.

    `records`: the next chunk of the journal. `state`: array of this journal, indexed by RECORDS, INDEX, BREAKS and so
    on; output. Chunks of several journals may alternate, since each journal has its own array. Times are ns.

    A time may lie CLOCK_TOLERANCE_NS before the latest one, because records of several connections are written a little
    after they were stamped. It is compared with the latest time so far and not with the record before, since many
    small steps back would otherwise not be counted.
    """
    for i in range(len(records)):
        index = np.int64(records[i]["index"])
        t = records[i]["t"]
        state[RECORDS] += 1
        if index != state[INDEX] + 1:
            state[BREAKS] += 1
        state[INDEX] = index
        # Compared with the maximum: each of many small steps back would stay within the tolerance.
        if t < state[LATEST] - CLOCK_TOLERANCE_NS:
            state[BACKWARD] += 1
        state[LATEST] = max(state[LATEST], t)


@kernel
def own_times(records: Array, conns: Array, latest: Array, totals: Array) -> None:
    """Count times that go backward on a connection.

    `records`: consecutive records of a journal; `conns`: connection of each, -1: none. Output: `latest`, by connection,
    highest time (ns) so far; `totals[0]`, records examined; `totals[1]`, records whose time is before `latest`. No
    tolerance applies here, because one connection has one writer.
    """
    for i in range(len(records)):
        if conns[i] >= 0:
            totals[0] += 1
            # No tolerance: a connection has one writer, which stamps its records in order.
            if records[i]["t"] < latest[conns[i]]:
                totals[1] += 1
            latest[conns[i]] = max(latest[conns[i]], records[i]["t"])


@kernel
def own_answers(records: Array, journal: Int, mids: Array, w: Tables, totals: Array) -> None:
    """Count answers to messages whose sending does not come before the answer in the same journal.

    `records`: a chunk of journal `journal`; `mids`: message of each record, -1: none; `w`: tables of the world. Output:
    `totals[0]`, answers examined; `totals[2]`, answers without a sending before them. `totals[1]` is not used here.

    A record reference is (journal, index): within one journal the greater reference is the later record. `invoke_rec`
    is set by the shared pass before this loop runs, so a sending further down in the chunk is found too, and its
    reference shows that it came later.
    """
    for i in range(len(records)):
        r = records[i]
        if mids[i] >= 0 and 1 << np.int64(r["kind"]) & ANSWERS:
            totals[0] += 1
            sent = w.messages[mids[i]]["invoke_rec"]
            rec = (np.int64(journal) << REC_BITS) | np.int64(r["index"])
            # References order the records of one journal only; a sending in another one is as none.
            if sent == 0 or sent >> REC_BITS != journal or sent > rec:
                totals[2] += 1


@kernel
def traffic(records: Array, span: Array, faults: Array, totals: Array) -> None:
    """Store the times of the first and last sending, and the times at which faults were switched on.

    `records`: a chunk of any journal. Output: `span`, (first, last sending) in ns; `faults`, times in ns; `totals[0]`,
    entries of `faults` in use. The caller makes room in `faults` for `len(records)` more. All times of faults are kept,
    because it is known only at the end which faults fall between the two sendings.
    """
    for i in range(len(records)):
        r = records[i]
        if r["kind"] == K_INVOKE:
            span[0] = min(span[0], r["t"])
            span[1] = max(span[1], r["t"])
        elif r["kind"] == K_FAULT and r["flags"] & OWN:
            # OWN says that a fault was switched on; the record without it ends the fault.
            faults[totals[0]] = r["t"]
            totals[0] += 1


class Watching(Health):
    """Base class of the H-checks that read each journal's indexes and times. Subclasses implement `finish`.

    `states`: journal number -> array that `watch` keeps. `apart`: set to True if `step` is given only some of the
    records; then the caller passes all records to `read_all`, and `step` does nothing.
    """

    def __init__(self, check: Described, roster: Roster, contract: Contract) -> None:
        """Start without journals; each gets its state with its first chunk."""
        super().__init__(check, roster, contract)
        self.states: dict[int, Array] = {}
        self.apart = False

    def step(self, view: View) -> None:
        """Implement `Fold.step`: check indexes and times of the chunk. No-op if `apart`."""
        if not self.apart:
            self.read_all(view.journal, view.records, view.conn)

    def read_all(self, journal: int, records: Array, conns: Array) -> None:
        """Check indexes and times of consecutive records of a journal. `conns` is not used here."""
        state = self.states.setdefault(journal, np.zeros(7, np.int64))
        if not state[RECORDS]:
            state[LATEST] = -NEVER // 2
        watch(records, state)


class RecordComplete(Watching):
    """State of H1: every expected journal exists, is closed, and is complete.

    A complete journal has a footer and as many records as the footer states; their indexes have no gap; and every frame
    that arrived was recorded. No connection was ended because the platform sent more on it than the bounds allow. It
    reads the fact `journals_expected` of the run: the number of journals, or their names.
    """

    def finish(self, end: End) -> Verdict:
        """Implement `Fold.finish`: compare each journal with its footer."""
        faults = []
        if end.missing:
            faults.append(f"{end.missing} journals that were expected are missing")
        for number, journal in enumerate(end.journals):
            state = self.states.get(number, np.zeros(7, np.int64))
            footer = journal.footer or {}
            here = []
            if cut := footer.get("exceeded"):
                here.append(f"ended {cut:,} connections that sent more than is taken in (bounds)")
            if journal.torn or journal.footer is None:
                here.append("was never closed (its process died?)")
            elif footer.get("records") not in (None, journal.records):
                here.append(f"holds {journal.records} records, its footer says {footer['records']}")
            if journal.gaps or state[BREAKS]:
                here.append(f"has {max(journal.gaps, int(state[BREAKS]))} breaks in its numbering")
            if int(state[RECORDS]) != journal.records:
                here.append(f"has {journal.records} records, of which {int(state[RECORDS])} were judged")
            frames, recorded = footer.get("frames_in"), footer.get("recorded_frames_in")
            if frames is not None and recorded is not None and frames != recorded:
                here.append(f"received {frames} frames and recorded {recorded}")
            faults += [f"journal {journal.name} {' and '.join(here)}"] if here else []
        faults += [f"journal number {n} was judged but never declared" for n in self.states if n >= len(end.journals)]
        return self.healthy(sum(int(state[RECORDS]) for state in self.states.values()), faults)


class NotVacuous(Health):
    """State of H2: messages were sent, delivered and acknowledged, and the planned faults happened.

    Acknowledgements are required only if the contract has `acknowledges`. At least as many faults as planned must have
    been switched on between the first and the last sending.

    It reads these facts of the run: `planned_faults`, a number or a list; by default the faults on record count as
    planned. `faults_without_effect`: a sentence for each fault that was injected and had no effect.
    """

    def __init__(self, check: Described, roster: Roster, contract: Contract) -> None:
        """Start without faults and without sendings: the span from NEVER to -NEVER is empty."""
        super().__init__(check, roster, contract)
        self._span = np.array([NEVER, -NEVER], np.int64)
        self._faults = np.zeros(64, np.int64)
        self._total = np.zeros(1, np.int64)

    def step(self, view: View) -> None:
        """Implement `Fold.step`: store the times of sendings and faults."""
        self._faults = grown(self._faults, int(self._total[0]) + len(view.records))
        traffic(view.records, self._span, self._faults, self._total)

    def finish(self, end: End) -> Verdict:
        """Implement `Fold.finish`: compare the counts of messages and faults with what H2 requires."""
        flags = end.world.messages()["flags"]
        counts = {name: int(((flags & bit) > 0).sum()) for name, bit in _STATES}
        counts["delivered"] += end.world.delivered_elsewhere
        faults = [f"no message was {name}" for name, bit in _STATES if not counts[name] and self._needed(bit)]
        times = self._faults[: int(self._total[0])]
        inside = int(((times > self._span[0]) & (times < self._span[1])).sum())
        planned = end.facts.get("planned_faults", len(times))
        planned = planned if isinstance(planned, int) else len(planned)
        if inside < planned:
            faults.append(f"{planned} faults were planned, {inside} happened while messages were being sent")
        faults += end.facts.get("faults_without_effect", ())
        return self.healthy(counts["sent"], faults, {**counts, "faults": inside})

    def _needed(self, bit: int) -> bool:
        return bit != ACKED or self.contract.acknowledges


_STATES = (("sent", INVOKED), ("delivered", DELIVERED), ("acknowledged", ACKED))


class Clock(Watching):
    """State of H3: times of all journals can be compared, and the wall clock was not stepped.

    All journals were stamped by one monotonic clock, or it is known how far their clocks may differ; and in no journal
    does the time jump backward. The wall clock matters because tokens contain times of the wall clock.
    """

    def finish(self, end: End) -> Verdict:
        """Implement `Fold.finish`: compare hosts and clocks."""
        faults = [
            f"the clock of journal {journal.name} went backward {int(self.states[number][BACKWARD])} times"
            for number, journal in enumerate(end.journals)
            if number in self.states and self.states[number][BACKWARD]
        ]
        bound = end.clock_bound_ns()
        hosts = {clock_of(journal) for journal in end.journals}
        if bound is None or (None in hosts and len(end.journals) > 1):
            stated = "do not all state their host" if None in hosts else f"come from {len(hosts)} hosts"
            faults.append(f"the journals {stated}, and their clocks were not compared")
        steps = _steps(end)
        faults += [f"the wall clock was stepped {said}" for said in steps[:SAID]]
        faults += [f"the wall clock was stepped {len(steps) - SAID} times more"] if len(steps) > SAID else []
        facts = {"hosts": len(hosts), "bound_ms": None if bound is None else bound / 1e6, "clock_steps": steps}
        return self.healthy(len(end.journals), faults, facts)


def _steps(end: End) -> list[str]:
    """Return a phrase for each step of the wall clock: by how many seconds, when, and which processes noticed it."""
    loads, _ = end.world.kept.of(Kind.PHASE)
    begun = min(loads["t"][loads["counter"] == Phase.LOAD].tolist(), default=0)
    seen: list[tuple[Step, list[str]]] = []
    for step in wall_clock_of(end.world).steps:
        same = (
            names for one, names in seen if step.start <= one.end and abs(one.by - step.by) < SAME_STEP_NS
        )  # fmt: skip
        names = next(same, None)
        if names is None:
            seen.append((step, names := []))
        names.append(end.journals[step.journal].name if step.journal < len(end.journals) else "another process")
    return [
        f"by {step.by / 1e9:+.1f} s after {(step.end - begun) / 1e9:.1f} s ({', '.join(names)})" for step, names in seen
    ]


def lags_ms(end: End, which: str = "p99") -> list[float]:
    """Return the loop lag in ms of each journal whose footer states it. `which`: p50, p99 or max of the lag."""
    footers = [journal.footer for journal in end.journals if journal.footer]
    return [float(f["lag_ms"][which]) for f in footers if isinstance(f.get("lag_ms"), Mapping) and which in f["lag_ms"]]


def lag_p99_ms(end: End) -> float | None:
    """Return the largest p99 of loop lag, in ms, that the footer of a journal states; None if no journal states it."""
    return max(lags_ms(end), default=None)


def longest_lag_ns(end: End) -> int:
    """Return the longest delay, in ns, between an event and its record, as far as the journals' footers state it.

    It is the largest loop lag plus the largest `behind_ms`; 0 if no footer states either.
    """
    return int((max(lags_ms(end, "max"), default=0.0) + max(map(behind_ms, end.journals), default=0.0)) * 1e6)


def behind_ms(journal: JournalInfo) -> float:
    """Return the longest time, in ms, in which a socket of the journal's load process always had unread data.

    0 if the footer does not state it.
    """
    return _stated_ms(journal, "behind_ms")


def held_up_ns(end: End) -> int:
    """Return for how long in all, in ns, a load process had unread data on any of its sockets.

    Of several processes the largest value counts; 0 if no footer states it. A platform may have to wait while its data
    is not read, so the tester may have received an answer later than a fast reader by up to this time.
    """
    return int(max((_stated_ms(journal, "held_up_ms") for journal in end.journals), default=0.0) * 1e6)


def _stated_ms(journal: JournalInfo, name: str) -> float:
    stated = (journal.footer or {}).get(name, 0.0)
    return min(max(float(stated), 0.0), LONGEST_MS) if isinstance(stated, int | float) else 0.0


class OwnOrder(Health):
    """State of H5: on each connection times do not go backward, and every answer comes after its sending.

    `apart`: set to True if `step` is given only some of the records; then the caller passes all records to `read_all`,
    and `step` checks only answers.
    """

    # `apart`: all records come by `read_all`, because `step` is given only some of them.

    def __init__(self, check: Described, roster: Roster, contract: Contract) -> None:
        """Start without connections; their latest times are kept in a table that grows."""
        super().__init__(check, roster, contract)
        self._latest = np.zeros(0, np.int64)
        self._totals = np.zeros(3, np.int64)
        self.apart = False

    def step(self, view: View) -> None:
        """Implement `Fold.step`: check the order of times and answers in a chunk."""
        if not self.apart:
            self.read_all(view.journal, view.records, view.conn)
        own_answers(view.records, view.journal, view.mid, view.world.tables, self._totals)

    def read_all(self, journal: int, records: Array, conns: Array) -> None:
        """Check the order of times of consecutive records of a journal; `conns`: connection of each, -1: none."""
        self._latest = grown(self._latest, int(conns.max(initial=-1)) + 1, -NEVER)
        own_times(records, conns, self._latest, self._totals)

    def finish(self, end: End) -> Verdict:
        """Implement `Fold.finish`: report times and answers that were out of order."""
        examined, backward, early = (int(total) for total in self._totals)
        faults = []
        if backward:
            faults.append(f"on {backward} records the time of a connection went backward")
        if early:
            faults.append(f"{early} answers have no sending before them in their journal")
        return self.healthy(examined, faults)


class EvidenceWhole(Health):
    """State of H8: the files that are judged have not changed since they were written.

    Each block of a journal must agree with its checksum, and each file that a verdict uses with the hash that the run
    stated when it was concluded. It reads the fact `damage` of the run: sentences about damage outside the journals.
    Damaged blocks are not judged: a journal ends before the first of them, as if its process had died.
    """

    def finish(self, end: End) -> Verdict:
        """Implement `Fold.finish`: report damage, and records at a journal's end that have no checksum (unsealed)."""
        faults = [fault for journal in end.journals for fault in journal.damage]
        faults += end.facts.get("damage", ())
        bare = [journal for journal in end.journals if journal.unsealed]
        faults += [f"{journal.unsealed} records of journal {journal.name} are not sealed" for journal in bare]
        more = [f"{len(faults) - MOST_FAULTS} faults more"] if len(faults) > MOST_FAULTS else []
        unsealed = sum(journal.unsealed for journal in bare)
        examined = sum(journal.records for journal in end.journals) - unsealed
        facts = {"damage": faults[:MOST_FAULTS], "unsealed": unsealed}
        return self.healthy(examined, faults[:MOST_FAULTS] + more, facts)


RECORD_COMPLETE = Described(
    id="H1", name="record-complete", title="Is the record complete?", unit="records", fold=RecordComplete
)
NOT_VACUOUS = Described(
    id="H2", name="not-vacuous", title="Was there anything to judge?", unit="messages sent", fold=NotVacuous
)
CLOCK = Described(id="H3", name="clock", title="Can times be compared?", unit="journals", fold=Clock)
OWN_ORDER = Described(id="H5", name="own-order", title="Did the tester record in order?", unit="records", fold=OwnOrder)
EVIDENCE_WHOLE = Described(
    id="H8", name="evidence-whole", title="Is the evidence whole?", unit="records", fold=EvidenceWhole
)
