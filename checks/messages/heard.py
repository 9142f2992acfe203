"""Checks that judge each received message alone: I6 duplication, I10 integrity, I12 isolation, I15 identity."""

from __future__ import annotations

from typing import Any

import numpy as np

from earwitness.checks.contract import Contract
from earwitness.checks.engine.compiled import helper, kernel
from earwitness.checks.engine.fold import (
    CLIENT,
    CONV,
    FINDINGS,
    MID,
    MID2,
    REC,
    REC2,
    WHAT,
    Described,
    End,
    Folding,
    Suspects,
    X,
    Y,
    finding,
    invoked,
)
from earwitness.checks.engine.resolve import AGAIN_HERE, AGAIN_ON_DEVICE
from earwitness.checks.engine.tables import INVOKED, REC_BITS, RETRIED, Array, Int, Tables, subscription
from earwitness.checks.engine.world import View, World, grown
from earwitness.checks.history.kinds import (
    CONTENT,
    CORRUPT,
    HEARD_OR_READ,
    K_DELIVER,
    K_INVOKE,
    K_PRESENCE,
    K_RUN,
    K_SEEN,
    K_STORED,
    LISTENED,
    MISROUTED,
    PUSHED,
    UNTRUSTED,
)
from earwitness.checks.history.record import Kind
from earwitness.checks.roster import Roster
from earwitness.checks.verdict import Doubt, Finding, Verdict

K_IDENTITY = int(Kind.IDENTITY)
STRANGER = -2
"""Value of `aux` for a stated user id that no login on record explains."""


STATED, UNEXPLAINED = 1, 2
"""Bits of WHAT in rows of I15.

STATED       a place of the platform stated who a device is; without this bit, who sent a message
UNEXPLAINED  the stated id is one that no login on record explains
"""


@helper
def note(row: Array, what: Int, journal: Int, r: Array, mid: Int, x: Int, y: Int) -> None:
    """Fill `row` with a violation: its type `what`, record, client, message, conversation, and two values of the check.

    The columns are those of `checks.engine.fold`: `r` is the record of `journal` that shows the violation, `mid` the
    message (-1: none), `x` and `y` go into X and Y. REC2 is set to 0 and MID2 to -1 (none).
    """
    row[WHAT] = what
    row[REC] = (np.int64(journal) << REC_BITS) | np.int64(r["index"])
    # Checks with a second record or message write it into the row afterwards.
    row[REC2] = 0
    row[CLIENT] = r["client"]
    row[MID] = mid
    row[MID2] = -1
    row[CONV] = r["conv"]
    row[X] = x
    row[Y] = y


@kernel
def repeats(
    records: Array, journal: Int, mids: Array, slots: Array, seen: Array, bit: Int, out: Array, totals: Array
) -> None:
    """Write a row to `out` for each delivery that repeats an earlier one, on the connection or the device.

    `mids`, `slots` (-1: none) and `seen` belong to the records. `totals` counts deliveries examined, rows of `out`. The
    shared pass (`checks.engine.resolve`) has set the bits of `seen`; `bit` is the one for the contract's scope,
    AGAIN_HERE or AGAIN_ON_DEVICE. So the loop only filters and stores nothing between calls. WHAT is 0 for a repetition
    on the same connection, 1 for one on a later connection. At most one row for each record.
    """
    for i in range(len(records)):
        r = records[i]
        if r["kind"] != K_DELIVER or mids[i] < 0 or slots[i] < 0:
            continue
        totals[0] += 1
        # What is repeated on a connection is repeated on its device too; WHAT separates the two cases.
        if seen[i] & bit:
            note(out[totals[1]], 0 if seen[i] & AGAIN_HERE else 1, journal, r, mids[i], r["seq"], -1)
            totals[1] += 1


