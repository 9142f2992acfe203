"""Frame rules of a target file: paths to kind, text, ids, numbers and sender."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import orjson

from earwitness.checks.declared import TEXT, AnyOf, Many, Number
from earwitness.harness.client.envelope import Envelope, SentPiece, Values
from earwitness.harness.client.events import ACK, JOINED, LEFT, MESSAGE, NACK, OTHER, REPLAYED, WELCOME, Heard
from earwitness.harness.described import Table
from earwitness.harness.dialects.toml.paths import Getter, seq_or_none, text_or_none
from earwitness.harness.dialects.toml.requests import read_path

KINDS = {
    "message": MESSAGE,
    "ack": ACK,
    "nack": NACK,
    "welcome": WELCOME,
    "joined": JOINED,
    "left": LEFT,
    "replayed": REPLAYED,
}
PATHS = {
    "message": ("room", "text", "id", "seq", "sender"),
    "replayed": ("room", "text", "id", "seq", "sender"),
    "ack": ("room", "id", "n", "seq"),
    "nack": ("room", "id", "n", "code", "retry_after"),
    "welcome": ("user", "replica", "session", "rooms"),
    "joined": ("room", "seq", "complete"),
    "left": ("room",),
}
NEEDED = {"message": ("text",), "replayed": ("text",)}
ANSWERS = ("ack", "nack")
BY_ID, BY_ORDER, BY_NUMBER = "id", "order", "n"
"""How an answer names its message: by the client's id, by nothing (the oldest is meant), or by a counted number."""

