"""I40: circuit breakers change their states as the contract promises."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from earwitness.checks.contract import Contract
from earwitness.checks.engine.fold import FINDINGS, Described, End, Folding
from earwitness.checks.engine.tables import Array
from earwitness.checks.engine.world import View, World
from earwitness.checks.history.kinds import K_CALL
from earwitness.checks.history.record import Flag
from earwitness.checks.roster import Roster
from earwitness.checks.verdict import Finding, Verdict

ANSWERED = int(Flag.ACCEPTED | Flag.REFUSED)
CLOSED, OPEN, HALF = 1, 2, 3
"""States of a circuit breaker, as `counter` of a CALL states them."""
TOLERANCE_NS = 100_000_000
"""Largest difference in ns between the times that a caller's own clock showed and those on record."""
LONG_AGO = -(1 << 62)


class State(NamedTuple):
    """State in which a circuit breaker may be.

    mode       CLOSED, OPEN or HALF (half-open)
    failures   number of consecutive failures; counted while CLOSED
    since      time in ns at which it opened; LONG_AGO: before the first call
    probes     numbers of the calls in progress that test the dependency, in HALF; -1: a call that is not on record
    successes  number of successful probes so far, in HALF
    """

    mode: int
    failures: int = 0
    since: int = LONG_AGO
    probes: frozenset[int] = frozenset()
    successes: int = 0


class Call(NamedTuple):
    """Call of a dependency; times in ns.

    begun     when the caller began it
    ended     when it ended
    called    False: the breaker refused it without calling the dependency
    answered  True: the dependency accepted or refused it
    said      state of the breaker in the caller's log, 0: not stated
    journal   number of the journal with its record
    number    index of the record in its journal
    """

    begun: int
    ended: int
    called: bool
    answered: bool
    said: int
    journal: int
    number: int


class Rules(NamedTuple):
    """Promises of the contract about circuit breakers.

    failures   number of consecutive failures that opens a breaker
    open_ns    ns for which a breaker stays open
    probes     most probes at a time
    successes  number of successful probes that closes a breaker
    """

    failures: int
    open_ns: int
    probes: int
    successes: int


def admitted(state: State, call: int, t: int, rules: Rules) -> Iterable[State]:
    """Yield the possible states after `state` if the breaker let the call number `call` through at `t` (ns).

    Yields nothing if a breaker in `state` cannot have let the call through.
    """
    if state.mode == CLOSED:
        yield state
    elif state.mode == OPEN and t - state.since >= rules.open_ns - TOLERANCE_NS:
        yield State(HALF, probes=frozenset([call]))
    elif state.mode == HALF and len(state.probes) < rules.probes:
        yield state._replace(probes=state.probes | {call})


def refused(state: State, t: int, rules: Rules) -> Iterable[State]:
    """Yield the possible states after `state` if the breaker refused a call at `t` (ns).

    Yields nothing if a breaker in `state` cannot have refused a call.
    """
    waiting = state.mode == OPEN and t - state.since <= rules.open_ns + TOLERANCE_NS
    if waiting or (state.mode == HALF and len(state.probes) >= rules.probes):
        yield state


def ended(state: State, call: int, answered: bool, t: int, rules: Rules) -> Iterable[State]:
    """Yield the possible states after `state` when the call number `call` ends at `t` (ns).

    `answered`: False counts as a failure. A failed call that is no probe, ending while the breaker is not closed, may
    have opened the breaker anew or not: both states are possible.
    """
    if call in state.probes:
        if not answered:
            yield State(OPEN, since=t)
        elif state.successes + 1 >= rules.successes:
            yield State(CLOSED)
        else:
            yield state._replace(probes=state.probes - {call}, successes=state.successes + 1)
    elif state.mode == CLOSED:
        failures = 0 if answered else state.failures + 1
        yield State(OPEN, since=t) if failures >= rules.failures else state._replace(failures=failures)
    else:
        yield state
        if not answered:
            yield State(OPEN, since=t)


class Conformance:
    """Set of all states in which one breaker may be, updated with each event.

    states    the possible states; an event that none of them allows begins a new set
    broken    for each such event (name of the finding, call number)
    examined  number of failures, refusals by the breaker, and calls made while it may not have been closed
    """

    def __init__(self, rules: Rules, said: int) -> None:
        """Start with all states that agree with `said`, the state in the first call's record; 0: with any."""
        self.rules = rules
        self.examined = 0
        self.broken: list[tuple[str, int]] = []
        closed = {State(CLOSED, failures=n) for n in range(rules.failures)}
        others = {State(OPEN), State(HALF, probes=frozenset([-1]))}
        self.states = {CLOSED: closed, OPEN: {State(OPEN)}, HALF: others}.get(said, closed | others)

    def begin(self, call: int, t: int) -> None:
        """Process the beginning of the call number `call`, which the breaker let through at `t` (ns).

        If no possible state allows that, `broken` gets "probes" (too many at a time) or "called" (the breaker was
        open).
        """
        modes = {state.mode for state in self.states}
        self.examined += modes != {CLOSED}
        after = {new for state in self.states for new in admitted(state, call, t, self.rules)}
        if not after:
            self._break("probes" if HALF in modes else "called", call)
            after = {State(CLOSED), State(HALF, probes=frozenset([call]))}
        self.states = after

    def fast(self, call: int, t: int) -> None:
        """Process the call number `call`, which the breaker refused at `t` (ns) without calling the dependency.

        If no possible state allows that, `broken` gets "stuck" (open for too long) or "refused" (the breaker was
        closed).
        """
        self.examined += 1
        modes = {state.mode for state in self.states}
        after = {new for state in self.states for new in refused(state, t, self.rules)}
        if not after:
            self._break("stuck" if OPEN in modes else "refused", call)
            after = {State(OPEN, since=t)}
        self.states = after

    def end(self, call: int, answered: bool, t: int) -> None:
        """Process the end of the call number `call` at `t` (ns).

        `answered`: True if the dependency gave any answer, whether it accepted or refused. False is a failure for the
        breaker.
        """
        self.examined += not answered
        self.states = {new for state in self.states for new in ended(state, call, answered, t, self.rules)}

    def _break(self, what: str, call: int) -> None:
        self.broken.append((what, call))


