"""Streamed answers of a platform's agent: how soon, how evenly and how completely they came.

A *stream* is one answer as one connection receives it, from its first event to its last (RUN records). A *token* is a
piece of text as the platform sends it, which may hold several tokens of a model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from earwitness.checks.engine.fault_windows import FaultLog, Window, overlaps
from earwitness.checks.history.record import AGENT, NOBODY, Flag, Kind, Phase, empty
from earwitness.harness.client.session import AGENT_EVENTS
from earwitness.harness.record.history import History
from earwitness.harness.report.figures import message_keys
from earwitness.harness.report.recorded import Recorded, Records, View

Rows = npt.NDArray[np.void]
Numbers = npt.NDArray[Any]

STALL_S: Final = 10.0
"""Silence in s after which a streamed answer counts as stalled; if its end never came, as broken off."""
LONGEST_NS = 1 << 61
"""Upper limit of the bound of a silence, in ns: twice this number still fits into a record's time."""
PART_READ: Final = 1 << 18
"""Number of records that are searched at a time."""
PART: Final = 500_000
"""Approximate number of events that are sorted together; each takes 200 bytes of memory."""
NEVER: Final = np.iinfo(np.int64).max
STARTED, CHUNK, COMPLETED, ERROR, BROKEN_OFF = (
    AGENT_EVENTS[name] for name in ("started", "chunk", "completed", "error", "broken")
)
REASONED_CODE, APPLICATION_CODES = 1008, 4000
"""Close codes with which a platform states a reason: 1008 (policy violation), and all codes from 4000 on."""

SHORT, CLOSED, FINISHED, FAILED, BROKEN = range(5)
"""Status of a stream at its end.

SHORT     the tester stopped listening: the run ended, the device left, closed, or continued on another connection
CLOSED    the platform closed the connection and stated a reason, such as an expired token
FINISHED  the event `completed` came
FAILED    the event `error` came
BROKEN    no such event: the connection was lost, the answer began anew, or nothing came for longer than the bound
"""

STREAM: Final = np.dtype(
    [
        ("conn", "<u4"),
        ("client", "<u4"),
        ("conv", "<u4"),
        ("journal", "<u4"),
        ("run", "<u4"),
        ("name", "<i8"),
        ("question", "<i8"),
        ("start", "<i8"),
        ("start_index", "<i8"),
        ("last", "<i8"),
        ("first_token", "<i8"),
        ("last_token", "<i8"),
        ("tokens", "<i8"),
        ("reached", "<i8"),
        ("silence", "<i8"),
        ("until", "<i8"),
        ("patience", "<i8"),
        ("answer", "<u4"),
        ("ended", "u1"),
        ("whole", "?"),
        ("restated", "?"),
        ("restarted", "?"),
        ("disturbed", "?"),
        ("status", "u1"),
    ]
)
"""Columns of one stream; times are monotonic ns.

name         CRC-32 of the id of the answer, the same in all journals; without an id, a number of this journal only
question     counter of the message in which this device asked, -1: another device asked, or not known
start, last  time of the first and the last event; `silence`: longest time between two consecutive events
first_token, last_token   their times; NEVER and -1 without tokens; `tokens`: number of tokens
reached      number of the last piece + 1, 0 without pieces
until        time until which the tester observed the stream
patience     bound of a silence: STALL_S, and the longest lag of the load process
answer       CRC-32 of the whole answer, 0: not known; restated: the end event stated another text
ended        0: no end event, else COMPLETED, ERROR or BROKEN_OFF; restarted: the answer began anew without an end
disturbed    a fault was active meanwhile
"""


