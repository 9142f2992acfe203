"""I34: a live connection has no more authority than the token that opened it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from earwitness.checks.accounts.credentials import (
    SECOND,
    Credentials,
    Name,
    Request,
    Revocation,
    Together,
    credentials_of,
)
from earwitness.checks.contract import Contract
from earwitness.checks.engine.compiled import kernel
from earwitness.checks.engine.fold import Described, End
from earwitness.checks.engine.tables import (  # fmt: skip
    ACKED,
    HEARD,
    INVOKED,
    REC_BITS,
    SPAN,
    SPAN_BITS,
    STORED,
    TAG_SLOT_PAGE,
    Array,
    Int,
    Tables,
    find,
    heard,
)
from earwitness.checks.engine.wall_clock import NEVER, WallClock, forgets, wall_clock_of
from earwitness.checks.engine.world import View, World, grown
from earwitness.checks.history.kinds import K_DELIVER, K_INVOKE
from earwitness.checks.history.record import NONE, Artefact, Kind, Place
from earwitness.checks.roster import Roster

LAST = np.dtype([("mid", "<i4"), ("rec", "<i8")])
"""Latest delivery on one connection: number of its message, and reference of its DELIVER record (0: none)."""


@kernel
def watch_step(records: Array, journal: Int, mids: Array, conns: Array, last: Array, sent: Array) -> None:
    """Store the latest delivery on each connection, and for each message the connection on which it was sent.

    `records`: a chunk of journal `journal`; `mids`, `conns`: message and connection of each record, -1: none. `last`
    and `sent` are output.

    `last`: LAST by connection. Each delivery overwrites the row, since the records of a connection come in order. A
    violation is found at the end from bits without record references. A finding shows the message that was sent last,
    which is mostly the last one delivered too; if it is not, the finding shows one record less. So one row for each
    connection is enough.

    `sent`: by message, connection + 1; 0: not sent, or only by HTTP; -1: sent on several connections, and any of these
    sendings may be the accepted one. A message is judged only if all of its sendings came on one connection, so one
    number for each message is enough. The order of reading does not matter: once -1, the value stays -1.
    """
    for i in range(len(records)):
        kind = records[i]["kind"]
        if mids[i] < 0:
            continue
        if kind == K_DELIVER and conns[i] >= 0:
            # Records of one connection come in order, so the row that is left at the end is that of the latest
            # delivery.
            row = last[conns[i]]
            row["mid"] = mids[i]
            row["rec"] = (np.int64(journal) << REC_BITS) | np.int64(records[i]["index"])
        elif kind == K_INVOKE:
            # -1 stays for good: it is neither 0 nor a connection + 1.
            conn = conns[i] + 1
            sent[mids[i]] = conn if sent[mids[i]] in (0, conn) else -1


@kernel
def delivered_on(w: Tables, slot: Int, mids: Array, result: Array) -> None:
    """Set `result[k]` to whether message `mids[k]` was delivered live in slot `slot`.

    A slot is a subscription on one connection. All messages are of the subscription's conversation.

    The bits of a subscription's first slot are in the page of the subscription, those of later slots in pages of their
    own (see `checks.engine.resolve.mark`). Which of the two applies is the same for all messages, so it is decided
    before the loop. A page covers SPAN = 256 positions in the conversation; page number -1 means that there is no page,
    because none of these messages was received.
    """
    sub = np.int64(w.slots[slot]["sub"])
    first = w.subs[sub]["first"] == slot
    for k in range(len(mids)):
        pos = np.int64(w.messages[mids[k]]["pos"])
        number = pos >> SPAN_BITS
        word = (pos & (SPAN - 1)) >> 6
        bit = np.uint64(1) << np.uint64(pos & 63)
        # The page of a subscription has three words for 64 positions; the second one is for its first slot.
        if first:
            page = heard(w, sub, number)
            result[k] = page >= 0 and w.sub_bits[page, 3 * word + 1] & bit != 0
        else:
            # A later slot has pages of its own, with one word for 64 positions.
            page = find(w, TAG_SLOT_PAGE | (slot << 28) | number)
            result[k] = page >= 0 and w.slot_bits[page, word] & bit != 0


class Opened(NamedTuple):
    """Connection that a token or a ticket opened, with the end of its authority (times in monotonic ns).

    conn       number of the connection among those of the world
    request    accepted request that opened the connection
    token_rec  record reference of the token or ticket
    ends       when the authority ended: at the token's deadline, or when its revocation was requested
    until      deadline plus the contract's leeway, or confirmed revocation plus its bound: messages sent until then are
               allowed
    cause      record reference of the revocation, 0 if the token's deadline ended the authority
    surely     like `until`, but as late as steps of the platform's wall clock may move it: a message sent between
               `until` and `surely` is not judged
    """

    conn: int
    request: Request
    token_rec: int
    ends: int
    until: int
    cause: int
    surely: int


class Message(NamedTuple):
    """Message, by numbers that are the same in every judge process.

    `rec`, `t`: record reference and time (ns) of its sending; `author`: client that sent it; `counter`: its number
    among the messages of that client; `conv`: number of its conversation.
    """

    rec: int
    t: int
    author: int
    counter: int
    conv: int


class Evidence(NamedTuple):
    """Facts about one connection after the end of its authority, as the records of some conversations show them.

    A message is late if it was sent after `Opened.until`, and certainly late if sent after `Opened.surely`.

    concerned  a late message was sent in a conversation of the connection, or on the connection
    seeming    a late message was delivered on the connection, or accepted from it
    outlived   of the certainly late messages delivered on the connection, the one whose sending has the highest record
               reference; None: none
    accepted   of the certainly late messages that were sent on the connection and accepted, the one whose sending has
               the lowest record reference; None: none
    heard      latest delivery on the connection: its record reference, and the author and counter of the message;
               zeros: none
    """

    concerned: bool
    seeming: bool
    outlived: Message | None
    accepted: Message | None
    heard: tuple[int, int, int]

    def merged(self, other: Evidence) -> Evidence:
        """Return the facts about the same connection from the conversations of `self` and of `other` together."""
        outlived = [one.outlived for one in (self, other) if one.outlived is not None]
        accepted = [one.accepted for one in (self, other) if one.accepted is not None]
        return Evidence(
            self.concerned or other.concerned,
            self.seeming or other.seeming,
            max(outlived, default=None),
            min(accepted, default=None),
            max(self.heard, other.heard),
        )


class LiveAuthority(Together):
    """State of I34: nothing sent after the end of a connection's authority is delivered on it, or accepted from it.

    The authority ends at the token's deadline plus leeway, or at its confirmed revocation plus the revocation bound. A
    message counts as accepted if it was acknowledged, stored, or delivered to any device. The time of sending decides,
    not the time of delivery: a message that was sent before the end may be delivered after the end. A message that was
    sent on several connections is not judged as accepted from one of them.

    Each connection counts as at most one violation. Examined: connections that were open when their authority ended,
    if afterwards a message was accepted in one of their conversations, or was sent on the connection.
    """

    KEPT_ONLY = False

    def __init__(self, check: Described, roster: Roster, contract: Contract) -> None:
        """Start with empty tables by connection and by message; `step` enlarges them."""
        super().__init__(check, roster, contract)
        self._last = np.zeros(0, LAST)
        self._sent = np.zeros(0, np.int64)
        self._elsewhere: list[Evidence] | None = None

    def step(self, view: View) -> None:
        """Implement `Fold.step`: store the connection of each sending, and the latest delivery on each connection."""
        self._last = grown(self._last, len(view.world.tables.conns))
        self._sent = grown(self._sent, view.world.mids)
        watch_step(view.records, view.journal, view.mid, view.conn, self._last, self._sent)

    def add_evidence(self, part: Sequence[Evidence]) -> None:
        """Add the evidence from conversations that another judge process reads.

        `part`: one Evidence for each connection that `opened` returns, in the same order. After the first call, `look`
        uses only added evidence, and no longer calls `evidence`. Raises ValueError if parts differ in length.
        """
        known = self._elsewhere
        self._elsewhere = list(part) if known is None else [a.merged(b) for a, b in zip(known, part, strict=True)]

    def look(self, world: World, bound_ns: int, end: End | None) -> None:
        """Implement `Together.look`: look for messages sent after the end of a connection's authority.

        Violations are those that were delivered on it or accepted from it.
        """
        opened = self.opened(world)
        shown = self.evidence(world, opened, bound_ns) if self._elsewhere is None else self._elsewhere
        for one, found in zip(opened, shown, strict=True):
            proven = found.outlived is not None or found.accepted is not None
            if found.seeming and not proven:
                self.not_judged += 1
                continue
            self.examined += found.concerned
            if found.outlived is not None:
                self._outlived(one, "outlived", found.outlived, found)
            elif found.accepted is not None:
                self._outlived(one, "accepted", found.accepted, found)

    def evidence(self, world: World, opened: Sequence[Opened], bound_ns: int) -> list[Evidence]:
        """Return the evidence from the records of `world` for each connection in `opened`, in the same order.

        `bound_ns`: by how many ns times of two journals may differ.
        """
        messages = world.messages()
        said = (messages["flags"] & INVOKED > 0) & (messages["flags"] & (ACKED | HEARD) > 0) & (messages["conv"] >= 0)
        accepted = (messages["flags"] & (ACKED | HEARD | STORED)) > 0
        sent = grown(self._sent, len(messages))[: len(messages)]
        found = []
        for one in opened:
            after = messages["invoke_t"] > one.until + bound_ns
            own, late = (sent == one.conn + 1) & after, np.flatnonzero(said & after)
            concerned, heard_here = self._late_on(world, one, messages["conv"][late], late)
            shown, own_accepted = late[heard_here], np.flatnonzero(own & accepted)
            surely = messages["invoke_t"] > one.surely + bound_ns
            found.append(
                Evidence(
                    concerned=bool(concerned.any() or own.any()),
                    seeming=bool(len(shown) or len(own_accepted)),
                    outlived=_picked(world, shown[surely[shown]], np.argmax),
                    accepted=_picked(world, own_accepted[surely[own_accepted]], np.argmin),
                    heard=self._heard_on(world, one.conn),
                )
            )
        return found

    def _late_on(self, world: World, opened: Opened, convs: Array, late: Array) -> tuple[Array, Array]:
        """Return (in a conversation of the connection, delivered on the connection): bool arrays by message of `late`.

        `late`: message numbers; `convs`: their conversations.
        """
        w, slots = world.tables, world.tables.slots[: world.slots]
        concerned, heard_here = np.zeros(len(late), bool), np.zeros(len(late), bool)
        for slot in np.flatnonzero(slots["conn"] == opened.conn):
            here = np.flatnonzero(convs == w.sub_conv[slots[slot]["sub"]])
            concerned[here] = True
            result = np.zeros(len(here), bool)
            delivered_on(w, int(slot), late[here], result)
            heard_here[here] |= result
        return concerned, heard_here

    def _heard_on(self, world: World, conn: int) -> tuple[int, int, int]:
        if conn >= len(self._last) or not self._last[conn]["rec"]:
            return 0, 0, 0
        return (int(self._last[conn]["rec"]), *world.name_of(int(self._last[conn]["mid"])))

    def opened(self, world: World) -> list[Opened]:
        """Return the connections whose authority ended while they were open, in the order of their requests."""
        known, clock = credentials_of(world), wall_clock_of(world)
        ends = known.ends(self.contract)
        closed = _closings(world)
        found = []
        for request in known.requests:
            conn = world.connection(request.journal, request.conn) if request.conn else -1
            if request.place == Place.SOCKET and request.yes and conn >= 0 and request.name in known.tokens:
                limit = self._limit(known, ends, request.name, clock)
                if limit is not None:
                    one = Opened(conn, request, known.tokens[request.name].rec, *limit)
                    if closed.get((request.journal, request.conn), NEVER) >= one.ends:
                        found.append(one)
        return found

    def _limit(
        self, known: Credentials, ends: dict[Name, Revocation], name: Name, clock: WallClock
    ) -> tuple[int, int, int, int] | None:
        """Return (ends, until, cause, surely), as in Opened, for the artefact `name`; None if its authority never ends.

        For a ticket, the token with which it was obtained counts too; the earliest `until` decides. `ends`: the
        revocation of each artefact.
        """
        token = known.tokens[name]
        behind = known.tokens.get((name[0], token.belongs_to)) if token.kind == Artefact.TICKET else token
        limits = []
        if behind is not None and behind.deadline != NONE:
            until = behind.deadline + int(self.contract.token_leeway_s * SECOND)
            limits.append((behind.deadline, until, 0, behind.lasts_to(clock, until, NEVER)))
        bound_s = self.contract.revocation_bound_s
        for one in (token, behind):
            if one is not None and one.name in ends and bound_s is not None:
                gone = ends[one.name]
                until = gone.t + int(bound_s * SECOND)
                limits.append((gone.asked, until, gone.rec, NEVER if forgets(clock, gone.asked, NEVER) else until))
        if not limits:
            return None
        ended, until, cause, _ = min(limits, key=lambda limit: limit[1])
        return ended, until, cause, min(limit[3] for limit in limits)

    def _outlived(self, opened: Opened, what: str, message: Message, found: Evidence) -> None:
        rec, *name = found.heard
        heard_rec = rec if name == [message.author, message.counter] else 0
        recs = [opened.token_rec, opened.request.rec, opened.cause, message.rec, heard_rec]
        late_ms = (message.t - opened.ends) // 1_000_000
        self.wrong(
            what, *(rec for rec in recs if rec), client=opened.request.client, author=message.author,
            counter=message.counter, conv=message.conv, late=late_ms,
        )  # fmt: skip


def _picked(world: World, mids: Array, pick: Callable[[Array], Any]) -> Message | None:
    """Return one of the messages `mids`, None if there are none.

    `pick` is given the record references of their sendings, and returns the index of the chosen one.
    """
    if not len(mids):
        return None
    mid = int(mids[pick(world.messages()["invoke_rec"][mids])])
    m = world.tables.messages[mid]
    return Message(int(m["invoke_rec"]), int(m["invoke_t"]), *world.name_of(mid), int(m["conv"]))


def _closings(world: World) -> dict[tuple[int, int], int]:
    """Return (journal number, connection number in that journal) -> when the connection ended (ns)."""
    rows, recs = world.kept.of(Kind.DISCONNECT)
    journals = (recs >> REC_BITS).tolist()
    return dict(zip(zip(journals, rows["conn"].tolist(), strict=True), rows["t"].tolist(), strict=True))


LIVE_AUTHORITY = Described(
    id="I34",
    name="live-authority",
    title="Was nothing delivered on a connection whose token had ended?",
    unit="connections whose token had ended",
    symptom="Connections lived on after their token had ended",
    fold=LiveAuthority,
    when=lambda contract: contract.sockets_end_with_token,
    sentences={
        "outlived": "{who} received {message} in {where}, which was sent {late} ms after the authority of the "
        "connection had ended",
        "accepted": "{message}, which was sent in {where} {late} ms after the authority of its connection had "
        "ended, was accepted",
    },
)
