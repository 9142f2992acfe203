"""Oracle for I28, I35 and I40, simple instead of fast: a pass over all records for each sentence of the definition."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

from oracle_auth import (
    ahead,
    back,
    by_a_doubtful_clock,
    family,
    genuine,
    name_of,
    presenting,
    stepped,
    steps,
    tokens,
    under_way,
    valid_by_a_step,
)
from oracle_history import FOREVER, History, Opinion, R

from earwitness.checks.history.record import CONTROL, NONE, Artefact, FaultKind, Flag, Kind, Phase, Place, State

NS = 1_000_000_000
DEPLOYS = (FaultKind.RESTART, FaultKind.REPLACE)


def faults(h: History) -> list[tuple[int, int, int, int]]:
    """Return (start, end, kind, place) of each fault; start and end in ns, FOREVER if it was not switched off."""
    found = []
    records = sorted(h.of(Kind.FAULT), key=lambda r: (r.t, r.journal, r.author, bool(r.flags & Flag.OWN)))
    for key in {(r.journal, r.author) for r in records}:
        begun: R | None = None
        for r in (r for r in records if (r.journal, r.author) == key):
            if r.flags & Flag.OWN:
                begun = begun or r
            else:
                found.append(((begun or r).t, r.t, (begun or r).counter, (begun or r).attempt))
                begun = None
        if begun is not None:
            found.append((begun.t, FOREVER, begun.counter, begun.attempt))
    return found


def touches(windows: list[tuple[int, int, int, int]], start: int, end: int, after: int = 0) -> bool:
    return any(w[0] <= end and start <= w[1] + after for w in windows)


def available(h: History) -> Opinion:
    """Judge I28: no user waits too long, is cut off without a close code or is away too long, and few requests fail."""
    c = h.contract
    if c.unavailable_s is None:
        return Opinion(0, 0, False, "no bound")
    deploys = [w for w in faults(h) if w[2] in DEPLOYS and w[3]]
    others = [w for w in faults(h) if w not in deploys]
    drain = min((r.t for r in h.of(Kind.PHASE) if r.counter == Phase.DRAIN), default=FOREVER)
    bound, back = c.unavailable_s * NS, None if c.reconnect_s is None else c.reconnect_s * NS
    examined = violations = 0
    kinds = (Kind.INVOKE, Kind.OK, Kind.FAIL, Kind.CONNECT, Kind.DISCONNECT)
    people = {(r.journal, r.client) for r in h.of(*kinds) if r.client < len(h.roster.user_of)}
    for journal, client in people:
        mine = [r for r in h.of(*kinds) if (r.journal, r.client) == (journal, client)]
        mine = [r for r in mine if not (r.kind == Kind.DISCONNECT and r.flags & Flag.OWN)]
        sent = [r.t for r in mine if r.kind == Kind.INVOKE]
        examined += bool(sent) and touches(deploys, min(sent), max(sent))
        for n, r in enumerate(mine):
            later = mine[n + 1 :]
            if r.kind == Kind.DISCONNECT and touches(deploys, r.t, r.t) and not touches(others, r.t, r.t):
                examined += 1
                violations += r.counter in (0, 1006)
                # Two losses without a connection between them: only the later one is known to have ended.
                again = next((o for o in later if o.kind in (Kind.CONNECT, Kind.DISCONNECT)), None)
                end = again.t if again is not None and again.kind == Kind.CONNECT else FOREVER
                if back is not None and min(end, drain) < FOREVER:
                    violations += min(end, drain) - r.t > back
        for start, end in waits(mine):
            end = drain if end is None else end
            long = end < FOREVER and end - start > bound
            violations += long and touches(deploys, start, end) and not touches(others, start, end)
    good = bad = 0
    for r in h.of(Kind.OK, Kind.FAIL, Kind.PROBE, Kind.REQUEST):
        first = r.t // (NS // 10) * (NS // 10)
        if r.kind in (Kind.OK, Kind.FAIL) and r.client >= len(h.roster.user_of):
            continue
        if touches(deploys, first, first + NS // 10 - 1) and not touches(others, first, first + NS // 10 - 1):
            wrong = (
                (r.kind == Kind.FAIL and 500 <= r.aux < 1000)
                or (r.kind == Kind.PROBE and (r.counter == 0 or r.counter >= 500))
                or (r.kind == Kind.REQUEST and not r.flags & (Flag.ACCEPTED | Flag.REFUSED))
            )
            good, bad = good + (not wrong), bad + wrong
    violations += bool(bad) and bad / (good + bad) > c.deploy_error_ratio
    return Opinion(examined, violations, True)


def waits(mine: list[R]) -> list[tuple[int, int | None]]:
    """Return (start, end) in ns of each time in which a user waited; end None: it never ended.

    A wait begins with a sending or a loss of the connection. It ends with the next acceptance or a refusal with a
    reason (code 4xx); for a user who has sent nothing since, with a new connection.
    """
    found: list[tuple[int, int | None]] = []
    start: int | None = None
    asking = False
    for r in mine:
        refused = r.kind == Kind.FAIL and r.aux // 100 == 4
        if r.kind == Kind.OK or refused or (r.kind == Kind.CONNECT and not asking):
            if start is not None:
                found.append((start, r.t))
            start, asking = None, False
        elif r.kind not in (Kind.CONNECT, Kind.FAIL):
            start = r.t if start is None else start
            asking |= r.kind == Kind.INVOKE
    return [*found, *([(start, None)] if start is not None else [])]


def outage(h: History) -> Opinion:
    """Judge I35: results of requests with a valid token, of new logins and of reconnects around an outage of auth."""
    c = h.contract
    if c.outage_answer_s is None:
        return Opinion(0, 0, False, "no promise")
    auth = [w for w in faults(h) if w[3] == Place.AUTH]
    others = [w for w in faults(h) if w[3] != Place.AUTH]
    recovery = int(c.recovery_s * NS)
    examined = violations = doubtful = 0

    def only_auth(start: int, end: int) -> int | None:
        inside = [w for w in sorted(auth) if w[0] <= start and end <= w[1]]
        return inside[0][0] if inside and not touches(others, start, end, recovery) else None

    for r in h.of(Kind.REQUEST):
        begun, place = only_auth(r.seq, r.t), r.attempt
        quiet = not touches(auth, r.seq, r.t, recovery) and not touches(others, r.seq, r.t, recovery)
        rejected = r.size in (401, 4401) and bool(r.flags & Flag.REFUSED)
        failed = r.size >= 500 and not r.flags & (Flag.ACCEPTED | Flag.REFUSED)
        if r.counter and (r.proc & CONTROL or valid(h, r)):
            examined += 1
            if begun is not None and place in (Place.BACKEND, Place.SOCKET, Place.FRONTEND):
                wrong = (rejected or failed) and r.seq - begun < c.outage_session_s * NS
                doubtful += wrong and refused_by_a_step(h, r)
                violations += wrong and not refused_by_a_step(h, r)
            elif quiet:
                doubtful += rejected and refused_by_a_step(h, r)
                violations += failed or (rejected and not refused_by_a_step(h, r))
        elif any(w[0] <= r.seq and r.t <= w[1] for w in auth) and forged(h, r):
            examined += 1
            spared = bool(r.flags & Flag.ACCEPTED) and valid_by_a_step(h, tokens(h)[r.message], r.t)
            doubtful += spared
            violations += bool(r.flags & Flag.ACCEPTED) and not spared
        elif not r.counter and not r.proc & 63 and place in (Place.AUTH, Place.FRONTEND):
            if begun is None and quiet:
                examined += 1
                violations += r.size >= 500
            elif begun is not None and r.seq - begun >= c.outage_notice_s * NS and r.size:
                examined += 1
                clear = r.size == 503 and r.aux > 0 and r.t - r.seq <= c.outage_answer_s * NS
                violations += not (r.flags & Flag.ACCEPTED or clear)
    for r in h.of(Kind.DISCONNECT):
        begun = only_auth(r.t, r.t)
        ours = r.flags & Flag.OWN or r.counter not in (1006, 1011, 1012, 1014)
        violations += begun is not None and not ours and r.t - begun < c.outage_session_s * NS
    return Opinion(examined, violations, True, stepped(doubtful))


def refused_by_a_step(h: History, r: R) -> bool:
    """Return whether steps of the wall clock may explain that a request's token was refused.

    Steps may have moved the token's deadline, or made it a token of the future.
    """
    token, leeway = tokens(h).get(r.message), int(h.contract.token_leeway_s * NS)
    if token is None:
        return bool(steps(h, -FOREVER, r.t))
    if token.proc:
        return valid_by_a_step(h, token, r.t)
    # Without a deadline it may have been recorded long after its issue, unless the tester made it.
    since = under_way(token) if token.seq != NONE or token.flags & Flag.OWN else -FOREVER
    sooner = ahead(h, since, r.t)
    ended = sooner > 0 and (token.seq == NONE or r.t + sooner >= token.seq - leeway)
    return by_a_doubtful_clock(h, token) or ended or back(h, since, r.t) > leeway


def forged(h: History, r: R) -> bool:
    """Return whether the first record about a request's token says that the tester forged it."""
    told = tokens(h).get(r.message)
    return told is not None and told.proc > 0


