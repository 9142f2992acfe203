"""Generated blocks of `docs/runbooks/`: the meaning of a check, and the commands that repeat a finding.

The parts between these blocks, causes and next steps, are written by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial

from earwitness.checks import ALL
from earwitness.checks.engine.fold import Check
from earwitness.harness import shipped
from earwitness.harness.evidence import pages_stories
from earwitness.harness.evidence.catalogue import all_defects
from earwitness.harness.evidence.defect import Defect
from earwitness.harness.evidence.pages_checks import anchor, documented, keys_read, promise, sentences
from earwitness.harness.report.runbooks import FOLDER, runbook_of

ROOM = FOLDER.removeprefix("docs/")
FIRST_STORY = "ws_ordering"
DEFECTS_SHOWN = 3
"""Most planted defects for which a page shows the command."""

Blocks = Mapping[str, Callable[[], str]]


def parts() -> dict[str, Blocks]:
    """Return the generated blocks of each runbook page; key: the page's path below `docs/`."""
    pages: dict[str, Blocks] = {
        runbook_of(check.id).removeprefix("docs/"): {
            "meaning": partial(meaning, check),
            "repeat": partial(repeat, check),
        }
        for check in ALL
    }
    return pages | {f"{ROOM}/index.md": {"checks": checks}}


def checks() -> str:
    """Return the table of all checks with links to their pages."""
    rows = [f"| [{check.id} {check.name}]({check.id}.md) | {check.title} |" for check in ALL]
    return "\n".join(["| check | question |", "|---|---|", *rows])


def meaning(check: Check) -> str:
    """Return the question of the check, the meaning of each outcome, and the kinds of its findings."""
    text = documented(check).removeprefix(f"State of {check.id}: ")
    keys = ", ".join(f"`{key}`" for key in sorted(keys_read(check))) or "none"
    facts = [
        *_outcomes(check),
        f"- **Promise** in the contract: {promise(check)}; keys that it reads: {keys}",
        f"- **Definition**: [{check.id} {check.name}](../reference/checks.md#{anchor(check)})",
    ]
    kinds = [f"| `{what}` | {words} |" for what, words in sentences(check)]
    table = "\n".join(["| kind of finding | how the report describes it |", "|---|---|", *kinds]) if kinds else ""
    parts = [f"**{check.title}**", text[:1].upper() + text[1:], "\n".join(facts), table]
    return "\n\n".join(part for part in parts if part)


def _outcomes(check: Check) -> list[str]:
    if check.id.startswith("H"):
        return [
            "- **UNKNOWN**: the record cannot be trusted for the stated reason. Nothing is shown about the platform",
            "- **FAIL**: never; this check is about the tester, not about the platform",
        ]
    return [
        "- **FAIL**: the promise was broken, and the records of each counterexample prove it",
        "- **UNKNOWN**: nothing was examined, or a part of the record is missing or doubtful: [UNKNOWN](unknown.md)",
    ]


def repeat(check: Check) -> str:
    """Return the commands that judge the run again, repeat it by its seed, and show the check with a planted defect."""
    exercised = [name for name, judged_by in judged_by_story().items() if check.id in judged_by]
    story = FIRST_STORY if FIRST_STORY in exercised or not exercised else exercised[0]
    parts = ["## How to repeat it", f"Judge the recorded run again:\n\n{_code(again(check))}"]
    once_more = _code([f"earwitness run {story} --headless --seed 1 --keep-frames"])
    parts.append(
        "Run the same users, rooms and texts once more. Story and seed of your run stand in the first lines of the "
        f"verdict and in `run.json`; replace both:\n\n{once_more}"
    )
    parts.append(_exercised_by(check, exercised))
    if planted := planted_for(check):
        parts.append(f"See it with a defect that is planted in the reference platform:\n\n{_code(planted)}")
    return "\n\n".join(parts)


def again(check: Check) -> list[str]:
    """Return the commands that judge a recorded run by one check."""
    only = f"earwitness check runs/latest --only {check.id}"
    if check.id.startswith("H"):
        return [only, "earwitness verify runs/latest"]
    return [only, f"{only} --witness 1", f"{only} --witness 1 --svg {check.id}.svg"]


def planted_for(check: Check) -> list[str]:
    """Return commands of runs with a planted defect for which the check is designed, at most DEFECTS_SHOWN.

    A command runs a shipped story that shows the defect and is judged by the check. If there is none, it runs the
    matrix, which has stories of its own.
    """
    runs = []
    for defect in (one for one in _defects() if one.caught_by[:1] == (check.id,)):
        stories = [defect.story, *defect.also, *((FIRST_STORY,) if not defect.needs else ())]
        story = next((name for name in stories if check.id in judged_by_story().get(name, ())), None)
        if story is None:
            runs.append(f"earwitness defects --matrix --seeds 1 --healthy 0 --only {defect.id}")
        else:
            order = f"{defect.service}={defect.name}:{defect.high:g}"
            runs.append(f"earwitness run {story} --headless --defect {order}")
    return runs[:DEFECTS_SHOWN]


def _exercised_by(check: Check, stories: Sequence[str]) -> str:
    if check.id.startswith("H"):
        return "Every run is judged by it."
    if not stories:
        return (
            "No story that comes with the tool is judged by it. It examines every run that has something for it; name "
            "it in the `judged_by` of [your own story](../your-first-story.md) to require that."
        )
    named = ", ".join(f"[`{name}`](../reference/stories.md#{name})" for name in stories)
    return f"Stories that are judged by it: {named}."


def _code(lines: Sequence[str]) -> str:
    return "```\n" + "\n".join(lines) + "\n```"


@cache
def judged_by_story() -> dict[str, tuple[str, ...]]:
    """Return the name of each shipped story → ids of the checks by which it is judged."""
    return {path.stem: tuple(pages_stories.story_of(path)[0].judged_by) for path in shipped.story_files()}


@cache
def _defects() -> tuple[Defect, ...]:
    return tuple(all_defects())
