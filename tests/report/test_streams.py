"""Streamed answers measured: literal histories with one reason each, and random ones against a slow oracle."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from oracle_streams import streams_by_hand
from seeds import blocks

from earwitness.checks.engine.fault_windows import FaultLog
from earwitness.checks.history.record import AGENT, FOREIGN, RECORD, Flag, Kind, Phase, empty
from earwitness.harness.report.recorded import Recorded
from earwitness.harness.report.streams import CLOSED, SHORT, Streamed, _events, streamed

MS, S = 1_000_000, 1_000_000_000
STARTED, THINKING, TOOL, TOOL_END, CHUNK, COMPLETED, ERROR = range(1, 8)
Row = Mapping[str, int]
ALICE, BOB = 1, 2
EVENTS = (0, STARTED, STARTED, THINKING, CHUNK, CHUNK, CHUNK, CHUNK, COMPLETED, ERROR)


def records(rows: Sequence[Row]) -> np.ndarray:
    found = empty(len(rows))
    for at, row in enumerate(rows):
        for key, value in row.items():
            found[key][at] = value
    return found


class Told:
    """History of one journal; each call adds a record, at a time in milliseconds."""

    def __init__(self) -> None:
        self.rows: list[Row] = []

    def add(self, kind: Kind, ms: float, **slots: int) -> Told:
        self.rows.append({"kind": int(kind), "t": int(ms * MS), **slots})
        return self

    def event(self, ms: float, event: int, piece: int = 0, *, who: int = ALICE, run: int = 0, **slots: int) -> Told:
        size = 5 if event == CHUNK else 0
        place = {"client": who, "conn": who, "conv": 0, "author": FOREIGN + run, "aux": 77 + run, "counter": piece}
        return self.add(Kind.RUN, ms, **{**place, "attempt": event, "size": size, **slots})

    def pieces(self, *at_ms: float, **slots: int) -> Told:
        for number, ms in enumerate(at_ms):
            self.event(ms, CHUNK, number, **slots)
        return self

    def answer(self, who: int = ALICE, run: int = 0, end: int | None = COMPLETED, **slots: int) -> Told:
        """Started at 100 ms, two pieces at 200 and 300 ms, the end at 400 ms."""
        self.event(100, STARTED, who=who, run=run).pieces(200, 300, who=who, run=run)
        return self.event(400, end, who=who, run=run, **slots) if end else self

    def over(self, ms: float) -> Told:
        return self.add(Kind.PHASE, ms, counter=Phase.DRAINED)

    def found(self, stall_s: float = 10.0, lag_ms: float = 0.0) -> Streamed:
        return measured([self.rows], [lag_ms], stall_s)


def measured(journals: Sequence[Sequence[Row]], lags_ms: Sequence[float], stall_s: float) -> Streamed:
    return with_gaps(journals, lags_ms, stall_s)[0]


def with_gaps(
    journals: Sequence[Sequence[Row]], lags_ms: Sequence[float] = (), stall_s: float = 10.0
) -> tuple[Streamed, list[int]]:
    """The streams, and the gaps between their tokens in ns, in ascending order."""
    log, views, gaps = FaultLog(), [records(rows) for rows in journals], []
    for number, view in enumerate(views):
        log.add(number, view)
    footers = [{"lag_ms": {"max": lag}} if lag else {} for lag in lags_ms]
    seen = streamed(
        Recorded(views), footers, log.windows(), stall_s, gaps=lambda took, at: gaps.extend(took.tolist())
    )  # fmt: skip
    return seen, sorted(gaps)


def shares(seen: Streamed) -> dict[str, tuple[int, int]]:
    return {what: seen.share(what) for what in ("failed", "broken", "stalled", "cut", "differing")}


def test_a_good_answer() -> None:
    """Finished, with its times: one gap, two tokens in 100 ms, 190 ms from the question to the first token."""
    told = Told().add(Kind.INVOKE, 10, client=ALICE, conn=1, conv=0, author=ALICE, counter=4, flags=int(Flag.OWN))
    told.add(Kind.OK, 20, author=ALICE, counter=4).answer().over(500)
    for row in told.rows:
        if row["kind"] == Kind.RUN:
            row["seq"] = 4  # type: ignore[index]
    seen, gaps = with_gaps([told.rows])
    assert gaps == [100 * MS]
    assert seen.tokens_per_s.tolist() == [pytest.approx(10.0)]
    assert (seen.first_ns.tolist(), seen.never) == ([190 * MS], 0)
    counts = seen.counts()
    assert (counts["streams"], counts["judged"], counts["finished"], counts["tokens"]) == (1, 1, 1, 2)
    assert {bad for bad, _ in shares(seen).values()} == {0}


def test_a_piece_without_text_is_no_first_token() -> None:
    """The first event with content counts; where the history holds no sizes at all, each piece counts."""
    told = Told().add(Kind.INVOKE, 0, client=ALICE, conn=1, conv=0, author=ALICE, counter=1)
    told.event(50, STARTED, seq=1).event(100, CHUNK, 0, size=0, seq=1).event(300, CHUNK, 1, seq=1)
    assert told.over(400).found().first_ns.tolist() == [300 * MS]
    for row in told.rows:
        row["size"] = 0  # type: ignore[index]
    assert told.found().first_ns.tolist() == [100 * MS]


def test_an_error_in_the_stream_is_an_error() -> None:
    assert shares(Told().answer(end=ERROR).over(9000).found())["failed"] == (1, 1)


def test_no_end_until_the_bound_has_passed_is_broken_off() -> None:
    """The connection stays open, and nothing comes for longer than the bound."""
    assert shares(Told().answer(end=None).over(10_400).found())["broken"] == (1, 1)


@pytest.mark.parametrize(
    ("kind", "slots"),
    [
        (Kind.PHASE, {"counter": Phase.DRAINED}),
        (Kind.DISCONNECT, {"conn": 1, "flags": int(Flag.OWN), "counter": 1000}),
        (Kind.LEAVE, {"conn": 1, "conv": 0}),
        (Kind.KICK, {"client": 9, "conv": 0}),
        (Kind.PROBE, {}),
    ],
    ids=["drained", "closed by the tester", "left", "membership lost", "end of the record"],
)
def test_what_the_tester_cuts_short_is_not_broken_off(kind: Kind, slots: dict[str, int]) -> None:
    """Observation ends before the bound has passed: nothing is known, and nobody is blamed."""
    told = Told().answer(end=None).add(kind, 5_000, **slots)
    if kind not in (Kind.PHASE, Kind.PROBE):
        told.over(90_000)
    seen = told.found()
    assert seen.rows["status"].tolist() == [SHORT]
    assert (shares(seen)["broken"], seen.counts()["cut_short"]) == ((0, 0), 1)


def test_a_late_load_generator_makes_no_stall() -> None:
    """Its longest lag is added to the bound: of the silence, so much may be its own."""
    told = Told().answer(end=None).event(11_000, COMPLETED, 2).over(12_000)
    assert shares(told.found())["stalled"] == (1, 1)
    assert shares(told.found(lag_ms=900))["stalled"] == (0, 1)
    assert shares(told.found(stall_s=11))["stalled"] == (0, 1)
    broken = Told().answer(end=None).over(10_400)
    assert shares(broken.found(lag_ms=900))["broken"] == (0, 0)


@pytest.mark.parametrize("lag", ["x", None, -5, float("nan"), float("inf"), 10**400, [1]])
def test_bounds_that_no_file_should_state(lag: Any) -> None:
    """A contract or a footer may say anything: an endless bound breaks nothing off, an odd lag is none."""
    told = Told().answer(end=None).event(11_000, COMPLETED, 2).over(12_000)
    assert shares(told.found(stall_s=1e300, lag_ms=lag))["stalled"] == (0, 1)
    assert shares(told.found(lag_ms=lag))["stalled"] == (1, 1)


@pytest.mark.parametrize(
    ("code", "broken"), [(1006, (1, 1)), (1000, (1, 1)), (1012, (1, 1)), (1008, (0, 0)), (4401, (0, 0))]
)
def test_a_lost_connection_breaks_the_answer_off(code: int, broken: tuple[int, int]) -> None:
    """Not so a closing for which the platform states a reason, such as an expired token."""
    seen = Told().answer(end=None).add(Kind.DISCONNECT, 500, conn=1, counter=code).over(900).found()
    assert shares(seen)["broken"] == broken
    assert seen.counts()["closed"] == (not broken[0])
    assert not broken[1] or CLOSED not in seen.rows["status"]


def test_an_answer_that_continues_on_the_next_connection_is_not_broken_off() -> None:
    told = Told().answer(end=None).add(Kind.DISCONNECT, 500, conn=1, counter=1006)
    told.event(600, CHUNK, 2, conn=8).event(700, COMPLETED, 3, conn=8).over(900)
    seen = told.found()
    assert (shares(seen)["broken"], seen.counts()["finished"]) == ((0, 1), 1)


def test_an_answer_that_begins_anew_is_broken_off() -> None:
    """A second start without an end before; after an end it is another answer."""
    assert shares(Told().answer(end=None).answer().over(900).found())["broken"] == (1, 2)
    assert shares(Told().answer().answer().over(900).found())["broken"] == (0, 2)


def test_what_follows_an_end_is_left_out() -> None:
    """A second end, or pieces behind it, are I24's."""
    seen, gaps = with_gaps([Told().answer().event(450, CHUNK, 2).event(500, ERROR).over(900).rows])
    assert (len(gaps), shares(seen)["failed"]) == (1, (0, 1))


