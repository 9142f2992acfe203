"""The page `report.html` of a run: its first screen, and all sections in their order."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

from earwitness.harness.record.history import History
from earwitness.harness.report.extent import extent_sentence
from earwitness.harness.report.page.cards import cards, not_exercised, pages
from earwitness.harness.report.page.counterexamples import counterexamples, first_error, happened_ns, leading, swim
from earwitness.harness.report.page.repeat import repeat
from earwitness.harness.report.page.rooms import figures, losses, rooms
from earwitness.harness.report.page.runbook import runbooks
from earwitness.harness.report.page.style import STYLE
from earwitness.harness.report.page.svg import legend, plot_svg
from earwitness.harness.report.page.terms import terms
from earwitness.harness.report.page.timeline import Axis, Band, Plot, axis_of, bands_of, plots_of
from earwitness.harness.report.page.words import MARKS, Row, paragraph, picture, section, text
from earwitness.harness.report.recorded import Recorded
from earwitness.harness.report.summary import PLANTED, broken_first, broken_sentence, same_defect, symptom_of
from earwitness.harness.report.witnesses import Witness

SECTIONS: Final = (
    ("counterexamples", "Counterexamples"),
    ("plots", "Over time"),
    ("rooms", "Fan-out and reach"),
    ("losses", "Losses"),
    ("figures", "Figures"),
    ("checks", "Checks"),
    ("health", "Tester"),
    ("not-exercised", "Not exercised"),
    ("again", "Again"),
    ("words", "Words"),
)
"""Links at the top of the page: id of a section and its short name."""


def report_html(history: History, verdict: Row) -> bytes:
    """Return the HTML page of a run; the bytes are the same for the same input.

    `verdict`: the dictionary of verdict.json. The page needs no network and no script. Surrogates are escaped as in
    JSON.
    """
    recorded = Recorded.of(history)
    axis = axis_of(recorded)
    plots = plots_of(history, recorded, axis) if axis else []
    bands = [*bands_of(recorded, axis), *_error(axis, verdict)] if axis else []
    title = f"{verdict['headline']}: {verdict['story']} · seed {verdict['seed']}"
    links = "".join(f'<a href="#{id}">{name}</a>' for id, name in SECTIONS)
    body = [
        _first_screen(history, verdict, axis, plots, bands),
        counterexamples(verdict["checks"], axis, bands),
        _plots(verdict, axis, plots, bands),
        rooms(verdict),
        losses(verdict),
        figures(verdict),
        cards("checks", "Checks of the platform", verdict["checks"], history.contract),
        cards("health", "Health of the tester", verdict["harness"], history.contract),
        not_exercised(verdict["checks"], verdict.get("opportunities") or {}, history.contract),
        repeat(history, verdict),
        terms(),
        pages([*verdict["checks"], *verdict["harness"]]),
        runbooks(verdict["checks"]),
    ]
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{text(title)}</title><style>{STYLE}</style></head><body>"
        f'<a class="skip" href="#counterexamples">skip to the counterexamples</a>'
        f'<nav aria-label="sections" tabindex="0">{links}</nav><main>{"".join(body)}</main></body></html>\n'
    )
    return page.encode(errors="backslashreplace")


def _first_screen(
    history: History, verdict: Row, axis: Axis | None, plots: Sequence[Plot], bands: Sequence[Band]
) -> str:
    mark = MARKS.get(verdict["outcome"], "unknown")
    facts = [
        ("story", verdict["story"]),
        ("platform", platform_of(history.run, verdict)),
        ("started", _started(verdict.get("created"))),
        ("seed", "none" if verdict["seed"] is None else verdict["seed"]),
        ("duration", f"{axis.seconds:.1f} s of records{_load(axis, bands)}" if axis else "no records"),
        ("planned", "; ".join(_planned(history.run))),
        ("reached", "; ".join(_reached(verdict))),
        ("load generator", _health(verdict["harness"])),
        ("exit code", verdict["exit_code"]),
    ]
    listed = "".join(f"<dt>{text(name)}</dt><dd>{text(value)}</dd>" for name, value in facts)
    warnings = "".join(paragraph(warning, "warning") for warning in verdict["warnings"])
    first = leading(verdict["checks"])
    jump = ""
    if first is not None:
        jump = (
            '<p><a href="#leading">the records of this violation</a> · '
            '<a href="#first-error">the violation that happened first</a></p>'
        )
    return (
        f'<header class="{mark}"><h1>{text(verdict["headline"])}</h1>'
        f"{paragraph(verdict['why'] or 'Every check that counts passed.', 'why')}{_broken(verdict['checks'])}"
        f"{_planted(verdict)}</header>"
        f'{_picture(verdict, first, axis, plots, bands)}{jump}<dl id="facts">{listed}</dl>{warnings}'
    )


def _broken(checks: Sequence[Row]) -> str:
    """Return the HTML list of the broken promises: what users notice, how often, how many users, where.

    The check that probably shows the cause comes first. A check that probably shows the same defect as an earlier one
    only names that one.
    """
    rows = "".join(
        f"<li>{_noticed(check)}"
        f'<a href="#check-{text(check["id"])}">{text(check["id"])} {text(check["name"])}</a>: '
        f"{text(broken_sentence(check))}.{_where(check)}</li>"
        for check in broken_first(checks)
    )
    return f'<ul class="broken">{rows}</ul>' if rows else ""


def _noticed(check: Row) -> str:
    """Return the sentence on what users notice of a failed check, or the check that probably shows the same defect."""
    if same := same_defect(check):
        return f"{text(same)}: "
    return f"<b>{text(symptom)}.</b> " if (symptom := symptom_of(check)) else ""


def _where(check: Row) -> str:
    """Return the counts of violations by replica, kind and place.

    "" if the check probably shows the same defect as another.
    """
    words = "" if check.get("same_defect_as") else extent_sentence(check)
    return f" {text(words[:1].upper() + words[1:])}." if words else ""


def _planted(verdict: Row) -> str:
    """Return the paragraph that names the planted defects of a run and explains them, "" without any."""
    defect = verdict.get("defect")
    return f'<p class="planted"><b>Planted defects: {text(defect)}.</b> {text(PLANTED)}</p>' if defect else ""


def platform_of(run: Row, verdict: Row) -> str:
    """Return what was tested: the kind of platform, the version of the reference platform, the contract's name."""
    if "imported_from" in run:
        return "that of an imported history"
    kind, versions = verdict["target"], run.get("versions") or {}
    if kind == "reference":
        commit = str(versions.get("commit") or "")[:10]
        version = (
            f" {versions['earwitness']}{f', commit {commit}' if commit else ''}" if "earwitness" in versions else ""
        )
        kind = f"reference platform{version}"
    name = (run.get("contract") or {}).get("name")
    return f"{kind}, contract {name}" if name else str(kind)