VALUES = Many(
    item=AnyOf(
        kinds=(TEXT, Number(whole=True, least=None, most=None)), words="a text or a number", example='"message"'
    ),
    words="a text, a whole number or a list of them",
    example='["message"]',
    single=True,
)
"""Type of the key `is`: one or several values of `frames.kind` by which a rule recognises a frame."""
_ABSENT: Getter = lambda value: None  # noqa: E731


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Rule for one kind of frame: how to recognise it, and where its values are.

    values  values of `kind` that identify it
    has     path that is present only in this kind of frame
    lacks   path that is absent in this kind of frame
    prefix  text before the JSON of such a frame
    alone   the prefix alone identifies it
    items   path to a list inside the frame; each element counts as a frame
    by      how an answer names its message: BY_ID, BY_ORDER or BY_NUMBER
    at      getters of its values by name
    paths   the paths of `at`, `items`, `has` and `lacks` as text, by name
    """

    name: str
    values: tuple[object, ...]
    has: Getter | None
    items: Getter | None
    at: Mapping[str, Getter]
    paths: Mapping[str, str]
    lacks: Getter | None = None
    prefix: str = ""
    alone: bool = False
    by: str = BY_ID

    def fits(self, kind: object, frame: object) -> int:
        """Return how well the rule recognises a frame: 0 not, 1 by its prefix, 2 by a path, 3 by its kind.

        The caller has compared the prefix. `kind`: the frame's value of `frames.kind`; `frame`: its JSON.
        """
        if self.lacks is not None and self.lacks(frame) is not None:
            return 0
        if kind.__hash__ is not None and kind in self.values:
            return 3
        if self.has is not None and self.has(frame) is not None:
            return 2
        return 1 if self.alone else 0


@dataclass(frozen=True, slots=True)
class Piece:
    """One text of a received frame.

    text    as received, without separators
    prefix  the prefix of the rules with which it begins, "" if with none
    value   its JSON after the prefix; None if there is none
    read    False if it is not of the form that the file describes
    """

    text: str
    prefix: str
    value: object
    read: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameRules:
    """Rules of a target file for received frames.

    split      "none", "lines" (one JSON text a line) or "list" (a JSON list of messages)
    kind       getter of the kind of a frame
    separator  text at the end of each of several JSON texts in one frame, "" for none
    prefix     text before the JSON of a frame
    kind_path  path to the kind as text, "" if the file names none
    """

    split: str
    prefix: str
    kind: Getter
    kind_path: str
    rules: tuple[Rule, ...]
    separator: str = ""

    @property
    def welcomes(self) -> bool:
        """Return whether a rule describes a greeting of new connections."""
        return any(rule.name == "welcome" for rule in self.rules)

    @property
    def joins(self) -> bool:
        """Return whether the platform confirms that a room is subscribed: by a frame of its own, or in the greeting."""
        return any(rule.name == "joined" or (rule.name == "welcome" and "rooms" in rule.at) for rule in self.rules)

    @property
    def plain(self) -> bool:
        """Return whether all frames are read in one way: no separator, and no rule with `lacks` or its own prefix."""
        return not self.separator and all(rule.prefix == self.prefix and rule.lacks is None for rule in self.rules)

    def by(self, name: str) -> str:
        """Return how the answers of the rule `name` name their messages: BY_ID, BY_ORDER or BY_NUMBER.

        It is BY_ID if there is no such rule.
        """
        return next((rule.by for rule in self.rules if rule.name == name), BY_ID)

    def pieces(self, data: str | bytes) -> list[Piece]:
        """Return the texts of a frame, each with its JSON; a text with several JSON values gives a Piece for each."""
        text = data if isinstance(data, str) else data.decode("utf-8", "replace")
        texts = [part for part in text.split(self.separator) if part] if self.separator else [text]
        prefixes = sorted({self.prefix, *(rule.prefix for rule in self.rules)}, key=len, reverse=True)
        return [piece for part in texts for piece in self._decoded(part, prefixes)]

    def _decoded(self, text: str, prefixes: Sequence[str]) -> list[Piece]:
        prefix = next((one for one in prefixes if text.startswith(one)), None)
        if prefix is None:
            return [Piece(text, "", None, read=False)]
        if prefix and text == prefix and any(rule.alone and rule.prefix == prefix for rule in self.rules):
            return [Piece(text, prefix, None)]
        try:
            return [Piece(text, prefix, value) for value in _unpack(text, self.split, prefix)]
        except ValueError:
            return [Piece(text, prefix, None, read=False)]

    def recognised(self, data: str | bytes) -> list[tuple[Rule | None, object]]:
        """Return (rule that recognises it, or None; value) for each JSON value of a frame; [] for another form."""
        return [(self.rule_of(piece.value, piece.prefix), piece.value) for piece in self.pieces(data) if piece.read]

    def rule_of(self, frame: object, prefix: str | None = None) -> Rule | None:
        """Return the rule that recognises a decoded frame, None if none does. `listener` uses the same rule.

        `prefix`: the text before the frame; by default that of all frames.
        """
        before = self.prefix if prefix is None else prefix
        kind, best, found = self.kind(frame), 0, None
        for rule in self.rules:
            fit = rule.fits(kind, frame) if rule.prefix == before else 0
            if fit > best or fit == best == 3:  # of several rules with one kind the last one counts
                best, found = fit, rule
        return found


def read_frame_rules(table: Table) -> FrameRules:
    """Return the rules of the table [frames]. Mistakes are collected in `table` and raised together later."""
    rules = []
    kind = read_path(table, "kind", "type")
    prefix = table.text("prefix", example="42")
    for name in KINDS:
        inner = table.table(name, example='{ is = ["message"], text = "text" }', required=name == "message")
        if inner is not None:
            rules.append(_read_rule(inner, name, kind is not None, prefix))
    split = table.choice("split", ("none", "lines", "list"), "none")
    separator = table.text("separator", example="\\u001e")
    table.finish()
    kind_path = str(table.data.get("kind", "")) if kind is not None else ""
    return FrameRules(
        split=split, prefix=prefix, kind=kind or _ABSENT, kind_path=kind_path, rules=tuple(rules), separator=separator
    )


def _read_rule(table: Table, name: str, has_kind: bool, prefix: str) -> Rule:
    values = read_values(table, "is", name)
    has, lacks = read_path(table, "has", "message_id"), read_path(table, "lacks", "error")
    own = table.text("prefix", example="42")
    alone = bool(own) and not values and has is None
    if not alone and not values and has is None and ("is" in table.data or not {"is", "has"} & set(table.data)):
        table.fault("is", "is missing: nothing distinguishes this kind of frame from others", f'is = ["{name}"]')
    if values and not has_kind:
        table.fault("is", "needs the path frames.kind", 'kind = "type" in [frames]')
    items = read_path(table, "items", "messages")
    needed = NEEDED.get(name, ())
    paths_at = {
        key: read_path(table, key, key if key in needed else f"message.{key}", key in needed) for key in PATHS[name]
    }
    at = {key: getter for key, getter in paths_at.items() if getter is not None}
    by = _read_by(table) if name in ANSWERS else BY_ID
    paths = {key: str(table.data[key]) for key in (*at, "items", "has", "lacks") if key in table.data}
    table.finish()
    return Rule(
        name=name, values=values, has=has, items=items, at=at, paths=paths,
        lacks=lacks, prefix=own or prefix, alone=alone, by=by,
    )  # fmt: skip


def read_values(table: Table, name: str, example: str) -> tuple[object, ...]:
    """Return the values of a kind of frame that the key `name` lists; () if the key is absent or wrong.

    `example`: a correct value, for the error.
    """
    given = table.value(name, VALUES, example=f'["{example}"]')
    return () if given is None else tuple(given) if isinstance(given, list) else (given,)


def _read_by(table: Table) -> str:
    """Return how an answer names its message: BY_ID, BY_NUMBER or BY_ORDER.

    It is a mistake unless the table has exactly one of the keys id and n, and by = "order".
    """
    by = table.choice("by", (BY_ID, BY_ORDER), BY_ID)
    ways = [key for key in (BY_ID, BY_NUMBER) if key in table.data] + [BY_ORDER] * (by == BY_ORDER)
    if not ways:
        missing = 'is missing: it says which message is answered; so do n (a counted number) and by = "order"'
        table.fault("id", missing, 'id = "id"')
    elif len(ways) > 1:
        said = " and ".join('by = "order"' if way == BY_ORDER else way for way in ways)
        table.fault("id", f"is not the only key that says which message is answered: {said} exclude each other", "")
    return ways[0] if ways else BY_ID


def listener(rules: FrameRules, label_of: Mapping[str, str]) -> Callable[[str | bytes], Sequence[Heard]]:
    """Return the function that decodes received frames into events.

    `label_of`: the platform's name of a room -> its label in the plan.
    """
    if not rules.plain:
        read_piece = piece_reader(rules, label_of)
        return lambda data: [heard for piece in rules.pieces(data) for heard in read_piece(piece)]
    by_kind = {value: _reader(rule, label_of) for rule in rules.rules for value in rule.values}
    by_presence = [(rule.has, _reader(rule, label_of)) for rule in rules.rules if rule.has is not None]
    kind_of = rules.kind

    def one(frame: object) -> list[Heard]:
        kind = kind_of(frame)
        reader = by_kind.get(kind) if kind.__hash__ is not None else None
        if reader is None:
            reader = next((read for has, read in by_presence if has(frame) is not None), None)
        return reader(frame) if reader is not None else [_other(frame)]

    def hear(data: str | bytes) -> Sequence[Heard]:
        try:
            frames = _unpack(data, rules.split, rules.prefix)
        except (ValueError, UnicodeDecodeError):
            return (_other("a frame that could not be understood"),)
        if len(frames) == 1:
            return one(frames[0])
        return [heard for frame in frames for heard in one(frame)]

    return hear


def envelope_of(rules: FrameRules, label_of: dict[str, str], send: tuple[SentPiece, ...]) -> Envelope | None:
    """Return the envelope with which the native path decodes messages and acknowledgements as `listener` does.

    Return None where an envelope cannot express the rules, such as a prefix or several JSON texts in a frame.
    `label_of`: as of `listener`; `send`: pieces of `Envelope.send`.
    """
    by_name = {rule.name: rule for rule in rules.rules}
    message, ack = by_name["message"], by_name.get("ack")
    if not rules.plain or rules.prefix or rules.split == "lines" or rules.kind_path == "." or message.items is not None:
        return None
    owners = {value: rule for rule in rules.rules for value in rule.values}
    kind, found = rules.kind_path, _values(message, owners)
    if not owners:
        first = next((rule for rule in rules.rules if rule.has is not None), None)
        if first is not message or message.paths["has"] not in (found.room, found.text, found.seq, found.sender):
            return None
        kind = ""  # a frame with the values of a message is one
    elif not found.kinds:
        return None
    answer = None
    if kind and ack is not None and ack.items is None and ack.by == BY_ID:
        answer = _values(ack, owners)
    if any(value == "." for values in (found, answer) if values is not None for value in values.paths):
        return None
    answer = answer if answer is not None and answer.kinds and answer.id else None
    return Envelope(kind=kind, message=found, ack=answer, labels=label_of, send=send)


def _values(rule: Rule, owners: Mapping[object, Rule]) -> Values:
    kinds = tuple(value for value in rule.values if isinstance(value, str) and owners[value] is rule)
    named = {key: rule.paths.get(key, "") for key in ("room", "text", "seq", "sender", "id")}
    return Values(kinds=kinds, **named)


def piece_reader(rules: FrameRules, label_of: Mapping[str, str]) -> Callable[[Piece], list[Heard]]:
    """Return the function that reads one text of a frame as events; arguments as of `listener`."""
    readers = {rule.name: _reader(rule, label_of) for rule in rules.rules}

    def read(piece: Piece) -> list[Heard]:
        if not piece.read:
            return [_other("a frame that could not be understood")]
        rule = rules.rule_of(piece.value, piece.prefix)
        return [_other(piece.value)] if rule is None else readers[rule.name](piece.value)

    return read


def _unpack(data: str | bytes, split: str, prefix: str) -> list[object]:
    if prefix:
        text = data.decode() if isinstance(data, bytes) else data
        if not text.startswith(prefix):
            raise ValueError("another prefix")
        data = text[len(prefix) :]
    if split == "lines":
        lines = data.splitlines() if isinstance(data, bytes) else data.split("\n")
        return [orjson.loads(line) for line in lines if line.strip()]
    value = orjson.loads(data)
    return value if split == "list" and type(value) is list else [value]


def _other(what: object) -> Heard:
    return (OTHER, None, None, -1, None, None, what)


def _reader(rule: Rule, label_of: Mapping[str, str]) -> Callable[[object], list[Heard]]:
    make = {"nack": _nack, "welcome": _welcome, "joined": _joined}.get(rule.name, _plain)(rule, label_of)
    if rule.items is None:
        return make
    items = rule.items

    def each(frame: object) -> list[Heard]:
        found = items(frame)
        if type(found) is not list:
            return [_other(frame)]
        return [heard for item in found for heard in make(item)]

    return each


def _named_by(rule: Rule) -> str:
    """Return the key of the path to what identifies an event's message: "n" for a counted number, else "id"."""
    return BY_NUMBER if rule.by == BY_NUMBER else "id"


