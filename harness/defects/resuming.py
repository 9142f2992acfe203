"""Defects of resuming after a cut connection, and of reading a conversation's history."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from earwitness.harness.defects.answered import Answered
from earwitness.harness.defects.chance import Chance
from earwitness.harness.defects.declared import defect
from earwitness.harness.reference.backend.app import Backend
from earwitness.harness.reference.backend.feed import Feed, Numbered
from earwitness.harness.reference.backend.session import Session
from earwitness.harness.reference.backend.store import Message

LAG = 3
LATE = timedelta(seconds=0.5)
PAGE_WITH_A_MIDDLE = 3


class Replay:
    """Base class of the defects that change the replay to a client that resumes. Subclasses implement `wrong`.

    Opportunity: one read of the missed messages of a conversation.
    """

    def __init__(self, backend: Backend, chance: Chance) -> None:
        """Replace `Resumer.read_frames`, which reads the missed messages from the database."""
        self.chance, self.read = chance, backend.resumer.read_frames
        backend.resumer.read_frames = self.read_frames

    async def read_frames(self, feed: Feed, first: int, last: int) -> list[Numbered]:
        """Implement `Resumer.read_frames`: return the frames of `wrong` if the defect fires."""
        if not self.chance.fires():
            return await self.read(feed, first, last)
        return await self.wrong(feed, first, last)

    async def wrong(self, feed: Feed, first: int, last: int) -> list[Numbered]:
        """Return wrong frames for the sequence numbers `first` to `last` of a conversation. Subclasses implement it."""
        raise NotImplementedError


@defect(
    "Z24",
    "resume-gap",
    breaks="After the connection broke one message is missing.",
    opportunity="one conversation of a client that comes back and has missed something",
    caught_by=("I20", "I4"),
    high=1.0,
    one=0.1,
    needs="cut connections",
    also=("ws_reconnect",),
)
class ResumeGap(Replay):
    """Defect that starts the replay one message too late: `>` where `>=` was meant.

    Opportunity: one read of the missed messages of a conversation. A firing is manifest at once if other messages
    follow the one that was left out.
    """

    async def wrong(self, feed: Feed, first: int, last: int) -> list[Numbered]:
        """Implement `Replay.wrong`: leave out the first message."""
        frames = await self.read(feed, first + 1, last) if first < last else []
        self.chance.say(conversation=feed.key, left_out=first, manifest=bool(frames))
        return frames


@defect(
    "Z25",
    "resume-repeat",
    breaks="After the connection broke the last message is there twice.",
    opportunity="one conversation of a client that comes back and has missed something",
    caught_by=("I6",),
    high=1.0,
    one=0.1,
    needs="cut connections",
    also=("ws_reconnect",),
)
class ResumeRepeat(Replay):
    """Defect that starts the replay one message too early, so the client gets the last known message again.

    Opportunity: one read of the missed messages of a conversation. It fires, and the firing is manifest at once, if
    there is a message before them.
    """

    async def wrong(self, feed: Feed, first: int, last: int) -> list[Numbered]:
        """Implement `Replay.wrong`: start with the message before the first."""
        if first <= 1:
            return await self.read(feed, first, last)
        frames = await self.read(feed, first - 1, last)
        self.chance.say(conversation=feed.key, repeated=first - 1, manifest=True)
        return frames


@defect(
    "Z26",
    "resume-window",
    breaks="After a longer break of the connection the older half of what I missed is not there.",
    opportunity="one conversation of a client that comes back and has missed something",
    caught_by=("I20", "I21", "I4"),
    high=1.0,
    one=0.1,
    needs="cut connections",
    also=("ws_reconnect",),
)
class ResumeWindow(Replay):
    """Defect that replays only the newest half of the missed messages, although `joined` said `complete`.

    It is as if the buffer of old messages had been overwritten. Opportunity: one read of the missed messages of a
    conversation. It fires, and the firing is manifest at once, if there are at least two.
    """

    async def wrong(self, feed: Feed, first: int, last: int) -> list[Numbered]:
        """Implement `Replay.wrong`: leave out the older half."""
        frames = await self.read(feed, first, last)
        gone = len(frames) // 2
        if gone:
            self.chance.say(conversation=feed.key, left_out=[seq for seq, _ in frames[:gone]], manifest=True)
        return frames[gone:]


@defect(
    "Z23",
    "forgetful-resume",
    breaks="After the connection broke I never got what was written meanwhile, and nothing told me.",
    opportunity="one conversation of a client that comes back and has missed something",
    caught_by=("I19",),
    high=1.0,
    one=0.1,
    needs="cut connections",
    also=("ws_reconnect",),
)
class ForgetfulResume:
    """Defect that ignores the position of a client that resumes.

    The conversation begins at its head, as for a new client. Opportunity: one conversation of a client that resumes
    behind its head. A firing is manifest at once.
    """

    def __init__(self, backend: Backend, chance: Chance) -> None:
        """Replace `Resumer.resume`, which replays the messages after each position."""
        self._backend, self._chance = backend, chance
        self._resume = backend.resumer.resume
        # The gateway reads the attribute each time, so a function in the instance replaces the method.
        vars(backend.resumer)["resume"] = self.resume

    async def resume(self, session: Session, seen: Mapping[str, Any]) -> None:
        """Override `Resumer.resume`: remove the positions for which the defect fires from `seen`, then resume."""
        known = dict(seen)
        for key, feed in session.feeds.items():
            last = known.get(key)
            if isinstance(last, int) and last < feed.head and self._chance.fires():
                del known[key]
                self._chance.say(conversation=key, user=session.user_id, seen=last, head=feed.head, manifest=True)
        await self._resume(session, known)


@defect(
    "Z20",
    "lagging-history",
    breaks="I open the conversation, and what was just written is not there.",
    opportunity="one page of a history",
    caught_by=("I16", "I5a", "I17"),
    high=1.0,
    one=0.2,
)
class LaggingHistory:
    """Defect that reads history from a database replica that lacks the newest LAG messages.

    Opportunity: one page that is neither empty nor full: a full page may not be the newest. A firing is manifest at
    once.
    """

    def __init__(self, backend: Backend, chance: Chance) -> None:
        """Replace `Rest.read_page`, which reads a page of history."""
        self.chance, self.read_page = chance, backend.rest.read_page
        backend.rest.read_page = self.page

    async def page(self, conversation_id: int, after: int, limit: int, up_to: int | None = None) -> list[Message]:
        """Override `Rest.read_page`: leave out the last LAG messages if the defect fires."""
        page = await self.read_page(conversation_id, after, limit, up_to)
        if len(page) >= limit or not page or not self.lags():
            return page
        self.chance.say(conversation_id=conversation_id, left_out=[m.seq for m in page[-LAG:]], manifest=True)
        return page[:-LAG]

    def lags(self) -> bool:
        """Return whether this page comes from the lagging replica; here: whether the defect fires.

        Subclasses may replace it.
        """
        return self.chance.fires()


@defect(
    "Z21",
    "alternating-history",
    breaks="Each time I reload, the newest messages come and go.",
    opportunity="every second page of a history",
    caught_by=("I17", "I16", "I5a"),
    high=1.0,
    one=0.3,
)
class AlternatingHistory(LaggingHistory):
    """Defect that reads every second page from the lagging replica.

    Opportunity: every second page that is neither empty nor full. A firing is manifest at once.
    """

    def __init__(self, backend: Backend, chance: Chance) -> None:
        """Start so that the first page comes from the replica that does not lag."""
        super().__init__(backend, chance)
        self._turn = False

    def lags(self) -> bool:
        """Implement `LaggingHistory.lags`: return True for every second page if the defect fires."""
        self._turn = not self._turn
        return not self._turn and self.chance.fires()


@defect(
    "Z71",
    "late-history",
    breaks="I open the conversation, and what a friend has just been told is sent is not there yet.",
    opportunity="one page of a history that has something younger than half a second",
    caught_by=("I44", "I17", "I16"),
    high=0.5,
    one=0.01,
    needs="histories that are read",
)
class LateHistory(LaggingHistory):
    """Defect that reads history from a database replica that lags by LATE, so it lacks younger messages.

    Opportunity: one page that is not full and has such a message. A firing is manifest at once.
    """

    async def page(self, conversation_id: int, after: int, limit: int, up_to: int | None = None) -> list[Message]:
        """Override `Rest.read_page`: leave out the messages younger than LATE if the defect fires."""
        page = await self.read_page(conversation_id, after, limit, up_to)
        since = datetime.now(UTC) - LATE
        old = [message for message in page if message.at < since]
        if len(page) >= limit or len(old) == len(page) or not self.lags():
            return page
        self.chance.say(conversation_id=conversation_id, left_out=[m.seq for m in page[len(old) :]], manifest=True)
        return old


@defect(
    "Z66",
    "hole-in-page",
    breaks="I scroll back, and one message in the middle of the page is not there.",
    opportunity="one page of a history with at least three rows",
    caught_by=("I16", "I17"),
    high=0.3,
    one=0.01,
    needs="histories that are read",
)
class HoleInPage:
    """Defect that leaves out one row in the middle of a history page.

    The ends of the page are right, and so is its length if more messages follow; its digest covers the rows that it
    has. Opportunity: one page of at least PAGE_WITH_A_MIDDLE rows. A firing is manifest when the request is answered
    with success.
    """

    def __init__(self, backend: Backend, chance: Chance) -> None:
        """Replace `Rest.read_page`. A firing becomes manifest with the answer to its request."""
        self._chance, self._answered = chance, Answered(backend, chance)
        self._read_page = backend.rest.read_page
        backend.rest.read_page = self.page

    async def page(self, conversation_id: int, after: int, limit: int, up_to: int | None = None) -> list[Message]:
        """Override `Rest.read_page`: remove the middle row if the defect fires."""
        # One row more, because a page shorter than the limit would count as the last one.
        rows = await self._read_page(conversation_id, after, limit + 1, up_to)
        shown = min(len(rows), limit)
        if shown >= PAGE_WITH_A_MIDDLE and self._chance.fires():
            gone = rows.pop(shown // 2)
            self._answered.say(conversation_id=conversation_id, left_out=gone.seq)
        return rows[:limit]
