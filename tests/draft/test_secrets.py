"""No secret of a recording stands in its draft, and no damage to a recording breaks the draft."""

from __future__ import annotations

import copy
import random
import tomllib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from seeds import blocks

from earwitness.harness.draft.recording import read_recording
from earwitness.harness.draft.secrets import REMOVED, Secrets
from earwitness.harness.draft.sheet import toml
from earwitness.harness.errors import TargetError
from tests.support.recorder import exchange, har, socket, write

TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbm4ifQ.c2lnbmF0dXJlLXRoYXQtaXMtbm9uZQ"
COOKIE, PASSWORD, KEY = "0123456789abcdef0123", "correct horse", "sk_live_51HabcDEF1234567890"
MAIL, SHORT = "ann@mail.example", "4711"
SECRET = (TOKEN, COOKIE, PASSWORD, KEY, MAIL, TOKEN.split(".")[2], SHORT)


def recording() -> list[dict[str, Any]]:
    """Secrets wherever they may stand: query, path, headers, cookies, bodies, frames, names of kinds, rooms."""
    login = exchange(
        "POST", f"http://ann:{SHORT}@127.0.0.1:8000/login/{KEY}?api_key={KEY}", at=1,
        body={"email": MAIL, "password": PASSWORD, "pin": SHORT, "device": KEY},
        answer={"token": TOKEN, "user": {"email": MAIL, "id": 7}}, set_cookies={"sid": COOKIE},
    )  # fmt: skip
    history = exchange(
        "GET", f"http://127.0.0.1:8000/rooms/{COOKIE}/log?token={TOKEN}&after={KEY}", at=30,
        headers={"Authorization": f"Bearer {TOKEN}", "X-Api-Key": KEY}, answer=[{"text": "good morning", "n": 1}],
    )  # fmt: skip
    frames: list[tuple[str, Any]] = [
        (">", {"type": "auth", "token": TOKEN, "password": PASSWORD, "device": KEY, "mail": MAIL, "pin": 4711}),
        ("<", {"type": f"ready-{COOKIE}", "session": COOKIE}),
        (">", {"type": "join", "room": COOKIE, "secret": PASSWORD}),
        ("<", {"type": "joined", "room": COOKIE, KEY: 1}),
    ]
    for number, text in enumerate(["good morning", "how are you?"]):
        frames.append((">", {"type": "say", "room": COOKIE, "id": f"c{number}", "text": text, "csrf": PASSWORD}))
        frames.append(("<", {"type": "message", "room": COOKIE, "text": text, "from": MAIL, "n": number, "t": TOKEN}))
    url = f"ws://127.0.0.1:8000/ws/{KEY}?token={TOKEN}&device={KEY}&pin={SHORT}"
    headers = {"Authorization": f"Bearer {TOKEN}", "Cookie": f"sid={COOKIE}", "Sec-WebSocket-Protocol": f"v1, {KEY}"}
    return [login, history, socket(url, frames, headers=headers, cookies={"sid": COOKIE})]


def test_no_secret_is_written(drafted: Callable[..., Any]) -> None:
    """Placeholders stand there instead; what was drafted is still of use."""
    found = drafted(*recording())
    for secret in SECRET:
        assert secret not in found.text
    assert found.tables["socket"]["query"] == {"token": "{token}"}
    assert found.tables["send"]["frame"]["text"] == "{text}"
    assert REMOVED in found.tables["urls"]["socket"]


def test_a_secret_that_is_a_key(drafted: Callable[..., Any]) -> None:
    """Paths are made of keys; one may be a cookie."""
    frames: list[tuple[str, Any]] = []
    for text in ("good morning", "how are you?"):
        frames += [(">", {"type": "say", "text": text}), ("<", {"type": "said", COOKIE: {"text": text, "n": 1}})]
    found = drafted(socket("ws://127.0.0.1:1/ws", frames, cookies={"sid": COOKIE}))
    assert found.tables["frames"]["message"]["text"] == f"{REMOVED}.text"
    assert COOKIE not in found.text


def test_short_secrets_leave_other_words_as_they_are(drafted: Callable[..., Any]) -> None:
    """A password that is a usual word takes no part out of longer ones."""
    login = exchange("POST", "http://127.0.0.1:1/login", at=1, body={"name": "ann", "password": "say"}, answer={})
    frames: list[tuple[str, Any]] = [
        (">", {"type": "sayings", "text": "good day"}),
        ("<", {"type": "said", "text": "good day"}),
    ]
    assert drafted(login, socket("ws://127.0.0.1:1/ws", frames)).tables["send"]["frame"]["type"] == "sayings"


NAMES = ("conversation.message.created", "/api/v1/rooms", "UserTypingIndicatorEvent", "chat.v1", "authenticate")


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        *((name, name) for name in NAMES),
        (SHORT, REMOVED),  # a short one, only as a whole
        (f"room-{SHORT}", f"room-{SHORT}"),
        (f"room-{COOKIE}.js", f"room-{REMOVED}.js"),
        ("eve@mail.example", REMOVED),
        ("x9Yz81mQ0pLw72Kd55Tt", REMOVED),  # not known as a secret, and looks like one
        ("a\nb\x1b", "a\\x0ab\\x1b"),
    ],
)
def test_what_is_cleaned(text: str, cleaned: str, tmp_path: Path) -> None:
    entry = exchange("POST", "http://h/login", body={"password": SHORT}, set_cookies={"sid": COOKIE})
    file = write(tmp_path / "s.har", har(entry, socket("ws://h/ws", [(">", {"a": 1})])))
    assert Secrets(read_recording(file)).clean(text) == cleaned


@pytest.mark.parametrize(
    "value", ["a\x7fb", 'say "hi"', 'it\'s "so"', "\\d\n\t", "\u2028", 1e300, [None, {"a b": [True]}], {}]
)
def test_values_as_toml(value: Any) -> None:
    """null is left out, everything else comes back."""
    wanted = [{"a b": [True]}] if isinstance(value, list) else value
    assert tomllib.loads(f"x = {toml(value)}") == {"x": wanted}


def parts_of(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) of a recording."""
    for key in list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield value, key
        yield from parts_of(value[key])


ODD = (
    None, True, -1, 0, 1e308, 10**30, "", "\ud800", "\x00\x1b[2J\u2028", "{token}", "{nonsense}", "a.b", [], {}, [[]],
    {"": {"": ""}}, '"', "'", "[login]\nby = 'x'", "ws://[", "wss://h:99999/", '{"a": {"b": [1, {"c": null}]}}',
    "[" * 2000, '42["x",{}]',
)  # fmt: skip


@pytest.mark.parametrize("seed", blocks(150, 50))
def test_no_damage_breaks_a_draft(seed: int, drafted: Callable[..., Any]) -> None:
    """Each value may be of any type: the draft is a valid file without secrets, or one sentence states the fault."""
    chosen = random.Random(seed)
    entries = copy.deepcopy(recording())
    for _ in range(chosen.choice((1, 2, 5, 20))):
        container, key = chosen.choice(list(parts_of(entries)))
        container[key] = copy.deepcopy(chosen.choice(ODD))
    with suppress(TargetError):
        found = drafted(*entries)
        for line in found.text.splitlines():
            assert line.isprintable(), line
        for secret in (TOKEN, COOKIE, KEY):
            assert secret not in found.text