def _plain(rule: Rule, label_of: Mapping[str, str]) -> Callable[[object], list[Heard]]:
    """Return the reader of message, replayed, ack and left.

    It reads room, text, number, sender and id, as far as there are paths.
    """
    what, needs_text = KINDS[rule.name], "text" in NEEDED.get(rule.name, ())
    room_at, text_at, id_at = (rule.at.get(key, _ABSENT) for key in ("room", "text", _named_by(rule)))
    seq_at, sender_at = rule.at.get("seq", _ABSENT), rule.at.get("sender", _ABSENT)

    def read(frame: object) -> list[Heard]:
        found = text_at(frame)
        text = found if type(found) is str else None
        if needs_text and text is None:
            return [_other(frame)]
        room, seq = text_or_none(room_at(frame)), seq_or_none(seq_at(frame))
        label = label_of.get(room, room) if room is not None else None
        sender, message_id = text_or_none(sender_at(frame)), text_or_none(id_at(frame))
        return [(what, label, text, -1 if seq is None else seq, sender, message_id, None)]

    return read


def _nack(rule: Rule, label_of: Mapping[str, str]) -> Callable[[object], list[Heard]]:
    room_at, id_at = rule.at.get("room", _ABSENT), rule.at.get(_named_by(rule), _ABSENT)
    code_at, retry_at = rule.at.get("code", _ABSENT), rule.at.get("retry_after", _ABSENT)

    def read(frame: object) -> list[Heard]:
        room, code, retry = text_or_none(room_at(frame)), seq_or_none(code_at(frame)), retry_at(frame)
        label = label_of.get(room, room) if room is not None else None
        wait_s = float(retry) if isinstance(retry, (int, float)) and not isinstance(retry, bool) else None
        return [(NACK, label, None, -1, None, text_or_none(id_at(frame)), (code or 0, wait_s))]

    return read


