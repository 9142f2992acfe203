"""I8: no creation; every message that is received or stored was sent in this run."""

from __future__ import annotations

import numpy as np

from earwitness.checks.contract import Contract
from earwitness.checks.engine.compiled import kernel
from earwitness.checks.engine.fold import FINDINGS, GROUP, MID, REC, WHAT, Described, End, Folding, X, Y, finding
from earwitness.checks.engine.tables import (
    COUNTER_MAX,
    DELIVERED,
    DISPUTED,
    INVOKED,
    MISPLACED,
    PAGE_BITS,
    REC_BITS,
    STORED,
    Array,
    Int,
)
from earwitness.checks.engine.world import View, World, grown
from earwitness.checks.history.kinds import CORRUPT, K_DELIVER, K_INVOKE, K_STORED
from earwitness.checks.history.record import AGENT, NOBODY, Flag, Kind
from earwitness.checks.messages.heard import note
from earwitness.checks.roster import Roster
from earwitness.checks.verdict import Doubt, Finding, Verdict

K_CONNECT = int(Kind.CONNECT)
SPEAKING = 1 << K_INVOKE | 1 << K_CONNECT
"""Kinds, as bits, that show that a journal records a client: its sendings and its connections."""
EFFECTS = 1 << K_DELIVER | 1 << K_STORED
"""Kinds, as bits, that show an effect of a message: it was delivered or stored."""
FOREIGN_RUN = int(Flag.FOREIGN_RUN)
ABSURD, FOREIGN_BODY, NOWHERE = range(3)
"""Values of WHAT for rows that one record proves.

ABSURD        an author who is not in the roster, or a counter that the tester never uses
FOREIGN_BODY  a body of another run
NOWHERE       a conversation that the run does not have
"""


EARLIEST = np.dtype([("t", "<i8"), ("rec", "<i8")])
"""First delivery of one message: time in ns and reference of the record; rec 0: none."""


@kernel
def ghosts(
    records: Array, journal: Int, mids: Array, convs: Int, here: Array, earliest: Array, out: Array, totals: Array
) -> None:
    """Write a row to `out` for bodies that cannot have been sent in this run, and keep each message's first delivery.

    `mids`: by record its message, -1: none. `convs`: number of conversations. Updated are `here` (by client, 1 if this
    journal records the client as sender or connected) and `earliest` (EARLIEST by message, ns). `totals` counts records
    examined, rows of `out`, and messages of the platform itself.

    What a single record proves (another run's tag, an author or counter that cannot be, an unknown conversation)
    becomes a row at once. What needs the whole history (never sent, or delivered before it was sent) is decided at the
    end from the flags of messages and from `earliest`; the sending may be in a journal that is read later. `here` shows
    at the end which journal would hold a client's sendings. If that journal lacks its end, a missing sending leads to
    UNKNOWN and not to a violation.

    A body without the run's tag and without counter, whose sender is no user of this run, counts as a message of the
    platform itself, such as "ann joined".
    """
    clients = len(here)
    for i in range(len(records)):
        r = records[i]
        kind = r["kind"]
        # This journal holds what the client sends: if it is torn, a sending that is missing proves nothing.
        if 1 << np.int64(kind) & SPEAKING:
            if r["client"] < clients:
                here[r["client"]] = 1
            continue
        if not 1 << np.int64(kind) & EFFECTS or r["flags"] & CORRUPT:
            continue
        foreign = r["flags"] & FOREIGN_RUN
        # An answer of the platform's agent is sent by no user, so nothing of ours stands in its body.
        if foreign and r["author"] == AGENT:
            continue
        if foreign and r["author"] == NOBODY and r["counter"] == 0 and not 0 <= r["aux"] < clients:
            totals[2] += 1
            continue
        totals[0] += 1
        if kind == K_DELIVER and mids[i] >= 0:
            # The earliest over all journals: one effect before the sending is enough for a finding.
            first = earliest[mids[i]]
            if first["rec"] == 0 or r["t"] < first["t"]:
                first["t"] = r["t"]
                first["rec"] = (np.int64(journal) << REC_BITS) | np.int64(r["index"])
        what = -1
        if foreign:
            what = FOREIGN_BODY
        elif r["author"] >= clients or r["counter"] == 0 or r["counter"] >= COUNTER_MAX:
            what = ABSURD
        elif r["conv"] >= convs:
            what = NOWHERE
        if what >= 0:
            note(out[totals[1]], what, journal, r, mids[i], r["author"], r["counter"])
            totals[1] += 1


