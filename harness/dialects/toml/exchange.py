"""Exchange on a socket besides messages: steps of opening, replies, heartbeats, and how frames are sent."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from earwitness.harness.described import Table
from earwitness.harness.dialects.toml.frames import read_values
from earwitness.harness.dialects.toml.paths import PATH, Getter, compile_path
from earwitness.harness.dialects.toml.requests import LOGGED_IN, read_template
from earwitness.harness.dialects.toml.template import Template

COUNTED: Final = "n"
"""Placeholder of a number that counts the frames of a connection that contain this placeholder."""
BY_FRAME, OPEN, GREETING = "frame", "open", "greeting"
"""Signs that a connection is subscribed to its rooms: a frame that says so, its opening, or the greeting."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step while a connection is opened: a frame is sent, and its answer awaited before the next step.

    where         its name in error messages
    frame         what is sent; None: the step only waits
    kinds, text   the answer: values of `frames.kind`, or its beginning; both empty if nothing is awaited
    refused       values of `frames.kind` by which the platform refuses the connection
    refused_text  beginning of such a refusal
    keep          names of values of the answer -> their paths; afterwards they are placeholders `{kept.NAME}`
    """

    where: str
    frame: Template | None
    kinds: tuple[object, ...] = ()
    text: str = ""
    refused: tuple[object, ...] = ()
    refused_text: str = ""
    keep: Mapping[str, Getter]

    @property
    def waits(self) -> bool:
        """Return whether an answer is awaited."""
        return bool(self.kinds or self.text)

    @property
    def awaited(self) -> str:
        """Return words for an error that name the awaited answer."""
        way = f"wait_text = {self.text!r}" if self.text else f"wait_for = {list(self.kinds)!r}"
        return f"answer to {self.where} ({way})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """Frame that is sent whenever a certain frame is received: one of `kinds`, or exactly the text `to`.

    `to` is "" if `kinds` is given. `keep`: as in `Step`, with values of the received frame.
    """

    to: str
    kinds: tuple[object, ...]
    frame: Template
    keep: Mapping[str, Getter]


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """Rules for frames on a socket that are no messages, and for how frames are sent.

    beat_s, beat  a heartbeat: seconds between two, and its frame; 0.0 and None without one
    end           text at the end of every frame that is sent
    binary        frames are sent as bytes
    joined        what says that the rooms are subscribed: BY_FRAME, OPEN or GREETING
    by_room       a user has one socket for each room
    """

    steps: tuple[Step, ...] = ()
    replies: tuple[Reply, ...] = ()
    beat_s: float = 0.0
    beat: Template | None = None
    end: str = ""
    binary: bool = False
    joined: str = BY_FRAME
    by_room: bool = False

    @property
    def plain(self) -> bool:
        """Return whether every rule has its default: only messages are exchanged, so a socket needs no state."""
        return self == PLAIN


PLAIN: Final = Exchange()


def kept_names(top: Table) -> frozenset[str]:
    """Return the placeholders `kept.NAME` that steps and replies of a target file define.

    No mistakes are collected here; `read_exchange` collects them.
    """
    socket = top.data.get("socket")
    tables = socket if isinstance(socket, dict) else {}
    found = set()
    for key in ("steps", "replies"):
        inside = tables.get(key)
        for one in inside if isinstance(inside, list) else [inside]:
            keep = one.get("keep") if isinstance(one, dict) else None
            found |= {f"kept.{name}" for name in keep} if isinstance(keep, dict) else set()
    return frozenset(found)


def read_exchange(socket: Table, known: Collection[str]) -> tuple[tuple[Step, ...], tuple[Reply, ...]]:
    """Return the steps and the replies of the table [socket]. Mistakes are collected in `socket` and raised later.

    `known`: placeholders that have values.
    """
    example = '[{ frame = { type = "hello" }, wait_for = ["ready"] }]'
    steps = tuple(_read_step(inner, k, known) for k, inner in enumerate(socket.tables("steps", example=example), 1))
    if steps and not any(step.waits for step in steps):
        socket.fault("steps", "wait for no answer; frames without an answer belong into socket.first", example)
    found = socket.tables("replies", example='[{ to = "2", frame = "3" }]')
    replies = [reply for inner in found if (reply := _read_reply(inner, known)) is not None]
    return steps, tuple(replies)


def _read_step(table: Table, number: int, known: Collection[str]) -> Step:
    frame = read_template(table, "frame", known, example='{ type = "hello", token = "{token}" }')
    kinds, text = read_values(table, "wait_for", "ready"), table.text("wait_text", example="40")
    refused, refused_text = read_values(table, "refused", "error"), table.text("refused_text", example="44")
    keep = _read_keep(table)
    if "wait_for" in table.data and "wait_text" in table.data:
        table.fault("wait_for and wait_text", "exclude each other", 'wait_for = ["ready"]')
    if not {"frame", "wait_for", "wait_text"} & set(table.data):
        table.fault("frame", "or wait_for: one of them is needed", 'wait_for = ["ready"]')
    for key in ("refused", "refused_text", "keep"):
        if key in table.data and not {"wait_for", "wait_text"} & set(table.data):
            table.fault(key, "needs wait_for or wait_text: this step waits for no answer", 'wait_for = ["ready"]')
    table.finish()
    return Step(
        where=f"step {number} of socket.steps", frame=frame, kinds=kinds, text=text,
        refused=refused, refused_text=refused_text, keep=keep,
    )  # fmt: skip


def _read_reply(table: Table, known: Collection[str]) -> Reply | None:
    kinds, to = read_values(table, "is", "ping"), table.text("to", example="2")
    frame = read_template(table, "frame", known, example='{ type = "pong" }', required=True)
    keep = _read_keep(table)
    if len({"is", "to"} & set(table.data)) != 1:
        table.fault("to", "or is: exactly one of them is needed", 'to = "2"')
    if "keep" in table.data and "to" in table.data:
        table.fault("keep", "needs is: an exact text has no other values", 'is = ["ping"]')
    table.finish()
    return None if frame is None else Reply(to=to, kinds=kinds, frame=frame, keep=keep)


def _read_keep(table: Table) -> dict[str, Getter]:
    """Return placeholder (`kept.NAME`) -> getter for the values that the key `keep` names, {} without that key.

    Mistakes are collected in `table`.
    """
    inner = table.table("keep", example='{ session = "sid" }')
    paths = {}
    for name in inner.names() if inner else ():
        assert inner is not None
        text = inner.value(name, PATH, example='"sid"')
        if text is not None:
            paths[f"kept.{name}"] = compile_path(text)
        if Template(f"{{kept.{name}}}").names != {f"kept.{name}"}:
            inner.fault(name, "is no name of a placeholder: small letters, digits and _", 'session = "sid"')
    return paths


def read_beat(socket: Table, known: Collection[str]) -> tuple[float, Template | None]:
    """Return seconds and frame of the heartbeat `socket.every`, (0.0, None) without one."""
    table = socket.table("every", example='{ seconds = 25, frame = { type = "ping" } }')
    if table is None:
        return 0.0, None
    seconds = table.number("seconds", example="25", least=0.1)
    frame = read_template(table, "frame", known, example='{ type = "ping" }', required=True)
    if seconds is None and "seconds" not in table.data:
        table.fault("seconds", "is missing: it says how often the frame is sent", "seconds = 25")
    table.finish()
    return seconds or 0.0, frame


def needs_kind(steps: Sequence[Step], replies: Sequence[Reply]) -> Iterator[str]:
    """Yield the keys of [socket] that name a kind of frame, so that they need the path `frames.kind`."""
    for step in steps:
        if step.kinds or step.refused:
            yield f"socket.steps[{steps.index(step)}]"
    for k, reply in enumerate(replies):
        if reply.kinds:
            yield f"socket.replies[{k}]"


def placeholders(kept: Collection[str], *, by_room: bool) -> frozenset[str]:
    """Return the placeholders of frames that are no messages. `by_room`: also those of a room."""
    return LOGGED_IN | {COUNTED, *kept} | (frozenset({"room", "label"}) if by_room else frozenset())
