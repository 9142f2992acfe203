"""Page on conformance: for each promise, server and version, what was examined, and the first counterexamples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from earwitness.harness.evidence.conformance.course import Course
from earwitness.harness.evidence.conformance.servers import Server
from earwitness.harness.evidence.conformance.trials import Trial

SEEN = 3
"""Number of runs in which a promise must be broken before the page calls it a finding."""
ROWS: Sequence[tuple[str, Callable[[Course], str]]] = (
    ("longest connection", lambda one: f"{one.longest_s:.1f} s"),
    ("heartbeats", lambda one: f"{one.heartbeats:,}"),
    ("cuts", lambda one: f"{one.cuts:,}"),
    ("rooms resumed, joined anew, read", lambda one: f"{one.resumed:,}, {one.anew:,}, {one.read:,}"),
)
"""Rows on connections, which follow the rows of the promises: (name, function from a course to its cell)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """Server with its runs.

    `absent`: what is missing on this machine, "" if nothing; there are no runs if it is missing.
    """

    server: Server
    version: str = ""
    trials: tuple[Trial, ...] = ()
    absent: str = ""


def page_text(all_tried: Sequence[Tried], command: str) -> str:
    """Return the page in Markdown. `command`: the command that writes the page."""
    lines = [
        "# Conformance",
        "",
        f"Written by `{command}`; do not edit by hand.",
        "",
        "What real servers kept of the promises in their target files, when a story of this project was run against",
        f"them. A broken promise is called a finding only if it was seen in at least {SEEN} runs.",
        "",
        "Runs last longer than two heartbeat timeouts of their server: the silence after which it, or a client of its",
        "protocol, ends a connection. Each has a silence, cuts, and users who come back. The columns show",
        "the least that a run of the first story had: seconds of its longest connection, compared with two timeouts;",
        "heartbeats (of the server, and its answers to ours); cuts; and rooms that went on where they had been cut.",
        "",
        "| server | version | dialect | runs | connection | heartbeats | cuts | resumed | outcome |",
        "|---|---|---|---|---|---|---|---|---|",
        *(_row(tried) for tried in all_tried),
    ]
    for tried in all_tried:
        if tried.trials:
            lines += ["", *_server(tried)]
    return "\n".join(lines) + "\n"


def _row(tried: Tried) -> str:
    server = tried.server
    name = f"{server.name} (ours)" if server.ours else server.name
    if tried.absent:
        return f"| {name} | not run | {server.dialect} | 0 | – | – | – | – | {tried.absent}: `{server.get}` |"
    version = tried.version or "unknown"
    cells = (name, version, server.dialect, str(len(tried.trials)), *_least(tried), _outcome(tried))
    return f"| {' | '.join(cells)} |"


def _first(tried: Tried) -> list[Course]:
    """Return the courses of those runs of the server's first story that have a verdict."""
    story = tried.trials[0].story if tried.trials else ""
    return [trial.course for trial in tried.trials if trial.story == story and not trial.trouble]


def _least(tried: Tried) -> tuple[str, str, str, str]:
    """Return cells for the longest connection, heartbeats, cuts and resumed rooms: each the least of all runs."""
    courses = _first(tried) or [Course()]
    lasted = f"{min(one.longest_s for one in courses):.1f} s"
    timeout_s = tried.server.timeout_s
    resumed = str(min(one.resumed for one in courses))
    if not courses[0].resumes:
        read = min(one.read for one in courses)
        resumed = f"begun anew, {f'{read} rooms read' if read else 'no history'}" if courses[0].cuts else "–"
    return (
        f"{lasted} > {2 * timeout_s:g} s" if timeout_s else lasted,
        str(min(one.heartbeats for one in courses)) if timeout_s else "none in it",
        str(min(one.cuts for one in courses)),
        resumed,
    )


def lacks(tried: Tried) -> str:
    """Return what runs of the first story of a server lack; "" if nothing, or if the server has no heartbeats."""
    timeout_s, courses = tried.server.timeout_s, _first(tried)
    if not timeout_s:
        return ""
    found = [
        ("a connection that outlasts two timeouts", sum(one.longest_s <= 2 * timeout_s for one in courses)),
        ("a heartbeat", sum(one.heartbeats == 0 for one in courses)),
        ("a cut", sum(one.cuts == 0 for one in courses)),
        ("a resume", sum(one.resumes and one.resumed == 0 for one in courses)),
    ]
    return ", ".join(f"without {what} in {count} of {len(courses)}" for what, count in found if count)


