"""Checks of acknowledgements and refusals: I9 failed has no effect, I11 single completion, I14 connection scope."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np

from earwitness.checks.contract import Contract
from earwitness.checks.engine.compiled import helper, kernel
from earwitness.checks.engine.fold import (
    FINDINGS,
    MID,
    PENDING,
    REC,
    REC2,
    WHAT,
    Described,
    End,
    Folding,
    X,
    Y,
    finding,
    invoked,
)
from earwitness.checks.engine.resolve import ANSWERED_AGAIN
from earwitness.checks.engine.tables import (
    ACKED,
    ATTEMPTS,
    HEARD,
    INVOKED,
    REC_BITS,
    STORED,
    TAG_ATTEMPT,
    UNANSWERED,
    Array,
    Int,
    Tables,
    place,
    put,
)
from earwitness.checks.engine.world import View, World, grown
from earwitness.checks.history.kinds import ANSWERS, HEARD_OR_READ, K_FAIL, K_INVOKE, K_OK, K_SEEN
from earwitness.checks.history.record import State
from earwitness.checks.messages.heard import PerRecord, note
from earwitness.checks.roster import Roster
from earwitness.checks.verdict import Doubt, Finding, Verdict

REFUSALS_KEPT = 1 << 14
"""Number of records of refusals, and of effects of refused messages, that are kept for counterexamples."""
AGAIN, SURPLUS, UNASKED, OTHERS_ANSWER = range(4)
"""Types of violations of I11, in column WHAT.

AGAIN          an attempt was answered again
SURPLUS        there are more answers that name no attempt than sendings that have no other answer
UNASKED        a message was answered that was not sent
OTHERS_ANSWER  an answer to another device's message came
"""
_UNASKED = {SURPLUS: "surplus", UNASKED: "unasked", OTHERS_ANSWER: "others"}
ELSEWHERE, OTHERS, ACCOUNT = range(3)
"""Types of violations of I14, in column WHAT.

