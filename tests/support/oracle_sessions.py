"""Oracle for causes, answers, resuming, lateness, agents' answers, reads and revocation, simple instead of fast."""

from __future__ import annotations

import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any, NamedTuple

from oracle_history import FOREVER, KICK, READ, History, Opinion, R

from earwitness.checks.history.record import AGENT, NOBODY, NONE, Flag, Kind, Phase, State

STARTED, THINKING, TOOL_STARTED, TOOL_COMPLETED, CHUNK, COMPLETED, ERROR, BROKEN_OFF = range(1, 9)


def causal_order(h: History) -> Opinion:
    """Judge I3: a message's number is above every number that its sender had received on the connection before."""
    numbers: dict[Any, set[int]] = defaultdict(set)
    for r in h.of(Kind.OK, Kind.DELIVER, Kind.STORED):
        if r.regular and r.seq != NONE:
            numbers[r.message].add(r.seq)
    examined = violations = 0
    for r in h.of(Kind.INVOKE):
        if r.attempt == 1 and r.aux != NONE and r.message in numbers:
            examined += 1
            violations += min(numbers[r.message]) <= r.aux
    return Opinion(examined, violations, h.contract.total_order and h.contract.sequence != "none")


def failed_without_effect(h: History) -> Opinion:
    """Judge I9: a message whose every sending was refused is received by no device and stored nowhere."""
    answers: dict[Any, set[int]] = defaultdict(set)
    accepted: set[Any] = set()
    for r in h.of(Kind.OK, Kind.FAIL, Kind.INFO):
        answers[*r.message, r.attempt].add(r.kind)
        if r.kind == Kind.OK:
            accepted.add(r.message)
    refused = {
        message
        for message, sendings in h.invokes.items()
        if message not in accepted and all(answers[*message, s.attempt] == {Kind.FAIL} for s in sendings)
    }
    taken = {r.message for r in h.of(Kind.DELIVER, Kind.REPLAY, Kind.STORED) if r.regular}
    known = {m for m in refused if not h.may_have_lost(m[0])}
    doubt = "an author's journal is torn" if (refused - known) & taken else ""
    return Opinion(len(known), len(known & taken), True, doubt)


def single_completion(h: History) -> Opinion:
    """Judge I11: each attempt is answered at most once, and no answer comes without an attempt.

    An answer may not state its attempt. As many such answers are allowed as the message has unanswered attempts, if
    they come to its author.
    """
    times: dict[Any, int] = defaultdict(int)
    strays: dict[Any, int] = defaultdict(int)
    examined = violations = 0
    for r in h.of(Kind.OK, Kind.FAIL):
        examined += 1
        if r.attempt == 0 or r.conv == NOBODY:
            if r.client == r.author:
                strays[r.message] += 1
            else:
                violations += 1
        else:
            times[*r.message, r.attempt] += 1
    for message, number in strays.items():
        unanswered = sum((*message, s.attempt) not in times for s in h.invokes.get(message, ()))
        violations += max(0, number - unanswered)
    violations += sum(n - 1 for n in times.values())
    return Opinion(examined, violations, h.contract.acknowledges)


def told_whether_it_goes_on(h: History) -> Opinion:
    """Judge I19: a device that asks to continue after q gets an answer to that, or a message that it missed."""
    promised = h.contract.resume and h.contract.sequence != "none" and h.contract.echo
    examined = violations = 0
    for join, after in _subscriptions(h) if h.contract.echo else ():
        if join.aux < 0:
            continue
        if join.flags & (Flag.CONTINUED | Flag.REFUSED) or NONE != join.seq <= join.aux:
            examined += 1
            continue
        first = next((r for r in after if r.seq != NONE), None)
        if join.seq != NONE and first is not None:
            examined += 1
            violations += first.seq > join.seq
    return Opinion(examined, violations, promised)