def valid(h: History, r: R) -> bool:
    """Return whether a request's token was a genuine access token, not expired, and not possibly revoked."""
    token = tokens(h).get(r.message)
    if token is None or token.proc or token.attempt != Artefact.ACCESS:
        return False
    if token.seq != NONE and r.t >= token.seq - int(h.contract.token_leeway_s * NS):
        return False
    if any(o.proc == State.ACTIVE and o.author == r.author for o in h.of(Kind.WRITE)):
        return False
    return not any(moment <= r.t for moment in doubts(h, r.message))


def doubts(h: History, name: tuple[int, int]) -> Iterator[int]:
    """Yield the times (ns) from which an access token may be invalid.

    These are requests of a logout or ban that may have worked, and second uses of a refresh token of its session.
    """
    session = family(h, name)
    for o in h.of(Kind.REVOKE):
        banned = o.counter == 0 and h.user(o.author) is not None and h.user(o.author) == h.user(name[0])
        if not o.flags & Flag.REFUSED and (banned or (o.counter and o.message in session)):
            yield o.seq
    for token in genuine(h):
        times = sorted(o.seq for o in presenting(h, name_of(token)))
        if token.attempt == Artefact.REFRESH and name_of(token) in session and len(times) > 1:
            yield times[1]


def breakers(h: History) -> Opinion:
    """Judge I40, by search: is any behaviour of a breaker of the promised kind consistent with all records?

    Each failed call that was not the breaker's own probe may have counted as a failure or not; all choices are tried.
    """
    c = h.contract
    if c.breaker_failures is None:
        return Opinion(0, 0, False, "no breaker")
    examined = violations = 0
    for key in {(r.journal, r.author) for r in h.of(Kind.CALL)}:
        calls = sorted((r for r in h.of(Kind.CALL) if (r.journal, r.author) == key), key=lambda r: (r.seq, r.place))
        events: list[tuple[int, int, int]] = []
        for n, r in enumerate(calls):
            events.append((r.seq, 1, n))
            if r.aux:
                events.append((max(r.t, r.seq + 1), 0, n))
        events.sort()
        examined += sum(not r.aux or not r.flags & (Flag.ACCEPTED | Flag.REFUSED) for r in calls)
        starts: list[Any] = {
            1: list(range(c.breaker_failures)), 2: ["open"], 3: ["open", "half"],
        }.get(calls[0].counter, [*range(c.breaker_failures), "open", "half"])  # fmt: skip
        stale = len(calls)
        ways = product(starts, product((False, True), repeat=min(stale, 8)))
        violations += not any(possible(h, calls, events, start, choice) for start, choice in ways)
    return Opinion(examined, violations, True)