ELSEWHERE  the answer came on another connection than its sending
OTHERS     the answer came to another device
ACCOUNT    news of an account came to another user
"""


@kernel
def refusals(records: Array, journal: Int, mids: Array, failed: Array, kept: Array, used: Array) -> None:
    """Store records for counterexamples: the first refusals, and effects of messages that were refused before.

    A row of `kept` is (message, kind, rec); `used[0]` rows are filled. `mids`: by record its message, -1: none.
    `failed`: by message, 1 after its first refusal; the flags of the shared pass are not used, because that has already
    processed the whole chunk. Which messages are violations follows from the flags in `w.messages` at the end, for all
    messages. This loop only saves the records that prove the first of them, so it may stop at a full array and needs no
    look-up by message. An effect counts only after a refusal that was read before; if the effect was read first, the
    finding shows fewer records.
    """
    for i in range(len(records)):
        kind = np.int64(records[i]["kind"])
        if mids[i] < 0 or used[0] == len(kept):
            continue
        if kind == K_FAIL:
            failed[mids[i]] = 1
        # Effects of messages that nobody refused prove nothing, and would fill the array.
        if kind == K_FAIL or (1 << kind & HEARD_OR_READ and failed[mids[i]]):
            kept[used[0], 0] = mids[i]
            kept[used[0], 1] = kind
            kept[used[0], 2] = (np.int64(journal) << REC_BITS) | np.int64(records[i]["index"])
            used[0] += 1


class FailedNoEffect(Folding):
    """State of I9: a message that was definitely refused (each attempt got FAIL) is neither received nor stored.

    Not a violation:

    - Effects of a message of which one attempt was never answered, or answered by OK.
    - Effects of a message that an OK without attempt or conversation names (I11).
    - A copy that is corrupt (I10) or in another conversation (I12).

    Messages whose journal lacks its end are not judged, because another attempt may be missing from the record.
    """

    def __init__(self, check: Described, roster: Roster, contract: Contract) -> None:
        """Start without refusals."""
        super().__init__(check, roster, contract)
        self._kept = np.zeros((REFUSALS_KEPT, 3), np.int64)
        self._failed = np.zeros(1024, np.uint8)
        self._used = np.zeros(1, np.int64)

    def step(self, view: View) -> None:
        """Implement `Fold.step`: store records for counterexamples. `World` stores which messages were refused."""
        self._failed = grown(self._failed, view.world.mids)
        refusals(view.records, view.journal, view.mid, self._failed, self._kept, self._used)

    def peek(self, world: World) -> Verdict:
        """Implement `Fold.peek`: always UNKNOWN, because a further attempt may still be recorded."""
        return self.conclude(unknown=PENDING)

    def finish(self, end: End) -> Verdict:
        """Implement `Fold.finish`: look for effects of messages whose attempts were all refused."""
        world = end.world
        messages = world.messages()
        flags, sent = messages["flags"], messages["sent"]
        refused = (sent > 0) & ((sent & ~messages["refused"]) == 0) & ((flags & (ACKED | UNANSWERED)) == 0)
        strays = world.strays()
        for stray in strays[strays["kind"] == K_OK]:
            mid = world.mid_of(int(stray["author"]), int(stray["counter"]))
            if mid >= 0:
                refused[mid] = False
        bad = np.flatnonzero(refused & ((flags & (HEARD | STORED)) > 0))
        bad = bad[np.argsort(messages["invoke_rec"][bad], kind="stable")]
        complete = [number for number, journal in enumerate(end.journals) if journal.complete]
        known = np.isin(messages["invoke_rec"] >> REC_BITS, complete)
        doubtful = int((~known[bad]).sum())
        bad = bad[known[bad]]
        return self.conclude(
            [self._finding(world, int(mid)) for mid in bad[:FINDINGS]],
            examined=int((refused & known).sum()),
            violations=len(bad),
            unknown=Doubt("{n} refused messages took effect whose author's journal lacks its end", doubtful),
        )

    def _finding(self, world: World, mid: int) -> Finding:
        m = world.tables.messages[mid]
        kept = self._kept[: int(self._used[0])]
        kept = kept[kept[:, 0] == mid]
        refusal = [int(rec) for _, kind, rec in kept if kind == K_FAIL][:1]
        effects = [int(rec) for _, kind, rec in kept if kind != K_FAIL][:2]
        row = [0, 0, 0, -1, mid, -1, int(m["conv"]), 0, 0]
        what = "heard" if m["flags"] & HEARD else "stored"
        return finding(world, what, row, int(m["invoke_rec"]), *refusal, *effects, int(m["seq_rec"]), seq=int(m["seq"]))


@kernel
def repeated_answers(records: Array, journal: Int, mids: Array, seen: Array, out: Array, totals: Array) -> None:
    """Write a row to `out` for each OK or FAIL of an attempt that had been answered before.

    `mids` (-1: none) and `seen` (bits) belong to the records. `totals` counts answers examined, rows of `out`. The
    shared pass stores a bit for each answered attempt and sets ANSWERED_AGAIN in `seen`, so this loop only filters.
    Answers without attempt have no such bit; `_surplus` counts them at the end. At most one row for each record, so
    `out` (two rows for each record of a chunk) cannot overflow.
    """
    for i in range(len(records)):
        r = records[i]
        # Attempt 0: the answer names none. Such answers are counted at the end, as they have no bit here.
        if not 1 << np.int64(r["kind"]) & ANSWERS or mids[i] < 0 or r["attempt"] == 0:
            continue
        totals[0] += 1
        if seen[i] & ANSWERED_AGAIN:
            note(out[totals[1]], AGAIN, journal, r, mids[i], r["attempt"], r["kind"])
            totals[1] += 1


class SingleCompletion(PerRecord):
    """State of I11: every attempt is answered by OK or FAIL at most once, and nothing is answered that was not sent.

    Not a violation:

    - A late answer after INFO.
    - An answer that names no attempt, if the device has sent the message and one of these sendings has no other answer.
      Each of two such sendings may get such an answer.
    """

    def step(self, view: View) -> None:
        """Implement `Fold.step`: look for answers to attempts that had been answered before."""
        repeated_answers(view.records, view.journal, view.mid, view.seen, view.world.out, self.totals)
        self.counted(view.world)

    def peek(self, world: World) -> Verdict:
        """Implement `Fold.peek`: return the violations so far, surplus answers without attempt among them."""
        surplus = list(_surplus(world))
        rows = sorted([*self.suspects.rows, *surplus], key=lambda row: row[REC])[:FINDINGS]
        return self.conclude(
            [self.describe(world, row) for row in rows],
            examined=self.examined + len(world.strays()),
            violations=self.suspects.total + len(surplus),
        )

    def describe(self, world: World, row: tuple[int, ...]) -> Finding:
        """Implement `PerRecord.describe`: return the finding of a repeated answer, or one that answers no sending."""
        if row[WHAT] == AGAIN:
            return finding(world, "again", row, invoked(world, row[MID]), row[REC], attempt=row[X])
        return finding(
            world, _UNASKED[row[WHAT]], row, invoked(world, row[MID]), row[REC], author=row[X], counter=row[Y]
        )


def _surplus(world: World) -> Iterable[tuple[int, ...]]:
    """Yield a row with the columns WHAT … Y for each answer without attempt that a device should not have received.

    It is an answer to another device's message, to a message that was not sent, or one more than the sendings of the
    message that have no other answer.
    """
    used: Counter[tuple[int, int]] = Counter()
    strays = world.strays()
    for stray in strays[np.argsort(strays["rec"], kind="stable")]:
        author, counter = int(stray["author"]), int(stray["counter"])
        mid = world.mid_of(author, counter)
        open_sendings, what = 0, UNASKED
        if author != int(stray["client"]):
            what = OTHERS_ANSWER
        elif mid >= 0 and world.tables.messages[mid]["flags"] & INVOKED:
            m, what = world.tables.messages[mid], SURPLUS
            open_sendings = (int(m["sent"]) & ~int(m["answered"])).bit_count()
            if int(m["sent"]) >> ATTEMPTS:
                continue  # more attempts than bits: the number of sendings is not known
            used[author, counter] += 1
        if used[author, counter] > open_sendings or what != SURPLUS:
            conv = int(world.tables.messages[mid]["conv"]) if mid >= 0 else -1
            yield what, int(stray["rec"]), 0, int(stray["client"]), mid, -1, conv, author, counter


@helper
def sending_of(w: Tables, sent: Array, mid: Int, attempt: Int) -> Int:
    """Return the number of the connection of an attempt's INVOKE, + 1; 0 if it is not known.

    `sent`: by message, connection + 1 of the first attempt, 0: not known. Later attempts are rare and are in the shared
    hash table of `w`, under TAG_ATTEMPT | mid << 8 | attempt.
    """
    if attempt <= 1:
        return np.int64(sent[mid])
    # Retries are rare: an array with a place for each attempt of each message would be mostly empty.
    at = place(w.hash_keys, TAG_ATTEMPT | (mid << 8) | attempt)
    return np.int64(w.hash_values[at]) if w.hash_keys[at] != -1 else 0


@kernel
def scope(
    records: Array, journal: Int, mids: Array, conns: Array, w: Tables, sent: Array, by_device: bool, out: Array,
    totals: Array,
) -> None:  # fmt: skip
    """Compare the connection of each answer with that of its sending, and write a row to `out` where the two differ.

    `mids`, `conns`: by record its message and connection, -1: none. `sent`: by message, connection + 1 of its first
    attempt, 0 if not known; retries are in the hash table of `w` (see `sending_of`). Both are updated. `totals` counts
    answers examined, rows of `out`. Order holds only inside one journal, so a sending of another journal is not
    compared. `by_device` allows a later connection of the same device; connection numbers grow in the order of their
    first records, so the comparison `conn < conns[i]` finds later ones.

    An answer by HTTP (`conn` 0) belongs to its request: it is in scope if the device that gets it is the author. Such
    answers without a conversation are strays (`World.strays`), which `ConnectionScope.peek` judges.
    """
    for i in range(len(records)):
        r = records[i]
        kind = np.int64(r["kind"])
        attempt = np.int64(r["attempt"])
        if mids[i] < 0 or attempt == 0:
            continue
        mid = np.int64(mids[i])
        if 1 << kind & ANSWERS and r["conn"] == 0:
            # By HTTP the answer belongs to its request, so only the device is compared, not the connection.
            # Answers without a conversation have no `mid`; they are strays, which `peek` judges.
            if w.messages[mid]["flags"] & INVOKED:
                totals[0] += 1
                if r["client"] != r["author"]:
                    note(out[totals[1]], OTHERS, journal, r, mid, attempt, -1)
                    totals[1] += 1
        elif conns[i] < 0:
            continue
        elif kind == K_INVOKE:
            if attempt <= 1:
                sent[mid] = conns[i] + 1
            else:
                key = TAG_ATTEMPT | (mid << 8) | attempt
                at = place(w.hash_keys, key)
                if w.hash_keys[at] == -1:
                    put(w, key, 0)
                w.hash_values[at] = conns[i] + 1
        elif 1 << kind & ANSWERS:
            conn = sending_of(w, sent, mid, attempt) - 1
            if conn < 0 or w.conns[conn]["journal"] != journal:
                continue
            totals[0] += 1
            # A lower number is an earlier connection (see `connection_of`): the answer came on a later one.
            same = by_device and conn < conns[i] and w.conns[conn]["client"] == w.conns[conns[i]]["client"]
            if conn != conns[i] and not same:
                note(out[totals[1]], ELSEWHERE, journal, r, mid, attempt, -1)
                totals[1] += 1


class ConnectionScope(PerRecord):
    """State of I14: an answer arrives on its message's connection, or where promised on a later one of that device.

    A later connection may bring the answer where `at_most_once = "device"`. An answer by HTTP (on no connection) must
    arrive at the device that sent the message. News of an account are pushed to its own user only. Not examined:
    answers on a connection to what was sent by HTTP.
    """

    def __init__(self, check: Described, roster: Roster, contract: Contract) -> None:
        """Start without sendings. Read from `contract.at_most_once` whether a later connection may bring the answer."""
        super().__init__(check, roster, contract)
        self._sent = np.zeros(1024, np.int32)
        self._by_device = contract.at_most_once == "device"
        self._profiles = 0

    def step(self, view: View) -> None:
        """Implement `Fold.step`: compare answers with their sendings, and pushed profiles with their owners."""
        world = view.world
        self._accounts(view)
        self._sent = grown(self._sent, world.mids)
        world.reserve_hash(len(view.records))
        scope(
            view.records, view.journal, view.mid, view.conn, world.tables, self._sent, self._by_device, world.out,
            self.totals,
        )  # fmt: skip
        self.counted(world)

    def _accounts(self, view: View) -> None:
        """Count profiles that were pushed, and store as violations those pushed to another user than the account's."""
        user_of = self.roster.user_of
        rare = view.rare
        for seen in rare[(rare["kind"] == K_SEEN) & (rare["proc"] == int(State.PROFILE)) & (rare["conn"] > 0)]:
            client, about = int(seen["client"]), int(seen["author"])
            if client < len(user_of) and about < len(user_of):
                self._profiles += 1
                if user_of[client] != user_of[about]:
                    rec = view.journal << REC_BITS | int(seen["index"])
                    row = np.array([[ACCOUNT, rec, 0, client, -1, -1, -1, about, -1]], np.int64)
                    self.suspects.take(row, 1)

    def peek(self, world: World) -> Verdict:
        """Implement `Fold.peek`: return violations so far, also of answers without attempt or conversation."""
        examined, others = self.examined + self._profiles, []
        for stray in world.strays():
            mid = world.mid_of(int(stray["author"]), int(stray["counter"]))
            if mid < 0:
                continue
            if stray["conn"] < 0:
                if world.tables.messages[mid]["flags"] & INVOKED:
                    examined += 1
                    if stray["client"] != stray["author"]:
                        others.append(self._row(world, stray, mid, OTHERS))
                continue
            asked = self._asked_on(world, mid)
            if not asked:
                continue
            examined += 1
            own = stray["client"] == stray["author"]
            later = own and self._by_device and min(asked) < stray["conn"]
            if int(stray["conn"]) not in asked and not later:
                others.append(self._row(world, stray, mid, ELSEWHERE if own else OTHERS))
        rows = sorted([*self.suspects.rows, *others], key=lambda row: row[REC])[:FINDINGS]
        return self.conclude(
            [self.describe(world, row) for row in rows],
            examined=examined,
            violations=self.suspects.total + len(others),
        )

    def _row(self, world: World, stray: Any, mid: int, what: int) -> tuple[int, ...]:
        conv = int(world.tables.messages[mid]["conv"])
        return (what, int(stray["rec"]), 0, int(stray["client"]), mid, -1, conv, 0, -1)

    def _asked_on(self, world: World, mid: int) -> set[int]:
        """Return the numbers of the connections on which the message was sent, as far as known."""
        attempts = int(world.tables.messages[mid]["sent"]).bit_length()
        known = (int(sending_of(world.tables, self._sent, mid, attempt)) - 1 for attempt in range(1, attempts + 1))
        return {conn for conn in known if conn >= 0}

    def describe(self, world: World, row: tuple[int, ...]) -> Finding:
        """Implement `PerRecord.describe`: return the finding of an answer, or account news, at a wrong receiver."""
        if row[WHAT] == ACCOUNT:
            return finding(world, "account", row, row[REC], stated=row[X])
        what = "elsewhere" if row[WHAT] == ELSEWHERE else "other-device"
        return finding(world, what, row, invoked(world, row[MID]), row[REC])


