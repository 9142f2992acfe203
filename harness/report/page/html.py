"""`report.html` of a run: the first screen, and all sections in their order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from earwitness.harness.record.history import History
from earwitness.harness.report.page.cards import cards, not_exercised, pages
from earwitness.harness.report.page.counterexamples import counterexamples, first_error, proven_ns, swim
from earwitness.harness.report.page.repeat import repeat
from earwitness.harness.report.page.rooms import figures, losses, rooms
from earwitness.harness.report.page.style import STYLE
from earwitness.harness.report.page.svg import legend, plot_svg
from earwitness.harness.report.page.timeline import Axis, Band, Plot, axis_of, bands_of, plots_of
from earwitness.harness.report.page.words import MARKS, Row, paragraph, picture, section, text
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
)
"""Links at the top: ids of sections and their short names."""


def report_html(history: History, verdict: Row) -> bytes:
    """Return the page of a run from its records and its verdict, the same bytes for the same input.

    It needs no network and no script. Surrogates are escaped as in JSON.
    """
    axis = axis_of([view.records for view in history.journals])
    plots = plots_of(history, axis) if axis else []
    bands = [*bands_of(history, axis), *_error(axis, verdict)] if axis else []
    title = f"{verdict['headline']}: {verdict['story']} · seed {verdict['seed']}"
    links = "".join(f'<a href="#{id}">{name}</a>' for id, name in SECTIONS)
    body = [
        _first_screen(history, verdict, axis, plots, bands),
        counterexamples(verdict["checks"]),
        _plots(axis, plots, bands),
        rooms(verdict),
        losses(verdict),
        figures(verdict),
        cards("checks", "Checks of the platform", verdict["checks"], history.contract),
        cards("health", "Health of the tester", verdict["harness"], history.contract),
        not_exercised(verdict["checks"], verdict.get("opportunities") or {}, history.contract),
        repeat(history, verdict),
        pages([*verdict["checks"], *verdict["harness"]]),
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
        ("story", f"{verdict['story']} on {verdict['target']}"),
        ("seed", "none" if verdict["seed"] is None else verdict["seed"]),
        ("duration", f"{axis.seconds:.1f} s of records{_load(axis, bands)}" if axis else "no records"),
        ("planned", "; ".join(_planned(history.run))),
        ("reached", "; ".join(_reached(verdict))),
        ("load generator", _health(verdict["harness"])),
        ("exit code", verdict["exit_code"]),
    ]
    listed = "".join(f"<dt>{text(name)}</dt><dd>{text(value)}</dd>" for name, value in facts)
    warnings = "".join(paragraph(warning, "warning") for warning in verdict["warnings"])
    first = first_error(verdict["checks"])
    jump = '<p><a href="#first-error">jump to the first error</a></p>' if first is not None else ""
    return (
        f'<header class="{mark}"><h1>{text(verdict["headline"])}</h1>'
        f"{paragraph(verdict['why'] or 'Every check that counts passed.', 'why')}{jump}</header>"
        f'<dl id="facts">{listed}</dl>{warnings}{_picture(verdict, first, axis, plots, bands)}'
    )


def _picture(
    verdict: Row, first: Witness | None, axis: Axis | None, plots: Sequence[Plot], bands: Sequence[Band]
) -> str:
    """Return the one picture of the first screen: the first error, or else the messages over the time."""
    if first is not None and first["steps"]:
        check = next(check for check in verdict["checks"] if check["id"] == first["check"])
        name = f"{check['id']} {check['name']}: {first['sentence']}"
        return paragraph(name, "sentence") + picture(swim(first, check), "the first error")
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
    """Yield what was planned: users, time, rates, faults."""
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
        yield "faults " + ", ".join(map(str, run["planned_faults"]))


def _reached(verdict: Row) -> Iterator[str]:
    """Yield what was reached: users, connections, messages, actions."""
    load = verdict["load"]
    yield f"{load['users']:,} users, {load['connections']:,} connections"
    yield f"{load['messages_sent']:,} messages sent, {load['messages_delivered']:,} received"
    facts: Row = next((check["facts"] for check in verdict["harness"] if check["id"] == "H4"), {})
    if facts.get("offered"):
        yield f"{facts['sent']:,} of {facts['offered']:,} offered messages sent"
    if facts.get("actions_planned"):
        yield f"{facts['actions_started']:,} of {facts['actions_planned']:,} planned actions started"


def _health(harness: Sequence[Row]) -> str:
    bad = [row for row in harness if row["outcome"] != "PASS"]
    return "; ".join(f"{row['id']} {row['name']}: {row['why']}" for row in bad) or "nothing wrong: H1 to H8 passed"


def _error(axis: Axis, verdict: Row) -> Iterator[Band]:
    """Yield the moment of the first error."""
    first = first_error(verdict["checks"])
    at = None if first is None else proven_ns(first)
    if first is not None and at is not None:
        yield Band(f"first error: {first['check']}", axis.at_s(at), axis.at_s(at), "error")


def _plots(axis: Axis | None, plots: Sequence[Plot], bands: Sequence[Band]) -> str:
    if axis is None:
        return section("plots", "Over time", paragraph("Nothing was recorded."))
    faults = [f"{band.name} ({band.start_s:.1f} s to {band.end_s:.1f} s)" for band in bands if band.kind == "fault"]
    shaded = f"Shaded: {', '.join(faults)}." if faults else "No fault was injected in this run."
    drawn = "".join(_plot(plot, axis, bands) for plot in plots)
    return section("plots", "Over time", paragraph(f"All plots have one time axis. {shaded}", "note") + drawn)


def _plot(plot: Plot, axis: Axis, bands: Sequence[Band]) -> str:
    heading = f"<h3>{text(plot.title)}</h3>"
    if not plot.drawn:
        return heading + paragraph(plot.note or "Nothing of this was recorded.", "note")
    return (
        heading + picture(plot_svg(plot, axis.seconds, bands), plot.title) + legend(plot) + paragraph(plot.note, "note")
    )