@kernel
def changes(records: Array, journal: Int, mids: Array, w: Tables, changed: Array, out: Array, totals: Array) -> None:
    """Compare the digest (CRC-32) and size (bytes) of each record with those of its message.

    `mids`: by record its message, -1: none. Corrupt bodies become rows of `out`, differing ones rows of `changed`:
    message, source (1 its sending, 2 the final state, 0 a delivery), digest, size (-1: not comparable), rec. `totals`
    counts records examined, rows of `out`, rows of `changed`.

    The message's entry in `w.messages` holds the content of whichever record was read first. Records that agree with
    the entry are only counted there (`agreed`, `agreed_retries`); only those that differ cost a row. So memory grows
    with the differences, not with the deliveries. If the sending turns out to differ from the entry, then
    `Integrity.peek` counts the records that agreed with the entry as the violations. Sizes of retries are not compared,
    because a body states its attempt.
    """
    for i in range(len(records)):
        r = records[i]
        kind = r["kind"]
        if not 1 << np.int64(kind) & CONTENT:
            continue
        if kind != K_INVOKE:
            totals[0] += 1
            # The body's own checksum failed, so it names no message to compare with: a violation by itself.
            if r["flags"] & CORRUPT:
                note(out[totals[1]], 0, journal, r, -1, -1, 2 if kind == K_STORED else -1)
                totals[1] += 1
                continue
        if mids[i] < 0:
            continue
        m = w.messages[mids[i]]
        first = r["attempt"] <= 1
        # Only counted: should the reference turn out to be wrong, exactly these are the violations.
        if m["digest"] == r["digest"] and (not first or m["size"] == r["size"]):
            if kind != K_INVOKE:
                if first:
                    m["agreed"] += 1
                else:
                    m["agreed_retries"] += 1
            continue
        row = changed[totals[2]]
        totals[2] += 1
        row[0] = mids[i]
        row[1] = 1 if kind == K_INVOKE else 2 if kind == K_STORED else 0
        row[2] = r["digest"]
        row[3] = r["size"] if first else -1
        row[4] = (np.int64(journal) << REC_BITS) | np.int64(r["index"])


@helper
def shows_a_stranger(r: Any, w: Tables) -> bool:
    """Return whether a PRESENCE record is about a user of the run who does not belong to the record's conversation."""
    # An author beyond the roster is no user of the run, so the record is about nobody whom we know.
    unknown: bool = r["author"] >= len(w.user_of)
    return not unknown and subscription(w, np.int64(r["author"]), np.int64(r["conv"])) < 0


@kernel
def strays(records: Array, journal: Int, mids: Array, subs: Array, w: Tables, out: Array, totals: Array) -> None:
    """Write a row to `out` for each record that reached a non-member, or came under another conversation's name.

    `mids`, `subs`: by record its message and subscription, -1: none. `totals` counts records examined, rows of `out`.
    WHAT is 0: message to a non-member, 1: message under another conversation's name, 2: push (agent's answer, presence,
    shared state) to a non-member, 3: presence of a user who is no member.

    `subs` is -1 exactly where the roster does not have the device in the conversation, so membership costs no look-up,
    except for the second user that a presence names. Bodies that cannot be trusted are skipped, because they do not say
    where they belong. Kinds are tested by bits of one integer, which is one shift instead of several comparisons.
    """
    clients, convs = len(w.user_of), len(w.conv_next)
    for i in range(len(records)):
        r = records[i]
        kind = r["kind"]
        # A push has no message: membership is all that can be wrong about it here.
        if 1 << np.int64(kind) & PUSHED and r["conn"] > 0 and r["conv"] < convs and r["client"] < clients:
            totals[0] += 1
            if subs[i] < 0:
                note(out[totals[1]], 2, journal, r, -1, -1, np.int64(kind))
                totals[1] += 1
            elif kind == K_PRESENCE and shows_a_stranger(r, w):
                note(out[totals[1]], 3, journal, r, -1, np.int64(r["author"]), np.int64(kind))
                totals[1] += 1
            continue
        if not 1 << np.int64(kind) & LISTENED or r["flags"] & UNTRUSTED or r["client"] >= clients:
            continue
        totals[0] += 1
        # MISROUTED: the device is a member here, but the body was sent to another conversation.
        if subs[i] < 0 or r["flags"] & MISROUTED:
            note(out[totals[1]], 0 if subs[i] < 0 else 1, journal, r, mids[i], r["author"], r["counter"])
            totals[1] += 1


