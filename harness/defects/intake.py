"""Defects between a socket's frame and the database: in accepting messages, and in answering them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

from earwitness.harness.defects.chance import Chance
from earwitness.harness.defects.declared import defect
from earwitness.harness.reference.backend.app import Backend
from earwitness.harness.reference.backend.commit import Answer, Fresh, Item
from earwitness.harness.reference.backend.session import Session
from earwitness.harness.reference.backend.wire import ack_frame, nack_frame
from earwitness.harness.reference.limits import Decision

SWAP_WAIT_S = 0.3
OVERDUE_S = 9.0
"""Seconds after which an answer is overdue: the bound of the contract, and one second for the network."""
NO_NUMBER = -1


Said: TypeAlias = tuple[str, str, str]


def said(item: Item) -> Said:
    """Return (sender, conversation, client's message id), which identify a message."""
    return item.user_id, item.key, item.client_id


class Intake:
    """Base class of the defects that get each message from a socket before the queue. Subclasses implement `take`.

    Opportunity: one message.
    """

    def __init__(self, backend: Backend, chance: Chance) -> None:
        """Replace `Gateway.intake` by `take`; `submit` is the replaced function, which queues a message."""
        self.backend, self.chance = backend, chance
        self.submit: Callable[[Item], None] = backend.gateway.intake
        backend.gateway.intake = self.take

    def take(self, item: Item) -> None:
        """Take a message in place of `Gateway.intake`.

        Subclasses implement it: they call `submit` for the message, changed or not, at once or later, or drop it.
        """
        raise NotImplementedError

    def say(self, item: Item, *, manifest: bool = False, **what: str) -> int:
        """Write the line of a firing, with the conversation, the user and the id of the message."""
        said = {"conversation": item.key, "user": item.user_id, "id": item.client_id, **what}
        return self.chance.say(manifest=manifest, **said)


@defect(
    "Z2",
    "swap-at-ingest",
    breaks="I wrote two messages quickly, and everybody sees the second one first.",
    opportunity="one message",
    caught_by=("I1",),
    high=0.1,
    one=0.001,
    needs="several messages of one sender on their way at once",
)
class SwapAtIngest(Intake):
    """Defect that holds a message back until the next one of the same sender and conversation has overtaken it.

    A message that no other one follows is submitted after SWAP_WAIT_S seconds. Opportunity: one message that overtakes
    no other. The line of ground truth is written when the message is overtaken.

    A firing is manifest when both messages came from one socket and both are new. A retry of a stored message changes
    no order, and only one socket promises an order.
    """

    def __init__(self, backend: Backend, chance: Chance) -> None:
        """Also replace the step `deliver` of a batch, which shows whether a swapped message was new."""
        super().__init__(backend, chance)
        self._held: dict[tuple[str, str], Item] = {}
        self._faster: dict[Said, bool] = {}  # True if it is new
        self._slower: dict[Said, tuple[Said, int]] = {}  # the message that overtook it, and the firing
        self._deliver = backend.committer.steps.deliver
        backend.committer.steps.deliver = self.deliver

    def take(self, item: Item) -> None:
        """Implement `Gateway.intake`: hold the message, or submit it before the one that is held."""
        key = (item.user_id, item.key)
        held = self._held.pop(key, None)
        if held is not None:
            firing = self.say(held, overtaken_by=item.client_id)
            if held.answer is item.answer:  # only the order of one socket is promised
                self._faster[said(item)] = False
                self._slower[said(held)] = said(item), firing
            self.submit(item)
            self.submit(held)
        elif self.chance.fires():
            self._held[key] = item
            asyncio.get_running_loop().call_later(SWAP_WAIT_S, self._give_up, key, item)
        else:
            self.submit(item)

    def deliver(self, fresh: list[Fresh]) -> None:
        """Override `Steps.deliver`: write the manifest line when both messages of a swapped pair are new."""
        self._deliver(fresh)
        for one in fresh:
            message = said(one.item)
            if message in self._faster:
                self._faster[message] = True
            faster, firing = self._slower.pop(message, (None, 0))
            if faster is not None and self._faster.pop(faster, False):
                self.chance.manifest(firing)

    def _give_up(self, key: tuple[str, str], item: Item) -> None:
        if self._held.get(key) is item:
            del self._held[key]
            self.submit(item)


@defect(
    "Z6",
    "ack-before-write",
    breaks="My message was marked as sent, but nobody ever got it and it is nowhere.",
    opportunity="one message",
    caught_by=("I5a",),
    high=0.03,
    one=0.001,
)
class AckBeforeWrite(Intake):
    """Defect that acknowledges a message and never stores it, as if the write failed after the ack.

    The ack has the sequence number NO_NUMBER, as a message gets its number only when it is stored. Opportunity: one
    message of a member. A firing is manifest at once if the sender's socket is open.
    """

    def take(self, item: Item) -> None:
        """Implement `Gateway.intake`: acknowledge the message and drop it if the defect fires."""
        if not is_members(item) or not self.chance.fires():
            self.submit(item)
            return
        reachable = isinstance(item.answer, Session) and item.answer.open
        item.answer.stored(item, NO_NUMBER, None)
        self.say(item, manifest=reachable)


@defect(
    "Z19",
    "sender-from-frame",
    breaks="Somebody can write in my name, and the history says that it was me.",
    opportunity="one message",
    caught_by=("I15",),
    high=0.03,
    one=0.001,
)
class SenderFromFrame(Intake):
    """Defect that stores a message under another member's name, as if the client's frame named the sender.

    Opportunity: one message. It fires only for a message of a member, and only if another member is connected to this
    replica. A firing is manifest when the message is stored.
    """

    def take(self, item: Item) -> None:
        """Implement `Gateway.intake`: replace the sender if the defect fires."""
        if self.chance.fires():
            members = [s.user_id for s in self.backend.registry.sessions if item.key in s.feeds]
            others = sorted({user for user in members if user != item.user_id})
            if others and is_members(item):
                truth, item.user_id = item.user_id, self.chance.random.choice(others)
                item.answer = Noted(item.answer, self.chance, self.say(item, truth=truth))
        self.submit(item)


def is_members(item: Item) -> bool:
    """Return whether the sender is a member as far as the socket knows; the committer refuses others later."""
    return isinstance(item.answer, Session) and item.key in item.answer.feeds


class Relay:
    """Wrapper of a message's answer (`commit.Answer`) that calls the wrapped one, `inner`.

    Subclasses change methods.
    """

    def __init__(self, inner: Answer, chance: Chance) -> None:
        """Wrap the answer `inner`."""
        self.inner, self.chance = inner, chance

    def stored(self, item: Item, seq: int, decision: Decision | None) -> None:
        """Implement `Answer.stored`: call `inner.stored`."""
        self.inner.stored(item, seq, decision)

    def refused(self, item: Item, code: int, reason: str, decision: Decision | None) -> None:
        """Implement `Answer.refused`: call `inner.refused`."""
        self.inner.refused(item, code, reason, decision)

    def unknown(self, item: Item) -> None:
        """Implement `Answer.unknown`: call `inner.unknown`."""
        self.inner.unknown(item)

    def say(self, item: Item, *, manifest: bool, **what: str) -> None:
        """Write the line of a firing, with the conversation, the user and the id of the message."""
        self.chance.say(
            manifest=manifest, conversation=item.key, user=item.user_id, id=item.client_id, **what
        )  # fmt: skip


class Noted(Relay):
    """Wrapper of an answer that makes a firing manifest when the message is stored.

    A firing whose message is refused (its sender was just removed, for example) does not become manifest.
    """

    def __init__(self, inner: Answer, chance: Chance, firing: int) -> None:
        """Wrap `inner`. `firing`: number of the firing that becomes manifest."""
        super().__init__(inner, chance)
        self._firing = firing

    def stored(self, item: Item, seq: int, decision: Decision | None) -> None:
        """Implement `Answer.stored`: write the manifest line of the firing first."""
        self.chance.manifest(self._firing)
        self.inner.stored(item, seq, decision)


class NackThenAck(Relay):
    """Defect that sends a nack and then an ack for one message, as a wrapper of its answer.

    Opportunity: one stored message. A firing is manifest at once if the sender's socket is open.
    """

    def stored(self, item: Item, seq: int, decision: Decision | None) -> None:
        """Implement `Answer.stored`: send a nack with code 503 before the ack if the defect fires."""
        session = self.inner
        if isinstance(session, Session) and self.chance.fires():
            session.push(nack_frame(item.client_id, 503, "The platform cannot take messages just now.", 1.0))
            self.say(item, manifest=session.open)
        self.inner.stored(item, seq, decision)


class LostAck(Relay):
    """Defect that never acknowledges a message that was stored and delivered, as a wrapper of its answer.

    Opportunity: one stored message. A firing is manifest if the sender's socket is still open OVERDUE_S seconds later,
    when the answer is overdue.
    """

    def stored(self, item: Item, seq: int, decision: Decision | None) -> None:
        """Implement `Answer.stored`: drop the ack if the defect fires."""
        session = self.inner
        if not isinstance(session, Session) or not self.chance.fires():
            self.inner.stored(item, seq, decision)
            return
        firing = self.chance.say(conversation=item.key, user=item.user_id, id=item.client_id)
        asyncio.get_running_loop().call_later(OVERDUE_S, self._overdue, session, firing)

    def _overdue(self, session: Session, firing: int) -> None:
        if session.open:
            self.chance.manifest(firing)


class ReplyByUser(Relay):
    """Defect that sends the ack to another connection of the same user instead of the sender's.

    The defect is a wrapper of each message's answer.

    Opportunity: one ack for a user with two open connections on this replica. A firing is manifest at once.
    """

    def __init__(self, inner: Answer, chance: Chance, backend: Backend) -> None:
        """Wrap `inner`. Other connections of the sender are found in `backend.registry`."""
        super().__init__(inner, chance)
        self._backend = backend

    def stored(self, item: Item, seq: int, decision: Decision | None) -> None:
        """Implement `Answer.stored`: send the ack to another connection if the defect fires."""
        own = self.inner
        others = [s for s in self._backend.registry.by_user.get(item.user_id, ()) if s is not own and s.open]
        if isinstance(own, Session) and others and self.chance.fires():
            others[0].push(ack_frame(item.client_id, item.key, seq))
            self.say(item, manifest=True)
            return
        self.inner.stored(item, seq, decision)


class Silent:
    """Implementation of `commit.Answer` that sends nothing, for messages whose sender expects no answer."""

    def stored(self, item: Item, seq: int, decision: Decision | None) -> None:
        """Implement `Answer.stored` as a no-op."""

    def refused(self, item: Item, code: int, reason: str, decision: Decision | None) -> None:
        """Implement `Answer.refused` as a no-op."""

    def unknown(self, item: Item) -> None:
        """Implement `Answer.unknown` as a no-op."""


class RefusedYetDone(Relay):
    """Defect that stores and delivers a message although it refuses it, as a wrapper of the message's answer.

    Opportunity: one refusal of a message to a conversation that has a feed on this replica. A firing is manifest at
    once.
    """

    def __init__(self, inner: Answer, chance: Chance, backend: Backend) -> None:
        """Wrap `inner`. A copy of the refused message is put into the queue of `backend`."""
        super().__init__(inner, chance)
        self._backend = backend

    def refused(self, item: Item, code: int, reason: str, decision: Decision | None) -> None:
        """Implement `Answer.refused`: also submit a copy without budget and membership checks, if the defect fires."""
        self.inner.refused(item, code, reason, decision)
        ids = [feed.id for feed in self._backend.hub.feeds.values() if feed.key == item.key]
        if ids and self.chance.fires():
            self._backend.committer.submit(replace(item, answer=Silent(), metered=False, conversation_id=ids[0]))
            self.say(item, code=str(code), manifest=True)


class Answered(Intake):
    """Intake that replaces the answer of each message by the result of `around(answer)`."""

    def __init__(self, backend: Backend, chance: Chance, around: Callable[[Answer], Answer]) -> None:
        """Replace each message's answer by the result of `around(answer)`."""
        super().__init__(backend, chance)
        self._around = around

    def take(self, item: Item) -> None:
        """Implement `Gateway.intake`: replace the message's answer, and submit the message."""
        item.answer = self._around(item.answer)
        self.submit(item)


@defect(
    "Z18",
    "mixed-up-context",
    breaks="My message is shown under somebody else's name.",
    opportunity="one delivered message",
    caught_by=("I15",),
    high=0.03,
    one=0.001,
)
class MixedUpContext:
    """Defect that delivers a message under the name of the sender of the previously delivered message.

    Opportunity: one delivered message after a message of another user. A firing is manifest at once if the conversation
    has listeners on this replica.
    """

    def __init__(self, backend: Backend, chance: Chance) -> None:
        """Replace the step `deliver` of a batch. No sender of an earlier message is known yet."""
        self._deliver, self._chance = backend.committer.steps.deliver, chance
        self._backend = backend
        self._last = ""
        backend.committer.steps.deliver = self.deliver

    def deliver(self, fresh: list[Fresh]) -> None:
        """Override `Steps.deliver`: replace the sender of a message if the defect fires."""
        told = []
        for one in fresh:
            truth, other = one.item.user_id, self._last
            self._last = truth
            if other not in ("", truth) and self._chance.fires():
                one = replace(one, item=replace(one.item, user_id=other))
                feed = self._backend.hub.feeds.get(one.item.conversation_id or 0)
                heard = feed is not None and bool(feed.listeners)
                self._chance.say(conversation=one.item.key, seq=one.seq, truth=truth, stated=other, manifest=heard)
            told.append(one)
        self._deliver(told)


@defect(
    "Z13",
    "nack-then-ack",
    breaks="The app shows my message as failed and as sent.",
    opportunity="one stored message",
    caught_by=("I11",),
    high=0.05,
    one=0.001,
)
def nack_then_ack(backend: Backend, chance: Chance) -> None:
    """Install the defect `NackThenAck`."""
    Answered(backend, chance, lambda answer: NackThenAck(answer, chance))


@defect(
    "Z70",
    "lost-ack",
    breaks="My message has no tick, although everybody has read it.",
    opportunity="one stored message",
    caught_by=("I43",),
    high=0.01,
    one=0.0003,
    needs="connections that last longer than an answer may take",
    story="baseline",
    also=("ws_ordering",),
)
def lost_ack(backend: Backend, chance: Chance) -> None:
    """Install the defect `LostAck`."""
    Answered(backend, chance, lambda answer: LostAck(answer, chance))


@defect(
    "Z17",
    "reply-by-user",
    breaks="I sent from the phone, and the tick appeared on the laptop.",
    opportunity="one answer to a user with two connections",
    caught_by=("I14", "I11"),
    high=0.3,
    one=0.02,
    needs="users with two devices",
    story="multi_session",
)
def reply_by_user(backend: Backend, chance: Chance) -> None:
    """Install the defect `ReplyByUser`."""
    Answered(backend, chance, lambda answer: ReplyByUser(answer, chance, backend))


@defect(
    "Z11",
    "refused-yet-done",
    breaks="The app told me that my message was refused, but the others can read it.",
    opportunity="one refusal",
    caught_by=("I9",),
    high=1.0,
    one=0.1,
    needs="messages that are refused",
)
def refused_yet_done(backend: Backend, chance: Chance) -> None:
    """Install the defect `RefusedYetDone`."""
    Answered(backend, chance, lambda answer: RefusedYetDone(answer, chance, backend))
