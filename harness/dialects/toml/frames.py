"""Frame rules of a target file: paths to kind, text, ids, numbers and sender."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import orjson

from earwitness.checks.declared import TEXT, AnyOf, Many, Number
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
    "ack": ("room", "id", "seq"),
    "nack": ("room", "id", "code", "retry_after"),
    "welcome": ("user", "replica", "session", "rooms"),
    "joined": ("room", "seq", "complete"),
    "left": ("room",),
}
NEEDED = {"message": ("text",), "replayed": ("text",), "ack": ("id",), "nack": ("id",), "joined": ("room",)}

VALUES = Many(
    item=AnyOf(
        kinds=(TEXT, Number(whole=True, least=None, most=None)), words="a text or a number", example='"message"'
    ),
    words="a text, a whole number or a list of them",
    example='["message"]',
    single=True,
)
"""Values of the kind that a rule recognises."""
_ABSENT: Getter = lambda value: None  # noqa: E731


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Rule for one kind of frame: how to recognise it, and where its values are.

    values  values of `kind` that identify it
    has     path that is present only in this kind of frame
    items   path to a list inside the frame; each element counts as a frame
    at      getters of its values by name
    paths   the same paths, `items` and `has` as text
    """

    name: str
    values: tuple[object, ...]
    has: Getter | None
    items: Getter | None
    at: Mapping[str, Getter]
    paths: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameRules:
    """Rules of a target file for received frames.

    split      none, lines (several JSON texts in one frame) or list (a JSON list of messages)
    prefix     text before the JSON of a frame
    kind_path  path to the kind as text, "" if the file names none
    """

    split: str
    prefix: str
    kind: Getter
    kind_path: str
    rules: tuple[Rule, ...]

    @property
    def welcomes(self) -> bool:
        """Return whether a rule describes a greeting of new connections."""
        return any(rule.name == "welcome" for rule in self.rules)

    @property
    def joins(self) -> bool:
        """Return whether the platform confirms that a room is subscribed: by a frame of its own, or in the greeting."""
        return any(rule.name == "joined" or (rule.name == "welcome" and "rooms" in rule.at) for rule in self.rules)

    def values(self, data: str | bytes) -> list[object]:
        """Decode a frame into its JSON values; [] if it is not of the form that the file describes."""
        try:
            return _unpack(data, self.split, self.prefix)
        except (ValueError, UnicodeDecodeError):
            return []

    def rule_of(self, frame: object) -> Rule | None:
        """Return the rule that recognises a decoded frame, None if none does. `listener` uses the same rule."""
        kind = self.kind(frame)
        by_kind = [rule for rule in self.rules if kind.__hash__ is not None and kind in rule.values]
        by_presence = [rule for rule in self.rules if rule.has is not None and rule.has(frame) is not None]
        return by_kind[-1] if by_kind else by_presence[0] if by_presence else None


def read_frame_rules(table: Table) -> FrameRules:
    """Return the rules of the table [frames]. Mistakes are collected in `table` and raised together later."""
    rules = []
    kind = read_path(table, "kind", "type")
    for name in KINDS:
        inner = table.table(name, example='{ is = ["message"], text = "text" }', required=name == "message")
        if inner is not None:
            rules.append(_read_rule(inner, name, kind is not None))
    split = table.choice("split", ("none", "lines", "list"), "none")
    prefix = table.text("prefix", example="42")
    table.finish()
    kind_path = str(table.data.get("kind", "")) if kind is not None else ""
    return FrameRules(split=split, prefix=prefix, kind=kind or _ABSENT, kind_path=kind_path, rules=tuple(rules))


def _read_rule(table: Table, name: str, has_kind: bool) -> Rule:
    is_ = table.value("is", VALUES, example=f'["{name}"]')
    values = () if is_ is None else tuple(is_) if isinstance(is_, list) else (is_,)
    has = read_path(table, "has", "message_id")
    if not values and has is None and (is_ is not None or not {"is", "has"} & set(table.data)):
        table.fault("is", "is missing: nothing distinguishes this kind of frame from others", f'is = ["{name}"]')
    if values and not has_kind:
        table.fault("is", "needs the path frames.kind", 'kind = "type" in [frames]')
    items = read_path(table, "items", "messages")
    needed = NEEDED.get(name, ())
    paths_at = {
        key: read_path(table, key, key if key in needed else f"message.{key}", key in needed) for key in PATHS[name]
    }
    at = {key: getter for key, getter in paths_at.items() if getter is not None}
    paths = {key: str(table.data[key]) for key in (*at, "items", "has") if key in table.data}
    table.finish()
    return Rule(name=name, values=values, has=has, items=items, at=at, paths=paths)


def listener(rules: FrameRules, label_of: Mapping[str, str]) -> Callable[[str | bytes], Sequence[Heard]]:
    """Return the function that decodes received frames into events; it becomes the target's `hear`.

    `label_of`: the platform's name of a room -> its label in the plan.
    """
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


def _plain(rule: Rule, label_of: Mapping[str, str]) -> Callable[[object], list[Heard]]:
    """Return the reader of message, replayed, ack and left.

    It reads room, text, number, sender and id, as far as there are paths.
    """
    what, needs_text = KINDS[rule.name], "text" in NEEDED.get(rule.name, ())
    room_at, text_at, id_at = (rule.at.get(key, _ABSENT) for key in ("room", "text", "id"))
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
    room_at, id_at = rule.at.get("room", _ABSENT), rule.at.get("id", _ABSENT)
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

    def read(frame: object) -> list[Heard]:
        room, seq, complete = text_or_none(room_at(frame)), seq_or_none(seq_at(frame)), complete_at(frame)
        if room is None:
            return [_other(frame)]
        continued = complete if isinstance(complete, bool) else None
        return [(JOINED, label_of.get(room, room), None, -1 if seq is None else seq, None, None, continued)]

    return read
