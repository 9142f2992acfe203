"""I34: a live connection has no more authority than the token that opened it."""

from __future__ import annotations

from typing import NamedTuple

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
"""Latest delivery on one connection."""


@kernel
def last_delivered(records: Array, journal: Int, mids: Array, conns: Array, last: Array) -> None:
    """Keep records for counterexamples: the latest delivery on each connection.

    `last` is LAST by connection; each delivery overwrites the row, since the records of a connection come in order. A
    violation is found at the end from bits without record references. A finding shows the message that was sent last,
    which is mostly the last one delivered too; if it is not, the finding shows one record less. So one row for each
    connection is enough.
    """
    for i in range(len(records)):
        if records[i]["kind"] == K_DELIVER and mids[i] >= 0 and conns[i] >= 0:
            # Records of one connection come in order, so the row that is left at the end is that of the latest
            # delivery.
            row = last[conns[i]]
            row["mid"] = mids[i]
            row["rec"] = (np.int64(journal) << REC_BITS) | np.int64(records[i]["index"])


@kernel
def sent_on(records: Array, mids: Array, conns: Array, sent: Array) -> None:
    """Store for each message the connection + 1 of its sendings; -1: there were several, and any may have counted.

    `sent` is 0 for none, so a zeroed array needs no filling; a sending by HTTP, on no connection, leaves 0. A message
    is judged only if all of its sendings came on one connection, so one number by message is enough: a second
    connection turns it into -1 for good, in any order of reading. Keeping all connections of a message would need a
    list or a hash.
    """
    for i in range(len(records)):
        if records[i]["kind"] == K_INVOKE and mids[i] >= 0:
            # -1 stays for good: it is neither 0 nor a connection + 1.
            conn = conns[i] + 1
            sent[mids[i]] = conn if sent[mids[i]] in (0, conn) else -1


@kernel
def delivered_on(w: Tables, slot: Int, mids: Array, result: Array) -> None:
    """Set `result` by message of `mids`: whether it was delivered live to this subscription on this connection.

    The bits of a subscription's first slot are in the page of the subscription, those of later slots in pages of their
    own (see `checks.engine.resolve.mark`). Which of the two applies is the same for all messages, so it is decided
    before the loop. A page covers SPAN = 256 positions; -1 means that nothing of it was received.
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

    ends    when its authority ended: at the token's deadline, or when its revocation was requested
    until   deadline plus the contract's leeway, or confirmed revocation plus its bound: until then messages are allowed
    cause   record reference of the revocation, 0 if the token's deadline ended the authority
    surely  `until` plus what steps of the platform's wall clock may add: messages before it are in doubt
    last    when the connection itself ended
    """

    conn: int
    request: Request
    token_rec: int
    ends: int
    until: int
    cause: int
    surely: int
    last: int


