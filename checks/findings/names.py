"""Names of users, devices, conversations, messages and places in texts."""

from __future__ import annotations

from earwitness.checks.history.record import AGENT, NOBODY, Artefact, Phase, Place, State
from earwitness.checks.roster import Roster

NOBODY_KNOWN = "somebody unknown"

PLACES: dict[int, str] = {
    Place.AUTH: "the auth service",
    Place.BACKEND: "the backend",
    Place.SOCKET: "the socket",
    Place.AUTH_DATABASE: "the auth database",
    Place.MAIN_DATABASE: "the main database",
    Place.FRONTEND: "the API behind the frontend",
}
ARTEFACTS: dict[int, str] = {
    Artefact.ACCESS: "access token",
    Artefact.REFRESH: "refresh token",
    Artefact.TICKET: "ticket",
    Artefact.STATE: "login state",
    Artefact.CODE: "login code",
}
STATES: dict[int, str] = {
    State.PROFILE: "profile",
    State.ACTIVE: "active mark",
    State.READ_MARK: "read mark",
    State.EDIT: "edited message",
    State.MEMBERSHIP: "membership",
    State.PERMISSIONS: "set of permissions",
    State.TITLE: "name",
}
PHASES: dict[int, str] = {
    Phase.LOAD: "the load begins",
    Phase.DRAIN: "sending has ended",
    Phase.DRAINED: "the drain has ended",
    Phase.CLOCK_STEP: "the wall clock of the tester was stepped",
}
EVENTS = (
    "something",
    "start",
    "thinking",
    "tool started",
    "tool completed",
    "piece",
    "completion",
    "error",
    "break-off",
)
"""Names of the events of an agent's run, by their number in a RUN record."""


def device(roster: Roster, client: int) -> str:
    """Return the user's name, followed by the number of the device if the user has several.

    NOBODY_KNOWN for a client that the roster does not have.
    """
    if not 0 <= client < len(roster.user_of):
        return NOBODY_KNOWN
    user = roster.user_of[client]
    name = roster.user_name(user)
    if roster.user_of.count(user) == 1:
        return name
    return f"{name} on tab {roster.user_of[: client + 1].count(user)}"


def person(roster: Roster, client: int) -> str:
    """Return the name of the user to whom a device belongs; NOBODY_KNOWN if the roster does not have the device."""
    return roster.user_name(roster.user_of[client]) if 0 <= client < len(roster.user_of) else NOBODY_KNOWN


def message(roster: Roster, author: int, counter: int) -> str:
    """Return a message as `#16 of ann`, the author's sixteenth message."""
    if author == AGENT:
        return "an agent's message"
    return f"#{counter} of {person(roster, author)}" if 0 <= author < NOBODY else "a message"


def room(roster: Roster, conv: int) -> str:
    """Return the name of a conversation; "an unknown conversation" if the roster does not have the number."""
    return roster.conversation_name(conv) if 0 <= conv < len(roster.conversations) else "an unknown conversation"


def place(number: int) -> str:
    """Return the name of the service or database with this `Place` number."""
    return PLACES.get(number, "some place")


def artefact(number: int) -> str:
    """Return the name of the kind of token with this `Artefact` number."""
    return ARTEFACTS.get(number, "artefact")


def state(number: int) -> str:
    """Return the name of the kind of shared state with this `State` number."""
    return STATES.get(number, "state")


def forgery(roster: Roster, number: int) -> str:
    """Return how a token was forged, in the words of the target. `number`: number of the forgery, from 1."""
    names = roster.extra.get("forgeries", ())
    return str(names[number - 1]).replace("_", " ") if 0 < number <= len(names) else f"forgery {number}"


def numbers(low: int, high: int) -> str:
    """Return a range of sequence numbers as `number 4` or `numbers 4 to 6`."""
    return f"number {low}" if low >= high else f"numbers {low} to {high}"
