"""Facts of a run directory that the judge needs in addition to the records: plan, state, origin of the roster."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from earwitness.checks.roster import Origin, Roster
from earwitness.harness.planning.plan import Plan
from earwitness.harness.record.history import History

SAID = {"messages_sent", "messages_unsaid"}
UNCONCLUDED = "run.json has no last hashes: the run was not concluded"


def facts_of(history: History) -> dict[str, Any]:
    """Return facts of a run, by name, that `Judge.finish` needs in addition to the records.

    The H-checks document those that they read; None or a missing name: not known.
    """
    run = history.run
    planned, origin = planned_roster(run, len(history.roster.user_of))
    return {
        "users_planned": (run.get("planned") or {}).get("users"),
        "interrupted": run.get("interrupted"),
        "story_errors": run.get("story_errors"),
        "journals_expected": run.get("journals", 0),
        "state": run.get("state"),
        "damage": [*history.damage, *([] if history.concluded else [UNCONCLUDED])],
        "roster_damaged": history.roster_damaged,
        **{name: run[name] for name in ("planned_faults", "faults_without_effect") if name in run},
        **_load(history),
        "roster_origin": origin,
        "roster_planned": planned,
        "identities": [identity for view in history.journals for identity in view.sidecar.identities],
    }


def _load(history: History) -> dict[str, int]:
    """Return {"messages_sent", "messages_offered"}: how many were sent, and how many users wanted to send.

    {} if the journals do not state them, or if faults were planned, which may prevent sending.
    """
    footers = [footer for view in history.journals if (footer := view.footer) and footer.keys() >= SAID]
    if not footers or history.run.get("planned_faults"):
        return {}
    sent = sum(int(footer["messages_sent"]) for footer in footers)
    return {"messages_sent": sent, "messages_offered": sent + sum(int(footer["messages_unsaid"]) for footer in footers)}


def planned_roster(run: Mapping[str, Any], clients: int) -> tuple[Roster | None, str | None]:
    """Return (roster, origin): the roster rebuilt from the plan in `run.json`, and the origin that `run.json` states.

    The roster is None where it cannot be rebuilt. A plan with given rooms or accounts is used only if there is a target
    file. A plan for another number of clients than `clients` is not used, because either number could be the wrong one.
    """
    origin = (run.get("roster") or {}).get("origin")
    if origin not in (Origin.PLAN, Origin.TARGET):
        return None, origin
    try:
        plan = Plan.from_dict(run["plan"])
        if plan.clients != clients:
            return None, origin
        planned = plan.roster()
    except (KeyError, TypeError, ValueError, IndexError, AttributeError):
        return None, origin
    from_file = (run.get("target") or {}).get("kind") == "file"
    return (planned if plan.origin is Origin.PLAN or from_file else None), origin


def native_path(history: History) -> dict[str, Any] | None:
    """Return {"native": "on" or "off", "why", "share"} of a run.

    None if the run was imported or made by an older version.

    `share`: the part of all sent and received frames that the native extension handled, in %; None if there were none.
    """
    stated = history.run.get("native")
    if not isinstance(stated, dict):
        return None
    footers = [view.footer or {} for view in history.journals]
    native, *moved = (
        sum(_count(f.get(name)) for f in footers) for name in ("frames_native", "frames_in", "frames_out")
    )
    return {**stated, "share": round(100.0 * native / sum(moved), 1) if sum(moved) else None}


def _count(value: object) -> int:
    return value if type(value) is int and 0 <= value < 1 << 63 else 0
