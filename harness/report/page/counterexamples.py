"""Counterexamples in `report.html`: sentence, swim-lane with a legend that hides lanes, records, frames, command."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from earwitness.checks.history.record import Kind
from earwitness.harness.report.extent import extent_sentence
from earwitness.harness.report.page.runbook import runbook_link
from earwitness.harness.report.page.timeline import Axis, Band
from earwitness.harness.report.page.words import TEXT_MOST, Row, counted, paragraph, picture, section, text
from earwitness.harness.report.summary import broken_first, broken_sentence, counted_by, same_defect
from earwitness.harness.report.swim_svg import witness_svg
from earwitness.harness.report.swim_text import clock
from earwitness.harness.report.witnesses import Witness, promise_words

LIVE: Final = frozenset(
    kind.name.lower() for kind in (Kind.INVOKE, Kind.OK, Kind.FAIL, Kind.INFO, Kind.DELIVER, Kind.DISCONNECT)
)
"""Kinds of records of a message on its way, and of a lost connection, by their names in verdict.json."""
DRAWN: Final = 3
"""Most counterexamples of a check that have a picture. All counterexamples of verdict.json are listed."""
FRAME_MOST: Final = 4_000
"""Number of characters of a raw frame that are shown."""
BRIEF_MOST: Final = 300
"""Number of characters of a sentence or command that are shown if the records are left out."""
BYTES_MOST: Final = 1_500_000
"""Length in characters of all counterexamples after which the records and pictures of further ones are left out."""


def counterexamples(checks: Sequence[Row], axis: Axis | None = None, bands: Sequence[Band] = ()) -> str:
    """Return the section with the counterexamples of all failed checks, at most about BYTES_MOST characters long.

    The checks are ordered as on the first screen, the counterexamples of a check by the time of the violation. `axis`:
    the time axis of the run, to state times; `bands`: the faults.
    """
    promised = broken_first(checks)
    failed = promised + [check for check in checks if check["outcome"] == "FAIL" and check not in promised]
    first, lead = first_error(checks), leading(checks)
    broken_by = _broken_by(failed)
    parts, size = [], 0
    for check in failed:
        groups = grouped(check["witnesses"])
        parts.append(_head(check, len(groups)))
        for n, group in enumerate(groups):
            article = _article(
                check,
                group,
                _about(check, group, axis, broken_by, bands),
                drawn=n < DRAWN,
                brief=size > BYTES_MOST,
                first=first in group,
                lead=lead in group,
            )
            size += len(article)
            parts.append(article)
    if note := counted_by(checks):
        parts.insert(0, paragraph(note, "note"))
    body = "".join(parts) or paragraph("No check found a violation in this run, so there is no counterexample.")
    return section("counterexamples", "Counterexamples", body)


def grouped(witnesses: Sequence[Witness]) -> list[list[Witness]]:
    """Return the counterexamples in groups, ordered by the time of the violation.

    Counterexamples with the same sentence about the same message are one group: each receipt of it is a violation.
    """
    groups: dict[tuple[object, ...], list[Witness]] = {}
    for witness in sorted(witnesses, key=lambda witness: (happened_ns(witness) or 0, witness["number"])):
        alone = None if witness.get("message") else witness["number"]
        groups.setdefault((witness["sentence"], witness.get("message"), alone), []).append(witness)
    return list(groups.values())


def _head(check: Row, cards: int) -> str:
    """Return the heading of a check's counterexamples: number of violations and of those shown, promise, runbook.

    `cards`: number of groups that are shown.
    """
    note = "" if check["promised"] else " (never promised: an observation)"
    heading = f"{check['id']} {check['name']}: {counted(check['violations'], 'violation')}{note}"
    shown = len(check["witnesses"])
    parts = [f"{words[:1].upper()}{words[1:]}." for words in (same_defect(check), broken_sentence(check)) if words]
    parts += [f"Of all {check['violations']:,}: {words}." if (words := extent_sentence(check)) else ""]
    if shown < check["violations"]:
        parts.append(f"Shown {shown:,} of {check['violations']:,} with their records.")
    if cards < shown:
        parts.append(f"{shown:,} violations stand in {counted(cards, 'card')}: those of one message together.")
    promise = next((promise_words(witness["promise"]) for witness in check["witnesses"]), "")
    return (
        f'<h3><a href="#check-{text(check["id"])}">{text(heading)}</a></h3>{paragraph(" ".join(filter(None, parts)))}'
        f"{paragraph(f'{broken(check)}: {promise}' if promise else '', 'soft')}"
        f'<p class="soft">Likely causes, and what to examine next: {runbook_link(check["id"])}</p>'
    )


def first_error(checks: Sequence[Row]) -> Witness | None:
    """Return the counterexample with the earliest violation; None without any. See `happened_ns` for its time.

    Counterexamples of checks that count for the verdict come before all others.
    """
    return min(
        (witness for check in checks if check["outcome"] == "FAIL" for witness in check["witnesses"]),
        key=lambda witness: (not _counts(checks, witness), happened_ns(witness) or 0),
        default=None,
    )


def leading(checks: Sequence[Row]) -> Witness | None:
    """Return the counterexample that a report shows first, None without any.

    It is of the check that the report lists first (see `checks.findings.leading`), and of that check's most frequent
    kind of finding. Of these it is the one with the fewest steps, because its picture is the simplest, and then the
    earliest.
    """
    top = next(iter(broken_first(checks)), None)
    if top is None:
        return first_error(checks)
    kinds: dict[str, int] = (top.get("extent") or {}).get("kinds", {})
    return min(
        top["witnesses"],
        key=lambda one: (-kinds.get(one.get("kind", ""), 0), len(one["steps"]), happened_ns(one) or 0),
        default=first_error(checks),
    )


def _counts(checks: Sequence[Row], witness: Witness) -> bool:
    return any(check["id"] == witness["check"] and check["counts"] for check in checks)


def happened_ns(witness: Witness) -> int | None:
    """Return the time (ns) at which a violation happened; None without records.

    If records of the kinds LIVE are among its records, it is the time of the first of these: the final read that proves
    the violation may come much later, and a joining much earlier. Otherwise it is the time of the last record.
    """
    timed = [(record["time_ns"], record.get("kind")) for record in witness["records"]]
    known = [(time, kind) for time, kind in timed if isinstance(time, int)]
    live = [time for time, kind in known if kind in LIVE]
    return min(live) if live else max((time for time, _ in known), default=None)


def swim(witness: Witness, check: Row) -> str:
    """Return the swim-lane of a counterexample as an inline SVG element; the page's style sheet has its style."""
    return witness_svg(witness, check, styled=False).decode().partition("?>")[2].strip()


