"""Defects of the state that a user's devices share: edits, read marks and presence."""

from __future__ import annotations

from collections.abc import Sequence
from zlib import crc32

from earwitness.harness.defects.chance import Chance
from earwitness.harness.defects.declared import defect
from earwitness.harness.reference.backend.app import Backend
from earwitness.harness.reference.backend.edits import Edit, EditRefused
from earwitness.harness.reference.backend.presence import key_of
from earwitness.harness.reference.backend.session import Session

_FOR_EVER = "for i, key in ipairs(KEYS) do redis.call('ZADD', key, '+inf', ARGV[i]) redis.call('PERSIST', key) end"


@defect(
    "Z72",
    "blind-edit",
    breaks="I saved my correction, and what I had written on the phone meanwhile was overwritten without a word.",
    opportunity="one edit of a version that another edit has replaced",
    caught_by=("I18",),
    high=1.0,
    one=0.5,
    needs="edits of one message by several devices, some of which name the version that they are of",
    story="multi_session",
)
class BlindEdit:
    """Defect that stores an edit although another edit has replaced the version that it names.

    Opportunity: one edit of a version that is not the newest. A firing is manifest at once.
    """

    def __init__(self, backend: Backend, chance: Chance) -> None:
        """Replace `EditRows.add`, which compares the version that an edit names."""
        self._add, self._chance = backend.edit_rows.add, chance
        vars(backend.edit_rows)["add"] = self.add

    async def add(self, conversation_id: int, seq: int, sender: str, text: str, base: int | None) -> tuple[Edit, int]:
        """Override `EditRows.add`: add an edit of an old version too, without its base, if the defect fires."""
        try:
            return await self._add(conversation_id, seq, sender, text, base)
        except EditRefused as refused:
            if refused.code != 409 or not self._chance.fires():
                raise
        edit, removals = await self._add(conversation_id, seq, sender, text, None)
        self._chance.say(message=seq, base=base, version=edit.version, manifest=True)
        return edit, removals


@defect(
    "Z22",
    "earlier-writer-wins",
    breaks="I corrected the message on the phone, it said saved, and now the text from the laptop is there again.",
    opportunity="one edit of a message that was edited before, or one read mark below the one that stands",
    caught_by=("I18", "I22"),
    high=0.5,
    one=0.03,
    needs="edits and read marks of several devices",
    story="multi_session",
)
class EarlierWriterWins:
    """Defect that keeps the earlier of two changes, although the later one was confirmed and sent.

    Opportunity: one edit of a message that was edited before, or one read mark below the present one. A firing is
    manifest at once.
    """

    def __init__(self, backend: Backend, chance: Chance) -> None:
        """Replace `EditRows.add` and `MarkRows.advance`, where the later change wins."""
        self._pool, self._chance = backend.pool, chance
        self._add, self._advance = backend.edit_rows.add, backend.marks.rows.advance
        vars(backend.edit_rows)["add"] = self.add
        vars(backend.marks.rows)["advance"] = self.advance

    async def add(self, conversation_id: int, seq: int, sender: str, text: str, base: int | None) -> tuple[Edit, int]:
        """Override `EditRows.add`: swap the texts of the two newest versions if the defect fires."""
        edit, removals = await self._add(conversation_id, seq, sender, text, base)
        if edit.version > 2 and self._chance.fires():
            await self._pool.execute(
                "UPDATE edits AS mine SET body = other.body FROM edits AS other WHERE mine.conversation_id = $1 "
                "AND mine.seq = $2 AND other.conversation_id = $1 AND other.seq = $2 "
                "AND (mine.version, other.version) IN (($3::int, $3 - 1), ($3 - 1, $3))",
                conversation_id,
                seq,
                edit.version,
            )
            self._chance.say(message=seq, version=edit.version, manifest=True)
        return edit, removals

    async def advance(self, user_id: str, conversation_id: int, seq: int) -> int | None:
        """Override `MarkRows.advance`: set the mark back to the lower number if the defect fires."""
        mark = await self._advance(user_id, conversation_id, seq)
        if mark is None or mark <= seq or not self._chance.fires():
            return mark
        await self._pool.execute(
            "UPDATE read_marks SET seq = $3 WHERE user_id = $1 AND conversation_id = $2", user_id, conversation_id, seq
        )
        self._chance.say(user=user_id, mark=seq, manifest=True)
        return seq


