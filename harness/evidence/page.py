"""Page `docs/evidence.md`: the defects that the checks have found, written from the results of the matrix only."""

from __future__ import annotations

import platform
import time
from collections import Counter
from collections.abc import Iterable, Sequence

from earwitness.harness.errors import Exit
from earwitness.harness.evidence.cells import HEALTHY, Result, Results
from earwitness.harness.evidence.defect import Defect, Power
from earwitness.harness.evidence.intervals import none_seen_95, wilson_95
from earwitness.harness.evidence.stages import ROUGH, stage_of, staged, stories_of

NOT_RUN = "not run"
POWERS: dict[Power, str] = {"high": "many firings a run", "one": "about one firing a run"}

INTRO = """# What the checks were shown to catch

Written by `earwitness defects --matrix` from the results of real runs; do not edit. Each run is one of the defect's
story on the real platform (two backends, Postgres, Redis, an edge). Most are rough ones: {users} users for {seconds} s,
connections cut and resumed, messages sent again or not, refused messages, members removed and invited again, histories
read, questions to the agent, and one backend restarted (gracefully or killed). {others}Defects that no load story shows
have a proof of their own: `docs/suite-evidence.md`.

- **armed**: runs on a platform that was started with the defect. **fired**: runs in which it said that it had fired
  (and how often, in all). **manifest**: runs in which it also said that the effect had reached a client or the
  database. What reached nobody cannot be found.
- **detected**: the verdict was FAIL. **attributed**: a check that is meant for the defect was among the failed ones.
- Intervals are Wilson's, 95 %. A cell that says *not run* was not run."""


def evidence_text(defects: Sequence[Defect], results: Results) -> str:
    """Return the text of docs/evidence.md."""
    defects = staged(defects)
    parts = [_intro(defects), _conditions(results.by_cell.values()), _healthy(results)]
    parts += [_power(defects, results, power) for power in POWERS]
    parts.append(_misses(defects, results))
    return "\n\n".join(parts) + "\n"


def _intro(defects: Sequence[Defect]) -> str:
    rough = stage_of(ROUGH)
    told = [(story, stage_of(story)) for story in stories_of(defects) if story != ROUGH]
    others = ", ".join(f"{story} ({stage.users} users, {stage.seconds} s)" for story, stage in told)
    named = f"The others are of the stories {others}. " if others else ""
    return INTRO.format(users=rough.users, seconds=rough.seconds, others=named)


def _conditions(results: Iterable[Result]) -> str:
    made = list(results)
    if not made:
        return "No run was made."
    days = sorted({time.strftime("%Y-%m-%d", time.gmtime(result.at)) for result in made})
    commits = sorted({result.commit for result in made})
    failed = sum(not result.judged for result in made)
    seconds = sum(result.seconds for result in made) / len(made)
    machine = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    return (
        f"{len(made)} runs, {days[0]} to {days[-1]} (UTC), {seconds:.0f} s each on the average, "
        f"commits {', '.join(commits)}, {machine}. "
        f"{failed} could not be made or judged and do not count."
    )


def _healthy(results: Results) -> str:
    """Return the section on false alarms: runs without a defect, and runs whose defect has not fired."""
    judged = [result for result in results.by_cell.values() if result.judged]
    healthy = [r for r in judged if r.cell.healthy]
    idle = [r for r in judged if not r.cell.healthy and not r.fired]
    lines = [
        "## False alarms",
        "",
        "| the same runs | runs | messages | false alarms | rate | unknown |",
        "|---|---|---|---|---|---|",
        *(_alarm_row(f"without a defect, {story}", runs) for story, runs in _by_story(healthy).items()),
        _alarm_row("with a defect that did not fire", idle),
        "",
    ]
    lines += [
        f"- {f'{r.defect} {r.power}'.strip()}, seed {r.seed}: {', '.join(r.failed)} ({r.run})"
        for r in healthy + idle
        if r.detected
    ]
    return "\n".join(lines).rstrip()


