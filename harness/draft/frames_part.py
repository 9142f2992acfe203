"""Text of a draft: the rules of received frames, the history and the promises."""

from __future__ import annotations

from typing import Final

from earwitness.harness.draft.chat import Chat
from earwitness.harness.draft.evidence import Found, Rule
from earwitness.harness.draft.guesses import Guesses
from earwitness.harness.draft.kinds import Group
from earwitness.harness.draft.recording import query_of
from earwitness.harness.draft.requests import History
from earwitness.harness.draft.sheet import Sheet

MOST_NAMED: Final = 8
ROLES: Final = ("message", "ack", "nack", "welcome", "joined", "left", "replayed")
WANTED: Final = {
    "ack": "the frame that answers a sent message and repeats its client id",
    "nack": "the frame that refuses a message; provoke one",
    "joined": "the frame that states that a room is joined; without it completeness (I5b) stays UNKNOWN",
}
PATHS: Final = {
    "message": {
        "room": "the room of a message",
        "seq": "the number of a message in its room",
        "sender": "who sent a message",
        "id": "",
    },
    "ack": {"seq": ""},
}
"""Role -> name of a path in its rule -> words for a TODO if the path was not found; "" for no TODO."""
EXAMPLES: Final = {
    "ack": 'ack = { is = "ack", id = "id" }',
    "nack": 'nack = { is = "error", id = "id", code = "code" }',
    "joined": 'joined = { is = "joined", room = "room" }',
}


def write_frames(sheet: Sheet, found: Guesses) -> None:
    """Write [frames], [history] and [contract] of a draft."""
    _frames(sheet, found)
    history = found.history
    if history is not None:
        _history(sheet, found, history)
    else:
        sheet.lines.append("")
        sheet.todo(
            "no request was found whose answer lists messages; open an old conversation while recording", "[history]"
        )
    _contract(sheet, found)


def _frames(sheet: Sheet, found: Guesses) -> None:
    traffic, rules = found.traffic, found.chat.rules
    side = traffic.received
    sheet.table("[frames]")
    if traffic.split != "none":
        sheet.guess("split", traffic.split, "several messages came in one frame")
    if traffic.prefix:
        sheet.guess("prefix", traffic.prefix, "text before the JSON of frames with events")
    if side.kind:
        having = sum(group.value is not None for group in side.groups for _ in group.units)
        kinds = ", ".join(found.secrets.clean(group.name) for group in side.groups[:MOST_NAMED] if group.name)
        sheet.guess("kind", side.kind, f"its values are {kinds}", having, len(side.units))
    else:
        sheet.todo("no field was found that tells the kinds of frames apart; rules have the path of a key instead")
    for role, sentence in WANTED.items():
        if role not in rules and not (role == "ack" and found.chat.sending and found.chat.sending.by_http):
            sheet.todo(f"{role}: {sentence}", EXAMPLES[role])
    rest = [group for group in side.groups if not any(group is rule.group for rule in rules.values())]
    if rest:
        sheet.comment(f"Received and not used: {'; '.join(_described(found, group) for group in rest[:MOST_NAMED])}.")
    if found.chat.beats:
        names = ", ".join(found.secrets.clean(group.name) for group in found.chat.beats)
        sheet.todo(f"heartbeats were sent ({names}); a target file cannot send them: check that connections stay open")
    for role in ROLES:
        if role in rules:
            _rule(sheet, found, role, rules[role])
    if "message" not in rules:
        sheet.table("[frames.message]")
        sheet.todo("no frame with a message's text was found: record messages with several words, from two users")
        sheet.key("has", "text")
        sheet.key("text", "text")


def _described(found: Guesses, group: Group) -> str:
    keys = ", ".join(found.maker.key(path) for path in group.paths()[:4])
    return f"{found.secrets.clean(group.name) or 'no kind'} ({len(group.units)}: {keys})"


