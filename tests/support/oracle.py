"""Oracle: the checks a second time, written to be simple instead of fast, over the whole history at once.

Written from the definitions alone, to be compared with the compiled folds of `checks`. It shares only the vocabulary
(record, roster, contract) with them. `oracle_history` defines its terms.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import combinations, pairwise
from typing import Any, NamedTuple

import numpy as np
from oracle_history import FOREVER, KICK, READ, History, JournalFacts, Opinion, R
from oracle_sessions import SESSION_CHECKS, whole_page

from earwitness.checks.contract import Contract
from earwitness.checks.history.record import AGENT, NOBODY, NONE, Flag, Kind, Phase
from earwitness.checks.roster import Roster

TIMEOUT = Flag.TIMEOUT


def fifo(h: History) -> Opinion:
    """Judge I1: messages that one sender sent in one process are received, and numbered, in the order of sending."""
    heard: dict[Any, list[int]] = defaultdict(list)
    here: set[Any] = set()
    for r in h.of(Kind.DELIVER):
        if h.in_place(r) and h.member(r.author, r.conv):
            again = (r.process, r.message) in here
            here.add((r.process, r.message))
            if r.attempt == 1 and not again:
                heard[r.process, r.author, r.proc, r.conv].append(r.counter)
    examined = violations = 0
    for counters in heard.values():
        for i in range(1, len(counters)):
            examined += 1
            violations += counters[i] < max(counters[:i])
    numbered = defaultdict(list)
    for message, seqs in h.numbers.items():
        sent = h.first_attempts.get(message, ())
        if sent and len(seqs) == 1 and message not in h.retried:
            numbered[message[0], sent[0].proc, sent[0].conv].append((message[1], min(seqs)))
    for pairs in numbered.values():
        for (_, s1), (_, s2) in combinations(sorted(pairs), 2):
            examined += 1
            violations += s1 > s2
    return Opinion(examined, violations, h.contract.ordered)


def total_order(h: History) -> Opinion:
    """Judge I2: no number belongs to two messages, and one order agrees with what every connection received.

    Where numbers are contiguous, a different order is a gap, which I4 reports.
    """
    slots: dict[tuple[int, int], set[tuple[int, int]]] = defaultdict(set)
    for r in h.of(Kind.OK, Kind.DELIVER, Kind.REPLAY, Kind.STORED) if h.contract.sequence != "none" else ():
        if r.regular and r.seq != NONE:
            slots[r.conv, r.seq].add(r.message)
    taken = sum(len(messages) > 1 for messages in slots.values())
    if h.contract.sequence == "contiguous":
        return Opinion(len(slots), taken, h.contract.total_order)
    heard: dict[Any, list[R]] = defaultdict(list)
    for r in h.of(Kind.DELIVER):
        order = heard[r.process, r.conv]
        if h.in_place(r) and r.message not in {other.message for other in order}:
            order.append(r)
    before = set()
    for order in heard.values():
        # Where the platform is not idempotent, another attempt is another message: only first ones are compared.
        firsts = [r.message for r in order if r.attempt == 1 or h.contract.idempotent]
        before |= set(pairwise(firsts))
    return Opinion(len(slots) + len(before), taken + int(_circular(before)), h.contract.total_order)


def _circular(before: set[tuple[Any, Any]]) -> bool:
    """Return whether no order satisfies all pairs (earlier, later), because they form a cycle."""
    left = {message for pair in before for message in pair}
    while left:
        later = {b for a, b in before if a in left and b in left}
        if later == left:
            return True
        left = later
    return False


def gap_free(h: History) -> Opinion:
    """Judge I4: from the head on joining (without one, from the first delivery) numbers increase by exactly one.

    Replayed history raises the expected number; it must be without gaps only if the platform states that it continues.
    Without echo, the device's own messages, and as many as have no known number, may be missing.
    """
    if h.contract.sequence != "contiguous":
        return Opinion(0, 0, promised=False)
    last: dict[Any, int] = {}
    continued: dict[Any, bool] = {}
    examined = violations = 0
    for r in h.of(Kind.JOIN, Kind.LEAVE, Kind.DELIVER, Kind.REPLAY):
        key = r.process, r.conv
        if r.kind in (Kind.JOIN, Kind.LEAVE):
            last.pop(key, None)
            continued[key] = bool(r.flags & Flag.CONTINUED)
            if r.kind == Kind.JOIN and r.seq != NONE:
                last[key] = r.seq
        elif r.seq != NONE and not r.flags & Flag.MISROUTED and h.member(r.client, r.conv):
            new = r.kind == Kind.DELIVER
            if key in last:
                examined += 1
                missing = h.missing(r.client, r.conv, last[key] + 1, r.seq)
                violations += bool(missing) and (new or continued.get(key, False))
            if key in last or new:
                last[key] = max(r.seq, last.get(key, r.seq))
    return Opinion(examined, violations)


def stored_when_acknowledged(h: History) -> Opinion:
    """Judge I5a: every acknowledged message is in the complete final read of its conversation."""
    complete = h.read_completely()
    stored = {r.message for r in h.of(Kind.STORED) if r.regular}
    acknowledged = {(r.conv, r.message) for r in h.of(Kind.OK) if r.regular}
    judged = {message for conv, message in acknowledged if conv in complete}
    doubt = "some conversations have no complete final read" if len(judged) < len(acknowledged) else ""
    return Opinion(len(judged), len(judged - stored), h.contract.durable and h.contract.history, doubt)


class Held(NamedTuple):
    """Uninterrupted subscription of a device, which must receive all messages sent between `start_ns` and `end_ns`.

    `drained`: it lasted until the end of the drain.
    """

    client: int
    conv: int
    start_ns: int
    end_ns: int
    drained: bool
    journal: int


def _periods(h: History) -> Iterator[tuple[R, R | None]]:
    """Yield (JOIN, the record that ended the subscription) for each subscription; None: it did not end."""
    marks = list(h.of(Kind.JOIN, Kind.LEAVE, Kind.DISCONNECT))
    for join in h.of(Kind.JOIN):
        for r in marks:
            after = r.process == join.process and r.place > join.place
            same = r.kind == Kind.DISCONNECT or (r.kind in (Kind.LEAVE, Kind.JOIN) and r.conv == join.conv)
            if after and same:
                yield join, r
                break
        else:
            yield join, None


def held_to_the_end(h: History) -> list[Held]:
    """Return the last subscription of each device if it lasted to the end.

    With a contract that promises `resume`, its start is that of the first one of a row of reconnects that the platform
    called continuous.
    """
    by_device: dict[tuple[int, int], list[tuple[R, R | None]]] = defaultdict(list)
    for join, end in _periods(h):
        if h.member(join.client, join.conv):
            by_device[join.client, join.conv].append((join, end))
    held = []
    for (client, conv), periods in by_device.items():
        start, cut, lasting = 0, False, None
        for join, end in sorted(periods, key=lambda p: (p[0].t, p[0].place)):
            if not (cut and join.flags & Flag.CONTINUED and h.contract.resume):
                start = join.t
            cut = end is not None and end.kind == Kind.DISCONNECT
            kick = _kicked(h, client, conv, join, end)
            if kick is not None:
                cut, end = False, kick
            if h.until_the_end(end, join.journal):
                drained = h.phase(join.journal, Phase.DRAINED) < FOREVER
                lasting = Held(client, conv, start, FOREVER if end is None else end.t, drained, join.journal)
        if lasting is not None:
            held.append(lasting)
    return held


def _kicked(h: History, client: int, conv: int, join: R, end: R | None) -> R | None:
    """Return the first loss of membership after this joining; None if there is none or the device had left before."""
    kicks = [r for r in h.of(KICK) if r.conv == conv and h.user(r.client) == h.user(client) and r.t > join.t]
    if end is not None and end.kind != Kind.DISCONNECT:
        kicks = [r for r in kicks if r.t < end.t]
    return min(kicks, key=lambda r: r.t, default=None)


def _still_coming(h: History, held: Held, message: tuple[int, int]) -> bool:
    """Return whether the tester's deadline cut a connection that was still receiving, before this message came."""
    cut = [
        r.t for r in h.of(Kind.PHASE) if (r.journal, r.counter) == (held.journal, Phase.DRAINED) and r.flags & TIMEOUT
    ]
    received = [r for r in h.of(Kind.DELIVER, Kind.REPLAY) if r.client == held.client and h.member(r.client, r.conv)]
    if not cut or max((r.t for r in received), default=-1) <= min(cut) - 2 * 10**9:
        return False
    came = [r for r in received if r.conv == held.conv]
    numbers = h.stated.get(message, [])
    return not numbers or numbers[0] > max((r.seq for r in came), default=NONE)