def test_what_happens_during_a_fault_counts_on_neither_side() -> None:
    told = Told().add(Kind.FAULT, 350, author=FOREIGN, flags=int(Flag.OWN)).answer(end=ERROR)
    seen = told.add(Kind.FAULT, 600, author=FOREIGN).over(900).found()
    assert (shares(seen)["failed"], seen.counts()["during_faults"]) == ((0, 0), 1)


def test_a_fault_long_after_an_answer_broke_off_excuses_nothing() -> None:
    told = Told().answer(end=None).add(Kind.FAULT, 50_000, author=FOREIGN, flags=int(Flag.OWN)).over(90_000)
    assert shares(told.found())["broken"] == (1, 1)


def test_cut_for_one_of_several_listeners() -> None:
    """The end without the last piece, or no end at all, while another device got them."""
    early = Told().event(100, STARTED, who=BOB).pieces(200, who=BOB).event(400, COMPLETED, 1, who=BOB)
    none = Told().event(100, STARTED, who=BOB).pieces(200, who=BOB)
    for other, bad in ((Told().answer(BOB), 0), (early, 1), (none, 1)):
        whole = Told().answer(ALICE)
        rows = [*whole.rows, *other.rows]
        rows.append({"kind": int(Kind.PHASE), "t": 20 * S, "counter": int(Phase.DRAINED)})
        assert shares(measured([rows], [0], 10.0))["cut"] == (bad, 2)
        far = [whole.over(900).rows, [*other.rows, rows[-1]]]
        assert shares(measured(far, [0, 0], 10.0))["cut"] == (bad, 2), "in two journals as in one"
    alone = Told().answer(end=None).over(20_000).found()
    assert shares(alone)["cut"] == (0, 0)