@kernel
def statements(records: Array, journal: Int, mids: Array, user_of: Array, out: Array, totals: Array) -> None:
    """Write a row to `out` for each record that states another user than the true one.

    `mids`: by record its message, -1: none. `user_of`: by client its user. `totals` counts statements examined, rows of
    `out`. A stated id is in `aux`: a client number, STRANGER for an id that no login explains, -1 if the platform
    states none. Clients are compared by user, because a platform names users, not devices. The true user is that of the
    device that logged in (IDENTITY) or of the author in the body. MID2 of a row holds the true user, so that `Identity`
    can count by user which violations a missing part of the record makes doubtful.
    """
    for i in range(len(records)):
        r = records[i]
        kind = r["kind"]
        if kind == K_IDENTITY:
            truth = np.int64(r["client"])
        elif 1 << np.int64(kind) & HEARD_OR_READ:
            truth = np.int64(r["author"])
            if r["flags"] & UNTRUSTED:
                continue
        else:
            continue
        said = r["aux"]
        # The platform states nobody, or the author is no client of this run, which is for I8.
        if said == -1 or truth >= len(user_of):
            continue
        totals[0] += 1
        # Users are compared: any client number of the true user is right.
        if said < 0 or said >= len(user_of) or user_of[said] != user_of[truth]:
            what = (STATED if kind == K_IDENTITY else 0) | (UNEXPLAINED if said < 0 else 0)
            note(out[totals[1]], what, journal, r, mids[i], said, r["counter"])
            out[totals[1], MID2] = user_of[truth]
            totals[1] += 1


class PerRecord(Folding):
    """Base class of checks that count and store violations while records are read.

    Subclasses implement `step` and `describe`; those whose violations may still change override `peek` or `finish`.
    """

    def __init__(self, check: Described, roster: Roster, contract: Contract) -> None:
        """Start with zero `totals`: records examined, rows written to `world.out`, a number for the check's own use."""
        super().__init__(check, roster, contract)
        self.totals = np.zeros(3, np.int64)

    def peek(self, world: World) -> Verdict:
        """Implement `Fold.peek`: return the violations so far."""
        return self.conclude([self.describe(world, row) for row in self.suspects.rows])

    def finish(self, end: End) -> Verdict:
        """Implement `Fold.finish`: return the result of `peek`."""
        return self.peek(end.world)

    def counted(self, world: World) -> None:
        """Take over what a kernel has counted in `totals` and written to `world.out`.

        Sets `examined` to the first total, adds the rows (second total) to the violations, and sets the second total to
        0.
        """
        self.suspects.take(world.out, int(self.totals[1]))
        self.totals[1] = 0
        self.examined = int(self.totals[0])

    def describe(self, world: World, row: tuple[int, ...]) -> Finding:
        """Return the finding of a violation, `row` having the columns WHAT … Y. Subclasses implement it."""
        raise NotImplementedError