def _rule(sheet: Sheet, found: Guesses, role: str, rule: Rule) -> None:
    group = rule.group
    sheet.table(f"[frames.{role}]")
    if group.value is not None:
        value = group.value if isinstance(group.value, int) else found.secrets.clean(group.name)
        sheet.guess("is", value, rule.how, len(group.units), len(group.units))
    else:
        path = _only_here(found, group) or rule.items or next((one.path for one in rule.at.values()), "")
        if not path:
            sheet.todo("what tells these frames from others was not found", 'is = "message"')
            return
        sheet.guess("has", path, f"{rule.how}; only these frames have this key", len(group.units), len(group.units))
    if rule.items:
        sheet.guess("items", rule.items, "a list of messages")
    for name, one in rule.at.items():
        sheet.path(name, one, one.path, _check(name, one))
    sending = found.chat.sending
    if role == "ack" and sending and len(group.units) > len(sending.group.units):
        sheet.todo(
            f"{len(group.units)} frames of this kind came for {len(sending.group.units)} messages: it answers other "
            "frames too, such as joins, and a rule cannot tell them apart"
        )
    for name, wanted in PATHS.get(role, {}).items():
        if name not in rule.at and wanted:
            sheet.todo(f"{name}: the path of {wanted}", f'{name} = "{name}"')


def _only_here(found: Guesses, group: Group) -> str:
    """Return a path that all units of the group have and no other unit, "" if there is none."""
    others = {path for one in found.traffic.received.groups if one is not group for path in one.paths()}
    return next((path for path in group.paths() if path not in others and group.share(path)[0] == len(group.units)), "")


def _check(name: str, one: Found) -> str:
    if one.seen < one.of:
        return "the frames that lack it"
    return "that it rises by one for each message of a room" if name == "seq" else ""


def _history(sheet: Sheet, found: Guesses, history: History) -> None:
    sheet.table("[history]")
    query = {history.query: f"{{{history.paging}}}"} if history.query else {}
    url = found.maker.url(history.exchange, found.base, found.values, query)
    sheet.guess(
        "url", url, f"its answer lists {history.known[0]} texts of the socket's messages", check="paging and limit"
    )
    if "{room}" not in url:
        sheet.todo("where the address names the room: {room}")
    if history.query:
        sheet.guess("paging", history.paging, f"the parameter {found.maker.key(history.query)}")
    else:
        sheet.todo(
            "whether one answer holds the whole history; else paging: after with {after}, or offset with {offset}"
        )
    if history.paging == "after":
        given = query_of(history.exchange.url).get(history.query, "")
        sheet.key("first", given if given.isascii() and given.isdigit() and len(given) < 12 else "0")
        cursor = history.at.get("seq") or history.at.get("id")
        if cursor:
            sheet.guess("cursor", cursor.path, "numbers and ids of rows often are the cursor")
    if history.newest:
        sheet.guess("order", "newest first", "numbers fall from row to row")
    sheet.guess("items", history.items or ".", "the list of messages stands there")
    for name, one in history.at.items():
        sheet.guess(name, one.path, one.how, one.seen, one.of, what="row")


def _contract(sheet: Sheet, found: Guesses) -> None:
    """Write the table [contract]: promises that the recording kept or does not contradict, each as a guess to check."""
    chat = found.chat
    sheet.table("[contract]")
    sheet.comment("All of these are guesses from one recording: a promise is what the platform's owner states.")
    sheet.guess("ordered", True, "nothing contradicts it")
    sheet.guess("total_order", True, "nothing contradicts it", check="that all members see one order")
    count = len(chat.rules["message"].group.units) if "message" in chat.rules else 0
    seen = {
        "none": "no numbers were found",
        "contiguous": "numbers rose by one",
        "increasing": "gaps, or too few numbers",
    }
    sheet.guess("sequence", chat.numbers, seen[chat.numbers], count, count)
    acknowledged = "ack" in chat.rules or bool(chat.sending and chat.sending.by_http)
    sheet.guess("acknowledges", acknowledged, "messages were answered" if acknowledged else "no answer was found")
    back, sent = chat.echoed
    echoed = f"{back} of {sent} own messages came back as they were sent" if sent else "no own message was found"
    sheet.guess("echo", sent > 0 and back == sent, echoed)
    sheet.guess("unchanged", True, echoed if sent else "nothing contradicts it")
    sheet.guess(
        "names_sender", _has(chat, "sender"), "a sender was found" if _has(chat, "sender") else "none was found"
    )
    sheet.guess("at_most_once", "connection", "nothing contradicts it")
    sheet.guess("history", found.history is not None, "see [history]" if found.history else "no [history]")
    sheet.guess(
        "durable", found.history is not None, "what is acknowledged is stored" if found.history else "no [history]"
    )
    sheet.guess("resume", False, "not drafted", check="frames and query after a reconnect: [resume]")
    sheet.guess("delivers", True, "every member who is connected receives every message")
    sheet.todo("the bound that is promised for deliveries, if any", "delivery_bound_s = 5.0")


def _has(chat: Chat, role: str) -> bool:
    return "message" in chat.rules and role in chat.rules["message"].at
