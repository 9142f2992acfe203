"""Sections of `report.html`: fan-out and reach by room size, other latencies, thresholds, and positions of losses."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from earwitness.harness.report.page.words import Row, counted, paragraph, section, table, text
from earwitness.harness.report.reach import WHERE
from earwitness.harness.report.terminal import NOT_JUDGED, STREAM_COUNTS

ROOMS_MOST: Final = 60
"""Most room sizes that are shown; if there are more, those with the lowest reach are chosen."""
MEANINGS: Final = (
    ("prefix", "before the first message of that sender that came: typical of a subscription that begins too late"),
    ("middle", "between messages that came: typical of a dropped message, or of a reconnection without a resume"),
    ("end", "after the last one that came: typical of a connection or a service that died, or of a short drain"),
    ("whole", "nothing of that sender came: typical of a route that was never there"),
)
"""Positions of a loss among the messages of one sender that a device was owed, each with its typical cause."""
BAR: Final = 70
"""Length in px of a bar that stands for all losses of a row."""
PERCENTILES: Final = ("p50", "p99", "max")


def rooms(verdict: Row) -> str:
    """Return the HTML section with fan-out latency and reach by room size.

    `verdict`: the dictionary of verdict.json.
    """
    latency = {size: row for name, row in verdict["latency_ms"].items() if (size := _size_of(name)) is not None}
    reach = verdict.get("reach")
    by_size = {row["size"]: row for row in (reach or {}).get("rooms", ())}
    sizes = sorted({*latency, *by_size}, key=lambda size: (_share(by_size.get(size)), size))
    shown = sorted(sizes[:ROOMS_MOST])
    body = table(
        "by room size",
        ("members", "deliveries", *(f"{name} ms" for name in PERCENTILES), "owed", "received", "not known", "reach"),
        [_room(size, latency.get(size, {}), by_size.get(size)) for size in shown],
    )
    if not shown:
        body = paragraph("No message was delivered or owed in this run, so there is no latency and no reach.")
    if len(sizes) > len(shown):
        body += paragraph(f"{len(sizes) - len(shown):,} more room sizes, all with a better reach, are left out.")
    return section("rooms", "Fan-out and reach by room size", body + _note(reach) + _missed(verdict))


def _size_of(name: str) -> int | None:
    found = re.fullmatch(r"fan-out, room of (\d+)", name)
    return int(found[1]) if found else None


def _share(row: Row | None) -> float:
    judged = row["received"] + row["missed"] if row else 0
    return row["received"] / judged if row and judged else 2.0


def _room(size: int, latency: Row, row: Row | None) -> tuple[str, ...]:
    times = (f"{latency[name]:,g}" if name in latency else "–" for name in PERCENTILES)
    samples = f"{latency['samples']:,}" if latency else "–"
    if row is None:
        return (f"{size:,}", samples, *times, "–", "–", "–", "not known")
    counts = (f"{row[name]:,}" for name in ("owed", "received", "not_known"))
    return (f"{size:,}", samples, *times, *counts, share_of(row))


def share_of(row: Row) -> str:
    """Return the reach of a room size as text: received ÷ (received + missed) in per cent, never rounded up to 100.

    "nothing owed" if both are 0. `row`: an element of `reach.rooms` in verdict.json.
    """
    judged = row["received"] + row["missed"]
    if not judged:
        return "nothing owed"
    share = 100 * row["received"] / judged
    return f"{share:.2f} %" if not row["missed"] else f"{min(share, 99.99):.2f} %"


def _note(reach: Row | None) -> str:
    if reach is None:
        return paragraph(
            "Reach is not known: the verdict is of an earlier version, or clocks of several hosts were not compared."
        )
    stored = reach["stored"]["lost"]
    other = f" Reach says nothing about storage, which lost {stored:,}: see Losses." if stored else ""
    return paragraph(
        "Reach is received ÷ owed. Owed is each message that took effect, to each device that was subscribed from "
        f"before its sending until the end (as in I5b). Not known: the record or the drain ended before.{other}",
        "soft",
    )


def _missed(verdict: Row) -> str:
    missed = verdict.get("missed_live") or {}
    if not missed.get("owed"):
        return ""
    return paragraph(
        f"Of all {missed['owed']:,} messages due to devices of continuous members, however they asked for them, "
        f"{missed['missed']:,} never came (I47)."
    )


def losses(verdict: Row) -> str:
    """Return the HTML section on losses: their positions among a sender's messages, and messages that storage lost."""
    reach = verdict.get("reach")
    if reach is None:
        return section("losses", "Where losses lie", paragraph("Not known: the verdict has no reach of this run."))
    body = _losses("Deliveries that were owed and never came", reach["deliveries"])
    body += _stored(reach["stored"])
    doubtful = sum(row["not_known"] for row in reach["rooms"])
    if doubtful:
        body += paragraph(f"Whether {doubtful:,} more deliveries came is not known, so their places are not either.")
    if not sum(row["owed"] for row in reach["rooms"]):
        body += paragraph("No device is known to have been subscribed until the end, so no delivery counts as owed.")
    elif not reach["deliveries"]["lost"] and not reach["stored"]["lost"]:
        body += paragraph("No delivery is known to be missing, and no acknowledged message is missing in the end.")
    if reach["deliveries"]["lost"]:
        meanings = "".join(f"<dt>{text(name)}</dt><dd>{text(meaning)}</dd>" for name, meaning in MEANINGS)
        few = "With only a few messages of a sender, a loss at the beginning or the end may be chance."
        body += f"<dl>{meanings}</dl>{paragraph(few, 'soft')}"
    return section("losses", "Where losses lie", body)


