"""The checks again, slow and obvious: whole history at once, dicts and sorted lists, nothing clever.

Written from the definitions alone, to be compared with the compiled folds of `checks`. It shares only the
vocabulary (record, roster, contract) with them. Words as in `oracle_history`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from oracle_history import History, JournalFacts, Opinion, R

from checks.contract import Contract
from checks.record import NONE, Flag, Kind, Phase
from checks.roster import Roster


def fifo(h: History) -> Opinion:
    """I1: what one sender said in one process is heard, and numbered, in the order in which it was said."""
    heard: dict[Any, list[int]] = defaultdict(list)
    for r in h.of(Kind.DELIVER):
        if r.regular and r.attempt == 1:
            heard[r.process, r.author, r.proc, r.conv].append(r.counter)
    examined = violations = 0
    for counters in heard.values():
        for i, counter in enumerate(counters):
            before = counters[:i]
            if before and counter not in before:
                examined += 1
                violations += counter < max(before)
    numbered: dict[Any, set[tuple[int, int]]] = defaultdict(set)
    for r in h.of(Kind.DELIVER, Kind.REPLAY, Kind.STORED):
        if r.regular and r.attempt == 1 and r.seq != NONE:
            numbered[r.author, r.proc, r.conv].add((r.counter, r.seq))
    for pairs in numbered.values():
        for (c1, s1), (c2, s2) in combinations(sorted(pairs), 2):
            if c1 < c2:
                examined += 1
                violations += s1 > s2
    return Opinion(examined, violations, h.contract.ordered)


def total_order(h: History) -> Opinion:
    """I2: one number, one message; and nobody hears two messages in another order than somebody else."""
    if h.contract.sequence != "none":
        slots: dict[tuple[int, int], set[tuple[int, int]]] = defaultdict(set)
        for r in h.of(Kind.OK, Kind.DELIVER, Kind.REPLAY, Kind.STORED):
            if r.regular and r.seq != NONE:
                slots[r.conv, r.seq].add(r.message)
        return Opinion(len(slots), sum(len(m) > 1 for m in slots.values()), h.contract.total_order)
    orders: dict[int, dict[Any, list[Any]]] = defaultdict(lambda: defaultdict(list))
    for r in h.of(Kind.DELIVER):
        order = orders[r.conv][r.process]
        if r.regular and (*r.message, r.attempt) not in order:
            order.append((*r.message, r.attempt))
    examined = violations = 0
    for of_conv in orders.values():
        for one, other in combinations(of_conv.values(), 2):
            place = {m: i for i, m in enumerate(other)}
            common = [place[m] for m in one if m in place]
            pairs = list(combinations(common, 2))
            examined += len(pairs)
            violations += sum(a > b for a, b in pairs)
    return Opinion(examined, violations, h.contract.total_order)


def gap_free(h: History) -> Opinion:
    """I4: from the head at joining (else from the first delivery) numbers go up by exactly one."""
    last: dict[Any, int] = {}
    examined = violations = 0
    for r in h.of(Kind.JOIN, Kind.LEAVE, Kind.DELIVER):
        key = r.process, r.conv
        if r.kind == Kind.JOIN and r.seq != NONE:
            last[key] = r.seq
        elif r.kind in (Kind.JOIN, Kind.LEAVE):
            last.pop(key, None)
        elif r.seq != NONE and not r.flags & Flag.MISROUTED:
            if key in last:
                examined += 1
                violations += r.seq > last[key] + 1
            last[key] = max(r.seq, last.get(key, r.seq))
    return Opinion(examined, violations, h.contract.sequence == "contiguous")


def stored_when_acknowledged(h: History) -> Opinion:
    """I5a: every acknowledged message is in the complete final read of its conversation."""
    complete = h.read_completely()
    stored = {(r.conv, r.message) for r in h.of(Kind.STORED) if r.regular}
    acknowledged = {(r.conv, r.message) for r in h.of(Kind.OK)}
    can_judge = {(conv, m) for conv, m in acknowledged if conv in complete and complete[conv] not in h.torn}
    doubt = "some conversations have no complete final read" if can_judge != acknowledged else ""
    return Opinion(len(can_judge), len(can_judge - stored), h.contract.durable and h.contract.history, doubt)


class Held(NamedTuple):
    """A subscription of a device that nobody interrupted: from `start_ns` to the end of the drain."""

    client: int
    conv: int
    start_ns: int


def _phase_times(h: History) -> dict[tuple[int, int], int]:
    return {(r.journal, r.counter): r.t for r in h.of(Kind.PHASE)}


def _periods(h: History) -> Iterator[tuple[R, R | None]]:
    """(JOIN, what ended it) of every subscription; None: nothing did."""
    marks = list(h.of(Kind.JOIN, Kind.LEAVE, Kind.DISCONNECT))
    for join in h.of(Kind.JOIN):
        for r in marks:
            after = r.journal == join.journal and r.conn == join.conn and r.place > join.place
            same = r.kind == Kind.DISCONNECT or (r.kind in (Kind.LEAVE, Kind.JOIN) and r.conv == join.conv)
            if after and same:
                yield join, r
                break
        else:
            yield join, None


def held_to_the_end(h: History) -> list[Held]:
    """Subscriptions that lasted; the start goes back over reconnects that the platform called continuous."""
    phases = _phase_times(h)
    by_device: dict[tuple[int, int], list[tuple[R, R | None]]] = defaultdict(list)
    for join, end in _periods(h):
        by_device[join.client, join.conv].append((join, end))
    held = []
    for (client, conv), periods in by_device.items():
        start = None
        for join, _ in sorted(periods, key=lambda p: (p[0].t, p[0].place)):
            if start is None or not join.flags & Flag.CONTINUED:
                start = join.t
        join, end = max(periods, key=lambda p: (p[0].t, p[0].place))
        drain = phases.get((join.journal, Phase.DRAIN))
        drained = phases.get((join.journal, Phase.DRAINED))
        lasted = (
            end is None
            or (drained is not None and end.t >= drained)
            or (end.kind == Kind.DISCONNECT and bool(end.flags & Flag.OWN) and drain is not None and end.t >= drain)
        )
        if lasted and h.member(client, conv) and join.journal not in h.torn:
            assert start is not None
            held.append(Held(client, conv, start))
    return held


def delivered(h: History) -> Opinion:
    """I5b: who was subscribed from before a message was sent until the end of the drain has heard it."""
    contract = h.contract
    accepted: set[tuple[int, tuple[int, int]]] = set()
    complete = h.read_completely() if contract.history else {}
    accepted |= {(r.conv, r.message) for r in h.of(Kind.STORED) if r.regular and r.conv in complete}
    accepted |= {(r.conv, r.message) for r in h.of(Kind.OK) if r.conv not in complete}
    heard = {(r.client, r.message) for r in h.of(Kind.DELIVER, Kind.REPLAY) if r.regular}
    held = held_to_the_end(h)
    owed = set()
    for conv, message in accepted:
        if message not in h.invokes:
            continue
        sent = min(r.t for r in h.invokes[message])
        for subscription in held:
            meant = contract.echo or subscription.client != message[0]
            if meant and subscription.conv == conv and subscription.start_ns < sent:
                owed.add((subscription.client, message))
    missing = owed - heard
    if Phase.DRAINED not in {phase for _, phase in _phase_times(h)}:
        return Opinion(len(owed), 0, contract.delivers, "the drain never ended")
    doubt = "a journal is torn" if h.torn else ""
    return Opinion(len(owed), len(missing), contract.delivers, doubt)


def at_most_once(h: History) -> Opinion:
    """I6: no message twice on a connection, or on a device where the contract says so.

    Where the platform is not idempotent each attempt is a message of its own.
    """
    by_device = h.contract.at_most_once == "device"
    times: dict[Any, int] = defaultdict(int)
    for r in h.of(Kind.DELIVER):
        if r.regular:
            times[r.client if by_device else r.process, r.message, 0 if h.contract.idempotent else r.attempt] += 1
    return Opinion(sum(times.values()), sum(n - 1 for n in times.values()), h.contract.at_most_once != "no")


def effectively_once(h: History) -> Opinion:
    """I7: one message has one number and at most one stored row. Counted are messages."""
    numbers: dict[Any, set[int]] = defaultdict(set)
    rows: dict[Any, int] = defaultdict(int)
    for r in h.of(Kind.OK, Kind.DELIVER, Kind.STORED):
        if r.regular:
            if not h.contract.idempotent and len(h.invokes[r.message]) > 1:
                continue
            rows[r.message] += r.kind == Kind.STORED
            if r.seq != NONE:
                numbers[r.message].add(r.seq)
    bad = {m for m, n in rows.items() if n > 1} | {m for m, seqs in numbers.items() if len(seqs) > 1}
    return Opinion(len(rows), len(bad), True)


def no_creation(h: History) -> Opinion:
    """I8: nothing is delivered or stored that nobody sent in this run. Counted are records."""
    examined = violations = 0
    for r in h.of(Kind.DELIVER, Kind.REPLAY, Kind.STORED):
        if r.flags & Flag.CORRUPT:
            continue
        examined += 1
        if r.flags & Flag.FOREIGN_RUN:
            violations += 1
        elif not h.invokes.get(r.message):
            violations += not h.torn
    return Opinion(examined, violations, True, "a journal is torn" if h.torn else "")


def integrity(h: History) -> Opinion:
    """I10: content arrives as it was sent. Counted are records."""
    examined = violations = 0
    for r in h.of(Kind.DELIVER, Kind.REPLAY, Kind.STORED):
        if r.flags & Flag.CORRUPT:
            examined += 1
            violations += 1
        elif r.sound and h.invokes.get(r.message):
            examined += 1
            violations += (r.digest, r.size) not in {(s.digest, s.size) for s in h.invokes[r.message]}
    return Opinion(examined, violations, h.contract.unchanged)


def isolation(h: History) -> Opinion:
    """I12: nobody hears what is not for them, and nothing arrives under another conversation's name."""
    examined = violations = 0
    for r in h.of(Kind.DELIVER, Kind.REPLAY):
        if r.sound:
            examined += 1
            violations += bool(r.flags & Flag.MISROUTED) or not h.member(r.client, r.conv)
    return Opinion(examined, violations, True)


def identity(h: History) -> Opinion:
    """I15: the sender that the platform states is the author; places agree who a client is."""
    examined = violations = 0
    for r in h.of(Kind.DELIVER, Kind.REPLAY, Kind.STORED, Kind.IDENTITY):
        subject = r.client if r.kind == Kind.IDENTITY else r.author
        if r.aux != NONE and r.sound:
            examined += 1
            violations += h.user(r.aux) != h.user(subject)
    return Opinion(examined, violations, h.contract.names_sender)


CHECKS: dict[str, Callable[[History], Opinion]] = {
    "I1": fifo,
    "I2": total_order,
    "I4": gap_free,
    "I5a": stored_when_acknowledged,
    "I5b": delivered,
    "I6": at_most_once,
    "I7": effectively_once,
    "I8": no_creation,
    "I10": integrity,
    "I12": isolation,
    "I15": identity,
}


def judge(
    roster: Roster,
    contract: Contract,
    journals: Sequence[np.ndarray],
    facts: Sequence[JournalFacts],
    only: Iterable[str] = tuple(CHECKS),
) -> dict[str, Opinion]:
    """Every check's opinion by its id."""
    history = History(roster, contract, journals, facts)
    return {id: CHECKS[id](history) for id in only}