def test_stored_equals_streamed() -> None:
    """Only where the conversation was read to its end, and has answers of the agent at all."""

    def seen(*stored: int, read: bool = True, flags: int = 0) -> tuple[int, int]:
        told = Told().answer(digest=5, flags=flags).over(900)
        for digest in stored:
            told.add(Kind.STORED, 950, conv=0, author=AGENT, digest=digest)
        if read:
            told.add(Kind.READ_END, 960, conv=0, counter=1)
        return shares(told.found())["differing"]

    assert seen(5) == (0, 1)
    assert seen(6) == (1, 1)
    assert seen(6, 5) == (0, 1)
    assert seen() == seen(6, read=False) == (0, 0)
    assert seen(read=False, flags=int(Flag.CORRUPT)) == (1, 1)


def questioned(wait_ms: float = 20_000, **changed: int) -> Told:
    """A question that is answered, and a second one at 1 s whose answer does not come."""
    told = Told()
    for counter, ms in ((1, 0), (2, 1000)):
        place = {"client": ALICE, "conn": 1, "conv": 0, "author": ALICE, "counter": counter, "flags": int(Flag.OWN)}
        told.add(Kind.INVOKE, ms, **{**place, **(changed if counter == 2 else {})})
        told.add(Kind.OK, ms + 1, author=ALICE, counter=counter)
        if counter == 1:
            told.event(100, STARTED, seq=1).pieces(200, seq=1).event(400, COMPLETED, 1, seq=1)
    return told.over(wait_ms)