def _article(
    check: Row, group: Sequence[Witness], about: str, *, drawn: bool, brief: bool, first: bool, lead: bool
) -> str:  # fmt: skip
    witness = group[0]
    id = f"{text(check['id'])}-{int(witness['number'])}"
    # Links by the number of a counterexample lead here, also to those that stand together with another one.
    anchor = "".join(f'<span id="witness-{text(check["id"])}-{int(one["number"])}"></span>' for one in group[1:])
    anchor += '<span id="first-error"></span><p class="first">The first violation of this run.</p>' if first else ""
    anchor += '<span id="leading"></span>' if lead else ""
    most = BRIEF_MOST if brief else TEXT_MOST
    head = (
        f'<article id="witness-{id}" class="witness">{anchor}<p class="sentence">{text(witness["sentence"], most)}</p>'
        f"{paragraph(about, 'soft')}"
    )
    command = f"<p>see it again: <code>{text(witness.get('command', ''), most)}</code></p></article>"
    if brief:
        note = "Its records are left out here, because this page is full; the command below shows them."
        return head + paragraph(note) + command
    lanes = _lanes(check, witness, id) if drawn and witness["steps"] else ""
    if lead and lanes:  # the head of the page has the same picture, without the boxes that hide lanes
        lanes = (
            f"<details><summary>its picture stands at the top of the page; show it here too</summary>{lanes}</details>"
        )
    return head + lanes + _records(witness) + command