@dataclass(frozen=True, slots=True)
class Streamed:
    """Measurements of all streams of a run.

    rows       a STREAM row for each stream, with its status
    first_ns   times from sending a question to the first token of its answer; `first_at`: times of sending
    never      number of questions whose answers showed no token for longer than the bound
    several    for each row: whether another device's stream of the same answer can be compared with it
    cut        for each row: whether it shows less of the answer than the other stream, or broke off
    compared   for each row: whether a second text of the answer is known, from the final state or the end event
    differing  for each row: whether that second text is a different one
    """

    rows: Rows
    first_ns: Numbers
    first_at: Numbers
    never: int
    several: Numbers
    cut: Numbers
    compared: Numbers
    differing: Numbers

    @property
    def judged(self) -> Numbers:
        """Return, for each row, whether the stream counts in shares.

        Streams that the tester cut short, that the platform closed with a reason, or that a fault disturbed do not
        count.
        """
        return _judged(self.rows)

    @property
    def stalled(self) -> Numbers:
        """Return, for each row, whether it is judged and was silent between two events for longer than the bound."""
        result: Numbers = self.judged & (self.rows["silence"] > self.rows["patience"])
        return result

    @property
    def tokens_per_s(self) -> Numbers:
        """Return tokens a second, after the first token, for each stream that has two or more tokens."""
        lasted = self.rows["last_token"] - self.rows["first_token"]
        flowing = (self.rows["tokens"] > 1) & (lasted > 0)
        result: Numbers = (self.rows["tokens"][flowing] - 1) / (lasted[flowing] / 1e9)
        return result

    def share(self, what: str) -> tuple[int, int]:
        """Return (bad streams, streams that count) for `what`: broken, failed, stalled, cut or differing."""
        judged, status = self.judged, self.rows["status"]
        bad, among = {
            "broken": (judged & (status == BROKEN), judged),
            "failed": (judged & (status == FAILED), judged),
            "stalled": (self.stalled, judged),
            "cut": (self.cut, self.several),
            "differing": (self.differing, self.compared),
        }[what]
        return int(bad.sum()), int(among.sum())

    def counts(self) -> dict[str, int]:
        """Return name → count, the counts of `streams` in verdict.json; {} if there were no streams."""
        if not len(self.rows):
            return {}
        counted = {"streams": len(self.rows), "judged": int(self.judged.sum())}
        counted["finished"] = int((self.judged & (self.rows["status"] == FINISHED)).sum())
        counted |= {what: self.share(what)[0] for what in SHARES}
        disturbed, status = self.rows["disturbed"], self.rows["status"]
        return {
            **counted,
            "of_several": int(self.several.sum()),
            "compared": int(self.compared.sum()),
            "cut_short": int((~disturbed & (status == SHORT)).sum()),
            "closed": int((~disturbed & (status == CLOSED)).sum()),
            "during_faults": int(disturbed.sum()),
            "tokens": int(self.rows["tokens"].sum()),
            "unanswered": self.never,
        }


SHARES: Final = ("failed", "broken", "stalled", "cut", "differing")
"""Names of the shares, in the order of the verdict."""