def _accepted(h: History) -> set[tuple[int, tuple[int, int]]]:
    """Return (conversation, message) of all messages that took effect: stored, or acknowledged without a history.

    A message that was stored only after the end of the run does not count (`before_the_end`).
    """
    effect = Kind.STORED if h.contract.history else Kind.OK
    accepted = {(r.conv, r.message) for r in h.of(effect) if r.regular and r.message in h.invokes}
    if h.contract.history and h.contract.acknowledges:
        accepted = {(conv, message) for conv, message in accepted if before_the_end(h, conv, message)}
    return accepted


def _unread(h: History) -> set[tuple[int, int]]:
    """Return the acknowledged messages not known to be stored, in conversations without a complete final read."""
    stored = {r.message for r in h.of(Kind.STORED) if r.regular}
    return {r.message for r in h.of(Kind.OK) if r.regular and r.conv not in h.read_completely()} - stored


def delivered(h: History) -> Opinion:
    """Judge I5b: each device subscribed from before a sending until the end of the drain receives the message."""
    accepted = _accepted(h)
    heard = {(r.client, r.message) for r in h.of(Kind.DELIVER, Kind.REPLAY) if r.sound}
    held = held_to_the_end(h)
    owed: set[Any] = set()
    unfinished: set[Any] = set()
    cut: set[Any] = set()
    for conv, message in accepted:
        sent = min(r.t for r in h.invokes[message])
        for subscription in held:
            meant = h.contract.echo or subscription.client != message[0]
            if meant and subscription.conv == conv and subscription.start_ns < sent < subscription.end_ns:
                (owed if subscription.drained else unfinished).add((subscription.client, message))
                if subscription.drained and _still_coming(h, subscription, message):
                    cut.add((subscription.client, message))
    doubt = "the end of the drain is not on record" if (unfinished | cut) - heard else ""
    if h.contract.history:
        doubt = doubt or ("some acknowledged messages were not read" if _unread(h) else "")
    return Opinion(len(owed) + len(unfinished), len(owed - heard - cut), h.contract.delivers, doubt)


