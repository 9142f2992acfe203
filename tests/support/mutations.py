"""Mistakes in inputs: trees of JSON or TOML values, texts and bytes, each changed in one place that a seed draws.

A value that a serialiser cannot write (deep nesting, numbers of thousands of digits) is a mark in the tree, `"@deep
3000@"` or `"@digits 5000@"`, which is replaced when the tree is written as text.
"""

from __future__ import annotations

import json
import math
import random
import re
from collections.abc import Callable, Iterator
from typing import Any, Final

NUMBERS: Final = (
    *(0, -1, 1, 2, 255, 256, 65535, 65536, 2**24, 2**31 - 1, 2**31, 4_000_000_000, 2**32, 2**53 + 1, 2**62, 2**63),
    *(-(2**63) - 1, 2**64, 10**400, -(10**30), 0.5, -0.0, 1e-320, 1.5, 1e16, 1e300, 1e308, math.inf, -math.inf),
    *(math.nan, 1_764_379_000, 1_764_379_000_123),
)
WORDS: Final = (
    *("", " ", ".", "..", "/", "~", "\0", "a\0b", "\n", "x\r\ny: z", "\x1b[31mred", "²", "٣", "é", "日本語", "🧵"),
    *("\ud800", "\x85", "\u2028", "-", "--", "None", "null", "true", "nan", "inf", "1e400", "0", "-1", "1" * 400),
    *("9" * 20, "dynamic", "all", "message", "connect", "invoke", "deliver", "read_end", "run", "roster", "kind"),
    *("I99", "\u202e"),
    *("http://[::1", "http://", "http://127.0.0.1:99999/", "http://127.0.0.1:0", "http://a b/", "ws://[zz]/", "//x"),
    *("http://127.0.0.1:9/", "ws://127.0.0.1:9", "http://127.0.0.1:²/", "http://ex\u2100mple.com", "/x y", "?a=b#c"),
    *("{token}", "{secret}", "{nothing}", "{text:hex}", "{", "}{", "{}", "{label}{label}", "env:NOT_SET", "env:"),
    *("env:\0", "env:a=b", "file:", "file:/", "file:../..", "file:\0", "a.b.c", "a..b", "-1", "0.0.0", "x" * 300_000),
    *("%s%n%x", "'; --", "$(true)", "`", "\\", '"', "@", "@1s", "+", "=", ":", ",", "~", "#", "[", "]", "[[", "1s"),
    "s",
)
MARKS: Final = ("@deep 90@", "@deep 3000@", "@deep 200000@", "@digits 5000@")
_MARK: Final = re.compile(r'"@(deep|digits) (\d+)@"')

Tree = Any
Path = tuple[Any, ...]


def odd(rng: random.Random) -> Tree:
    """Return a random value that is unlikely to be valid where it is put."""
    plain: list[Callable[[], Tree]] = [
        lambda: rng.choice(NUMBERS),
        lambda: rng.choice(NUMBERS),
        lambda: rng.choice(WORDS),
        lambda: rng.choice(WORDS),
        lambda: rng.choice((None, True, False, [], {}, [[]], [{}], {"": None}, [None], ["a", 1], {"a": {"b": []}})),
    ]
    if rng.random() < 0.03:
        return rng.choice(MARKS)
    return rng.choice(plain)()


def places(tree: Tree, path: Path = ()) -> Iterator[Path]:
    """Yield the path of each node of a tree, the root first."""
    yield path
    inner = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in inner:
        yield from places(value, (*path, key))


def at(tree: Tree, path: Path) -> Tree:
    for key in path:
        tree = tree[key]
    return tree


def _set(rng: random.Random, holder: Tree, key: Any) -> None:
    holder[key] = odd(rng)


def _drop(rng: random.Random, holder: Tree, key: Any) -> None:
    del holder[key]


def _rename(rng: random.Random, holder: Tree, key: Any) -> None:
    if not isinstance(holder, dict):
        return _set(rng, holder, key)
    at_ = rng.randrange(len(key) + 1)
    new = rng.choice((key[:at_] + key[at_ + 1 :], key[:at_] + "x" + key[at_:], key.upper(), rng.choice(WORDS)))
    holder[new] = holder.pop(key)