class NoDuplication(PerRecord):
    """State of I6: a message is delivered at most once on a connection, or to a device where the contract says so.

    Not a violation: history replayed on joining; a message that was sent several times to a platform that does not
    promise idempotence; a delivery to a device that does not belong to the conversation (I12).
    """

    def __init__(self, check: Described, roster: Roster, contract: Contract) -> None:
        """Read the scope from `contract.at_most_once`: the connection, or the device."""
        super().__init__(check, roster, contract)
        self._bit = AGAIN_ON_DEVICE if contract.at_most_once == "device" else AGAIN_HERE
        self._undecided: list[Array] = []

    def step(self, view: View) -> None:
        """Implement `Fold.step`: look for repeated deliveries.

        Unless the contract promises idempotence, the rows are stored undecided: a message that turns out to be retried
        may come twice.
        """
        out = view.world.out
        repeats(view.records, view.journal, view.mid, view.slot, view.seen, self._bit, out, self.totals)
        if self.totals[1] and not self.contract.idempotent:  # which messages were retried is known at the end
            self._undecided.append(out[: int(self.totals[1])].copy())
            self.totals[1] = 0
        self.counted(view.world)

    def peek(self, world: World) -> Verdict:
        """Implement `Fold.peek`: return the violations so far.

        Unless the contract promises idempotence, repeated deliveries of messages that are known to be retried are left
        out.
        """
        decided, flags = Suspects(), world.messages()["flags"]
        for rows in self._undecided:
            once = rows[(flags[rows[:, MID]] & RETRIED) == 0]
            decided.take(once, len(once))
        both = self.suspects.merged(decided)
        return self.conclude([self.describe(world, row) for row in both.rows], violations=both.total)

    def describe(self, world: World, row: tuple[int, ...]) -> Finding:
        """Implement `PerRecord.describe`: return the finding of a repeated delivery."""
        what = "repeated-later" if row[WHAT] else "repeated"
        return finding(world, what, row, invoked(world, row[MID]), row[REC], seq=row[X])


class Integrity(PerRecord):
    """State of I10: message bodies arrive unchanged.

    The checksum in the body matches, and digest and size are the same as at the sender.

    Not a violation: another size of a retry, whose body states its attempt; anything about a message whose sending is
    not on record (I8). A message that was received before its sending was read is compared with the first record of the
    message; `peek` corrects the count when the sending turns out to differ from that record.
    """

    def __init__(self, check: Described, roster: Roster, contract: Contract) -> None:
        """Start without changed or corrupt messages."""
        super().__init__(check, roster, contract)
        self._changed = np.zeros((64, 5), np.int64)

    def step(self, view: View) -> None:
        """Implement `Fold.step`: compare digest and size of each record with those of its message."""
        world = view.world
        self._changed = grown(self._changed, int(self.totals[2]) + len(view.records))
        changes(view.records, view.journal, view.mid, world.tables, self._changed, world.out, self.totals)
        self.counted(world)

    def peek(self, world: World) -> Verdict:
        """Implement `Fold.peek`: return the violations so far, corrected where the sending was not read first.

        `changes` has compared the records of such a message with the record that was read first.
        """
        messages = world.messages()
        rows = self._changed[: int(self.totals[2])]
        rows = rows[(messages["flags"][rows[:, 0]] & INVOKED) > 0]
        sent: dict[int, tuple[int, int, int]] = {}
        for mid, own, digest, size, rec in rows.tolist():
            if own == 1:
                sent[mid] = (digest, max(size, sent.get(mid, (0, -1, 0))[1]), rec)
        changed, violations = [], self.suspects.total
        for mid, (digest, size, _) in sent.items():  # the sending differs from the message's first record
            m = messages[mid]
            other_digest = digest != m["digest"]
            if other_digest:
                violations += int(m["agreed_retries"])
            if other_digest or size not in (-1, m["size"]):
                violations += int(m["agreed"])
            changed.append((1, int(m["first_rec"]), 0, -1, mid, -1, -1, size, -1))
        for mid, own, digest, size, rec in rows.tolist():
            m = messages[mid]
            true_digest, true_size, _ = sent.get(mid, (int(m["digest"]), int(m["size"]), 0))
            if own != 1 and (digest != true_digest or (size != true_size and min(size, true_size) >= 0)):
                violations += 1
                changed.append((1, rec, 0, -1, mid, -1, -1, size, own))
        told = sorted([*self.suspects.rows, *changed], key=lambda row: row[REC])[:FINDINGS]
        return self.conclude([self.describe(world, row) for row in told], violations=violations)

    def describe(self, world: World, row: tuple[int, ...]) -> Finding:
        """Implement `PerRecord.describe`: return the finding of a corrupt or changed body."""
        stored = row[Y] == 2
        if row[MID] < 0:
            return finding(world, "corrupt-in-store" if stored else "corrupt", row, row[REC])
        m = world.messages()[row[MID]]
        whole = (*row[:CONV], int(m["conv"]), *row[X:])
        what = "changed-in-store" if stored else "changed"
        return finding(world, what, whole, invoked(world, row[MID]), row[REC])