def misses_nothing(h: History) -> Opinion:
    """Judge I47: each device of a member gets every message: live, by a replay, or in a page of the history.

    Only devices count that joined before the message was sent, whose user lost no membership since, and that are
    connected at the end. If the platform told the device to read the history and it did not, the result is unknown.
    """
    accepted = _accepted(h)
    got = {(r.client, r.message) for r in h.of(Kind.DELIVER, Kind.REPLAY) if r.sound}
    missed, examined, doubts = 0, 0, set()
    for held in held_to_the_end(h):
        mine = [r for r in h.of(Kind.JOIN, Kind.LEAVE) if (r.client, r.conv) == (held.client, held.conv)]
        kicks = [r.t for r in h.of(KICK) if r.conv == held.conv and h.user(r.client) == h.user(held.client)]
        since = _since(mine, max(kicks, default=-1))
        told = max((r.t for r in _sent_to_read(mine)), default=-1)
        for _, message in (one for one in accepted if one[0] == held.conv and one[1][0] != held.client):
            sent = min(r.t for r in h.invokes[message])
            if not since < sent < held.end_ns:
                continue
            examined += 1
            if (held.client, message) in got:
                continue
            shown = {_shown(h, read, message, sent) for read in h.of(READ) if _reads(read, held)}
            if "yes" in shown:
                continue
            if not held.drained:
                doubts.add("the end of the drain is not on record")
            elif _still_coming(h, held, message):
                doubts.add("our deadline")
            elif "perhaps" in shown or sent <= told:
                doubts.add("not read, or not known")
            else:
                missed += 1
    if h.contract.history and _unread(h):
        doubts.add("some acknowledged messages were not read")
    return Opinion(examined, missed, h.contract.misses_nothing, "; ".join(sorted(doubts)))