class NoCreation(Folding):
    """State of I8: everything received or stored was sent in this run.

    Violations that one record proves: a body of another run, an author or counter that cannot be, or an unknown
    conversation. Violations found at the end: a message that no device sent, one that was delivered before it was sent,
    and one that appeared in another conversation than it was sent in. If a sending may be missing because the author's
    journal lacks its end, the verdict is UNKNOWN instead.

    - Not a violation: a message without the tester's marks whose sender is no user of this run, as platforms post about
      users who come and go. Such messages are counted.
    - Skipped: corrupt bodies (I10), history replayed on joining, messages that an agent of the platform wrote.
    """

    def __init__(self, check: Described, roster: Roster, contract: Contract) -> None:
        """Start without senders and deliveries."""
        super().__init__(check, roster, contract)
        self._totals = np.zeros(3, np.int64)
        self._here: dict[int, Array] = {}
        self._earliest = np.zeros(64, EARLIEST)

    def step(self, view: View) -> None:
        """Implement `Fold.step`: look for bodies that cannot have been sent, and store first deliveries."""
        world = view.world
        here = self._here.setdefault(view.journal, np.zeros(len(world.tables.user_of), np.uint8))
        self._earliest = grown(self._earliest, world.mids)
        convs = len(world.roster.conversations)
        ghosts(view.records, view.journal, view.mid, convs, here, self._earliest, world.out, self._totals)
        self.suspects.take(world.out, int(self._totals[1]))
        self._totals[1] = 0
        self.examined = int(self._totals[0])

    def peek(self, world: World) -> Verdict:
        """Implement `Fold.peek`: return only violations that a single record proves."""
        return self.conclude([self._immediate(world, row) for row in self.suspects.rows])

    def finish(self, end: End) -> Verdict:
        """Implement `Fold.finish`: add messages not sent, delivered too early, or in another conversation."""
        world = end.world
        messages = world.messages()
        flags = messages["flags"]
        unsent = ((flags & (DELIVERED | STORED | MISPLACED)) > 0) & ((flags & INVOKED) == 0)
        mids = np.flatnonzero(unsent | ((flags & DISPUTED) > 0))
        authors = world.tables.page_author[mids >> PAGE_BITS]
        doubtful = self._authors_in_doubt(end)[authors] & unsent[mids] if len(mids) else np.zeros(0, bool)
        ghosts = mids[~doubtful]
        ghosts = ghosts[np.argsort(messages["first_rec"][ghosts], kind="stable")]
        found = [self._immediate(world, row) for row in self.suspects.rows]
        found += [_unsent(world, int(mid), bool(unsent[mid])) for mid in ghosts[:FINDINGS]]
        early = self._early(end)
        found += [self._before_sending(world, int(mid)) for mid in early[:FINDINGS]]
        doubt = int(doubtful.sum())
        return self.conclude(
            found[:FINDINGS],
            violations=self.suspects.total + len(ghosts) + len(early),
            unknown=self._doubt(end, doubt),
            facts={"of_the_platform": int(self._totals[2])},
        )

    def _early(self, end: End) -> Array:
        """Return the numbers of messages that were delivered before their sending, by more than clocks may differ.

        Sorted by the record of that delivery. Empty if the clocks of hosts were not compared. Left out are messages of
        authors whose sendings may be missing from the record.
        """
        messages, bound = end.world.messages(), end.clock_bound_ns()
        first = self._earliest[: len(messages)]
        if bound is None or not len(messages):
            return np.zeros(0, np.int64)
        sent = (messages["flags"] & (INVOKED | DISPUTED)) == INVOKED
        early = np.flatnonzero(sent & (first["rec"] > 0) & (first["t"] + bound < messages["invoke_t"]))
        authors = end.world.tables.page_author[early >> PAGE_BITS]
        early = early[~self._authors_in_doubt(end)[authors]]
        result: Array = early[np.argsort(first["rec"][early], kind="stable")]
        return result

    def _before_sending(self, world: World, mid: int) -> Finding:
        m, first = world.tables.messages[mid], self._earliest[mid]
        ms = int(m["invoke_t"] - first["t"]) // 1_000_000
        row = [0, 0, 0, -1, mid, -1, int(m["conv"]), 0, 0]
        at = 2 * GROUP + int(first["rec"])
        return finding(world, "early", row, int(first["rec"]), int(m["invoke_rec"]), at=at, ms=ms)

    def _doubt(self, end: End, unsent: int) -> Doubt:
        torn = "a journal lacks its end" if end.incomplete() or end.missing else ""
        return Doubt("{n} messages were received whose author's journal lacks its end", unsent, torn)

    def _authors_in_doubt(self, end: End) -> Array:
        """Return bool by client: whether a sending of this client may be missing from the record."""
        clients = len(end.world.tables.user_of)
        everywhere = np.zeros(clients, bool)
        doubt = np.zeros(clients, bool)
        elsewhere = end.world.context.speaking if end.world.context else {}
        known = {*self._here, *elsewhere}
        incomplete = end.incomplete() | {journal for journal in known if journal >= len(end.journals)}
        for journal in known:
            here = _either(self._here.get(journal), elsewhere.get(journal))
            everywhere |= here
            if journal in incomplete:
                doubt |= here
        if incomplete or end.missing:
            doubt |= ~everywhere
        return doubt | (end.missing > 0)

    def _immediate(self, world: World, row: tuple[int, ...]) -> Finding:
        what = {FOREIGN_BODY: "foreign", ABSURD: "unknown", NOWHERE: "nowhere"}
        return finding(world, what[row[WHAT]], row, row[REC], author=row[X], counter=row[Y])


