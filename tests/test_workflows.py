"""Workflows of GitHub Actions, ours and those to copy: pinned, with few permissions, and with commands that exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from earwitness.harness.cli import VERBS, parser_of
from earwitness.harness.shipped import story_files

ROOT = Path(__file__).parents[1]
FILES = sorted([*(ROOT / "docs" / "workflows").glob("*.yml"), *(ROOT / ".github" / "workflows").glob("*.yml")])
PINNED = re.compile(r"[\w.-]+/[\w.-]+@[0-9a-f]{40}")


def read(file: Path) -> dict[str, Any]:
    return yaml.safe_load(file.read_text("utf-8"))


def commands(file: Path) -> list[list[str]]:
    """The words of each line of a `run` step that calls us or make."""
    steps = [step for job in read(file)["jobs"].values() for step in job.get("steps", ())]
    lines = [line.strip() for step in steps for line in step.get("run", "").splitlines()]
    lines = [line.removeprefix("if ").partition(" | ")[0].partition(" # ")[0].removesuffix("; then") for line in lines]
    ours = [line for line in lines if re.match(r"(\.venv/bin/)?(earwitness|make|pytest|locust) ", line)]
    return [shlex.split(line.removeprefix(".venv/bin/")) for line in ours]


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_actions_are_pinned_and_may_do_little(file: Path) -> None:
    """By a whole commit; the workflow may read the repository, and a job more only for the alert."""
    workflow = read(file)
    assert workflow["permissions"] == {"contents": "read"}
    for name, job in workflow["jobs"].items():
        assert job["timeout-minutes"] <= 90
        assert set(job.get("permissions", {})) <= ({"actions", "issues"} if name == "alert" else set())
        assert all(PINNED.fullmatch(step["uses"]) for step in job["steps"] if "uses" in step), name


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_commands_exist(file: Path) -> None:
    """Verbs with their options, stories, and targets of the Makefile."""
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    stories = {path.stem for path in story_files()}
    found = commands(file)
    assert found
    for program, verb, *rest in found:
        if program == "make":
            assert verb in targets
        elif program == "earwitness" and verb == "run":
            assert rest[0] in stories
        elif program == "earwitness":
            assert verb in VERBS
            try:
                parser_of([verb]).parse_args([verb, *rest])
            except SystemExit as error:
                raise AssertionError(f"{file}: {verb} {rest}") from error


def test_nightly_covers_what_the_page_says() -> None:
    """Load, a sample of the matrix, soak, baseline, and the alert, which waits for all of them."""
    for folder in ("docs/workflows", ".github/workflows"):
        jobs = read(ROOT / folder / "nightly.yml")["jobs"]
        assert set(jobs) >= {"load", "sample", "soak", "alert"}
        assert set(jobs["alert"]["needs"]) == set(jobs) - {"alert"}
