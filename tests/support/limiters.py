"""Small simulation of a rate-limited platform: people send requests over a network that delays and loses them.

`simulate(seed, limiter)` returns the history as the harness would record it. Ann and Bob send too many requests (Bob
under false addresses). Cleo, whose requests are never lost, waits as long as each refusal states. The others send few.
Times are ns.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from earwitness.checks.contract import Contract
from earwitness.checks.engine.fold import JournalInfo
from earwitness.checks.history.record import NOBODY, NONE, SPOOFED, Flag, Kind, Place, Way, empty
from earwitness.checks.judge import Batch, judge
from earwitness.checks.roster import Roster
from earwitness.checks.verdict import Verdict

S = 1_000_000_000
RATE, BURST = 10.0, 40
ABUSER, DISGUISED, PATIENT = 0, 1, 2
USERS = 6
LENGTH_S = 12.0


class Answer(NamedTuple):
    granted: bool
    left: int
    wait_s: float


class Asked(NamedTuple):
    user: int
    address: str
    token: int
    process: int


@dataclass
class Bucket:
    """Correct token bucket. `key`: function from a request to the owner of the budget that it is charged to.

    Faulty limiters differ from this class in one point.
    """

    rate: float = RATE
    burst: float = BURST
    key: Callable[[Asked], object] = lambda asked: asked.user
    state: dict[object, tuple[float, float]] = field(default_factory=dict)

    def take(self, asked: Asked, now_s: float) -> Answer:
        tokens, at = self.state.get(self.key(asked), (self.burst, now_s))
        tokens = min(self.burst, tokens + (now_s - at) * self.rate)
        granted = tokens >= 1
        self.state[self.key(asked)] = (tokens - granted, now_s)
        return Answer(granted, int(tokens - granted), 0.0 if granted else (1 - tokens) / self.rate)


@dataclass
class FixedWindow(Bucket):
    """Faulty limiter: grants in each window of the wall clock what a bucket gets in the time that fills it."""

    def take(self, asked: Asked, now_s: float) -> Answer:
        window_s = self.burst / self.rate
        window = math.floor((now_s + 1.7) / window_s)
        used, _ = self.state.get((asked.user, window), (0.0, 0.0))
        granted = used < self.burst
        self.state[asked.user, window] = (used + granted, 0.0)
        return Answer(granted, int(self.burst - used - granted), 0.1)


@dataclass
class Constant(Bucket):
    """Faulty limiter: every refusal states the same wait."""

    wait_s: float = 60.0

    def take(self, asked: Asked, now_s: float) -> Answer:
        return super().take(asked, now_s)._replace(wait_s=self.wait_s)


HEALTHY = Bucket
BROKEN: dict[str, Callable[[], Bucket]] = {
    "per process": lambda: Bucket(key=lambda a: (a.user, a.process)),
    "fixed window": FixedWindow,
    "15 % too much": lambda: Bucket(rate=1.15 * RATE),
    "off": lambda: Bucket(rate=1e6, burst=1e6),
    "by address": lambda: Bucket(key=lambda a: (a.user, a.address)),
    "by token": lambda: Bucket(key=lambda a: (a.user, a.token)),
    "neighbour's": lambda: Bucket(key=lambda a: min(a.user, 4) and 4),
    "too little": lambda: Bucket(burst=0.5 * BURST),
    "constant": Constant,
}


@dataclass
class Network:
    """Network: mean delay in each direction in s, and the probability that a request or an answer is lost."""

    mean_s: float = 0.02
    lost: float = 0.01


@dataclass
class Simulation:
    seed: int
    limiter: Bucket
    network: Network
    by_message: float = 0.3

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.rows: list[dict[str, int]] = []
        self.events: list[tuple[float, int, Callable[[float], None]]] = []
        self.counters: defaultdict[int, int] = defaultdict(int)

    def at(self, when_s: float, act: Callable[[float], None]) -> None:
        heapq.heappush(self.events, (when_s, len(self.events) + self.rng.randrange(1 << 30), act))

    def delay(self) -> float:
        return self.rng.expovariate(1 / self.network.mean_s)

    def run(self) -> np.ndarray:
        for user in range(USERS):
            self.at(self.rng.uniform(0, 0.2), lambda now, user=user: self.ask(user, now, token=1, then=None))
            pace = 60.0 if user in (ABUSER, DISGUISED) else 3.0
            self.at(self.rng.uniform(0.3, 1), lambda now, user=user, pace=pace: self.go_on(user, pace, now))
        for _ in range(BURST):
            self.at(1.0, lambda now: self.ask(PATIENT, now, token=1, then=lambda answer, now: None))
        self.at(2.0, lambda now: self.ask(PATIENT, now, token=1, then=self.patience))
        while self.events:
            now, _, act = heapq.heappop(self.events)
            act(now)
        self.rows.sort(key=lambda row: row["t"])
        records = empty(len(self.rows))
        for record, row in zip(records, self.rows, strict=True):
            for name, value in row.items():
                record[name] = value
        return records

    def go_on(self, user: int, pace: float, now: float) -> None:
        if now > LENGTH_S or user == PATIENT:
            return
        disguised = user == DISGUISED and self.rng.random() < 0.5
        address = f"10.0.0.{self.rng.randrange(200)}" if disguised and self.rng.random() < 0.5 else ""
        token = 2 + self.rng.randrange(3) if disguised and not address else 1
        self.ask(user, now, token=token, address=address, then=None)
        self.at(now + self.rng.expovariate(pace), lambda now: self.go_on(user, pace, now))

    def patience(self, answer: Answer, now: float) -> None:
        """Send Cleo's next request: at once after an accepted one, after the stated wait after a refusal."""
        if now < LENGTH_S:
            wait_s = 0.0 if answer.granted else max(1.0, math.ceil(answer.wait_s)) + 0.3
            self.at(now + wait_s, lambda now: self.ask(PATIENT, now, token=1, then=self.patience))

    def ask(
        self, user: int, now: float, *, token: int, then: Callable[[Answer, float], None] | None, address: str = ""
    ) -> None:
        asked = Asked(user, address, token, self.rng.randrange(2))
        lost = self.rng.random() < self.network.lost and then is None
        if not lost or self.rng.random() < 0.5:
            self.at(now + self.delay(), lambda then_s: self.decide(asked, now, then_s, lost, then))
        else:
            self.record(asked, now, now + 1.0, None)

    def decide(
        self, asked: Asked, sent: float, now: float, lost: bool, then: Callable[[Answer, float], None] | None
    ) -> None:
        answer = self.limiter.take(asked, now)
        back = max(now, sent + 1.0) if lost else now + self.delay()
        self.record(asked, sent, back, None if lost else answer)
        if then is not None:
            self.at(back, lambda now: then(answer, now))

    def record(self, asked: Asked, sent: float, back: float, answer: Answer | None) -> None:
        plain = not asked.address and asked.token == 1
        start, end = int(sent * S), int(back * S)
        if plain and asked.user != PATIENT and self.rng.random() < self.by_message:
            return self.message(asked.user, start, end, answer)
        row = {
            "kind": int(Kind.REQUEST), "t": end, "client": asked.user, "attempt": int(Place.BACKEND), "seq": start,
            "author": asked.user, "counter": asked.token,
            "proc": int(Way.HEADER) | (SPOOFED if asked.address else 0),
            "size": 0 if answer is None else 200 if answer.granted else 429,
            "flags": 0 if answer is None else int(Flag.ACCEPTED if answer.granted else Flag.REFUSED),
            "aux": NONE if answer is None or answer.granted else max(1, math.ceil(answer.wait_s)) * 1000,
            "digest": NOBODY if answer is None else answer.left,
        }  # fmt: skip
        self.rows.append(row)

    def message(self, user: int, start: int, end: int, answer: Answer | None) -> None:
        self.counters[user] += 1
        names = {"client": user, "author": user, "counter": self.counters[user], "conv": 0, "attempt": 1}
        names |= {"conn": user + 1}
        self.rows.append({**names, "kind": int(Kind.INVOKE), "t": start, "size": 9})
        if answer is None:
            self.rows.append({**names, "kind": int(Kind.INFO), "t": end})
        elif answer.granted:
            self.rows.append({**names, "kind": int(Kind.OK), "t": end})
        else:
            wait_ms = max(1, math.ceil(answer.wait_s * 1000))
            self.rows.append({**names, "kind": int(Kind.FAIL), "t": end, "aux": 429, "size": wait_ms})