def resumed_without_gap(h: History) -> Opinion:
    """Judge I20: the first message after a subscription that continues at q has the number q + 1.

    An older one may come before it if it is new to the device; without echo, the device's own may be left out.
    """
    if h.contract.sequence != "contiguous":
        return Opinion(0, 0, promised=False)
    examined = violations = 0
    for join, after in _subscriptions(h):
        if not join.flags & Flag.CONTINUED or join.seq == NONE:
            continue
        for r in after:
            known = any(x.client == r.client and x.message == r.message for x in h.heard_before(r))
            if r.seq == NONE or (r.seq <= join.seq and not known):
                continue
            examined += 1
            violations += r.seq <= join.seq or (r.seq > join.seq + 1 and h.contract.echo)
            break
    return Opinion(examined, violations, h.contract.resume)


def honest_marks(h: History) -> Opinion:
    """Judge I21: after joining at number q, no message with a number up to q comes as a new one."""
    examined = violations = 0
    for join, after in _subscriptions(h):
        for r in after:
            if r.kind == Kind.DELIVER and r.sound and join.seq != NONE and r.seq != NONE:
                examined += 1
                violations += r.seq <= join.seq
    return Opinion(examined, violations, h.contract.sequence != "none")


def _subscriptions(h: History) -> Iterator[tuple[R, list[R]]]:
    """Yield (JOIN, messages of the conversation on that connection until the next JOIN or LEAVE), corrupt ones too."""
    open_: dict[Any, tuple[R, list[R]]] = {}
    every = []
    for r in h.of(Kind.JOIN, Kind.LEAVE, Kind.DELIVER, Kind.REPLAY):
        key = r.process, r.conv
        if r.kind == Kind.LEAVE:
            open_.pop(key, None)
        elif r.kind == Kind.JOIN:
            if h.member(r.client, r.conv):
                open_[key] = r, []
                every.append(open_[key])
        elif key in open_ and not r.flags & Flag.MISROUTED and h.member(r.client, r.conv):
            open_[key][1].append(r)
    yield from every


def timely(h: History) -> Opinion:
    """Judge I25: a message acknowledged at t is delivered until t + bound on every connection that was joined.

    Violations count by message. A fault, the drain, or the connection's end before t + bound excuses.
    """
    if h.contract.delivery_bound_s is None:
        return Opinion(0, 0, promised=False)
    if h.torn:
        return Opinion(0, 0, True, "faults may be missing")
    bound = int(h.contract.delivery_bound_s * 1e9) + h.clocks
    acknowledged: dict[Any, int] = {}
    for r in h.of(Kind.OK):
        if r.message in h.invokes and r.conv != NOBODY:
            acknowledged[r.message] = min(r.t, acknowledged.get(r.message, FOREVER))
    joined: dict[Any, int] = {}
    heard: dict[Any, tuple[int, int]] = {}
    for r in h.of(Kind.JOIN, Kind.LEAVE, Kind.DELIVER, Kind.REPLAY):
        key = r.process, r.conv
        if r.kind == Kind.JOIN:
            joined.setdefault(key, r.t) if r.flags & Flag.CONTINUED else joined.__setitem__(key, r.t)
        elif r.kind == Kind.LEAVE:
            joined.pop(key, None)
        elif r.sound and r.message in acknowledged and h.member(r.client, r.conv) and r.client != r.author:
            heard.setdefault((r.process, r.message), (r.t, joined.get(key, FOREVER)))
    examined = 0
    late = set()
    for (_, message), (t, since) in heard.items():
        sent, deadline = min(s.t for s in h.invokes[message]), acknowledged[message] + bound
        if since + h.clocks < sent and not _excused(h, sent, deadline):
            examined += 1
            if t > deadline:
                late.add(message)
    connections = _held(h)
    for message in acknowledged:
        sent, deadline = min(s.t for s in h.invokes[message]), acknowledged[message] + bound
        if not _disturbed(h, sent, deadline) and any(
            begin + h.clocks < sent
            and deadline < end - h.clocks
            and _missed(h, process, client, conv, message, deadline)
            for (process, client, conv), (begin, end) in connections.items()
            if conv == h.invokes[message][0].conv and client != message[0]
        ):
            late.add(message)
            examined += 1
    return Opinion(examined, len(late))


