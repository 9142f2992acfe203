"""Logs of registers and of append-only keys, as Jepsen and Porcupine publish them, converted to records.

A register becomes the text of one message that everybody may edit: a write is an edit, a read shows the text (I18). A
successful compare-and-set is an edit that also shows the value that it replaced; a failed one cannot be expressed. An
append-only key becomes a conversation: an append is a message whose number is its position, a get is a read of the
history (I16, I17, I44). A `put` empties a key, which cannot be expressed either; such keys are left out.

`linearizable` is an independent oracle: it searches for an order of the operations, as the tools of these logs do.
`python tests/support/registers.py FOLDER` compares it with the checks on every log of a folder.
"""

from __future__ import annotations

import random
import re
import sys
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from literal import Told

from earwitness.checks.history.record import Flag, Kind, Place, State

Outcome = Literal["ok", "fail", "unknown"]
NOTHING = -1
"""Value of a register before its first write."""
STEP = 2
"""Records for each event of a log: a compare-and-set takes two."""


@dataclass(frozen=True)
class Op:
    """One operation of a log.

    begin, end  positions of its events in the log; `end` is the log's length if it never ended
    f           read, write, cas (from `old` to `value`), append, get or put
    shown       of a get: the items that it returned; of an append: its item
    """

    process: int
    f: str
    begin: int
    end: int
    outcome: Outcome
    value: int = NOTHING
    old: int = NOTHING
    key: str = ""
    shown: tuple[str, ...] = ()


# -- reading ----------------------------------------------------------------------------------------------------------

_REGISTER = re.compile(r".*?(\d+)\s+:(invoke|ok|fail|info)\s+:(read|write|cas)\s+(\[?[^\]]*\]?)\s*$")
_KEYED = re.compile(r'\{:process (\d+), :type :(\w+), :f :(\w+), :key "([^"]*)", :value (nil|"[^"]*")\}')
_ITEM = re.compile(r"x \d+ \d+ y")


def read_register_log(lines: Iterable[str]) -> list[Op]:
    """Return the operations of a log with lines like `… PROCESS :invoke :cas [2 4]`; other lines are skipped."""
    ops: list[Op] = []
    open_ops: dict[int, Op] = {}
    place = 0
    for line in lines:
        if (match := _REGISTER.match(line)) is None:
            continue
        process, what, f = int(match[1]), match[2], match[3]
        numbers = [int(number) for number in re.findall(r"\d+", match[4])]
        if what == "invoke":
            value = numbers[-1] if numbers else NOTHING
            old = numbers[0] if f == "cas" else NOTHING
            open_ops[process] = Op(process, f, place, 0, "unknown", value, old)
        else:
            op = open_ops.pop(process)
            if f == "read" and what == "ok":
                op = replace(op, value=numbers[0] if numbers else NOTHING)
            known: Outcome = (
                "ok" if what == "ok" else "fail" if what == "fail" and "timed-out" not in line else "unknown"
            )
            ops.append(replace(op, end=place, outcome=known))
        place += 1
    return _ordered(ops, open_ops.values(), place)


def read_keyed_log(lines: Iterable[str]) -> list[Op]:
    """Return the operations of a log with lines like `{:process 0, :type :invoke, :f :append, :key "0", …}`."""
    ops: list[Op] = []
    open_ops: dict[int, Op] = {}
    place = 0
    for line in lines:
        if (match := _KEYED.match(line.strip())) is None:
            continue
        process, what, f, key, value = int(match[1]), match[2], match[3], match[4], match[5]
        items = tuple(_ITEM.findall(value))
        if what == "invoke":
            open_ops[process] = Op(process, f, place, 0, "unknown", key=key, shown=items)
        else:
            op = open_ops.pop(process)
            ops.append(replace(op, end=place, outcome="ok", shown=items if f == "get" else op.shown))
        place += 1
    return _ordered(ops, open_ops.values(), place)


def _ordered(ended: Iterable[Op], never: Iterable[Op], length: int) -> list[Op]:
    return sorted([*ended, *(replace(op, end=length) for op in never)], key=lambda op: op.begin)


# -- the oracle -------------------------------------------------------------------------------------------------------


def linearizable(ops: Sequence[Op]) -> bool:
    """Return whether a register could have executed the operations one by one, each between its begin and its end.

    An operation of unknown outcome may have happened at any time after its begin, or never. A read without an answer
    and a refused write are ignored.
    """
    must = [op for op in ops if op.outcome == "ok" or (op.outcome == "fail" and op.f == "cas")]
    may = [op for op in ops if op.outcome == "unknown" and op.f != "read"]
    every = [*must, *may]
    seen: set[tuple[int, int]] = set()
    stack = [(0, NOTHING)]
    all_must = (1 << len(must)) - 1
    while stack:
        done, value = stack.pop()
        if done & all_must == all_must:
            return True
        if (done, value) in seen:
            continue
        seen.add((done, value))
        # Nothing may come before what had to end before it began.
        left = [op.end for k, op in enumerate(must) if not done >> k & 1]
        first_end = min(left)
        for k, op in enumerate(every):
            if not done >> k & 1 and op.begin < first_end:
                after = _applied(op, value)
                if after is not None:
                    stack.append((done | 1 << k, after))
    return False


