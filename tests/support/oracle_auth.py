"""Oracle for tokens and requests (I29–I34), simple instead of fast.

`oracle_history` defines its terms; an artefact is (owner, number).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from oracle_history import FOREVER, History, Opinion, R

from earwitness.checks.history.record import CONTROL, NONE, Artefact, Flag, Kind, Phase, Place, State

Name = tuple[int, int]
NS = 1_000_000_000
ONE_USE = (Artefact.REFRESH, Artefact.TICKET, Artefact.STATE, Artefact.CODE)


def ns(seconds: float) -> int:
    return int(seconds * 1_000_000_000)


def yes(r: R) -> bool:
    return bool(r.flags & Flag.ACCEPTED)


def no(r: R) -> bool:
    """Return whether a request was refused because of its token, not because a rate budget was used up."""
    return bool(r.flags & Flag.REFUSED) and r.size not in (429, 4429)


def no_effect(write: R) -> bool:
    return bool(write.flags & Flag.REFUSED)


def name_of(token: R) -> Name:
    return token.client, token.counter


def tokens(h: History) -> dict[Name, R]:
    found: dict[Name, R] = {}
    for r in h.of(Kind.TOKEN):
        found.setdefault(name_of(r), r)
    return found


def genuine(h: History) -> Iterator[R]:
    return (token for token in tokens(h).values() if not token.proc)


def presenting(h: History, name: Name) -> list[R]:
    return [r for r in h.of(Kind.REQUEST) if r.message == name]


def family(h: History, name: Name) -> set[Name]:
    """Return the artefacts of the same session: all that are linked to `name`, directly or by others."""
    known, found, grew = tokens(h), {name}, True
    links = [(n, (n[0], t.aux)) for n, t in known.items() if (n[0], t.aux) in known]
    while grew:
        more = {b for a, b in links if a in found} | {a for a, b in links if b in found}
        grew = not more <= found
        found |= more
    return found


def takes_away(h: History, revoke: R, name: Name) -> bool:
    token = tokens(h)[name]
    if revoke.counter == 0:
        return h.user(revoke.author) is not None and h.user(revoke.author) == h.user(name[0]) and token.t < revoke.seq
    if h.contract.logout_ends_session:
        return revoke.message in tokens(h) and name in family(h, revoke.message)
    ticket = token.attempt == Artefact.TICKET and (name[0], token.aux) == revoke.message
    return name == revoke.message or (ticket and revoke.message in tokens(h))


def revocation(h: History, name: Name) -> R | None:
    """Return the first confirmed revocation that covers an artefact; None if there is none."""
    return min(
        (r for r in h.of(Kind.REVOKE) if yes(r) and takes_away(h, r, name)), key=lambda r: (r.t, r), default=None
    )


def proven(h: History, token: R, request: R) -> bool:
    before = [
        r for r in presenting(h, name_of(token)) if yes(r) and r.attempt == request.attempt and r.t <= request.seq
    ]
    return token.attempt in ONE_USE or bool(before)


def steps(h: History, since: int, until: int) -> list[R]:
    """Return the steps of the wall clock that may have happened between two times (ns).

    Of such a record, `seq` and `t` are its earliest and latest time, `aux` its size.
    """
    found = [r for r in h.of(Kind.PHASE) if r.counter == Phase.CLOCK_STEP]
    return [r for r in found if not (r.t < since or r.seq > until)]


def back(h: History, since: int, until: int) -> int:
    return sum(max(0, -r.aux) for r in steps(h, since, until))


def ahead(h: History, since: int, until: int) -> int:
    return sum(max(0, r.aux) for r in steps(h, since, until))


def under_way(token: R) -> int:
    """Return the earliest time (ns) at which a token may have been issued: a second before its record."""
    return token.t - NS


def by_a_doubtful_clock(h: History, token: R) -> bool:
    """Return whether the deadline of a token depends on a wall clock that was stepped and not confirmed since.

    The clock is confirmed if, between the same two steps, the process recorded a token by which the clocks agreed.
    """
    if not token.flags & Flag.OWN:
        return False
    own = [r for r in steps(h, -FOREVER, FOREVER) if r.journal == token.journal]
    good = [r for r in h.of(Kind.TOKEN) if r.flags & Flag.ACCEPTED and r.journal == token.journal]
    beside = [
        r for r in good if all(max(r.t, token.t) < s.seq or min(r.t, token.t) > s.t for s in own)
    ]  # fmt: skip
    return bool(own) and not beside


def valid_by_a_step(h: History, token: R, until: int) -> bool:
    """Return whether a forgery that is wrong only by its times may be valid because of a step of the wall clock."""
    ours = bool(token.flags & Flag.OWN)
    return ours and (by_a_doubtful_clock(h, token) or bool(steps(h, under_way(token), until)))


def stepped(count: int) -> str:
    return f"{count} rest on the wall clock" if count else ""


def deadline(h: History) -> Opinion:
    """Judge I29: no token is accepted that was presented after its deadline and the leeway."""
    examined = violations = doubtful = 0
    for token in genuine(h):
        for r in presenting(h, name_of(token)) if token.seq != NONE else []:
            ended = token.seq + ns(h.contract.token_leeway_s)
            later = r.seq <= ended + back(h, under_way(token), r.t)
            if r.seq > ended and yes(r) and (later or by_a_doubtful_clock(h, token)):
                doubtful += 1
            elif r.seq > ended:
                violations += yes(r)
                still_held = revocation(h, name_of(token)) is None
                examined += yes(r) or (no(r) and still_held and proven(h, token, r))
    return Opinion(examined, violations, True, stepped(doubtful))


def revocation_bound(h: History) -> Opinion:
    """Judge I30: no token is accepted that was presented later than the bound after its revocation was confirmed."""
    bound, examined, violations, doubtful = h.contract.revocation_bound_s, 0, 0, 0
    for token in genuine(h) if bound is not None else ():
        revoked = revocation(h, name_of(token))
        for r in presenting(h, name_of(token)) if revoked else []:
            assert revoked is not None
            assert bound is not None
            if r.seq > revoked.t + ns(bound) and yes(r) and back(h, revoked.seq, r.t):
                doubtful += 1
            elif r.seq > revoked.t + ns(bound):
                violations += yes(r)
                fresh = token.seq == NONE or r.t < token.seq
                examined += yes(r) or (no(r) and fresh and proven(h, token, r))
    return Opinion(examined, violations, bound is not None, stepped(doubtful))


def forgery(h: History) -> Opinion:
    """Judge I31: no forgery is accepted.

    A refusal counts as examined if a valid token was accepted in the same situation.
    """
    examined = violations = doubtful = 0
    known = tokens(h)
    shown = [r for r in h.of(Kind.REQUEST) if r.proc & CONTROL or (r.message in known and known[r.message].proc)]
    refused_controls = set()
    for r in shown:
        if r.message not in known or not known[r.message].proc:
            continue
        spared = yes(r) and valid_by_a_step(h, known[r.message], r.t)
        doubtful += spared
        violations += yes(r) and not spared
        examined += yes(r) and not spared
        if no(r) and not yes(r):
            same = [o for o in shown if _beside(o, r) and not (o.message in known and known[o.message].proc)]
            after = min((o for o in same if o.place > r.place), key=lambda o: o.place, default=None)
            examined += after is not None and yes(after)
            if after is not None and no(after):
                refused_controls.add(after)
    doubts = f"{len(refused_controls)} controls refused" if refused_controls else ""
    return Opinion(examined, violations, True, doubts + stepped(doubtful))


def _beside(one: R, other: R) -> bool:
    return all(
        a == b
        for a, b in (
            (one.journal, other.journal), (one.client, other.client), (one.attempt, other.attempt),
            (one.proc & 63, other.proc & 63),
        )
    )  # fmt: skip


def _second_uses(h: History, shown: list[R], grace: int) -> tuple[int, int, int]:
    """Return (examined, violations, not judged) of uses of an artefact after its first accepted use.

    `shown`: requests with the artefact; `grace`: ns after the first use in which a second one is allowed.
    """
    accepted = sorted((r for r in shown if yes(r)), key=lambda r: (r.t, r))
    if not accepted:
        return 0, 0, 0
    first = accepted[0]
    twice = [r for r in accepted[1:] if not grace or r.seq > first.t + grace]
    sure = [r for r in twice if not grace or r.seq > first.t + grace + back(h, first.seq, r.t)]
    return len(sure) + sum(no(r) for r in shown), len(sure), len(twice) - len(sure)


def refresh(h: History) -> Opinion:
    """Judge I32: a refresh token works once, its reuse ends the session, and the new tokens are for the same person."""
    c, examined, violations, doubtful = h.contract, 0, 0, 0
    grace = ns(c.refresh_grace_s)
    reuses: dict[frozenset[Name], R] = {}
    for token in genuine(h) if c.refresh_single_use else ():
        if token.attempt != Artefact.REFRESH:
            continue
        shown = presenting(h, name_of(token))
        seen, wrong, open_ = _second_uses(h, shown, grace)
        examined, violations, doubtful = examined + seen, violations + wrong, doubtful + open_
        first = min((r for r in shown if yes(r)), key=lambda r: (r.t, r), default=None)
        for r in shown if first else []:
            assert first is not None
            aged = token.seq != NONE and r.t >= token.seq
            if no(r) and r.t > first.seq and not aged and (not grace or r.seq > first.t + grace):
                group = frozenset(family(h, name_of(token)))
                reuses[group] = min((r, reuses.get(group, r)), key=lambda r: r.t)
    if c.refresh_reuse_revokes and c.revocation_bound_s is not None:
        for group, reuse in reuses.items():
            for token in genuine(h):
                for r in presenting(h, name_of(token)) if name_of(token) in group else []:
                    late = r.seq > reuse.t + ns(c.revocation_bound_s)
                    if late and yes(r) and steps(h, under_way(tokens(h)[reuse.message]), r.t):
                        doubtful += 1
                    elif late:
                        violations += yes(r)
                        examined += yes(r) or (no(r) and (token.seq == NONE or r.t < token.seq))
    seen, wrong = _same_person(h)
    return Opinion(examined + seen, violations + wrong, c.refresh_single_use, stepped(doubtful))


def _same_person(h: History) -> tuple[int, int]:
    changed = {h.user(r.author) for r in h.of(Kind.WRITE) if r.proc == State.PERMISSIONS}
    examined = violations = 0
    for group in {frozenset(family(h, name)) for name in tokens(h)}:
        access = sorted(
            (t for t in genuine(h) if name_of(t) in group and t.attempt == Artefact.ACCESS), key=lambda t: (t.t, t)
        )
        if access and h.user(access[0].client) not in changed:
            examined += len(access) - 1
            violations += sum(t.digest != access[0].digest for t in access[1:])
    return examined, violations


def single_use(h: History) -> Opinion:
    """Judge I33: a state, code or ticket works once; a state only in the browser that it was issued to."""
    examined = violations = 0
    for token in genuine(h):
        if token.attempt not in (Artefact.TICKET, Artefact.STATE, Artefact.CODE):
            continue
        shown = presenting(h, name_of(token))
        by_state = presenting(h, (token.client, token.aux)) if token.attempt == Artefact.CODE else []
        seen, wrong, _ = _second_uses(h, shown + [r for r in by_state if yes(r)], 0)
        examined, violations = examined + seen, violations + wrong
        for r in shown:
            if token.attempt == Artefact.STATE and r.client != token.client:
                examined += yes(r) or no(r)
                violations += yes(r)
    return Opinion(examined, violations)


def live_authority(h: History) -> Opinion:
    """Judge I34: after a connection's token ended, no later message is delivered on it or accepted from it."""
    examined = violations = doubtful = 0
    for r in h.of(Kind.REQUEST):
        if r.attempt != Place.SOCKET or not yes(r) or not r.conn or r.message not in tokens(h):
            continue
        limits = _limits(h, tokens(h)[r.message])
        closed = [d.t for d in h.of(Kind.DISCONNECT) if d.process == r.process][-1:]
        if not limits:
            continue
        ended, until = min(limits, key=lambda limit: limit[1])[:2]
        surely = min(limit[2] for limit in limits)
        if closed and closed[0] < ended:
            continue
        mine = [o for o in h.records if o.process == r.process and o.conv < len(h.roster.conversations)]
        convs = {o.conv for o in mine if h.member(o.client, o.conv)}
        late = {
            m for m, sent in h.invokes.items()
            if sent[0].t > until and sent[0].conv in convs and _known_to_others(h, m)
        }  # fmt: skip
        heard = {o.message for o in mine if o.kind == Kind.DELIVER and h.in_place(o)}
        own = {m for m, sent in h.invokes.items() if sent[0].t > until and {s.process for s in sent} == {r.process}}
        own = {m for m in own if h.invokes[m][0].conv < len(h.roster.conversations)}
        kept = {o.message for o in h.of(Kind.STORED) if o.regular}
        wrong = (late & heard) | {m for m in own if m in kept or _known_to_others(h, m)}
        proven_wrong = {m for m in wrong if h.invokes[m][0].t > surely}
        if wrong and not proven_wrong:
            doubtful += 1
            continue
        examined += bool(late | own)
        violations += bool(wrong)
    return Opinion(examined, violations, h.contract.sockets_end_with_token, stepped(doubtful))


