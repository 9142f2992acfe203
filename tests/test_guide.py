"""The guides say what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from earwitness.checks import ALL
from earwitness.checks.history.record import Place
from earwitness.harness.dialects.protocol import Credentials, Person
from earwitness.harness.dialects.registry import load_target
from earwitness.harness.settings import Settings, load_settings

GUIDE = Path(__file__).parents[1] / "docs" / "guide"


def toml_blocks(name: str) -> list[str]:
    return re.findall(r"```toml\n(.*?)```", (GUIDE / name).read_text("utf-8"), re.DOTALL)


@pytest.fixture
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CHAT_API_KEY", "AUTH_DSN", "MAIN_DSN"):
        monkeypatch.setenv(name, f"value of {name}")
    monkeypatch.setenv("CHAT_TEST_KEY", "0123456789abcdef0123456789abcdef")


@pytest.mark.usefixtures("secrets")
def test_the_complete_example_is_a_target(tmp_path: Path) -> None:
    """The long example of targets.md is read without a fault, and speaks."""
    whole, _, minted = toml_blocks("targets.md")
    (tmp_path / "chat.toml").write_text(whole)
    target = load_target(tmp_path / "chat.toml")
    assert (target.name, target.max_users) == ("our chat", 200)
    assert set(target.parts.databases) == {Place.AUTH_DATABASE, Place.MAIN_DATABASE}
    assert set(target.parts.faults) == {"auth_down"}
    person = Person(number=0, name="ann", email="ann@people.example")
    dialogue = target.dialogue(Credentials(person=person, user_id="u", token="T"), (), {"r": 4})
    dialogue.opened()
    assert dialogue.handshake.headers["X-Api-Key"] == "value of CHAT_API_KEY"
    assert len(dialogue.out) == 2
    (tmp_path / "minted.toml").write_text(re.sub(r"(?s)\[login\].*?\n\[socket\]", minted + "[socket]", whole))
    assert load_target(tmp_path / "minted.toml").name == "our chat"


@pytest.mark.usefixtures("secrets")
def test_the_example_that_says_more_is_a_target(tmp_path: Path) -> None:
    """It opens in steps and answers a ping."""
    (tmp_path / "chat.toml").write_text(toml_blocks("targets.md")[1])
    target = load_target(tmp_path / "chat.toml")
    person = Person(number=0, name="ann", email="ann@people.example")
    dialogue = target.dialogue(Credentials(person=person, user_id="ann", token="T"), ())
    dialogue.opened()
    dialogue.received('0{"sid":"s1"}')
    dialogue.received("2")
    assert dialogue.out == ['40{"name":"ann","sid":"s1"}', "3"]


@pytest.mark.usefixtures("secrets")
def test_what_is_commented_out_works_too(tmp_path: Path) -> None:
    """The alternatives in comments are right as well."""
    whole = toml_blocks("targets.md")[0]
    whole = re.sub(r"(?m)^# (accounts|prefix|existing|rate_\w+) =", r"\1 =", whole)
    whole = re.sub(r"(?s)requests = \[\n.*?\n\]\nroom_id", "room_id", whole)
    whole = (
        re.sub(r"(?m)^frame = .*\n", "", whole)
        .replace('# seq = "message', 'seq = "message')
        .replace("# request = {", "request = {")
    )
    (tmp_path / "accounts.json").write_text(
        '[{"name": "ann", "email": "ann@x.example", "secret": "s"}, {"name": "bob"}]'
    )
    (tmp_path / "chat.toml").write_text(whole)
    target = load_target(tmp_path / "chat.toml")
    assert target.parts.sends_by_http is not None
    assert [room.label for room in target.existing_rooms(target.parts.people)] == ["general", "two of us"]
    assert target.contract.rate_per_s == 20.0


def test_the_settings_shown_are_the_defaults(tmp_path: Path) -> None:
    """settings.md shows the defaults."""
    (tmp_path / "earwitness.toml").write_text(toml_blocks("settings.md")[0])
    assert load_settings(tmp_path / "earwitness.toml", {}) == Settings()


def test_every_variable_of_the_guide_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The table of variables names those that are read, with values that are right."""
    rows = re.findall(r"(?m)^\| `(EARWITNESS_\w+)` \| (.*) \|$", (GUIDE / "settings.md").read_text("utf-8"))
    assert len(rows) == 10
    environ = {name: re.findall(r"`([^`]*)`", values)[-1] for name, values in rows}
    monkeypatch.chdir(tmp_path)
    settings = load_settings(environ=environ)
    assert (settings.auth_service.port, settings.frontend.test_mode) == (7001, False)


def expanded(told: str) -> list[str]:
    """`I1, I4–I6` as the ids of checks."""
    order = [check.id for check in ALL]
    found: list[str] = []
    for part in told.split(", "):
        first, _, last = part.partition("–")
        found += order[order.index(first) : order.index(last or first) + 1]
    return found


def test_the_page_of_stories_names_what_each_is_judged_by() -> None:
    """One row a locustfile, with the checks of its `judged_by`."""
    rows = re.findall(r"^\| `(\w+)` \|[^|]+\| ([I0-9ab, –]+) \|", (GUIDE / "stories.md").read_text(), re.M)
    files = Path(__file__).parents[1].glob("locustfiles/*.py")
    judged = {file.stem: re.findall(r'judged_by="([^"]+)"', file.read_text())[0].split() for file in files}
    assert {story: sorted(expanded(told)) for story, told in rows} == {s: sorted(ids) for s, ids in judged.items()}
