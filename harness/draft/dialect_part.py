"""Draft of a target file for a protocol that comes with a dialect: its name, and the options that frames show."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final
from urllib.parse import urlsplit

from earwitness.harness.draft.evidence import ID_NAME, SENDER_NAME, SEQ_NAME, TEXT_NAME, ends_named, number_of
from earwitness.harness.draft.guesses import Guesses
from earwitness.harness.draft.leaves import leaves
from earwitness.harness.draft.protocols import Said, said_in
from earwitness.harness.draft.recording import Socket, query_of
from earwitness.harness.draft.secrets import UNKNOWN
from earwitness.harness.draft.sheet import Sheet

PAGE: Final = "docs/dialects/{}.md"
OF_PROTOCOL: Final = ("EIO", "transport", "t", "sid", "vsn", "protocol", "client", "version", "flash")
"""Query parameters of a socket's address that a dialect adds itself, so the draft omits them."""
PLACES: Final = {"text": "text", "id": "message_id", "seq": "number", "sender": "sender"}
"""Role of a value -> option with its path, for dialects that have one option for each path."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Roles:
    """Findings about the frames of a recorded session.

    sent      a sent message, and `sent_at`: path of a value in it -> placeholder
    received  events of the kind that delivers messages; `at`: role -> path in their payload
    joins     frames that subscribe to a room; `room`: its label, "" if it was not found
    echoed    a sent text came back
    values    value -> placeholder, wherever it stands in a frame: the room
    """

    sent: Said | None
    sent_at: dict[str, str]
    received: Sequence[Said]
    at: dict[str, str]
    joins: Sequence[Said]
    room: str
    echoed: bool
    values: dict[str, str] = field(default_factory=dict)

    @property
    def why_sent(self) -> str:
        """Return why an event sends messages, for a comment."""
        return "its text came back" if self.echoed else "its texts have several words; none came back"

    @property
    def why_received(self) -> str:
        """Return why an event delivers messages, for a comment."""
        return "a sent text came back in it" if self.echoed else "its texts have several words; no sent text came back"


def write_dialect(sheet: Sheet, found: Guesses, dialect: str) -> None:
    """Write a target file that names the dialect, with its options as far as the frames show them."""
    socket = found.sockets[0]
    roles = roles_of([said for one in found.sockets for said in said_in(one, dialect)])
    sheet.comment(f"The protocol is one that comes with earwitness. {PAGE.format(dialect)} describes all options.")
    sheet.key("dialect", dialect)
    sheet.table("[urls]")
    if found.base:
        sheet.guess("http", found.base, "requests of the recording go there")
    sheet.guess("socket", _address(found, socket, dialect), "address of the socket with the most frames")
    sheet.table("[options]")
    if roles is None:
        binary = any(frame.data is None for frame in socket.frames)
        why = "frames are binary, and are not taken apart" if binary else "no message was found in the frames"
        sheet.todo(f"{why}; take the options of examples/dialects/{dialect}.toml, and say what differs")
        return
    _query(sheet, found, socket, dialect)
    if found.login.exchange is not None:
        sheet.todo(f"users log in by {found.secrets.clean(found.login.exchange.name)}; the page says where that goes")
    if found.history is not None:
        name = found.secrets.clean(found.history.exchange.name)
        sheet.todo(f"{name} lists messages: describe it in [options.history], and promise history = true")
    OPTIONS[dialect](sheet, found, roles)
    _contract(sheet, roles)


# -- what the frames mean -------------------------------------------------------------------------------------------


def roles_of(said: Sequence[Said]) -> Roles | None:
    """Return the roles of the recorded frames `said`, which are in their order; None if no message was found."""
    texts = _texts(said)
    if texts is None:
        return None
    sent_event, sent_path, event, path = texts
    sent = [one for one in said if one.sent and not one.joins and one.event == sent_event and sent_path]
    received = [one for one in said if not one.sent and one.event == event and path in dict(leaves(one.value))]
    before = said.index(sent[0]) if sent else len(said)
    joins = [one for one in said if one.joins]
    room = _room(sent, received, joins)
    if not joins and room:  # a protocol without joining: events before the first message that name the room
        joins = [one for one in said[:before] if one.sent and room in _strings(one.value)]
    ids = _ids(sent, sent_path)
    sent_at = ({sent_path: "{text}"} if sent else {}) | dict.fromkeys(ids, "{id}")
    at = {"text": path} | _others(received, path, {value for p in ids for value in _at(sent, p)}, room)
    return Roles(
        sent=sent[0] if sent else None, sent_at=sent_at, received=received, at=at, joins=joins, room=room,
        echoed=bool({*_at(sent, sent_path)} & {*_at(received, path)}),
        values={room: "{room}"} if room else {},
    )  # fmt: skip


def _texts(said: Sequence[Said]) -> tuple[str, str, str, str] | None:
    """Return (event and path of sent texts, event and path of received texts); None if no received text is found.

    The pair is the one whose texts come back most often; without an echo, the likeliest one. Event and path of the sent
    texts are "" if none was found.
    """
    sent = [(one.event, *leaf) for one in said if one.sent and not one.joins for leaf in leaves(one.value)]
    got = [(one.event, *leaf) for one in said if not one.sent for leaf in leaves(one.value)]
    back: dict[tuple[str, str, str, str], set[str]] = defaultdict(set)
    for event, path, value in sent:
        for other, there, same in got:
            if value == same and isinstance(value, str) and value.strip():
                back[event, path, other, there].add(value)
    words = {(event, path) for event, path, value in [*sent, *got] if isinstance(value, str) and " " in value.strip()}

    def score(pair: tuple[str, str, str, str]) -> float:
        # Distinct values: a room comes back with every message, but it is always the same.
        return len(back[pair]) * (1 + bool(TEXT_NAME.search(pair[1])) + 2 * (pair[:2] in words))

    best = max(back, key=score, default=None)
    if best is None or best[:2] not in words:  # a name that comes back is no text where others have several words
        best = _without_echo([one[:2] for one in sent], [one[:2] for one in got], words) or best
    if best is not None:
        return best
    likely = [(event, path) for event, path, _ in got if (event, path) in words]
    return ("", "", *likely[0]) if likely else None


def _without_echo(
    sent: Sequence[tuple[str, str]], got: Sequence[tuple[str, str]], words: Collection[tuple[str, str]]
) -> tuple[str, str, str, str] | None:
    """Return (event and path of a sent text, event and path of a received one) where no text comes back to its sender.

    Both are the most frequent ones whose texts have several words; a received text of the same event is preferred.
    Return None if no sent or no received text has several words.
    """
    mine, theirs = (Counter(place for place in places if place in words) for places in (sent, got))
    if not mine or not theirs:
        return None
    said = mine.most_common(1)[0][0]
    return (*said, *max(theirs, key=lambda place: (place[0] == said[0], theirs[place])))


def _at(said: Sequence[Said], path: str) -> list[object]:
    return [dict(leaves(one.value)).get(path) for one in said]


def _strings(value: object) -> set[str]:
    return {one for _, one in leaves(value) if isinstance(one, str)}


def _room(sent: Sequence[Said], received: Sequence[Said], joins: Sequence[Said]) -> str:
    """Return the label of the room, "" if none is found. The first of these that exists counts.

    - a text in a join whose path contains "room"
    - the last part of the protocol's name of the room in a join
    - a text that all sent and received messages contain
    - any text in a join
    """
    named = [
        one for join in joins for path, one in leaves(join.value) if isinstance(one, str) and "room" in path.lower()
    ]
    if named:
        return named[0]
    if joins and joins[0].place:
        return re.split(r"[:.\-/]", joins[0].place)[-1]
    every = [_strings(one.value) for one in (*sent, *received)]
    common = set.intersection(*every) if every else set()
    paths = {value: path for one in sent for path, value in leaves(one.value) if isinstance(value, str)}
    likely = sorted(common, key=lambda value: ("room" not in paths.get(value, "").lower(), len(value)))
    return likely[0] if likely else next((one for join in joins for one in _strings(join.value)), "")


def _ids(sent: Sequence[Said], text: str) -> list[str]:
    """Return a list with the path of the client's id, a text that differs in each sent message; [] if none is found.

    `text`: path of the message's text.
    """
    found = []
    for path, value in leaves(sent[0].value) if sent else ():
        values = _at(sent, path)
        if path != text and isinstance(value, str) and len(sent) > 1 and len(set(map(str, values))) == len(sent):
            found.append(path)
    return found[:1]


def _others(received: Sequence[Said], text: str, ids: set[object], room: str) -> dict[str, str]:
    """Return role (id, room, seq, sender) -> path for the values of received messages other than the text.

    `text`: path of the text; `ids`: client ids that were sent; `room`: label of the room, "" if unknown.
    """
    found: dict[str, str] = {}
    for path, value in leaves(received[-1].value):
        values = [one for one in _at(received, path) if one is not None]
        numbers = [number_of(one) for one in values]
        if path == text or not isinstance(value, str | int) or isinstance(value, bool):
            continue
        if value in ids or ("id" not in found and not ids and ends_named(path, ID_NAME) and isinstance(value, str)):
            found["id"] = path
        elif value == room and room:
            found["room"] = path
        elif None not in numbers and ends_named(path, SEQ_NAME):
            found["seq"] = path
        elif isinstance(value, str) and ends_named(path, SENDER_NAME) and "sender" not in found:
            found["sender"] = path
    return found


# -- options --------------------------------------------------------------------------------------------------------


def _address(found: Guesses, socket: Socket, dialect: str) -> str:
    path = found.secrets.path(socket.url)
    own = {"socketio": "/socket.io/", "pusher": path}.get(dialect, "")
    return f"{found.secrets.origin(socket.url)}{'' if path == own else path}"


def _query(sheet: Sheet, found: Guesses, socket: Socket, dialect: str) -> None:
    names = [found.maker.key(name) for name in query_of(socket.url) if name not in OF_PROTOCOL]
    if names and dialect != "pusher":
        sheet.todo(
            f"the address had the parameters {', '.join(names[:5])}: say what each user shows there",
            f'query = {{ {names[0]} = "{{token}}" }}',
        )


def _template(found: Guesses, roles: Roles, value: object, at: dict[str, str]) -> Any:
    return found.maker.of_value(value, at, roles.values)


def _sent(sheet: Sheet, found: Guesses, roles: Roles, key: str) -> Any:
    """Return the template of a sent message. If none was found, write a TODO for the option `key` and return None."""
    if roles.sent is None:
        sheet.todo(f"no sent message was found for the option {key}")
        return None
    return _template(found, roles, roles.sent.value, roles.sent_at)


def _option(sheet: Sheet, name: str, value: object, how: str, check: str = "") -> None:
    """Write a guessed option, or a TODO if `value` is None. `how`: reason for the guess; `check`: what to check."""
    if value is None:
        sheet.todo(f"the option {name}: the frame that should show it has no value there")
    else:
        sheet.guess(name, value, how, check=check)


def _paths(sheet: Sheet, roles: Roles) -> None:
    count = len(roles.received)
    for role, option in PLACES.items():
        if role in roles.at:
            sheet.guess(option, roles.at[role], "where it stands in a delivered message", count, count)


def _calls(sheet: Sheet, found: Guesses, roles: Roles) -> None:
    """Write the options of Socket.IO and SignalR: events with arguments."""
    for join in roles.joins[:1]:
        template = [join.event, *(_template(found, roles, join.value, {}) or [])]
        _option(sheet, "join", template, "it names the room before the first message", check="that it joins")
    sent = _sent(sheet, found, roles, "send")
    if sent is not None and roles.sent is not None:
        _option(sheet, "send", [roles.sent.event, *sent], roles.why_sent)
    message = {"event": roles.received[0].event}
    message |= {role: roles.at[role] for role in ("room", "text", "sender", "id", "seq") if role in roles.at}
    _option(sheet, "message", message, roles.why_received)
    sheet.todo("what the answer to a message has", 'answer = { seq = "0.seq", error = "0.error" }')


def _phoenix(sheet: Sheet, found: Guesses, roles: Roles) -> None:
    place = roles.received[0].place
    _option(sheet, "topic", place.replace(roles.room, "{room}", 1) if roles.room else UNKNOWN, "topic of the messages")
    for join in roles.joins[:1]:
        if join.value:
            _option(sheet, "join", _template(found, roles, join.value, {}), "payload of phx_join")
    _option(sheet, "event", roles.received[0].event, roles.why_received)
    sent = _sent(sheet, found, roles, "send")
    if sent is not None:
        _option(sheet, "send", sent, roles.why_sent)
    _paths(sheet, roles)
    sheet.todo("the path of the number in the reply to a message, if it has one", 'ack_number = "number"')


def _graphql(sheet: Sheet, found: Guesses, roles: Roles) -> None:
    for name, one, at in (("subscription", roles.joins[0] if roles.joins else None, {}),
                          ("mutation", roles.sent, roles.sent_at)):  # fmt: skip
        if one is None:
            sheet.todo(f"the document of the {name}", f'{name} = "{name} ($room: ID!) {{ … }}"')
        else:
            _option(sheet, name, found.secrets.clean(" ".join(one.event.split())), "a sent document")
            _option(sheet, f"{name}_variables", _template(found, roles, one.value, at), "its variables")
    _option(
        sheet,
        "by",
        "socket" if roles.sent else "http",
        "where the mutation was seen" if roles.sent else "it was not seen",
    )
    _paths(sheet, roles)
    sheet.todo("what each user shows in connection_init, and whether the first event shows that a subscription works")
    sheet.lines += ['# init = { token = "{token}" }', '# joined = "next"']


def _cable(sheet: Sheet, found: Guesses, roles: Roles) -> None:
    for join in roles.joins[:1]:
        _option(sheet, "identifier", _template(found, roles, join.value, {}), "a subscription of the recording")
    sent = _sent(sheet, found, roles, "data")
    if sent is not None:
        _option(sheet, "data", sent, roles.why_sent)
    _paths(sheet, roles)


def _pusher(sheet: Sheet, found: Guesses, roles: Roles) -> None:
    key = urlsplit(found.sockets[0].url).path.rpartition("/")[2]
    _option(sheet, "key", found.secrets.clean(key), "it stands in the address")
    sheet.todo("secret and id of the application", 'app_id = "1"')
    sheet.key("secret", "env:PUSHER_APP_SECRET")
    place = roles.received[0].place
    _option(
        sheet, "channel", place.replace(roles.room, "{room}", 1) if roles.room else UNKNOWN, "channel of the messages"
    )
    _option(sheet, "event", roles.received[0].event, "a delivered message")
    _paths(sheet, roles)


def _contract(sheet: Sheet, roles: Roles) -> None:
    """Write the table [contract] with the promises that the recording shows beyond those of the protocol."""
    sheet.table("[contract]")
    sheet.comment("Promises of the protocol hold without a line. A promise is what the platform's owner states.")
    numbers = [number_of(one) for one in _at(roles.received, roles.at.get("seq", ""))]
    whole = [one for one in numbers if one is not None]
    steps = {after - before for before, after in pairwise(whole)}
    rising = "contiguous" if steps == {1} else "increasing" if steps and min(steps) > 0 else "none"
    sheet.guess(
        "sequence", rising, "numbers rose by one" if rising == "contiguous" else "of the numbers that were seen"
    )
    sheet.guess(
        "names_sender", "sender" in roles.at, "a sender was found" if "sender" in roles.at else "none was found"
    )
    if roles.sent is not None and not roles.sent.asks:
        sheet.guess("acknowledges", False, "messages asked for no answer")
    if roles.sent is not None and not roles.echoed:
        sheet.guess("echo", False, "no own message came back")
    sheet.guess("history", False, "not drafted")
    sheet.guess("durable", False, "not drafted")
    sheet.todo("the bound that is promised for deliveries, if any", "delivery_bound_s = 5.0")


OPTIONS: Final[Mapping[str, Callable[[Sheet, Guesses, Roles], None]]] = {
    "socketio": _calls, "signalr": _calls, "phoenix": _phoenix, "graphql_ws": _graphql, "action_cable": _cable,
    "pusher": _pusher,
}  # fmt: skip
