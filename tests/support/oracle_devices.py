"""Oracle for the shared state of devices and for presence (I18, I22, I27), simple instead of fast.

It examines one moment after the other. `oracle_history` defines its terms.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from oracle_accounts import due_after
from oracle_auth import no_effect, ns, yes
from oracle_history import FOREVER, History, Opinion, R

from earwitness.checks.history.record import NONE, FaultKind, Flag, Kind, Phase, Place, State

SHARED = (State.READ_MARK, State.EDIT)


def same(h: History, one: R, other: R) -> bool:
    """Return whether two records are about the same state, such as one message's text or one conversation's title."""
    if one.proc == other.proc == State.TITLE:
        return one.conv == other.conv
    if one.proc != other.proc or h.user(one.author) is None or h.user(other.author) is None:
        return False
    if one.proc == State.EDIT:
        return one.message == other.message
    return h.user(one.author) == h.user(other.author) and one.conv == other.conv


def monotonic_writes(h: History) -> Opinion:
    """Judge I18: a device that reads a state after a change is shown that change, or one that may be later."""
    examined = violations = 0
    for look in h.of(Kind.SEEN):
        if look.proc not in SHARED or look.seq == NONE:
            continue
        writes = [w for w in h.of(Kind.WRITE) if same(h, w, look)]
        done = [w for w in writes if yes(w) and w.t < look.seq]
        heard_of = look.proc == State.READ_MARK or look.digest in {w.digest for w in writes}
        if not done or (h.torn and not heard_of):
            continue
        examined += 1
        if look.proc == State.READ_MARK:
            violations += any(look.aux < w.aux for w in done)
        else:
            last = [w for w in done if not any(later.seq > w.t for later in done)]
            others = [w for w in writes if w not in done and not no_effect(w) and w.seq < look.t]
            others = [w for w in others if not (yes(w) and any(later.seq > w.t for later in done))]
            violations += look.digest not in {w.digest for w in [*last, *others]}
    edits = [w for w in h.of(Kind.WRITE) if w.proc == State.EDIT and yes(w) and w.aux != NONE]
    edits.sort(key=lambda w: (w.t, w.journal, w.place))
    for at, edit in enumerate(edits):
        before = [w for w in edits[:at] if same(h, w, edit) and w.aux == edit.aux]
        if before and before[0].digest != edit.digest:
            examined, violations = examined + 1, violations + 1
        if edit.conn and h.user(edit.author) is not None:
            examined += 1
            violations += any(same(h, w, edit) and edit.conn < w.aux < edit.aux for w in edits)
    return Opinion(examined, violations, h.contract.shared_state_s is not None)


def convergence(h: History) -> Opinion:
    """Judge I22: two devices of a user show the same shared state in the end."""
    bound, examined, violations = h.contract.shared_state_s, 0, 0
    looks = [r for r in h.of(Kind.SEEN) if r.proc in SHARED and h.user(r.author) is not None]
    topics: list[R] = []
    for look in looks:
        if not any(same(h, look, other) for other in topics):
            topics.append(look)
    for topic in topics if bound is not None else ():
        for user in set(h.roster.user_of):
            if any(m.conv == topic.conv and h.user(m.client) == user for m in h.of(Kind.LEAVE, Kind.KICK)):
                continue
            states = []
            for client, owner in enumerate(h.roster.user_of):
                if owner == user and _takes_part(h, client, topic, ns(bound or 0)):
                    seen = [r for r in looks if r.client == client and same(h, r, topic)]
                    top = max(seen, key=lambda r: (r.aux, r.journal, r.place), default=None)
                    states.append(None if top is None else (top.aux, top.digest))
            if len(states) > 1 and set(states) != {None}:
                differ = len(set(states)) > 1
                if differ and not _long_enough(h, topic, max(s for s in states if s is not None), user, ns(bound or 0)):
                    continue
                examined += 1
                violations += differ or _outdated(h, topic, max(s for s in states if s is not None))
    more, old = _standings(h, ns(bound)) if bound is not None and not h.torn else (0, 0)
    return Opinion(examined + more, violations + old, bound is not None)


def _standings(h: History, bound: int) -> tuple[int, int]:
    """Return (examined, outdated) reads of memberships, permissions and titles.

    Examined are reads after a change had to show; outdated those that show a replaced value. `bound`: ns.
    """
    examined = old = 0
    for look in h.of(Kind.SEEN):
        if look.proc not in (State.MEMBERSHIP, State.PERMISSIONS, State.TITLE):
            continue
        asked = look.t if look.seq == NONE else look.seq
        writes = [w for w in h.of(Kind.WRITE) if same(h, w, look)]
        due = [w for w in writes if yes(w) and due_after(h, w.t, bound) < asked]
        if due:
            possible = [
                w for w in writes
                if not no_effect(w) and w.seq < look.t and not (yes(w) and any(later.seq > w.t for later in due))
            ]  # fmt: skip
            examined += 1
            old += (look.digest or look.aux) not in {w.digest or w.aux for w in possible}
    return examined, old


def _long_enough(h: History, topic: R, top: tuple[int, int], user: int, bound: int) -> bool:
    """Return whether a value was known long enough before the end for all devices of `user` to show it.

    True if an accepted write explains it; else it must have been shown somewhere `bound` ns before the end.
    """
    what = top[1] if topic.proc == State.EDIT else top[0]

    def says(r: R) -> bool:
        return same(h, r, topic) and (r.digest if topic.proc == State.EDIT else r.aux) == what

    if any(yes(w) and says(w) for w in h.of(Kind.WRITE)):
        return True
    first = min(r.t for r in h.of(Kind.SEEN) if says(r))
    homes = {
        r.journal
        for client, owner in enumerate(h.roster.user_of)
        if owner == user and _takes_part(h, client, topic, bound)
        for r in h.of(Kind.SEEN)
        if r.client == client
    }
    ends = {r.journal: r.t for r in h.of(Kind.PHASE) if r.counter == Phase.DRAINED}
    return due_after(h, first, bound) <= min(ends[journal] for journal in homes)


def _outdated(h: History, topic: R, top: tuple[int, int]) -> bool:
    """Return whether all devices show a value that an accepted write has replaced."""
    writes = [w for w in h.of(Kind.WRITE) if same(h, w, topic)]
    accepted = [w for w in writes if yes(w)]
    if topic.proc == State.READ_MARK:
        return any(w.aux > top[0] for w in accepted)
    alike = [w for w in writes if w.digest == top[1] and not no_effect(w)]
    return any(yes(w) for w in writes if w.digest == top[1]) and all(
        yes(w) and any(later.seq > w.t for later in accepted) for w in alike
    )


def _takes_part(h: History, client: int, topic: R, bound: int) -> bool:
    own = [r for r in h.of(Kind.SEEN) if r.client == client and r.proc in SHARED and h.user(r.author) is not None]
    if not any(r.proc == topic.proc for r in own):
        return False
    conn = max(r.conn for r in own)
    on_it = [r for r in own if r.conn == conn]
    quiet = [r.t for r in h.of(Kind.PHASE) if r.counter == Phase.DRAINED and r.journal == on_it[0].journal]
    if not conn or not quiet:
        return False
    closed = any(r.t < quiet[-1] and r.conn == conn for r in h.of(Kind.DISCONNECT) if r.journal == on_it[0].journal)
    writes = [w for w in h.of(Kind.WRITE) if same(h, w, topic) and not no_effect(w)]
    settled = all(due_after(h, w.t, bound) <= quiet[-1] for w in writes)
    return settled and not closed and any(r.t + bound <= quiet[-1] for r in on_it)


def presence(h: History) -> Opinion:
    """Judge I27: no status is shown that was untrue for the whole bound before and a quarter of the bound after.

    With a torn journal, which may lack connections and faults, a violation is only a status that is shown twice in a
    row.
    """
    bound, examined, violations = h.contract.presence_s, 0, 0
    for r in h.of(Kind.PRESENCE) if bound is not None else ():
        about, me = h.user(r.author), h.user(r.client)
        if about is None or any(
            m.conv == r.conv and h.user(m.client) in (about, me) for m in h.of(Kind.LEAVE, Kind.KICK)
        ):
            continue
        times = _times(h, about)
        same_place = [
            p for p in h.of(Kind.PRESENCE) if p.process == r.process and p.conv == r.conv and h.user(p.author) == about
        ]
        before = [p for p in same_place if p.place < r.place]
        again = bool(before) and (before[-1].counter > 0) == (r.counter > 0)
        late = ns(bound or 0)
        if not again and (times is None or h.torn):
            continue
        if not again and all(_excused(h, moment, late) for moment in _moments(h, r, same_place)):
            continue
        examined += 1
        violations += again
        violations += (
            times is not None
            and not h.torn
            and any(
                all(_live(times, t) != (r.counter > 0) for t in range(moment - late, moment + late // 4 + 1))
                for moment in _moments(h, r, same_place)
                if not _excused(h, moment, late)
            )
        )
    return Opinion(examined, violations, bound is not None, "a journal is torn" if h.torn else "")


def _times(h: History, user: int) -> list[tuple[int, int]] | None:
    times = []
    for r in h.of(Kind.CONNECT):
        if h.user(r.client) == user:
            ends = [e.t for e in h.of(Kind.DISCONNECT) if e.process == r.process]
            if r.journal in h.torn:
                return None
            times.append((r.t - r.size * 1000, ends[0] if ends else FOREVER))
    return times if times or not h.torn else None


def _live(times: list[tuple[int, int]], t: int) -> bool:
    return any(begin <= t < end for begin, end in times)


def _moments(h: History, r: R, same_place: list[R]) -> Iterator[int]:
    ends = [p.t for p in same_place if p.place > r.place][:1]
    if not ends:
        ends = [e.t for e in h.of(Kind.DISCONNECT) if e.process == r.process]
        ends += [e.t for e in h.of(Kind.PHASE) if e.journal == r.journal and e.counter == Phase.DRAINED]
    yield from range(r.t, max(r.t + 1, min(ends, default=0)))


def _excused(h: History, moment: int, late: int) -> bool:
    survived = (FaultKind.KILL, FaultKind.RESTART, FaultKind.CRASH, FaultKind.REPLACE)
    told = [r for r in h.of(Kind.FAULT) if not (r.attempt == Place.BACKEND and r.counter in survived)]
    for fault in {(r.journal, r.author) for r in told}:
        on: int | None = None
        for r in sorted((r for r in told if (r.journal, r.author) == fault), key=lambda r: (r.t, r.place)):
            if r.flags & Flag.OWN:
                on = r.t if on is None else on
            else:
                if (r.t if on is None else on) <= moment <= r.t + late:
                    return True
                on = None
        if on is not None and moment >= on:
            return True
    return False


DEVICE_CHECKS: dict[str, Callable[[History], Opinion]] = {
    "I18": monotonic_writes,
    "I22": convergence,
    "I27": presence,
}
