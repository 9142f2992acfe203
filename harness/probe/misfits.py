"""Misfits between a target file and received frames: paths that find nothing, kinds without a rule.

They are found before a load, because a wrong path looks like an error of the platform: a message that cannot be read
counts as lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from earwitness.checks.contract import Contract
from earwitness.harness.client.body import PREFIX
from earwitness.harness.dialects.toml.frames import FrameRules, Rule
from earwitness.harness.dialects.toml.paths import compile_path, seq_or_none, text_or_none

DEPTH = 12
"""Most levels of nesting that are searched for a value."""
KEYS_SHOWN = 20
KIND_CHARS = 40
KINDS_MOST = 12
OPTIONAL = {"welcome": frozenset({"replica", "session"}), "joined": frozenset({"complete"})}
"""Paths to values that a platform need not send on every connection."""


@dataclass(frozen=True, slots=True)
class Misfit:
    """Sentence about a mistake in the target file.

    `fatal`: a load would take it for an error of the platform.
    """

    sentence: str
    fatal: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """Values of a rehearsal by which frames that carry its messages are recognised; a path must find one of them.

    tag    part of every text, id and name of the rehearsal
    texts  bodies
    ids    client message ids
    rooms  the platform's names of the room
    users  the platform's ids of the two users
    """

    tag: str
    texts: frozenset[str]
    ids: frozenset[str]
    rooms: frozenset[str]
    users: frozenset[str]

    def marks(self, leaf: str) -> bool:
        """Return whether `leaf` contains the beginning of a text of this rehearsal, whatever follows it."""
        return f"{PREFIX}{self.tag}:" in leaf


def misfits(rules: FrameRules, contract: Contract, frames: Sequence[str | bytes], sent: Sent) -> list[Misfit]:
    """Return what in `rules` does not fit the frames that two users received, fatal mistakes first."""
    pairs = [pair for frame in frames for pair in rules.recognised(frame)]
    if frames and not pairs:
        return [Misfit(f"none of {len(frames)} frames could be read as frames.{_unreadable(rules)}.", True)]
    by_rule: dict[str, list[object]] = {rule.name: [] for rule in rules.rules}
    unlisted: dict[str, list[object]] = {rule.name: [] for rule in rules.rules}
    unknown = []
    for rule, value in pairs:
        items = _items(rule, value)
        if rule is None:
            unknown.append(value)
        elif items is None:
            unlisted[rule.name].append(value)
        else:
            by_rule[rule.name] += items
    if any(unlisted["message"]) and not by_rule["message"]:
        message = next(rule for rule in rules.rules if rule.name == "message")
        return [_nothing_at(message, "items", unlisted["message"], True)]
    found = list(_unrecognised(rules, contract, by_rule, unknown, sent))
    for rule in rules.rules:
        found += _paths(rule, contract, by_rule[rule.name], sent)
        if unlisted[rule.name] and not by_rule[rule.name]:
            found.append(_nothing_at(rule, "items", unlisted[rule.name], False))
    return sorted(found, key=lambda one: not one.fatal)


def _unreadable(rules: FrameRules) -> str:
    prefix = f", frames.prefix = {rules.prefix!r}" if rules.prefix else ""
    separator = f", frames.separator = {rules.separator!r}" if rules.separator else ""
    return f"split = {rules.split!r}{prefix}{separator}: they are no such JSON"


def _items(rule: Rule | None, value: object) -> list[object] | None:
    if rule is None or rule.items is None:
        return [value]
    found = rule.items(value)
    return found if isinstance(found, list) else None


# -- kinds ------------------------------------------------------------------------------------------------------------


def _unrecognised(
    rules: FrameRules, contract: Contract, by_rule: Mapping[str, list[object]], unknown: list[object], sent: Sent
) -> Iterator[Misfit]:
    """Yield misfits of messages and answers whose frames are recognised by no rule, or by another one."""
    messages = next((rule for rule in rules.rules if rule.name == "message"), None)
    if messages is not None and not by_rule["message"]:
        others = [
            *unknown,
            *(value for name, values in by_rule.items() if name not in ("replayed", "ack", "nack") for value in values),
        ]
        carrying = [value for value in others if _has(value, sent.marks)]
        if carrying:
            yield Misfit(f"{_told_apart(rules, messages)}, but what was sent came in {_kinds(rules, carrying)}.", True)
        elif unknown:
            seen = f"no frame came of that kind; the others were {_kinds(rules, unknown)}"
            yield Misfit(f"{_told_apart(rules, messages)}, but {seen}.", True)
    answers = [value for value in unknown if _has(value, sent.ids.__contains__) and not _has(value, sent.marks)]
    answer_rules = [rule for rule in rules.rules if rule.name in ("ack", "nack")]
    if answers and contract.acknowledges and not any(by_rule[rule.name] for rule in answer_rules):
        said = " and ".join(_told_apart(rules, rule) for rule in answer_rules) or "there is no [frames.ack]"
        yield Misfit(f"{said}, but the ids of what was sent came in {_kinds(rules, answers)}.", True)


def _told_apart(rules: FrameRules, rule: Rule) -> str:
    """Return the words for a message that say how the file recognises frames of a rule."""
    name = f"frames.{rule.name}"
    ways = [f"{name}.is = {' or '.join(map(repr, rule.values))} at {rules.kind_path!r} (frames.kind)"]
    if rule.has is not None:
        ways = ways * bool(rule.values) + [f"{name}.has = {rule.paths['has']!r}"]
    return f"{name}.prefix = {rule.prefix!r}" if rule.alone else " or ".join(ways)


def _kinds(rules: FrameRules, values: list[object]) -> str:
    """Return the kinds of these frames in words; their keys, if the path of the kind finds nothing."""
    kinds = sorted({repr(kind) for value in values if (kind := rules.kind(value)) is not None})
    frames = f"{len(values)} frame{'s'[: len(values) != 1]}"
    if kinds:
        return f"{frames} of kind {' or '.join(kinds[:KEYS_SHOWN])}"
    return f"{frames} without a kind, with {_keys(values)}{_kind_hint(values)}"


def _kind_hint(values: list[object]) -> str:
    """Return words that name the likeliest path of the kind in these frames, "" if there is none.

    At such a path more than half of the frames have a short word without digits, and there are at most KINDS_MOST
    words.
    """
    words: dict[str, list[str]] = {}
    for value in values:
        for path, leaf in _leaves(value):
            if len(leaf) <= KIND_CHARS and not any(char.isdigit() for char in leaf):
                words.setdefault(path, []).append(leaf)
    for path, found in sorted(words.items(), key=lambda one: (-len(one[1]), len(one[0]))):
        different = sorted(set(found))
        if 2 * len(found) > len(values) and len(different) <= KINDS_MOST and PREFIX not in "".join(different):
            return f"; their kind may stand at {path!r} ({', '.join(map(repr, different))}): frames.kind = {path!r}"
    return ""


# -- paths ------------------------------------------------------------------------------------------------------------


def _paths(rule: Rule, contract: Contract, frames: list[object], sent: Sent) -> Iterator[Misfit]:
    """Yield a misfit for each path of a rule that found no value, or no correct value, in any of its frames.

    Messages of others in the room, or of the platform itself, do not show whether a path is right. So a fault is fatal
    only if frames carry what was sent.
    """
    carrying = [frame for frame in frames if _has(frame, lambda leaf: sent.marks(leaf) or leaf in sent.ids)]
    own = carrying or frames
    if not own:
        return
    fatal = _needed(rule.name, contract) if carrying or rule.name == "joined" else frozenset()
    for key, getter in rule.at.items():
        if key in OPTIONAL.get(rule.name, ()):
            continue
        wanted = _right(rule.name, key, sent)
        values = [value for frame in own if (value := _read(key, getter(frame))) is not None]
        if not values:
            yield _nothing_at(rule, key, own, key in fatal, wanted)
        elif (
            wanted
            and key in fatal
            and wanted.isdisjoint(values)
            and not any(isinstance(value, str) and sent.marks(value) for value in values)
        ):
            # The platform may subscribe the user to other rooms than ours.
            yield from _wrong_at(rule, key, own, wanted, fatal=rule.name != "joined")


def _right(name: str, key: str, sent: Sent) -> frozenset[str]:
    """Return the correct values for the path `key` of the rule `name`; the set is empty if they are not known."""
    if key == "room":
        return sent.rooms
    if key == "id":
        return sent.ids
    if name in ("message", "replayed"):
        return {"text": sent.texts, "sender": sent.users}.get(key, frozenset())
    return frozenset()


def _read(key: str, value: object) -> object:
    """Return the value as the load reads it; None if the load would reject it."""
    if key == "text":
        return value if isinstance(value, str) else None
    if key in ("room", "id", "sender"):
        return text_or_none(value)
    return seq_or_none(value) if key in ("seq", "n") else value


def _needed(name: str, contract: Contract) -> frozenset[str]:
    """Return the paths of a rule without which the load would be judged wrongly, or not at all."""
    if name == "message":
        promised = {"seq": contract.sequence != "none", "sender": contract.names_sender}
        return frozenset({"text", "room", *(key for key, promise in promised.items() if promise)})
    if name == "ack":
        return frozenset({"id", "n"}) if contract.acknowledges else frozenset()
    return frozenset({"room"}) if name == "joined" else frozenset()


def _nothing_at(
    rule: Rule, key: str, frames: list[object], fatal: bool, wanted: frozenset[str] = frozenset()
) -> Misfit:
    count = f"any of {len(frames)} frames" if len(frames) > 1 else "its frame"
    what = "no text" if key == "text" else "no list" if key == "items" else "no number" if key == "seq" else "nothing"
    there = f"{_there(rule.paths[key], frames)}{_stands(frames, wanted)}"
    return Misfit(f"frames.{rule.name}.{key} = {rule.paths[key]!r} finds {what} in {count}; {there}.", fatal)


def _wrong_at(rule: Rule, key: str, frames: list[object], wanted: frozenset[str], *, fatal: bool) -> Iterator[Misfit]:
    what = {
        "text": "what was sent", "room": "the room that was spoken in", "sender": "one of the users who spoke",
        "id": "the id of what was sent",
    }[key]  # fmt: skip
    stands = _stands(frames, wanted)
    if key == "text" and not stands:
        return  # The platform changes texts: a promise, and a check of its own (I10).
    hint = {"room": " (or rooms.room_id is wrong)", "sender": " (or login.user_id is wrong)"}.get(key, "")
    path = rule.paths[key]
    said = f"is never {what}{hint}; {_there(path, frames)}{stands}"
    yield Misfit(f"frames.{rule.name}.{key} = {path!r} {said}.", fatal)


def _stands(frames: list[object], wanted: frozenset[str]) -> str:
    """Return a hint with the path at which one of the values `wanted` is found; "" if no frame has one."""
    for frame in frames:
        for path, leaf in _leaves(frame):
            if leaf in wanted:
                return f"; what it should find stands at {path!r}"
    return ""


def _there(path: str, frames: list[object]) -> str:
    """Return words that list the keys at the deepest step of `path` that exists in the frames."""
    steps = path.split(".") if path != "." else []
    for depth in range(max(len(steps) - 1, 0), -1, -1):
        inside = [frame for frame in frames if isinstance(frame, (dict, list))]
        if depth:
            at = ".".join(steps[:depth])
            inside = [value for frame in frames if isinstance(value := compile_path(at)(frame), (dict, list))]
        if inside:
            return f"the keys {'there' if not depth else f'at {at!r}'} are {_keys(inside)}"
    return "the frames are no objects"


def _keys(values: Sequence[object]) -> str:
    keys = list(dict.fromkeys(str(key) for value in values for key in (value if isinstance(value, dict) else ())))
    if not keys:
        return "positions of a list" if any(isinstance(value, list) for value in values) else "none"
    return ", ".join(keys[:KEYS_SHOWN]) + (", …" if len(keys) > KEYS_SHOWN else "")


def _leaves(value: object, path: str = "", depth: int = 0) -> Iterator[tuple[str, str]]:
    """Yield (path, text) of every text and whole number inside a JSON value."""
    if depth > DEPTH:
        return
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, f"{path}.{key}" if path else str(key), depth + 1)
    elif isinstance(value, list):
        for position, inner in enumerate(value):
            yield from _leaves(inner, f"{path}.{position}" if path else str(position), depth + 1)
    elif (text := text_or_none(value)) is not None:
        yield path or ".", text


def _has(value: object, fits: Callable[[str], bool]) -> bool:
    return any(fits(leaf) for _, leaf in _leaves(value))