def test_a_question_without_an_answer_took_longer_than_any() -> None:
    assert (questioned().found().never, questioned().found().first_ns.tolist()) == (1, [200 * MS])
    assert questioned(9_000).found().never == 0, "the run was over before the bound had passed"
    assert questioned(flags=0).found().never == 0, "an ordinary message"
    refused = questioned()
    refused.rows = [row for row in refused.rows if (row["kind"], row.get("counter")) != (Kind.OK, 2)]
    assert refused.found().never == 0, "not accepted"
    unnamed = questioned()
    unnamed.rows.insert(-1, {**Told().event(1500, STARTED, run=3).rows[0]})
    assert unnamed.found().never == 0, "an answer of which it is not known what it answers may be this one's"


def test_a_long_run_is_sorted_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connection by connection, with the same result; a part without sizes is no history without sizes."""
    told = Told()
    for who in (1, 2, 3):
        told.answer(who, run=who)
    told.event(450, STARTED, who=4, run=9).event(460, CHUNK, 0, who=4, run=9, size=0).over(20_000)
    whole, gaps = with_gaps([told.rows])
    monkeypatch.setattr(_events, "__defaults__", (4,))
    parts = told.found()
    assert len(list(_events(records(told.rows)))) > 2
    assert (parts.counts(), shares(parts)) == (whole.counts(), shares(whole))
    assert whole.counts()["tokens"] == 6
    assert with_gaps([told.rows])[1] == gaps


def test_without_any_answer_nothing_is_measured() -> None:
    seen, gaps = with_gaps([Told().over(5).rows])
    assert (seen.counts(), gaps, len(seen.first_ns), seen.never) == ({}, [], 0, 0)
    assert with_gaps([])[0].counts() == {}


def story(seed: int) -> list[list[Row]]:
    """Random journals of devices that ask, listen, leave and lose connections; nothing in them need make sense."""
    rng = random.Random(seed)
    journals: list[list[Row]] = []
    for journal in range(rng.choice((1, 1, 2, 3))):
        rows: list[dict[str, int]] = []
        t, counters = rng.randrange(5) * S, dict.fromkeys(range(4), 0)
        for _ in range(rng.randrange(1, 90)):
            t += rng.choice((0, 1, 20, 300, 300, 2000, 11_000 if rng.random() < 0.3 else 5)) * MS
            client = 4 * journal + rng.randrange(3)
            place = {"t": t, "client": client, "conn": client * 3 + rng.randrange(1, 4), "conv": rng.randrange(2)}
            rows.append(_row(rng, place, counters, journal))
        if rng.random() < 0.7:
            rows.append({"kind": int(Kind.PHASE), "counter": int(Phase.DRAINED), "t": t + rng.choice((0, 1, 12)) * S})
        journals.append([*rows])
    return journals


def _row(rng: random.Random, place: dict[str, int], counters: dict[int, int], journal: int) -> dict[str, int]:
    draw, conv = rng.random(), place["conv"]
    if draw < 0.7:
        run = rng.randrange(3)
        question = rng.choice((-1, 1, 2, 3)) if rng.random() < 0.6 else -1
        return {
            **place, "kind": int(Kind.RUN), "author": FOREIGN + run + journal, "attempt": rng.choice(EVENTS),
            "aux": rng.choice((-1, 70 + run)), "counter": rng.randrange(5), "size": rng.choice((0, 3)), "seq": question,
            "digest": rng.choice((0, 8, 9)), "flags": rng.choice((0, 0, 0, 1)),
        }  # fmt: skip
    if draw < 0.78:
        counters[place["client"] % 4] += 1
        asked = {"author": place["client"], "counter": counters[place["client"] % 4], "attempt": rng.choice((1, 1, 2))}
        return {**place, **asked, "kind": int(Kind.INVOKE), "flags": rng.choice((0, int(Flag.OWN)))}
    if draw < 0.84:
        return {"t": place["t"], "kind": int(Kind.OK), "author": place["client"], "counter": rng.randrange(1, 4)}
    if draw < 0.88:
        code = rng.choice((1000, 1006, 1008, 4401))
        return {**place, "kind": int(Kind.DISCONNECT), "flags": rng.choice((0, int(Flag.OWN))), "counter": code}
    if draw < 0.91:
        return {**place, "kind": int(rng.choice((Kind.LEAVE, Kind.LEAVE, Kind.KICK)))}
    if draw < 0.95:
        return {"t": place["t"], "kind": int(Kind.STORED), "conv": conv, "author": AGENT, "digest": rng.choice((8, 9))}
    if draw < 0.975:
        return {"t": place["t"], "kind": int(Kind.READ_END), "conv": conv}
    return {"t": place["t"], "kind": int(Kind.FAULT), "author": FOREIGN, "flags": rng.choice((0, int(Flag.OWN)))}


def _as_dicts(rows: Sequence[Row]) -> list[dict[str, int]]:
    names: Any = RECORD.names
    return [dict(zip(names, map(int, row), strict=True)) for row in records(rows).tolist()]


@pytest.mark.parametrize("block", blocks(6, 2))
def test_as_the_slow_oracle_finds(block: int) -> None:
    """Times, shares and counts of many random histories; the file counts what they contained, so that none is idle."""
    seen_at_all: set[str] = set()
    for seed in range(100 * block, 100 * block + 100):
        journals = story(seed)
        lags = [float(1200 * (seed % 3 == 0)) for _ in journals]
        log = FaultLog()
        for number, rows in enumerate(journals):
            log.add(number, records(rows))
        wanted = streams_by_hand(
            [_as_dicts(rows) for rows in journals], lags, [(w.start, w.end) for w in log.windows()], 10.0
        )
        seen, gaps = with_gaps(journals, lags)
        assert gaps == wanted.gaps, seed
        assert sorted(seen.tokens_per_s.tolist()) == pytest.approx(wanted.rates), seed
        assert shares(seen) == wanted.shares, seed
        assert (sorted(seen.first_ns.tolist()), seen.never) == (wanted.first, wanted.never), seed
        counts = {"cut_short": 0, "closed": 0, "during_faults": 0, **seen.counts()}
        found = counts["cut_short"], counts["closed"], counts["during_faults"]
        assert found == (wanted.cut_short, wanted.closed, wanted.disturbed), seed
        seen_at_all |= {what for what, (bad, _) in wanted.shares.items() if bad}
        seen_at_all |= {what for what, value in vars(wanted).items() if value and what != "shares"}
    assert seen_at_all == {
        *("failed", "broken", "stalled", "cut", "differing", "first", "gaps", "rates"),
        *("cut_short", "closed", "disturbed", "never"),
    }