def possible(
    h: History, calls: list[R], events: list[tuple[int, int, int]], start: Any, choice: tuple[bool, ...]
) -> bool:
    """Return whether one breaker, simulated step by step, is consistent with the records.

    `start`: its state at the beginning; `choice[n]`: whether a failure of call n that is no probe keeps the breaker
    open.
    """
    c = h.contract
    open_ns, slack = int(c.breaker_open_s * NS), 100_000_000
    mode, failures, since, successes = "closed", 0, -FOREVER, 0
    probes: set[int] = set()
    if isinstance(start, int):
        failures = start
    else:
        mode, probes = start, {-1} if start == "half" else set()
    for t, begins, n in events:
        good = bool(calls[n].flags & (Flag.ACCEPTED | Flag.REFUSED))
        if not begins:
            if n in probes:
                if not good:
                    mode, since, probes, successes = "open", t, set(), 0
                else:
                    successes += 1
                    probes = probes - {n}
                    if successes >= c.breaker_successes:
                        mode, failures, probes, successes = "closed", 0, set(), 0
            elif mode == "closed":
                failures = 0 if good else failures + 1
                if failures >= (c.breaker_failures or 0):
                    mode, since = "open", t
            elif not good and choice[n % len(choice)]:
                mode, since, probes, successes = "open", t, set(), 0
        elif calls[n].aux:
            if mode == "open":
                if t - since < open_ns - slack:
                    return False
                mode, probes, successes = "half", {n}, 0
            elif mode == "half":
                if len(probes) >= c.breaker_probes:
                    return False
                probes = probes | {n}
        elif mode == "open":
            if t - since > open_ns + slack:
                return False
        elif mode == "closed" or len(probes) < c.breaker_probes:
            return False
    return True


FAULT_CHECKS = {"I28": available, "I35": outage, "I40": breakers}
