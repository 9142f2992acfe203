"""Records related to those of a finding: about the same messages, sequence numbers, tokens and agents' answers.

One pass over the journals serves all findings. A second pass is made only if a finding names sequence numbers, which
first have to be mapped to messages.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from earwitness.checks.findings.lines import MESSAGE_KINDS, Told
from earwitness.checks.history.record import FOREIGN, Flag, Kind
from earwitness.checks.verdict import Finding
from earwitness.harness.record.history import History

CHUNK = 1 << 16
KEPT = 1000
"""Most related records that are kept for one finding; enough for a message in a room of hundreds of members."""
NUMBERS_MAX = 2
"""Most sequence numbers of a gap that are searched; a gap may have thousands, and the first ones show what happened."""

_OF_MESSAGES = np.zeros(256, dtype=bool)
_OF_MESSAGES[[int(kind) for kind in MESSAGE_KINDS]] = True
_OF_TOKENS = np.zeros(256, dtype=bool)
_OF_TOKENS[[Kind.REQUEST, Kind.REVOKE]] = True
_AGAIN = frozenset(("repeated", "repeated-later"))
_JOINING = frozenset((Kind.JOIN, Kind.READ))

Keys = npt.NDArray[np.uint64]


@dataclass(slots=True)
class Wanted:
    """Keys of the records to search for one finding, and the records found so far in `found`.

    messages   author << 32 | counter
    numbers    conversation << 32 | sequence number
    artefacts  owner (client) << 32 | number of the token
    runs       (journal, number of the id of an agent's answer, connection)
    reads      conversations whose READ_END records are wanted
    joins      (journal, connection, conversation) whose JOIN records are wanted
    """

    messages: set[int] = field(default_factory=set)
    numbers: set[int] = field(default_factory=set)
    artefacts: set[int] = field(default_factory=set)
    runs: set[tuple[int, int, int]] = field(default_factory=set)
    reads: set[int] = field(default_factory=set)
    joins: set[tuple[int, int, int]] = field(default_factory=set)
    found: list[Told] = field(default_factory=list)

    def take(self, told: Told) -> None:
        """Store a related record, unless KEPT records are stored already."""
        if len(self.found) < KEPT:
            self.found.append(told)


def _pair(high: int, low: int) -> int:
    return high << 32 | low & 0xFFFF_FFFF


def wanted_of(finding: Finding, proof: Sequence[Told]) -> Wanted:
    """Return the keys of the records to search for a finding: messages, tokens, numbers, joins and answers.

    `proof`: the records of the finding's counterexample. Most keys come from them, because facts of the same name
    differ in meaning between checks. Only the conversation and its sequence numbers come from the facts. `found` of the
    result is empty; `gather` fills it.
    """
    wanted = Wanted()
    for told in proof:
        r = told.record
        author, counter = int(r["author"]), int(r["counter"])
        if told.kind in MESSAGE_KINDS and author < FOREIGN and counter:
            wanted.messages.add(_pair(author, counter))
            if finding.what in _AGAIN and told.kind is Kind.DELIVER:
                wanted.joins.add((told.journal, int(r["conn"]), int(r["conv"])))
        elif told.kind in (Kind.REQUEST, Kind.REVOKE) and counter:
            wanted.artefacts.add(_pair(author, counter))
        elif told.kind is Kind.TOKEN:
            wanted.artefacts.add(_pair(int(r["client"]), counter))
        elif told.kind is Kind.RUN:
            wanted.runs.add((told.journal, author, int(r["conn"])))
    facts = finding.facts
    conv, low = facts.get("conv", -1), facts.get("low", -1)
    if conv >= 0 and (wanted.messages or any(told.kind in _JOINING for told in proof)):
        if "author" not in facts and facts.get("high", -1) >= low >= 0:
            wanted.numbers |= {_pair(conv, n) for n in range(low, min(facts["high"] + 1, low + NUMBERS_MAX))}
        wanted.numbers |= {_pair(conv, facts["other_seq"])} if facts.get("other_seq", -1) >= 0 else set()
        wanted.reads.add(conv)
    return wanted


def gather(history: History, wanted: Sequence[Wanted]) -> None:
    """Add the related records of the history to `found` of each element of `wanted`.

    The journals are read once, or twice if sequence numbers are wanted, which first have to be mapped to messages.
    """
    if any(one.numbers for one in wanted):
        _pass(history, [Wanted(numbers=one.numbers) for one in wanted], wanted)
    _pass(history, wanted, wanted)


def _pass(history: History, asked: Sequence[Wanted], answer: Sequence[Wanted]) -> None:
    messages, numbers, artefacts = (
        np.array(sorted(set().union(*sets)), dtype=np.uint64)
        for sets in (
            [one.messages for one in asked],
            [one.numbers for one in asked],
            [one.artefacts for one in asked],
        )
    )
    others = np.zeros(256, dtype=bool)
    others[[Kind.RUN, Kind.READ_END]] = any(one.runs or one.reads for one in asked)
    others[Kind.JOIN] = any(one.joins for one in asked)
    for number, view in enumerate(history.journals):
        records = view.records
        for start in range(0, len(records), CHUNK):
            chunk = records[start : start + CHUNK]
            for at in _hits(chunk, messages, numbers, artefacts, others):
                _deal(Told(number, start + int(at) + 1, chunk[at].copy()), asked, answer)


def _hits(
    chunk: npt.NDArray[np.void], messages: Keys, numbers: Keys, artefacts: Keys, others: npt.NDArray[np.bool_]
) -> npt.NDArray[np.intp]:
    """Return the indices in `chunk` of records that may be related to a finding.

    `messages`, `numbers`, `artefacts`: keys as in `Wanted`, of all findings; `others`: by kind number, whether all
    records of that kind are returned.
    """
    kind = chunk["kind"]
    hit: npt.NDArray[np.bool_] = others[kind]
    if len(messages) or len(artefacts):
        keys = _keys(chunk["author"], chunk["counter"])
        hit |= np.isin(keys, messages) & _OF_MESSAGES[kind]
    if len(artefacts):
        hit |= np.isin(keys, artefacts) & _OF_TOKENS[kind]
        hit |= (kind == Kind.TOKEN) & np.isin(_keys(chunk["client"], chunk["counter"]), artefacts)
    if len(numbers):
        hit |= np.isin(_keys(chunk["conv"], chunk["seq"]), numbers) & _OF_MESSAGES[kind]
    return np.flatnonzero(hit)


def _keys(high: npt.NDArray[np.integer], low: npt.NDArray[np.integer]) -> Keys:
    return (high.astype(np.uint64) << np.uint64(32)) | (low.astype(np.uint64) & np.uint64(0xFFFF_FFFF))


def _deal(told: Told, asked: Sequence[Wanted], answer: Sequence[Wanted]) -> None:
    """Store a record for each finding that it is related to. If its sequence number is wanted, store its message's key.

    `asked`: the keys of each finding; `answer`: where the record or key is stored, in the same order.
    """
    r, kind = told.record, told.kind
    named = _pair(int(r["author"]), int(r["counter"]))
    owned = _pair(int(r["client"]), int(r["counter"])) if kind is Kind.TOKEN else named
    numbered = _pair(int(r["conv"]), int(r["seq"]))
    run = (told.journal, int(r["author"]), int(r["conn"]))
    for one, into in zip(asked, answer, strict=True):
        if kind in MESSAGE_KINDS:
            if numbered in one.numbers and int(r["seq"]) >= 0:
                into.messages |= {named} if int(r["author"]) < FOREIGN else set()
            if named in one.messages:
                into.take(told)
        elif kind is Kind.RUN:
            if run in one.runs:
                into.take(told)
        elif kind is Kind.READ_END:
            if int(r["conv"]) in one.reads:
                into.take(told)
        elif kind is Kind.JOIN:
            if (told.journal, int(r["conn"]), int(r["conv"])) in one.joins:
                into.take(told)
        elif owned in one.artefacts:
            into.take(told)


def choose(finding: Finding, proof: Sequence[Told], found: Iterable[Told]) -> tuple[list[Told], list[Told]]:
    """Return (proof, context) for a finding, each sorted by time.

    `proof` is completed from `found`, the related records, up to PROOF_MAX records; up to CONTEXT_MAX others are
    context.
    """
    return _Choice(finding, proof).made(found)


def _when(told: Told) -> tuple[int, int, int]:
    return int(told.record["t"]), told.journal, told.index


def _goes_on(told: Told) -> bool:
    """Return whether a JOIN record asked to resume after a number, or states that no message was missed."""
    return int(told.record["aux"]) >= 0 or bool(told.record["flags"] & Flag.CONTINUED)


PROOF_MAX, CONTEXT_MAX, HEARERS = 6, 6, 2


class _Choice:
    """Choice of the proof and the context of one finding from its related records."""

    def __init__(self, finding: Finding, proof: Sequence[Told]) -> None:
        self._facts = finding.facts
        self._proof = list(proof)
        self._known = {(told.journal, told.index) for told in proof}
        self._listeners = {int(t.record["client"]) for t in proof if t.kind in (Kind.DELIVER, Kind.REPLAY, Kind.JOIN)}
        self._listeners |= {finding.facts["client"]} if "client" in finding.facts else set()
        self._again = finding.what in _AGAIN
        self._attempts: set[int] = set()
        """Attempts (numbers of sendings) that led to the copies of a duplicate. Other attempts did not cause it."""
        self._final = "client" not in finding.facts  # then it is about a message, not about a listener

    def made(self, found: Iterable[Told]) -> tuple[list[Told], list[Told]]:
        left = sorted((t for t in found if (t.journal, t.index) not in self._known), key=_when)
        if self._again:
            left = self._made_by(left)
        belongs = [t for t in left if self._belongs(t)]
        proof = sorted(self._proof + belongs[: max(0, PROOF_MAX - len(self._proof))], key=_when)
        heard: dict[tuple[int, int], int] = {}
        context = []
        for told in left:
            if told.kind is Kind.DELIVER and not self._belongs(told):
                key = int(told.record["author"]), int(told.record["counter"])
                heard[key] = heard.get(key, 0) + 1
                if heard[key] <= HEARERS:
                    context.append(told)
            elif told.kind in (Kind.INVOKE, Kind.OK, Kind.FAIL, Kind.INFO, Kind.TOKEN, Kind.REVOKE):
                context.append(told)
        mine = {(told.journal, told.index) for told in proof}
        return proof, [t for t in context if (t.journal, t.index) not in mine][:CONTEXT_MAX]

    def _made_by(self, left: list[Told]) -> list[Told]:
        """Add the sending that caused a duplicate to the proof; return the records that are left to choose from.

        Copies of several attempts come from the sender's retry. Copies of one attempt were made by the platform,
        perhaps because the device resumed.
        """
        copies = [t for t in (*self._proof, *left) if t.kind is Kind.DELIVER]
        copies = sorted((t for t in copies if int(t.record["client"]) in self._listeners), key=_when)
        self._attempts = {int(t.record["attempt"]) for t in copies}
        sent = [t for t in self._proof if t.kind is Kind.INVOKE and int(t.record["attempt"]) not in self._attempts]
        if any(t.kind is Kind.INVOKE and int(t.record["attempt"]) in self._attempts for t in left):
            self._proof = [t for t in self._proof if t not in sent]
            left = sorted([*left, *sent], key=_when)
        if len(self._attempts) > 1 or not copies:
            return [t for t in left if t.kind is not Kind.JOIN]
        first, last = copies[0], copies[-1]
        return [t for t in left if t.kind is not Kind.JOIN or (_goes_on(t) and _when(first) < _when(t) < _when(last))]

    def _belongs(self, told: Told) -> bool:
        """Return whether a record belongs to the proof of the finding.

        These belong: sending and answer of the message, the listeners' receipts of it, the final read if the finding is
        about it, and the events of an agent's answer.
        """
        kind, r = told.kind, told.record
        if kind in (Kind.DELIVER, Kind.REPLAY):
            return int(r["client"]) in self._listeners
        if kind in (Kind.STORED, Kind.READ_END):
            return self._final
        if kind in (Kind.INVOKE, Kind.OK, Kind.FAIL, Kind.INFO):
            if self._attempts and int(r["attempt"]) not in self._attempts:
                return False
            return (int(r["author"]), int(r["counter"])) == (self._facts.get("author"), self._facts.get("counter"))
        return True