def _applied(op: Op, value: int) -> int | None:
    """Return the register's value after an operation; None if the operation's answer is impossible at `value`."""
    if op.f == "read":
        return value if op.value == value else None
    if op.f == "write":
        return op.value
    if op.outcome == "unknown":
        return op.value if op.old == value else value
    return (op.value if op.old == value else None) if op.outcome == "ok" else (None if op.old == value else value)


def each_alone(ops: Sequence[Op]) -> bool:
    """Return whether each single read fits the writes, whatever the other reads returned.

    This is all that a check can decide that judges one read at a time. Reads that began before the first write was over
    are ignored: their text is that of the message's sending, which the check does not know.
    """
    writes = [replace(op, f="write") for op in ops if op.f in ("write", "cas") and op.outcome != "fail"]
    looks = [op for op in ops if op.outcome == "ok" and op.f == "read"]
    looks += [replace(op, f="read", value=op.old) for op in ops if op.outcome == "ok" and op.f == "cas"]
    written = min((op.end for op in writes if op.outcome == "ok"), default=sys.maxsize)
    return all(linearizable([*writes, look]) for look in looks if look.begin > written)


def growing(ops: Sequence[Op]) -> bool:
    """Return whether the gets and appends of one key are linearizable.

    They are if all gets show prefixes of one list without duplicates, if each shows no item whose append began after
    the get ended, and every item acknowledged before the get began, and if no get shows less than an earlier one.
    """
    gets = sorted((op for op in ops if op.f == "get" and op.outcome == "ok"), key=lambda op: len(op.shown))
    appends = {op.shown[0]: op for op in ops if op.f == "append"}
    whole = gets[-1].shown if gets else ()
    if len(set(whole)) < len(whole) or any(get.shown != whole[: len(get.shown)] for get in gets):
        return False
    for at, item in enumerate(whole):  # what came later in the list was not over before this one began
        if item not in appends or any(appends[o].end < appends[item].begin for o in whole[at + 1 :] if o in appends):
            return False
    for get in gets:
        if any(appends[item].begin > get.end for item in get.shown):
            return False
        due = [item for item, op in appends.items() if op.outcome == "ok" and op.end < get.begin]
        if any(item not in get.shown for item in due):
            return False
        if any(other.end < get.begin and len(other.shown) > len(get.shown) for other in gets):
            return False
    return True


# -- the same to our checks -------------------------------------------------------------------------------------------


def as_edits(ops: Sequence[Op]) -> Any:
    """Return a register's log as a history of edits of one message and of reads of its text, for I18."""
    clients = sorted({op.process for op in ops})
    number = {process: client for client, process in enumerate(clients)}
    rows: dict[int, tuple[Kind, dict[str, int]]] = {}
    for op in ops:
        common = {"client": number[op.process], "author": 0, "counter": 1, "conv": 0, "proc": int(State.EDIT)}
        common |= {"attempt": int(Place.BACKEND), "seq": _time(op.begin)}
        if op.f != "read":
            # The digest of a text; 0 would be the first one's.
            change = {**common, "digest": op.value + 100, "flags": _flags(op)}
            _put(rows, STEP * op.end + 1, Kind.WRITE, change)
        look = op.value if op.f == "read" else op.old
        if op.outcome == "ok" and op.f != "write":
            _put(rows, STEP * op.end, Kind.SEEN, {**common, "digest": look + 100})
    return _history(rows, people=len(clients), rooms=(tuple(range(len(clients))),), shared_state_s=10.0)


