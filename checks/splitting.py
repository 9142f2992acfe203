"""Judging of one large conversation in parts by receiver, and when the result equals that of one judge.

Every part reads the sendings, their answers and the final state, and the records of its own receivers. So examined
receptions may be added over the parts, but examined messages are counted in each part. One more judge reads only the
records that all parts read; its counts are subtracted until each message is counted once (`together`).

The result equals that of one judge if the records of receivers add nothing to the table of messages, and no check has a
violation or a doubt. Otherwise receivers of different parts may prove a violation together, or the same violation
twice; then the conversation is judged again as a whole. A fingerprint of the table of messages shows the first
condition, the counts of violations and doubts show the second.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from earwitness.checks.contract import Contract
from earwitness.checks.engine.tables import DELIVERED, HEARD, PAGE, PAGE_BITS, Array
from earwitness.checks.engine.world import World
from earwitness.checks.judge import Judge
from earwitness.checks.merging import BY_CONVERSATION, merge
from earwitness.checks.messages.liveness import LIVENESS_BOUND, LivenessBound
from earwitness.checks.messages.order import TOTAL_ORDER, TotalOrder
from earwitness.checks.verdict import Doubt, Verdict, conclude

_SAID: Final = (
    "conv", "proc", "rows", "digest", "size", "invoke_t", "invoke_rec", "seq", "sent", "answered", "refused",
)  # fmt: skip
"""Fields of MESSAGE that must be equal in all parts. `flags` must be equal too, except HEARD and DELIVERED."""
_PRIME: Final = np.uint64(0x9E3779B97F4A7C15)


def may_split(contract: Contract, checks: Sequence[str]) -> bool:
    """Return whether the parts of a conversation may be judged separately, under this contract and with these checks.

    `checks`: ids; all of BY_CONVERSATION must be among them. Without contiguous numbers the order of deliveries is
    compared between receivers (I2), and without acknowledgements a message has taken effect if anybody received it.
    """
    return contract.sequence == "contiguous" and contract.acknowledges and set(checks) >= BY_CONVERSATION


@dataclass(frozen=True, slots=True)
class Apart:
    """Facts about messages that one part of a split room has recorded; parts are compared by them.

    said       fingerprint of the table of messages, except who received them
    ordered    number of pairs of messages whose order is compared between receivers
    delivered  names (author << 32 | counter) of the messages that were delivered to somebody, ascending
    bounded    names of the messages that I25 examined, ascending
    """

    said: int
    ordered: int
    delivered: Array
    bounded: Array

    @classmethod
    def of(cls, judge: Judge, liveness: LivenessBound | None, order: TotalOrder | None) -> Apart:
        """Return the facts for a judge that has concluded. `liveness`, `order`: its states of I25 and I2, or None."""
        world = judge.world
        return cls(
            said=_fingerprint(world),
            ordered=order.pairs if order is not None else 0,
            delivered=_names(world, np.flatnonzero((world.messages()["flags"] & DELIVERED) > 0)),
            bounded=_names(world, liveness.judged if liveness is not None else np.zeros(0, np.int64)),
        )


def states_of(judge: Judge) -> tuple[LivenessBound | None, TotalOrder | None]:
    """Return the judge's states of I25 and I2, for `Apart.of`. Call it before the judge concludes.

    None in place of a state whose check is not judged or could not be started.
    """
    liveness, order = judge.fold(LIVENESS_BOUND.id), judge.fold(TOTAL_ORDER.id)
    return (
        liveness if isinstance(liveness, LivenessBound) else None,
        order if isinstance(order, TotalOrder) else None,
    )


def together(
    said: tuple[Sequence[Verdict], Apart], parts: Sequence[tuple[Sequence[Verdict], Apart]]
) -> list[Verdict] | None:
    """Return the verdicts about a conversation from those of its parts; None if it must be judged as a whole.

    said   verdicts and facts of a judge that read only the records that all parts read
    parts  verdicts and facts of the judges that read these records, and those of some of the receivers
    """
    rows, known = said
    if any(apart.said != known.said or apart.ordered for _, apart in parts):
        return None
    if not all(_clean(verdict) for verdicts in (rows, *(verdicts for verdicts, _ in parts)) for verdict in verdicts):
        return None
    bounded = len(np.unique(np.concatenate([apart.bounded for _, apart in parts])))
    merged = merge([verdicts for verdicts, _ in parts])
    return [
        _counted_once(verdict, row, len(parts) - 1, bounded if verdict.id == LIVENESS_BOUND.id else None)
        for verdict, row in zip(merged, rows, strict=True)
    ]


def delivered(parts: Sequence[Apart]) -> int:
    """Return the number of messages that were delivered to anybody, in any of the parts."""
    return len(np.unique(np.concatenate([apart.delivered for apart in parts])))


def _counted_once(verdict: Verdict, said: Verdict, times: int, examined: int | None) -> Verdict:
    """Return the merged verdict without the counts that all parts made of the same records.

    `said`: verdict about these records; its counts are subtracted `times` times. `examined`: the number to state as
    examined, None to compute it in the same way.
    """
    facts = {name: value - times * said.facts.get(name, 0) for name, value in verdict.facts.items()}
    again = conclude(
        verdict.id,
        verdict.name,
        examined=verdict.examined - times * said.examined if examined is None else examined,
        violations=0,
        promised=verdict.promised,
        unknown=verdict.doubts,
        facts=facts,
    )
    return replace(again, devices=verdict.devices)


def _clean(verdict: Verdict) -> bool:
    """Return whether a check found no violation and has no doubt with a count. False if the check raised an error."""
    return not verdict.violations and bool(verdict.doubts) and not any(map(_counts, verdict.doubts))


def _counts(doubt: Doubt) -> bool:
    return doubt.count > 0 or (isinstance(doubt.otherwise, Doubt) and _counts(doubt.otherwise))


def _names(world: World, mids: Array) -> Array:
    """Return the names (author << 32 | counter) of these message numbers, ascending."""
    pages = mids >> PAGE_BITS
    authors = world.tables.page_author[pages].astype(np.int64)
    counters = (world.tables.page_number[pages].astype(np.int64) << PAGE_BITS) | (mids & PAGE - 1)
    result: Array = np.sort((authors << 32) | counters)
    return result


def _fingerprint(world: World) -> int:
    """Return a number that is the same for tables with the same messages, in any order (`_SAID` lists the fields)."""
    messages = world.messages()
    known = np.flatnonzero(messages["conv"] >= 0)
    pages = known >> PAGE_BITS
    names = world.tables.page_author[pages].astype(np.int64) << 32 | world.tables.page_number[pages].astype(np.int64)
    columns = [names << PAGE_BITS | (known & PAGE - 1), messages["flags"][known] & ~np.uint16(HEARD | DELIVERED)]
    columns += [messages[name][known] for name in _SAID]
    mixed = np.full(len(known), len(known), np.uint64)
    for column in columns:
        mixed = (mixed ^ column.astype(np.int64).view(np.uint64)) * _PRIME
        mixed ^= mixed >> np.uint64(29)
    return int(mixed.sum(dtype=np.uint64))