def _started(created: object) -> str:
    """Return the date and time of the start in UTC, to the second. `created`: as run.json states it."""
    found = re.fullmatch(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(?:\.\d+)?(?:\+00:00|Z)", str(created or ""))
    return f"{found[1]} {found[2]} UTC" if found else str(created or "not stated")


def _picture(
    verdict: Row, first: Witness | None, axis: Axis | None, plots: Sequence[Plot], bands: Sequence[Band]
) -> str:
    """Return the picture of the first screen: the counterexample `first`, or else the first plot over time."""
    if first is not None and first["steps"]:
        check = next(check for check in verdict["checks"] if check["id"] == first["check"])
        name = f"{check['id']} {check['name']}: {first['sentence']}"
        return paragraph(name, "sentence") + picture(swim(first, check), "the leading violation")
    drawn = next((plot for plot in plots if plot.drawn), None)
    if axis is None or drawn is None:
        return paragraph("There is no picture, because nothing was recorded that could be drawn.", "note")
    plot = picture(plot_svg(drawn, axis.seconds, bands), "first plot")
    return paragraph(drawn.title, "sentence") + plot + legend(drawn)


def _load(axis: Axis, bands: Sequence[Band]) -> str:
    drain = next((band for band in bands if band.kind == "drain"), None)
    return (
        f": {drain.start_s:.1f} s of load, {axis.seconds - drain.start_s:.1f} s of drain and final reads"
        if drain
        else ""
    )


def _planned(run: dict[str, Any]) -> Iterator[str]:
    """Yield what was planned in words: users, duration, rates, faults."""
    planned = run.get("planned") or {}
    if not planned:
        yield "not stated" + (": the history was imported" if "imported_from" in run else "")
    for name, words in (
        ("users", "{} users"),
        ("seconds", "{} s"),
        ("spawn_rate", "{} users started a second"),
        ("shape", "shape {}"),
        ("arrivals", "arrivals {}"),
    ):
        value = planned.get(name)
        if value:
            yield words.format(f"{value:g}" if isinstance(value, float) else value)
    if run.get("planned_faults"):
        yield f"faults {', '.join(map(str, run['planned_faults']))}, counted from when all users were there"


def _reached(verdict: Row) -> Iterator[str]:
    """Yield what was reached in words: users, connections, messages, bursts, and what of the plan was not reached."""
    load = verdict["load"]
    yield f"{load['users']:,} users, {load['connections']:,} connections"
    bursts = [f"{one['count']:,} in a burst of {one['sent_s']:.1f} s" for one in verdict.get("bursts") or ()]
    among = f" ({', '.join(bursts)})" if bursts else ""
    yield f"{load['messages_sent']:,} messages sent{among}, {load['messages_delivered']:,} received"
    facts: Row = next((check["facts"] for check in verdict["harness"] if check["id"] == "H4"), {})
    if (facts.get("offered") or 0) > (facts.get("sent") or 0):
        yield f"{facts['sent']:,} of {facts['offered']:,} messages that users wanted to send were sent"
    if (facts.get("actions_planned") or 0) > (facts.get("actions_started") or 0):
        yield f"{facts['actions_started']:,} of {facts['actions_planned']:,} planned actions started"


def _health(harness: Sequence[Row]) -> str:
    bad = [row for row in harness if row["outcome"] != "PASS"]
    return "; ".join(f"{row['id']} {row['name']}: {row['why']}" for row in bad) or "nothing wrong: H1 to H8 passed"


def _error(axis: Axis, verdict: Row) -> Iterator[Band]:
    """Yield a mark at the time of the first violation (`happened_ns`), which may be earlier than its discovery."""
    first = first_error(verdict["checks"])
    at = None if first is None else happened_ns(first)
    if first is not None and at is not None:
        yield Band(f"first violation: {first['check']}", axis.at_s(at), axis.at_s(at), "error")


def _plots(verdict: Row, axis: Axis | None, plots: Sequence[Plot], bands: Sequence[Band]) -> str:
    if axis is None:
        return section("plots", "Over time", paragraph("Nothing was recorded."))
    planted = f" But defects were planted for all of it: {verdict['defect']}." if verdict.get("defect") else ""
    faults = [f"{band.name} ({band.start_s:.1f} s to {band.end_s:.1f} s)" for band in bands if band.kind == "fault"]
    shaded = f"Shaded: {', '.join(faults)}." if faults else f"No fault was injected in this run.{planted}"
    drawn = "".join(_plot(plot, axis, bands) for plot in plots)
    return section("plots", "Over time", paragraph(f"All plots have one time axis. {shaded}", "note") + drawn)


def _plot(plot: Plot, axis: Axis, bands: Sequence[Band]) -> str:
    heading = f"<h3>{text(plot.title)}</h3>"
    if not plot.drawn:
        return heading + paragraph(plot.note or "Nothing of this was recorded.", "note")
    return (
        heading + picture(plot_svg(plot, axis.seconds, bands), plot.title) + legend(plot) + paragraph(plot.note, "note")
    )