def answered(h: History) -> Opinion:
    """Judge I43: a sending on a connection that lasts is answered within the bound, by any answer to its message.

    If an earlier sending's connection was cut, a later sending waits too. Examined: sendings that were answered.
    """
    bound = int(h.contract.answer_bound_s * 1e9)
    if h.torn:
        return Opinion(0, 0, h.contract.acknowledges, "faults may be missing")
    held, late, examined, cut = _held(h), set(), 0, False
    for message, events in _sendings_and_answers(h).items():
        waits: R | None = None
        for r in events:
            if r.kind == Kind.INVOKE:
                waits = waits or (r if r.conn and h.member(r.client, r.conv) else None)
            elif r.kind == Kind.INFO:
                over = r.flags & Flag.TIMEOUT or any(
                    p.counter == Phase.DRAINED and p.journal == r.journal and p.place < r.place
                    for p in h.of(Kind.PHASE)
                )
                waits = waits if over else None
            else:
                if waits and r.t > waits.t + bound and _owes(h, held, waits, bound):
                    late.add(message)
                examined += not waits or r.t <= waits.t + bound
                waits = None
        if waits and _owes(h, held, waits, bound):
            late.add(message)
        elif waits:
            begin, end = held.get((waits.process, waits.client, waits.conv), (FOREVER, 0))
            closed = [r for r in h.of(Kind.DISCONNECT) if r.process == waits.process]
            disturbed = _disturbed(h, waits.t, waits.t + bound)
            lasted = h.until_the_end(closed[-1] if closed else None, waits.journal)
            lasted &= h.phase(waits.journal, Phase.DRAINED) < FOREVER
            cut |= begin <= waits.t and waits.t + bound >= end > 0 and lasted and not disturbed
    doubt = "not answered when the run ended" if cut else ""
    return Opinion(examined + len(late), len(late), h.contract.acknowledges, doubt)


def no_echo(h: History) -> Opinion:
    """Judge I45: without echo, a message is not delivered on the connection that sent it."""
    if h.contract.echo:
        return Opinion(0, 0, promised=False)
    sent = sum(h.member(r.client, r.conv) for r in h.of(Kind.INVOKE))
    own = [r for r in h.of(Kind.DELIVER) if h.in_place(r) and r.client == r.author and r.proc == r.conn % 256]
    return Opinion(sent, sum(h.member(r.client, r.conv) for r in own), not h.contract.echo)


def _sendings_and_answers(h: History) -> dict[Any, list[R]]:
    """Return message → its sendings and answers, if all are in one journal and all answers state what they answer."""
    events: dict[Any, list[R]] = defaultdict(list)
    for r in h.of(Kind.INVOKE, Kind.OK, Kind.FAIL, Kind.INFO):
        events[r.message].append(r)
    answers = [r for r in h.of(Kind.OK, Kind.FAIL) if r.attempt == 0 or r.conv == NOBODY]
    vague = {r.message for r in answers}
    return {m: those for m, those in events.items() if len({r.journal for r in those}) == 1 and m not in vague}


def _owes(h: History, held: dict[Any, tuple[int, int]], sending: R, bound: int) -> bool:
    """Return whether a sending had to be answered: it was subscribed until the bound had passed, without faults."""
    begin, end = held.get((sending.process, sending.client, sending.conv), (FOREVER, 0))
    return begin <= sending.t and sending.t + bound < end and not _disturbed(h, sending.t, sending.t + bound)


