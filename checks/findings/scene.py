"""Swim-lane of a finding: one lane for each device and one for the platform, one step for each record.

An event that did not happen (a message that never arrived) is a step too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from earwitness.checks.findings.lines import HERE, IN, OUT, THERE, Direction, NameOf, Told, direction_of, label
from earwitness.checks.findings.names import device, message, numbers
from earwitness.checks.findings.wrong import wrong_records
from earwitness.checks.history.record import FOREIGN
from earwitness.checks.roster import Roster
from earwitness.checks.verdict import Finding

PLATFORM = "platform"
LANES_MAX = 6
"""Largest number of lanes that a reader can follow: the platform's and those of five devices."""

NEVER: dict[tuple[str, str], tuple[Direction, str]] = {
    ("I4", "open"): (HERE, "never receives {range}"),
    ("I5a", "lost"): (THERE, "{message} is not there"),
    ("I5b", "absent"): (HERE, "never receives {message}"),
    ("I20", "skipped"): (HERE, "did not receive {range} before"),
    ("I25", "missed"): (HERE, "never receives {message}"),
    ("I47", "missed"): (HERE, "never receives {message}"),
    ("I24", "endless"): (HERE, "never receives the end"),
}
"""Findings about something that did not happen: where the step is drawn (at the device or the platform), and its text.

By (id of the check, kind of finding). Names stand in braces.
"""


@dataclass(frozen=True, slots=True)
class Step:
    """Row of a swim-lane, from lane `start` to lane `end`. If both are the same lane, the event happened there.

    at_ms    milliseconds after the first record of the scene; None: the event did not happen
    proof    whether it is one of the records that prove the finding; the others are context
    record   (journal number, index), None if there is none
    wrong    why the record of this step is wrong, in a few words; "" if its label shows the reason; None if it is not
             wrong
    """

    at_ms: float | None
    start: int
    end: int
    label: str
    proof: bool
    record: tuple[int, int] | None
    wrong: str | None = None


@dataclass(frozen=True, slots=True)
class Scene:
    """Swim-lanes: names of the lanes from left to right, and the steps in time order."""

    lanes: tuple[str, ...]
    steps: tuple[Step, ...]


def scene(
    check: str,
    finding: Finding,
    proof: Sequence[Told],
    context: Sequence[Told],
    roster: Roster,
    name_of: NameOf = lambda journal, number: None,
) -> Scene:
    """Return the swim-lanes of a finding. `check`: id of its check.

    `proof`: the records that prove the finding; `context`: other records around them; both in any order. Times in the
    scene count from the earliest record. Records of a device that got no lane (see `LANES_MAX`) are left out.
    """
    proven = {(told.journal, told.index) for told in proof}
    records = sorted({(t.journal, t.index): t for t in (*context, *proof)}.values(), key=_when)
    absent = NEVER.get((check, finding.what))
    lanes = _lanes(records, proof, finding, absent)
    first = int(records[0].record["t"]) if records else 0
    wrong = wrong_records(check, finding, records, roster, name_of)
    steps = []
    for told in records:
        start, end = _between(told, lanes)
        if start < 0 or end < 0:
            continue  # its device got no lane, see LANES_MAX
        key = (told.journal, told.index)
        at_ms = (int(told.record["t"]) - first) / 1e6
        steps.append(Step(at_ms, start, end, label(told, roster, name_of), key in proven, key, wrong.get(key)))
    if absent is not None:
        steps.append(_never(finding, *absent, lanes, roster))
    names = tuple(PLATFORM if client is None else device(roster, client) for client in lanes)
    return Scene(names, tuple(steps))


def _when(told: Told) -> tuple[int, int, int]:
    return int(told.record["t"]), told.journal, told.index


def _client(told: Told) -> int | None:
    client = int(told.record["client"])
    return client if client < FOREIGN and direction_of(told) is not THERE else None


def _lanes(
    records: Sequence[Told], proof: Sequence[Told], finding: Finding, absent: tuple[Direction, str] | None
) -> list[int | None]:
    """Return the client of each lane from left to right, None for the platform.

    Devices that send stand left of the platform, devices that only receive stand right of it. Devices of `proof` get
    lanes first.
    """
    own = [finding.facts["client"]] if absent and absent[0] is HERE and "client" in finding.facts else []
    order = list(dict.fromkeys([*_clients(proof), *own, *_clients(records)]))[: LANES_MAX - 1]
    speakers = {_client(told) for told in records if direction_of(told) is OUT}
    return [*(c for c in order if c in speakers), None, *(c for c in order if c not in speakers)]


def _clients(records: Iterable[Told]) -> list[int]:
    return [client for client in map(_client, records) if client is not None]


def _between(told: Told, lanes: Sequence[int | None]) -> tuple[int, int]:
    platform = lanes.index(None)
    client = _client(told)
    if client is None:
        return platform, platform
    if client not in lanes:
        return -1, -1
    own, direction = lanes.index(client), direction_of(told)
    if direction is OUT:
        return own, platform
    return (platform, own) if direction is IN else (own, own)


def _never(finding: Finding, direction: Direction, words: str, lanes: Sequence[int | None], roster: Roster) -> Step:
    facts = finding.facts
    client = facts.get("client")
    lane = lanes.index(client) if direction is HERE and client in lanes else lanes.index(None)
    told = message(roster, facts.get("author", -1), facts.get("counter", 0))
    text = words.format(message=told, range=numbers(facts.get("low", 0), facts.get("high", 0)))
    return Step(None, lane, lane, text, True, None)