class LiveAuthority(Together):
    """State of I34: nothing sent after the end of a connection's authority is delivered on it, or accepted from it.

    The authority ends with the token's deadline and leeway, or with the confirmed revocation and its bound. Accepted is
    what was acknowledged, stored, or delivered to any device: the platform need not echo it. The time of sending
    decides, not that of delivery: what was sent before may come later. A message that was sent on several connections
    is not judged as accepted from one of them.

    Counted are connections. Examined are those that were open when their authority ended, and in whose conversations
    something was sent and accepted afterwards, or that sent something themselves.
    """

    KEPT_ONLY = False

    def __init__(self, check: Described, roster: Roster, contract: Contract) -> None:
        """Start with empty tables by connection and by message; `step` enlarges them."""
        super().__init__(check, roster, contract)
        self._last = np.zeros(0, LAST)
        self._sent = np.zeros(0, np.int64)

    def step(self, view: View) -> None:
        """Implement `Fold.step`: store the connection of each sending, and the latest delivery on each connection."""
        if view.world.kept.has(Kind.REQUEST):
            self._last = grown(self._last, len(view.world.tables.conns))
            last_delivered(view.records, view.journal, view.mid, view.conn, self._last)
        self._sent = grown(self._sent, view.world.mids)
        sent_on(view.records, view.mid, view.conn, self._sent)

    def look(self, world: World, bound_ns: int, end: End | None) -> None:
        """Implement `Together.look`: look for messages sent after the end of a connection's authority.

        Violations are those that were delivered on it or accepted from it.
        """
        messages = world.messages()
        said = (messages["flags"] & INVOKED > 0) & (messages["flags"] & (ACKED | HEARD) > 0) & (messages["conv"] >= 0)
        accepted = (messages["flags"] & (ACKED | HEARD | STORED)) > 0
        sent = grown(self._sent, len(messages))[: len(messages)]
        for opened in self._opened(world):
            own = (sent == opened.conn + 1) & (messages["invoke_t"] > opened.until + bound_ns)
            late = np.flatnonzero(said & (messages["invoke_t"] > opened.until + bound_ns))
            if not (len(late) or own.any()) or opened.last < opened.ends:
                continue
            concerned, heard_here = self._late_on(world, opened, messages["conv"][late], late)
            shown, own_accepted = late[heard_here], np.flatnonzero(own & accepted)
            doubtful = messages["invoke_t"] <= opened.surely + bound_ns
            proven, own_proven = shown[~doubtful[shown]], own_accepted[~doubtful[own_accepted]]
            if not len(proven) and not len(own_proven) and (len(shown) or len(own_accepted)):
                self.not_judged += 1
                continue
            self.examined += bool(concerned.any() or own.any())
            if len(proven):
                self._outlived(world, opened, "outlived", int(proven[np.argmax(messages["invoke_rec"][proven])]))
            elif len(own_proven):
                self._outlived(world, opened, "accepted", int(own_proven[0]))

    def _late_on(self, world: World, opened: Opened, convs: Array, late: Array) -> tuple[Array, Array]:
        """Return two bools by message of `late`: the connection was subscribed to its conversation; it came there."""
        w, slots = world.tables, world.tables.slots[: world.slots]
        concerned, heard_here = np.zeros(len(late), bool), np.zeros(len(late), bool)
        for slot in np.flatnonzero(slots["conn"] == opened.conn):
            here = np.flatnonzero(convs == w.sub_conv[slots[slot]["sub"]])
            concerned[here] = True
            result = np.zeros(len(here), bool)
            delivered_on(w, int(slot), late[here], result)
            heard_here[here] |= result
        return concerned, heard_here

    def _opened(self, world: World) -> list[Opened]:
        """Return the connections whose authority has an end."""
        known, clock = credentials_of(world), wall_clock_of(world)
        ends = known.ends(self.contract)
        closed = _closings(world)
        found = []
        for request in known.requests:
            conn = world.connection(request.journal, request.conn) if request.conn else -1
            if request.place == Place.SOCKET and request.yes and conn >= 0 and request.name in known.tokens:
                limit = self._limit(known, ends, request.name, clock)
                if limit is not None:
                    last = closed.get((request.journal, request.conn), np.iinfo(np.int64).max)
                    found.append(Opened(conn, request, known.tokens[request.name].rec, *limit, last))
        return found

    def _limit(
        self, known: Credentials, ends: dict[Name, Revocation], name: Name, clock: WallClock
    ) -> tuple[int, int, int, int] | None:
        """Return the end of an artefact's authority, None if it has none.

        It is (when the authority ended, until when it may still show, the revocation's record or 0, until when it may
        still show if the wall clock was stepped), in ns.
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

    def _outlived(self, world: World, opened: Opened, what: str, mid: int) -> None:
        author, counter = world.name_of(mid)
        message = world.tables.messages[mid]
        known = self._last[opened.conn] if opened.conn < len(self._last) else None
        heard_rec = int(known["rec"]) if known is not None and known["mid"] == mid else 0
        recs = [opened.token_rec, opened.request.rec, opened.cause, int(message["invoke_rec"]), heard_rec]
        late_ms = (int(message["invoke_t"]) - opened.ends) // 1_000_000
        self.wrong(
            what, *(rec for rec in recs if rec), client=opened.request.client, author=author, counter=counter,
            conv=int(message["conv"]), late=late_ms,
        )  # fmt: skip


def _closings(world: World) -> dict[tuple[int, int], int]:
    """Return when each connection ended (ns), by journal and its number there."""
    rows, recs = world.kept.of(Kind.DISCONNECT)
    journals = (recs >> REC_BITS).tolist()
    return dict(zip(zip(journals, rows["conn"].tolist(), strict=True), rows["t"].tolist(), strict=True))


LIVE_AUTHORITY = Described(
    id="I34",
    name="live-authority",
    title="Was nothing delivered on a connection whose token had ended?",
    fold=LiveAuthority,
    when=lambda contract: contract.sockets_end_with_token,
    sentences={
        "outlived": "{who} received {message} in {where}, which was sent {late} ms after the authority of the "
        "connection had ended",
        "accepted": "{message}, which was sent in {where} {late} ms after the authority of its connection had "
        "ended, was accepted",
    },
)