def _held(h: History) -> dict[Any, tuple[int, int]]:
    """Return (process, client, conversation) → (begin, end) in ns of the subscription, where both are known."""
    held: dict[Any, tuple[int, int]] = {}
    for r in h.of(Kind.JOIN, Kind.LEAVE):
        if not h.member(r.client, r.conv):
            continue
        key = r.process, r.client, r.conv
        begin, end = held.get(key, (None, None))
        if r.kind == Kind.LEAVE:
            held[key] = begin, r.t
        elif begin is None or end is not None or not r.flags & Flag.CONTINUED:
            held[key] = r.t, None
    known = {}
    for (process, client, conv), (begin, end) in held.items():
        closed = [r.t for r in h.of(Kind.DISCONNECT) if r.process == process]
        ends = [h.phase(process[0], Phase.DRAINED), *closed[-1:], *([] if end is None else [end])]
        kicks = [r.t for r in h.of(KICK) if r.conv == conv and h.user(r.client) == h.user(client)]
        if begin is not None:
            ends += [t - h.clocks for t in kicks if t > begin - h.clocks]
            if process[0] not in h.torn and min(ends) < FOREVER:
                known[process, client, conv] = begin, min(ends)
    return known


def _missed(h: History, process: Any, client: int, conv: int, message: Any, deadline: int) -> bool:
    """Return whether a message did not come on this connection, nor before `deadline` on a later one of the device."""
    mine = [r for r in h.of(Kind.JOIN, Kind.LEAVE, Kind.DELIVER, Kind.REPLAY) if r.client == client and r.conv == conv]
    mine = [r for r in mine if r.kind in (Kind.JOIN, Kind.LEAVE) or r.sound]
    came = [r for r in mine if r.kind in (Kind.DELIVER, Kind.REPLAY) and r.message == message]
    if any(r.kind == Kind.DELIVER and r.process == process for r in came):
        return False
    return not came or (came[0].process != mine[0].process and came[0].t > deadline)


def _excused(h: History, start: int, end: int) -> bool:
    """Return whether a fault was active between `start` and `end`, or the drain had begun."""
    return any(r.counter == Phase.DRAIN and r.t <= end for r in h.of(Kind.PHASE)) or _disturbed(h, start, end)


def _disturbed(h: History, start: int, end: int) -> bool:
    """Return whether a fault was active between `start` and `end`, each widened by the error of the clocks."""
    on: dict[Any, bool] = {}
    start, end = start - h.clocks, end + h.clocks
    for r in sorted(h.of(Kind.FAULT), key=lambda r: (r.t, r.journal, r.place)):
        if r.t < start:
            on[r.journal, r.author] = bool(r.flags & Flag.OWN)
        elif r.t <= end:
            return True
    return any(on.values())


def agent_streams(h: History) -> Opinion:
    """Judge I24: each answer of an agent is one well-formed stream on its connection.

    Violations are counted by stream. Examined are streams that ended and streams that are broken.

    A missing beginning counts only for connections that had joined before the question, and if no journal is torn.
    """
    runs: dict[Any, list[R]] = defaultdict(list)
    for r in h.of(Kind.RUN):
        runs[r.process, r.author].append(r)
    bad = {key for key, events in runs.items() if not _well_formed(h, _until_leaving(h, events))}
    bad |= {
        key for key, events in runs.items()
        if any(r.attempt == COMPLETED and r.flags & Flag.CORRUPT for r in _until_leaving(h, events))
    }  # fmt: skip
    fine = [
        _Told.of(h, events) for key, events in runs.items()
        if key not in bad and key[0][0] not in h.torn and h.member(events[0].client, events[0].conv)
        and not _left_later(h, events[0])
    ]  # fmt: skip
    broken = set()
    for told in fine:
        others = [other for other in fine if (other.name, other.conv) == (told.name, told.conv)]
        reached = max(other.chunks for other in others)
        whole = [other for other in others if other.all_of(reached)]
        contents = Counter(other.content for other in whole)
        usual = max(sorted(contents), key=lambda content: contents[content]) if contents else ()
        if (told.completed and 0 <= told.chunks < reached) or (told in whole and told.content != usual):
            broken.add(told.key)
    if h.contract.resume and h.contract.resume_answers:
        broken |= {told.key for told in _holes(h, runs) if told.key not in bad}
    if not h.torn:
        kept = {(r.conv, r.digest) for r in h.of(Kind.STORED) if r.author == AGENT and r.digest}
        rooms = {conv for conv, _ in kept} & h.read_completely()
        for key in runs.keys() - bad - broken:
            events = _until_leaving(h, runs[key])
            ends = [r for r in events if r.attempt == COMPLETED and r.digest]
            if ends and ends[0].conv in rooms and (ends[0].conv, ends[0].digest) not in kept:
                broken.add(key)
    ended = {
        key for key, events in runs.items()
        if any(r.attempt in (COMPLETED, ERROR) for r in _until_leaving(h, events))
    }  # fmt: skip
    return Opinion(len(ended | bad | broken), len(bad) + len(broken))


