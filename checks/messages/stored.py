"""I5a: acknowledged messages are stored; I7: a message takes effect at most once."""

from __future__ import annotations

import numpy as np

from earwitness.checks.engine.fold import FINDINGS, PENDING, Described, End, Folding, finding
from earwitness.checks.engine.tables import ACKED, NUMBERED, RETRIED, STORED, Array
from earwitness.checks.engine.world import View, World
from earwitness.checks.verdict import Doubt, Verdict


class Stored(Folding):
    """State of I5a: every acknowledged message is in the final state of its conversation.

    Not a violation: a message that was never answered, whether it is stored or not. Conversations whose final read is
    incomplete are not judged, and make the verdict UNKNOWN.
    """

    def step(self, view: View) -> None:
        """Implement `Fold.step`: do nothing, because `World` stores the flags that this check reads."""

    def peek(self, world: World) -> Verdict:
        """Implement `Fold.peek`: always UNKNOWN, because the final state is read at the end."""
        return self.conclude(unknown=PENDING)

    def finish(self, end: End) -> Verdict:
        """Implement `Fold.finish`: look for acknowledged messages that a complete final read does not contain."""
        world = end.world
        messages = world.messages()
        acked = np.flatnonzero((messages["flags"] & ACKED) > 0)
        read = world.read_completely()[messages["conv"][acked]]
        lost = acked[read & ((messages["flags"][acked] & STORED) == 0)]
        unread = np.unique(messages["conv"][acked[~read]])
        first = (int(unread[0]), world.roster.conversation_name(int(unread[0]))) if len(unread) else None
        text = "the final state of {n} conversations was not read completely, {first} among them"
        unknown = Doubt(text, len(unread), first=first)
        findings = []
        for mid in first_of(lost, messages):
            m = messages[mid]
            row = [0, 0, 0, -1, int(mid), -1, int(m["conv"]), 0, 0]
            records = int(m["invoke_rec"]), int(m["seq_rec"])
            findings.append(finding(world, "lost", row, *records, at=int(shown_at(m)), seq=int(m["seq"])))
        return self.conclude(findings, examined=int(read.sum()), violations=len(lost), unknown=unknown)


class Once(Folding):
    """State of I7: a message, however often it was sent, has one sequence number and one stored row.

    Not a violation: the same row in several final reads; another number in replayed history. Where the contract does
    not promise that retries are idempotent, only messages sent once are examined.
    """

    def step(self, view: View) -> None:
        """Implement `Fold.step`: do nothing, because `World` stores the numbers and rows that this check reads."""

    def peek(self, world: World) -> Verdict:
        """Implement `Fold.peek`: return the verdict on the numbers and rows read so far."""
        return self._judge(world)

    def finish(self, end: End) -> Verdict:
        """Implement `Fold.finish`: return the verdict on the numbers and rows of all records."""
        return self._judge(end.world)

    def _judge(self, world: World) -> Verdict:
        messages, extra = world.messages(), world.extras()
        flags = messages["flags"]
        wanted = (flags & (NUMBERED | STORED)) > 0
        extra = extra[extra[:, 3] == 1]
        stated = (flags & NUMBERED > 0).astype(np.int64)
        stated += np.bincount(extra[:, 0], minlength=len(messages)) if len(extra) else 0
        wanted |= stated > 0
        if not self.contract.idempotent:
            wanted &= (flags & RETRIED) == 0
        reads = np.maximum(1, world.tables.reads)
        rows = (
            messages["rows"] > reads[np.maximum(0, messages["conv"])] if len(reads) else np.zeros(len(messages), bool)
        )
        bad = np.flatnonzero(wanted & ((stated > 1) | rows))
        others = dict(zip(extra[::-1, 0].tolist(), extra[::-1].tolist(), strict=True))
        findings = []
        for mid in first_of(bad, messages):
            m = messages[mid]
            _, other_seq, other_rec, _ = others.get(int(mid), (0, -1, 0, 0))
            row = [0, 0, 0, -1, int(mid), -1, int(m["conv"]), 0, 0]
            what = "numbers" if stated[mid] > 1 else "rows"
            records = int(m["invoke_rec"]), int(m["seq_rec"]) or int(m["first_rec"]), other_rec
            seqs = {"seq": int(m["seq"]), "other_seq": other_seq, "rows": int(m["rows"])}
            findings.append(finding(world, what, row, *records, at=int(shown_at(m)), **seqs))
        return self.conclude(findings, examined=int(wanted.sum()), violations=len(bad))


def shown_at(messages: Array) -> Array:
    """Return for each message the reference of its sending's record.

    If the sending was not recorded: of the first record that states its number, else of its first record. `messages`:
    MESSAGE rows, or one. Findings are sorted by this reference, as it does not depend on which other messages were
    read.
    """
    known = np.where(messages["seq_rec"] > 0, messages["seq_rec"], messages["first_rec"])
    result: Array = np.where(messages["invoke_rec"] > 0, messages["invoke_rec"], known)
    return result


def first_of(mids: Array, messages: Array) -> Array:
    """Return at most FINDINGS of the message numbers `mids`, the first ones by `shown_at`. `messages`: MESSAGE rows."""
    result: Array = mids[np.argsort(shown_at(messages[mids]), kind="stable")[:FINDINGS]]
    return result


STORED_CHECK = Described(
    id="I5a",
    name="stored",
    title="Is every acknowledged message in the conversation's final state?",
    unit="acknowledged messages",
    symptom="Acknowledged messages are missing from the stored history",
    fold=Stored,
    when=lambda contract: contract.durable and contract.history and contract.acknowledges,
    tally="{violations} of {examined} acknowledged messages {are} not in the final state",
    sentences={
        "lost": "{message} was acknowledged, but the final state of {where} does not have it",
    },
)

ONCE = Described(
    id="I7",
    name="effectively-once",
    title="Did every message take effect once, however often it was sent?",
    unit="messages",
    symptom="Messages took effect more than once",
    fold=Once,
    when=lambda contract: contract.idempotent,
    tally="{violations} of {examined} messages took effect more than once",
    sentences={
        "numbers": "{message} took effect twice in {where}: as number {seq} and as number {other_seq}",
        "rows": "{message} is stored {rows} times in {where}",
    },
)