def _since(mine: list[R], kicked: int) -> int:
    """Return the time of the first joining; after a loss of membership, of the first later joining.

    Of a connection's joinings that continue each other, the first one counts. FOREVER if there is none.
    """
    first = min(r.t for r in mine if r.kind == Kind.JOIN)
    if first > kicked:
        return first
    last: dict[tuple[int, int], int] = {}
    joined: dict[tuple[int, int], bool] = {}
    for r in mine:
        if r.kind == Kind.JOIN and not (joined.get(r.process) and r.flags & Flag.CONTINUED):
            last[r.process] = r.t
        joined[r.process] = r.kind == Kind.JOIN
    return min((t for t in last.values() if t > kicked), default=FOREVER)


def _sent_to_read(mine: list[R]) -> Iterator[R]:
    """Yield the joinings after which a device has to read the history.

    These are joinings with the answer that it cannot continue, and joinings after the platform had ended a
    subscription.
    """
    for before, r in zip([None, *mine], mine, strict=False):
        out = before is not None and before.kind == Kind.LEAVE and not r.flags & Flag.CONTINUED
        if r.kind == Kind.JOIN and (out or r.flags & Flag.REFUSED):
            yield r


def _reads(read: R, held: Held) -> bool:
    return (read.client, read.conv) == (held.client, held.conv)


def _shown(h: History, read: R, message: tuple[int, int], sent: int) -> str:
    """Return "yes", "perhaps" or "no": whether a page of the history showed a message."""
    numbers = h.stated.get(message, [])
    if not numbers:
        return "perhaps" if read.t > sent else "no"
    begun = read.author != NOBODY
    low = read.author + 1 if begun and read.author else 0
    if not read.counter or not low <= numbers[0] <= read.seq:
        return "no"
    holed = h.contract.sequence == "contiguous" and begun and not whole_page(read)
    return "yes" if begun and not holed and not read.flags & Flag.CORRUPT else "perhaps"


def before_the_end(h: History, conv: int, message: Any) -> bool:
    """Return whether a message certainly took effect before the end of the run, also if its acknowledgement is missing.

    True if the message was acknowledged, if a message with a higher number was, or, without numbers, if the message was
    received. A message with two numbers counts as without a number.
    """
    acked = {r.message for r in h.of(Kind.OK) if r.regular and r.conv == conv}
    if message in acked:
        return True
    if h.contract.sequence == "none":
        return any(r.message == message and r.regular for r in h.of(Kind.DELIVER, Kind.REPLAY))
    numbers: dict[Any, set[int]] = defaultdict(set)
    for r in h.of(Kind.OK, Kind.DELIVER, Kind.REPLAY, Kind.STORED):
        if r.regular and r.seq != NONE:
            numbers[r.message].add(r.seq)
    highest = max((seq for one in acked for seq in numbers[one] if len(numbers[one]) == 1), default=NONE)
    return len(numbers[message]) == 1 and max(numbers[message]) < highest


def at_most_once(h: History) -> Opinion:
    """Judge I6: no message comes twice on a connection, or on a device where the contract says so.

    If the platform is not idempotent, a message that was sent several times may come several times.
    """
    by_device = h.contract.at_most_once == "device"
    times: dict[Any, int] = defaultdict(int)
    for r in h.of(Kind.DELIVER):
        if h.in_place(r) and (h.contract.idempotent or r.message not in h.retried):
            times[r.client if by_device else r.process, r.message] += 1
    return Opinion(sum(times.values()), sum(n - 1 for n in times.values()), h.contract.at_most_once != "no")


