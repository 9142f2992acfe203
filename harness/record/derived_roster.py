"""Roster of an imported history that has no complete roster.

The roster is derived from the rows of the history, and from the short roster (`members`) if there is one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeAlias

from earwitness.checks.history.record import FOREIGN
from earwitness.checks.roster import Roster
from earwitness.harness.described import whole_number
from earwitness.harness.errors import RecordError
from earwitness.harness.record.rows import RowError, Rows

NUMBERS_MAX: Final = 10_000_000
"""Limit of client, user and conversation numbers: they are indexes, and a larger one is probably a database id."""

Members: TypeAlias = dict[str, list[str | int]]
"""Names or numbers of users, by conversation label."""


def members_of(said: object) -> Members:
    """Return the `members` of the header `roster`: conversation label -> its users.

    Raises RowError if the header has another form.
    """
    if not isinstance(said, dict) or not all(isinstance(users, list) for users in said.values()):
        raise RowError("the header 'roster' needs 'members': for each conversation the list of its users")
    for label, users in said.items():
        for user in users:
            if isinstance(user, bool) or not isinstance(user, str | int):
                raise RowError(f"a member of {label!r} is {user!r}: expected a name or a number")
    return said


def derived_roster(rows: Rows, members: Members) -> Roster:
    """Return the roster of a history.

    Users are those that the rows name, else one for each client. Members are those of `members` (the short roster),
    else the clients that joined. Raises RecordError if `members` and the rows contradict each other, or nothing states
    which users belong to a conversation, or a number is too large.
    """
    clients = {number: name for name, number in rows.clients.known.items()}
    count = 1 + _limited("Client", max([*clients, *rows.user_of], default=-1))
    users = Users(rows.users.known)
    user_of = [users.of(rows.user_of.get(c), clients.get(c, f"client {c}")) for c in range(count)]
    stated = {_conversation(rows, label): [_user(rows, users, user_of, m) for m in members[label]] for label in members}
    labels = {number: label for label, number in rows.conversations.known.items()}
    conversations = []
    for conv in range(1 + _limited("Conversation", max([*labels, *rows.members, *rows.spoken, *stated], default=-1))):
        joined = {user_of[client] for client in rows.members.get(conv, ())}
        if conv in rows.spoken and conv not in rows.members and conv not in stated:
            name = labels.get(conv, conv)
            raise RecordError(f"No client joined the conversation {name!r}: write 'join' rows, or a header 'roster'.")
        conversations.append(sorted(set(stated.get(conv, joined))))
    return Roster(
        user_of=user_of,
        conversations=conversations,
        user_names=users.names,
        conversation_names=[labels.get(c, f"conversation {c}") for c in range(len(conversations))],
    )


class Users:
    """Assignment of user numbers while a roster is derived from rows.

    Users whose numbers the rows state keep them. A client or member of which the rows state only a name gets the next
    number after the highest so far. `names`: the users' names in the order of their numbers.
    """

    def __init__(self, known: Mapping[str, int]) -> None:
        """Start with the users of `known` (name -> number from 0 on); new names get the next numbers."""
        self._known = dict(known)
        self.names = list(known)

    def of(self, number: int | None, client_name: str) -> int:
        """Return the number of a client's user: `number` if it is not None, else that of the user named `client_name`.

        Raises RecordError for a number that is too large.
        """
        if number is None:
            return self.named(client_name)
        _limited("User", number)
        while len(self.names) <= number:
            self.names.append(f"user {len(self.names)}")
        return number

    def named(self, name: str) -> int:
        """Return the number of the user with this name, a new one if it is unknown."""
        if name not in self._known:
            self._known[name] = len(self.names)
            self.names.append(name)
        return self._known[name]


def _conversation(rows: Rows, label: str) -> int:
    if not rows.conversations.numbered:
        return rows.conversations.number(label)
    number = whole_number(label, NUMBERS_MAX)
    if number is not None:
        return number
    raise RecordError(f"The roster names a conversation {label!r}, the rows give numbers: use one of the two.")


def _user(rows: Rows, users: Users, user_of: list[int], member: str | int) -> int:
    """Return the number of the user that a short roster names, by the name or number of a user or of a client.

    Raises RecordError if the roster has numbers and the rows names, or the other way round.
    """
    named = not (rows.users.numbered or (rows.clients.numbered and not rows.users.known))
    if isinstance(member, int):
        if named:
            raise RecordError(f"The roster gives a user as {member}, the rows give names: use one of the two.")
        if rows.users.numbered:
            return users.of(member, "")
        return user_of[member] if 0 <= member < len(user_of) else users.named(f"client {member}")
    if member not in rows.users.known and member in rows.clients.known:
        return user_of[rows.clients.known[member]]
    if not named:
        raise RecordError(f"The roster names a user {member!r}, the rows give numbers: use one of the two.")
    return users.named(member)


def _limited(what: str, number: int) -> int:
    if number >= NUMBERS_MAX:
        raise RecordError(f"{what} number {number} is too large: numbers count from 0, or use names.")
    return number


assert NUMBERS_MAX < FOREIGN
