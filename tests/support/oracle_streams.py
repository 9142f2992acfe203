"""Oracle of streamed answers, simple instead of fast: one event after the other, dictionaries, no arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from earwitness.checks.history.record import AGENT, NOBODY, Flag, Kind, Phase

Row = Mapping[str, int]
STARTED, CHUNK, COMPLETED, ERROR = 1, 5, 6, 7


@dataclass(eq=False)
class Stream:
    journal: int
    client: int
    conn: int
    conv: int
    run: int
    begun: Row
    events: list[Row] = field(default_factory=list)
    status: str = ""
    disturbed: bool = False

    @property
    def name(self) -> Any:
        names = [row["aux"] for row in self.events if row["aux"] >= 0]
        return max(names) if names else ("journal", self.journal, self.run)

    @property
    def ended(self) -> int:
        last = self.events[-1]["attempt"]
        return last if last in (COMPLETED, ERROR) else 0

    @property
    def question(self) -> int:
        return max(row["seq"] for row in self.events)

    @property
    def reached(self) -> int:
        return max([row["counter"] + 1 for row in self.events if row["attempt"] == CHUNK], default=0)


@dataclass
class Found:
    """Results of the oracle: sorted samples (ns, tokens a second), (bad, all) for each share, and counts."""

    first: list[int]
    gaps: list[int]
    rates: list[float]
    shares: dict[str, tuple[int, int]]
    cut_short: int
    closed: int
    disturbed: int
    never: int


def streams_by_hand(
    journals: Sequence[Sequence[Row]], lags_ms: Sequence[float], windows: Sequence[tuple[int, int]], stall_s: float
) -> Found:
    """Return what `harness.report.streams.streamed` must find in these journals.

    `journals`: rows of each; `lags_ms`: longest lag of each load process; `windows`: faults (begin, end) in ns.
    """
    streams: list[Stream] = []
    patience = [int(stall_s * 1e9) + int(lag * 1e6) for lag in lags_ms]
    kicks = [row for rows in journals for row in rows if row["kind"] == Kind.KICK]
    tokens = [_is_token(rows) for rows in journals]
    for journal, rows in enumerate(journals):
        mine = _split(journal, rows)
        for stream in mine:
            _judge(stream, mine, rows, kicks, patience[journal])
        streams += mine
    for stream in streams:
        if stream.status == "broken" and any(
            (o.journal, o.client, o.name, o.conv) == (stream.journal, stream.client, stream.name, stream.conv)
            and o.conn != stream.conn and o.events[0]["t"] >= stream.events[0]["t"] and _next(stream, o, streams)
            for o in streams
        ):  # fmt: skip
            stream.status = "short"
        end = stream.events[-1]["t"]
        if not stream.ended:
            until, _ = _until(stream.conn, stream.conv, stream.begun, journals[stream.journal], kicks)
            end = min(max(until, end), end + patience[stream.journal])
        stream.disturbed = any(a <= end and b >= stream.events[0]["t"] for a, b in windows)
    judged = [s for s in streams if s.status in ("finished", "failed", "broken") and not s.disturbed]
    gaps, rates = [], []
    for stream in streams:
        times = [row["t"] for row in stream.events if tokens[stream.journal](row)]
        gaps += [b - a for a, b in pairwise(times)]
        if len(times) > 1 and times[-1] > times[0]:
            rates.append((len(times) - 1) / ((times[-1] - times[0]) / 1e9))
    first, never = _first(journals, streams, tokens, patience, windows, kicks)
    shares = {
        "failed": (sum(s.status == "failed" for s in judged), len(judged)),
        "broken": (sum(s.status == "broken" for s in judged), len(judged)),
        "stalled": (sum(_silence(s) > patience[s.journal] for s in judged), len(judged)),
        "cut": _cut(streams, judged),
        "differing": _differing(journals, streams),
    }
    return Found(
        sorted(first), sorted(gaps), sorted(rates), shares,
        sum(s.status == "short" and not s.disturbed for s in streams),
        sum(s.status == "closed" and not s.disturbed for s in streams),
        sum(s.disturbed for s in streams), never,
    )  # fmt: skip


def _next(stream: Stream, other: Stream, streams: Sequence[Stream]) -> bool:
    """Return whether `other` is the stream of the same answer at the same device that comes next after `stream`."""
    same = [s for s in streams if (s.journal, s.client, s.name, s.conv)
            == (stream.journal, stream.client, stream.name, stream.conv)]  # fmt: skip
    same.sort(key=lambda s: (s.events[0]["t"], s.conn, s.run, s.begun["index"]))
    return same.index(other) == same.index(stream) + 1


def _is_token(rows: Sequence[Row]) -> Any:
    sized = any(row["kind"] == Kind.RUN and row["attempt"] == CHUNK and row["size"] for row in rows)
    return lambda row: row["attempt"] == CHUNK and (row["size"] > 0 or not sized)


def _split(journal: int, rows: Sequence[Row]) -> list[Stream]:
    found: list[Stream] = []
    present: dict[tuple[int, int], Stream] = {}
    for row in rows:
        if row["kind"] != Kind.RUN or row["conn"] == 0:
            continue
        key = row["conn"], row["author"]
        if key not in present or row["attempt"] == STARTED:
            present[key] = Stream(journal, row["client"], row["conn"], row["conv"], row["author"], row)
            found.append(present[key])
        if not present[key].events or not present[key].ended:
            present[key].events.append(row)
    return found


def _until(conn: int, conv: int, since: Row, rows: Sequence[Row], kicks: Sequence[Row]) -> tuple[int, int]:
    """Return (time in ns until which a device is observed in a conversation, close code).

    The code is -1 unless the platform ended the connection.
    """
    drained = [row["t"] for row in rows if row["kind"] == Kind.PHASE and row["counter"] == Phase.DRAINED]
    until, code = (drained[0] if drained else max(row["t"] for row in rows)), -1
    for row in rows:
        if row["kind"] == Kind.DISCONNECT and row["conn"] == conn:
            if row["t"] <= until:
                until, code = row["t"], -1 if row["flags"] & Flag.OWN else row["counter"]
            break
    for row in rows:
        left = row["kind"] == Kind.LEAVE and (row["conn"], row["conv"]) == (conn, conv)
        if left and row["index"] > since["index"]:
            if row["t"] < until:
                until, code = row["t"], -1
            break
    for row in kicks:
        if row["conv"] == conv and since["t"] <= row["t"] < until:
            until, code = row["t"], -1
    return until, code


def _judge(stream: Stream, mine: Sequence[Stream], rows: Sequence[Row], kicks: Sequence[Row], patience: int) -> None:
    until, code = _until(stream.conn, stream.conv, stream.begun, rows, kicks)
    again = any((s.conn, s.run) == (stream.conn, stream.run) and s.begun["index"] > stream.begun["index"] for s in mine)
    if stream.ended:
        stream.status = "finished" if stream.ended == COMPLETED else "failed"
    elif again or until - stream.events[-1]["t"] > patience:
        stream.status = "broken"
    elif code < 0:
        stream.status = "short"
    else:
        stream.status = "closed" if code == 1008 or code >= 4000 else "broken"


def _silence(stream: Stream) -> int:
    times = [row["t"] for row in stream.events]
    return max([b - a for a, b in pairwise(times)], default=0)


def _cut(streams: Sequence[Stream], judged: Sequence[Stream]) -> tuple[int, int]:
    bad = among = 0
    for stream in judged:
        same = [s for s in streams if (s.name, s.conv) == (stream.name, stream.conv)]
        reached = [s.reached for s in same if s.status == "finished"]
        if stream.status == "failed" or not reached or len({s.client for s in same}) == 1:
            continue
        among += 1
        lacking = stream.status == "finished" and 0 < stream.reached < max(reached)
        bad += lacking or stream.status == "broken"
    return bad, among


def _differing(journals: Sequence[Sequence[Row]], streams: Sequence[Stream]) -> tuple[int, int]:
    every = [row for rows in journals for row in rows]
    read = {row["conv"] for row in every if row["kind"] == Kind.READ_END}
    texts = {
        (row["conv"], row["digest"])
        for row in every
        if row["kind"] == Kind.STORED and row["author"] == AGENT and row["digest"]
    }
    kept = read & {conv for conv, _ in texts}
    bad = among = 0
    for stream in streams:
        if stream.status != "finished" or stream.events[0]["attempt"] != STARTED:
            continue
        digest, restated = stream.events[-1]["digest"], bool(stream.events[-1]["flags"] & Flag.CORRUPT)
        known = digest > 0 and stream.conv in kept and stream.conv != NOBODY
        differs = restated or (known and (stream.conv, digest) not in texts)
        among += known or differs
        bad += differs
    return bad, among


def _first(
    journals: Sequence[Sequence[Row]], streams: Sequence[Stream], tokens: Sequence[Any], patience: Sequence[int],
    windows: Sequence[tuple[int, int]], kicks: Sequence[Row],
) -> tuple[list[int], int]:  # fmt: skip
    if not any(s.question >= 0 for s in streams):
        return [], 0
    took, never = [], 0
    for journal, rows in enumerate(journals):
        mine = [s for s in streams if s.journal == journal]
        accepted = {(row["author"], row["counter"]) for row in rows if row["kind"] == Kind.OK}
        for asked in rows:
            if asked["kind"] != Kind.INVOKE or asked["attempt"] > 1:
                continue
            answers = [s for s in mine if (s.client, s.question) == (asked["author"], asked["counter"])]
            shown = [row["t"] for s in answers for row in s.events if tokens[journal](row)]
            if shown:
                took.append(min(shown) - asked["t"])
            elif answers:
                never += all(s.status == "broken" and not s.disturbed for s in answers)
            elif asked["flags"] & Flag.OWN and (asked["author"], asked["counter"]) in accepted:
                until, _ = _until(asked["conn"], asked["conv"], asked, rows, kicks)
                limit = asked["t"] + patience[journal]
                other = [s for s in mine if s.question < 0 and (s.conn, s.conv) == (asked["conn"], asked["conv"])]
                later = any(s.events[0]["t"] >= asked["t"] for s in other)
                never += until > limit and not later and not any(a <= limit and b >= asked["t"] for a, b in windows)
    return took, never