@dataclass(slots=True)
class Observed:
    """Times at which the tester stopped observing devices in conversations, from one journal.

    "Before" and "after" refer to positions in the journal; times are monotonic ns. `rare`: the journal's rare records;
    `last_ns`: its latest time; `end`: the time until which anything was observed.
    """

    rare: Records
    last_ns: int
    end: int = field(init=False)
    _ends: Records = field(init=False)
    _leaves: Records = field(init=False)

    def __post_init__(self) -> None:
        """Find the ends of connections, and the end of the observation: the phase DRAINED, or `last_ns`."""
        kind = self.rare["kind"]
        drained = self.rare["t"][(kind == Kind.PHASE) & (self.rare["counter"] == Phase.DRAINED)]
        self.end = int(drained[0]) if len(drained) else self.last_ns
        ends = self.rare[kind == Kind.DISCONNECT]
        self._ends = ends[np.unique(ends["conn"], return_index=True)[1]]
        leaves = self.rare[kind == Kind.LEAVE]
        self._leaves = leaves[np.lexsort((leaves["index"], leaves["conv"], leaves["conn"]))]

    def until(self, conns: Numbers, convs: Numbers, since: Numbers) -> tuple[Numbers, Numbers]:
        """Return (end of observation in ns, close code) for each pair of connection and conversation.

        `conns`, `convs`, `since` are parallel; `since`: index of the record from which the pair is observed. The code
        is -1 unless the platform ended the connection before the device left and before the drain was over.
        """
        until, codes = np.full(len(conns), self.end), np.full(len(conns), -1)
        if len(self._ends):
            at = np.minimum(np.searchsorted(self._ends["conn"], conns), len(self._ends) - 1)
            ends = self._ends[at]
            lost = (ends["conn"] == conns) & (ends["t"] <= until)
            until[lost] = ends["t"][lost]
            theirs = lost & (ends["flags"] & int(Flag.OWN) == 0)
            codes[theirs] = ends["counter"][theirs]
        left = self._left(conns, convs, since)
        codes[left < until] = -1
        return np.minimum(until, left), codes

    def _left(self, conns: Numbers, convs: Numbers, since: Numbers) -> Numbers:
        """Return for each pair the time (ns) of its first LEAVE record after the index `since`, NEVER without one."""
        found = np.full(len(conns), NEVER)
        if not len(self._leaves) or not len(conns):
            return found
        pairs = [(rows.astype(np.uint64) << np.uint64(32)) | of.astype(np.uint64)
                 for rows, of in ((self._leaves["conn"], self._leaves["conv"]), (conns, convs))]  # fmt: skip
        known, group = np.unique(pairs[0], return_inverse=True)
        at = np.minimum(np.searchsorted(known, pairs[1]), len(known) - 1)
        # One number that grows with the pair, and within it with the position: a journal has less than 2^40 records.
        keys = (group.astype(np.int64) << 40) | self._leaves["index"].astype(np.int64)
        place = np.searchsorted(keys, (at.astype(np.int64) << 40) | since.astype(np.int64), side="right")
        there = (known[at] == pairs[1]) & (place < len(keys))
        place = np.minimum(place, len(keys) - 1)
        there &= group[place] == at
        found[there] = self._leaves["t"][place[there]]
        return found


def streamed(
    recorded: Recorded,
    footers: Sequence[Mapping[str, Any]],
    windows: list[Window],
    stall_s: float = STALL_S,
    *,
    gaps: Callable[[Numbers, Numbers], None],
) -> Streamed:
    """Return the measurements of all streams of a run.

    footers  of the same journals; the longest lag of a load process is in them, by which silences may seem longer
    windows  times of faults
    stall_s  the bound of a silence, in seconds
    gaps     called, chunk by chunk, with the times (ns) between two consecutive tokens of a stream, and the times of
             the second ones
    """
    kicks = _kicks(recorded)
    parts, questions = [], []
    for journal, view in enumerate(recorded.views if recorded.counts[Kind.RUN] else ()):
        found = [np.empty(0, STREAM)]
        for events, sized in _events(view):
            streams, (took, at) = _streams(events, journal, sized)
            found.append(streams)
            gaps(took, at)
        rows = np.concatenate(found)
        footer = footers[journal] if journal < len(footers) else {}
        patience = _patience_ns(stall_s, footer)
        observed = Observed(recorded.rare[journal], recorded.last_ns(journal))
        _end(rows, observed, kicks, patience)
        parts.append(rows)
        questions.append(Asked(journal, rows, patience, observed))
    rows = np.concatenate([np.empty(0, STREAM), *parts])
    _excuse_continued(rows)
    # Nothing that begins after the bound has passed can have broken a stream off.
    over = np.minimum(rows["until"], rows["last"] + rows["patience"])
    rows["disturbed"] = overlaps(windows, rows["start"], np.where(rows["ended"] > 0, rows["last"], over))
    several, cut = _cut(rows)
    compared, differing = _differing(recorded, rows)
    first_ns, first_at, never = _first_tokens(recorded, questions, rows, windows, kicks)
    return Streamed(
        rows=rows,
        first_ns=first_ns,
        first_at=first_at,
        never=never,
        several=several,
        cut=cut,
        compared=compared,
        differing=differing,
    )


