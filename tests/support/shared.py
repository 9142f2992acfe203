"""Records of edits, read marks and presence for literal histories, each at the history's next time."""

from __future__ import annotations

from typing import Any

from presented import ANSWERS, MS, now

from earwitness.checks.history.record import NONE, Kind, Place, State


def edit(
    history: Any, client: int, text: int, status: int = 200, *, of: tuple[int, int] = (1, 1), version: int = NONE,
    took_ms: int = 0, **slots: int,
) -> None:  # fmt: skip
    """Record that the message `of` (author, counter) gets another text. `text`: digest that stands for the text."""
    slots = {"author": of[0], "counter": of[1], "conv": 0, "digest": text, "aux": version, **slots}
    _write(history, client, State.EDIT, status, took_ms, slots)


def read_up_to(history: Any, client: int, seq: int, status: int = 200, *, took_ms: int = 0, **slots: int) -> None:
    """Record that the device's user has read conversation 0 up to the number `seq`."""
    _write(history, client, State.READ_MARK, status, took_ms, {"author": client, "conv": 0, "aux": seq, **slots})


def _write(history: Any, client: int, state: State, status: int, took_ms: int, slots: dict[str, int]) -> None:
    flags, sent = int(ANSWERS.get(status, 0)), now(history) - took_ms * MS
    history.add(Kind.WRITE, client, proc=int(state), attempt=int(Place.BACKEND), seq=sent, flags=flags, **slots)


def shown_text(
    history: Any, client: int, text: int, version: int = 2, *, of: tuple[int, int] = (1, 1), **how: int
) -> None:
    slots = {"author": of[0], "counter": of[1], "conv": 0, "digest": text, "aux": version}
    _seen(history, client, State.EDIT, {**slots, **how})


def shown_mark(history: Any, client: int, seq: int, **how: int) -> None:
    _seen(history, client, State.READ_MARK, {"author": client, "conv": 0, "aux": seq, **how})


def _seen(history: Any, client: int, state: State, slots: dict[str, int]) -> None:
    """Record that a device was shown a state: pushed on its connection, or requested `asked_ms` ms ago if given."""
    asked_ms = slots.pop("asked_ms", None)
    pushed = {"conn": client + 1 & 0xFFFF, "attempt": int(Place.SOCKET), "seq": NONE}
    asked = {"conn": 0, "attempt": int(Place.BACKEND), "seq": now(history) - (asked_ms or 0) * MS}
    history.add(Kind.SEEN, client, proc=int(state), **{**(pushed if asked_ms is None else asked), **slots})


def connect(history: Any, client: int, conn: int = 0, **slots: int) -> None:
    history.add(Kind.CONNECT, client, conn=conn or client + 1, **slots)


def told_of(history: Any, watcher: int, about: int, online: bool, conv: int = 0, **slots: int) -> None:
    """Record that a watcher's device was shown the presence of the user `about`, pushed on its connection."""
    slots = {"conn": watcher + 1, "author": about, "counter": int(online), "conv": conv, **slots}
    history.add(Kind.PRESENCE, watcher, **slots)