def _left_later(h: History, first: R) -> bool:
    leaves = (r for r in h.of(Kind.LEAVE) if (r.process, r.conv) == (first.process, first.conv))
    return any(r.place > first.place for r in leaves)


class _Told(NamedTuple):
    """Summary of the events that one connection received of an agent's answer."""

    key: Any
    name: Any
    conv: int
    client: int
    first: tuple[int, int]
    started: bool
    ended: bool
    completed: bool
    continued: bool
    first_chunk: int
    chunks: int
    content: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, h: History, events: list[R]) -> _Told:
        first, chunks = events[0], [r for r in events if r.attempt == CHUNK]
        last = next((r for r in events if r.attempt in (COMPLETED, ERROR)), None)
        joins = [r for r in h.of(Kind.JOIN) if (r.process, r.conv) == (first.process, first.conv)]
        joins = [r for r in joins if r.place < first.place]
        start = 0 if first.attempt == STARTED else -1
        return cls(
            key=(first.process, first.author),
            name=first.aux if first.aux >= 0 else (first.journal, first.author),
            conv=first.conv,
            client=first.client,
            first=(first.journal, first.place),
            started=first.attempt == STARTED,
            ended=last is not None,
            completed=last is not None and last.attempt == COMPLETED,
            continued=bool(joins and joins[-1].flags & Flag.CONTINUED),
            first_chunk=chunks[0].counter if chunks else -1,
            chunks=chunks[-1].counter + 1 if chunks else start,
            content=tuple((r.counter, r.digest) for r in chunks if r.digest),
        )

    def all_of(self, reached: int) -> bool:
        return self.completed and self.started and self.chunks == reached == len(self.content)


def _holes(h: History, runs: dict[Any, list[R]]) -> Iterator[_Told]:
    """Yield the streams that continue on another connection of a device, after a part that never came."""
    told = [_Told.of(h, events) for events in runs.values()]
    by_device: dict[Any, list[_Told]] = defaultdict(list)
    for one in sorted(told, key=lambda one: one.first):
        by_device[one.client, one.name, one.conv].append(one)
    for those in by_device.values():
        for before, after in pairwise(those):
            goes_on = after.continued and not before.ended and before.started
            if goes_on and after.first_chunk > before.chunks and after.key[0][0] not in h.torn:
                yield after


def _well_formed(h: History, events: list[R]) -> bool:
    whole = events[0].attempt == STARTED
    if not whole and not h.torn and _there_from_the_start(h, events[0]):
        return False
    chunks = next((r.counter for r in events if r.attempt == CHUNK), 0) if not whole else 0
    tools = 0
    for place, r in enumerate(events):
        ended = place > 0 and events[place - 1].attempt in (COMPLETED, ERROR)
        if ended or (r.attempt == STARTED and place > 0):
            return False
        if r.attempt == CHUNK:
            if r.counter != chunks:
                return False
            chunks += 1
        if r.attempt == BROKEN_OFF:
            return False
        tools += (r.attempt == TOOL_STARTED) - (r.attempt == TOOL_COMPLETED)
        if (tools < 0 and whole) or (r.attempt == COMPLETED and tools > 0):
            return False
    return events[-1].attempt in (COMPLETED, ERROR) or not _listened_to_the_end(h, events[-1], events[0].conv)


def _until_leaving(h: History, events: list[R]) -> list[R]:
    """Return the events of an answer up to the LEAVE of its conversation; later events are not judged."""
    first = events[0]
    leaving = [r.place for r in h.of(Kind.LEAVE) if (r.process, r.conv) == (first.process, first.conv)]
    end = min((place for place in leaving if place > first.place and h.member(first.client, first.conv)), default=None)
    return events if end is None else [r for r in events if r.place < end]