FAILED_NO_EFFECT = Described(
    id="I9",
    name="failed-no-effect",
    title="Did refused messages have no effect?",
    unit="refused messages",
    symptom="Messages took effect although they were refused",
    fold=FailedNoEffect,
    tally="{violations} of {examined} refused messages took effect",
    sentences={
        "heard": "{message} was refused, but was delivered in {where}",
        "stored": "{message} was refused, but is stored in {where}",
    },
)
SINGLE_COMPLETION = Described(
    id="I11",
    name="single-completion",
    title="Was every attempt answered at most once?",
    unit="answers",
    symptom="Sendings were answered more than once",
    fold=SingleCompletion,
    when=lambda contract: contract.acknowledges,
    tally="{violations} of {examined} answers {are} one too many",
    sentences={
        "again": "{who} got a second answer to {message} in {where}, which had been answered already",
        "surplus": "{who} got one answer more to {message} than it was sent",
        "others": "{who} got an answer to {message}, which is not this device's",
        "unasked": "{who} got an answer to {message}, which nobody sent",
    },
)
CONNECTION_SCOPE = Described(
    id="I14",
    name="connection-scope",
    title="Did every answer come to the connection that asked, and account changes to their owner only?",
    unit="answers and notices",
    symptom="Answers went to connections that had not asked",
    fold=ConnectionScope,
    when=lambda contract: contract.acknowledges or contract.account_news_s is not None,
    tally="{violations} of {examined} answers and notices went to the wrong connection",
    sentences={
        "elsewhere": "{who} got the answer to {message} in {where} on another connection than the one that sent it",
        "account": "{who} was sent what the account of {stated} shows",
        "other-device": "{who} got the answer to {message} in {where}, which another device had sent",
    },
)
assert REC2 < X < Y