def _broken_by(failed: Sequence[Row]) -> dict[tuple[object, object], list[str]]:
    """Return (journal, index) of each record that is wrong by itself → ids of the checks that the record violates."""
    found: dict[tuple[object, object], list[str]] = {}
    for check in failed:
        for witness in check["witnesses"]:
            for place in _wrong_places(witness):
                found.setdefault(place, []).append(check["id"])
    return found


def _wrong_places(witness: Witness) -> list[tuple[object, object]]:
    return [(record["journal"], record["index"]) for record in witness["records"] if "wrong" in record]


def _about(
    check: Row, group: Sequence[Witness], axis: Axis | None, broken_by: dict[tuple[object, object], list[str]],
    bands: Sequence[Band] = (),
) -> str:  # fmt: skip
    """Return words on a group: when it happened, during which faults, who saw it, which other checks it violates."""
    at_ns = happened_ns(group[0])
    parts = [f"at {axis.at_s(at_ns):.3f} s of the run"] if axis is not None and at_ns is not None else []
    if axis is not None and at_ns is not None:
        at_s = axis.at_s(at_ns)
        during = [band.name for band in bands if band.kind == "fault" and band.start_s <= at_s <= band.end_s]
        parts += [f"during {', '.join(during)}"] if during else []
    if len(group) > 1:
        users = list(dict.fromkeys(user for one in group if (user := one.get("user"))))
        parts.append(f"seen {len(group)} times" + (f", by {', '.join(users)}" if users else "") + "; one is shown")
    others = dict.fromkeys(id for one in group for place in _wrong_places(one) for id in broken_by.get(place, ()))
    others.pop(check["id"], None)
    if others:
        parts.append(f"the same record violates {', '.join(others)} too")
    return "; ".join(parts)


def broken(check: Row) -> str:
    """Return the word for a violation of a check: "Promise broken", or "Never promised, an observation"."""
    return "Promise broken" if check["promised"] else "Never promised, an observation"


def _lanes(check: Row, witness: Witness, id: str) -> str:
    """Return the swim-lane with a check box for each lane; the style sheet hides a lane whose box is not checked."""
    boxes = "".join(
        f'<label><input type="checkbox" checked class="h{n}">{text(name)}</label>'
        for n, name in enumerate(witness["lanes"])
    )
    return f'<div class="lanes"><span>lanes:</span>{boxes}{picture(swim(witness, check), f"swim-lane of {id}")}</div>'


def _records(witness: Witness) -> str:
    rows = "".join(_record(record) for record in witness["records"])
    return f'<p class="what">The records that prove it:</p><ol class="records">{rows}</ol>' if rows else ""


def _record(record: Row) -> str:
    place = f"{record['journal']}:{record['index']}"
    said = f"<code>{text(place)}</code> <b>{text(clock(record['at_ms']))}</b> {text(record['words'])}"
    begin = '<li class="wrong">' if "wrong" in record else "<li>"
    frame = record.get("frame")
    if frame is None:
        return f"{begin}{said}</li>"
    return f'{begin}{said}<pre class="frame" title="raw frame">{text(pretty(frame), 3 * FRAME_MOST)}</pre></li>'


def pretty(frame: str) -> str:
    r"""Return a raw frame on one line, with \n and \r for its line breaks.

    After FRAME_MOST characters the frame is cut, and the number of characters left out follows.
    """
    shown = frame[:FRAME_MOST].replace("\n", "\\n").replace("\r", "\\r")
    return shown + (f" … {len(frame) - FRAME_MOST:,} more characters: verdict.json" if len(frame) > FRAME_MOST else "")