def summary(tried: Tried) -> str:
    """Return the outcome of all runs of a server in words."""
    broken = Counter(name for trial in tried.trials for name in trial.findings)
    if any(trial.trouble for trial in tried.trials):
        return f"no verdict in {sum(bool(trial.trouble) for trial in tried.trials)} of {len(tried.trials)} runs"
    if broken:
        return ", ".join(f"{name} broken in {count} of {len(tried.trials)}" for name, count in sorted(broken.items()))
    unknown = sum(trial.exit_code == 3 for trial in tried.trials)
    return f"UNKNOWN in {unknown} of {len(tried.trials)}" if unknown else "every promise kept"


def _outcome(tried: Tried) -> str:
    """Return the outcome of a server's runs, whether it was expected, and what the runs lack."""
    broken, missed, lack = any(trial.findings for trial in tried.trials), unexpected(tried), lacks(tried)
    return f"{summary(tried)}{f'; {missed}' if missed else '; as known' if broken else ''}{f'; {lack}' * bool(lack)}"


def unexpected(tried: Tried) -> str:
    """Return how the failed checks differ from those that are known to fail with the server; "" if they do not."""
    known = set(tried.server.breaks)
    broken = {name for trial in tried.trials for name in trial.findings}
    kept, new = sorted(known - broken), sorted(broken - known - set(tried.server.sometimes))
    return " and ".join(
        [f"known to break {', '.join(kept)}, which held"] * bool(kept) + [f"new: {', '.join(new)}"] * bool(new)
    )


def _server(tried: Tried) -> Iterator[str]:
    server = tried.server
    yield f"## {server.name}"
    yield ""
    if server.ours:
        yield "No other server of this protocol can be installed here: this is a small one of our own, so it shows only"
        yield "that the dialect works."
        yield ""
    if server.note:
        yield server.note
        yield ""
    yield f"Started by `{server.start}`, tested with `{server.target}`."
    yield ""
    yield "| promise | " + " | ".join(f"{trial.story} {trial.seed}" for trial in tried.trials) + " |"
    yield "|---|" + "---|" * len(tried.trials)
    names = sorted({name for trial in tried.trials for name in trial.checks}, key=_order)
    for name in names:
        yield f"| {name} | " + " | ".join(_cell(trial, name) for trial in tried.trials) + " |"
    for name, said in ROWS:
        yield f"| {name} | " + " | ".join(said(trial.course) for trial in tried.trials) + " |"
    if any(trial.course.answers_cut for trial in tried.trials):
        counts = " | ".join(f"{trial.course.answers_cut:,}" for trial in tried.trials)
        yield f"| answers cut by us while they arrived | {counts} |"
    yield ""
    yield from _findings(tried)
    yield "To repeat the first run, with the server running:"
    yield ""
    yield "```bash"
    yield tried.trials[0].command
    yield "```"


def _findings(tried: Tried) -> Iterator[str]:
    for trial in tried.trials:
        if trial.trouble:
            yield f"- {trial.story}, seed {trial.seed}: no verdict ({trial.trouble})"
    broken = Counter(name for trial in tried.trials for name in trial.findings)
    for name, count in sorted(broken.items()):
        first = next(trial for trial in tried.trials if name in trial.findings)
        kind = "Finding" if count >= SEEN else f"Seen {count} time{'s'[: count != 1]}, so no finding"
        yield f"- {kind}: {name}, for example {first.findings[name]} ({first.story}, seed {first.seed})"
    if broken or any(trial.trouble for trial in tried.trials):
        yield ""


def _cell(trial: Trial, name: str) -> str:
    check = trial.checks.get(name)
    if check is None:
        return "–"
    broken = f", {check['violations']:,} broken" if check["outcome"] == "FAIL" else ""
    return f"{check['outcome']} ({check['examined']:,}{broken})"


def _order(name: str) -> tuple[str, int, str]:
    digits = "".join(char for char in name if char.isdigit())
    return name[:1], int(digits or 0), name