_PUSHED_WHAT = {K_RUN: "stranger-run", K_PRESENCE: "stranger-presence", K_SEEN: "stranger-state"}


class Isolation(PerRecord):
    """State of I12: a device is sent only what belongs to its conversations, and under the name of the true one.

    This covers messages, agents' answers, presence, edits, read marks and names; a presence must also name a member of
    the conversation. Membership is the tester's own roster. Not examined: bodies that are corrupt (I10) or of another
    run (I8), because they do not say where they belong.
    """

    def step(self, view: View) -> None:
        """Implement `Fold.step`: look for records of a conversation that reached a device outside of it."""
        world = view.world
        strays(view.records, view.journal, view.mid, view.sub, world.tables, world.out, self.totals)
        self.counted(world)

    def describe(self, world: World, row: tuple[int, ...]) -> Finding:
        """Implement `PerRecord.describe`: return the finding of a record that reached a non-member or is misrouted."""
        if row[WHAT] == 3:
            return finding(world, "presence-of-stranger", row, row[REC], stated=row[X])
        if row[WHAT] == 2:
            return finding(world, _PUSHED_WHAT[row[Y]], row, row[REC])
        what = "misrouted" if row[WHAT] else "stranger"
        return finding(world, what, row, invoked(world, row[MID]), row[REC], author=row[X], counter=row[Y])


class Identity(PerRecord):
    """State of I15: the platform names the true sender of every message, and the true user in every identity it states.

    Not examined: places that state no user. Where a part of the record is missing, an id that no login on record
    explains is a violation only if the true user's own id is on record, and if the platform gives one id to each user.
    """

    def __init__(self, check: Described, roster: Roster, contract: Contract) -> None:
        """Start without violations. Those with unexplained ids are counted by user of `roster`."""
        super().__init__(check, roster, contract)
        users = max(roster.user_of, default=-1) + 1
        self._unexplained = np.zeros(users, np.int64)
        self._first = np.zeros((users, 9), np.int64)
        self._strangers = Suspects()

    def step(self, view: View) -> None:
        """Implement `Fold.step`: look for statements that name a wrong user.

        Ids that no login explains are counted by user, apart from other violations, because they may be doubtful at the
        end (`finish`).
        """
        world, out = view.world, view.world.out
        statements(view.records, view.journal, view.mid, world.tables.user_of, out, self.totals)
        n = int(self.totals[1])
        if n:
            strange = (out[:n, WHAT] & UNEXPLAINED) > 0
            rows = out[:n][strange]
            users, first, counts = np.unique(rows[:, MID2], return_index=True, return_counts=True)
            new = self._unexplained[users] == 0
            self._first[users[new]] = rows[first[new]]
            self._unexplained[users] += counts
            self._strangers.take(rows, len(rows))
            certain = out[:n][~strange]
            self.suspects.take(certain, len(certain))
        self.totals[1] = 0
        self.examined = int(self.totals[0])

    def peek(self, world: World) -> Verdict:
        """Implement `Fold.peek`: return the violations so far, as if no record were missing."""
        return self._judge(world, self._unexplained > 0)

    def finish(self, end: End) -> Verdict:
        """Implement `Fold.finish`: return the violations that no missing part of the record may explain.

        The others make the verdict UNKNOWN.
        """
        named = self._unexplained > 0
        return self._judge(end.world, named & self._ids_known(end) if end.partial else named)

    def _ids_known(self, end: End) -> Array:
        """Return bool by user: whether the platform's id of the user is on record. All False if a user has two ids."""
        ids: dict[int, set[str]] = {}
        for client, text in end.facts.get("identities", ()):
            if client < len(self.roster.user_of):
                ids.setdefault(self.roster.user_of[client], set()).add(text)
        known = np.zeros(len(self._unexplained), bool)
        if all(len(texts) == 1 for texts in ids.values()):
            known[list(ids)] = True
        return known

    def _judge(self, world: World, proven: Array) -> Verdict:
        doubtful, strangers = int(self._unexplained[~proven].sum()), self._strangers
        if doubtful:
            strangers = Suspects()
            strangers.take(self._first[proven], int(proven.sum()), int(self._unexplained[proven].sum()))
        both = self.suspects.merged(strangers)
        why = "{n} statements name an id that no login on record explains; a part of the record is missing"
        return self.conclude(
            [self.describe(world, row) for row in both.rows], violations=both.total, unknown=Doubt(why, doubtful)
        )

    def describe(self, world: World, row: tuple[int, ...]) -> Finding:
        """Implement `PerRecord.describe`: return the finding of a wrong sender or identity."""
        row = (*row[:MID2], -1, *row[CONV:])
        if row[WHAT] & STATED:
            return finding(world, "identity", row, row[REC], stated=row[X], place=row[Y])
        return finding(world, "sender", row, invoked(world, row[MID]), row[REC], stated=row[X])