def _either(here: Array | None, elsewhere: Array | None) -> Array:
    """Return bool by client: whether a journal records the client according to `here` or `elsewhere`.

    None: nothing is known; at least one of the two is an array (not 0: recorded).
    """
    known = [one > 0 for one in (here, elsewhere) if one is not None]
    result: Array = np.logical_or.reduce(known)
    return result


def _unsent(world: World, mid: int, unsent: bool) -> Finding:
    m = world.tables.messages[mid]
    row = [0, 0, 0, -1, mid, -1, int(m["conv"]), 0, 0]
    assert row[MID] == mid
    what, at = "unsent" if unsent else "elsewhere", GROUP + int(m["first_rec"])
    return finding(world, what, row, int(m["invoke_rec"]), int(m["first_rec"]), at=at)


NO_CREATION = Described(
    id="I8",
    name="no-creation",
    title="Was every message that was delivered or stored sent in this run?",
    unit="messages received or stored",
    symptom="Messages came that nobody had sent",
    fold=NoCreation,
    tally="{violations} of {examined} messages that were received or stored {were} not sent in this run",
    sentences={
        "foreign": "{who} got a message in {where} that nobody had sent in this run",
        "unknown": "{who} got a message in {where} of an author or counter that cannot be: {raw}",
        "nowhere": "{who} got {message} in a conversation that this run does not have",
        "unsent": "{message} appeared in {where}, but nobody sent it",
        "early": "{message} was delivered in {where} {ms} ms before it was sent",
        "elsewhere": "{message} appeared in another conversation than {where}, where it was sent",
    },
)