@defect(
    "Z29",
    "missed-mark",
    breaks="I read everything on the phone, and the laptop still shows it as unread.",
    opportunity="one read mark for one device",
    caught_by=("I22",),
    high=0.2,
    one=0.03,  # a tab that is opened again gets all marks: one firing often heals
    needs="read marks of people with several devices",
    story="multi_session",
)
class MissedMark:
    """Defect that does not send a read mark to one device, nor later marks of that conversation on the same connection.

    A single missed mark would heal with the next. Opportunity: one mark for one device. A firing is manifest at once if
    the socket is open.
    """

    def __init__(self, backend: Backend, chance: Chance) -> None:
        """Replace `Marks.show`. No device misses marks yet."""
        self._chance, self._show = chance, backend.marks.show
        self._deaf: set[tuple[str, str]] = set()
        vars(backend.marks)["show"] = self.show

    def show(self, session: Session, key: str, seq: int) -> None:
        """Override `Marks.show`: send nothing to a device for which the defect has fired."""
        if (session.id, key) in self._deaf:
            return
        news = session.welcomed.is_set() and seq > session.marks.get(key, 0)
        if news and self._chance.fires():
            self._deaf.add((session.id, key))
            self._chance.say(conversation=key, user=session.user_id, manifest=session.open)
        else:
            self._show(session, key, seq)


@defect(
    "Z35",
    "endless-lease",
    breaks="They went home hours ago, and are still shown as online.",
    opportunity="one person",
    caught_by=("I27",),
    high=1.0,
    one=0.4,
    needs="a replica that dies, and people who go away afterwards",
    story="multi_session",
)
class EndlessLease:
    """Defect that gives the sockets of some users presence leases without an end.

    A user whose replica dies is then online forever. The dead replica cannot write the second line, so no firing is
    manifest. Opportunity: one user; all replicas choose the same ones.
    """

    def __init__(self, backend: Backend, chance: Chance) -> None:
        """Replace `Leases.hold`, and register a script that sets leases without an end."""
        self._leases, self._chance, self._hold = backend.presence.leases, chance, backend.presence.leases.hold
        self._for_ever = backend.redis.register_script(_FOR_EVER)
        self._known: set[str] = set()
        vars(self._leases)["hold"] = self.hold

    async def hold(self, sessions: Sequence[Session]) -> None:
        """Override `Leases.hold`: store an endless lease for the chosen users."""
        endless = [session for session in sessions if self._chosen(session.user_id)]
        await self._hold([session for session in sessions if session not in endless])
        if endless:
            keys = [key_of(session.user_id) for session in endless]
            await self._for_ever(keys=keys, args=[session.id for session in endless])

    def _chosen(self, user_id: str) -> bool:
        chosen = crc32(user_id.encode()) < self._chance.probability * (1 << 32)
        if chosen and user_id not in self._known:
            self._known.add(user_id)
            self._chance.say(user=user_id)
        return chosen


@defect(
    "Z36",
    "lease-of-all-tabs",
    breaks="I closed one of my tabs, and everybody saw me as offline.",
    opportunity="one socket that ends while others of the same person are open",
    caught_by=("I27",),
    high=0.5,
    one=0.1,
    needs="people with several devices who watch one another",
    story="multi_session",
)
class LeaseOfAllTabs:
    """Defect that ends the leases of all sockets of a user when one of them ends, until they are renewed.

    Opportunity: one user with sockets left when another of them ends. A firing is manifest at once.
    """

    def __init__(self, backend: Backend, chance: Chance) -> None:
        """Replace `Leases.give_back`, which ends the leases of sockets that have closed."""
        self._redis, self._chance, self._give_back = backend.redis, chance, backend.presence.leases.give_back
        vars(backend.presence.leases)["give_back"] = self.give_back

    async def give_back(self, sessions: Sequence[Session]) -> None:
        """Override `Leases.give_back`: delete all leases of the user if the defect fires."""
        await self._give_back(sessions)
        for user_id in dict.fromkeys(session.user_id for session in sessions):
            if await self._redis.zcard(key_of(user_id)) and self._chance.fires():
                await self._redis.delete(key_of(user_id))
                self._chance.say(user=user_id, manifest=True)