def as_conversation(ops: Sequence[Op]) -> Any:
    """Return the log of a key as a history of messages and reads.

    A message's number is its position in the longest list.
    """
    clients = sorted({op.process for op in ops})
    number = {process: client for client, process in enumerate(clients)}
    whole = max((op.shown for op in ops if op.f == "get"), key=len, default=())
    place_of = {item: place for place, item in reversed(list(enumerate(whole, start=1)))}
    counters: dict[str, tuple[int, int]] = {}
    rows: dict[int, tuple[Kind, dict[str, int]]] = {}
    for op in ops:
        client = number[op.process]
        if op.f == "append":
            n = 1 + sum(author == client for author, _ in counters.values())
            counters[op.shown[0]] = client, n
            content = {"conv": 0, "attempt": 1, "proc": 1, "digest": 1000 * client + n, "size": 30}
            common = {"client": client, "conn": client + 1, "author": client, "counter": n, **content}
            _put(rows, STEP * op.begin, Kind.INVOKE, common)
            kind = Kind.OK if op.outcome == "ok" else Kind.INFO
            _put(rows, STEP * op.end, kind, {**common, "seq": place_of.get(op.shown[0], -1)})
        elif op.outcome == "ok":
            _put(rows, STEP * op.end, Kind.READ, {"client": client, "conv": 0, **_page(op, place_of)})
    final = _final(ops)
    last = STEP * max(op.end for op in ops) + STEP
    for place, item in enumerate(final or (), start=1):
        author, n = counters.get(item, (0, 1000 + place))
        slots = {"author": author, "counter": n, "conv": 0, "attempt": 1, "proc": 1, "digest": 1000 * author + n}
        _put(rows, last + place, Kind.STORED, {**slots, "size": 30, "seq": place, "aux": author})
    if final is not None:
        rows[last + len(final) + 1] = Kind.READ_END, {"conv": 0, "counter": len(final), "seq": len(final)}
    people = len(clients)
    rooms = (tuple(range(people)),)
    return _history(rows, people=people, rooms=rooms, history=True, sequence="contiguous", recent_reads=True)


def _page(op: Op, place_of: Mapping[str, int]) -> dict[str, int]:
    """Return the slots of a READ record for a get: a page of the history from its beginning.

    An item without a position gets the number after all others.
    """
    numbers = [place_of.get(item, len(place_of) + 1) for item in op.shown]
    digest = zlib.crc32(b"".join(n.to_bytes(8, "little") for n in numbers)) if numbers else 0
    took = STEP * (op.end - op.begin)
    return {"author": 0, "counter": len(numbers), "seq": max(numbers, default=-1), "aux": took, "digest": digest}


def _final(ops: Sequence[Op]) -> tuple[str, ...] | None:
    """Return the items of the last successful get that began after all appends had ended; None if there is none.

    Such a get shows the final state.
    """
    over = max((op.end for op in ops if op.f == "append"), default=0)
    return next((op.shown for op in reversed(ops) if op.f == "get" and op.outcome == "ok" and op.begin > over), None)


def _time(place: int) -> int:
    """Return the time (ns) of an event of the log: `Told` gives its k-th record the time k µs."""
    return 1000 * (STEP * place + 1)


def _flags(op: Op) -> int:
    return int({"ok": Flag.ACCEPTED, "fail": Flag.REFUSED, "unknown": Flag(0)}[op.outcome])


def _put(rows: dict[int, tuple[Kind, dict[str, int]]], place: int, kind: Kind, slots: dict[str, int]) -> None:
    while place in rows:
        place += 1  # several operations that never ended share the last place
    rows[place] = kind, slots


def _history(rows: dict[int, tuple[Kind, dict[str, int]]], people: int, rooms: Any, **promises: Any) -> Any:
    told = Told(people, rooms, **promises)
    for place in range(max(rows, default=0) + 1):
        if place in rows:
            kind, slots = rows[place]
            told.write(kind, **slots)
        else:
            told.write(Kind.PROBE, counter=200)  # the clock goes on
    return told.run()


# -- seeded histories -------------------------------------------------------------------------------------------------

REGISTER_FAULTS = ("stale", "lost", "undone", "blind-cas")


def random_register(seed: int, fault: str | None = None, *, operations: int = 24) -> list[Op]:
    """Return the log of a register that several processes use at the same time.

    `fault`: stale: a read returns the value before the present one; lost: a write is acknowledged without effect;
    undone: a write is later taken back; blind-cas: a compare-and-set succeeds whatever the value was; None: none.
    """
    rng = random.Random(f"{seed}:{fault}")
    processes = rng.randint(2, 5)
    value, before, place, left = NOTHING, NOTHING, 0, operations
    waiting: dict[int, tuple[Op, bool]] = {}
    ops: list[Op] = []
    next_process = processes
    busy = list(range(processes))
    while left or waiting:
        process = rng.choice(busy)
        if process not in waiting:
            if left:
                f = rng.choice(("read", "read", "write", "cas"))
                new, old = rng.randrange(5), rng.randrange(5)
                waiting[process] = Op(process, f, place, 0, "unknown", NOTHING if f == "read" else new, old), False
                place, left = place + 1, left - 1
            continue
        op, done = waiting.pop(process)
        if not done:  # it takes effect somewhere between its events
            hit = fault is not None and rng.random() < 0.3
            op, value, before = _effect(op, value, before, fault if hit else None)
            waiting[process] = op, True
        elif op.f != "read" and rng.random() < 0.1:  # its answer is lost; the process goes on under another number
            ops.append(replace(op, end=place, outcome="unknown"))
            busy[busy.index(process)] = next_process
            place, next_process = place + 1, next_process + 1
        else:
            ops.append(replace(op, end=place))
            place += 1
    return sorted(ops, key=lambda op: op.begin)