def _by_story(healthy: Sequence[Result]) -> dict[str, list[Result]]:
    rows: dict[str, list[Result]] = {ROUGH: []}
    for result in healthy:
        rows.setdefault(result.defect.removeprefix(HEALTHY).strip() or ROUGH, []).append(result)
    return rows


def _alarm_row(which: str, runs: Sequence[Result]) -> str:
    if not runs:
        return f"| {which} | {NOT_RUN} | {NOT_RUN} | {NOT_RUN} | {NOT_RUN} | {NOT_RUN} |"
    alarms = sum(r.detected for r in runs)
    rate = _interval(alarms, len(runs)) if alarms else f"below {none_seen_95(len(runs)):.1%} a run (95 %)"
    unknown = sum(r.exit_code == Exit.UNKNOWN for r in runs)
    return f"| {which} | {len(runs)} | {sum(r.messages for r in runs):,} | {alarms} | {rate} | {unknown} |"


def _power(defects: Sequence[Defect], results: Results, power: Power) -> str:
    lines = [
        f"## Detection with {POWERS[power]}",
        "",
        "| defect | what a user would say | p | armed | fired | manifest | detected of manifest | detected of armed "
        "| attributed | checks that failed |",
        "|---|---|---|---|---|---|---|---|---|---|",
        *(_row(defect, [r for r in results.of(defect.id, power) if r.judged], power) for defect in defects),
    ]
    return "\n".join(lines)


def _row(defect: Defect, runs: Sequence[Result], power: Power) -> str:
    chances = sorted({r.probability for r in runs} or {defect.probability(power)})
    head = f"| {defect.id} {defect.name} | {defect.breaks} | {', '.join(f'{p:g}' for p in chances)} |"
    if not runs:
        return f"{head} {NOT_RUN} | {NOT_RUN} | {NOT_RUN} | {NOT_RUN} | {NOT_RUN} | {NOT_RUN} | {NOT_RUN} |"
    fired = [r for r in runs if r.fired]
    manifest = [r for r in runs if r.manifest]
    found = sum(r.detected for r in manifest)
    checks = Counter(check for r in runs for check in r.failed)
    cells = [
        str(len(runs)),
        f"{len(fired)} ({sum(r.fired for r in runs):,})",
        f"{len(manifest)} ({sum(r.manifest for r in runs):,})",
        _interval(found, len(manifest)) if manifest else "never manifest",
        _interval(sum(r.detected for r in runs), len(runs)),
        f"{sum(r.attributed(defect) for r in runs)} by {' or '.join(defect.caught_by)}",
        ", ".join(f"{check} {count}" for check, count in sorted(checks.items())) or "none",
    ]
    return f"{head} {' | '.join(cells)} |"


def _misses(defects: Sequence[Defect], results: Results) -> str:
    """Return the section on misses: the defect had a visible effect, and no check designed for the defect failed."""
    by_id = {defect.id: defect for defect in defects}
    lines = ["## Misses", "", "Manifest, and not found by a check that is meant for it.", ""]
    missed = [
        r
        for r in results.by_cell.values()
        if r.defect in by_id and r.judged and r.manifest and not r.attributed(by_id[r.defect])
    ]
    if not missed:
        return "\n".join([*lines, "None."])
    lines += [
        "| defect | power | seed | fired | manifest | failed instead | why, if the verdict says it | run |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for r in missed:
        instead = ", ".join(r.failed) or "nothing"
        why = "; ".join(r.silent)
        lines.append(f"| {r.defect} | {r.power} | {r.seed} | {r.fired} | {r.manifest} | {instead} | {why} | {r.run} |")
    return "\n".join(lines)


def _interval(successes: int, trials: int) -> str:
    low, high = wilson_95(successes, trials)
    return f"{successes} of {trials} ({low:.0%} to {high:.0%})"
