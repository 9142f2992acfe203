"""What must be equal in all runs of a comparison, and how it is named where it is not."""

from __future__ import annotations

from typing import Any

import pytest
from measured import MACHINE, PLANNED, VERSIONS

from earwitness.harness.errors import SettingsError
from earwitness.harness.report.comparison.alike import CONDITIONS, MEANING, differences, require_alike
from earwitness.harness.report.comparison.samples import Sample, described

RUN: dict[str, Any] = {
    "story": "baseline",
    "machine": MACHINE,
    "versions": VERSIONS,
    "planned": PLANNED,
    "plan": {"sizes": [5], "devices": 1, "users": 5, "seed": 1, "tag": "x"},
    "planned_faults": [],
    "contract": {"ordered": True, "delivers": True},
    "journals": ["load-0", "collector"],
    "target": {"kind": "reference", "endpoints": {"port": 1}},
    "options": {"keep_frames": False},
}


def sample(name: str, **changed: Any) -> Sample:
    return Sample(name, name, "PASS", described({**RUN, **changed}))


CHANGES: list[tuple[str, dict[str, Any], str]] = [
    ("machine", {"machine": {**MACHINE, "hash": "11", "processors": 4}}, "processors 2 and 4"),
    ("tester", {"versions": {**VERSIONS, "source": "xyz", "commit": "2" * 40}}, f"commit {'1' * 40} and {'2' * 40}"),
    ("tester", {"versions": {**VERSIONS, "source": "xyz"}}, "source abc and xyz"),
    ("versions", {"versions": {**VERSIONS, "packages": {"locust": "2.48.0"}}}, "locust 2.47.0 and 2.48.0"),
    ("story", {"versions": {**VERSIONS, "story": "xyz"}}, "content def and xyz"),
    ("story", {"story": "soak"}, "name baseline and soak"),
    ("load", {"planned": {**PLANNED, "users": 100}}, "users 5 and 100"),
    ("load", {"plan": {**RUN["plan"], "sizes": [5, 20]}}, "plan.sizes [5] and [5, 20]"),
    ("load", {"journals": ["load-0", "load-1"]}, "processes 1 and 2"),
    ("load", {"options": {"keep_frames": True}}, "keep_frames false and true"),
    ("faults", {"planned_faults": ["kill:auth@20s"]}, '[] and ["kill:auth@20s"]'),
    ("contract", {"contract": {"ordered": False, "delivers": True}}, "ordered true and false"),
    ("target", {"target": {"kind": "file"}}, "reference and file"),
]


@pytest.mark.parametrize(("condition", "changed", "words"), CHANGES)
def test_each_condition(condition: str, changed: dict[str, Any], words: str) -> None:
    found = differences([sample("a"), sample("b"), sample("c", **changed)])
    assert list(found) == [condition]
    assert words in found[condition]
    assert "(a, c)" in found[condition]


def test_the_changes_cover_all_conditions() -> None:
    assert {condition for condition, *_ in CHANGES} == set(CONDITIONS)
    assert [line.split()[0] for line in MEANING.splitlines()] == list(CONDITIONS)


@pytest.mark.parametrize(
    "changed",
    [
        {"seed": 2, "tag": "y", "plan": {**RUN["plan"], "seed": 2, "tag": "y"}},
        {"target": {"kind": "reference", "endpoints": {"port": 2}}},
        {"machine": {**MACHINE, "cpu": "the same, in other words"}},
        {"versions": {**VERSIONS, "commit": "2" * 40}},
    ],
)
def test_what_may_differ_always(changed: dict[str, Any]) -> None:
    """Seeds and names, ports, and a commit with the same code."""
    assert differences([sample("a"), sample("b", **changed)]) == {}


@pytest.mark.parametrize("changed", [{"machine": None}, {"machine": "a laptop"}, {"versions": None}, {"versions": {}}])
def test_what_is_not_stated_is_not_comparable(changed: dict[str, Any]) -> None:
    found = differences([sample("a"), sample("b", **changed), sample("c", **changed)])
    assert found
    assert all("not stated by b and 1 more" in text for name, text in found.items() if name != "story")


def test_all_reasons_and_what_to_do() -> None:
    runs = [sample("a"), sample("b", story="soak", planned_faults=["x"])]
    with pytest.raises(SettingsError) as caught:
        require_alike(runs)
    assert "story: name baseline and soak" in str(caught.value)
    assert str(caught.value).endswith("--despite story --despite faults.")
    with pytest.raises(SettingsError, match="--despite faults"):
        require_alike(runs, ["story"])
    assert len(require_alike(runs, ["story", "faults"])) == 2
    assert len(require_alike(runs, ["all"])) == 2
    assert require_alike([sample("a"), sample("b")]) == []