def _listening(h: History, process: Any, conv: int, until: int) -> int | None:
    """Return since when (ns) a connection was subscribed to a conversation at place `until` of its journal, or None."""
    since = None
    for r in h.of(Kind.JOIN, Kind.LEAVE):
        if (r.process, r.conv) == (process, conv) and r.place < until and h.member(r.client, r.conv):
            if r.kind == Kind.LEAVE:
                since = None
            elif since is None or not r.flags & Flag.CONTINUED:
                since = r.t
    return since


def _there_from_the_start(h: History, r: R) -> bool:
    since = _listening(h, r.process, r.conv, r.place)
    sent = min((s.t for s in h.of(Kind.INVOKE) if s.conv == r.conv), default=FOREVER)
    return since is not None and since < sent


def _listened_to_the_end(h: History, r: R, conv: int) -> bool:
    marks = [m for m in h.of(Kind.LEAVE) if (m.process, m.conv) == (r.process, conv) and m.place > r.place]
    left = bool(marks) and h.member(r.client, conv)
    return h.lasted(r) and not left


def connection_scope(h: History) -> Opinion:
    """Judge I14: an answer comes on the connection of its sending, or by contract on a later one of the same device.

    An answer by HTTP must come to the client that asked; an answer on a socket to an HTTP request is not judged.
    """
    examined = violations = 0
    for r in h.of(Kind.OK, Kind.FAIL):
        sendings = h.invokes.get(r.message, ())
        if r.conn == 0:
            examined += bool(sendings)
            violations += bool(sendings) and r.client != r.author
            continue
        asked = [s for s in sendings if r.attempt in (0, s.attempt) and s.conn != 0]
        if asked:
            examined += 1
            violations += not any(_in_scope(h, r, s) for s in asked)
    for r in h.of(Kind.SEEN):
        if r.proc == State.PROFILE and r.conn and None not in (h.user(r.client), h.user(r.author)):
            examined += 1
            violations += h.user(r.client) != h.user(r.author)
    return Opinion(examined, violations, h.contract.acknowledges or h.contract.account_news_s is not None)


def _in_scope(h: History, answer: R, sending: R) -> bool:
    if answer.process == sending.process:
        return True
    device = answer.client == sending.client and answer.journal == sending.journal and answer.conn > sending.conn
    return device and h.contract.at_most_once == "device"


def read_your_writes(h: History) -> Opinion:
    """Judge I16: a read contains the client's messages that were acknowledged before it was requested."""
    examined = violations = 0
    for read in h.of(READ):
        if not h.member(read.client, read.conv):
            continue
        own = [r.seq for r in _before(h, read, Kind.OK) if r.author == read.client and r.seq != NONE]
        if own:
            examined += 1
            violations += read.seq < max(own)
    return Opinion(examined, violations, h.contract.history and h.contract.sequence != "none")


def monotonic_reads(h: History) -> Opinion:
    """Judge I17: a read does not end before what its client had read or received, and a page has no gaps."""
    examined = violations = 0
    for read in h.of(READ):
        if h.member(read.client, read.conv) and read.author != NOBODY:
            examined += 1
            violations += bool(read.flags & Flag.CORRUPT) or (
                h.contract.sequence == "contiguous" and not whole_page(read)
            )
    for read in h.of(READ):
        if not h.member(read.client, read.conv):
            continue
        known = [r.seq for r in _before(h, read, READ, Kind.DELIVER) if r.seq != NONE and (r.kind == READ or r.regular)]
        if known:
            examined += 1
            violations += read.seq < max(known)
    return Opinion(examined, violations, h.contract.history and h.contract.sequence != "none")


def whole_page(read: R) -> bool:
    """Return whether a page of the history is complete: its count and digest fit numbers that begin at 0 or at 1."""
    pages = [list(range(read.author + 1, read.seq + 1))]
    if read.author == 0:
        pages.append([0, *pages[0]])
    fitting = [page for page in pages if len(page) == read.counter]
    crc = [zlib.crc32(b"".join(n.to_bytes(8, "little") for n in page)) for page in fitting]
    return not read.counter or (bool(fitting) and (not read.digest or read.digest in crc))


