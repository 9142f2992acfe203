"""Templates and paths of target files."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earwitness.harness.dialects.toml.paths import PATH, compile_path, seq_or_none, text_or_none
from earwitness.harness.dialects.toml.template import Template


@settings(deadline=None)
@given(st.text(), st.text(), st.integers(0, 1 << 60), st.lists(st.text(max_size=5), max_size=3))
def test_a_table_is_json_whatever_the_values(text: str, label: str, number: int, members: list[str]) -> None:
    """Values are quoted as JSON; a text that is only one placeholder becomes the value itself."""
    source = {
        "a": ["{text}", {"n": "{number}", "who": "{members.email}"}],
        "b": "in {label}!",
        "fixed": 1.5,
        "no": None,
    }
    rendered = Template(source).render({"text": text, "label": label, "number": number, "members.email": members})
    assert json.loads(rendered) == {
        "a": [text, {"n": number, "who": members}],
        "b": f"in {label}!",
        "fixed": 1.5,
        "no": None,
    }


def test_free_text_keeps_other_braces() -> None:
    """Only known names in braces are placeholders; a filter says how to quote."""
    template = Template('42["say",{"room":{label:json},"t":{text:json}}] <m to="{label:xml}"/> {text:url}')
    assert template.names == {"label", "text"}
    assert template.render({"label": 'a"b', "text": "x&y z"}) == (
        '42["say",{"room":"a\\"b","t":"x&y z"}] <m to="a&quot;b"/> x%26y%20z'
    )


def test_addresses_are_quoted() -> None:
    """A label with a slash or a space cannot leave its place in an address."""
    assert Template("/rooms/{room}/log", quoting="url").render({"room": "a/b c?"}) == "/rooms/a%2Fb%20c%3F/log"


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ({"t": "{txt}"}, "uses the unknown placeholder {txt} (known: label, text)"),
        ("{text:jsn}", "uses the unknown filter 'jsn' (known: json, xml, url)"),
        ({"t": "{text}", "r": "{label}"}, None),
    ],
)
def test_faults(source: Any, fault: str | None) -> None:
    """What is unknown is named with what is known."""
    assert Template(source).fault({"text", "label"}) == fault


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("a.b.0.c", 7), ("a.b.1.c", 8), ("a.b.-1.c", 8), ("a.b.2.c", None), ("a.x", None), ("a.b.c", None),
        ("k", "v"), ("k.0", None), ("n.1", "one"), (".", {"whole": True}), ("a.b.0.c.d", None),
    ],
)  # fmt: skip
def test_paths(path: str, found: Any) -> None:
    """Keys and positions are walked; what is not there is None, never an exception."""
    value: dict[str, Any] = {"a": {"b": [{"c": 7}, {"c": 8}]}, "k": "v", "n": {"1": "one"}}
    get = compile_path(path)
    assert get(value) == (value if path == "." else found)
    for other in (None, [], 3, "text", True):
        assert get(other) is None or path == "."


@pytest.mark.parametrize("text", ["", "a..b", ".a", "a.", "a b", ".."])
def test_path_faults(text: str) -> None:
    """What is no path is said when the file is read."""
    assert PATH.fault(text).endswith("is no path (keys and positions with dots between them)")


def test_numbers_and_labels() -> None:
    """Sequence numbers fit a record; ids are text or whole numbers."""
    assert [seq_or_none(v) for v in (0, "17", 1 << 61)] == [0, 17, 1 << 61]
    assert [seq_or_none(v) for v in (-1, True, 1.0, "x", "9" * 30, 1 << 62, None, "²")] == [None] * 8
    assert [text_or_none(v) for v in ("a", 5, True, None, 1.5, [])] == ["a", "5", None, None, None, None]