def _effect(op: Op, value: int, before: int, fault: str | None) -> tuple[Op, int, int]:
    """Return (the operation with its outcome, the register's value after it, the value before that)."""
    if fault == "undone":
        value, before = before, value
    if op.f == "read":
        return replace(op, outcome="ok", value=before if fault == "stale" else value), value, before
    if op.f == "cas" and op.old != value and fault != "blind-cas":
        return replace(op, outcome="fail"), value, before
    if fault == "lost":
        return replace(op, outcome="ok"), value, before
    return replace(op, outcome="ok"), op.value, value


KEY_FAULTS = ("stale", "lost", "twice", "swapped")


def random_key(seed: int, fault: str | None = None, *, operations: int = 24) -> list[Op]:
    """Return the log of an append-only key that several processes use at the same time, with a get at its end.

    `fault`: stale: a get shows too few items; lost: an append is acknowledged without effect; twice: an append takes
    effect twice; swapped: a get shows its last two items in the wrong order; None: none.
    """
    rng = random.Random(f"{seed}:{fault}:key")
    processes, place, left, items = rng.randint(2, 5), 0, operations, 0
    entries: list[str] = []
    waiting: dict[int, tuple[Op, bool]] = {}
    ops: list[Op] = []
    while left or waiting:
        process = rng.randrange(processes)
        if process not in waiting:
            if left and (left > 1 or not waiting):  # the last one is a get, alone
                f = "get" if left == 1 else rng.choice(("get", "append"))
                items += f == "append"
                shown = (f"x 0 {items} y",) if f == "append" else ()
                waiting[process] = Op(process, f, place, 0, "ok", key="0", shown=shown), False
                place, left = place + 1, left - 1
            continue
        op, done = waiting.pop(process)
        if done:
            ops.append(replace(op, end=place))
            place += 1
            continue
        hit = fault if fault is not None and rng.random() < 0.2 else None
        if op.f == "append":
            entries += {"lost": [], "twice": [*op.shown] * 2}.get(hit or "", [*op.shown])
        else:
            op = replace(op, shown=_shown(tuple(entries), hit, rng))
        waiting[process] = op, True
    return sorted(ops, key=lambda op: op.begin)


def _shown(entries: tuple[str, ...], fault: str | None, rng: random.Random) -> tuple[str, ...]:
    if fault == "stale":
        return entries[: max(0, len(entries) - rng.randint(1, 3))]
    if fault == "swapped" and len(entries) > 1:
        return (*entries[:-2], entries[-1], entries[-2])
    return entries


# -- the campaign -----------------------------------------------------------------------------------------------------


def compare_register(ops: Sequence[Op], failed: Callable[[Any], set[str]]) -> str:
    """Return, in words, whether I18 and the oracle agree about a register's log.

    Words that begin with "!" are a disagreement that is not explained. `failed`: returns the ids of the checks that
    fail for a history.
    """
    ours, order, alone = "I18" in failed(as_edits(ops)), linearizable(ops), each_alone(ops)
    if ours == (not alone):
        if order:
            return "both good" if not ours else "! a false alarm"
        return (
            "both bad"
            if ours
            else "bad only together: two readings, a failed compare-and-set, or one before the first write"
        )
    return "! one reading judged otherwise"


def compare_key(ops: Sequence[Op], failed: Callable[[Any], set[str]]) -> str:
    """Return, in words, whether the checks and the oracle agree about the log of one append-only key.

    `failed`, and "!" at the beginning: as in `compare_register`.
    """
    if any(op.f == "put" for op in ops):
        return "not expressible: a put"
    ours, order = failed(as_conversation(ops)) & {"I2", "I5a", "I7", "I8", "I16", "I17", "I44"}, growing(ops)
    if order:
        return f"! a false alarm of {', '.join(sorted(ours))}" if ours else "both good"
    return f"both bad ({', '.join(sorted(ours))})" if ours else "bad, and no check of ours says so"


def main(folder: Path) -> int:
    """Judge every log of a folder and print a line for each; return 1 after an unexplained disagreement, else 0."""
    from compare import fold

    from earwitness.checks.verdict import Outcome as Verdict

    def failed(run: Any) -> set[str]:
        return {id for id, verdict in fold(run).items() if verdict.outcome == Verdict.FAIL}

    wrong = 0
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        lines = path.read_text().splitlines()
        if register := read_register_log(lines):
            words = [compare_register(register, failed)]
        else:
            keyed = read_keyed_log(lines)
            words = [
                f"key {key}: {compare_key([op for op in keyed if op.key == key], failed)}"
                for key in sorted({op.key for op in keyed})
            ]
        for word in words:
            wrong += "!" in word
            print(f"{path.name}: {word}")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    sys.exit(main(Path(sys.argv[1])))