def recent_reads(h: History) -> Opinion:
    """Judge I44: a read contains every message that was acknowledged to any client before the read was requested."""
    acked: dict[Any, R] = {}
    for r in sorted(h.of(Kind.OK), key=lambda r: (r.t, r.journal, r.place)):
        if r.seq != NONE and r.conv != NOBODY:
            acked.setdefault(r.message, r)
    examined = violations = 0
    for read in h.of(READ):
        asked = read.t - 1000 * max(0, read.aux)
        before = [r.seq for r in acked.values() if r.conv == read.conv and r.t <= asked]
        if before and h.member(read.client, read.conv):
            examined += 1
            violations += read.seq < max(before)
    promised = h.contract.recent_reads and h.contract.history and h.contract.sequence != "none"
    return Opinion(examined, violations, promised)


def _before(h: History, read: R, *kinds: int) -> list[R]:
    """Return the records of the same client and conversation that were written before this read was requested."""
    same = (read.journal, read.client, read.conv)
    records = [r for r in h.of(*kinds) if (r.journal, r.client, r.conv) == same and r.place < read.place]
    asked = read.t - 1000 * max(0, read.aux)
    return [r for r in records if r.t <= asked]


def revoked(h: History) -> Opinion:
    """Judge I13: a removed member receives no message sent after the removal was confirmed, until the next joining.

    Violations count by device and message. Messages sent before a later joining count only if their number is not above
    the head at that joining; the others may have come after it.
    """
    joins, kicks = list(h.of(Kind.JOIN)), list(h.of(KICK))
    delivered = {(r.client, r.message) for r in h.of(Kind.DELIVER) if r.regular}
    forbidden = set()
    for k in kicks:
        again = [j for j in joins if (j.client, j.conv) == (k.client, k.conv) and j.t > k.t - h.clocks]
        until = min(again, key=lambda j: j.t, default=None)
        for message, sendings in h.invokes.items():
            sent = min(s.t for s in sendings)
            if sendings[0].conv != k.conv or sent <= k.t + h.clocks or not h.member(k.client, k.conv):
                continue
            seq = min(h.numbers.get(message, {FOREVER}))
            if until is None or (sent < until.t - h.clocks and seq <= until.seq):
                forbidden.add((k.client, message))
    told = list(_told_later(h))
    return Opinion(len(forbidden) + len(told), len(forbidden & delivered) + len(told))


def _told_later(h: History) -> Iterator[R]:
    """Yield pushes about a conversation that came later than the bound after the receiver's membership ended."""
    bound = h.contract.delivery_bound_s
    for r in h.of(Kind.RUN, Kind.PRESENCE, Kind.SEEN) if bound is not None and not h.torn else ():
        if r.conn == 0 or not h.member(r.client, r.conv):
            continue
        same = [c for c in h.of(Kind.JOIN, KICK) if (c.client, c.conv) == (r.client, r.conv) and c.t <= r.t]
        last = max(same, key=lambda c: (c.t, c.journal, c.place), default=None)
        late = last is not None and last.kind == KICK and r.t > last.t + int((bound or 0) * 1e9) + h.clocks
        late = late and not any(c.kind == Kind.JOIN and c.t > last.t - h.clocks for c in same)
        if last is not None and late and not _disturbed(h, last.t, r.t):
            yield r


SESSION_CHECKS: dict[str, Callable[[History], Opinion]] = {
    "I3": causal_order,
    "I9": failed_without_effect,
    "I11": single_completion,
    "I13": revoked,
    "I14": connection_scope,
    "I16": read_your_writes,
    "I17": monotonic_reads,
    "I19": told_whether_it_goes_on,
    "I20": resumed_without_gap,
    "I21": honest_marks,
    "I24": agent_streams,
    "I25": timely,
    "I43": answered,
    "I44": recent_reads,
    "I45": no_echo,
}
