"""Defects between a socket's frame and the database: what is taken in, and how it is answered."""

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
"""The contract's bound of an answer, and a second for the way."""
NO_NUMBER = -1


Said: TypeAlias = tuple[str, str, str]


def said(item: Item) -> Said:
    """Which message it is: sender, conversation, the sender's id of it."""
    return item.user_id, item.key, item.client_id


class Intake:
    """Stands before the queue of messages from sockets. An opportunity is one message."""

    def __init__(self, backend: Backend, chance: Chance) -> None:
        self.backend, self.chance = backend, chance
        self.submit: Callable[[Item], None] = backend.gateway.intake
        backend.gateway.intake = self.take

    def take(self, item: Item) -> None:
        raise NotImplementedError

    def say(self, item: Item, *, manifest: bool = False, **what: str) -> int:
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
    """Two workers take two messages of one sender, and the second is faster. A message without a follower waits a
    little and goes its way. Manifest when both are new: of what was stored before, a retry changes no order."""

    def __init__(self, backend: Backend, chance: Chance) -> None:
        super().__init__(backend, chance)
        self._held: dict[tuple[str, str], Item] = {}
        self._faster: dict[Said, bool] = {}  # is it new?
        self._slower: dict[Said, tuple[Said, int]] = {}  # what overtook it, in which firing
        self._deliver = backend.committer.steps.deliver
        backend.committer.steps.deliver = self.deliver

    def take(self, item: Item) -> None:
        key = (item.user_id, item.key)
        held = self._held.pop(key, None)
        if held is not None:
            firing = self.say(held, overtaken_by=item.client_id)
            if held.answer is item.answer:  # from one socket: their order was promised
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
    """A message is acknowledged first, and then its write fails. It has no number yet, so the answer names none."""

    def take(self, item: Item) -> None:
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
    """The sender is whom the client's frame names, and somebody else it names, among those connected here."""

    def take(self, item: Item) -> None:
        if self.chance.fires():
            members = [s.user_id for s in self.backend.registry.sessions if item.key in s.feeds]
            others = sorted({user for user in members if user != item.user_id})
            if others and is_members(item):
                truth, item.user_id = item.user_id, self.chance.random.choice(others)
                item.answer = Noted(item.answer, self.chance, self.say(item, truth=truth))
        self.submit(item)


def is_members(item: Item) -> bool:
    """As far as the socket knows; whoever is no member is refused later."""
    return isinstance(item.answer, Session) and item.key in item.answer.feeds


class Relay:
    """An answer that lets everything through (commit.Answer)."""

    def __init__(self, inner: Answer, chance: Chance) -> None:
        self.inner, self.chance = inner, chance

    def stored(self, item: Item, seq: int, decision: Decision | None) -> None:
        self.inner.stored(item, seq, decision)

    def refused(self, item: Item, code: int, reason: str, decision: Decision | None) -> None:
        self.inner.refused(item, code, reason, decision)

    def unknown(self, item: Item) -> None:
        self.inner.unknown(item)

    def say(self, item: Item, *, manifest: bool, **what: str) -> None:
        self.chance.say(
            manifest=manifest, conversation=item.key, user=item.user_id, id=item.client_id, **what
        )  # fmt: skip


class Noted(Relay):
    """A firing that shows if the message is stored: whoever was just put out is refused under the other name too."""

    def __init__(self, inner: Answer, chance: Chance, firing: int) -> None:
        super().__init__(inner, chance)
        self._firing = firing

    def stored(self, item: Item, seq: int, decision: Decision | None) -> None:
        self.chance.manifest(self._firing)
        self.inner.stored(item, seq, decision)


class NackThenAck(Relay):
    """A message is refused and accepted in one breath. An opportunity is one stored message."""

    def stored(self, item: Item, seq: int, decision: Decision | None) -> None:
        session = self.inner
        if isinstance(session, Session) and self.chance.fires():
            session.push(nack_frame(item.client_id, 503, "The platform cannot take messages just now.", 1.0))
            self.say(item, manifest=session.open)
        self.inner.stored(item, seq, decision)


class LostAck(Relay):
    """A message is stored and pushed, and its sender is never told. An opportunity is one stored message.

    It shows if the sender's socket is still open when the answer is overdue."""

    def stored(self, item: Item, seq: int, decision: Decision | None) -> None:
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
    """The answer goes to another connection of the same user. An opportunity is one answer of a user who has two."""

    def __init__(self, inner: Answer, chance: Chance, backend: Backend) -> None:
        super().__init__(inner, chance)
        self._backend = backend

    def stored(self, item: Item, seq: int, decision: Decision | None) -> None:
        own = self.inner
        others = [s for s in self._backend.registry.by_user.get(item.user_id, ()) if s is not own and s.open]
        if isinstance(own, Session) and others and self.chance.fires():
            others[0].push(ack_frame(item.client_id, item.key, seq))
            self.say(item, manifest=True)
            return
        self.inner.stored(item, seq, decision)


class Silent:
    """Nobody waits for this answer (commit.Answer)."""

    def stored(self, item: Item, seq: int, decision: Decision | None) -> None: ...

    def refused(self, item: Item, code: int, reason: str, decision: Decision | None) -> None: ...

    def unknown(self, item: Item) -> None: ...


class RefusedYetDone(Relay):
    """A message is refused, and stored and delivered all the same. An opportunity is one refusal of a message to a
    conversation that somebody here listens to."""

    def __init__(self, inner: Answer, chance: Chance, backend: Backend) -> None:
        super().__init__(inner, chance)
        self._backend = backend

    def refused(self, item: Item, code: int, reason: str, decision: Decision | None) -> None:
        self.inner.refused(item, code, reason, decision)
        ids = [feed.id for feed in self._backend.hub.feeds.values() if feed.key == item.key]
        if ids and self.chance.fires():
            self._backend.committer.submit(replace(item, answer=Silent(), metered=False, conversation_id=ids[0]))
            self.say(item, code=str(code), manifest=True)


class Answered(Intake):
    """Puts an answer of its own around each message's."""

    def __init__(self, backend: Backend, chance: Chance, around: Callable[[Answer], Answer]) -> None:
        super().__init__(backend, chance)
        self._around = around

    def take(self, item: Item) -> None:
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
    """The name of whoever was served last is put on a delivery. An opportunity is one delivered message."""

    def __init__(self, backend: Backend, chance: Chance) -> None:
        self._deliver, self._chance = backend.committer.steps.deliver, chance
        self._backend = backend
        self._last = ""
        backend.committer.steps.deliver = self.deliver

    def deliver(self, fresh: list[Fresh]) -> None:
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
    Answered(backend, chance, lambda answer: RefusedYetDone(answer, chance, backend))
