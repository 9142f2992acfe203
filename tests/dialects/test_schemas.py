"""The JSON schemas for editors accept the keys and the types that the readers accept."""

from __future__ import annotations

import copy
import json
import random
import re
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import valid_inputs as valid
from json_schema import accepts
from mutations import as_toml, tree
from seeds import blocks

from earwitness.harness.cli import main
from earwitness.harness.described import Faults, Table
from earwitness.harness.dialects.schemas import settings_schema, target_schema
from earwitness.harness.dialects.toml.description import read_tables
from earwitness.harness.errors import SettingsError
from earwitness.harness.settings import read_environment

MUTATIONS = 500
OF_KEYS_AND_TYPES = re.compile(
    r"is not known here|is missing;|is none of|is (below|above) |(?s:= .*) is (not|neither|no (path|http|ws|data)) |"
    r"is empty|is neither a name"
)
"""Faults that a schema can tell too. Others depend on several keys, on placeholders, or on what is outside the file."""
OF_ADDRESSES = re.compile(
    r"urls\.(http|socket) = .* (names|is no address)|urls\.hosts = |\.query does not|login\.(user_id|function) = "
)
"""Faults of values that the schema takes for any text."""


@pytest.fixture
def faults_of_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, Any]], list[str]]:
    for name, value in valid.SECRETS.items():
        monkeypatch.setenv(name, value)
    valid.beside_targets(tmp_path)

    def read(data: dict[str, Any]) -> list[str]:
        path = tmp_path / "chat.toml"
        try:
            read_tables(Table(data, Faults(str(path))), path)
        except SettingsError as error:
            return error.faults
        return []

    return read


def faults_of_settings(data: dict[str, Any]) -> list[str]:
    faults = Faults("earwitness.toml")
    read_environment(Table(data, faults), {})
    return faults.found


def mutated(inputs: list[dict[str, Any]], block: int) -> Iterator[dict[str, Any]]:
    """Yield inputs with one mistake each, as they come from TOML; each block others."""
    rng, count = random.Random(20 + block), MUTATIONS
    while count:
        try:
            text = as_toml(tree(rng, copy.deepcopy(rng.choice(inputs))))
            data = tomllib.loads(text.encode().decode())
        except (ValueError, RecursionError):  # no TOML at all
            continue
        count -= 1
        yield data


def disagreement(schema: dict[str, Any], data: dict[str, Any], faults: list[str]) -> str:
    """Return what reader and schema say differently of the keys and types of one input, "" if nothing."""
    if not faults:
        return "" if accepts(schema, data) else f"only the schema refuses {data}"
    told = [one for one in faults if OF_KEYS_AND_TYPES.search(one) and not OF_ADDRESSES.match(one)]
    return f"the schema accepts {data}, but {told}" if told and accepts(schema, data) else ""


def test_valid_targets(faults_of_target: Callable[[dict[str, Any]], list[str]]) -> None:
    for data in valid.targets():
        assert faults_of_target(data) == []
        assert accepts(target_schema(), data)


@pytest.mark.parametrize("block", blocks(3, 1))
def test_targets_with_one_mistake(block: int, faults_of_target: Callable[[dict[str, Any]], list[str]]) -> None:
    """The schema is never stricter, and laxer only where a fault is not of keys and types."""
    schema = target_schema()
    cases = [(data, faults_of_target(data)) for data in mutated(valid.targets(), block)]
    assert [told for data, faults in cases if (told := disagreement(schema, data, faults))] == []
    refused = [data for data, _ in cases if not accepts(schema, data)]
    assert 0.2 * MUTATIONS < len(refused) < 0.9 * MUTATIONS


@pytest.mark.parametrize("block", blocks(3, 1))
def test_settings_with_one_mistake(block: int) -> None:
    schema, inputs = settings_schema(), [valid.settings()]
    assert disagreement(schema, inputs[0], faults_of_settings(inputs[0])) == ""
    cases = [(data, faults_of_settings(data)) for data in mutated(inputs, block)]
    assert [told for data, faults in cases if (told := disagreement(schema, data, faults))] == []
    assert sum(not accepts(schema, data) for data, _ in cases) > 0.2 * MUTATIONS


@pytest.mark.parametrize("key", ["contract", "bounds", "frames", "history", "urls", "send", "rooms", "login", "resume"])
def test_an_unknown_key_of_each_table(key: str, faults_of_target: Callable[[dict[str, Any]], list[str]]) -> None:
    """Both refuse it."""
    data = copy.deepcopy(valid.targets()[0])
    data[key]["colour"] = "red"
    assert [fault for fault in faults_of_target(data) if fault.startswith(f"{key}.colour is not known here")]
    assert not accepts(target_schema(), data)


def test_promises_have_their_meaning() -> None:
    """An editor shows what a key means."""
    promises = target_schema()["properties"]["contract"]["properties"]
    assert "every member connected throughout" in promises["delivers"]["description"]
    assert promises["sequence"]["enum"] == ["contiguous", "increasing", "none"]


@pytest.mark.parametrize(("file", "key"), [("target", "contract"), ("settings", "test_environment")])
def test_the_verb_prints_them(file: str, key: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", file]) == 0
    assert key in json.loads(capsys.readouterr().out)["properties"]
