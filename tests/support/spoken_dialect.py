"""Dialect from a target file, and the frames and events of its dialogues, for tests without a server."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mutated_frames import COUNT, mutated_bytes

from earwitness.harness.dialects.guarded import GuardedDialect, event_fault
from earwitness.harness.dialects.protocol import Credentials, Person, Room
from earwitness.harness.dialects.registry import load_target

ANN = Person(number=0, name="ann", email="ann@people.example", secret="secret-of-ann")
BODIES = ("plain", "quotes \" and \\ and ' and : end", "überall · 日本語 · 🎈", "two\nlines\r\nand\ttabs", "x" * 200)
"""Texts of 5 to 200 bytes that must arrive unchanged."""


def dialect(folder: Path, name: str, more: str = "", socket: str = "ws://127.0.0.1:1/ws") -> Any:
    """Return the target of a shipped dialect with the lines `more` in its file."""
    file = folder / f"{name}.toml"
    file.write_text(f'dialect = "{name}"\n[urls]\nsocket = "{socket}"\n{more}')
    target = load_target(file)
    assert isinstance(target, GuardedDialect)
    return target.target


def credentials(person: Person = ANN) -> Credentials:
    return Credentials(person=person, user_id=person.name, token=person.secret)


def dialogue(
    target: Any, labels: Sequence[str] = ("r1",), resume: Mapping[str, int] | None = None, previous: Any = None
) -> Any:
    """Return the dialogue of ann in rooms with these labels. `resume`, `previous`: as `Dialect.dialogue` takes them."""
    rooms = [Room(number=n, label=label, members=(ANN,)) for n, label in enumerate(labels)]
    return target.dialogue(credentials(), rooms, resume, previous)


def taken(one: Any) -> bytes:
    """Return and remove the bytes that a dialogue wants to send."""
    data = b"".join(frame.encode() if isinstance(frame, str) else frame for frame in one.out)
    one.out.clear()
    return data


def whole(one: Any, data: bytes) -> list[Any]:
    """Return the events of `data`, which arrives in one piece; assert that each is valid."""
    events = list(one.received(data))
    assert [event_fault(event) for event in events] == [None] * len(events)
    return events


def in_pieces(one: Any, data: bytes, size: int) -> list[Any]:
    """Return the events of `data`, which arrives in pieces of `size` bytes; assert that each is valid."""
    return [event for at in range(0, len(data), size) for event in whole(one, data[at : at + size])]


def damaged(real: Sequence[bytes], anew: Callable[[], Any]) -> Any:
    """Feed dialogues with COUNT damaged copies of `real`; return the last dialogue.

    `anew`: returns a new dialogue, for every 50 copies. Asserts that none raises, and that all events are valid.
    """
    one: Any = None
    for number, data in enumerate(mutated_bytes(real, COUNT, seed=16)):
        one = anew() if number % 50 == 0 else one
        whole(one, data)
        one.tick()
        taken(one)
    return one
