"""Oracle for accounts in several services (I41, I42), simple instead of fast. `oracle_history` defines its terms."""

from __future__ import annotations

from collections.abc import Callable

from oracle_auth import ns, yes
from oracle_history import FOREVER, History, Opinion, R

from earwitness.checks.history.record import NONE, Flag, Kind, Phase, Place, State


def sync(h: History) -> Opinion:
    """Judge I41: changes are shown within the bound, and in the end both databases agree."""
    bound, examined, violations = h.contract.sync_bound_s, 0, 0
    for r in h.of(Kind.SEEN) if bound is not None else ():
        if r.attempt in (Place.BACKEND, Place.SOCKET) and r.seq != NONE and r.proc in (State.PROFILE, State.ACTIVE):
            changes = [w for w in h.of(Kind.WRITE) if w.proc == r.proc and _same_user(h, w, r)]
            due = [w for w in changes if yes(w) and _due(h, w.t) < r.seq]
            possible = [w for w in changes if not w.flags & Flag.REFUSED and w.seq < r.t]
            over = [w for w in possible if yes(w) and any(later.seq > w.t for later in due)]
            examined += bool(due)
            violations += bool(due) and r.digest not in {w.digest for w in possible if w not in over}
    if bound is not None and h.contract.account_news_s is not None and not h.torn:
        seen, wrong = _untold(h, ns(h.contract.account_news_s))
        examined, violations = examined + seen, violations + wrong
        seen, wrong = _never_had(h)
        examined, violations = examined + seen, violations + wrong
    for user in sorted({h.user(r.author) for r in h.of(Kind.SEEN) if h.user(r.author) is not None} - {None}, key=str):
        for state in (State.PROFILE, State.ACTIVE) if bound is not None else ():
            seen, wrong = _agreeing(h, user, state)
            examined, violations = examined + seen, violations + wrong
    return Opinion(examined, violations, bound is not None)


def _untold(h: History, bound: int) -> tuple[int, int]:
    """Return (examined, violations) of sockets that must receive a change of their user's profile.

    These were open from before the change until `bound` ns after it.
    """
    examined = violations = 0
    profiles = [w for w in h.of(Kind.WRITE) if w.proc == State.PROFILE]
    for opened in h.of(Kind.CONNECT):
        place = (opened.journal, opened.conn)
        ends = [r.t for r in h.of(Kind.DISCONNECT) if (r.journal, r.conn) == place]
        own = [w for w in profiles if h.user(w.author) is not None and h.user(w.author) == h.user(opened.client)]
        for change in own if ends else ():
            until = due_after(h, change.t, bound)
            if yes(change) and opened.t <= change.seq and ends[-1] > until:
                before = [w for w in own if yes(w) and w.t < change.seq]
                fits = {w.digest for w in own if w not in before and not w.flags & Flag.REFUSED}
                pushed = [
                    r
                    for r in h.of(Kind.SEEN)
                    if r.proc == State.PROFILE
                    and r.conn
                    and (r.journal, r.conn) == place
                    and h.user(r.author) == h.user(opened.client)
                ]
                examined += 1
                violations += not any(change.seq <= r.t <= until and r.digest in fits for r in pushed)
    return examined, violations


def _never_had(h: History) -> tuple[int, int]:
    """Return (violations, violations): pushed profiles that no change and no read explains.

    The first unexplained value of a user is accepted, because it may be older than the record; a second one is wrong.
    """
    profiles = [r for r in h.of(Kind.SEEN) if r.proc == State.PROFILE and h.user(r.author) is not None]
    pushed, bad = [r for r in profiles if r.conn], 0
    for user in {h.user(r.author) for r in pushed}:
        ours = [r for r in profiles if h.user(r.author) == user]
        writes = [w for w in h.of(Kind.WRITE) if w.proc == State.PROFILE and h.user(w.author) == user]
        explained = {w.digest for w in writes if not w.flags & Flag.REFUSED} | {r.digest for r in ours if not r.conn}
        strange = [r for r in ours if r.conn and r.digest not in explained]
        first = min(strange, key=lambda r: (r.t, r.journal, r.place), default=None)
        bad += sum(first is not None and r.digest != first.digest for r in strange)
    return bad, bad


def _same_user(h: History, one: R, other: R) -> bool:
    return h.user(one.author) is not None and h.user(one.author) == h.user(other.author)


def _due(h: History, t: int) -> int:
    return due_after(h, t, ns(h.contract.sync_bound_s or 0))


def due_after(h: History, t: int, bound: int) -> int:
    """Return the time (ns) by which a change at `t` must show: `bound` later, and again after each fault until then."""
    due = t + bound
    for begin, end in sorted(_faults(h)):
        if begin <= due and end >= t:
            due = FOREVER if end == FOREVER else max(due, end + bound)
    return due


def _faults(h: History) -> list[tuple[int, int]]:
    spans = []
    told = sorted(h.of(Kind.FAULT), key=lambda r: r.t)
    for fault in {(r.journal, r.author) for r in told}:
        since: int | None = None
        for r in (r for r in told if (r.journal, r.author) == fault):
            if r.flags & Flag.OWN:
                since = r.t if since is None else since
            else:
                spans.append((r.t if since is None else since, r.t))
                since = None
        if since is not None:
            spans.append((since, FOREVER))
    return spans


def _agreeing(h: History, user: int | None, state: State) -> tuple[int, int]:
    def last(place: Place) -> R | None:
        looks = [r for r in h.of(Kind.SEEN) if (r.proc, r.attempt, h.user(r.author)) == (state, place, user)]
        return max(looks, key=lambda r: (r.seq, r.journal, r.place), default=None)

    auth, main = last(Place.AUTH_DATABASE), last(Place.MAIN_DATABASE)
    if auth is None or main is None or (state == State.PROFILE and not auth.aux and not main.aux):
        return 0, 0
    touched = [r.t for r in h.of(Kind.WRITE) if r.proc in (State.PROFILE, State.ACTIVE) and h.user(r.author) == user]
    touched += [r.t for r in h.of(Kind.LOGIN) if r.counter == 200 and h.user(r.client) == user]
    touched += [r.t for r in h.of(Kind.PHASE) if r.counter == Phase.DRAIN]
    equal = auth.digest == main.digest and (auth.aux == main.aux or (auth.aux > 1 and main.aux > 1))
    in_time = min(auth.seq, main.seq) > _due(h, max(touched, default=0))
    return int(equal or in_time), int(in_time and not equal)


def unique_account(h: History) -> Opinion:
    """Judge I42: each person has one account."""
    examined = violations = 0
    for user in set(h.roster.user_of):
        logins = [r for r in h.of(Kind.LOGIN) if r.counter == 200 and h.user(r.client) == user]
        if not logins:
            continue
        rows = [
            r for r in h.of(Kind.SEEN)
            if (r.proc, r.attempt, h.user(r.author)) == (State.PROFILE, Place.AUTH_DATABASE, user)
        ]  # fmt: skip
        stated = [h.user(r.aux) for r in h.of(Kind.IDENTITY) if r.counter == Place.AUTH and h.user(r.client) == user
                  and r.aux != NONE and h.user(r.aux) in (None, user)]  # fmt: skip
        count = max(rows, key=lambda r: (r.seq, r.journal, r.place)).aux if rows else 0
        examined += len(logins) > 1 and (bool(rows) or len(stated) > 1)
        violations += count > 1 or len(set(stated)) > 1
    return Opinion(examined, violations)


ACCOUNT_CHECKS: dict[str, Callable[[History], Opinion]] = {"I41": sync, "I42": unique_account}