def simulate(seed: int, limiter: Bucket, network: Network | None = None, **options: float) -> np.ndarray:
    """Return the records of a simulated run, as one journal."""
    return Simulation(seed, limiter, network or Network(), **options).run()


ROSTER = Roster(user_of=tuple(range(USERS)), conversations=(tuple(range(USERS)),))


def verdicts(records: np.ndarray, checks: Any, **promises: object) -> dict[str, Verdict]:
    """Return check id → verdict; the contract's budget is RATE and BURST unless `promises` states another."""
    return verdicts_of([records], checks, **promises)


def verdicts_of(
    journals: Sequence[np.ndarray], checks: Any, *, backwards: bool = False, **promises: object
) -> dict[str, Verdict]:
    """Return check id → verdict, as `verdicts` does, for several journals; `backwards`: read the last journal first."""
    given = {"rate_per_s": RATE, "rate_burst": BURST, "retry_after": True, **promises}
    infos = [
        JournalInfo(name=str(n), records=len(r), footer={"records": len(r)}, torn=False, meta={"host": "a"})
        for n, r in enumerate(journals)
    ]
    batches = [Batch(number, records) for number, records in enumerate(journals)]
    read = reversed(batches) if backwards else batches
    return {v.id: v for v in judge(ROSTER, Contract.from_dict(given), read, infos, checks=checks)}