def _wrap(rng: random.Random, holder: Tree, key: Any) -> None:
    value = holder[key]
    holder[key] = rng.choice(([value], {"value": value}, [value, value], {str(key): value}))


def _nudge(rng: random.Random, holder: Tree, key: Any) -> None:
    value = holder[key]
    if isinstance(value, bool):
        holder[key] = not value
    elif isinstance(value, int):
        holder[key] = rng.choice(
            (value + 1, value - 1, -value, value * 2, value << 20, float(min(value, 1 << 1000)), str(value))
        )
    elif isinstance(value, float):
        holder[key] = rng.choice((-value, value * 1e9, value // 1, str(value)))
    elif isinstance(value, str):
        holder[key] = text(rng, value)
    else:
        _set(rng, holder, key)


def _twice(rng: random.Random, holder: Tree, key: Any) -> None:
    if isinstance(holder, list):
        holder.insert(rng.randrange(len(holder) + 1), holder[key])
    else:
        holder[f"{key}{rng.choice(('2', ' ', '_s'))}"] = holder[key]


def _move(rng: random.Random, holder: Tree, key: Any) -> None:
    keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
    other = rng.choice(keys)
    holder[key], holder[other] = holder[other], holder[key]


_ACTS: Final = (_set, _set, _set, _nudge, _nudge, _nudge, _drop, _rename, _wrap, _twice, _move)


def tree(rng: random.Random, value: Tree) -> Tree:
    """Change one node of a tree and return the tree; the tree is changed in place unless its root is replaced."""
    inner = list(places(value))[1:]
    if not inner or rng.random() < 0.01:
        return odd(rng)
    path = rng.choice(inner)
    rng.choice(_ACTS)(rng, at(value, path[:-1]), path[-1])
    return value


def text(rng: random.Random, value: str) -> str:
    """Return a text that is changed in one place."""
    at_ = rng.randrange(len(value) + 1)
    end = min(len(value), at_ + rng.choice((1, 1, 2, 5, 30)))
    ways = (
        lambda: value[:at_] + value[end:],
        lambda: value[:at_] + rng.choice(WORDS) + value[at_:],
        lambda: value[:at_] + rng.choice(WORDS) + value[end:],
        lambda: value[:at_] + value[at_:end] * 2 + value[end:],
        lambda: value[:at_] + str(rng.choice(NUMBERS)) + value[end:],
        lambda: value[:at_],
        lambda: value.upper(),
    )
    return rng.choice(ways)()


def data(rng: random.Random, value: bytes) -> bytes:
    """Return bytes that are changed in one place."""
    changed = bytearray(value)
    if not changed:
        return rng.randbytes(8)
    at_ = rng.randrange(len(changed))
    way = rng.randrange(6)
    if way == 0:
        changed[at_] ^= 1 << rng.randrange(8)
    elif way == 1:
        changed[at_ : at_ + rng.choice((1, 4, 40))] = rng.randbytes(rng.choice((1, 4, 40)))
    elif way == 2:
        del changed[at_ : at_ + rng.choice((1, 8, 200))]
    elif way == 3:
        changed[at_:at_] = changed[at_ : at_ + rng.choice((1, 8, 200))]
    elif way == 4:
        del changed[at_:]
    else:
        changed[at_:at_] = rng.choice((b"\xff", b"\x00", b"\xc3\x28", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\r", b"NaN"))
    return bytes(changed)


def _written(match: re.Match[str]) -> str:
    count = int(match[2])
    return "9" * count if match[1] == "digits" else "[" * count + "]" * count


def as_json(value: Tree) -> str:
    """Return the tree as JSON, with its marks replaced."""
    return _MARK.sub(_written, json.dumps(value))


def as_toml(value: Tree) -> str:
    """Return the tree as TOML, with its marks replaced and one line for each key of the top level.

    A value that TOML cannot express becomes a string.
    """
    if not isinstance(value, dict):
        return _MARK.sub(_written, _toml(value))
    return _MARK.sub(_written, "".join(f"{_toml_text(key)} = {_toml(inner)}\n" for key, inner in value.items()))


def _toml(value: Tree) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_toml_text(key)} = {_toml(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_toml(inner) for inner in value) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return str(value)
    return str(value) if isinstance(value, int) else _toml_text(str(value))


def _toml_text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