def effectively_once(h: History) -> Opinion:
    """Judge I7: each message has one number and at most one stored row. Violations are counted by message."""
    numbers: dict[Any, set[int]] = defaultdict(set)
    rows: dict[Any, int] = defaultdict(int)
    for r in h.of(Kind.OK, Kind.DELIVER, Kind.STORED):
        if r.regular and (h.contract.idempotent or r.message not in h.retried):
            if r.kind == Kind.STORED:
                rows[r.message] += 1
            if r.seq != NONE:
                numbers[r.message].add(r.seq)
    bad = {m for m, n in rows.items() if n > 1} | {m for m, seqs in numbers.items() if len(seqs) > 1}
    return Opinion(len(rows.keys() | numbers.keys()), len(bad), h.contract.idempotent)


def no_creation(h: History) -> Opinion:
    """Judge I8: every delivered or stored message was sent in this run.

    Violations are records of other runs, and messages of this run that were never sent, or delivered before they were
    sent. History replayed on joining may be older than the run.
    """
    records = [r for r in h.of(Kind.DELIVER, Kind.STORED) if not r.flags & Flag.CORRUPT]
    records = [r for r in records if not (r.flags & Flag.FOREIGN_RUN and r.author == AGENT)]
    # What the platform posts by itself is no ghost: a body of no run, of a sender who is no user of this one.
    own = [r for r in records if r.flags & Flag.FOREIGN_RUN and r.author == NOBODY and not r.counter]
    records = [r for r in records if r not in own or h.user(r.aux) is not None]
    foreign = sum(not r.sound for r in records)
    unsent = {r.message for r in records if r.sound and r.message not in h.invokes}
    known = {m for m in unsent if not h.may_have_lost(m[0])}
    doubt = "an author's journal is torn" if unsent - known else ""
    early = {
        r.message
        for r in records
        if r.kind == Kind.DELIVER and r.regular and r.message in h.invokes and not h.may_have_lost(r.message[0])
        and r.t < min(sent.t for sent in h.invokes[r.message])
    }  # fmt: skip
    return Opinion(len(records), foreign + len(known) + len(early), True, doubt)


def integrity(h: History) -> Opinion:
    """Judge I10: content arrives as it was sent. Violations are counted by record.

    The size is compared only between first attempts, because a retry's body states the attempt. Misrouted copies are
    left to I12.
    """
    records = list(h.of(Kind.DELIVER, Kind.REPLAY, Kind.STORED))
    violations = 0
    for r in records:
        sendings = h.invokes.get(r.message, ()) if r.regular else ()
        changed = any(r.digest != s.digest or (r.attempt == s.attempt == 1 and r.size != s.size) for s in sendings)
        violations += changed or bool(r.flags & Flag.CORRUPT)
    return Opinion(len(records), violations, h.contract.unchanged)


def isolation(h: History) -> Opinion:
    """Judge I12: no device receives a message without being a member, or under another conversation's name."""
    examined = violations = 0
    for r in h.of(Kind.DELIVER, Kind.REPLAY):
        if r.sound:
            examined += 1
            violations += bool(r.flags & Flag.MISROUTED) or not h.member(r.client, r.conv)
    for r in h.of(Kind.RUN, Kind.PRESENCE, Kind.SEEN):
        if r.conn > 0 and r.conv < len(h.roster.conversations) and h.user(r.client) is not None:
            examined += 1
            strange = r.kind == Kind.PRESENCE and h.user(r.author) is not None and not h.member(r.author, r.conv)
            violations += strange or not h.member(r.client, r.conv)
    return Opinion(examined, violations, True)


def identity(h: History) -> Opinion:
    """Judge I15: the sender that the platform states is the author; all services agree on who a client is."""
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
    "I47": misses_nothing,
    **SESSION_CHECKS,
}


def judge(
    roster: Roster,
    contract: Contract,
    journals: Sequence[np.ndarray],
    facts: Sequence[JournalFacts],
    only: Iterable[str] = tuple(CHECKS),
) -> dict[str, Opinion]:
    """Return check id → the oracle's opinion, for the checks in `only`."""
    history = History(roster, contract, journals, facts)
    return {id: CHECKS[id](history) for id in only}