def streamed_of(history: History, recorded: Recorded, gaps: Callable[[Numbers, Numbers], None]) -> Streamed:
    """Return the measurements of all streams of a run. `recorded`: its records; `gaps`: see `streamed`."""
    log = FaultLog()
    for number, faults in enumerate(recorded.of_kind(Kind.FAULT)):
        log.add(number, faults)
    return streamed(recorded, [view.footer or {} for view in history.journals], log.windows(), gaps=gaps)


def _judged(rows: Rows) -> Numbers:
    result: Numbers = (rows["status"] >= FINISHED) & ~rows["disturbed"]
    return result


def _events(view: View, part: int = PART) -> Iterator[tuple[Records, bool]]:
    """Yield (events of answers sorted by stream and time, whether pieces have sizes).

    All events of a connection are in one array; each array has about `part` events, which bounds the memory. The second
    value is the same for all arrays: False if no piece in the journal has a size.
    """
    where, conns, sized = _places(view)
    parts = -(-len(where) // part)
    of = conns % max(1, parts)
    for number in range(parts):
        events = view[where[of == number]]
        yield events[np.lexsort((events["index"], events["author"], events["conn"]))], sized


def _places(view: View) -> tuple[Numbers, Numbers, bool]:
    """Return (positions, connections, sized) of the events on connections; `sized`: whether any piece has a size."""
    where, conns, sized = [np.zeros(0, np.int64)], [np.zeros(0, np.uint32)], False
    for start in range(0, len(view), PART_READ):
        records = view[start : start + PART_READ]
        at = np.flatnonzero((records["kind"] == Kind.RUN) & (records["conn"] > 0))
        events = records[at]
        where.append(at + start)
        conns.append(events["conn"])
        sized = sized or bool(((events["attempt"] == CHUNK) & (events["size"] > 0)).any())
    return np.concatenate(where), np.concatenate(conns), sized


def _streams(events: Records, journal: int, sized: bool) -> tuple[Rows, tuple[Numbers, Numbers]]:
    """Return (streams, (gaps between tokens, times of the second token of each gap)), in ns. No status is set yet.

    `events`: sorted by stream; `sized`: whether pieces have sizes; else each piece counts as a token. A second start of
    an answer begins another stream. Events after an end are left out: I24 reports them.
    """
    event = events["attempt"]
    new = _changes(events["conn"]) | _changes(events["author"])
    first = np.flatnonzero(new | (event == STARTED))
    ends = np.isin(event, (COMPLETED, ERROR, BROKEN_OFF)).astype(np.int64)
    before = np.cumsum(ends) - ends
    stream = np.cumsum(new | (event == STARTED)) - 1
    keep = before == before[first][stream] if len(first) else np.empty(0, bool)
    events, stream = events[keep], stream[keep]
    rows = np.zeros(len(first), STREAM)
    if not len(rows):
        return rows, (np.empty(0, np.int64), np.empty(0, np.int64))
    at = np.searchsorted(stream, np.arange(len(first)))
    _fill(rows, events, at, journal)
    # A start that does not follow an end: the answer began anew.
    rows["restarted"][:-1] = ~new[first[1:]] & (rows["ended"][:-1] == 0)
    return rows, _fill_times(rows, events, stream, at, sized)


def _changes(values: Numbers) -> Numbers:
    return np.concatenate([np.ones(min(1, len(values)), bool), values[1:] != values[:-1]])


def _fill(rows: Rows, events: Records, at: Numbers, journal: int) -> None:
    """Fill the columns that do not depend on times; `at`: index of the first event of each stream."""
    event = events["attempt"]
    for name in ("conn", "client", "conv"):
        rows[name] = events[name][at]
    rows["run"], rows["journal"], rows["start_index"] = events["author"][at], journal, events["index"][at]
    named = np.maximum.reduceat(events["aux"], at)
    rows["name"] = np.where(named >= 0, named, ((journal + 1) << 33) | rows["run"].astype(np.int64))
    rows["question"] = np.maximum.reduceat(events["seq"], at)
    rows["whole"] = event[at] == STARTED
    ended = np.isin(event, (COMPLETED, ERROR, BROKEN_OFF))
    rows["ended"] = np.maximum.reduceat(np.where(ended, event, 0), at)
    completed = event == COMPLETED
    rows["answer"] = np.maximum.reduceat(np.where(completed, events["digest"], 0), at)
    rows["restated"] = np.maximum.reduceat(completed & (events["flags"] & int(Flag.CORRUPT) > 0), at)
    numbers = events["counter"].astype(np.int64) + 1
    rows["reached"] = np.maximum.reduceat(np.where(event == CHUNK, numbers, 0), at)


def _fill_times(rows: Rows, events: Records, stream: Numbers, at: Numbers, sized: bool) -> tuple[Numbers, Numbers]:
    """Fill the columns of times and tokens; return (gaps between tokens, times of their second tokens), in ns."""
    t = events["t"]
    rows["start"], rows["last"] = t[at], np.maximum.reduceat(t, at)
    silence = np.diff(t, prepend=t[:1])
    silence[at] = 0
    rows["silence"] = np.maximum.reduceat(silence, at)
    token = (events["attempt"] == CHUNK) & ((events["size"] > 0) | (not sized))
    rows["tokens"] = np.add.reduceat(token.astype(np.int64), at)
    rows["first_token"] = np.minimum.reduceat(np.where(token, t, NEVER), at)
    rows["last_token"] = np.maximum.reduceat(np.where(token, t, -1), at)
    times, of = t[token], stream[token]
    same = of[1:] == of[:-1]
    return (times[1:] - times[:-1])[same], times[1:][same]


def _kicks(recorded: Recorded) -> Records:
    """Return the KICK records (ends of memberships), sorted by conversation and time."""
    kicks: Records = np.concatenate([empty(0), *recorded.of_kind(Kind.KICK)])
    result: Records = kicks[np.lexsort((kicks["t"], kicks["conv"]))]
    return result


def _kicked(kicks: Records, convs: Numbers, since: Numbers) -> Numbers:
    """Return the time (ns) of the first end of a membership after `since`, in each of `convs`; NEVER without one.

    Any member's removal counts: a user has several devices, and leaving one more stream unjudged costs little.
    """
    found = np.full(len(convs), NEVER)
    for conv in np.unique(kicks["conv"]) if len(kicks) else ():
        times, mine = kicks["t"][kicks["conv"] == conv], np.flatnonzero(convs == conv)
        at = np.searchsorted(times, since[mine])
        found[mine[at < len(times)]] = times[at[at < len(times)]]
    return found


def _patience_ns(stall_s: float, footer: Mapping[str, Any]) -> int:
    """Return the bound of a silence in ns: `stall_s`, and the longest lag that the footer of a load process states.

    A lag that is no sound number counts as 0, because an imported file may say anything.
    """
    lags = footer.get("lag_ms")
    lag_ms = lags.get("max", 0.0) if isinstance(lags, Mapping) else 0.0
    sound = isinstance(lag_ms, int | float) and 0 <= lag_ms < LONGEST_NS
    return int(min(stall_s * 1e9 + (lag_ms * 1e6 if sound else 0.0), LONGEST_NS))


def _end(rows: Rows, observed: Observed, kicks: Records, patience: int) -> None:
    """Fill the columns `until`, `patience` and `status`. `patience`: bound of a silence in ns."""
    until, codes = observed.until(rows["conn"], rows["conv"], rows["start_index"])
    kicked = _kicked(kicks, rows["conv"], rows["start"])
    codes[kicked < until] = -1
    rows["until"] = np.maximum(np.minimum(until, kicked), rows["last"])
    stated = (codes == REASONED_CODE) | (codes >= APPLICATION_CODES)
    status = np.select([codes < 0, stated], [SHORT, CLOSED], BROKEN)
    rows["patience"] = patience
    status[rows["until"] - rows["last"] > patience] = BROKEN
    status[rows["restarted"]] = BROKEN
    status[rows["ended"] == COMPLETED] = FINISHED
    status[rows["ended"] == ERROR] = FAILED
    status[rows["ended"] == BROKEN_OFF] = BROKEN
    rows["status"] = status


def _excuse_continued(rows: Rows) -> None:
    """Set the status SHORT for broken streams that the same device continued to receive on a later connection."""
    order = np.lexsort((rows["start"], rows["conv"], rows["name"], rows["client"], rows["journal"]))
    mine = rows[order]
    same = np.ones(max(0, len(rows) - 1), bool)
    for name in ("journal", "client", "name", "conv"):
        same &= mine[name][1:] == mine[name][:-1]
    same &= mine["conn"][1:] != mine["conn"][:-1]
    earlier = order[:-1][same]
    rows["status"][earlier[rows["status"][earlier] == BROKEN]] = SHORT


def _cut(rows: Rows) -> tuple[Numbers, Numbers]:
    """Return (comparable, cut) for each row, as arrays of bool.

    `comparable`: a judged stream whose answer another device received to its end; `cut`: a comparable stream that lacks
    the end, or the last pieces before the end.
    """
    several, cut = np.zeros(len(rows), bool), np.zeros(len(rows), bool)
    if not len(rows):
        return several, cut
    order = np.lexsort((rows["client"], rows["conv"], rows["name"]))
    mine = rows[order]
    at = np.flatnonzero(_changes(mine["name"]) | _changes(mine["conv"]))
    group = np.repeat(np.arange(len(at)), np.diff(np.append(at, len(rows))))
    finished = mine["status"] == FINISHED
    reached = np.maximum.reduceat(np.where(finished, mine["reached"], 0), at)[group]
    fewest, most = (one.reduceat(mine["client"], at)[group] for one in (np.minimum, np.maximum))
    there = np.add.reduceat(finished.astype(np.int64), at)[group] > 0
    comparable = _judged(mine) & (mine["status"] != FAILED) & there & (fewest != most)
    lacking = finished & (mine["reached"] > 0) & (mine["reached"] < reached)
    several[order] = comparable
    cut[order] = comparable & (lacking | (mine["status"] == BROKEN))
    return several, cut


def _differing(recorded: Recorded, rows: Rows) -> tuple[Numbers, Numbers]:
    """Return (comparable, differing) for each row, as arrays of bool: finished streams whose answer has a second text.

    The second text is the stored answer, in conversations that were read to their end and store answers of the agent;
    or it is a different text in the end event.
    """
    ends, found = [np.empty(0, np.uint32)], [np.empty(0, np.uint64)]
    for _, part in recorded.parts() if len(rows) else ():
        kind = part["kind"]
        ends.append(np.unique(part["conv"][kind == Kind.READ_END]))
        stored = part[(kind == Kind.STORED) & (part["author"] == AGENT) & (part["digest"] > 0)]
        found.append(_pairs(stored["conv"], stored["digest"]))
    read, texts = np.unique(np.concatenate(ends)), np.concatenate(found)
    kept = np.intersect1d(read, (texts >> np.uint64(32)).astype(np.uint32))
    finished = (rows["status"] == FINISHED) & rows["whole"]
    known = finished & (rows["answer"] > 0) & np.isin(rows["conv"], kept) & (rows["conv"] != NOBODY)
    differing = (known & ~np.isin(_pairs(rows["conv"], rows["answer"]), texts)) | (finished & rows["restated"])
    return known | differing, differing


def _pairs(high: Numbers, low: Numbers) -> Numbers:
    result: Numbers = (high.astype(np.uint64) << np.uint64(32)) | low.astype(np.uint64)
    return result


@dataclass(frozen=True, slots=True)
class Asked:
    """One journal: its number, its streams, the bound of a silence (ns), and the observation of its devices."""

    journal: int
    rows: Rows
    patience: int
    observed: Observed


def _first_tokens(
    recorded: Recorded, parts: Sequence[Asked], rows: Rows, windows: list[Window], kicks: Records
) -> tuple[Numbers, Numbers, int]:
    """Return (times to the first token, times of sending, both in ns; number of questions without a token in time)."""
    took, sent_at, never, begin = [], [], 0, 0
    named = bool((rows["question"] >= 0).any())
    for one in parts:
        mine = rows[begin : begin + len(one.rows)]  # with what was found out since
        begin += len(one.rows)
        answers = mine[mine["question"] >= 0]
        keys = _pairs(answers["client"], answers["question"])
        # Of several streams of one answer the one that showed a token first. If none did, one that excuses it.
        blamed = (answers["status"] == BROKEN) & ~answers["disturbed"]
        order = np.lexsort((blamed, answers["first_token"], keys))
        answers, keys = answers[order], keys[order]
        asked = _questions(recorded.views[one.journal], keys) if named else empty(0)
        at = np.searchsorted(keys, message_keys(asked))
        found = at < len(keys)
        at = np.minimum(at, max(0, len(keys) - 1))
        found &= keys[at] == message_keys(asked) if len(keys) else False
        shown = found.copy()
        shown[found] = answers["first_token"][at[found]] < NEVER
        took.append(answers["first_token"][at[shown]] - asked["t"][shown])
        sent_at.append(asked["t"][shown])
        silent = answers[at[found & ~shown]]
        never += int((silent["status"] == BROKEN)[~silent["disturbed"]].sum())
        accepted = _accepted(recorded.views[one.journal], asked[~found])
        never += _never(accepted, mine, one, windows, kicks)
    none = np.empty(0, np.int64)
    return np.concatenate([none, *took]), np.concatenate([none, *sent_at]), never


def _questions(view: View, keys: Numbers) -> Records:
    """Return the first sendings of messages that are questions to the agent, or that an answer names (`keys`)."""
    found = [empty(0)]
    for start in range(0, len(view), PART_READ):
        records = view[start : start + PART_READ]
        asked = records[(records["kind"] == Kind.INVOKE) & (records["attempt"] <= 1)]
        found.append(asked[np.isin(message_keys(asked), keys) | (asked["flags"] & int(Flag.OWN) > 0)])
    return np.concatenate(found)


def _accepted(view: View, asked: Records) -> Records:
    """Return those of the questions `asked` that were acknowledged."""
    accepted = np.zeros(len(asked), bool)
    for start in range(0, len(view) if len(asked) else 0, PART_READ):
        records = view[start : start + PART_READ]
        accepted |= np.isin(message_keys(asked), message_keys(records[records["kind"] == Kind.OK]))
    return asked[accepted]


def _never(asked: Records, rows: Rows, of: Asked, windows: list[Window], kicks: Records) -> int:
    """Return the number of accepted questions without an answer for longer than the bound, on connections that lasted.

    A question is left out if an answer without a known question began on its connection after the question was sent.
    """
    until, _ = of.observed.until(asked["conn"], asked["conv"], asked["index"])
    until = np.minimum(until, _kicked(kicks, asked["conv"], asked["t"]))
    silent = until - asked["t"] > of.patience
    silent &= ~overlaps(windows, asked["t"], asked["t"] + of.patience)
    asked = asked[silent]
    unnamed = rows[rows["question"] < 0]
    pairs = _pairs(unnamed["conn"], unnamed["conv"])
    order = np.lexsort((unnamed["start"], pairs))
    latest = {int(pair): int(start) for pair, start in zip(pairs[order], unnamed["start"][order], strict=True)}
    mine = zip(_pairs(asked["conn"], asked["conv"]).tolist(), asked["t"].tolist(), strict=True)
    return sum(latest.get(pair, -1) < sent for pair, sent in mine)