def _welcome(rule: Rule, label_of: Mapping[str, str]) -> Callable[[object], list[Heard]]:
    ways = {key: rule.at.get(key, _ABSENT) for key in ("user", "replica", "session")}
    rooms_at = rule.at.get("rooms", _ABSENT)

    def read(frame: object) -> list[Heard]:
        who = {key: text_or_none(getter(frame)) for key, getter in ways.items()}
        heard: list[Heard] = [(WELCOME, None, None, -1, who["user"], None, who)]
        rooms = rooms_at(frame)
        heads = (
            rooms.items() if type(rooms) is dict else [(room, None) for room in rooms] if type(rooms) is list else ()
        )
        for room, head in heads:
            label, seq = text_or_none(room), seq_or_none(head)
            if label is not None:
                heard.append((JOINED, label_of.get(label, label), None, -1 if seq is None else seq, None, None, None))
        return heard

    return read


def _joined(rule: Rule, label_of: Mapping[str, str]) -> Callable[[object], list[Heard]]:
    room_at, seq_at = rule.at.get("room", _ABSENT), rule.at.get("seq", _ABSENT)
    complete_at = rule.at.get("complete", _ABSENT)
    named = "room" in rule.at  # without the path the socket belongs to one room

    def read(frame: object) -> list[Heard]:
        room, seq, complete = text_or_none(room_at(frame)), seq_or_none(seq_at(frame)), complete_at(frame)
        if room is None and named:
            return [_other(frame)]
        continued = complete if isinstance(complete, bool) else None
        label = None if room is None else label_of.get(room, room)
        return [(JOINED, label, None, -1 if seq is None else seq, None, None, continued)]

    return read