class Breakers(Folding):
    """State of I40: each CALL of a dependency fits the states CLOSED, OPEN and HALF-OPEN in which its breaker may be.

    Not a violation: the result of a call that was under way while the breaker changed its state. Examined are failures,
    refusals by the breaker, and calls that were made while the breaker may not have been closed.
    """

    def __init__(self, check: Described, roster: Roster, contract: Contract) -> None:
        """Start without calls. They are stored by journal and by the number of their breaker in it."""
        super().__init__(check, roster, contract)
        self._calls: dict[tuple[int, int], list[Call]] = defaultdict(list)

    def step(self, view: View) -> None:
        """Implement `Fold.step`: store the calls of each breaker."""
        for call in view.rare[view.rare["kind"] == K_CALL]:
            self._calls[view.journal, int(call["author"])].append(_call(call, view.journal))

    def peek(self, world: World) -> Verdict:
        """Implement `Fold.peek`: always UNKNOWN, because calls are compared with states at the end."""
        return self.conclude(unknown="states are followed at the end")

    def finish(self, end: End) -> Verdict:
        """Implement `Fold.finish`: check the calls of each breaker in the order of time."""
        contract, found, examined = self.contract, [], 0
        if contract.breaker_failures is None:
            return self.conclude(unknown="the contract promises no breaker")
        rules = Rules(
            contract.breaker_failures, int(contract.breaker_open_s * 1e9), contract.breaker_probes,
            contract.breaker_successes,
        )  # fmt: skip
        seen = dict.fromkeys(("closed", "open", "half_open"), 0)
        for _, calls in sorted(self._calls.items()):
            breaker = follow(calls, rules)
            examined += breaker.examined
            found += [Finding(what=what, records=_proof(calls, at)) for what, at in breaker.broken]
            for call in calls:
                if 0 < call.said <= HALF:
                    seen[("closed", "open", "half_open")[call.said - 1]] += 1
        facts = {"breakers": len(self._calls), **seen}
        return self.conclude(found[:FINDINGS], examined=examined, violations=len(found), facts=facts)


def follow(calls: list[Call], rules: Rules) -> Conformance:
    """Process all calls of one breaker, at least one, in the order of time; return what was found.

    Call numbers in the result are indexes of `calls`.
    """
    order = sorted(range(len(calls)), key=lambda n: (calls[n].begun, calls[n].number))
    breaker = Conformance(rules, calls[order[0]].said)
    events: list[tuple[int, int, int]] = []  # at equal times ends come first: they may admit a call
    for n in order:
        call = calls[n]
        events.append((call.begun, 1, n))
        if call.called:
            events.append((max(call.ended, call.begun + 1), 0, n))
    for t, begins, n in sorted(events):
        if not begins:
            breaker.end(n, calls[n].answered, t)
        elif calls[n].called:
            breaker.begin(n, t)
        else:
            breaker.fast(n, t)
    return breaker


def _call(record: Array, journal: int) -> Call:
    return Call(
        begun=int(record["seq"]),
        ended=int(record["t"]),
        called=bool(record["aux"]),
        answered=bool(record["flags"] & ANSWERED),
        said=int(record["counter"]),
        journal=journal,
        number=int(record["index"]),
    )


def _proof(calls: list[Call], at: int) -> tuple[tuple[int, int], ...]:
    """Return (journal, index) of the records of at most five calls: that at index `at`, and those begun just before."""
    before = sorted((c for c in calls if c.begun <= calls[at].begun), key=lambda call: (call.begun, call.number))
    return tuple((call.journal, call.number) for call in before[-5:])


BREAKERS = Described(
    id="I40",
    name="breaker-conformance",
    title="Did circuit breakers open, try and close as promised?",
    unit="failures and calls",
    symptom="Circuit breakers did not open, try or close as promised",
    fold=Breakers,
    when=lambda contract: contract.breaker_failures is not None,
    sentences={
        "called": "a dependency was called although its breaker was open",
        "probes": "more calls went to a dependency at once than a half-open breaker may let through",
        "stuck": "a breaker still refused calls when it was time to try again",
        "refused": "a breaker refused a call although it was closed",
    },
)
