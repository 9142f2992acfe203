"""Opportunities: situations in which platforms go wrong, and the stories that create them.

A check that passes proves nothing about a situation that never occurred. A story names the opportunities that it
creates (`story(…, opportunities=…)`), its users count each occurrence, and the verdict names the opportunities that did
not occur. `harness.evidence.opportunities_page` writes the page `docs/opportunities.md`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from earwitness.checks.history.record import Flag, Kind
from earwitness.harness.record.history import History

if TYPE_CHECKING:  # it brings the compiler of the checks, which load processes need not have
    from earwitness.harness.report.recorded import Recorded

FOOTER_KEY = "opportunities"
"""Key of the counts in a journal's footer (of one process), and of the story's list of opportunities in run.json."""
BAN = "ban-several-devices"


@dataclass(frozen=True, slots=True, kw_only=True)
class Opportunity:
    """One situation in which platforms go wrong.

    occurs  sentence that describes one occurrence, as it is counted
    by      methods of user classes, each of which creates the situation
    fault   name of the fault that creates it, "" if none does
    checks  ids of the checks that judge the platform's reaction
    """

    id: str
    occurs: str
    by: tuple[str, ...] = ()
    fault: str = ""
    checks: tuple[str, ...]


ALL = (
    Opportunity(
        id="size-limit",
        occurs="A message as long as the platform allows was acknowledged.",
        by=("say_long",),
        checks=("I5a", "I5b", "I10"),
    ),
    Opportunity(
        id="long-tail",
        occurs="A message longer than the usual ones, from 600 bytes up to the limit, was acknowledged.",
        by=("say_long",),
        checks=("I5a", "I5b", "I10"),
    ),
    Opportunity(
        id="blank-ends",
        occurs="A message that begins and ends with blanks and line breaks was acknowledged.",
        by=("say_long",),
        checks=("I10",),
    ),
    Opportunity(
        id="shared-id",
        occurs="Two users had messages with one client id acknowledged in one conversation.",
        by=("say_by_shared_id",),
        checks=("I5a", "I5b", "I7"),
    ),
    Opportunity(
        id="rest-and-socket",
        occurs="A user's message by HTTP was acknowledged between two by socket in the same conversation.",
        by=("say_by_http",),
        checks=("I1", "I2", "I5b", "I14"),
    ),
    Opportunity(
        id="agent-two-rooms",
        occurs="Questions of one user to the agent were open in two conversations at once.",
        by=("ask_in_all_rooms",),
        checks=("I12", "I24"),
    ),
    Opportunity(
        id="agent-two-people",
        occurs="Questions of two users to the agent were open in one conversation at once.",
        by=("ask_in_all_rooms",),
        checks=("I24",),
    ),
    Opportunity(
        id="rename-after-removal",
        occurs="A user was renamed while removed from a conversation.",
        by=("rename",),
        checks=("I12", "I13", "I41"),
    ),
    Opportunity(
        id=BAN,
        occurs="A user was banned while another of their devices was connected.",
        by=("be_banned",),
        checks=("I30", "I34"),
    ),
    Opportunity(
        id="rotation-old-tokens",
        occurs="A token from before the rotation of the signing key was shown after it, and so was a new one.",
        by=("rotate_keys", "rotate_keys_in_time"),
        checks=("I31",),
    ),
    Opportunity(
        id="redis-without-file",
        occurs="Redis was killed and started again without its file.",
        fault="wipe valkey",
        checks=("I5a", "I30", "I41"),
    ),
    Opportunity(
        id="frontend-identity",
        occurs="A user asked again, through the frontend too, who they are.",
        by=("ask_who_i_am",),
        checks=("I15",),
    ),
    Opportunity(
        id="cut-in-mid-send",
        occurs="A connection was cut with messages on their way.",
        by=("say_quickly",),
        checks=("I5a", "I7", "I20"),
    ),
    Opportunity(
        id="removal-among-messages",
        occurs="A member was removed from a conversation and invited again while others went on talking.",
        by=("take_in",),
        checks=("I12", "I13"),
    ),
)
BY_ID: Mapping[str, Opportunity] = {one.id: one for one in ALL}


def occurred(history: History, recorded: Recorded) -> dict[str, int]:
    """Return opportunity id → how often it occurred in a run; opportunities that did not occur are left out.

    Users count most of them in the footers of their journals. Faults and bans are counted from the records.
    """
    counts: Counter[str] = Counter()
    for view, faults in zip(history.journals, recorded.of_kind(Kind.FAULT), strict=True):
        counts.update((view.footer or {}).get(FOOTER_KEY, {}))
        begun = faults[(faults["flags"] & Flag.OWN) > 0]
        names = Counter(view.names.get(int(name), "") for name in begun["author"])
        counts.update({one.id: names[one.fault] for one in ALL if one.fault and names[one.fault]})
    counts[BAN] += _bans_with_devices(history, recorded)
    return {id: count for id, count in counts.items() if id in BY_ID and count > 0}


def _bans_with_devices(history: History, recorded: Recorded) -> int:
    """Return the number of confirmed bans of users who had another device connected when the ban was requested.

    Counted from the records, because the devices of one user may belong to several load processes.
    """
    user_of = history.roster.user_of
    bans: list[tuple[int, int]] = []
    spans: dict[int, list[tuple[int, int, int]]] = {}
    for rare in recorded.rare:
        kinds = rare["kind"]
        begun: dict[int, tuple[int, int]] = {}
        for record in rare[(kinds == Kind.CONNECT) | (kinds == Kind.DISCONNECT) | (kinds == Kind.REVOKE)]:
            kind, t, client, conn = (int(record[name]) for name in ("kind", "t", "client", "conn"))
            if kind == Kind.REVOKE and record["counter"] == 0 and record["flags"] & Flag.ACCEPTED:
                bans.append((client, int(record["seq"])))
            elif kind == Kind.CONNECT:
                begun[conn] = client, t
            elif kind == Kind.DISCONNECT and conn in begun and client < len(user_of):
                spans.setdefault(user_of[client], []).append((*begun.pop(conn), t))
    return sum(
        client < len(user_of)
        and any(other != client and start < t < end for other, start, end in spans.get(user_of[client], ()))
        for client, t in bans
    )


def told(history: History, recorded: Recorded) -> dict[str, object]:
    """Return the entry of verdict.json about opportunities: `occurred` and `missing`.

    `occurred`: id → count; `missing`: id and sentence of each opportunity of the story that did not occur.
    """
    counts = occurred(history, recorded)
    wanted = [id for id in history.run.get(FOOTER_KEY) or () if id in BY_ID]
    return {
        "occurred": counts,
        "missing": [{"id": id, "what": BY_ID[id].occurs} for id in wanted if id not in counts],
    }


def line(opportunities: Mapping[str, Any]) -> str:
    """Return the verdict's line that names the opportunities that did not occur, "" if none is missing.

    `opportunities`: the result of `told`. The line has no newline at its end.
    """
    missing = [row["id"] for row in opportunities.get("missing", ())]
    if not missing:
        return ""
    return f"opportunities that did not occur, so not verified: {', '.join(missing)}"