NO_DUPLICATION = Described(
    id="I6",
    name="no-duplication",
    title="Did every device receive each message at most once?",
    unit="deliveries",
    symptom="Devices received messages more than once",
    fold=NoDuplication,
    when=lambda contract: contract.at_most_once != "no",
    tally="{violations} of {examined} deliveries brought a message again",
    sentences={
        "repeated": "{who} received {message} in {where} again, after it had been delivered there already",
        "repeated-later": "{who} received {message} in {where} again on a later connection, after it had been "
        "delivered to this device already",
    },
)
INTEGRITY = Described(
    id="I10",
    name="integrity",
    title="Did every message arrive unchanged?",
    unit="messages received or stored",
    symptom="Messages came changed or damaged",
    fold=Integrity,
    when=lambda contract: contract.unchanged,
    tally="{violations} of {examined} messages that were received or stored {are} not as they were sent",
    sentences={
        "corrupt": "{who} got a message whose content does not fit its own checksum",
        "corrupt-in-store": "the final state of {where} has a message whose content does not fit its own checksum",
        "changed": "{message} was delivered in {where} with another content than it was sent with",
        "changed-in-store": "{message} is stored in {where} with another content than it was sent with",
    },
)
ISOLATION = Described(
    id="I12",
    name="isolation",
    title="Did only members receive a conversation's messages?",
    unit="receipts",
    symptom="Users were shown what belongs to conversations of others",
    fold=Isolation,
    tally="{violations} of {examined} receipts leaked something of a conversation to where it does not belong",
    sentences={
        "stranger": "{who} received {message} in {where} without being a member",
        "stranger-run": "{who} was sent an agent's answer in {where} without being a member",
        "stranger-presence": "{who} was shown who is online in {where} without being a member",
        "presence-of-stranger": "{who} was shown in {where} whether {stated} is online, who is no member of it",
        "stranger-state": "{who} was shown an edit, a read mark or the name of {where} without being a member",
        "misrouted": "{who} received {message} of {where} under the name of another conversation",
    },
)
IDENTITY = Described(
    id="I15",
    name="identity",
    title="Did the platform name the true sender everywhere?",
    unit="statements of a sender or user",
    symptom="The platform named wrong senders or users",
    fold=Identity,
    when=lambda contract: contract.names_sender,
    tally="{violations} of {examined} statements of a sender or user {name} a wrong one",
    sentences={
        "sender": "the platform named {stated} as the sender of {message} in {where}",
        "identity": "{place} took {who} for {stated}",
    },
)
