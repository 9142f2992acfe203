"""Requests of a recording: those that send messages, open rooms and read the history."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final
from urllib.parse import unquote, urlsplit

from earwitness.harness.dialects.toml.paths import compile_path
from earwitness.harness.draft.chat import Chat
from earwitness.harness.draft.evidence import (
    ID_NAME,
    SENDER_NAME,
    SEQ_NAME,
    TEXT_NAME,
    Found,
    best_path,
    ends_named,
    inside,
    named,
    number_of,
)
from earwitness.harness.draft.kinds import Group, Unit
from earwitness.harness.draft.leaves import leaves
from earwitness.harness.draft.login import passwords
from earwitness.harness.draft.recording import Exchange, query_of

HTTP: Final = -1
"""First number of `Unit.place` for units that are HTTP requests instead of frames of a socket."""
AFTER: Final = re.compile(r"^(?:after|since|from|cursor|min_?id|since_?id|after_?id|after_?seq|start|last_?id)$", re.I)
OFFSET: Final = re.compile(r"^(?:offset|skip)$", re.I)
BEFORE: Final = re.compile(r"before|max_?id|until|page", re.I)
SHAPES: Final = 60
"""Most lists that are examined of one answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """Guess of the history request.

    exchange
            a request that read the history
    items   path of the list of messages in the answer, "" if the answer is the list
    at      role (text, seq, sender, id, room) -> path in an item
    paging  none, after or offset; `query`: the parameter that says where to begin
    newest  whether the newest message comes first
    known   (items whose text was on the socket too, all items)
    """

    exchange: Exchange
    items: str
    at: Mapping[str, Found]
    paging: str
    query: str
    newest: bool
    known: tuple[int, int]


def posts_of(exchanges: Sequence[Exchange]) -> list[Group]:
    """Return requests that may send messages, grouped by method and address.

    Parts of the address's path are values at "/0", "/1" and so on.
    """
    groups: dict[tuple[str, str], Group] = {}
    for number, one in enumerate(exchanges):
        if one.method not in ("POST", "PUT") or not one.url or passwords(one) or not (one.form or one.body):
            continue
        found = dict(leaves(one.body if one.body is not None else dict(one.form)))
        parts = path_parts(one.url)
        found |= {f"/{k}": part for k, part in enumerate(parts)}
        unit = Unit(sent=True, time=one.start, place=(HTTP, number), value=one, leaves=found)
        groups.setdefault((one.method, urlsplit(one.url).path), Group(value=None)).units.append(unit)
    return list(groups.values())


def path_parts(url: str) -> list[str]:
    """Return the decoded parts of an address's path, without empty ones."""
    return [unquote(part) for part in urlsplit(url).path.split("/") if part]


def history_of(exchanges: Sequence[Exchange], chat: Chat) -> History | None:
    """Return the request whose answer lists the most texts of the socket's messages; None if none lists any."""
    texts = texts_of(chat)
    best: History | None = None
    for exchange in exchanges:
        if exchange.method != "GET" or not exchange.url or exchange.answer is None:
            continue
        found = _history(exchange, chat, texts)
        if found and (best is None or found.known > best.known):
            best = found
    return best


def texts_of(chat: Chat) -> set[str]:
    """Return the texts of all messages that were sent and received."""
    found: set[object] = set()
    if chat.sending:
        found |= {unit.leaves.get(chat.sending.at["text"].path) for unit in chat.sending.group.units}
    if message := chat.rules.get("message"):
        units = inside(message.group, message.items).units if message.items else message.group.units
        found |= {unit.leaves.get(message.at["text"].path) for unit in units}
    return {text for text in found if isinstance(text, str) and text}


def _history(exchange: Exchange, chat: Chat, texts: Collection[str]) -> History | None:
    best: tuple[tuple[int, int], str, Group, str] | None = None
    for items, group in _lists(exchange.answer):
        for path in group.paths():
            values = [unit.leaves.get(path) for unit in group.units]
            hits = sum(isinstance(value, str) and value in texts for value in values)
            known = (hits, len(values))
            if hits and (best is None or (hits, _text_named(path)) > (best[0][0], _text_named(best[3]))):
                best = (known, items, group, path)
    if best is None:
        return None
    known, items, group, text = best
    at = {"text": Found(path=text, seen=known[0], of=known[1], how="texts of the socket stand there")}
    at |= _same_values(group, text, chat)
    paging, query = _paging(exchange.url)
    newest = _is_newest_first(group, at)
    return History(exchange=exchange, items=items, at=at, paging=paging, query=query, known=known, newest=newest)


def _text_named(path: str) -> bool:
    return ends_named(path, TEXT_NAME)


