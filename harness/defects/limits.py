"""Defects of the request budget.

Each defect also asks the healthy limiter for its decision. By comparing both, it can report when a request was admitted
beyond the budget, or refused within the budget.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from aiohttp import web

from earwitness.harness.defects.chance import Chance
from earwitness.harness.defects.declared import defect
from earwitness.harness.errors import SettingsError
from earwitness.harness.reference.auth.service import Auth
from earwitness.harness.reference.backend.app import Backend
from earwitness.harness.reference.limits import Decision, Limiter, Unlimited

FROM = " from "
WINDOW_S = 10.0
_COUNT = """
local answers = {}
for i, key in ipairs(KEYS) do
  local before = tonumber(redis.call('GET', key) or '0')
  local granted = math.max(0, math.min(tonumber(ARGV[2 + i]), tonumber(ARGV[1]) - before))
  redis.call('SET', key, before + granted, 'EX', ARGV[2])
  answers[2 * i - 1] = granted
  answers[2 * i] = before + granted
end
return answers
"""


class InPlace:
    """Base class of the defects that replace a service's limiter. Subclasses implement `take_many`.

    The constructor raises SettingsError if the service has no budget.
    """

    def __init__(self, service: Auth | Backend, chance: Chance) -> None:
        """Replace `take_many` of the service's limiter, and of the backend's committer, which has a copy of it."""
        limiter = service.guard.budget if isinstance(service, Auth) else service.limiter
        if limiter is None or isinstance(limiter, Unlimited):
            raise SettingsError("--defect", [f"{chance.name} needs a budget: give {service.name} a rate_per_s"])
        self.chance, self.limiter, self.redis = chance, limiter, service.redis
        self.right = limiter.take_many
        vars(limiter)["take_many"] = self.take_many
        if isinstance(service, Backend):
            service.committer.steps.take_many = self.take_many

    async def take_many(self, wanted: Mapping[str, int]) -> dict[str, Decision]:
        """Implement `Limiter.take_many`.

        Subclasses return the decisions for `wanted` (subject -> number of requests).
        """
        raise NotImplementedError

    def other(self, prefix: str) -> Limiter:
        """Return a limiter with the same rate and burst, and separate buckets. `prefix`: a part of their Redis keys."""
        return Limiter(self.redis, self.limiter.rate_per_s, self.limiter.burst, prefix=f"rate:{prefix}:")


class Mistaken(InPlace):
    """Base class of limiters whose decisions come from `wrong`, which subclasses implement.

    `right` returns the decisions of the healthy limiter.
    """

    async def take_many(self, wanted: Mapping[str, int]) -> dict[str, Decision]:
        """Implement `Limiter.take_many`: return the decisions of `wrong`.

        Calls `differs` for each decision that differs from that of the healthy limiter.
        """
        right = await self.right({self.owner(key): n for key, n in wanted.items()})
        decided = await self.wrong(wanted, right)
        for key, decision in decided.items():
            beyond = decision.allowed - right[self.owner(key)].allowed
            if beyond:
                self.differs(self.owner(key), beyond)
        return decided

    def owner(self, key: str) -> str:
        """Return the subject whose budget should have been charged for `key`."""
        return key

    async def wrong(self, wanted: Mapping[str, int], right: dict[str, Decision]) -> dict[str, Decision]:
        """Return the wrong decisions. Subclasses implement it.

        `wanted`: subject -> number of requests; `right`: right decisions.
        """
        raise NotImplementedError

    def differs(self, subject: str, beyond: int) -> None:
        """Write the firing of a decision by which `beyond` requests more were admitted than the budget allows.

        A negative `beyond` is the count of requests within the budget that were refused; that is no firing. `take_many`
        calls this hook; subclasses may replace it.
        """
        if beyond > 0:
            self.chance.say(user=subject, beyond=beyond, manifest=True)


class Chosen(Mistaken):
    """Base class of limiters that decide wrongly for some users, always the same. Subclasses implement `otherwise`.

    Opportunity: one user. It fires, and the firing is manifest at once, whenever a chosen user is admitted beyond the
    budget.
    """

    def __init__(self, service: Auth | Backend, chance: Chance) -> None:
        """Start without decisions; `chance` decides once for each user."""
        super().__init__(service, chance)
        self._chosen: dict[str, bool] = {}

    async def wrong(self, wanted: Mapping[str, int], right: dict[str, Decision]) -> dict[str, Decision]:
        """Implement `Mistaken.wrong`: decide with `otherwise` for the chosen users."""
        for subject in wanted:
            if subject not in self._chosen:
                self._chosen[subject] = self.chance.fires()
        chosen = {subject: n for subject, n in wanted.items() if self._chosen[subject]}
        return {**right, **(await self.otherwise(chosen) if chosen else {})}

    async def otherwise(self, wanted: Mapping[str, int]) -> dict[str, Decision]:
        """Return the wrong decisions for the chosen users. Subclasses implement it."""
        raise NotImplementedError


@defect(
    "Z54",
    "limit-per-process",
    kinds=("auth", "backend"),
    breaks="With two connections I can send twice as much as I may.",
    opportunity="one person; it fires for each request of theirs beyond the budget",
    caught_by=("I36", "I38"),
    high=1.0,
    one=0.1,
    needs="people who use up their budget over several replicas",
    story="rate_limits",
)
class PerProcess(Chosen):
    """Defect that gives each process its own buckets, so a user of two replicas has two budgets.

    Opportunity: one user. It fires, and the firing is manifest at once, whenever a chosen user is admitted beyond the
    budget.
    """

    def __init__(self, service: Auth | Backend, chance: Chance) -> None:
        """Make the limiter for chosen users: its Redis keys contain the name of this process."""
        super().__init__(service, chance)
        self.otherwise = self.other(service.name).take_many  # type: ignore[method-assign]


@defect(
    "Z56",
    "fixed-window",
    kinds=("auth", "backend"),
    breaks="At the turn of the minute somebody floods us with twice of what is allowed.",
    opportunity="one person; it fires for each request of theirs beyond the budget",
    caught_by=("I36", "I38"),
    high=1.0,
    one=0.4,
    needs="people who use up their budget",
    story="rate_limits",
)
class FixedWindow(Chosen):
    """Defect that counts the budget in fixed windows of the clock, so a burst fits before and after each window's end.

    A window is as long as the budget needs to refill, but at most WINDOW_S seconds, so that a short run contains the
    end of one. Opportunity: one user. It fires, and the firing is manifest at once, whenever a chosen user is admitted
    beyond the budget.
    """

    def __init__(self, service: Auth | Backend, chance: Chance) -> None:
        """Set the length of a window (s) from the budget, and register the script that counts in one."""
        super().__init__(service, chance)
        self._window_s = min(self.limiter.burst / self.limiter.rate_per_s, WINDOW_S)
        self._count = self.redis.register_script(_COUNT)

    async def otherwise(self, wanted: Mapping[str, int]) -> dict[str, Decision]:
        """Implement `Chosen.otherwise`: count requests in the current window."""
        burst = self.limiter.burst
        window, passed_s = divmod(time.time(), self._window_s)
        answers = await self._count(
            keys=[f"rate:window:{window:.0f}:{subject}" for subject in wanted],
            args=[burst, int(self._window_s) + 60, *wanted.values()],
        )
        left_s = self._window_s - passed_s
        decided = {}
        for at, subject in enumerate(wanted):
            granted, remaining = int(answers[2 * at]), burst - int(answers[2 * at + 1])
            decided[subject] = Decision(granted, remaining, burst, 0.0 if remaining else left_s, left_s)
        return decided


@defect(
    "Z55",
    "limit-by-header",
    service="auth",
    kinds=("auth", "backend"),
    breaks="Whoever writes another address into a header may go on flooding.",
    opportunity="one request that says where it is from",
    caught_by=("I39", "I36", "I38"),
    high=1.0,
    one=0.1,
    needs="people who use up their budget and claim to come from elsewhere",
    story="rate_limits",
)
class ByHeader(Mistaken):
    """Defect that gives a user one budget for each address in X-Forwarded-For.

    Opportunity: one request with such an address. If it is picked, its address decides the budget; the defect fires,
    and the firing is manifest at once, when such a request is admitted beyond the user's own budget.
    """

    def __init__(self, service: Auth | Backend, chance: Chance) -> None:
        """Replace `payer` of the service, which returns the user whose budget a request is charged to."""
        super().__init__(service, chance)
        self._by_address = self.other("from")
        door = service.guard if isinstance(service, Auth) else service.rest
        door.payer = self.payer

    def payer(self, request: web.Request, subject: str) -> str:
        """Override `payer`: return the user id (`subject`) that the request is charged to.

        If chance picks a request with X-Forwarded-For, its first address is appended to the id, after FROM.
        """
        address = request.headers.get("X-Forwarded-For", "").partition(",")[0].strip()
        return f"{subject}{FROM}{address}" if address and self.chance.fires() else subject

    def owner(self, key: str) -> str:
        """Implement `Mistaken.owner`: return the subject without the address."""
        return key.partition(FROM)[0]

    async def wrong(self, wanted: Mapping[str, int], right: dict[str, Decision]) -> dict[str, Decision]:
        """Implement `Mistaken.wrong`: charge requests with an address to buckets of their own."""
        claimed = {key: n for key, n in wanted.items() if FROM in key}
        decided = await self._by_address.take_many(claimed) if claimed else {}
        return {key: decided.get(key) or right[key] for key in wanted}


@defect(
    "Z57",
    "limit-wrong-user",
    kinds=("auth", "backend"),
    breaks="I had sent nothing, and the app told me to slow down.",
    opportunity="one charge after somebody else's",
    caught_by=("I39", "I37", "I36"),
    high=0.5,
    one=0.05,
    needs="people who use up their budget beside others who do not",
    story="rate_limits",
)
class WrongUser(Mistaken):
    """Defect that charges a request to the user of the previous request.

    Opportunity: one charge after a charge of another user. A firing is manifest when one of the two is refused within
    the budget or admitted beyond it.
    """

    def __init__(self, service: Auth | Backend, chance: Chance) -> None:
        """Make the limiter that is charged wrongly. No earlier request is known, and no firing waits for its effect."""
        super().__init__(service, chance)
        self._charged = self.other("charged")
        self._last = ""
        self._unseen: dict[str, int] = {}

    async def wrong(self, wanted: Mapping[str, int], right: dict[str, Decision]) -> dict[str, Decision]:
        """Implement `Mistaken.wrong`: charge each request to the user of the previous one if the defect fires."""
        decided = {}
        for subject, n in wanted.items():
            charged, self._last = self._last, subject
            if charged in ("", subject) or not self.chance.fires():
                charged = subject
            else:
                self._unseen[subject] = self._unseen[charged] = self.chance.say(user=subject, charged=charged)
            decided[subject] = await self._charged.take(charged, n)
        return decided

    def differs(self, subject: str, beyond: int) -> None:
        """Implement `Mistaken.differs`: write the manifest line of the last firing that concerns this user."""
        firing = self._unseen.pop(subject, None)
        if firing is not None:
            self.chance.manifest(firing, user=subject, beyond=beyond)


@dataclass(frozen=True, slots=True)
class Untruthful(Decision):
    """Decision with a false Retry-After.

    `stated` is the value of the header; if it is empty, the header is missing.
    """

    stated: str = ""

    def headers(self, *, refused: bool = False) -> dict[str, str]:
        """Implement `Decision.headers`: replace Retry-After by `stated`."""
        headers = Decision(1, self.remaining, self.limit, 0.0, self.reset_s).headers()
        return {**headers, "Retry-After": self.stated} if self.stated else headers


@defect(
    "Z58",
    "retry-after",
    kinds=("auth", "backend"),
    breaks="The app tries again and again, and is refused each time.",
    opportunity="one refusal of somebody who has used up their budget",
    caught_by=("I38",),
    high=0.5,
    one=0.02,
    needs="people who use up their budget",
    story="rate_limits",
)
class RetryAfter(InPlace):
    """Defect that leaves out the time of the next attempt, or states 0 seconds.

    Opportunity: one refusal. A firing is manifest at once.
    """

    async def take_many(self, wanted: Mapping[str, int]) -> dict[str, Decision]:
        """Implement `Limiter.take_many`: falsify the Retry-After of the refusals for which the defect fires."""
        return {
            subject: self._untruthful(subject, decision)
            if decision.allowed < wanted[subject] and self.chance.fires()
            else decision
            for subject, decision in (await self.right(wanted)).items()
        }

    def _untruthful(self, subject: str, decision: Decision) -> Decision:
        stated = self.chance.random.choice(("", "0"))
        self.chance.say(user=subject, stated=stated, truth_s=round(decision.retry_after_s, 3), manifest=True)
        wait_s = 0.0 if stated else None
        return Untruthful(**{**asdict(decision), "retry_after_s": wait_s}, stated=stated)
