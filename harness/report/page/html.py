"""`report.html` of a run: verdict, plots, checks, counterexamples, and how to repeat it."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from earwitness.checks.catalogue import ALL
from earwitness.harness.progress import printable
from earwitness.harness.record.history import History
from earwitness.harness.report.page.style import STYLE
from earwitness.harness.report.page.svg import legend, plot_svg
from earwitness.harness.report.page.timeline import Axis, Band, Plot, axis_of, bands_of, plots_of
from earwitness.harness.report.swim_svg import witness_svg
from earwitness.harness.report.swim_text import record_lines

Row = Mapping[str, Any]
MARKS = {"PASS": "pass", "FAIL": "fail", "UNKNOWN": "unknown"}
DRAWN = 3
"""Most counterexamples of a check that are drawn; all are listed."""
TITLES = {check.id: check.title for check in ALL}


def report_html(history: History, verdict: Row) -> bytes:
    """Return the page of a run from its records and its verdict, the same bytes for the same input.

    It needs no network and no script. Surrogates are escaped as in JSON.
    """
    axis = axis_of([view.records for view in history.journals])
    plots = plots_of(history, axis) if axis else []
    bands = bands_of(history, axis) if axis else []
    title = f"{verdict['headline']}: {verdict['story']} · seed {verdict['seed']}"
    body = [
        _first_screen(history, verdict, axis, plots, bands),
        _counterexamples(verdict),
        _plots(axis, plots, bands),
        _rooms(verdict),
        _cards("Checks of the platform", verdict["checks"]),
        _cards("Health of the tester", verdict["harness"]),
        _not_exercised(verdict["checks"]),
        _repeat(history, verdict),
    ]
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{_t(title)}</title><style>{STYLE}</style></head><body><main>{''.join(body)}</main></body></html>\n"
    )
    return page.encode(errors="backslashreplace")


def _t(text: object) -> str:
    """Return text for HTML; control characters are written out."""
    return escape(printable(str(text)), quote=True)


def _section(id: str, title: str, body: str) -> str:
    return f'<section id="{id}"><h2>{_t(title)}</h2>{body}</section>' if body else ""


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    cells = "".join(f"<tr>{''.join(f'<td>{_t(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{''.join(f'<th>{_t(name)}</th>' for name in head)}</tr></thead>{cells}</table>"


def _first_screen(
    history: History, verdict: Row, axis: Axis | None, plots: Sequence[Plot], bands: Sequence[Band]
) -> str:
    mark = MARKS.get(verdict["outcome"], "unknown")
    load, planned = verdict["load"], history.run.get("planned") or {}
    bad = [row for row in verdict["harness"] if row["outcome"] != "PASS"]
    health = "; ".join(f"{row['id']} {row['name']}: {row['why']}" for row in bad) or "nothing wrong: H1 to H8 passed"
    facts = [
        ("story", f"{verdict['story']} on {verdict['target']}"),
        ("duration", f"{axis.seconds:.1f} s of records" if axis else "no records"),
        ("users", f"{load['users']:,} connected of {planned.get('users', 'an unknown number')} planned"),
        ("messages", f"{load['messages_sent']:,} sent, {load['messages_delivered']:,} received"),
        ("load generator", health),
        ("exit code", verdict["exit_code"]),
    ]
    listed = "".join(f"<dt>{_t(name)}</dt><dd>{_t(value)}</dd>" for name, value in facts)
    warnings = "".join(f'<p class="warning">{_t(text)}</p>' for text in verdict["warnings"])
    drawn = next(iter(_pictures(verdict["checks"])), "")
    if not drawn and axis and plots:
        drawn = f"<h3>{_t(plots[0].title)}</h3>{plot_svg(plots[0], axis.seconds, bands)}{legend(plots[0])}"
    jump = '<p><a href="#counterexamples">to the first counterexample</a></p>' if mark == "fail" else ""
    return (
        f'<header class="{mark}"><h1>{_t(verdict["headline"])}</h1>'
        f'<p class="why">{_t(verdict["why"])}</p>{jump}</header>'
        f"<dl>{listed}</dl>{warnings}<figure>{drawn}</figure>"
    )


def _pictures(checks: Sequence[Row]) -> Iterable[str]:
    """Yield the pictures of the first counterexamples of failed checks."""
    return (
        witness_svg(witness, check).decode().partition("?>")[2]
        for check in checks
        if check["counts"] and check["outcome"] == "FAIL"
        for witness in check["witnesses"][:DRAWN]
    )


def _counterexamples(verdict: Row) -> str:
    parts = []
    for check in verdict["checks"]:
        if check["outcome"] != "FAIL":
            continue
        note = "" if check["promised"] else " (never promised: an observation)"
        parts.append(f"<h3>{_t(check['id'])} {_t(check['name'])}: {check['violations']:,} violations{note}</h3>")
        for n, witness in enumerate(check["witnesses"]):
            drawn = witness_svg(witness, check).decode().partition("?>")[2] if n < DRAWN else ""
            lines = "\n".join(line for record in witness["records"] for line in record_lines(record, 0))
            parts.append(
                f"<article><p>{_t(witness['sentence'])}</p><figure>{drawn}</figure>"
                + (f"<pre>{_t_lines(lines)}</pre>" if lines else "")
                + f"<p>see it again: <code>{_t(witness.get('command', ''))}</code></p></article>"
            )
    return _section("counterexamples", "Counterexamples", "".join(parts))


def _t_lines(text: str) -> str:
    return "\n".join(_t(line) for line in text.split("\n"))


def _plots(axis: Axis | None, plots: Sequence[Plot], bands: Sequence[Band]) -> str:
    if axis is None:
        return ""
    drawn = "".join(f"<h3>{_t(plot.title)}</h3>{plot_svg(plot, axis.seconds, bands)}{legend(plot)}" for plot in plots)
    faults = ", ".join(dict.fromkeys(band.name for band in bands if band.name != "drain"))
    shaded = f"<p>Shaded: {_t(faults)}.</p>" if faults else ""
    return _section("plots", "Over time", shaded + drawn)


def _rooms(verdict: Row) -> str:
    rows = [
        (name, f"{row['samples']:,}", *(f"{row[key]:g}" if key in row else "" for key in ("p50", "p99", "max")))
        for name, row in verdict["latency_ms"].items()
        if row.get("samples")
    ]
    missed = verdict["missed_live"]
    owed = missed.get("owed", 0)
    reach = (
        f"<p>Reach: {owed - missed['missed']:,} of {owed:,} messages due to members' devices came.</p>" if owed else ""
    )
    met = _table(
        ("threshold", "measured", "limit", "met"),
        [
            (
                row["name"],
                row["measured"],
                f"{row['limit']:g} {row['unit']}",
                {True: "yes", False: "NO"}.get(row["met"], "no data"),
            )
            for row in verdict["thresholds"]
        ],
    )
    body = _table(("ms", "samples", "p50", "p99", "max"), rows) if rows else ""
    return _section("figures", "Figures", body + reach + (met if verdict["thresholds"] else ""))


def _cards(title: str, checks: Sequence[Row]) -> str:
    shown = [check for check in checks if check["examined"] or check["outcome"] == "FAIL"]
    return _section(title.split()[0].lower(), title, "".join(_card(check) for check in shown))


def _card(check: Row) -> str:
    mark = MARKS.get(check["outcome"], "unknown")
    bound = check["upper_bound_95"]
    facts = [f"{check['examined']:,} examined", f"{check['violations']:,} violations"]
    facts += [f"violation rate below {bound:.2g} (95 %)"] if bound else []
    facts += [] if check["promised"] else ["never promised: an observation"]
    why = f"<p>{_t(check['why'])}</p>" if check["why"] else ""
    return (
        f'<article class="card {mark}">'
        f"<h3><span>{_t(check['outcome'])}</span> {_t(check['id'])} {_t(check['name'])}</h3>"
        f"<p>{_t(TITLES.get(check['id'], ''))}</p><p>{_t(' · '.join(facts))}</p>{why}</article>"
    )


def _not_exercised(checks: Sequence[Row]) -> str:
    idle = [check for check in checks if not check["examined"] and check["outcome"] != "FAIL"]
    rows = [(check["id"], check["name"], TITLES.get(check["id"], "")) for check in idle]
    body = "<p>These checks examined nothing in this run, so it states nothing about them.</p>"
    return _section("not-exercised", "Not exercised", body + _table(("id", "check", "question"), rows) if rows else "")


def _repeat(history: History, verdict: Row) -> str:
    options = {name: value for name, value in (history.run.get("options") or {}).items() if value}
    planned = history.run.get("planned") or {}
    users = ["-u", str(planned["users"])] if planned.get("users") else []
    seconds = ["-t", f"{planned['seconds']:g}s"] if planned.get("seconds") else []
    command = [
        "earwitness",
        "run",
        str(verdict["story"]),
        "--headless",
        "--seed",
        str(verdict["seed"]),
        *users,
        *seconds,
    ]
    stated = _table(("option", "value"), sorted((name, value) for name, value in options.items())) if options else ""
    again = f"<pre>{_t(shlex.join(command))}\n{_t(shlex.join(['earwitness', 'check', str(verdict['run'])]))}</pre>"
    return _section("again", "Again", again + stated)
