"""Extent of a check's violations: counts by replica, kind and place, and the number of rooms and users concerned.

The counts cover the first FINDINGS violations of a check. The report describes far fewer in detail.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from earwitness.checks.findings.names import forgery, place
from earwitness.checks.history.record import FOREIGN, NOBODY, Flag, Kind
from earwitness.checks.verdict import Finding, Verdict
from earwitness.harness.record.history import History

OF_CONNECTION = frozenset((Kind.DELIVER, Kind.REPLAY, Kind.DISCONNECT, Kind.RUN, Kind.PRESENCE, Kind.SEEN))
"""Kinds of records that were made on the connection that they name."""
WORDS = (("replicas", "by replica"), ("kinds", "by kind"), ("places", "by place"))


class Extents:
    """Counter of the violations in one history. Records of connections are read once, when they are first needed."""

    def __init__(self, history: History) -> None:
        """Prepare to count the findings of `history`."""
        self._history = history
        self._connects: dict[int, tuple[list[int], list[str], dict[tuple[int, int], str]]] | None = None

    def of(self, verdict: Verdict) -> dict[str, Any] | None:
        """Return the extent of a verdict's violations for verdict.json, None if the verdict has no findings.

        of                       findings that were counted; fewer than the violations if there are very many
        replicas, kinds, places  name → number of violations; violations without a name are left out
        rooms, users             number of different rooms and users concerned; rooms is 0 if a finding names no room
        forgeries                only of I31: for each forgery and place, how often it was tried and accepted
        """
        findings = verdict.findings
        if not findings:
            return None
        roster = self._history.roster
        users = {roster.user_of[c] for f in findings if 0 <= (c := f.facts.get("client", -1)) < len(roster.user_of)}
        rooms = {self._room(finding) for finding in findings}
        places = [place(f.facts["place"]) for f in findings if f.facts.get("place")]
        replicas = [name for f in findings if not f.facts.get("place") and (name := self._replica(f))]
        return {
            "of": len(findings),
            "replicas": _counted(replicas),
            "kinds": _counted([f.what for f in findings]),
            "places": _counted(places),
            "rooms": 0 if None in rooms else len(rooms),
            "users": len(users),
            **({"forgeries": forgeries(self._history)} if verdict.id == "I31" else {}),
        }

    def _room(self, finding: Finding) -> int | None:
        """Return the number of a finding's conversation: from its facts, else from its records.

        None: neither names one.
        """
        known = len(self._history.roster.conversations)
        conv = int(finding.facts.get("conv", -1))
        if 0 <= conv < known:
            return conv
        for journal, index in finding.records:
            record = self._history.journals[journal].record(index)
            if record is not None and 0 <= int(record["conv"]) < known:
                return int(record["conv"])
        return None

    def _replica(self, finding: Finding) -> str | None:
        """Return the name of the replica to which the finding's device was connected; None if it is not known."""
        client = finding.facts.get("client", NOBODY)
        if client >= FOREIGN:
            return None
        known = self._of(client)
        if known is None:
            return None
        times, names, by_conn = known
        last = None
        for journal, index in finding.records:
            record = self._history.journals[journal].record(index)
            if record is None:
                continue
            own, conn = int(record["client"]) == client, int(record["conn"])
            if own and conn and int(record["kind"]) in OF_CONNECTION:
                return by_conn.get((journal, conn))
            if int(record["client"]) < FOREIGN:
                last = max(last or 0, int(record["t"]))
        if last is None:
            return None
        at = int(np.searchsorted(times, last, "right"))
        return names[at - 1] if at else None

    def _of(self, client: int) -> tuple[list[int], list[str], dict[tuple[int, int], str]] | None:
        if self._connects is None:
            self._connects = {}
            rows = []
            for number, view in enumerate(self._history.journals):
                found = view.records[view.records["kind"] == Kind.CONNECT]
                rows += [(int(r["t"]), number, int(r["client"]), int(r["conn"]), int(r["author"])) for r in found]
            for t, number, who, conn, name in sorted(rows):
                text = self._history.journals[number].names.get(name)
                if text is not None:
                    times, names, by_conn = self._connects.setdefault(who, ([], [], {}))
                    times.append(t)
                    names.append(text)
                    by_conn[number, conn] = text
        return self._connects.get(client)


def _counted(names: list[str]) -> dict[str, int]:
    """Return name → number, the most frequent first."""
    return dict(sorted(Counter(names).items(), key=lambda item: (-item[1], item[0])))


def forgeries(history: History) -> list[dict[str, Any]]:
    """Return a row for each forgery and place: how often such tokens were presented (`tried`) and `accepted`."""
    made: dict[tuple[int, int], int] = {}
    asked = []
    for view in history.journals:
        kind = view.records["kind"]
        tokens = view.records[(kind == Kind.TOKEN) & (view.records["proc"] > 0)]
        made |= {(int(r["client"]), int(r["counter"])): int(r["proc"]) for r in tokens}
        asked.append(view.records[kind == Kind.REQUEST])
    tried: Counter[tuple[int, int]] = Counter()
    accepted: Counter[tuple[int, int]] = Counter()
    for rows in asked:
        for r in rows:
            forged = made.get((int(r["author"]), int(r["counter"])))
            if forged is not None:
                key = forged, int(r["attempt"])
                tried[key] += 1
                accepted[key] += bool(int(r["flags"]) & Flag.ACCEPTED)
    return [
        {"forgery": forgery(history.roster, forged), "place": place(where), "tried": number,
         "accepted": accepted[forged, where]}
        for (forged, where), number in sorted(tried.items())
    ]  # fmt: skip


def extent_sentence(check: Mapping[str, Any]) -> str:
    """Return where the violations of a failed check occurred, as a sentence without a full stop.

    "" if nothing is known.

    `check`: a row of verdict.json. Counts by kind are left out if there is only one kind.
    """
    extent = check.get("extent")
    if not extent:
        return ""
    parts = []
    for key, words in WORDS:
        counts: Mapping[str, int] = extent[key]
        if len(counts) > (key == "kinds"):
            parts.append(f"{words}: {', '.join(f'{name} {number:,}' for name, number in counts.items())}")
    tried = [row for row in extent.get("forgeries", ()) if row["accepted"]]
    if tried:
        told = ", ".join(f"{r['forgery']} at {r['place']} {r['accepted']:,} of {r['tried']:,}" for r in tried)
        parts.append(f"accepted of those tried: {told}")
    if parts and extent["of"] < check["violations"]:
        parts.insert(0, f"of the first {extent['of']:,}")
    return "; ".join(parts)