def _losses(title: str, found: Row) -> str:
    if not found["lost"]:
        return ""
    sums = {"sender": f"all ({counted(found['of'], 'sender')})", **found, "lost": found["placed"]}
    body = table(
        title,
        ("sender", "lost", *WHERE),
        [(row["sender"], f"{row['lost']:,}", *(_place(row, n) for n in range(len(WHERE))))
         for row in (sums, *found["senders"])],
        raw=frozenset(range(2, 2 + len(WHERE))),
    )  # fmt: skip
    parts = [f"{found['lost']:,} in all."]
    if found["placed"] < found["lost"]:
        parts.append(f"The places of {found['placed']:,} of them are shown.")
    if found["of"] > len(found["senders"]):
        parts.append(f"The {len(found['senders'])} senders with the most are listed.")
    return f"<h3>{text(title)}</h3>{paragraph(' '.join(parts))}{body}"


def _place(row: Row, n: int) -> str:
    """Return the HTML cell of position number `n` of WHERE: its count, and a bar as long as its share of the row."""
    count, total = row[WHERE[n]], max(1, sum(row[name] for name in WHERE))
    width = BAR * count / total
    bar = f'<rect class="f{n}" width="{width:.1f}" height="8"/>' if count else ""
    return f'{count:,}<svg class="bar" viewBox="0 0 {BAR} 8" width="{BAR}" height="8" aria-hidden="true">{bar}</svg>'


def _stored(found: Row) -> str:
    """Return a table of acknowledged messages that the final state lacks, by sender; "" if none is missing.

    Storage lost them, so their positions among deliveries are not stated. `found`: `reach.stored` of verdict.json.
    """
    if not found["lost"]:
        return ""
    body = "<h3>Acknowledged messages that the final state lacks</h3>" + paragraph(
        f"{found['lost']:,} in all. Storage lost them, not delivery, so reconnections and subscriptions do not explain "
        "them: examine how they are written, and the counterexamples of I5a."
    )
    listed = [(row["sender"], f"{row['lost']:,}") for row in found["senders"]]
    more = f"The {len(listed)} senders with the most are listed." if found["of"] > len(listed) else ""
    return body + table("acknowledged messages that are not stored", ("sender", "lost"), listed) + paragraph(more)


def figures(verdict: Row) -> str:
    """Return the HTML section with all latencies but fan-out, the thresholds, and the streamed answers."""
    others = {name: row for name, row in verdict["latency_ms"].items() if _size_of(name) is None and row.get("samples")}
    rows = [_latency(name, row) for name, row in others.items()]
    body = table("latencies", ("what", "samples", "p50 ms", "p99 ms", "max ms"), rows) if rows else ""
    met = {True: "yes", False: "NO"}
    thresholds: Sequence[Row] = verdict["thresholds"]
    limits = [(row["name"], _measured(row), _limit(row), met.get(row["met"], "no data")) for row in thresholds]
    if limits:
        body += table("thresholds", ("threshold", "measured", "limit", "met"), limits)
    body += _streams(verdict.get("streams") or {})
    return section("figures", "Other latencies and thresholds", body or paragraph("None were measured or stated."))


def _limit(row: Row) -> str:
    return f"{'at least ' if row.get('at_least') else ''}{row['limit']:g} {row['unit']}"


def _streams(row: Row) -> str:
    """Return the HTML table of streamed answers: how they ended, and tokens a second; "" if there were none."""
    if not row:
        return ""
    counts = [(words, f"{row[name]:,}", _share_of(row, name)) for name, words in STREAM_COUNTS]
    counts += [(f"not judged: {words}", f"{row[name]:,}", "–") for name, words in NOT_JUDGED]
    if row["unanswered"]:
        counts.append(("questions whose answer never showed a token", f"{row['unanswered']:,}", "–"))
    body = f"<h3>Streamed answers</h3>{table('streamed answers', ('what', 'streams', 'share'), counts)}"
    rates = row["tokens_per_s"]
    fast = f"Half of the answers came with at least {rates['p50']:,g} tokens a second. " if rates else ""
    note = f"{fast}A stream is one answer as one connection received it; a token is a piece as the platform sent it."
    return body + paragraph(note, "soft")


def _share_of(row: Row, name: str) -> str:
    among = row[{"cut": "of_several", "differing": "compared"}.get(name, "judged")]
    return f"{100 * row[name] / among:.2f} % of {among:,}" if among else "none to judge"


def _latency(name: str, row: Row) -> tuple[str, ...]:
    never = f" ({row['unanswered']:,} were never answered)" if row.get("unanswered") else ""
    return (name + never, f"{row['samples']:,}", *(f"{row[key]:,g}" if key in row else "–" for key in PERCENTILES))


def _measured(row: Row) -> str:
    if row.get("unanswered"):
        return f"unbounded: {row['unanswered']:,} were never answered"
    return "not measured" if row["measured"] is None else f"{row['measured']:g} {row['unit']}"