def _lists(answer: object) -> list[tuple[str, Group]]:
    """Return (path, items as units) of each list of objects in an answer; paths have at most three keys."""
    found: list[tuple[str, Group]] = []
    waiting: list[tuple[str, object]] = [("", answer)]
    while waiting and len(found) < SHAPES:
        path, value = waiting.pop(0)
        if isinstance(value, list) and value and all(isinstance(one, dict) for one in value):
            units = [
                Unit(sent=False, time=0.0, place=(HTTP, k), value=one, leaves=dict(leaves(one)))
                for k, one in enumerate(value[:200])
            ]
            found.append((path, Group(value=None, units=units)))
        elif isinstance(value, dict) and path.count(".") < 2:
            steps = [(str(key), one) for key, one in value.items() if re.fullmatch(r"[^.\s]{1,80}", str(key))]
            waiting += [(f"{path}.{key}" if path else key, one) for key, one in steps[:SHAPES]]
    return found


def _same_values(group: Group, text: str, chat: Chat) -> dict[str, Found]:
    """Return role (seq, sender, id, room) -> path in the rows of a history.

    The values at the path equal those of the socket's message with the same text. seq and sender may also be found by
    name. `text`: path of the text in a row.
    """
    message = chat.rules.get("message")
    found: dict[str, Found] = {}
    by_text = {}
    if message is not None:
        inner = inside(message.group, message.items) if message.items else message.group
        said = [(unit.leaves.get(message.at["text"].path), unit) for unit in inner.units]
        often = Counter(words for words, _ in said)
        by_text = {words: unit for words, unit in said if often[words] == 1}  # two of one text cannot be told apart
    names = {"seq": SEQ_NAME, "sender": SENDER_NAME, "id": ID_NAME}
    for role in ("seq", "sender", "id", "room"):
        there = message.at.get(role) if message is not None else None

        def score(path: str, units: Sequence[Unit], there: Found | None = there, role: str = role) -> tuple[float, str]:
            pairs = [(unit.leaves[path], by_text.get(unit.leaves.get(text))) for unit in units]
            known = [(value, other.leaves.get(there.path)) for value, other in pairs if other and there]
            same = sum(str(value) == str(other) for value, other in known)
            if same:
                last = there is not None and path.rpartition(".")[2] == there.path.rpartition(".")[2]
                return 1.0 * same / len(known) + 0.3 * last, "it equals that of the message on the socket"
            by_name = role in ("seq", "sender") and named(path, names[role])
            whole = role != "seq" or all(number_of(value) is not None for value, _ in pairs)
            return (0.8 if by_name and whole and not known else 0.0), "by its name"

        if path := best_path(group, score, 0.6, {text, *(one.path for one in found.values())}):
            found[role] = path
    return found


def _paging(url: str) -> tuple[str, str]:
    for name in query_of(url):
        if AFTER.match(name):
            return "after", name
        if OFFSET.match(name):
            return "offset", name
    return "none", ""


def _is_newest_first(group: Group, at: Mapping[str, Found]) -> bool:
    if "seq" not in at:
        return False
    numbers = [number_of(unit.leaves.get(at["seq"].path)) for unit in group.units]
    return len(numbers) > 1 and all(a is not None and b is not None and a > b for a, b in pairwise(numbers))


def room_requests(
    exchanges: Sequence[Exchange], rooms: Collection[str], used: Collection[int], until: float
) -> list[Exchange]:
    """Return at most three requests that may have opened the room.

    They are successful POST or PUT requests whose address, body or answer names the room.

    rooms  names of the room
    used   identities of exchanges that have a role already
    until  time of the first message; 0.0 if unknown
    """
    found = []
    for one in exchanges:
        writes = one.method in ("POST", "PUT") and one.url and not passwords(one) and id(one) not in used
        if not writes or not 200 <= one.status < 300 or (until and one.start > until):
            continue
        values = {str(value) for _, value in [*leaves(one.body), *leaves(one.answer)]} | set(path_parts(one.url))
        if values & set(rooms):
            found.append(one)
    return found[:3]


def who_am_i(exchanges: Sequence[Exchange], own: str) -> tuple[Exchange, str] | None:
    """Return the request with the shortest answer that has the user's own id, and the path there; None if none has."""
    found = []
    for number, one in enumerate(exchanges):
        values = leaves(one.answer)
        path = next((path for path, value in values if own and str(value) == own), "")
        if one.method == "GET" and one.url and path and 200 <= one.status < 300 and not isinstance(one.answer, list):
            found.append((len(values), number, path))
    return (exchanges[min(found)[1]], min(found)[2]) if found else None


def answer_path(exchange: Exchange, values: Collection[str]) -> str:
    """Return the path of one of `values` in the answer of a request, "" if it is not there."""
    return next((path for path, value in leaves(exchange.answer) if str(value) in values), "")


def number_in_answers(group: Group, chat: Chat) -> Found | None:
    """Return the path of a message's number in the answers to requests that send messages.

    None if no path has such a number in all of these answers. `group`: the requests.
    """
    message = chat.rules.get("message")
    if message is None or "seq" not in message.at:
        return None
    numbers = {str(unit.leaves.get(message.at["seq"].path)) for unit in message.group.units}
    answers = [one.value.answer for one in group.units if isinstance(one.value, Exchange)]
    for path in dict(leaves(answers[0] if answers else None)):
        hits = sum(str(compile_path(path)(answer)) in numbers for answer in answers)
        if hits == len(answers):
            return Found(path=path, seen=hits, of=len(answers), how="it equals the number on the socket")
    return None