def _known_to_others(h: History, message: Name) -> bool:
    heard = any(r.message == message and r.regular for r in h.of(Kind.DELIVER, Kind.REPLAY))
    return heard or any(r.message == message for r in h.of(Kind.OK))


def _limits(h: History, token: R) -> list[tuple[int, int, int]]:
    """Return (end, end with leeway, latest end if the wall clock stepped), in ns, for each reason that ends a token.

    The reasons are its deadline and its revocation.
    """
    behind: R | None = token
    if token.attempt == Artefact.TICKET:
        behind = tokens(h).get((token.client, token.aux))
    limits = []
    if behind is not None and behind.seq != NONE:
        end = behind.seq + ns(h.contract.token_leeway_s)
        surely = FOREVER if by_a_doubtful_clock(h, behind) else end + back(h, under_way(behind), FOREVER)
        limits.append((behind.seq, end, surely))
    for one in (token, behind):
        revoked = revocation(h, name_of(one)) if one is not None else None
        if revoked is not None and h.contract.revocation_bound_s is not None:
            end = revoked.t + ns(h.contract.revocation_bound_s)
            limits.append((revoked.seq, end, FOREVER if back(h, revoked.seq, FOREVER) else end))
    return limits


AUTH_CHECKS: dict[str, Callable[[History], Opinion]] = {
    "I29": deadline,
    "I30": revocation_bound,
    "I31": forgery,
    "I32": refresh,
    "I33": single_use,
    "I34": live_authority,
}
